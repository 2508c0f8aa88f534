"""A pod as the kubelet makes it: volumes as folders, containers as processes, with exactly what their manifest gives them."""

import contextlib
import os
import pathlib
import re
import shutil
import subprocess
import tempfile

BIN = os.environ["BIN"]
# What the image of dagsync has: its base is distroless, with libraries, certificates and no shell.
LIBRARIES = ("/usr/lib", "/usr/lib64", "/lib", "/lib64", "/etc/ssl", "/usr/share/ca-certificates")
ENTRYPOINT = "/usr/bin/dagsync"
# Changes the user and drops all rights, then becomes the container's first process.
SETPRIV = "/.setpriv"


def dagsync_image(_):
    """What an image has besides its libraries: a path in it, and what lies there."""
    return {ENTRYPOINT: BIN}


def expand(text, variables):
    """Kubernetes' $(NAME); it stays as it is where there is no such variable."""
    return re.sub(r"\$\((\w+)\)", lambda found: variables.get(found[1], found[0]), text)


class Pod:
    """`objects` are the cluster's: (kind, name) to a mapping. `images` says what is in an image."""

    def __init__(self, manifest, objects, images=dagsync_image):
        self.metadata, self.spec = manifest.get("metadata") or {}, manifest["spec"]
        self.objects, self.images = objects, images
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="dagsync-pod."))
        self.folder.chmod(0o755)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        shutil.rmtree(self.folder)

    def context(self, container, name, default=None):
        """A field of the container's own security context, else of the pod's."""
        contexts = container.get("securityContext"), self.spec.get("securityContext")
        return next((c[name] for c in contexts if c and name in c), default)

    def uid(self, container):
        return self.context(container, "runAsUser")

    def group(self):
        return (self.spec.get("securityContext") or {}).get("fsGroup", 0)

    def volume(self, name):
        """The folder of a volume, made when it is first asked for."""
        at = self.folder / name
        if at.exists():
            return at
        about = next((v for v in self.spec.get("volumes") or [] if v["name"] == name), {"emptyDir": {}})
        if claim := about.get("persistentVolumeClaim"):
            at.symlink_to(self.objects["PersistentVolumeClaim", claim["claimName"]])
            return at
        at.mkdir()
        if "emptyDir" in about:
            os.chown(at, 0, self.group())
            at.chmod(0o2777)
            return at
        sources = about["projected"]["sources"] if "projected" in about else [about]
        for source in sources:
            self.write(at, source, about.get("projected", {}).get("defaultMode"))
        return at

    def write(self, at, source, mode):
        """The files of one ConfigMap, Secret or token."""
        if token := source.get("serviceAccountToken"):
            content = {token["path"]: self.objects["token", token.get("audience", "")]}
        else:
            kind = "Secret" if "secret" in source else "ConfigMap"
            about = source.get("secret") or source["configMap"]
            content = self.referred(kind, about.get("secretName") or about["name"], about)
            mode = mode or about.get("defaultMode")
            if items := about.get("items"):
                content = {item["path"]: content[item["key"]] for item in items}
        for key, text in content.items():
            (at / key).write_text(text)
            os.chown(at / key, 0, self.group())
            # As the kubelet does with a group for files: it may read all of them.
            (at / key).chmod((0o644 if mode is None else mode) | 0o440)

    def referred(self, kind, name, reference):
        """An object that a pod names; nothing, where it is optional and not there."""
        if (kind, name) not in self.objects and reference.get("optional"):
            return {}
        return self.objects[kind, name]

    def environment(self, container):
        """In the order that counts: a value may name what came before it."""
        found = {}
        for source in container.get("envFrom") or []:
            kind, reference = ("Secret", source["secretRef"]) if "secretRef" in source else ("ConfigMap", source["configMapRef"])
            for name, value in self.referred(kind, reference["name"], reference).items():
                found[source.get("prefix", "") + name] = value
        for variable in container.get("env") or []:
            if "valueFrom" in variable:
                found[variable["name"]] = self.value_from(variable["valueFrom"])
            else:
                found[variable["name"]] = expand(variable.get("value") or "", found)
        yield from found.items()

    def value_from(self, source):
        for key, kind in (("secretKeyRef", "Secret"), ("configMapKeyRef", "ConfigMap")):
            if reference := source.get(key):
                return self.referred(kind, reference["name"], reference)[reference["key"]]
        path = source["fieldRef"]["fieldPath"]
        if label := re.fullmatch(r"metadata\.labels\['(.+)'\]", path):
            return self.metadata["labels"].get(label[1], "")
        return self.fields()[path]

    def fields(self):
        """What the downward API tells besides labels."""
        return {
            "metadata.name": self.metadata.get("name"),
            "metadata.namespace": self.metadata.get("namespace"),
            "spec.nodeName": "node-1",
            "spec.serviceAccountName": self.spec.get("serviceAccountName", "default"),
        }

    def mounts(self, container):
        """The folder or file on this host, the path in the container, and whether it is read-only."""
        for mount in container.get("volumeMounts") or []:
            claim = next((v.get("persistentVolumeClaim") for v in self.spec.get("volumes") or [] if v["name"] == mount["name"]), None)
            closed = mount.get("readOnly") or (claim or {}).get("readOnly")
            source = self.volume(mount["name"]) / mount.get("subPath", "")
            # As the kubelet does for what is not there.
            if not source.exists():
                source.mkdir()
            yield source, mount["mountPath"], bool(closed)

    def system(self):
        """What every container gets from the node, as `mounts`."""
        return []

    def command(self, container, words=None):
        """What starts the container, or other words in its place."""
        variables = dict(self.environment(container))
        if words is None:
            given = [*(container.get("command") or [ENTRYPOINT]), *(container.get("args") or [])]
            words = [expand(word, variables) for word in given]
        command = ["bwrap", "--die-with-parent", "--unshare-pid", "--unshare-ipc", "--clearenv", "--as-pid-1"]
        image = [(source, path, True) for path, source in self.images(container["image"]).items()]
        binds = [*image, *self.system(), *self.mounts(container)]
        # Folders that bwrap makes by itself are closed to others.
        for folder in sorted({str(f) for path in (*LIBRARIES, *(b[1] for b in binds)) for f in pathlib.Path(path).parents} - {"/"}):
            command += ["--perms", "0755", "--dir", folder]
        for folder in LIBRARIES:
            if os.path.islink(folder):
                command += ["--symlink", os.readlink(folder), folder]
            elif os.path.exists(folder):
                command += ["--ro-bind", folder, folder]
        command += ["--proc", "/proc", "--dev", "/dev", "--dir", "/tmp", "--ro-bind", shutil.which("setpriv"), SETPRIV]
        for source, path, closed in binds:
            command += ["--ro-bind" if closed else "--bind", os.path.realpath(source), path]
        for name, value in {"HOME": "/tmp", "PATH": "/usr/bin:/bin", **variables}.items():
            command += ["--setenv", name, value]
        return [*command, "--remount-ro", "/", SETPRIV, *self.rights(container), *words]

    def rights(self, container):
        """Whom it runs as. Everything that is rendered drops its capabilities, or is no root and so has none."""
        groups = ["--groups", str(self.group())] if self.group() else ["--clear-groups"]
        found = ["--reuid", str(self.uid(container)), "--regid", str(self.context(container, "runAsGroup", 0)), *groups]
        if "ALL" in ((container.get("securityContext") or {}).get("capabilities") or {}).get("drop", []):
            found += ["--inh-caps=-all", "--ambient-caps=-all", "--bounding-set=-all"]
        return [*found, *(["--no-new-privs"] if self.context(container, "allowPrivilegeEscalation") is False else [])]

    def start(self, container):
        with open(self.folder / f"{container['name']}.log", "a") as log:
            # bwrap itself runs as root; it passes signals on to nobody, so the process inside gets its own.
            return subprocess.Popen(self.command(container), stdout=log, stderr=log)

    def log(self, container):
        at = self.folder / f"{container['name']}.log"
        return at.read_text() if at.exists() else ""


def inside(process):
    """The PID of dagsync below bwrap."""
    with contextlib.suppress(OSError):
        for child in pathlib.Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split():
            if pathlib.Path(f"/proc/{child}/exe").readlink().name == os.path.basename(ENTRYPOINT):
                return int(child)
    return None
