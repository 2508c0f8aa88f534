"""The body of tests/chart/check: a repository behind sshd, the chart's containers as processes, and what must hold."""

import contextlib
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request

import yaml

BIN = os.environ["BIN"]
SUB_PATH = "tests/dags"
PATIENCE = 60


def run(*command, cwd=None, **options):
    return subprocess.run(command, cwd=cwd, check=True, text=True, stdout=subprocess.PIPE, **options).stdout.strip()


def eventually(what, condition):
    deadline = time.monotonic() + PATIENCE
    while not condition():
        if time.monotonic() > deadline:
            raise AssertionError(f"never: {what}")
        time.sleep(0.05)


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


class Server:
    """A bare repository behind a real sshd that lets one key in."""

    def __init__(self, folder):
        self.folder, self.port = folder, free_port()
        for key in ("host", "user"):
            run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(folder / key))
        (folder / "sshd_config").write_text(
            f"ListenAddress 127.0.0.1:{self.port}\nHostKey {folder}/host\nAuthorizedKeysFile {folder}/user.pub\n"
            "PidFile none\nStrictModes no\nUsePAM no\nPasswordAuthentication no\nPermitRootLogin yes\n"
        )
        pathlib.Path("/run/sshd").mkdir(exist_ok=True)
        self.sshd = subprocess.Popen(
            [shutil.which("sshd"), "-D", "-e", "-f", str(folder / "sshd_config")], stderr=subprocess.DEVNULL
        )
        self.work = folder / "work"
        run("git", "init", "-q", "-b", "main", str(self.work))
        run("git", "init", "-q", "--bare", "-b", "main", str(folder / "dags.git"))
        self.git("remote", "add", "origin", str(folder / "dags.git"))
        self.url = f"ssh://root@127.0.0.1:{self.port}{folder}/dags.git"

    def git(self, *args):
        return run("git", "-c", "user.name=t", "-c", "user.email=t@t", *args, cwd=self.work)

    def push(self, text):
        dag = self.work / SUB_PATH / "dag.py"
        dag.parent.mkdir(parents=True, exist_ok=True)
        dag.write_text(text)
        self.git("add", "-A")
        self.git("commit", "-qm", "a change")
        self.git("push", "-q", "origin", "main")
        return self.git("rev-parse", "HEAD")

    def known_hosts(self):
        return f"[127.0.0.1]:{self.port} " + (self.folder / "host.pub").read_text()


def values(server):
    return {
        "postgresql": {"enabled": False},
        "data": {"metadataConnection": {"user": "a", "pass": "b", "host": "db", "port": 5432, "db": "airflow"}},
        "executor": "LocalExecutor,CeleryExecutor,KubernetesExecutor",
        "images": {"gitSync": {"repository": "example.org/dagsync", "tag": "1.0.0"}},
        "dags": {
            "gitSync": {
                "enabled": True,
                "repo": server.url,
                "branch": "main",
                "subPath": SUB_PATH,
                "sshKeySecret": "git-key",
                "knownHosts": server.known_hosts(),
            }
        },
    }


def render(chart, server, folder):
    """The chart's documents; a version is pulled first. The database is not rendered, so its chart is not needed."""
    if not pathlib.Path(chart).is_dir():
        run("helm", "pull", "--repo", "https://airflow.apache.org", "airflow", "--version", chart, "--untar", "-d", str(folder))
        chart = folder / "airflow"
    copy = folder / "chart"
    shutil.copytree(chart, copy)
    about = yaml.safe_load((copy / "Chart.yaml").read_text())
    about.pop("dependencies", None)
    (copy / "Chart.yaml").write_text(yaml.safe_dump(about))
    for lock in copy.glob("*.lock"):
        lock.unlink()
    (folder / "values.yaml").write_text(yaml.safe_dump(values(server)))
    text = run("helm", "template", "rel", str(copy), "-f", str(folder / "values.yaml"), stderr=subprocess.DEVNULL)
    return about["version"], [d for d in yaml.safe_load_all(text) if d]


def pods(documents):
    """Name and spec of every pod that has a git-sync container, the KubernetesExecutor's template included."""
    for document in documents:
        if document["kind"] == "ConfigMap":
            template = next((t for k, t in document["data"].items() if "pod_template" in k), None)
            if template:
                yield "pod template", yaml.safe_load(template)["spec"]
        template = document.get("spec", {}).get("template", {})
        if template.get("spec"):
            yield document["metadata"]["name"], template["spec"]


def git_sync(spec, kind):
    return next((c for c in spec.get(kind, []) if c["name"].startswith("git-sync")), None)


