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
import textwrap

import yaml
from fit import check_pod, dagsync_of
from values import AIRFLOW, COMBINATIONS, DEPLOY, accepted, config_map, documents, files_of, helm, read, strictly

BIN = os.environ["BIN"]
#: What a source of each strategy begins with.
SOURCES = {"git": ("ssh://", "https://"), "s3": "s3://", "volume": "/", "image": "image:/"}
#: A sidecar, and an init container that ends.
WAYS = {"dagsync": ["run"], "dagsync-init": ["once"]}
#: What the official chart calls its components in labels.
LABELS = {"workers": "worker"}
#: Its own values, as far as something reads them.
DEFAULTS = """
airflowVersion: 3.0.2
executor: CeleryExecutor
dags: {gitSync: {enabled: false}, persistence: {enabled: false}}
dagProcessor: {dagBundleConfigList: [{name: dags-folder, classpath: airflow.dag_processing.bundles.local.LocalDagBundle}]}
"""
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
metadata: {name: {{ $component | kebabcase }}, annotations: {{ (.serviceAccount).annotations | default dict | toJson }}}
spec:
  initContainers: {{- tpl (toYaml .extraInitContainers) $ | nindent 4 }}
  containers:
    - name: airflow
      image: apache/airflow
      volumeMounts: {{- tpl (toYaml .extraVolumeMounts) $ | nindent 8 }}{{ with $.Values.volumeMounts }}{{ toYaml . | nindent 8 }}{{ end }}
    {{- with .extraContainers }}{{ tpl (toYaml .) $ | nindent 4 }}{{ end }}
  volumes: {{- tpl (toYaml .extraVolumes) $ | nindent 4 }}{{ with $.Values.volumes }}{{ toYaml . | nindent 4 }}{{ end }}
{{- end }}
{{- end }}
"""


def render(files, *options, version="1.22.0"):
    with tempfile.TemporaryDirectory() as folder:
        at = pathlib.Path(folder)
        (at / "Chart.yaml").write_text(f"apiVersion: v2\nname: airflow\nversion: {version}\n")
        (at / "values.yaml").write_text(DEFAULTS)
        (at / "templates").mkdir()
        (at / "templates/all.yaml").write_text(CHART)
        return documents(helm("template airflow", at, files, *options))


def with_values(files, values, **options):
    """Rendered with one more file, the last one."""
    with tempfile.NamedTemporaryFile("w", suffix=".yaml") as file:
        yaml.safe_dump(values, file)
        file.flush()
        return render([*files, file.name], **options)


def combinations(*options):
    for combination in COMBINATIONS:
        if combination != "git-sync":
            yield combination, render(files_of(combination), *options)


def pods(rendered):
    return {d["metadata"]["name"]: d["spec"] for d in rendered if d["kind"] == "Pod"}


def takes(rendered, strategy, where):
    """The real binary takes what every container is given, and chooses this strategy."""
    config = config_map(rendered)
    assert config["strategy"] == strategy, f"{where}: the flag is {config['strategy']}"
    found = 0
    with tempfile.TemporaryDirectory() as folder:
        for pod, spec in pods(rendered).items():
            settings = check_pod(BIN, LABELS.get(pod, pod), spec, config, pathlib.Path(folder), f"{where}, {pod}")
            if settings:
                assert settings["strategy"] == strategy, f"{where}, {pod}: {settings['strategy']}"
                assert settings["source"].startswith(SOURCES[strategy]), f"{where}, {pod}: {settings['source']}"
                found += 1
    assert found >= 4, f"{where}: only {found} pods"


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


def what_no_pod_would_survive_is_refused():
    mine = [{"name": "mine", "image": "busybox"}]
    old = {"version": "1.18.0"}
    for files, values, says, *options in (
        ("values", {}, "choose a strategy"),
        ("values git", {"dagsync": {"strategy": "s3"}}, "has none of it"),
        ("values git", {"dags": {"gitSync": {"enabled": True}}}, "dagsync brings the DAGs"),
        ("values git", {"dags": {"persistence": {"enabled": True}}}, "dagsync brings the DAGs"),
        ("values git", {"dagProcessor": {"dagBundleConfigList": [{"name": "a", "classpath": "a.GitDagBundle"}]}}, "no LocalDagBundle"),
        ("values git", {"scheduler": {"extraInitContainers": mine}}, "scheduler.extraInitContainers lacks dagsync"),
        ("values git", {"scheduler": {"extraInitContainers": []}}, "scheduler.extraInitContainers lacks dagsync"),
        ("values git", {"workers": {"extraVolumes": mine}}, "workers.extraVolumes lacks dagsync"),
        ("values git", {"triggerer": {"extraVolumeMounts": mine}}, "triggerer.extraVolumeMounts lacks dagsync"),
        ("values git", {"workers": {"kubernetes": {"extraInitContainers": mine}}}, "workers.kubernetes.extraInitContainers lacks"),
        ("values git", {"dagsync": {"components": {"triggerer": False}}}, "triggerer.extraInitContainers has dagsync"),
        ("values image plain-sidecars", {}, "apiServer.extraInitContainers has dagsync"),
        ("values git", {}, "add chart-1.18.yaml", old),
    ):
        try:
            with_values(files_of(files), values, **(options[0] if options else {}))
        except AssertionError as error:
            assert says in str(error), error
        else:
            raise AssertionError(f"{files} with {values} was rendered")


def what_is_left_out_on_purpose_is_not_refused():
    for files, version in ("values git without-api-server", "1.18.0"), ("values chart-1.18 git", "1.18.0"), ("values chart-1.18 git", "1.22.0"):
        found = {pod for pod, spec in pods(render(files_of(files), version=version)).items() if dagsync_of(spec)}
        without = {"api-server", "webserver"} if "without-api-server" in files else set()
        assert found == {"scheduler", "dag-processor", "triggerer", "workers", "api-server", "webserver"} - without, found


def airflow_reads_what_dagsync_publishes():
    for combination, rendered in combinations("--set", "dagsync.image=registry.example.com/dagsync:1"):
        folder = next(d["data"]["dags_folder"] for d in rendered if d["metadata"]["name"] == "airflow.cfg")
        baked = "image" in combination.split()
        assert folder == ("/opt/airflow/dags" if baked else "/dags/current"), f"{combination}: {folder}"
        for pod, spec in pods(rendered).items():
            airflow = next(c for c in spec["containers"] if c["name"] == "airflow")
            if dagsync_of(spec):
                assert {"name": "dagsync", "mountPath": "/dags", "readOnly": True} in airflow["volumeMounts"], f"{combination}, {pod}"
            for container in dagsync_of(spec):
                image = "ghcr.io/acme/airflow:2026-11-24" if baked else "registry.example.com/dagsync:1"
                assert container["image"] == image, f"{combination}, {pod}: {container['image']}"
                assert container["args"] == WAYS[container["name"]], f"{combination}, {pod}: {container['args']}"


def kubernetes_takes_every_object():
    for combination, rendered in combinations():
        for document in rendered:
            strictly(document, f"{combination}, {document['metadata']['name']}")
    for file in sorted([*AIRFLOW.glob("volume/*.yaml"), *AIRFLOW.glob("secrets/*.yaml"), *DEPLOY.glob("flux/*.yaml")]):
        for document in documents(file.read_text()):
            if document.get("apiVersion") in ("v1", "storage.k8s.io/v1"):
                strictly(document, file)


def every_pod_with_dagsync_has_the_role():
    for pod, annotations in ((d["metadata"]["name"], d["metadata"]["annotations"]) for d in render(files_of("values s3 s3-irsa")) if d["kind"] == "Pod"):
        assert set(annotations) == {"eks.amazonaws.com/role-arn"}, f"{pod}: {annotations}"


def what_is_written_twice_is_the_same():
    hook = read("pin-workers")["airflowLocalSettings"]
    assert hook == (AIRFLOW / "airflow_local_settings.py").read_text(), "pin-workers.yaml is not airflow_local_settings.py"
    common, volume = (read(name)["dagProcessor"]["extraVolumes"] for name in ("values", "volume"))
    assert common[:-1] == volume[:-1] and common[-1]["name"] == volume[-1]["name"], "volume.yaml has other volumes"
    native = read("values")["dagProcessor"]["extraInitContainers"][0]
    old = read("chart-1.18")["apiServer"]["extraInitContainers"][0]
    assert old == {**native, "image": read("values")["dagsync"]["image"]}, "chart-1.18.yaml has another container"
    plain, executor = read("plain-sidecars"), read("kubernetes-executor")
    alike = ["image", "command", "env", "envFrom", "securityContext", "volumeMounts", "resources"]
    once = plain["dagProcessor"]["extraInitContainers"][0]
    for other in (once, plain["dagProcessor"]["extraContainers"][0], executor["workers"]["extraInitContainers"][0]):
        for key in alike:
            assert other[key] == native[key], f"{other['name']} has another {key}"
    sidecar = plain["dagProcessor"]["extraContainers"][0]
    for key in ("ports", "startupProbe", "livenessProbe", "readinessProbe"):
        assert sidecar[key] == native[key], f"plain-sidecars.yaml has another {key}"


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
    assert release["spec"]["dependsOn"] == [{"name": "dagsync"}], "Airflow's pods wait for the Service of a leader"
    jobs = [release["spec"]["values"][name]["useHelmHooks"] for name in ("createUserJob", "migrateDatabaseJob")]
    assert jobs == [False, False], "a hook would wait for pods that wait for it"
    repositories = {d["metadata"]["name"] for d in built if d["kind"] == "HelmRepository"}
    for document in (d for d in built if d["kind"] == "HelmRelease"):
        chart = document["spec"]["chart"]["spec"]
        if chart["sourceRef"]["kind"] == "HelmRepository":
            assert chart["sourceRef"]["name"] in repositories, document["metadata"]["name"]
        else:
            assert (DEPLOY.parent / chart["chart"] / "Chart.yaml").exists(), chart


def blocks(language):
    return re.findall(rf"^ *```{language}\n(.*?)^ *```", (DEPLOY / "README.md").read_text(), re.S | re.M)


def the_guide_names_files_that_there_are():
    text = (DEPLOY / "README.md").read_text()
    for link in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", text):
        assert link.startswith("https://") or (DEPLOY / link).exists(), f"deploy/README.md links to {link}"
    commands = "\n".join(blocks("sh"))
    named = re.findall(r"(?:-f|-k|--path=deploy/|kustomize|install dagsync) ?((?:airflow|flux|fleet|chart)[\w./-]*)", commands)
    assert len(named) >= 10, named
    for name in named:
        assert (DEPLOY / name).exists(), f"a command of deploy/README.md names {name}"
    for name in re.findall(r"`([\w-]+\.yaml)`", text):
        assert (AIRFLOW / name).exists(), f"deploy/README.md names {name}"


def the_guides_values_are_taken():
    """Each block, with the names that values.yaml gives to what it repeats."""
    named = (AIRFLOW / "values.yaml").read_text()
    found = 0
    for block in blocks("yaml"):
        block = textwrap.dedent(block)
        values = yaml.safe_load(f"{named}\nguide:\n{textwrap.indent(block, '  ')}")["guide"]
        rendered = with_values(files_of("values git"), values)
        if "head" in block:
            leads = [pod for pod, spec in pods(rendered).items() if any("head" in str(c["env"]) for c in dagsync_of(spec))]
            assert leads == ["triggerer"], leads
        else:
            takes(rendered, "git", block)
        for document in rendered:
            strictly(document, block)
        found += 1
    assert found >= 6, found


def the_guides_costs_are_those_of_the_values():
    text = (DEPLOY / "README.md").read_text()
    objects, pods_ = (int(n.replace(",", "")) for n in re.search(r"([\d,]+) objects and (\d+) pods", text).groups())
    lists, gets = (float(n) / 1000 for n in re.search(r"\(([\d.]+) USD for 1,000 LIST, ([\d.]+) for 1,000 GET", text).groups())
    polls = 86400 / int(read("values")["dagsync"]["settings"]["all"]["period"].removesuffix("s"))
    pages = objects / 1000
    for said in (
        f"{polls * pages:,.0f} LIST: {polls * pages * lists:.2f} USD",
        f"{polls:,.0f} GET: {polls * gets:.3f} USD",
        f"{pods_ * pages:.0f} LIST and {pods_} GET for each changed file: {pods_ * pages * lists:.3f} USD",
        f"{objects:,} GET: {objects * gets:.3f} USD",
        f"{pods_ * polls * pages * lists:.2f} USD a day | {pods_ * polls * gets:.2f} USD a day",
    ):
        assert said in text, f"deploy/README.md does not say: {said}"


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
