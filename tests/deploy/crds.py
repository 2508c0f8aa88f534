"""The body of tests/deploy/crds: each object becomes a line of TypeScript that makes it, is compiled and is run."""

import json
import pathlib
import subprocess
import sys
import tempfile

import yaml

PACKAGES = {
    "helm.toolkit.fluxcd.io": "flux-cd",
    "source.toolkit.fluxcd.io": "flux-cd",
    "kustomize.toolkit.fluxcd.io": "flux-cd",
    "external-secrets.io": "external-secrets",
    "bitnami.com": "sealed-secrets",
    "monitoring.coreos.com": "prometheus-operator",
}


def custom_objects(files):
    for file in files:
        for number, document in enumerate(yaml.safe_load_all(pathlib.Path(file).read_text())):
            group, _, version = (document or {}).get("apiVersion", "").partition("/")
            if group in PACKAGES:
                yield f"{file}, object {number + 1}", f"{group}/{version}", document


def module(number, api, document):
    package = PACKAGES[api.split("/")[0]]
    kind = document["kind"]
    rest = {key: value for key, value in document.items() if key not in ("apiVersion", "kind")}
    return (
        f'import {{ {kind} as K{number} }} from "@kubernetes-models/{package}/{api}/{kind}";\n'
        f"new K{number}({json.dumps(rest)}).validate();\n"
    )


def check(tools, where, number, api, document):
    """What is wrong with one object, or nothing."""
    with tempfile.TemporaryDirectory(dir=tools) as folder:
        at = pathlib.Path(folder) / "object.mts"
        at.write_text(module(number, api, document))
        compiler = [f"{tools}/node_modules/.bin/tsc", "--strict", "--skipLibCheck", "--target", "es2022"]
        compiled = subprocess.run(
            [*compiler, "--module", "nodenext", str(at)], text=True, capture_output=True, check=False
        )
        if compiled.returncode != 0:
            return f"{where}: {compiled.stdout.strip()}"
        ran = subprocess.run(["node", str(at.with_suffix(".mjs"))], text=True, capture_output=True, check=False)
        if ran.returncode != 0:
            return f"{where}: {ran.stderr.strip()}"
    return None


def main(tools, *files):
    objects = list(custom_objects(files))
    if not objects:
        sys.exit("no object of a known CRD in these files")
    wrong = []
    for number, (where, api, document) in enumerate(objects):
        wrong += filter(None, [check(tools, where, number, api, document)])
        # The check itself is checked: an unknown key, and one of another type, must be found.
        unknown = {**document, "spec": {**document["spec"], "noSuchKey": 1}}
        mistyped = {**document, "spec": "text"}
        for broken in (unknown, mistyped):
            if check(tools, where, number, api, broken) is None:
                wrong.append(f"{where}: a broken object was not refused")
    if wrong:
        sys.exit("\n".join(wrong))
    print(f"{len(objects)} objects of CRDs are right")


main(*sys.argv[1:])