class Pod:
    """The volumes of a pod, and its git-sync containers as processes."""

    def __init__(self, spec, server, folder):
        self.spec, self.folder = spec, folder
        security = spec.get("securityContext", {})
        self.group = security.get("fsGroup", 0)
        self.dags = folder / "dags"
        self.dags.mkdir()
        # What the kubelet does to an emptyDir with fsGroup, and to a Secret.
        os.chown(self.dags, 0, self.group)
        self.dags.chmod(0o2777)
        self.secrets = {"gitSshKey": folder / "key", "known_hosts": folder / "known_hosts"}
        shutil.copy(server.folder / "user", self.secrets["gitSshKey"])
        self.secrets["known_hosts"].write_text(server.known_hosts())
        os.chown(self.secrets["gitSshKey"], 0, self.group)
        self.secrets["gitSshKey"].chmod(0o440)
        self.secrets["known_hosts"].chmod(0o644)

    def command(self, container):
        uid = container["securityContext"].get("runAsUser", self.spec.get("securityContext", {}).get("runAsUser"))
        assert "command" not in container and not container.get("args"), "the chart passes no arguments"
        command = ["bwrap", "--die-with-parent", "--unshare-pid", "--unshare-ipc", "--clearenv", "--as-pid-1"]
        # Folders that bwrap makes by itself are closed to others.
        command += ["--dir", "/etc", "--dir", "/etc/git-secret"]
        for folder in ("/usr", "/lib", "/lib64", "/bin", "/sbin", "/etc/ssl"):
            if os.path.islink(folder):
                command += ["--symlink", os.readlink(folder), folder]
            elif os.path.exists(folder):
                command += ["--ro-bind", folder, folder]
        command += ["--proc", "/proc", "--dev", "/dev", "--dir", "/tmp", "--ro-bind", BIN, "/git-sync"]
        for mount in container["volumeMounts"]:
            if mount["name"] == "dags":
                command += ["--bind", str(self.dags), mount["mountPath"]]
            elif mount.get("subPath") in self.secrets:
                command += ["--ro-bind", str(self.secrets[mount["subPath"]]), mount["mountPath"]]
            else:
                raise AssertionError(f"a mount that this script does not know: {mount}")
        for variable in container["env"]:
            command += ["--setenv", variable["name"], variable["value"]]
        command += ["--setenv", "HOME", "/tmp", "--remount-ro", "/"]
        groups = ["--groups", str(self.group)] if self.group else ["--clear-groups"]
        return command + ["setpriv", "--reuid", str(uid), "--regid", "0", *groups, "/git-sync"]

    def start(self, container):
        log = open(self.folder / f"{container['name']}.log", "w")
        # bwrap itself runs as root; it passes signals on to nobody, so the process inside gets its own.
        return subprocess.Popen(self.command(container), stdout=log, stderr=log)

    def log(self, container):
        return (self.folder / f"{container['name']}.log").read_text()

    def on(self, commit, text):
        """Whether Airflow, which mounts the volume at its dags folder, reads `text` from `commit`."""
        link = self.dags / "repo"
        if not link.is_symlink():
            return False
        target = os.readlink(link)
        found = not target.startswith("/") and os.path.basename(target) == commit
        return found and (link / SUB_PATH / "dag.py").read_text() == text


def probe(container):
    for name in ("startupProbe", "readinessProbe", "livenessProbe"):
        if container.get(name):
            return f"http://127.0.0.1:{container[name]['httpGet']['port']}{container[name]['httpGet']['path']}"
    return None


def status(url):
    try:
        return urllib.request.urlopen(url, timeout=1).status
    except urllib.error.HTTPError as error:
        return error.code
    except OSError:
        return None


def inside(process):
    """The PID of git-sync below bwrap."""
    children = pathlib.Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    while children:
        pid = int(children.pop())
        with contextlib.suppress(OSError):
            if pathlib.Path(f"/proc/{pid}/exe").readlink().name in ("git-sync", os.path.basename(BIN)):
                return pid
            children += pathlib.Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return None


def check_pod(name, spec, server):
    with tempfile.TemporaryDirectory() as folder:
        pod = Pod(spec, server, pathlib.Path(folder))
        text = f"# {time.time_ns()}\n"
        commit = server.push(text)
        init, sidecar = git_sync(spec, "initContainers"), git_sync(spec, "containers")
        if init:
            code = pod.start(init).wait(PATIENCE)
            assert code == 0, f"the init container ended with {code}:\n{pod.log(init)}"
            assert pod.on(commit, text), f"the init container left something else:\n{pod.log(init)}"
        if not sidecar:
            return "init container: exit 0, the DAGs lie where Airflow looks"
        process = pod.start(sidecar)
        said = []
        try:
            url = probe(sidecar)
            if url:
                eventually(f"{url} answers 200", lambda: status(url) == 200)
                said.append(f"{url} 200")
            text = f"# {time.time_ns()}\n"
            commit = server.push(text)
            eventually(f"{name} is on the new commit\n{pod.log(sidecar)}", lambda: pod.on(commit, text))
            pid = inside(process)
            owner = os.stat(f"/proc/{pid}").st_uid
            os.kill(pid, signal.SIGTERM)
            code = process.wait(PATIENCE)
        except BaseException:
            sys.stderr.write(pod.log(sidecar))
            process.kill()
            raise
        assert code == 0, f"SIGTERM ended it with {code}:\n{pod.log(sidecar)}"
        started = "init container: exit 0; " if init else ""
        return f"{started}sidecar (UID {owner}): {', '.join([*said, 'followed a push'])}, SIGTERM: exit {code}"


def main():
    with tempfile.TemporaryDirectory() as folder:
        pathlib.Path(folder).chmod(0o755)
        server = Server(pathlib.Path(folder))
        try:
            server.push("# first\n")
            eventually("sshd listens", lambda: socket.socket().connect_ex(("127.0.0.1", server.port)) == 0)
            for chart in sys.argv[1:] or sys.exit("name a chart's version or folder"):
                with tempfile.TemporaryDirectory() as rendered:
                    version, documents = render(chart, server, pathlib.Path(rendered))
                    found = 0
                    for name, spec in pods(documents):
                        if git_sync(spec, "initContainers") or git_sync(spec, "containers"):
                            print(f"airflow-{version} {name}: {check_pod(name, spec, server)}", flush=True)
                            found += 1
                    assert found >= 4, f"only {found} pods with git-sync in airflow-{version}"
        finally:
            server.sshd.kill()


main()
