"""What is in deploy/airflow and deploy/flux, without the official chart, which CI does not reach: a chart of a page stands in for it.

It treats what the values hand over as the official one does (a template of strings, then YAML). Each check is a function, and is run
by its name. BIN is the binary.
"""

import inspect
import os
import pathlib
import re
import subprocess
import sys
import tempfile

import yaml
from values import AIRFLOW, COMBINATIONS, DEPLOY, accepted, config_map, containers, documents, files_of, helm, read, strictly

BIN = os.environ["BIN"]
#: What a source of each strategy begins with.
SOURCES = {"git": ("ssh://", "https://"), "s3": "s3://", "volume": "/", "image": "image:/"}
#: The official chart, as far as it hands on what the values give it.
CHART = """
{{- define "airflow_image" -}}
{{ ((.Values.images).airflow).repository | default "apache/airflow" }}:{{ ((.Values.images).airflow).tag | default "3.0.2" }}
{{- end }}
{{- range $name, $about := .Values.extraConfigMaps }}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: {{ $name }}}
data:
  {{- tpl $about.data $ | nindent 2 }}
{{- end }}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: airflow.cfg}
data:
  dags_folder: {{ tpl .Values.config.core.dags_folder . | quote }}
{{- range $component := list "scheduler" "dagProcessor" "triggerer" "workers" "apiServer" "webserver" }}
{{- with index $.Values $component }}
---
apiVersion: v1
kind: Pod
metadata: {name: {{ $component | kebabcase }}}
spec:
  initContainers: {{- tpl (toYaml .extraInitContainers) $ | nindent 4 }}
  containers:
    - name: airflow
      image: apache/airflow
      volumeMounts: {{- tpl (toYaml .extraVolumeMounts) $ | nindent 8 }}
    {{- with .extraContainers }}{{ tpl (toYaml .) $ | nindent 4 }}{{ end }}
  volumes: {{- tpl (toYaml .extraVolumes) $ | nindent 4 }}
{{- end }}
{{- end }}
"""


def render(files):
    with tempfile.TemporaryDirectory() as folder:
        at = pathlib.Path(folder)
        (at / "Chart.yaml").write_text("apiVersion: v2\nname: airflow\nversion: 1.0.0\n")
        (at / "templates").mkdir()
        (at / "templates/all.yaml").write_text(CHART)
        return documents(helm("template airflow", at, files))


def combinations():
    for combination in COMBINATIONS:
        if combination != "git-sync":
            yield combination, render(files_of(combination))


def pods(rendered):
    return {d["metadata"]["name"]: d["spec"] for d in rendered if d["kind"] == "Pod"}


def dagsync_of(spec):
    return [c for c in containers(spec) if c["name"].startswith("dagsync")]


def takes(rendered, strategy, where):
    """The real binary takes what every container is given, and chooses this strategy."""
    config = config_map(rendered)
    assert config["strategy"] == strategy, f"{where}: the flag is {config['strategy']}"
    found = 0
    with tempfile.TemporaryDirectory() as folder:
        for pod, spec in pods(rendered).items():
            for container in dagsync_of(spec):
                settings = accepted(BIN, container, config, pathlib.Path(folder))
                assert settings["strategy"] == strategy, f"{where}, {pod}: {settings['strategy']}"
                assert settings["source"].startswith(SOURCES[strategy]), f"{where}, {pod}: {settings['source']}"
                mode = "head" if pod == "scheduler" else "leader"
                assert settings["target.mode"] == mode, f"{where}, {pod}: it follows {settings['target.mode']}"
                found += 1
    assert found >= 5, f"{where}: only {found} containers"


def the_binary_takes_every_file_and_argument():
    for combination, rendered in combinations():
        flags = [read(name).get("dagsync", {}).get("strategy") for name in combination.split()]
        takes(rendered, list(filter(None, flags))[-1], combination)


def a_setting_that_there_is_not_is_refused():
    rendered = render(files_of("values git"))
    config = config_map(rendered)
    config["git.yaml"] += "perriod: 15s\n"
    try:
        takes(rendered, "git", "perriod")
    except AssertionError as error:
        assert "did you mean" in str(error) or "period" in str(error), error
    else:
        raise AssertionError("an unknown setting was taken")


def the_flag_chooses_among_what_was_given():
    names = ["git", "s3", "volume"]
    files = files_of("values " + " ".join(names))
    for name in names:
        with tempfile.NamedTemporaryFile("w", suffix=".yaml") as flag:
            flag.write(f"dagsync: {{strategy: {name}}}\n")
            flag.flush()
            takes(render([*files, flag.name]), name, f"the flag {name}")


def a_flag_without_its_file_is_refused():
    for files, says in (["values"], "choose a strategy"), (["values", "git"], "has none of it"):
        with tempfile.NamedTemporaryFile("w", suffix=".yaml") as flag:
            flag.write("dagsync: {strategy: s3}\n" if len(files) > 1 else "{}\n")
            flag.flush()
            try:
                render([*files_of(" ".join(files)), flag.name])
            except AssertionError as error:
                assert says in str(error), error
            else:
                raise AssertionError(f"{files} was rendered")


def airflow_reads_what_dagsync_publishes():
    for combination, rendered in combinations():
        folder = next(d["data"]["dags_folder"] for d in rendered if d["metadata"]["name"] == "airflow.cfg")
        baked = "image" in combination.split()
        assert folder == ("/opt/airflow/dags" if baked else "/dags/current"), f"{combination}: {folder}"
        for pod, spec in pods(rendered).items():
            airflow = next(c for c in spec["containers"] if c["name"] == "airflow")
            assert {"name": "dags", "mountPath": "/dags", "readOnly": True} in airflow["volumeMounts"], f"{combination}, {pod}"
            for container in dagsync_of(spec):
                image = "ghcr.io/acme/airflow:2026-11-24" if baked else "ghcr.io/dagsync/dagsync:0.1.0"
                if pod != "api-server":
                    assert container["image"] == image, f"{combination}, {pod}: {container['image']}"


