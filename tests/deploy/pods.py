"""The body of tests/deploy/pods: scenarios, and what must hold in each."""

import json
import os
import pathlib
import signal
import ssl
import subprocess
import sys
import tempfile
import time
import traceback
import urllib.error
import urllib.request

import sources
from cluster import Cluster, template_of
from network import OUTSIDE, Switch, ip
from node import ask
from official import DEFAULT, dags_folder, fetch, template
from rendered import ROOT, chart, kustomization, only
from servers import KEYS

PATIENCE = 90
FOLLOWERS = {"airflow-dag-processor", "airflow-triggerer", "airflow-worker"}


class Scenario:
    """One way to deploy: files of values, sources (the first is the flag's), and what is looked at besides the usual."""

    def __init__(self, name, files, kinds, *more, values=None):
        self.name, self.kinds, self.more, self.values = name, kinds, more, values or {}
        self.parts = files.split()

    def files(self, version):
        """Before 1.20 the chart needs one file more for the api-server of Airflow 3 (deploy/README.md, Variants)."""
        parts = list(self.parts)
        if tuple(map(int, version.split(".")[:2])) < (1, 20) and not {"git-sync", "airflow-2", "image"} & set(parts):
            plain = "plain-sidecars" in parts
            parts.insert(2 if plain else 1, "without-api-server" if plain else "chart-1.18")
        return [ROOT / f"deploy/airflow/{each}.yaml" for each in parts]


class World:
    """A cluster with a scenario's pods, and the report of what holds."""

    def __init__(self, cluster, source, name):
        self.cluster, self.source, self.name = cluster, source, name

    def say(self, *words):
        print(f"{self.name}, {': '.join(words)}", flush=True)

    def put(self):
        return self.source.put(f"# {time.time_ns()}\n")

    def status(self, pod):
        answer = pod.get("/v1/status")
        return json.loads(answer[1]) if answer and answer[0] == 200 else {}

    def all_on(self, version):
        """Every daemon says so, and every Airflow container finds it with coreutils where its own configuration looks."""
        pods, end = list(self.cluster.pods.values()), time.monotonic() + PATIENCE
        wanted = self.source.published(version), "converged"
        while late := [p for p in pods if (self.status(p).get("version"), self.status(p).get("state")) != wanted]:
            if time.monotonic() > end:
                raise AssertionError(f"{late[0].name} never on {version}: {self.status(late[0])}\n{tail(late[0])}")
            time.sleep(0.5)
        return {pod.name: finds(pod, version) for pod in pods}


def tail(pod):
    return "".join(f"--- {c['name']}\n{pod.log(c)[-3000:]}" for c in pod.containers(ours=True))


def finds(pod, version):
    """Which Airflow containers of the pod look at DAGs, each of which must find this version."""
    found = []
    for container in pod.containers(ours=False):
        mounts = [path for _, path, _ in pod.mounts(container)]
        if "/opt/airflow/airflow.cfg" not in mounts or container in (pod.spec.get("initContainers") or []):
            continue
        folder = dags_folder(pod, container)
        if not any(f"{folder}/".startswith(f"{path}/") for path in [*mounts, *pod.images(container["image"])]):
            continue
        read = subprocess.run(pod.command(container, sources.by_hand(folder)), capture_output=True, text=True)
        assert read.stdout == f"{version.removeprefix('sha256:')}  -\n", f"{pod.name}, {container['name']}, {folder}: {read.stdout}{read.stderr}, not {version}"
        found.append(f"{container['name']} finds it in {folder}")
    return found


def post(pod, token=None):
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    request = urllib.request.Request(f"http://{pod.address}:8466/v1/sync", method="POST", headers=headers)
    try:
        return urllib.request.urlopen(request, timeout=30).status
    except urllib.error.HTTPError as error:
        return error.code


