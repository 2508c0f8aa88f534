"""A bucket in Ceph's radosgw on this host, for benches/compare-s3."""
import json, os, subprocess, sys
from pathlib import Path

SCRIPTS = Path(__file__).resolve().parent.parent / "tests/servers"


class Script:
    """A script of tests/servers; it ends when its standard input closes."""

    def __init__(self, name, env):
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True, "start_new_session": True}
        self.process = subprocess.Popen([sys.executable, SCRIPTS / name], env=env, **pipes)

    def line(self):
        return self.process.stdout.readline() or sys.exit(f"a script of {SCRIPTS} ended; tests/run installs what it needs")

    def stop(self):
        self.process.stdin.close()
        self.process.wait()


class Bucket:
    name = "bench"

    def __init__(self, home):
        alone = {"PATH": os.environ["PATH"], "HOME": str(home)}
        self.server = Script("rgw", alone)
        said = dict(word.split("=", 1) for word in self.server.line().split())
        self.endpoint = said["endpoint"]
        # What every contender finds in its environment.
        self.env = {
            **alone,
            "AWS_ACCESS_KEY_ID": said["access_key"],
            "AWS_SECRET_ACCESS_KEY": said["secret_key"],
            "AWS_REGION": "us-east-1",
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_EC2_METADATA_DISABLED": "true",
        }
        self.client = Script("s3client.py", {**self.env, "AWS_ENDPOINT_URL": self.endpoint})
        self.ask("call", service="s3", name="create_bucket", **{"with": {"Bucket": self.name}})

    def url(self, prefix):
        return f"s3://{self.name}/{prefix}"

    def upload(self, prefix, folder):
        self.ask("upload_dir", bucket=self.name, prefix=prefix, folder=str(folder))

    def put(self, key, file):
        self.ask("put_file", bucket=self.name, key=key, file=str(file))

    def ask(self, what, **more):
        self.client.process.stdin.write(json.dumps({"do": what, **more}) + "\n")
        self.client.process.stdin.flush()
        answer = json.loads(self.client.line())
        return answer["ok"] if "ok" in answer else sys.exit(f"{what} {more}: {answer}")

    def stop(self):
        self.client.stop()
        self.server.stop()
