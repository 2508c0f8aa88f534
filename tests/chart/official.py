"""The official Airflow chart as real Helm renders it, and what of it the kubelet needs."""

import base64
import configparser
import pathlib
import shutil
import subprocess
import sys
import time

import yaml

CHARTS = "https://airflow.apache.org"
DEFAULT = ["1.18.0", "^1"]
PATIENCE = 60
# Airflow's own database, which is none of the chart's: nobody asks it here.
DATABASE = {
    "postgresql": {"enabled": False},
    "data": {"metadataConnection": {"user": "a", "pass": "b", "host": "db", "port": 5432, "db": "airflow"}},
}


def run(*command, **options):
    ended = subprocess.run(command, text=True, capture_output=True, **options)
    if ended.returncode != 0:
        sys.exit(f"{' '.join(command)}: {ended.stderr.strip()}")
    return ended.stdout.strip()


def eventually(what, condition):
    deadline = time.monotonic() + PATIENCE
    while not condition():
        if time.monotonic() > deadline:
            raise AssertionError(f"never: {what()}")
        time.sleep(0.05)


def fetch(chart, folder):
    """A copy of a chart's folder, or of a version, without the database's chart, which is not rendered."""
    if not pathlib.Path(chart).is_dir():
        pull = ["helm", "pull", "airflow", "--repo", CHARTS, "--version", chart, "--untar", "--untardir", str(folder)]
        ended = subprocess.run(pull, text=True, capture_output=True)
        if ended.returncode != 0:
            sys.exit(
                f"helm cannot get version {chart} of the chart from {CHARTS}: {ended.stderr.strip()}\n"
                "name a folder that holds the chart in its place: tests/chart/check path/to/airflow/chart"
            )
        chart = folder / "airflow"
    copy = folder / "chart"
    shutil.copytree(chart, copy)
    about = yaml.safe_load((copy / "Chart.yaml").read_text())
    about.pop("dependencies", None)
    (copy / "Chart.yaml").write_text(yaml.safe_dump(about))
    for lock in copy.glob("*.lock"):
        lock.unlink()
    return copy, about["version"]


def template(chart, *values):
    """The objects of the chart with these files of values, or mappings."""
    arguments = []
    for number, given in enumerate([DATABASE, *values]):
        if not isinstance(given, pathlib.Path):
            path = chart.parent / f"values-{number}.yaml"
            path.write_text(yaml.safe_dump(given))
            given = path
        arguments += ["-f", str(given)]
    text = run("helm", "template", "airflow", str(chart), "-n", "airflow", *arguments)
    return [d for d in yaml.safe_load_all(text) if d]


def objects(documents):
    """The Secrets and ConfigMaps of the chart itself."""
    plain = lambda text: base64.b64decode(text).decode()
    for document in documents:
        at = document["kind"], document["metadata"]["name"]
        if document["kind"] == "ConfigMap":
            yield at, document.get("data") or {}
        elif document["kind"] == "Secret":
            hidden = {key: plain(text) for key, text in (document.get("data") or {}).items()}
            yield at, {**hidden, **(document.get("stringData") or {})}


def pods(documents):
    """Name and manifest of every pod, the KubernetesExecutor's template included."""
    for document in documents:
        if document["kind"] == "ConfigMap":
            template = next((t for k, t in document["data"].items() if "pod_template" in k), None)
            if template:
                yield "pod template", yaml.safe_load(template)
        template = (document.get("spec") or {}).get("template") or {}
        if template.get("spec"):
            yield document["metadata"]["name"], template


def dags_folder(pod, container):
    """What Airflow makes of its variables and of its airflow.cfg."""
    given = {v["name"]: v.get("value") for v in container.get("env") or []}
    if folder := given.get("AIRFLOW__CORE__DAGS_FOLDER"):
        return folder
    mount = next(m for m in container["volumeMounts"] if m.get("subPath") == "airflow.cfg")
    parser = configparser.RawConfigParser(strict=False)
    parser.read(pod.volume(mount["name"]) / "airflow.cfg")
    return parser["core"]["dags_folder"].rstrip("/")