def starts_and_follows(world):
    version = world.put()
    pods = world.cluster.roll_out()
    found = world.all_on(version)
    world.cluster.settled()
    for pod in pods:
        restarted = [f"its init container was started {pod.restarts} times more"] if pod.restarts else []
        world.say(pod.name, f"starts on the source's version as {pod.confined()}; " + "; ".join([*restarted, *found[pod.name]]))
    other = world.put()
    assert other != version
    if isinstance(world.source, sources.Image):
        pods = world.cluster.roll_out()
        world.all_on(other)
        world.say("the next image", "all pods ended with 0 at SIGTERM, and all new ones are on its version")
    else:
        world.all_on(other)
        world.say("a change at the source", f"reached all {len(pods)} pods")
    return other


def follows_the_leader(world):
    """Who leads and who follows, by their own word, and through the Service."""
    scheduler = world.cluster.pods["airflow-scheduler"]
    leader = world.cluster.services.addresses["dagsync-leader"]
    answer = json.loads(ask(f"http://{leader}:8466/v1/target")[1])
    assert answer["version"] == world.status(scheduler)["version"], answer
    for pod in world.cluster.pods.values():
        mode = world.status(pod)["target"]["mode"]
        assert mode == ("head" if pod is scheduler else "leader"), f"{pod.name}: {mode}"
    world.say("dagsync-leader", "is the scheduler; all others follow it")


