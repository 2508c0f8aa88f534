"""A node of a cluster: pods with an address of their own, started, probed and stopped as the kubelet does it."""

import contextlib
import copy
import datetime
import os
import signal
import subprocess
import threading
import time
import urllib.error
import urllib.request

from kubelet import Pod, inside

ACCOUNT = "/var/run/secrets/kubernetes.io/serviceaccount"
# Whose process is run here. Airflow itself is not; for what it would find in its containers, see Running.finds.
OURS = ("dagsync", "dagsync-init", "git-sync", "git-sync-init")
PATIENCE = 90


def ask(url, timeout=5, **headers):
    """The status and the body of an answer; nothing when there is none."""
    try:
        with urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=timeout) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()
    except OSError:
        return None


class Running(Pod):
    """A pod of `cluster`, which has a switch, objects, accounts and a source of images."""

    def __init__(self, name, manifest, cluster):
        manifest = copy.deepcopy(manifest)
        manifest["metadata"] = {**manifest["metadata"], "name": name, "namespace": "airflow"}
        cluster.admit(manifest)
        super().__init__(manifest, cluster.objects, cluster.source.pull())
        self.name, self.cluster, self.processes, self.probed = name, cluster, {}, {}
        self.netns, self.address = cluster.switch.plug()
        self.started, self.ended, self.restarts = False, None, 0
        self.since = datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
        self.gone = threading.Event()

    # What the node brings

    def system(self):
        hosts = self.folder / "hosts"
        hosts.write_text(f"127.0.0.1 localhost\n{self.address} {self.name}\n")
        yield self.cluster.folder / "resolv.conf", "/etc/resolv.conf", True
        yield hosts, "/etc/hosts", True
        if self.cluster.mounts_token(self.spec):
            at = self.folder / "account"
            at.mkdir(exist_ok=True)
            for name, text in self.cluster.account(self.account()).items():
                (at / name).write_text(text)
                os.chown(at / name, 0, self.group())
                (at / name).chmod(0o644)
            yield at, ACCOUNT, True

    def account(self):
        return self.spec.get("serviceAccountName", "default")

    def environment(self, container):
        host, port = self.cluster.api
        yield "KUBERNETES_SERVICE_HOST", host
        yield "KUBERNETES_SERVICE_PORT", str(port)
        yield from super().environment(container)

    def command(self, container, words=None):
        return ["nsenter", f"--net=/run/netns/{self.netns}", *super().command(container, words)]

    def port(self, wanted):
        """The number of a port, which may be named by a container."""
        ports = [p for c in self.containers() for p in c.get("ports") or []]
        return wanted if isinstance(wanted, int) else next((p["containerPort"] for p in ports if p.get("name") == wanted), None)

    def containers(self, ours=None):
        """All in their order, or ours alone, or only the others."""
        found = [*(self.spec.get("initContainers") or []), *self.spec["containers"]]
        return [c for c in found if ours is None or (c["name"] in OURS) == ours]

    # Its life

    def boot(self):
        """Init containers one after the other, native sidecars as soon as they have started, then all others."""
        init = self.spec.get("initContainers") or []
        for container in self.containers(ours=True):
            if container in init and container.get("restartPolicy") != "Always":
                self.complete(container)
            else:
                self.launch(container)
        self.started = True
        for container in self.containers(ours=True):
            if container["name"] in self.processes:
                for kind in ("readinessProbe", "livenessProbe"):
                    if kind in container:
                        threading.Thread(target=self.keep_probing, args=(container, kind), daemon=True).start()

    def complete(self, container):
        """An init container must end with 0; until then it is started again."""
        end = time.monotonic() + PATIENCE
        while (code := self.start(container).wait(PATIENCE)) != 0:
            self.restarts += 1
            assert time.monotonic() < end and not self.gone.is_set(), f"{self.name}: {container['name']} ends with {code}:\n{self.log(container)[-2000:]}"
            time.sleep(2)

    def launch(self, container):
        process = self.processes[container["name"]] = self.start(container)
        if probe := container.get("startupProbe"):
            for _ in range(probe.get("failureThreshold", 3)):
                if self.probe(container, probe):
                    return
                assert process.poll() is None, f"{self.name}: {container['name']} ended:\n{self.log(container)[-2000:]}"
                time.sleep(probe.get("periodSeconds", 10))
            raise AssertionError(f"{self.name}: {container['name']} never starts:\n{self.log(container)[-2000:]}")

    def probe(self, container, probe):
        asked = probe["httpGet"]
        scheme, port = asked.get("scheme", "HTTP").lower(), self.port(asked["port"])
        answer = ask(f"{scheme}://{self.address}:{port}{asked.get('path', '/')}", probe.get("timeoutSeconds", 1))
        return answer is not None and 200 <= answer[0] < 400

    def keep_probing(self, container, kind):
        probe, failed = container[kind], 0
        key = container["name"], kind
        while not self.gone.is_set():
            failed = 0 if self.probe(container, probe) else failed + 1
            if failed == 0 or failed >= probe.get("failureThreshold", 3) or key not in self.probed:
                self.probed[key] = failed == 0
            self.gone.wait(probe.get("periodSeconds", 10))

    @property
    def ready(self):
        """As the pod's condition: everything has started, and each readiness probe holds."""
        probes = [(c["name"], "readinessProbe") for c in self.containers(ours=True) if c["name"] in self.processes and "readinessProbe" in c]
        return self.started and self.ended is None and all(self.probed.get(key) for key in probes)

    def stop(self):
        """SIGTERM to all, native sidecars last; whoever outlives the grace period is killed."""
        self.gone.set()
        end = time.monotonic() + self.spec.get("terminationGracePeriodSeconds", 30)
        ordinary = {c["name"] for c in self.spec["containers"]}
        for name in sorted(self.processes, key=lambda name: name not in ordinary):
            process = self.processes[name]
            os.kill(inside(process), signal.SIGTERM)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(max(0.1, end - time.monotonic()))
            assert process.poll() == 0, f"{self.name}: SIGTERM ended {name} with {process.poll()}"
        self.ended = 0

    def kill(self):
        self.gone.set()
        for process in [*self.processes.values()]:
            process.kill()
            process.wait()

    def remove(self):
        self.kill()
        self.cluster.switch.unplug(self.netns)
        self.__exit__()

    def signal(self, name, number):
        os.kill(inside(self.processes[name]), number)

    # What others see of it

    def object(self):
        """As the API of Kubernetes tells of it."""
        phase = "Running" if self.ended is None else "Succeeded" if self.ended == 0 else "Failed"
        state = lambda c: {"name": c["name"], "ready": self.ready}
        status = {"phase": phase, "podIP": self.address, "podIPs": [{"ip": self.address}], "startTime": self.since}
        status["containerStatuses"] = [state(c) for c in self.spec["containers"]]
        status["initContainerStatuses"] = [state(c) for c in self.spec.get("initContainers") or []]
        return {"metadata": self.metadata, "spec": {**self.spec, "nodeName": "node-1"}, "status": status}

    def daemon(self):
        """The container that stays, and the port where it answers."""
        container = next(c for c in self.containers(ours=True) if c["name"] in self.processes)
        probe = container.get("startupProbe") or container["livenessProbe"]
        return container, self.port(probe["httpGet"]["port"])

    def get(self, path, **headers):
        return ask(f"http://{self.address}:{self.daemon()[1]}{path}", **headers)

    def confined(self):
        """The kernel's word on the process: whom it runs as and what it may do."""
        container, _ = self.daemon()
        text = open(f"/proc/{inside(self.processes[container['name']])}/status", encoding="ascii").read()
        said = {line.split(":")[0]: line.split()[1:] for line in text.splitlines()}
        assert said["Uid"] == [str(self.uid(container))] * 4, f"{self.name} runs as {said['Uid']}"
        assert said["CapEff"] == said["CapPrm"] == ["0" * 16], f"{self.name} has rights: {said['CapEff']}"
        if self.context(container, "allowPrivilegeEscalation") is False:
            assert said["NoNewPrivs"] == ["1"] and said["CapBnd"] == ["0" * 16], f"{self.name} may get rights"
        return f"UID {said['Uid'][0]}, GID {said['Gid'][0]}"
