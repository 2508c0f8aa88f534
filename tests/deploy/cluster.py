"""A cluster that holds one release of Airflow and dagsync's Services and check: its objects, accounts and pods."""

import pathlib
import secrets
import shutil
import time
from concurrent.futures import ThreadPoolExecutor

import yaml
from apiserver import Api
from network import AGENT, OUTSIDE, Names, Services
from node import Running
from official import objects, pods

IRSA, TOKEN_OF_IRSA = "eks.amazonaws.com/role-arn", "/var/run/secrets/eks.amazonaws.com/serviceaccount"
TOKEN_OF_AGENT = "/var/run/secrets/pods.eks.amazonaws.com/serviceaccount"


def only(kind, name, among):
    return next(d for d in among if d["kind"] == kind and d["metadata"]["name"] == name)


class Cluster:
    """`source` brings the objects that its users make, and what is in an image; `switch` is shared by clusters one after the other."""

    def __init__(self, folder, switch, certificates, airflow, fleet, source):
        self.folder, self.switch, self.source = folder, switch, source
        folder.mkdir()
        self.documents = [*airflow, *fleet]
        self.objects = {**dict(objects(self.documents)), **source.objects, ("token", "sts.amazonaws.com"): source.identity}
        self.objects["token", "pods.eks.amazonaws.com"] = source.identity
        self.ca = (certificates / "ca.pem").read_text()
        self.accounts = {d["metadata"]["name"]: d for d in self.documents if d["kind"] == "ServiceAccount"}
        self.tokens = {name: secrets.token_hex(16) for name in [*self.accounts, "default"]}
        self.workloads = dict(self.workloads_of(airflow))
        self.pods = {}
        # A container ends with the thread that started it.
        self.crew = ThreadPoolExecutor()
        self.server = Api(OUTSIDE, (certificates / "server.pem", certificates / "server.key"), self)
        self.api = self.server.address
        self.names = Names(folder)
        self.services = Services(switch, [d for d in fleet if d["kind"] == "Service"], lambda: list(self.pods.values()))

    def workloads_of(self, documents):
        kinds = {d["metadata"]["name"]: d["kind"] for d in documents if (d.get("spec") or {}).get("template")}
        for name, manifest in pods(documents):
            if kinds.get(name) != "Job":
                yield name, manifest

    def __enter__(self):
        return self

    def __exit__(self, *_):
        # Those that still start give up first.
        for pod in self.pods.values():
            pod.kill()
        self.crew.shutdown(cancel_futures=True)
        for pod in [*self.pods]:
            self.remove(pod)
        self.names.stop()
        self.services.stop()
        self.server.stop()
        shutil.rmtree(self.folder)

    # What pods ask of it

    def mounts_token(self, spec):
        account = self.accounts.get(spec.get("serviceAccountName", "default"), {})
        return spec.get("automountServiceAccountToken", account.get("automountServiceAccountToken", True))

    def account(self, name):
        return {"token": self.tokens[name], "ca.crt": self.ca, "namespace": "airflow"}

    def admit(self, manifest):
        """What the webhooks of EKS do to a pod: IRSA by the account's annotation, Pod Identity by an association."""
        spec = manifest["spec"]
        annotations = self.accounts.get(spec.get("serviceAccountName"), {}).get("metadata", {}).get("annotations") or {}
        if role := annotations.get(IRSA):
            at, audience = TOKEN_OF_IRSA, "sts.amazonaws.com"
            found = {"AWS_ROLE_ARN": role, "AWS_WEB_IDENTITY_TOKEN_FILE": f"{at}/token", "AWS_STS_REGIONAL_ENDPOINTS": "regional"}
            # The one that is not of EKS: STS is here.
            found["AWS_ENDPOINT_URL_STS"] = self.source.endpoint
        elif spec.get("serviceAccountName") in self.source.associations:
            at, audience = TOKEN_OF_AGENT, "pods.eks.amazonaws.com"
            found = {"AWS_CONTAINER_CREDENTIALS_FULL_URI": f"http://{AGENT}/v1/credentials"}
            found["AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE"] = f"{at}/token"
        else:
            return
        token = {"serviceAccountToken": {"path": "token", "audience": audience}}
        spec.setdefault("volumes", []).append({"name": "aws-token", "projected": {"sources": [token]}})
        for container in [*(spec.get("initContainers") or []), *spec["containers"]]:
            named = {v["name"] for v in container.get("env") or []}
            container["env"] = [*(container.get("env") or []), *({"name": n, "value": v} for n, v in found.items() if n not in named)]
            mount = {"name": "aws-token", "mountPath": at, "readOnly": True}
            container["volumeMounts"] = [*(container.get("volumeMounts") or []), mount]

    def objects_of_pods(self):
        """Those that run here, and those of the release that have no dagsync: they are pods of the cluster too."""
        yield from (pod.object() for pod in list(self.pods.values()))
        for name, manifest in self.workloads.items():
            if name not in self.pods and name != "pod template":
                yield {"metadata": {**manifest["metadata"], "name": name}, "spec": manifest["spec"], "status": {"phase": "Running"}}

    # Its pods

    def add(self, name, manifest):
        self.pods[name] = Running(name, manifest, self)
        return self.pods[name]

    def remove(self, name):
        self.pods.pop(name).remove()

    def with_dagsync(self):
        """Each workload that has a container of ours."""
        for name, manifest in self.workloads.items():
            names = {c["name"] for c in [*(manifest["spec"].get("initContainers") or []), *manifest["spec"]["containers"]]}
            if name != "pod template" and names & {"dagsync", "git-sync"}:
                yield name, manifest

    def roll_out(self):
        """All workloads with dagsync at once, each one as a new pod; those before them must end well."""
        for name in [*self.pods]:
            self.pods[name].stop()
            self.remove(name)
        for name, manifest in self.with_dagsync():
            self.add(name, manifest)
        self.names.serve(*self.services.records())
        list(self.crew.map(Running.boot, self.pods.values()))
        return list(self.pods.values())

    def settled(self):
        """The kubelet's readiness, which lags behind by a probe."""
        end = time.monotonic() + 60
        while not all(pod.ready for pod in self.pods.values()):
            assert time.monotonic() < end, f"never ready: {[n for n, pod in self.pods.items() if not pod.ready]}"
            time.sleep(0.2)

    def worker(self, manifest):
        """A pod of the KubernetesExecutor, run to the end of its init containers."""
        pod = self.add("task-1", manifest)
        pod.boot()
        return pod

    def check(self):
        """One Job of the CronJob: how its container ends, and what it says."""
        cron = only("CronJob", "dagsync-drift", self.documents)
        template = cron["spec"]["jobTemplate"]["spec"]["template"]
        pod = self.add("dagsync-drift-1", template)
        container, = template["spec"]["containers"]
        try:
            code = pod.start(container).wait(120)
            return code, pod.log(container)
        finally:
            self.remove("dagsync-drift-1")

    def configure(self, name, key, value):
        """kubectl patch configmap."""
        self.objects["ConfigMap", name][key] = value


def template_of(cluster):
    """The pod template that the scheduler's Airflow has, and its airflow_local_settings.py: as text."""
    scheduler = cluster.pods["airflow-scheduler"]
    container = next(c for c in scheduler.spec["containers"] if c["name"] == "scheduler")
    found = {}
    for source, path, _ in scheduler.mounts(container):
        found[pathlib.Path(path).name] = source
    return yaml.safe_load(found["pod_template_file.yaml"].read_text()), found["airflow_local_settings.py"]
