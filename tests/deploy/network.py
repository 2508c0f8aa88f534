"""The cluster's network: a switch that pods are plugged into, the Services in front of them, and their names."""

import asyncio
import contextlib
import ipaddress
import subprocess
import threading
import time

NODE, OUTSIDE = "10.77.0.1", "10.77.0.2"
# Where the agent of EKS Pod Identity answers on every node.
AGENT = "169.254.170.23"
DOMAIN = "svc.cluster.local"


def ip(*words):
    subprocess.run(["ip", *words], check=True)


class Switch:
    """tests/deploy/pods gives this process a network and a /run/netns of its own, so nothing has to be taken away."""

    def __init__(self):
        self.pods, self.services = (ipaddress.ip_network(f"10.77.{part}.0/24").hosts() for part in (8, 9))
        ip("link", "set", "lo", "up")
        ip("link", "add", "switch", "type", "bridge")
        for address in (f"{NODE}/16", f"{OUTSIDE}/16", f"{AGENT}/32"):
            ip("address", "add", address, "dev", "switch")
        ip("link", "set", "switch", "up")
        self.plugged = 0

    def plug(self):
        """A namespace on the switch, and its address."""
        self.plugged += 1
        name, address = f"pod{self.plugged}", str(next(self.pods))
        ip("netns", "add", name)
        ip("link", "add", name, "type", "veth", "peer", "name", "eth0", "netns", name)
        ip("-n", name, "address", "add", f"{address}/16", "dev", "eth0")
        for port in ("eth0", "lo"):
            ip("-n", name, "link", "set", port, "up")
        ip("-n", name, "route", "add", "default", "via", NODE)
        ip("link", "set", name, "master", "switch", "up")
        # Until the kernel has noticed that the link is up, it drops what is sent, and a lost question to DNS costs five seconds.
        while " state UP " not in subprocess.run(["ip", "-o", "link", "show", name], check=True, capture_output=True, text=True).stdout:
            time.sleep(0.01)
        return name, address

    def unplug(self, name):
        ip("netns", "delete", name)

    def service_address(self):
        address = str(next(self.services))
        ip("address", "add", f"{address}/16", "dev", "switch")
        return address


class Services:
    """What kube-proxy does, in user space: a connection to a Service goes to a port of a ready pod that it selects."""

    def __init__(self, switch, manifests, pods):
        """`pods` gives the pods of this moment."""
        self.pods, self.manifests = pods, {each["metadata"]["name"]: each for each in manifests}
        self.addresses, self.turn = {}, 0
        self.loop = asyncio.new_event_loop()
        threading.Thread(target=self.loop.run_forever, daemon=True).start()
        for name, each in self.manifests.items():
            if each["spec"].get("clusterIP") != "None":
                self.addresses[name] = switch.service_address()
                for port in each["spec"]["ports"]:
                    self.listen(name, port)

    def listen(self, name, port):
        connected = lambda reader, writer: self.connected(name, port, reader, writer)
        started = asyncio.start_server(connected, self.addresses[name], port["port"])
        asyncio.run_coroutine_threadsafe(started, self.loop).result()

    def stop(self):
        self.loop.call_soon_threadsafe(self.loop.stop)
        for address in self.addresses.values():
            ip("address", "delete", f"{address}/16", "dev", "switch")

    def endpoints(self, name, port):
        """The address and port of each pod behind a Service's port."""
        spec = self.manifests[name]["spec"]
        for pod in self.pods():
            if spec["selector"].items() <= pod.metadata["labels"].items():
                target = pod.port(port.get("targetPort", port["port"]))
                if target and (pod.ready or spec.get("publishNotReadyAddresses")):
                    yield pod.address, target

    async def connected(self, name, port, reader, writer):
        found = list(self.endpoints(name, port))
        self.turn += 1
        try:
            other_reader, other_writer = await asyncio.open_connection(*found[self.turn % len(found)])
        except (OSError, ZeroDivisionError):
            # Nobody is behind it: kube-proxy rejects.
            writer.transport.abort()
            return
        await asyncio.gather(pass_on(reader, other_writer), pass_on(other_reader, writer))

    def records(self):
        """The lines of a hosts file and the SRV records of all Services, as the cluster's DNS has them."""
        hosts, services = [f"{OUTSIDE} git.example.com s3.example.com"], []
        for name, each in self.manifests.items():
            full = f"{name}.{each['metadata'].get('namespace', 'airflow')}.{DOMAIN}"
            if name in self.addresses:
                hosts.append(f"{self.addresses[name]} {full}")
                continue
            for pod in self.pods():
                if each["spec"]["selector"].items() <= pod.metadata["labels"].items():
                    hosts.append(f"{pod.address} {full}")
            for port in each["spec"]["ports"]:
                for address, target in self.endpoints(name, port):
                    host = f"{address.replace('.', '-')}.{full}"
                    hosts.append(f"{address} {host}")
                    services.append(f"_{port['name']}._tcp.{full},{host},{target}")
        return hosts, services


async def pass_on(reader, writer):
    with contextlib.suppress(OSError):
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    writer.close()


class Names:
    """A real dnsmasq at the node's address."""

    def __init__(self, folder):
        self.hosts, self.process = folder / "hosts", None
        (folder / "resolv.conf").write_text(f"nameserver {NODE}\nsearch airflow.{DOMAIN} {DOMAIN} cluster.local\noptions ndots:5\n")

    def serve(self, hosts, services):
        self.stop()
        self.hosts.write_text("\n".join(hosts) + "\n")
        command = ["dnsmasq", "--keep-in-foreground", "--conf-file=/dev/null", "--pid-file=", "--no-resolv", "--no-hosts", "--user=root"]
        command += ["--bind-interfaces", f"--listen-address={NODE}", f"--addn-hosts={self.hosts}", "--local=/cluster.local/"]
        self.process = subprocess.Popen([*command, "--log-facility=/dev/null", *(f"--srv-host={each}" for each in services)])
        time.sleep(0.2)
        assert self.process.poll() is None, "dnsmasq does not start"

    def stop(self):
        if self.process:
            self.process.kill()
            self.process.wait()
