"""What is in deploy, as real tools render it: Helm, and kubectl for Kustomize."""

import json
import os
import pathlib
import subprocess
import sys
import tempfile

import kubernetes_validate
import yaml

ROOT = pathlib.Path(__file__).parents[2]
FLEET, CHART, WATCH = (ROOT / "deploy" / name for name in ("fleet", "chart", "watch"))
CI = sorted((CHART / "ci").glob("*-values.yaml"))
OVERLAYS = sorted(p.parent for p in FLEET.glob("overlays/*/kustomization.yaml"))
HELM = next(p for p in (pathlib.Path(d) / "bin/helm" for d in sys.path) if p.exists())
VERSIONS = [v for v in dict.fromkeys(kubernetes_validate.utils.all_versions()) if tuple(map(int, v.split(".")[:2])) >= (1, 29)]
# What the Prometheus operator brings is no part of Kubernetes.
FOREIGN = ("monitoring.coreos.com/v1",)
# What all pods of one Airflow have, as its chart labels them.
AIRFLOW = {"tier": "airflow", "release": "airflow"}


def run(*command):
    """The exit status, what is printed, and what is said."""
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True)
    return done.returncode, done.stdout, done.stderr


def must(*command):
    status, out, said = run(*command)
    assert status == 0, f"{' '.join(map(str, command))}: {said}"
    return out


def objects(text):
    return [each for each in yaml.safe_load_all(text) if each]


def helm(*values, release="dagsync", **options):
    """Helm's answer for these values: files, or mappings."""
    with tempfile.TemporaryDirectory() as folder:
        arguments = []
        for number, given in enumerate(values):
            if not isinstance(given, pathlib.Path):
                path = pathlib.Path(folder, f"{number}.json")
                path.write_text(json.dumps(given))
                given = path
            arguments += ["--values", given]
        for name, value in options.items():
            arguments += [f"--{name}", value]
        return run(HELM, "template", release, CHART, "--namespace", "airflow", *arguments)


def chart(*values, **options):
    """The objects of the chart with these values."""
    status, out, said = helm(*values, **options)
    assert status == 0, f"{values}: {said}"
    return objects(out)


def kustomization(folder):
    return objects(must("kubectl", "kustomize", folder))


def key(each):
    return each["kind"], each["metadata"]["name"]


def only(kind, among, name=None):
    """The one object of a kind."""
    found = [each for each in among if each["kind"] == kind and name in (None, each["metadata"]["name"])]
    assert len(found) == 1, f"{len(found)} of {kind} {name or ''}"
    return found[0]


def settings(among):
    """dagsync.yaml of the check."""
    return only("ConfigMap", among, name=pod(among)["volumes"][0]["configMap"]["name"])["data"]["dagsync.yaml"]


def pod(among):
    """The pod of the check."""
    for each in among:
        if each["kind"] == "CronJob":
            return each["spec"]["jobTemplate"]["spec"]["template"]["spec"]
        if each["kind"] == "Deployment":
            return each["spec"]["template"]["spec"]
    raise AssertionError("no check")


def leaves(tree, at=()):
    """Each value with the way to it."""
    for name, value in tree.items():
        if isinstance(value, dict) and value:
            yield from leaves(value, (*at, name))
        else:
            yield (*at, name), value


def at(tree, path):
    """What stands at `a/b/0/c`; nothing where the way ends before."""
    for name in path.split("/"):
        if isinstance(tree, list) and name.isdigit() and int(name) < len(tree):
            tree = tree[int(name)]
        elif isinstance(tree, dict) and name in tree:
            tree = tree[name]
        else:
            return None
    return tree


def nested(path, value):
    for name in reversed(path):
        value = {name: value}
    return value


def renderings():
    """Everything that deploy/fleet and deploy/chart render by themselves, by name."""
    yield "chart", chart()
    for file in CI:
        yield f"chart {file.name}", chart(file)
    for folder in (FLEET / "base", *OVERLAYS):
        yield f"kustomize {folder.name}", kustomization(folder)
    yield "network-policy", objects((FLEET / "network-policy/networkpolicy.yaml").read_text())


def dagsync(*arguments):
    return run(os.environ["BIN"], *arguments)


def main(checks):
    """Does the checks that are named, or all."""
    names = sys.argv[1:] or list(checks)
    for name in names:
        checks[name]()
        print(f"ok {name}")


if __name__ == "__main__":
    # `rendered.py kustomize FOLDER` or `rendered.py chart [FILE…] JSON`: the objects as JSON, for tests that run what comes out.
    what, *files, given = sys.argv[1:]
    found = kustomization(ROOT / given) if what == "kustomize" else chart(*(CHART / file for file in files), json.loads(given))
    print(json.dumps(found))