def kubernetes_takes_every_object():
    for combination, rendered in combinations():
        for document in rendered:
            strictly(document, f"{combination}, {document['metadata']['name']}")
    for file in sorted([*AIRFLOW.glob("volume/*.yaml"), *AIRFLOW.glob("secrets/*.yaml"), *DEPLOY.glob("flux/*.yaml")]):
        for document in documents(file.read_text()):
            if document.get("apiVersion") in ("v1", "storage.k8s.io/v1"):
                strictly(document, file)


def volumes_and_mounts_fit_together():
    for combination, rendered in combinations():
        for pod, spec in pods(rendered).items():
            there = {v["name"] for v in spec["volumes"]}
            for container in containers(spec):
                mounts = container.get("volumeMounts") or []
                assert {m["name"] for m in mounts} <= there, f"{combination}, {pod}, {container['name']}"
                paths = sorted(m["mountPath"] + "/" for m in mounts if m["mountPath"] != "/dags")
                assert not any(b.startswith(a) for a, b in zip(paths, paths[1:])), f"one mount in another: {paths}"


def what_is_written_twice_is_the_same():
    hook = read("pin-workers")["airflowLocalSettings"]
    assert hook == (AIRFLOW / "airflow_local_settings.py").read_text(), "pin-workers.yaml is not airflow_local_settings.py"
    common, volume = (read(name)["dagProcessor"]["extraVolumes"] for name in ("values", "volume"))
    assert common[:-1] == volume[:-1] and common[-1]["name"] == volume[-1]["name"], "volume.yaml has other volumes"
    native = read("values")["dagProcessor"]["extraInitContainers"][0]
    plain, executor = read("plain-sidecars"), read("kubernetes-executor")
    alike = ["image", "command", "env", "envFrom", "securityContext", "volumeMounts", "resources"]
    once = plain["dagProcessor"]["extraInitContainers"][0]
    for other in (once, plain["dagProcessor"]["extraContainers"][0], executor["workers"]["extraInitContainers"][0]):
        for key in alike:
            assert other[key] == native[key], f"{other['name']} has another {key}"
    for name in ("values", "plain-sidecars"):
        api = read(name)["apiServer"]["extraInitContainers"][0]
        assert api["image"] == read("values")["dagsync"]["image"], f"{name}.yaml: the api-server has another image"


def flux_reads_these_files():
    made = subprocess.run(["kubectl", "kustomize", str(DEPLOY / "flux")], text=True, capture_output=True, check=False)
    assert made.returncode == 0, made.stderr
    built = documents(made.stdout)
    values = next(d for d in built if d["kind"] == "ConfigMap")
    files = {at.name: at.read_text() for at in AIRFLOW.glob("*.yaml") if at.name != "kustomization.yaml"}
    assert values["data"] == files, f"the ConfigMap has {sorted(values['data'])}, the folder {sorted(files)}"
    release = next(d for d in built if d["kind"] == "HelmRelease" and d["metadata"]["name"] == "airflow")
    for source in release["spec"]["valuesFrom"]:
        assert source["name"] == values["metadata"]["name"], "the HelmRelease names another ConfigMap"
        assert source["valuesKey"] in files, source
    repositories = {d["metadata"]["name"] for d in built if d["kind"] == "HelmRepository"}
    for document in built:
        if document["kind"] == "HelmRelease":
            assert document["spec"]["chart"]["spec"]["sourceRef"]["name"] in repositories, document["metadata"]["name"]


def blocks(language):
    return re.findall(rf"^ *```{language}\n(.*?)^ *```", (DEPLOY / "README.md").read_text(), re.S | re.M)


def the_guide_names_files_that_there_are():
    text = (DEPLOY / "README.md").read_text()
    for link in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", text):
        assert (DEPLOY / link).exists(), f"deploy/README.md links to {link}"
    commands = "\n".join(blocks("sh"))
    named = re.findall(r"(?:-f|-k|--path=deploy/|kustomize|install dagsync) ?((?:airflow|flux|fleet|chart)[\w./-]*)", commands)
    assert len(named) >= 10, named
    for name in named:
        assert (DEPLOY / name).exists(), f"a command of deploy/README.md names {name}"
    for name in re.findall(r"`([\w-]+\.yaml)`", text):
        assert (AIRFLOW / name).exists(), f"deploy/README.md names {name}"


def the_guides_values_are_taken():
    found = 0
    for block in blocks("yaml"):
        with tempfile.NamedTemporaryFile("w", suffix=".yaml") as file:
            file.write(block)
            file.flush()
            assert set(yaml.safe_load(block)) == {"dagsync"}, f"a check for this block is missing: {block}"
            takes(render([*files_of("values git"), file.name]), "git", block)
            found += 1
    assert found >= 2


#: Checks take nothing and give nothing; the other functions serve them.
CHECKS = {
    name: check
    for name, check in list(globals().items())
    if inspect.isfunction(check)
    and check.__module__ == __name__
    and not inspect.signature(check).parameters
    and not inspect.isgeneratorfunction(check)
}

if __name__ == "__main__":
    if sys.argv[1:]:
        CHECKS[sys.argv[1]]()
    else:
        print("\n".join(CHECKS))
