"""What must fit together in a pod with dagsync, though each half of it is valid by itself."""

import pathlib
import re
import urllib.parse

from values import AIRFLOW, DEPLOY, accepted, containers, documents, environment

#: What nobody changes by accident.
CONFINED = {
    "runAsNonRoot": True,
    "readOnlyRootFilesystem": True,
    "allowPrivilegeEscalation": False,
    "capabilities": {"drop": ["ALL"]},
    "seccompProfile": {"type": "RuntimeDefault"},
}
PROBES = {"startupProbe": "/readyz", "readinessProbe": "/readyz", "livenessProbe": "/livez"}


def dagsync_of(spec):
    return [c for c in containers(spec) if c["name"].startswith("dagsync")]


def secrets():
    """Names and keys of the Secrets that External Secrets or the guide's commands make."""
    made = {}
    for document in documents((AIRFLOW / "secrets/external-secret.yaml").read_text()):
        if document["kind"] == "ExternalSecret":
            spec = document["spec"]
            keys = spec["target"].get("template", {}).get("data") or [each["secretKey"] for each in spec["data"]]
            made[spec["target"]["name"]] = set(keys)
    by_hand = {}
    for name, options in re.findall(r"create secret generic (dagsync-\w+) (.*)", (DEPLOY / "README.md").read_text()):
        by_hand.setdefault(name, set()).update(re.findall(r"--from-file=([\w.]+)", options))
    for name in set(made) & set(by_hand):
        assert made[name] <= by_hand[name], f"the guide's {name} has {by_hand[name]}, that of External Secrets {made[name]}"
        made[name] |= by_hand[name]
    return made


def claims():
    files = AIRFLOW.glob("volume/*.yaml")
    return [{d["metadata"]["name"] for d in documents(at.read_text()) if d["kind"] == "PersistentVolumeClaim"} for at in files]


def leader():
    """Name, port and component of the Service that followers ask."""
    for service in documents((DEPLOY / "fleet/base/services.yaml").read_text()):
        if "component" in service["spec"]["selector"]:
            return service["metadata"]["name"], service["spec"]["ports"][0], service["spec"]["selector"]["component"]
    raise AssertionError("deploy/fleet has no Service of a leader")


def names_are_unique(spec, where):
    for kind, names in {
        "volume": [v["name"] for v in spec.get("volumes") or []],
        "container": [c["name"] for c in containers(spec)],
        **{f"mount of {c['name']}": [m["mountPath"] for m in c.get("volumeMounts") or []] for c in containers(spec)},
    }.items():
        assert len(names) == len(set(names)), f"{where}: a {kind} is there twice: {sorted(names)}"


def has_volumes(spec, where):
    """Every mount has its volume, and each volume of dagsync is what the examples make."""
    volumes = {v["name"]: v for v in spec.get("volumes") or []}
    for container in dagsync_of(spec):
        unknown = {m["name"] for m in container["volumeMounts"]} - set(volumes)
        assert not unknown, f"{where}, {container['name']}: no volume {unknown}"
    assert volumes["dagsync-config"]["configMap"]["name"] == "dagsync", where
    projected = volumes["dagsync-secrets"]["projected"]
    found = {s["secret"]["name"] for s in projected["sources"] if s["secret"]["optional"]}
    assert found == set(secrets()) and projected["defaultMode"] == 0o440, f"{where}: {projected}"
    if claim := volumes["dagsync-source"].get("persistentVolumeClaim"):
        assert claim["readOnly"] and all(claim["claimName"] in made for made in claims()), f"{where}: {claim}"


def listens(container, native, settings, where):
    """Its own port is that of the container, of the probes and of the Service by which others find it."""
    if container["args"] == ["once"]:
        assert "restartPolicy" not in container and not set(PROBES) & set(container), where
        return
    assert (container.get("restartPolicy") == "Always") == native, f"{where}: it never ends, and nothing after it starts"
    port = int(settings["http.bind"].rpartition(":")[2])
    assert container["ports"] == [{"name": "dagsync", "containerPort": port}], f"{where}: {container['ports']}, bound to {port}"
    for probe, path in PROBES.items():
        assert container[probe]["httpGet"] == {"path": path, "port": "dagsync"}, f"{where}: {probe} {container[probe]}"
    _, service, _ = leader()
    assert service["targetPort"] in (port, "dagsync"), f"{where}: the Service sends to {service}"


def follows(component, settings, where):
    name, port, leads = leader()
    assert settings["target.mode"] == ("head" if component == leads else "leader"), f"{where}: {settings['target.mode']}"
    asked = [urllib.parse.urlsplit(url) for url in settings["target.leader"]]
    assert [(url.hostname, url.port) for url in asked] == [(name, port["port"])], f"{where}: it asks {settings['target.leader']}"


def finds_its_files(container, settings, where):
    """The store is on a writable volume, and every file that a setting names is in a mounted Secret."""
    mounts = {m["mountPath"]: m for m in container["volumeMounts"]}
    store = mounts.get(settings["root"])
    assert store and store["name"] == "dagsync" and not store.get("readOnly"), f"{where}: {settings['root']} is no writable mount"
    assert mounts["/etc/dagsync"]["name"] == "dagsync-config", where
    keys = set().union(*secrets().values())
    for setting, value in settings.items():
        for path in value if isinstance(value, list) else [value]:
            if path and setting.endswith("_file"):
                at = pathlib.PurePath(path)
                mounted = mounts.get(str(at.parent), {}).get("name") == "dagsync-secrets"
                assert mounted and at.name in keys, f"{where}: {setting} is {path}, which nothing brings"
    if settings["strategy"] == "volume":
        assert mounts[settings["source"]]["name"] == "dagsync-source", f"{where}: {settings['source']}"


def is_confined(container, where):
    context = container["securityContext"]
    assert {key: context.get(key) for key in CONFINED} == CONFINED, f"{where}: {context}"
    said = (DEPLOY / "README.md").read_text()
    for kind in ("requests", "limits"):
        assert f"`{container['resources'][kind]['memory']}`" in said, f"{where}: deploy/README.md tells another memory"


def check_pod(binary, component, spec, config, folder, where):
    """All of it; the settings of the pod's dagsync come back."""
    names_are_unique(spec, where)
    if not dagsync_of(spec):
        return None
    has_volumes(spec, where)
    for container in dagsync_of(spec):
        here = f"{where}, {container['name']}"
        settings = accepted(binary, container, config, folder)
        assert environment(container, config)["DAGSYNC_CONFIG"].startswith("/etc/dagsync/"), here
        listens(container, container in spec["initContainers"], settings, here)
        follows(component, settings, here)
        finds_its_files(container, settings, here)
        is_confined(container, here)
    return settings
