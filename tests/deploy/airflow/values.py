"""The files of values for the official chart: how they are combined, rendered and read. Shared by both checks beside it."""

import functools
import json
import pathlib
import re
import subprocess
import sys

import kubernetes_validate
import yaml

DEPLOY = pathlib.Path(__file__).parents[3] / "deploy"
AIRFLOW = DEPLOY / "airflow"
#: Every way to combine the files that the guide names, at least once.
COMBINATIONS = [
    "values git",
    "values s3",
    "values s3 s3-irsa",
    "values volume",
    "values image",
    "values git s3",
    "values git airflow-2",
    "values s3 s3-irsa airflow-2",
    "values volume airflow-2",
    "values git kubernetes-executor pin-workers",
    "values image kubernetes-executor pin-workers",
    "values plain-sidecars git",
    "values plain-sidecars image",
    "values plain-sidecars git airflow-2",
    "values plain-sidecars git kubernetes-executor pin-workers",
    "git-sync",
]
HELM = next(at for at in (pathlib.Path(folder) / "bin/helm" for folder in sys.path) if at.exists())
#: From the first Kubernetes with native sidecars to the newest that the checker knows.
KUBERNETES = [v for v in kubernetes_validate.utils.all_versions() if tuple(map(int, v.split(".")[:2])) >= (1, 29)]


def strictly(document, where):
    """No Kubernetes may find an unknown key, or a wrong value, in this object."""
    wrong = _wrong(json.dumps(document, sort_keys=True))
    assert not wrong, f"{where}, {wrong}"


@functools.cache
def _wrong(document):
    for version in KUBERNETES:
        try:
            kubernetes_validate.validate(json.loads(document), version, strict=True)
        except kubernetes_validate.ValidationError as error:
            return f"Kubernetes {version}: {error.path}: {error.message}"
    return None


def read(name):
    return yaml.safe_load((AIRFLOW / f"{name}.yaml").read_text())


def helm(verb, chart, files, *options):
    command = [str(HELM), *verb.split(), str(chart), "--namespace", "airflow", *options]
    for file in files:
        command += ["-f", str(file)]
    ended = subprocess.run(command, text=True, capture_output=True, check=False)
    if ended.returncode != 0:
        raise AssertionError(f"{' '.join(command)}: {(ended.stderr or ended.stdout).strip()}")
    return ended.stdout


def documents(text):
    return [d for d in yaml.safe_load_all(text) if d]


def files_of(combination):
    return [AIRFLOW / f"{name}.yaml" for name in combination.split()]


def containers(spec):
    return [*(spec.get("initContainers") or []), *(spec.get("containers") or [])]


def config_map(rendered):
    return next(d["data"] for d in rendered if d["kind"] == "ConfigMap" and d["metadata"]["name"] == "dagsync")


def accepted(binary, container, config, folder):
    """What `dagsync config` makes of a container's arguments and environment: setting to value."""
    environment = {"PATH": "/usr/bin:/bin"}
    for variable in container.get("env") or []:
        source = variable.get("valueFrom") or {}
        if "configMapKeyRef" in source:
            assert source["configMapKeyRef"]["name"] == "dagsync", f"no such ConfigMap: {source}"
            environment[variable["name"]] = config[source["configMapKeyRef"]["key"]]
        else:
            environment[variable["name"]] = variable.get("value", "from-the-pod")
    assert container["command"] == ["/usr/bin/dagsync"], container["command"]
    expand = lambda text: re.sub(r"\$\((\w+)\)", lambda name: environment[name[1]], text)
    verb, *arguments = map(expand, container["args"])
    assert verb in ("run", "once"), f"no such command: {verb}"
    for key, text in config.items():
        (folder / key).write_text(text)
    arguments = [text.replace("/etc/dagsync/", f"{folder}/") for text in arguments]
    command = [binary, "config", *arguments, "--output", "json"]
    ended = subprocess.run(command, env=environment, text=True, capture_output=True, check=False)
    assert ended.returncode == 0, f"{container['name']}: {' '.join(command)}: {ended.stderr.strip()}"
    return {setting["name"]: setting["value"] for setting in json.loads(ended.stdout)["settings"]}