def asks_for_a_token(world):
    pod = world.cluster.pods["airflow-scheduler"]
    refused, wrong, taken = post(pod), post(pod, "wrong"), post(pod, world.source.token)
    assert (refused, wrong, taken // 100) == (401, 401, 2), (refused, wrong, taken)
    world.say("POST /v1/sync", f"without a token {refused}, with a wrong one {wrong}, with that of the Secret {taken}")


def answers_inside(world):
    """kubectl exec: the container's environment says where its settings are, so its client knows its own token and certificates."""
    for pod in world.cluster.pods.values():
        command = pod.command(pod.daemon()[0], ["/usr/bin/dagsync", "status", "http://127.0.0.1:8466"])
        ran = subprocess.run(command, capture_output=True, text=True)
        assert ran.returncode == 0 and world.status(pod)["version"].removeprefix("sha256:")[:12] in ran.stdout, f"{pod.name}: {ran.stdout}{ran.stderr}"
    world.say("kubectl exec", "dagsync status answers in every pod, with the settings of its container")


def expect(world, code, *words):
    ended, said = world.cluster.check()
    assert ended == code, f"{world.name}: the check ended with {ended}, not {code}:\n{said}"
    for word in words:
        assert word in said, f"{world.name}: the check does not say {word}:\n{said}"
    return said.splitlines()[0]


def is_checked(world):
    world.say("dagsync-drift", f"exit 0: {expect(world, 0)}")
    worker = next(p for n, p in world.cluster.pods.items() if n in FOLLOWERS)
    name = worker.daemon()[0]["name"]
    worker.signal(name, signal.SIGSTOP)
    said = expect(world, 3, worker.name, " 1 unreachable")
    worker.signal(name, signal.SIGCONT)
    world.say("dagsync-drift", f"{worker.name} stopped: exit 3: {said}")


def refuses_what_no_role_allows(world):
    api, tokens = world.cluster.server, world.cluster.tokens
    host, port = api.address
    context = ssl.create_default_context(cadata=world.cluster.ca)

    def answer(path, account=None):
        headers = {"Authorization": f"Bearer {tokens[account]}"} if account else {}
        try:
            with urllib.request.urlopen(urllib.request.Request(f"https://{host}:{port}{path}", headers=headers), context=context) as said:
                said.read()
                return said.status
        except urllib.error.HTTPError as error:
            return error.code

    pods = "/api/v1/namespaces/airflow/pods"
    said = [answer(pods), answer(pods, "default"), answer(pods, "dagsync-drift")]
    more = [answer(f"{pods}/airflow-scheduler", "dagsync-drift"), answer("/api/v1/namespaces/airflow/secrets", "dagsync-drift")]
    assert said == [401, 403, 200] and more == [403, 403], (said, more)
    asked = {(verb, resource) for account, verb, resource in api.asked[:-5] if account == "dagsync-drift"}
    assert asked == {("list", "pods")}, asked
    world.say("the role", "lists pods, which is all that the check asked for; another account 403, no token 401, other verbs 403")


def drifts(world):
    """A pod that cannot reach the source any more stays where it is, while the leader goes on."""
    pod = world.cluster.pods["airflow-triggerer"]
    ip("-n", pod.netns, "route", "add", "blackhole", f"{OUTSIDE}/32")
    version = world.put()
    post(world.cluster.pods["airflow-scheduler"], world.source.token)
    end = time.monotonic() + 2 * PATIENCE
    while (found := world.cluster.check())[0] != 1:
        assert time.monotonic() < end, f"no drift: {found}"
        time.sleep(5)
    assert pod.name in found[1] and "drifted" in found[1], found
    world.say("dagsync-drift", f"{pod.name} cut off from the source: exit 1: {found[1].splitlines()[0]}")
    ip("-n", pod.netns, "route", "delete", "blackhole", f"{OUTSIDE}/32")
    world.all_on(version)
    world.say(pod.name, "goes on by itself when the source is back")


HOOK = """
import importlib.util, json, sys
from kubernetes import client
found = importlib.util.spec_from_file_location("airflow_local_settings", sys.argv[1])
settings = importlib.util.module_from_spec(found)
found.loader.exec_module(settings)
class Template: data = sys.stdin.read()
api = client.ApiClient()
pod = api.deserialize(Template, "V1Pod")
settings.pod_mutation_hook(pod)
print(json.dumps(api.sanitize_for_serialization(pod)))
"""


def pins_workers(world):
    """What Airflow's scheduler does for a task: the rendered template, changed by the rendered hook, in the scheduler's network."""
    cluster, scheduler = world.cluster, world.cluster.pods["airflow-scheduler"]
    manifest, settings = template_of(cluster)
    manifest["metadata"]["labels"]["kubernetes_executor"] = "True"
    container = next(c for c in scheduler.spec["containers"] if c["name"] == "scheduler")
    environment = {**dict(scheduler.environment(container)), "PYTHONPATH": os.environ["PYTHONPATH"]}
    command = ["nsenter", f"--net=/run/netns/{scheduler.netns}", sys.executable, "-c", HOOK, str(settings)]
    ran = subprocess.run(command, input=json.dumps(manifest), env=environment, capture_output=True, text=True)
    assert ran.returncode == 0 and "not pinned" not in ran.stderr, ran.stderr
    pinned = world.status(scheduler)["version"]
    newer = world.put()
    world.all_on(newer)
    pod = cluster.worker(json.loads(ran.stdout))
    found = finds(pod, pinned)
    assert found, "the worker looks at no DAGs"
    world.say("pod template", f"a worker that was pinned to what the scheduler was on starts there, though all are further: {'; '.join(found)}")
    expect(world, 0)
    world.say("dagsync-drift", "exit 0: the worker, which is elsewhere by its pin, is none of those that are asked")
    pod.stop()
    cluster.remove(pod.name)


def changes_the_flag(world, to):
    """Equal DAGs from another source: the ConfigMap's flag, and new pods."""
    version = world.status(world.cluster.pods["airflow-scheduler"])["version"]
    text = (world.source.servers.work / "dags/dag.py").read_text()
    assert to.put(text) == version
    world.cluster.configure("dagsync", "strategy", "s3")
    pods = world.cluster.roll_out()
    world.all_on(version)
    sources_seen = {world.status(pod)["source"] for pod in pods}
    world.say("the flag", f"git to s3: the same version from {', '.join(map(str, sources_seen))} in all {len(pods)} pods")


def without_rights(world):
    """The overlay that asks DNS alone: SRV records of the headless Service, and no account."""
    cluster, documents = world.cluster, world.cluster.documents
    cluster.documents = kustomization(ROOT / "deploy/fleet/overlays/dns-only")
    cluster.objects["ConfigMap", "dagsync-drift"] = cluster.objects["ConfigMap", "dagsync-drift"] | only("ConfigMap", cluster.documents)["data"]
    world.say("dagsync-drift of overlays/dns-only", f"exit 0: {expect(world, 0, *cluster.pods)}")
    cluster.documents = documents


USUAL = (follows_the_leader, asks_for_a_token, answers_inside, is_checked)
SCENARIOS = [
    Scenario("git-sync", "git-sync", [sources.WholeRepository]),
    Scenario("git", "values git", [sources.Git], *USUAL, refuses_what_no_role_allows, drifts, without_rights),
    Scenario("s3-irsa", "values s3 s3-irsa", [sources.S3], *USUAL),
    Scenario("s3-pod-identity", "values s3", [sources.Uploaded], *USUAL),
    Scenario("volume", "values volume", [sources.Volume], *USUAL),
    Scenario("image", "values image", [sources.Image], *USUAL),
    Scenario("kubernetes-executor", "values git pin-workers kubernetes-executor", [sources.Git], *USUAL, pins_workers),
    Scenario("kubernetes-executor-s3", "values s3 s3-irsa pin-workers kubernetes-executor", [sources.S3], pins_workers),
    Scenario("both-executors", "values git pin-workers", [sources.Git], pins_workers, values={"executor": "CeleryExecutor,KubernetesExecutor"}),
    Scenario("plain-sidecars", "values plain-sidecars git", [sources.Git], *USUAL),
    Scenario("airflow-2", "values git airflow-2", [sources.Git], *USUAL, values={"airflowVersion": "2.11.0", "defaultAirflowTag": "2.11.0"}),
    Scenario("flag", "values git s3 s3-irsa", [sources.Git, sources.S3], changes_the_flag, values={"dagsync": {"strategy": "git"}}),
]


def run(scenario, name, charted, version, switch, certificates, folder, fleet):
    made = [kind(folder / kind.__name__) for kind in scenario.kinds]
    try:
        documents = template(charted, *scenario.files(version), *(source.values for source in made), scenario.values)
        joined = made[0]
        for other in made[1:]:
            joined.endpoint, joined.associations = other.endpoint, other.associations
            joined.objects.update({key: value for key, value in other.objects.items() if key not in joined.objects})
        with Cluster(folder / "cluster", switch, certificates, documents, fleet, joined) as cluster:
            world = World(cluster, joined, name)
            starts_and_follows(world)
            for look in scenario.more:
                look(world, *made[1:])
            for pod in cluster.pods.values():
                pod.stop()
            world.say("the end", "SIGTERM ended every container of dagsync with 0 within its grace period")
    finally:
        for source in made:
            source.stop()


def main():
    chosen, switch, failed = os.environ.get("ONLY", "").split(), Switch(), []
    for number, given in enumerate(sys.argv[1:] or DEFAULT):
        with tempfile.TemporaryDirectory() as folder:
            folder = pathlib.Path(folder)
            folder.chmod(0o755)
            charted, version = fetch(given, folder)
            certificates = folder / "certificates"
            certificates.mkdir()
            subprocess.run(["bash", "-ec", KEYS], cwd=certificates, env={**os.environ, "address": OUTSIDE}, check=True, capture_output=True)
            # The same fleet, as manifests for one version and by its chart for the next.
            kind, fleet = [("fleet/base", kustomization(ROOT / "deploy/fleet/base")), ("chart", chart())][number % 2]
            for scenario in SCENARIOS:
                if not chosen or scenario.name in chosen:
                    (folder / scenario.name).mkdir()
                    name = f"airflow-{version} with deploy/{kind}, {scenario.name}"
                    try:
                        run(scenario, name, charted, version, switch, certificates, folder / scenario.name, fleet)
                    except Exception:
                        traceback.print_exc()
                        failed.append(name)
    if failed:
        sys.exit(f"FAILED: {'; '.join(failed)}")


main()
