"""deploy/fleet and deploy/chart hold what Kubernetes takes, are one thing said twice, and nothing in them is dead.

python3 tests/deploy/fleet.py [CHECK…], with BIN, and PYTHONPATH as tests/run makes it."""

import copy
import json
import os
import re
import shutil
import tempfile

import kubernetes_validate
import yaml

from rendered import (AIRFLOW, CHART, CI, FLEET, FOREIGN, HELM, ROOT, VERSIONS, WATCH, chart, dagsync, helm, key, kustomization,
                      leaves, main, must, nested, objects, only, pod, renderings, run, settings)


def kubernetes_takes_every_object():
    """Strictly: a field that it does not know is an error."""
    assert len(VERSIONS) >= 9, VERSIONS
    for values in ([], *(["--values", file] for file in CI)):
        must(HELM, "lint", "--strict", "--namespace", "airflow", CHART, *values)
    count = 0
    for name, found in renderings():
        for each in found:
            if each["apiVersion"] in FOREIGN:
                continue
            for version in VERSIONS:
                try:
                    kubernetes_validate.validate(each, version, strict=True)
                except kubernetes_validate.ValidationError as error:
                    raise AssertionError(f"{name}: {each['kind']} in {version}: {error.message}") from None
                count += 1
    print(f"{count} objects against {', '.join(v.rsplit('.', 1)[0] for v in VERSIONS)}")
    # That it would see one.
    broken = copy.deepcopy(only("CronJob", chart()))
    broken["spec"]["jobTemplate"]["spec"]["backofLimit"] = 0
    try:
        kubernetes_validate.validate(broken, VERSIONS[0], strict=True)
    except kubernetes_validate.ValidationError:
        return
    raise AssertionError("a misspelt field is taken")


def one_thing_is_said_twice():
    """The plain manifest is what the base renders, and the chart by itself is the base."""
    plain = (FLEET / "dagsync-fleet.yaml").read_text()
    head, base = plain.split("\n---\n", 1)[0], must("kubectl", "kustomize", FLEET / "base")
    assert all(line.startswith("#") for line in head.splitlines()), head
    if "UPDATE_README" in os.environ:
        (FLEET / "dagsync-fleet.yaml").write_text(f"{head}\n---\n{base}")
    else:
        assert plain == f"{head}\n---\n{base}", "dagsync-fleet.yaml is not what the base renders; UPDATE_README=1 writes it anew"
    base = objects(base)
    same(base, chart())
    policy = objects((FLEET / "network-policy/networkpolicy.yaml").read_text())
    same([*base, *policy], chart({"networkPolicy": {"create": True}}))
    same(kustomization(FLEET / "overlays/git-sync"), chart(CHART / "ci/git-sync-values.yaml", {"networkPolicy": {"create": False}}))
    production = kustomization(FLEET / "overlays/production")
    assert [each["metadata"]["name"] for each in production if each["kind"] == "NetworkPolicy"] == ["dagsync", "dagsync-drift"]


def what_is_watched_is_that_of_deploy_watch():
    """The chart has copies, because a chart cannot read files beside it."""
    for name in ("rules.yaml", "podmonitor.yaml", "dashboard.json"):
        theirs, ours = (WATCH / name).read_text(), CHART / "files" / name
        if "UPDATE_README" in os.environ:
            ours.write_text(theirs)
        assert ours.read_text() == theirs, f"deploy/chart/files/{name} is not deploy/watch/{name}; UPDATE_README=1 copies it"
    watched = chart({name: {"create": True} for name in ("podMonitor", "prometheusRule", "dashboard")})
    for name, kind in (("rules.yaml", "PrometheusRule"), ("podmonitor.yaml", "PodMonitor")):
        (theirs,) = objects((WATCH / name).read_text())
        # But for whose pods they are: those of one Airflow.
        if "selector" in theirs["spec"]:
            theirs["spec"]["selector"] = {"matchLabels": AIRFLOW}
        assert only(kind, watched)["spec"] == theirs["spec"], name
    (dashboard,) = [each for each in watched if each["kind"] == "ConfigMap" and "dashboard" in each["metadata"]["name"]]
    assert json.loads(dashboard["data"]["dagsync.json"]) == json.loads((WATCH / "dashboard.json").read_text())


def same(one, other):
    one, other = ({key(each): normal(each) for each in found} for found in (one, other))
    assert one.keys() == other.keys(), one.keys() ^ other.keys()
    for name in one:
        assert one[name] == other[name], f"{name}:\n{json.dumps(one[name], indent=1)}\n{json.dumps(other[name], indent=1)}"


