"""The body of tests/deploy/airflow/check."""

import copy
import os
import pathlib
import re
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor

import yaml
from fit import check_pod, dagsync_of, names_are_unique
from values import AIRFLOW, DEPLOY, HELM, combinations, config_map, documents, files_of, helm, read, strictly

BIN = os.environ["BIN"]
CHARTS = "https://airflow.apache.org"
DEFAULT = ["1.18.0", "^1"]
GUIDE = (DEPLOY / "README.md").read_text()
GUIDES_ACCOUNTS = re.search(r"for account in ([\w -]+);", GUIDE)[1].split()


def fetch(chart, folder):
    if pathlib.Path(chart).is_dir():
        return pathlib.Path(chart)
    pull = [str(HELM), "pull", "airflow", "--repo", CHARTS, "--version", chart, "--untar", "--untardir", str(folder)]
    ended = subprocess.run(pull, text=True, capture_output=True, check=False)
    if ended.returncode != 0:
        sys.exit(f"cannot get version {chart} of the chart from {CHARTS}: {ended.stderr.strip()}\nname a folder that holds it")
    return folder / "airflow"


def render(chart, files):
    return settled(helm("template airflow", chart, files))


def settled(text):
    """Without what is made at random, or of a whole other text: its change is no sign that a value is read."""
    return re.sub(r"(?m)^.*(fernet-key|secret-key|password|jwt-secret|connection|webserver-secret|checksum/).*$", "", text)


def templates(document):
    """Name and pod template of whatever runs pods, and that of the KubernetesExecutor."""
    if document["kind"] == "ConfigMap" and "pod_template_file.yaml" in (document.get("data") or {}):
        yield "pod template", yaml.safe_load(document["data"]["pod_template_file.yaml"])
    template = (document.get("spec") or {}).get("template")
    if template and document["kind"] in ("Deployment", "StatefulSet"):
        yield document["metadata"]["name"], template


def documents_of_accounts(rendered):
    return {d["metadata"]["name"]: d for d in rendered if d["kind"] == "ServiceAccount"}


def check_account(spec, accounts, parts):
    """The account of every pod with dagsync is among those of the guide, and has the role where there is one."""
    name = spec["serviceAccountName"]
    assert name.removeprefix("airflow-") in GUIDES_ACCOUNTS, f"deploy/README.md names no account {name}"
    role = "eks.amazonaws.com/role-arn" in (accounts[name]["metadata"].get("annotations") or {})
    assert role == ("s3-irsa" in parts), f"{name} has {'a' if role else 'no'} role"


def check_selector(rendered):
    """What the guide restarts by hand are the pods with dagsync, and never the broker."""
    components = set(re.search(r"component in \(([\w, -]+)\)", GUIDE)[1].split(","))
    for document in rendered:
        for name, template in templates(document):
            if name != "pod template" and template["metadata"]["labels"].get("tier") == "airflow":
                has = bool(dagsync_of(template["spec"]))
                labels = document["metadata"]["labels"]
                assert not has or labels["component"] in components, f"{name} is not restarted"
                assert has or labels.get("component") not in components - {"api-server", "webserver"}, f"{name} is restarted"


def check_pods(rendered, combination, folder):
    """Every component has dagsync, in the way that was asked for, and the binary takes what it is given."""
    parts, seen = combination.split(), set()
    for document in rendered:
        for name, template in templates(document):
            if name == "pod template":
                strictly(template, f"{combination}, pod template")
            component = template["metadata"]["labels"].get("component")
            names_are_unique(template["spec"], f"{combination}, {name}")
            if found := dagsync_of(template["spec"]):
                check_pod(BIN, component, template["spec"], config_map(rendered), folder, f"{combination}, {name}")
                check_account(template["spec"], documents_of_accounts(rendered), parts)
                seen.add("pod template" if name == "pod template" else component)
                kinds = [(c["name"], c.get("restartPolicy")) for c in found]
                if "kubernetes-executor" in parts and name == "pod template":
                    assert kinds == [("dagsync-init", None)], f"{combination}, {name}: {kinds}"
                elif "plain-sidecars" in parts:
                    assert kinds == [("dagsync-init", None), ("dagsync", None)], f"{combination}, {name}: {kinds}"
                else:
                    assert kinds == [("dagsync", "Always")], f"{combination}, {name}: {kinds}"
    wanted = {"scheduler", "dag-processor", "triggerer"}
    wanted |= {"pod template"} if {"kubernetes-executor", "both-executors"} & set(parts) else set()
    wanted |= set() if "kubernetes-executor" in parts else {"worker"}
    if "without-api-server" not in parts:
        wanted |= {"webserver"} if "airflow-2" in parts else set() if "image" in parts else {"api-server"}
    assert seen == wanted, f"{combination}: dagsync is in {sorted(seen)}, not in {sorted(wanted)}"


def leaves(tree, path=()):
    """Paths to what is neither a map nor empty. A list is one: what is in it is Kubernetes', or dagsync's, and checked by them."""
    for key, value in tree.items():
        if isinstance(value, dict) and value:
            yield from leaves(value, (*path, key))
        else:
            yield (*path, key)


