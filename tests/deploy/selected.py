"""What a cluster makes of deploy/fleet and deploy/chart: whom selectors select, whom policies let in, when a check runs.

python3 tests/deploy/selected.py [CHECK…], with PYTHONPATH as tests/run makes it."""

import re

import yaml

from rendered import AIRFLOW, FLEET, OVERLAYS, ROOT, at, chart, key, kustomization, main, only, renderings, settings

# What no other check looks at and whose loss nobody would see before the day it counts.
KEPT = {
    ("CronJob", "dagsync-drift"): {
        "spec/suspend": False, "spec/concurrencyPolicy": "Forbid", "spec/startingDeadlineSeconds": 120,
        "spec/successfulJobsHistoryLimit": 1, "spec/failedJobsHistoryLimit": 3,
        "spec/jobTemplate/spec/backoffLimit": 0, "spec/jobTemplate/spec/activeDeadlineSeconds": 240,
        "spec/jobTemplate/spec/ttlSecondsAfterFinished": 3600,
        "spec/jobTemplate/spec/podFailurePolicy/rules": [
            {"action": "FailJob", "onExitCodes": {"containerName": "dagsync", "operator": "In", "values": [1]}},
            {"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]}],
        "spec/jobTemplate/spec/template/spec/restartPolicy": "Never",
        "spec/jobTemplate/spec/template/spec/enableServiceLinks": False,
        "spec/jobTemplate/spec/template/spec/containers/0/name": "dagsync",
        "spec/jobTemplate/spec/template/spec/containers/0/terminationMessagePolicy": "FallbackToLogsOnError",
        "spec/jobTemplate/spec/template/spec/containers/0/resources/limits": {"memory": "128Mi"},
    },
    ("Service", "dagsync"): {
        "spec/clusterIP": "None", "spec/publishNotReadyAddresses": True, "spec/selector": {"tier": "airflow", "release": "airflow"},
        "spec/ports": [{"name": "http", "port": 8466, "targetPort": "dagsync", "protocol": "TCP"}],
    },
    ("Service", "dagsync-leader"): {
        "spec/clusterIP": None, "spec/publishNotReadyAddresses": True,
        "spec/ports": [{"name": "http", "port": 8466, "targetPort": 8466, "protocol": "TCP"}],
    },
}
# The same of what only some renderings have.
KEPT_IN = {
    "kustomize production": {("CronJob", "dagsync-drift"): {
        "spec/jobTemplate/spec/template/spec/volumes/1/projected": {
            "defaultMode": 0o440, "sources": [{"secret": {"name": "dagsync-drift"}}]},
        "spec/jobTemplate/spec/template/spec/containers/0/volumeMounts/1": {
            "name": "secrets", "mountPath": "/secrets", "readOnly": True}}},
    "kustomize dev": {("CronJob", "dagsync-drift"): {
        "spec/schedule": "* * * * *", "spec/startingDeadlineSeconds": 30, "spec/jobTemplate/spec/activeDeadlineSeconds": 50}},
    "chart production-values.yaml": {
        ("PodDisruptionBudget", "dagsync-leader"): {
            "spec/maxUnavailable": 1, "spec/minAvailable": None, "spec/unhealthyPodEvictionPolicy": "AlwaysAllow",
            "spec/selector/matchLabels": {"tier": "airflow", "release": "airflow", "component": "scheduler"}},
        ("CronJob", "dagsync-drift"): {
            "spec/jobTemplate/spec/template/spec/volumes/1/projected/defaultMode": 0o440,
            "spec/jobTemplate/spec/template/spec/containers/0/env": [
                {"name": "HTTPS_PROXY", "value": "http://proxy.example.com:3128"}]}},
    "chart watch-values.yaml": {("Deployment", "dagsync-drift"): {
        "spec/replicas": 1, "spec/strategy/type": "Recreate", "spec/template/spec/restartPolicy": "Always"}},
    "chart elsewhere-values.yaml": {("CronJob", "dags-drift"): {
        "spec/jobTemplate/spec/podFailurePolicy/rules/1": {
            "action": "Ignore", "onExitCodes": {"containerName": "dagsync", "operator": "In", "values": [3]}}}},
}


def what_counts_is_kept():
    found = dict(renderings())
    for name, kept in (("kustomize base", KEPT), ("chart", KEPT), *KEPT_IN.items()):
        for (kind, called), values in kept.items():
            each = only(kind, found[name], called)
            for path, value in values.items():
                assert at(each, path) == value, f"{name}: {kind} {called} {path}: {at(each, path)}"


def schedules_are_ones():
    """As cron takes them; the API would refuse all the objects of an overlay for one that is not."""
    for name, found in renderings():
        for each in (each for each in found if each["kind"] == "CronJob"):
            assert is_schedule(each["spec"]["schedule"]), f"{name}: {each['spec']['schedule']}"
    for wrong in ("bogus", "* * * *", "60 * * * *", "*/0 * * * *", "* 24 * * *", "* * 0 * *", "* * * 13 *", "5-1 * * * *"):
        assert not is_schedule(wrong), wrong


def is_schedule(text):
    ranges = ((0, 59), (0, 23), (1, 31), (1, 12), (0, 6))
    fields = text.split(" ")
    return len(fields) == len(ranges) and all(
        is_field(part, *bounds) for field, bounds in zip(fields, ranges) for part in field.split(","))


def is_field(text, low, high):
    found = re.fullmatch(r"(?:\*|(\d+)(?:-(\d+))?)(?:/(\d+))?", text)
    if not found:
        return False
    first, last, step = (None if number is None else int(number) for number in found.groups())
    first, last = low if first is None else first, high if first is None else last if last is not None else first
    return low <= first <= last <= high and step != 0


def airflow(component, **labels):
    return {**AIRFLOW, "component": component, **labels}


def every_selector_is_of_one_airflow():
    """A second Airflow in the namespace is neither led nor judged by the first one's, and none of its pods is opened or closed."""
    for name, found in (*renderings(), ("chart of another", chart({"airflow": {"labels": {"release": "other"}}}))):
        release = {"chart elsewhere-values.yaml": "reports", "chart of another": "other"}.get(name, "airflow")
        selectors = list(selectors_of(found))
        assert selectors, name
        for what, selects in selectors:
            ours, theirs = airflow("scheduler", release=release), airflow("scheduler", release="another")
            ours, theirs = ([{**pod, "component": "worker"}, pod] for pod in (ours, theirs))
            assert any(selects(pod) for pod in ours), f"{name}: {what} selects none"
            assert not any(selects(pod) for pod in theirs), f"{name}: {what} selects pods of another Airflow"
            assert not selects({"tier": "web", "release": release, "component": "scheduler"}), f"{name}: {what}"


def selectors_of(found):
    """What selects Airflow's pods: its name, and whether it selects a pod with these labels."""
    for each in found:
        spec, kind = each.get("spec", {}), each["kind"]
        labels = {"Service": "selector", "PodDisruptionBudget": "selector/matchLabels", "PodMonitor": "selector/matchLabels"}
        if kind in labels:
            yield kind, equals(at(spec, labels[kind]))
        if kind == "NetworkPolicy" and not each["metadata"]["name"].endswith("-drift"):
            yield kind, equals(at(spec, "podSelector/matchLabels"))
            yield f"{kind} from", equals(at(spec, "ingress/0/from/0/podSelector/matchLabels"))
    if any(each["kind"] in ("CronJob", "Deployment") for each in found):
        selector = at(yaml.safe_load(settings(found)), "fleet/kubernetes/selector")
        if selector:
            yield "fleet.kubernetes.selector", matching(selector)


def equals(wanted):
    return lambda labels: wanted.items() <= labels.items()


def matching(selector):
    """A selector as the API reads it: `a=b`, `a!=b`, `a in (b,c)`."""
    terms = re.findall(r"([^,=! ]+)(=|!=| in )(\([^)]*\)|[^,]*)(?:,|$)", selector)
    assert ",".join("".join(term) for term in terms) == selector, selector
    def selects(labels):
        return all(
            labels.get(name) in value[1:-1].split(",") if operator == " in " else (labels.get(name) == value) is (operator == "=")
            for name, operator, value in terms)
    return selects


def the_check_asks_who_has_dagsync():
    """Every component that has a dagsync whatever the strategy is, and none that cannot be asked."""
    values = yaml.safe_load((ROOT / "deploy/airflow/values.yaml").read_text())
    named = {"dagProcessor": "dag-processor", "apiServer": "api-server", "workers": "worker"}
    daemons = {named.get(name, name): at(part, "extraInitContainers/0") for name, part in values.items()
               if isinstance(part, dict) and at(part, "extraInitContainers/0/name") == "dagsync"}
    assert len(daemons) == 6, daemons
    for name, found in (("base", kustomization(FLEET / "base")), *((o.name, kustomization(o)) for o in OVERLAYS), ("chart", chart())):
        selector = at(yaml.safe_load(settings(found)), "fleet/kubernetes/selector")
        if not selector:
            continue
        selects = matching(selector)
        asked = {component for component in (*daemons, "redis", "statsd", "flower") if selects(airflow(component))}
        # The chart gives git-sync to fewer.
        # image.yaml gives none to what reads no DAG files.
        always = set(daemons) - {"api-server", "webserver"}
        assert asked == ({"dag-processor", "triggerer", "worker"} if name == "git-sync" else always), f"{name}: {asked}"
        assert not selects(airflow("worker", kubernetes_executor="True")), name
        # Whoever the Service leads to is who follows nobody.
        leads = [component for component, daemon in daemons.items()
                 if {"name": "DAGSYNC_TARGET__MODE", "value": "head"} in daemon["env"]]
        for leader in (each for each in found if each["kind"] == "Service" and each["metadata"]["name"] == "dagsync-leader"):
            led = [component for component in daemons if equals(leader["spec"]["selector"])(airflow(component))]
            assert led == leads == ["scheduler"], f"{name}: {led} {leads}"


def the_policy_lets_in_who_has_to_ask():
    """And nobody else, at dagsync's port; at any other one everybody, where others guard nothing."""
    base = kustomization(FLEET / "base")
    for name, found in renderings():
        policies = {each["metadata"]["name"]: each["spec"] for each in found if each["kind"] == "NetworkPolicy"}
        if not policies:
            continue
        check = check_labels(base if name == "network-policy" else found)
        (daemons,), (closed,) = ([spec for called, spec in policies.items() if called.endswith("-drift") is of] for of in (False, True))
        production, elsewhere = name == "chart production-values.yaml", name == "chart elsewhere-values.yaml"
        ours = {**AIRFLOW, "release": "reports"} if elsewhere else AIRFLOW
        port = {"chart elsewhere-values.yaml": 9000, "chart git-sync-values.yaml": 1234}.get(name, 8466)
        monitoring = "prometheus" if production else "monitoring"
        asks = [(ours, "airflow"), (check, "airflow"), ({"app": "prometheus"}, monitoring)]
        for labels, namespace in asks:
            assert lets(daemons, ours, labels, namespace, port), f"{name}: {labels} of {namespace} is kept out"
        for labels, namespace in (({"tier": "web"}, "airflow"), (ours, "other"), ({}, "default")):
            assert not lets(daemons, ours, labels, namespace, port), f"{name}: {labels} of {namespace} is let in"
            assert all(lets(daemons, ours, labels, namespace, other) is not production for other in (1, 5432, 8793, 65535)), name
        assert closed == {"podSelector": {"matchLabels": dict(closed["podSelector"]["matchLabels"])}, "policyTypes": ["Ingress"]}
        assert equals(closed["podSelector"]["matchLabels"])(check) and not equals(closed["podSelector"]["matchLabels"])(ours), name


def check_labels(found):
    """The labels of the check's pod."""
    for each in found:
        if each["kind"] in ("CronJob", "Deployment"):
            return at(each, "spec/template/metadata/labels") or at(each, "spec/jobTemplate/spec/template/metadata/labels")
    raise AssertionError("no check")


def lets(policy, to, labels, namespace, port):
    """Whether a policy of the namespace airflow lets this pod reach that TCP port, as Kubernetes reads it."""
    assert equals(at(policy, "podSelector/matchLabels"))(to) and policy["policyTypes"] == ["Ingress"]
    def is_from(peer):
        of = peer.get("namespaceSelector")
        is_near = namespace == "airflow" if of is None else equals(of["matchLabels"])({"kubernetes.io/metadata.name": namespace})
        return is_near and equals(at(peer, "podSelector/matchLabels") or {})(labels)
    return any(
        any(p["protocol"] == "TCP" and p["port"] <= port <= p.get("endPort", p["port"]) for p in rule["ports"])
        and ("from" not in rule or any(map(is_from, rule["from"])))
        for rule in policy["ingress"])


def a_leader_outlives_its_chart():
    """Helm leaves the leader's Service where it is, and nothing else."""
    kept = [key(each) for each in chart() if at(each, "metadata/annotations") and
            each["metadata"]["annotations"].get("helm.sh/resource-policy") == "keep"]
    assert kept == [("Service", "dagsync-leader")], kept


main({check.__name__: check for check in (
    what_counts_is_kept, schedules_are_ones, every_selector_is_of_one_airflow, the_check_asks_who_has_dagsync,
    the_policy_lets_in_who_has_to_ask, a_leader_outlives_its_chart)})