def normal(tree):
    """Without what Helm's habits add; settings as what they say, not how it is written."""
    if isinstance(tree, list):
        return [normal(each) for each in tree]
    if not isinstance(tree, dict):
        return tree
    habits = ("helm.sh/chart", "app.kubernetes.io/instance", "app.kubernetes.io/version", "app.kubernetes.io/managed-by")
    tree = {name: normal(value) for name, value in tree.items() if name not in habits}
    # Helm's objects get theirs when they are applied.
    if "kind" in tree and "metadata" in tree:
        tree["metadata"].pop("namespace", None)
        if tree["metadata"].get("annotations") == {"helm.sh/resource-policy": "keep"}:
            del tree["metadata"]["annotations"]
    if "labels" in tree and tree["labels"] == {"app.kubernetes.io/name": "dagsync"}:
        del tree["labels"]
    if tree.get("metadata") == {}:
        del tree["metadata"]
    if "dagsync.yaml" in tree:
        tree["dagsync.yaml"] = yaml.safe_load(tree["dagsync.yaml"])
    return tree


def the_binary_takes_every_setting():
    """And refuses each of them when it is misspelt, so none is there for nothing."""
    seen = set()
    for name, found in renderings():
        if name == "network-policy":
            continue
        text = settings(found)
        status, out, said = config(text)
        assert status == 0, f"{name}: {said}"
        given = dict(leaves(yaml.safe_load(text)))
        for path in given:
            assert re.search(rf"^{re.escape('.'.join(path))} +file ", out, re.M), f"{name}: {path} has another origin"
            wrong = yaml.safe_load(text)
            inner = wrong
            for part in path[:-1]:
                inner = inner[part]
            inner[path[-1] + "x"] = inner.pop(path[-1])
            status, _, said = config(yaml.safe_dump(wrong))
            assert status == 64 and path[-1] in said, f"{name}: {path} misspelt: {status} {said}"
        seen |= given.keys()
    assert len(seen) >= 14, seen


def config(text):
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "dagsync.yaml")
        with open(path, "w") as file:
            file.write(text)
        return dagsync("config", "--config", path)


def the_schema_names_settings_that_there_are():
    """Those of the binary, without the ones that mean nothing in this pod."""
    left_out = {
        "fleet.kubernetes.namespace", "drift.webhook_url", "drift.prometheus_file", "drift.summary_file", "target.mode",
        "target.fallback", "target.fallback_after",
    }
    names = [each["name"] for each in json.loads(must(os.environ["BIN"], "config", "--output", "json"))["settings"]]
    ours = {name for name in names if name.split(".")[0] in ("fleet", "target", "drift", "client", "log")}
    schema = json.loads((CHART / "values.schema.json").read_text())["properties"]["config"]
    named = {".".join(path) for path in schema_leaves(schema)}
    assert named == ours - left_out, named ^ (ours - left_out)


def schema_leaves(schema, at=()):
    for name, inner in schema["properties"].items():
        if "properties" in inner:
            yield from schema_leaves(inner, (*at, name))
        else:
            yield (*at, name)


def every_object_of_the_schema_is_closed(schema=None, at="values"):
    schema = schema or json.loads((CHART / "values.schema.json").read_text())
    if "properties" in schema:
        assert schema.get("additionalProperties") is False, at
        for name, inner in schema["properties"].items():
            if at != "values.networkPolicy.from[]" and name != "global":
                assert inner.get("description"), f"{at}.{name} has no description"
            every_object_of_the_schema_is_closed(inner, f"{at}.{name}")
    if "items" in schema:
        every_object_of_the_schema_is_closed(schema["items"], f"{at}[]")


WRONG = {
    "imag.repository": "x", "image.repo": "x", "image.repository": "", "image.digest": "sha256:short", "image.digest ": "x",
    "image.pullPolicy": "Sometimes", "image.tag": 1, "imagePullSecrets": ["name"], "mode": "deployment", "cronjob.schedule": "x",
    "cronJob.schedule": "", "cronJob.activeDeadlineSeconds": "240", "cronJob.startingDeadlineSeconds": 5,
    "cronJob.retryIncomplete": "yes", "cronJob.backoffLimit": 3, "config.drift.grase": "60s", "config.drift.grace": 60,
    "config.drift.grace ": "1 minute", "config.drift.reference": "head", "config.drift.webhook_url": "https://hooks.example/x",
    "config.drift.webhook_url_file": "/etc/passwd", "config.drift.concurrency": 0, "config.drift.pushgateway": "pushgateway:9091",
    "config.fleet.kubernetes.namespace": "other", "config.fleet.kubernetes.selektor": "x", "config.fleet.port": 0,
    "config.fleet.scheme": "ftp", "config.fleet.peers": ["scheduler:8466"], "config.fleet.dns": "one", "config.target.mode": "leader",
    "config.target.leader": "http://x", "config.client.token": "secret", "config.client.token_file": "token", "config.git.ref": "x",
    "config.log.format": "xml", "secrets": "one", "secrets ": ["Not_A_Name"], "airflow.labels": "tier=airflow", "airflow.labels.tier": 1,
    "leader.create": "true", "leader.podDisruptionBudget.enabled": True, "serviceAccount.token": True,
    "serviceAccount.annotations": {"a": 1}, "rbac.verbs": ["watch"], "networkPolicy.enabled": True,
    "networkPolicy.prometheusNamespace": "Not A Name", "networkPolicy.from": [{"pods": {}}], "podLabels": {"a": "b c"},
    "podAnnotations": {"safe": True}, "cronJob.suspend": "yes", "cronJob.schedule ": "bogus", "env": {"A": "b"}, "env ": [{"value": "x"}],
    "fullnameOverride": "my.dagsync", "fullnameOverride ": 46 * "a", "dashboard.annotations": {"a": 1}, "tolerations": {}, "resources": "small", "replicas": 2,
}