def changed(tree, path):
    """The tree without a leaf, and with another value there."""
    for how in ("without", "other"):
        copied = copy.deepcopy(tree)
        at = copied
        for key in path[:-1]:
            at = at[key]
        value = at.pop(path[-1])
        if how == "other":
            if isinstance(value, (bool, list)):
                at[path[-1]] = (not value) if isinstance(value, bool) else []
            else:
                at[path[-1]] = value + 1 if isinstance(value, int) else f"{value}x"
        yield copied


def is_read(chart, name, path, tree, usual):
    for combination in (c for c in usual if name in c.split()):
        for other in changed(tree, path):
            with tempfile.NamedTemporaryFile("w", suffix=".yaml") as file:
                yaml.safe_dump(other, file)
                file.flush()
                files = [file.name if at == AIRFLOW / f"{name}.yaml" else at for at in files_of(combination)]
                try:
                    if render(chart, files) != usual[combination]:
                        return True
                except AssertionError as error:
                    # The chart's schema says nothing of who reads it; a template that fails over it has read it.
                    if "execution error at" in str(error):
                        return True
    return False


def dead(chart, name, usual, tree=None):
    tree = tree or read(name)
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        paths = list(leaves(tree))
        answers = pool.map(lambda path: is_read(chart, name, path, tree, usual), paths)
        return [".".join(path) for path, answer in zip(paths, answers) if not answer], len(paths)


def check_unknown(chart):
    """A key that the chart does not know is an error of its own schema, or found dead."""
    tree = read("git")
    tree["scheduler"] = {"noSuchKey": 1}
    with tempfile.NamedTemporaryFile("w", suffix=".yaml") as file:
        yaml.safe_dump(tree, file)
        file.flush()
        try:
            helm("template airflow", chart, [*files_of("values git"), file.name])
        except AssertionError as error:
            assert "noSuchKey" in str(error), error
        else:
            raise AssertionError("the chart took scheduler.noSuchKey")


def check_image(chart, usual):
    """dagsync.image is what every container of dagsync has, but for the list that the oldest charts do not expand."""
    for combination in (c for c in usual if not {"image", "git-sync"} & set(c.split())):
        text = helm("template airflow", chart, files_of(combination), "--set", "dagsync.image=registry.example.com/dagsync:1")
        for document in documents(text):
            for name, template in templates(document):
                for container in dagsync_of(template["spec"]):
                    written = "chart-1.18" in combination.split() and name == "airflow-api-server"
                    image = "ghcr.io/dagsync/dagsync:0.1.0" if written else "registry.example.com/dagsync:1"
                    assert container["image"] == image, f"{combination}, {name}: {container['image']}"


def check_chart(chart):
    version = yaml.safe_load((chart / "Chart.yaml").read_text())["version"]
    usual = {}
    for combination in combinations(version):
        helm("lint", chart, files_of(combination))
        text = helm("template airflow", chart, files_of(combination))
        usual[combination], rendered = settled(text), documents(text)
        for document in rendered:
            strictly(document, f"airflow-{version}, {combination}, {document['kind']} {document['metadata']['name']}")
        if combination != "git-sync":
            with tempfile.TemporaryDirectory() as folder:
                check_pods(rendered, combination, pathlib.Path(folder))
            check_selector(rendered)
        print(f"airflow-{version}, {combination}: {len(rendered)} objects", flush=True)
    check_unknown(chart)
    check_image(chart, usual)
    unread, _ = dead(chart, "git", usual, {**read("git"), "noSuchKey": {"a": 1}})
    assert unread == ["noSuchKey.a"], f"of git.yaml and a key that nothing reads, dead are {unread}"
    for name in (n for n in dict.fromkeys(" ".join(usual).split()) if (AIRFLOW / f"{n}.yaml").exists()):
        unread, number = dead(chart, name, usual)
        # Where the api-server's list is not expanded, plain sidecars go without it.
        if name == "plain-sidecars" and not any("without" not in c and "image" not in c and "airflow-2" not in c for c in usual if name in c):
            unread = [path for path in unread if not path.startswith("apiServer.")]
        assert not unread, f"airflow-{version}: nothing reads {unread} of {name}.yaml"
        print(f"airflow-{version}, {name}.yaml: {number} values, all read", flush=True)


def check_flux(chart):
    """The values of the HelmRelease too."""
    release = next(d for d in documents((DEPLOY / "flux/airflow.yaml").read_text()))
    inline = release["spec"]["values"]
    files = [AIRFLOW / source["valuesKey"] for source in release["spec"]["valuesFrom"]]
    if yaml.safe_load((chart / "Chart.yaml").read_text())["version"] < "1.20":
        files.insert(1, AIRFLOW / "chart-1.18.yaml")
    for path in [None, *leaves(inline)]:
        trees = [inline] if path is None else list(changed(inline, path))
        texts = []
        for tree in trees:
            with tempfile.NamedTemporaryFile("w", suffix=".yaml") as file:
                yaml.safe_dump(tree, file)
                file.flush()
                texts.append(render(chart, [*files, file.name]))
        if path is None:
            usual = texts[0]
        else:
            assert any(text != usual for text in texts), f"nothing reads {'.'.join(path)} of flux/airflow.yaml"


def main():
    with tempfile.TemporaryDirectory() as folder:
        for number, given in enumerate(sys.argv[1:] or DEFAULT):
            chart = fetch(given, pathlib.Path(folder) / str(number))
            check_chart(chart)
            check_flux(chart)


main()
