"""A git repository behind sshd and nginx on this host, for benches/compare, tests/chart/check and tests/deploy/pods."""
import os, socket, subprocess, time
from collections import namedtuple
from pathlib import Path

# A way to the repository: what git needs for it, and what dagsync does.
Source = namedtuple("Source", "name url env settings")

ALONE = {"PATH": os.environ["PATH"], "HOME": "/nonexistent", "GIT_CONFIG_GLOBAL": "/dev/null", "GIT_CONFIG_NOSYSTEM": "1"}
WHO = ["-c", "user.name=bench", "-c", "user.email=bench@example.com"]

NGINX = """
daemon off; pid {at}/pid; worker_processes 1; user root; events {{}}
http {{
  access_log off;
  client_body_temp_path {at}/t1; proxy_temp_path {at}/t2; fastcgi_temp_path {at}/t3;
  uwsgi_temp_path {at}/t4; scgi_temp_path {at}/t5;
  server {{
    listen {address}:{port} ssl; ssl_certificate {at}/server.pem; ssl_certificate_key {at}/server.key;
    location / {{
      {guard}
      fastcgi_pass unix:{at}/fcgi;
      fastcgi_param SCRIPT_FILENAME {backend};
      fastcgi_param GIT_PROJECT_ROOT {at};
      fastcgi_param GIT_HTTP_EXPORT_ALL 1;
      fastcgi_param PATH_INFO $uri;
      fastcgi_param QUERY_STRING $query_string;
      fastcgi_param REQUEST_METHOD $request_method;
      fastcgi_param CONTENT_TYPE $content_type;
      fastcgi_param CONTENT_LENGTH $content_length;
      fastcgi_param HTTP_CONTENT_ENCODING $http_content_encoding;
      fastcgi_param HTTP_GIT_PROTOCOL $http_git_protocol;
    }}
  }}
}}
"""

SSHD = """
ListenAddress {address}:{port}
HostKey {at}/host
AuthorizedKeysFile {at}/user.pub
PidFile none
StrictModes no
UsePAM no
PermitRootLogin yes
MaxStartups 100
# Debian's bash reads ~/.bashrc also when sshd starts it: what this host's root has there is no part of a sync.
SetEnv HOME=/nonexistent
"""

KEYS = """
ssh-keygen -q -t ed25519 -N '' -f host; ssh-keygen -q -t ed25519 -N '' -f user
key='-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes'
openssl req -x509 $key -keyout ca.key -out ca.pem -days 30 -subj '/CN=a private CA'
openssl req $key -keyout server.key -out server.csr -subj /CN=localhost -addext subjectAltName=IP:$address
openssl x509 -req -in server.csr -CA ca.pem -CAkey ca.key -CAcreateserial -copy_extensions copy -out server.pem
git init --quiet --bare --initial-branch=main dags.git; git init --quiet --initial-branch=main work
git -C work remote add origin ../dags.git
"""


def git(folder, *args):
    subprocess.run(["git", *WHO, *args], cwd=folder, env=ALONE, check=True, stdout=subprocess.DEVNULL)


def free_port(address="127.0.0.1"):
    with socket.socket() as probe:
        probe.bind((address, 0))
        return probe.getsockname()[1]


def wait_for(address, port):
    for _ in range(500):
        with socket.socket() as probe:
            if probe.connect_ex((address, port)) == 0:
                return
        time.sleep(0.02)
    raise SystemExit(f"no server on port {port}")


class Servers:
    def __init__(self, at, guard="", address="127.0.0.1"):
        """`guard` holds directives of nginx that say who is let in, with `{at}` for this folder."""
        at.mkdir()
        self.guard = guard.format(at=at)
        self.at, self.work, self.changes, self.processes = at, at / "work", 0, []
        self.address, self.https, self.ssh = address, free_port(address), free_port(address)
        subprocess.run(["bash", "-ec", KEYS], cwd=at, env={**ALONE, "address": address}, check=True, capture_output=True)
        self.start_nginx()
        self.start_sshd()

    def start(self, *command):
        log = open(self.at / "log", "ab")
        self.processes.append(subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True))

    def start_nginx(self):
        exec_path = subprocess.run(["git", "--exec-path"], capture_output=True, text=True, check=True).stdout.strip()
        conf = self.at / "nginx.conf"
        backend = f"{exec_path}/git-http-backend"
        conf.write_text(NGINX.format(at=self.at, address=self.address, port=self.https, backend=backend, guard=self.guard))
        self.start("/usr/sbin/fcgiwrap", "-f", "-c", "2", "-s", f"unix:{self.at}/fcgi")
        self.start("/usr/sbin/nginx", "-p", str(self.at), "-c", str(conf), "-e", str(self.at / "log"))
        wait_for(self.address, self.https)

    def start_sshd(self):
        Path("/run/sshd").mkdir(exist_ok=True)
        conf = self.at / "sshd_config"
        conf.write_text(SSHD.format(at=self.at, address=self.address, port=self.ssh))
        host = (self.at / "host.pub").read_text()
        (self.at / "known_hosts").write_text(f"[{self.address}]:{self.ssh} {host}")
        self.start("/usr/sbin/sshd", "-D", "-e", "-f", str(conf))
        wait_for(self.address, self.ssh)

    def sources(self):
        at = self.at
        ca, key, hosts = f"{at}/ca.pem", f"{at}/user", f"{at}/known_hosts"
        ssh = f"ssh -F none -i {key} -o UserKnownHostsFile={hosts} -o IdentitiesOnly=yes"
        yield Source(
            "https",
            f"https://{self.address}:{self.https}/dags.git",
            {**ALONE, "GIT_SSL_CAINFO": ca},
            {"DAGSYNC_GIT__CA_FILE": ca},
        )
        yield Source(
            "ssh",
            f"ssh://root@{self.address}:{self.ssh}{at}/dags.git",
            {**ALONE, "GIT_SSH_COMMAND": ssh},
            {"DAGSYNC_GIT__SSH_KEY_FILE": key, "DAGSYNC_GIT__KNOWN_HOSTS_FILE": hosts},
        )

    def push(self, message):
        git(self.work, "add", "--all")
        git(self.work, "commit", "--quiet", "-m", message)
        git(self.work, "push", "--quiet", "origin", "main")

    def change(self):
        """Pushes a change of one file."""
        self.changes += 1
        with open(self.work / "team_3" / "dag_3.py", "a") as file:
            file.write(f"# change {self.changes}\n")
        self.push("change")

    def stop(self):
        for process in self.processes:
            os.killpg(process.pid, 9)
            process.wait()