def wrong_values_are_refused():
    """Each with its name in the message. A space at the end of a name only tells two cases apart."""
    for name, value in WRONG.items():
        path = name.strip().split(".")
        status, _, said = helm(nested(path, value))
        assert status != 0 and "don't meet the specifications of the schema" in said, f"{name}={value!r} is taken"
        assert path[-1] in said or path[0] in said, said
    for name in ("config", "image", "airflow"):
        assert helm({name: None})[0] != 0, f"{name} may be missing"
    print(f"{len(WRONG)} refused")


# Where adding a letter gives nothing that the schema takes.
OTHERS = {
    "mode": ["watch", "cronjob"], "image.pullPolicy": ["Never"], "config.fleet.scheme": ["http"], "config.log.format": ["text"],
    "config.drift.reference": ["majority"],
}


def other(name, value):
    """Values that this one may be changed to; the schema decides which are any."""
    if name in OTHERS:
        return [new for new in OTHERS[name] if new != value]
    if isinstance(value, bool):
        return [not value]
    if isinstance(value, int):
        return [value + 1]
    if isinstance(value, str):
        return [f"{value}x", f"1{value}", f"sha256:{64 * 'a'}"]
    if isinstance(value, list):
        return [[*value, more] for more in ("secret-x", {"name": "x"}, "https://x:1", {"key": "x"}, {"podSelector": {}})]
    return [{"x": "y"}]


def no_value_is_dead():
    """Each one of values.yaml changes what is rendered somewhere, each one of an example what that example renders."""
    defaults = yaml.safe_load((CHART / "values.yaml").read_text())
    for path, value in leaves(defaults):
        assert any(is_read([*context], path, value) for context in ([], *([file] for file in CI))), f"{path} is dead"
    for file in CI:
        for path, value in leaves(yaml.safe_load(file.read_text())):
            is_same_as_default = value == dict(leaves(defaults)).get(path)
            assert not is_same_as_default, f"{file.name}: {path} is the default"
            assert is_read([file], path, value), f"{file.name}: {path} is dead"


def is_read(context, path, value):
    """Whether another value that is taken renders something else."""
    before = helm(*context)
    changed = [helm(*context, nested(path, new)) for new in other(".".join(path), value)]
    return any(status == 0 and out != before[1] for status, out, _ in changed)


def rights_are_the_least():
    for name, found in renderings():
        if name == "network-policy":
            continue
        roles = [each for each in found if each["kind"] in ("Role", "ClusterRole")]
        asks = bool(yaml.safe_load(settings(found))["fleet"].get("kubernetes", {}).get("selector"))
        assert [role["rules"] for role in roles] == asks * [[{"apiGroups": [""], "resources": ["pods"], "verbs": ["list"]}]], name
        check = pod(found)
        assert check["automountServiceAccountToken"] is asks, name
        for account in (each for each in found if each["kind"] == "ServiceAccount"):
            assert account["automountServiceAccountToken"] is False and account["metadata"]["name"] == check["serviceAccountName"]
        for binding in (each for each in found if each["kind"] == "RoleBinding"):
            assert binding["roleRef"]["name"] == roles[0]["metadata"]["name"], name
            home = binding["metadata"].get("namespace", "airflow")  # Helm is given that one
            assert binding["subjects"] == [
                {"kind": "ServiceAccount", "name": check["serviceAccountName"], "namespace": home}], f"{name}: {binding}"
        assert check["securityContext"]["runAsNonRoot"] and check["securityContext"]["runAsUser"] == 65532, name
        (container,) = check["containers"]
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True, "capabilities": {"drop": ["ALL"]}}, name


