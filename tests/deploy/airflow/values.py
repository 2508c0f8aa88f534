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
HERE = pathlib.Path(__file__).parent
#: Every way to combine the files that the guide names, at least once; those beside this one are what a user brings.
COMBINATIONS = [
    "values git",
    "values s3",
    "values s3 s3-irsa",
    "values volume",
    "values image",
    "values git s3",
    "values git without-api-server",
    "values git airflow-2 airflow-2.11",
    "values git airflow-2 airflow-2.11 without-api-server",
    "values s3 s3-irsa airflow-2 airflow-2.11",
    "values volume airflow-2 airflow-2.11",
    "values git pin-workers both-executors",
    "values git kubernetes-executor pin-workers",
    "values image kubernetes-executor pin-workers",
    "values plain-sidecars git",
    "values plain-sidecars image",
    "values plain-sidecars without-api-server git",
    "values plain-sidecars git airflow-2 airflow-2.11",
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
    return yaml.safe_load(files_of(name)[0].read_text())


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


def combinations(version):
    """Those of a version of the chart: before 1.20 the api-server of Airflow 3 needs one file more."""
    for combination in COMBINATIONS:
        parts = combination.split()
        if tuple(map(int, version.split(".")[:2])) < (1, 20) and not {"airflow-2", "without-api-server", "image", "git-sync"} & set(parts):
            at = 2 if "plain-sidecars" in parts else 1
            parts.insert(at, "without-api-server" if at == 2 else "chart-1.18")
        yield " ".join(parts)


def files_of(combination):
    files = [folder / f"{name}.yaml" for name in combination.split() for folder in (AIRFLOW, HERE)]
    return [at for at in files if at.exists()]


def containers(spec):
    return [*(spec.get("initContainers") or []), *(spec.get("containers") or [])]


def config_map(rendered):
    return next(d["data"] for d in rendered if d["kind"] == "ConfigMap" and d["metadata"]["name"] == "dagsync")


def expand(text, environment):
    """Kubernetes' $(NAME), which stays as it is where there is no such variable."""
    return re.sub(r"\$\((\w+)\)", lambda name: environment.get(name[1], name[0]), text)


def environment(container, config):
    """As the kubelet makes it, in the order of the list; what the pod itself would tell is not known here."""
    found = {}
    for variable in container.get("env") or []:
        source = variable.get("valueFrom") or {}
        if "configMapKeyRef" in source:
            assert source["configMapKeyRef"]["name"] == "dagsync", f"no such ConfigMap: {source}"
            found[variable["name"]] = config[source["configMapKeyRef"]["key"]]
        else:
            found[variable["name"]] = expand(variable.get("value", "from-the-pod"), found)
    return found


def accepted(binary, container, config, folder):
    """What `dagsync config` makes of a container's environment: setting to value."""
    assert container["command"] == ["/usr/bin/dagsync"], container["command"]
    assert container["args"] in (["run"], ["once"]), container["args"]
    for key, text in config.items():
        (folder / key).write_text(text)
    variables = {"PATH": "/usr/bin:/bin", **environment(container, config)}
    variables["DAGSYNC_CONFIG"] = variables["DAGSYNC_CONFIG"].replace("/etc/dagsync/", f"{folder}/")
    command = [binary, "config", "--output", "json"]
    ended = subprocess.run(command, env=variables, text=True, capture_output=True, check=False)
    assert ended.returncode == 0, f"{container['name']}: {' '.join(command)}: {ended.stderr.strip()}"
    return {setting["name"]: setting["value"] for setting in json.loads(ended.stdout)["settings"]}
