"""A pod of the chart with git-sync: its containers, its volume, and where Airflow looks."""

import os

from kubelet import Pod as Manifest
from official import dags_folder


class Pod(Manifest):
    """Of the pods of the chart, one that may have git-sync."""

    def __init__(self, spec, objects):
        super().__init__({"spec": spec}, objects)
        self.init, self.sidecar = (self.git_sync(kind) for kind in ("initContainers", "containers"))
        any_of_both = self.init or self.sidecar
        variables = dict(self.environment(any_of_both)) if any_of_both else {}
        mounts = any_of_both["volumeMounts"] if any_of_both else []
        # The volume that git-sync writes to, and its link in there.
        self.shared = next((m["name"] for m in mounts if m["mountPath"] == variables["GITSYNC_ROOT"]), None)
        self.link = self.shared and self.volume(self.shared) / variables["GITSYNC_LINK"]

    def git_sync(self, kind):
        return next((c for c in self.spec.get(kind) or [] if c["name"].startswith("git-sync")), None)

    def readers(self):
        """Each Airflow container that has git-sync's volume, and the folder on this host where it finds its DAGs."""
        for container in [*(self.spec.get("initContainers") or []), *self.spec["containers"]]:
            mounts = container.get("volumeMounts") or []
            if container in (self.init, self.sidecar) or self.shared not in (m["name"] for m in mounts):
                continue
            folder = dags_folder(self, container)
            holding = [m for m in mounts if (folder + "/").startswith(m["mountPath"].rstrip("/") + "/")]
            mount = max(holding, key=lambda m: len(m["mountPath"]))
            assert mount["name"] == self.shared, f"{container['name']} looks in {folder}, which is not on git-sync's volume"
            below = os.path.relpath(folder, mount["mountPath"])
            yield container["name"], folder, self.volume(self.shared) / mount.get("subPath", "") / below

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
