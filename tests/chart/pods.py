"""One pod of the chart: its volumes as folders, its git-sync containers as processes, and where Airflow looks."""

import configparser
import contextlib
import os
import pathlib
import shutil
import subprocess
import tempfile

BIN = os.environ["BIN"]
READ_ONLY = ("/usr", "/lib", "/lib64", "/bin", "/sbin", "/etc/ssl")


class Pod:
    """A pod's volumes as the kubelet makes them. `objects` are the cluster's: (kind, name) to a mapping."""

    def __init__(self, spec, objects):
        self.spec, self.objects = spec, objects
        self.init, self.sidecar = (self.git_sync(kind) for kind in ("initContainers", "containers"))
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="dagsync-chart."))
        self.folder.chmod(0o755)
        any_of_both = self.init or self.sidecar
        variables = dict(self.environment(any_of_both)) if any_of_both else {}
        mounts = any_of_both["volumeMounts"] if any_of_both else []
        # The volume that git-sync writes to, and its link in there.
        self.shared = next((m["name"] for m in mounts if m["mountPath"] == variables["GITSYNC_ROOT"]), None)
        self.link = self.shared and self.volume(self.shared) / variables["GITSYNC_LINK"]

    def __enter__(self):
        return self

    def __exit__(self, *_):
        shutil.rmtree(self.folder)

    def git_sync(self, kind):
        return next((c for c in self.spec.get(kind) or [] if c["name"].startswith("git-sync")), None)

    def uid(self, container):
        """Who a container runs as: its own context, else the pod's."""
        contexts = container.get("securityContext"), self.spec.get("securityContext")
        return next(c["runAsUser"] for c in contexts if c and "runAsUser" in c)

    def group(self):
        return (self.spec.get("securityContext") or {}).get("fsGroup", 0)

    def volume(self, name):
        """The folder of a volume, made when it is first asked for."""
        at = self.folder / name
        if at.exists():
            return at
        about = next(v for v in self.spec["volumes"] if v["name"] == name)
        at.mkdir()
        if "emptyDir" in about:
            os.chown(at, 0, self.group())
            at.chmod(0o2777)
            return at
        kind, source = ("Secret", about["secret"]) if "secret" in about else ("ConfigMap", about["configMap"])
        content = self.objects[kind, source["secretName"] if kind == "Secret" else source["name"]]
        for key, text in content.items():
            (at / key).write_text(text)
            os.chown(at / key, 0, self.group())
            (at / key).chmod(source.get("defaultMode", 0o644))
        return at

    def environment(self, container):
        assert not container.get("envFrom"), "envFrom is not known here"
        for variable in container["env"]:
            if "valueFrom" in variable:
                source = variable["valueFrom"]["secretKeyRef"]
                yield variable["name"], self.objects["Secret", source["name"]][source["key"]]
            else:
                yield variable["name"], variable.get("value", "")

    def command(self, container):
        assert "command" not in container and not container.get("args"), "the chart passes no arguments"
        command = ["bwrap", "--die-with-parent", "--unshare-pid", "--unshare-ipc", "--clearenv", "--as-pid-1"]
        # Folders that bwrap makes by itself are closed to others.
        command += ["--dir", "/etc", "--dir", "/etc/git-secret"]
        for folder in READ_ONLY:
            if os.path.islink(folder):
                command += ["--symlink", os.readlink(folder), folder]
            elif os.path.exists(folder):
                command += ["--ro-bind", folder, folder]
        command += ["--proc", "/proc", "--dev", "/dev", "--dir", "/tmp", "--ro-bind", BIN, "/git-sync"]
        for mount in container["volumeMounts"]:
            source = self.volume(mount["name"]) / mount.get("subPath", "")
            command += ["--ro-bind" if mount.get("readOnly") else "--bind", str(source), mount["mountPath"]]
        command += ["--setenv", "HOME", "/tmp"]
        for name, value in self.environment(container):
            command += ["--setenv", name, value]
        groups = ["--groups", str(self.group())] if self.group() else ["--clear-groups"]
        command += ["--remount-ro", "/", "setpriv", "--reuid", str(self.uid(container)), "--regid", "0", *groups]
        return [*command, "/git-sync"]

    def start(self, container):
        with open(self.folder / f"{container['name']}.log", "w") as log:
            # bwrap itself runs as root; it passes signals on to nobody, so the process inside gets its own.
            return subprocess.Popen(self.command(container), stdout=log, stderr=log)

    def log(self, container):
        return (self.folder / f"{container['name']}.log").read_text()

    def readers(self):
        """Each Airflow container that has git-sync's volume, and the folder on this host where it finds its DAGs."""
        for container in [*(self.spec.get("initContainers") or []), *self.spec["containers"]]:
            mounts = container.get("volumeMounts") or []
            if container in (self.init, self.sidecar) or self.shared not in (m["name"] for m in mounts):
                continue
            folder = self.dags_folder(container)
            holding = [m for m in mounts if (folder + "/").startswith(m["mountPath"].rstrip("/") + "/")]
            mount = max(holding, key=lambda m: len(m["mountPath"]))
            assert mount["name"] == self.shared, f"{container['name']} looks in {folder}, which is not on git-sync's volume"
            below = os.path.relpath(folder, mount["mountPath"])
            yield container["name"], folder, self.volume(self.shared) / mount.get("subPath", "") / below

    def dags_folder(self, container):
        """What Airflow makes of its variables and of its airflow.cfg."""
        given = {v["name"]: v.get("value") for v in container.get("env") or []}
        if folder := given.get("AIRFLOW__CORE__DAGS_FOLDER"):
            return folder
        mount = next(m for m in container["volumeMounts"] if m.get("subPath") == "airflow.cfg")
        parser = configparser.RawConfigParser(strict=False)
        parser.read(self.volume(mount["name"]) / "airflow.cfg")
        return parser["core"]["dags_folder"].rstrip("/")

    def on(self, commit, text):
        """Whether the link leads to `commit`, and every Airflow container reads `text` where it looks."""
        if not self.link.is_symlink():
            return False
        target = os.readlink(self.link)
        if target.startswith("/") or os.path.basename(target) != commit:
            return False
        found = [folder / "dag.py" for _, _, folder in self.readers()]
        inside = all(dag.resolve().is_relative_to(self.volume(self.shared)) for dag in found)
        return bool(found) and inside and all(dag.read_text() == text for dag in found)


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
