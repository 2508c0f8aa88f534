"""Where DAGs come from: a real sshd, an S3 server with the ways in that EKS gives, a folder as a volume, an image with a seal."""

import os
import pathlib
import re
import secrets
import shutil
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from json import dumps

from kubelet import BIN, dagsync_image
from network import AGENT, OUTSIDE
from servers import Servers

ROOT = pathlib.Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
# What the main README tells to type in any container that has the DAGs, to see their version without dagsync.
BY_HAND = re.search(r"Without dagsync, in any container.*?```sh\ncd /dags/current\n(.*?)```", README, re.S)[1]
TOOLS = {f"/usr/bin/{name}": os.path.realpath(shutil.which(name)) for name in ("sh", "find", "sort", "xargs", "sha256sum")}
DAGSYNC, AIRFLOW = "ghcr.io/dagsync/dagsync:0.1.0", "apache/airflow:"
KEYS = {"AWS_ACCESS_KEY_ID": "access", "AWS_SECRET_ACCESS_KEY": "secret", "AWS_DEFAULT_REGION": "eu-central-1"}


def by_hand(folder):
    return ["/usr/bin/sh", "-c", f'cd "$0" && {BY_HAND}', str(folder)]


def version(folder):
    said = subprocess.run(by_hand(folder), capture_output=True, text=True, check=True).stdout
    return f"sha256:{said.split()[0]}"


def write(folder, text):
    """The DAGs of this moment: each file is there at once, as with any careful writer."""
    for name, content in {"dag.py": text, "team/etl.py": "# etl\n", "team/lib/util.py": "# util\n" + text}.items():
        at = folder / name
        at.parent.mkdir(parents=True, exist_ok=True)
        at.with_suffix(".part").write_text(content)
        at.with_suffix(".part").rename(at)
    return version(folder)


class Source:
    """What a strategy's users have: values that name it, and objects in the cluster."""

    endpoint, associations = None, ()

    def __init__(self, folder):
        self.folder, self.values = folder, {}
        self.folder.mkdir()
        self.identity, self.token = secrets.token_hex(20), secrets.token_hex(20)
        self.objects = {("Secret", "dagsync-token"): {"token": self.token}}

    def pull(self):
        """What is in which image, as of now."""
        return lambda image: TOOLS if image.startswith(AIRFLOW) else {DAGSYNC: dagsync_image}[image](image)

    def published(self, found):
        """The version that a daemon publishes, for that of the DAGs."""
        return found

    def stop(self):
        pass


class Git(Source):
    def __init__(self, folder):
        super().__init__(folder)
        self.servers = Servers(folder / "servers", address=OUTSIDE)
        at, port = self.servers.at, self.servers.ssh
        url = f"ssh://root@git.example.com:{port}{at}/dags.git"
        known = f"[git.example.com]:{port} {(at / 'host.pub').read_text()}"
        key = (at / "user").read_text()
        self.values = {
            "dagsync": {"settings": {"git": {"source": url}}},
            "dags": {"gitSync": {"repo": url, "knownHosts": known}},
        }
        self.objects["Secret", "dagsync-git"] = {"ssh": key, "known_hosts": known}
        self.objects["Secret", "dagsync-git-sync"] = {"gitSshKey": key}

    def put(self, text):
        found = write(self.servers.work / "dags", text)
        self.servers.push("a change")
        return found

    def stop(self):
        self.servers.stop()


class WholeRepository(Git):
    """In the place of git-sync the whole repository is published, and `subPath` is a part of Airflow's dags_folder."""

    def published(self, _):
        return version(self.servers.work)


class S3(Source):
    """moto: it believes every signature, so that a pod has credentials is seen by their being found at all."""

    associations = [f"airflow-{name}" for name in ("scheduler", "dag-processor", "triggerer", "worker", "api-server", "webserver")]
    by_pointer = True

    def __init__(self, folder):
        super().__init__(folder)
        self.server = subprocess.Popen(
            [sys.executable, ROOT / "tests/servers/moto", OUTSIDE], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self.endpoint = re.search(r"endpoint=(\S+)", self.server.stdout.readline())[1]
        self.call("s3", "create_bucket", Bucket="acme-dags", CreateBucketConfiguration={"LocationConstraint": "eu-central-1"})
        self.values = {"dagsync": {"settings": {"s3": {"s3": {"endpoint": self.endpoint}}}}}
        self.agent = Agent(self)

    def call(self, service, name, **given):
        import boto3

        keys = {"aws_access_key_id": "access", "aws_secret_access_key": "secret", "region_name": "eu-central-1"}
        return getattr(boto3.client(service, endpoint_url=self.endpoint, **keys), name)(**given)

    def put(self, text):
        found = write(self.folder / "dags", text)
        if self.by_pointer:
            command = [BIN, "publish", str(self.folder / "dags"), "s3://acme-dags/airflow"]
            subprocess.run(command, env={**KEYS, "AWS_ENDPOINT_URL": self.endpoint}, check=True, capture_output=True)
        else:
            for at in (self.folder / "dags").rglob("*.py"):
                key = f"airflow/{at.relative_to(self.folder / 'dags')}"
                self.call("s3", "put_object", Bucket="acme-dags", Key=key, Body=at.read_bytes())
        return found

    def stop(self):
        self.agent.server.shutdown()
        self.agent.server.server_close()
        self.server.communicate()


class Uploaded(S3):
    """Objects below a prefix, as any tool uploads them."""

    by_pointer = False


class Agent:
    """The agent of EKS Pod Identity: whoever has the pod's token gets credentials of the role, which STS makes."""

    def __init__(self, source):
        class Answer(BaseHTTPRequestHandler):
            def log_message(self, *_):
                pass

            def do_GET(self):
                if self.headers.get("Authorization") != source.identity:
                    return self.send_error(401)
                role = "arn:aws:iam::123456789012:role/dags-reader"
                made = source.call("sts", "assume_role", RoleArn=role, RoleSessionName="pod")["Credentials"]
                self.send_response(200)
                self.end_headers()
                names = {"AccessKeyId": "AccessKeyId", "SecretAccessKey": "SecretAccessKey", "Token": "SessionToken"}
                body = {name: made[key] for name, key in names.items()}
                body["Expiration"] = made["Expiration"].strftime("%Y-%m-%dT%H:%M:%SZ")
                self.wfile.write(dumps(body).encode())

        self.server = ThreadingHTTPServer((AGENT, 80), Answer)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()


class Volume(Source):
    """A folder of this host, bound to where the claim is mounted. It is no NFS, so any mount must do."""

    def __init__(self, folder):
        super().__init__(folder)
        self.values = {"dagsync": {"settings": {"volume": {"volume": {"require_mount": ["any"]}}}}}
        self.objects["PersistentVolumeClaim", "dags-readers"] = str(folder / "dags")

    def put(self, text):
        return write(self.folder / "dags", text)


class Image(Source):
    """Airflow's image with dagsync and a sealed tree, as the main README builds it: `put` makes the next one."""

    name, dags = "ghcr.io/acme/airflow:2026-11-24", "/opt/airflow/dags"

    def __init__(self, folder):
        super().__init__(folder)
        self.built = 0

    def put(self, text):
        self.built += 1
        at = self.folder / str(self.built)
        found = write(at, text)
        subprocess.run([BIN, "seal", str(at), "--revision", f"build-{self.built}"], check=True, capture_output=True)
        return found

    def pull(self):
        mine, others = {**TOOLS, "/usr/bin/dagsync": BIN, self.dags: str(self.folder / str(self.built))}, super().pull()
        return lambda image: mine if image == self.name else others(image)