def names_fit_together():
    """Services, files and Secrets that one object names are those that another makes; long names stay names."""
    cargo = re.search(r'^version = "(.+)"', (ROOT / "Cargo.toml").read_text(), re.M).group(1)
    assert yaml.safe_load((CHART / "Chart.yaml").read_text())["appVersion"] == cargo
    for name, found in renderings():
        if name == "network-policy":
            continue
        given = yaml.safe_load(settings(found))
        services = {each["metadata"]["name"]: each["spec"] for each in found if each["kind"] == "Service"}
        for leader in given.get("target", {}).get("leader", []):
            host, port = re.fullmatch(r"https?://([^:]+):(\d+)", leader).groups()
            assert host == "airflow-leader" or services[host]["ports"][0]["port"] == int(port), f"{name}: {leader}"
        for dns in given["fleet"].get("dns", []):
            port, host = re.fullmatch(r"_(\w+)\._tcp\.(\w+)", dns).groups()
            assert services[host]["ports"][0]["name"] == port and services[host]["clusterIP"] == "None", f"{name}: {dns}"
        for service in services.values():
            assert service["ports"][0]["port"] == given["fleet"].get("port", 8466), name
        check = pod(found)
        mounts = {mount["mountPath"] for mount in check["containers"][0]["volumeMounts"]}
        used = [value for _, value in leaves(given) if isinstance(value, str) and value.startswith("/")]
        assert all(os.path.dirname(path) in mounts for path in used), f"{name}: {used}"
        assert {m["name"] for m in check["containers"][0]["volumeMounts"]} == {v["name"] for v in check["volumes"]}, name
    for release in (37 * "r", "a-dagsync-" + 35 * "b"):
        for each in chart(release=release):
            assert len(each["metadata"]["name"]) <= (52 if each["kind"] == "CronJob" else 63), each["metadata"]["name"]
    for release in (38 * "r", 53 * "r", "my.dagsync", "1dagsync"):
        status, _, said = helm(release=release)
        assert status != 0 and "set fullnameOverride" in said, f"{release}: {said}"
        assert chart({"fullnameOverride": "dagsync"}, release=release)


def what_the_check_s_pod_is_called_wins():
    """A Deployment selects by it."""
    given = {"mode": "watch", "podLabels": {"app.kubernetes.io/name": "mine", "team": "data"}}
    spec = only("Deployment", chart(given))["spec"]
    labels = spec["template"]["metadata"]["labels"]
    assert spec["selector"]["matchLabels"].items() <= labels.items() and labels["team"] == "data", labels
    status, _, said = helm({"serviceAccount": {"create": False}})
    assert status != 0 and "serviceAccount.name is needed" in said, said


def the_notes_say_what_there_is():
    """Only an installation shows them, and `helm template` renders no notes; so this reads them by a copy that is a template."""
    with tempfile.TemporaryDirectory() as folder:
        copied = os.path.join(folder, "dagsync")
        shutil.copytree(CHART, copied)
        os.rename(os.path.join(copied, "templates/NOTES.txt"), os.path.join(copied, "templates/notes.yaml"))
        notes = run(HELM, "template", "dagsync", copied, "--namespace", "airflow", "--show-only", "templates/notes.yaml", "--debug")
    text = "".join(notes[1:])
    for said in ("http://dagsync-leader:8466", "component: scheduler, release: airflow", "--from=cronjob/dagsync-drift",
                 "DAGSYNC_TARGET__MODE=head", "cronJob.suspend", "svc/dagsync-leader 8466:8466"):
        assert said in text, f"{said}: {text}"


def the_readme_lists_every_value():
    path = CHART / "README.md"
    schema = json.loads((CHART / "values.schema.json").read_text())
    table = "| value | default | meaning |\n|---|---|---|\n"
    for name, value, meaning in documented(yaml.safe_load((CHART / "values.yaml").read_text()), schema):
        table += f"| `{name}` | `{json.dumps(value)}` | {meaning} |\n"
    start, end = "<!-- values: checked by a test -->\n", "<!-- /values -->"
    before, rest = path.read_text().split(start)
    found, after = rest.split(end)
    if "UPDATE_README" in os.environ:
        path.write_text(before + start + table + end + after)
    else:
        assert found == table, "README.md is not up to date: UPDATE_README=1 writes it anew"


def documented(values, schema, at=()):
    """Each value that the schema says something about, its default and that."""
    for name, value in values.items():
        inner = schema["properties"][name]
        if "properties" in inner:
            yield from documented(value, inner, (*at, name))
        else:
            yield ".".join((*at, name)), value, inner["description"]


main({check.__name__: check for check in (
    kubernetes_takes_every_object, one_thing_is_said_twice, what_is_watched_is_that_of_deploy_watch, the_binary_takes_every_setting,
    the_schema_names_settings_that_there_are, every_object_of_the_schema_is_closed, wrong_values_are_refused, no_value_is_dead,
    rights_are_the_least, names_fit_together, what_the_check_s_pod_is_called_wins, the_notes_say_what_there_is,
    the_readme_lists_every_value)})
