"""The body of tests/chart/check: the chart is rendered for each scenario, its pods are run, and what must hold."""

import os
import pathlib
import signal
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections import namedtuple

import yaml
from kubelet import inside
from official import DEFAULT, PATIENCE, eventually, fetch, objects, pods, run, template
from pods import Pod
from servers import Servers

SUB_PATH = "tests/dags"
USER, PASSWORD = "ada", "correct-horse-7731"
GUARD = "auth_basic dags; auth_basic_user_file {at}/users;"

# What is set of `dags.gitSync` and elsewhere, and what must be on git-sync's volume in the end.
Scenario = namedtuple("Scenario", "name git_sync values leaves")


def push(servers, text):
    dag = servers.work / SUB_PATH / "dag.py"
    dag.parent.mkdir(parents=True, exist_ok=True)
    dag.write_text(text)
    servers.push("a change")
    return run("git", "rev-parse", "HEAD", cwd=servers.work)


def scenarios(servers, knows_probes):
    """Only the first has nothing but another image; the others poll more often, to be over sooner."""
    urls = {source.name: source.url for source in servers.sources()}
    key = {"repo": urls["ssh"], "sshKeySecret": "git-key", "branch": "main", "subPath": SUB_PATH}
    known = {**key, "knownHosts": (servers.at / "known_hosts").read_text()}
    https = {
        **{"repo": urls["https"], "credentialsSecret": "git-credentials", "branch": "main", "subPath": SUB_PATH},
        "env": [{"name": "GITSYNC_GIT_CONFIG", "value": "http.sslCAInfo:/etc/git-secret/ca.pem"}],
        "extraVolumeMounts": [
            {"name": "ca", "mountPath": "/etc/git-secret/ca.pem", "subPath": "ca.pem", "readOnly": True}
        ],
    }
    more = {**known, "env": [{"name": "GITSYNC_TOUCH_FILE", "value": "touched"}]}
    if knows_probes:
        probe = {"httpGet": {"path": "/", "port": 1234}}
        more |= {"readinessProbe": probe, "livenessProbe": probe}
    soon = {"period": "1s"}
    yield Scenario("another image", known, {}, [])
    yield Scenario("https with a password", {**https, **soon}, {"volumes": [{"name": "ca", "configMap": {"name": "ca"}}]}, [])
    yield Scenario("no knownHosts", {**key, **soon}, {}, [])
    yield Scenario("another UID", {**known, **soon, "uid": 50123}, {}, [])
    yield Scenario("gitSync.env and all probes", {**more, **soon}, {}, ["touched"])


def cluster(servers):
    """The Secrets and ConfigMaps that a user of the chart makes."""
    names = ("GIT_SYNC_USERNAME", "GITSYNC_USERNAME", "GIT_SYNC_PASSWORD", "GITSYNC_PASSWORD")
    return {
        ("Secret", "git-key"): {"gitSshKey": (servers.at / "user").read_text()},
        ("Secret", "git-credentials"): {name: PASSWORD if "PASS" in name else USER for name in names},
        ("ConfigMap", "ca"): {"ca.pem": (servers.at / "ca.pem").read_text()},
    }


def values(scenario):
    return {
        "executor": "LocalExecutor,CeleryExecutor,KubernetesExecutor",
        "images": {"gitSync": {"repository": "example.org/dagsync", "tag": "1.0.0"}},
        "dags": {"gitSync": {"enabled": True, **scenario.git_sync}},
        **scenario.values,
    }


def probes(container):
    """Kind and URL of every probe."""
    for kind in ("startupProbe", "readinessProbe", "livenessProbe"):
        if probe := container.get(kind):
            assert "httpGet" in probe, f"a probe that is not known here: {probe}"
            yield kind, f"http://127.0.0.1:{probe['httpGet']['port']}{probe['httpGet']['path']}"


def status(url):
    try:
        return urllib.request.urlopen(url, timeout=1).status
    except urllib.error.HTTPError as error:
        return error.code
    except OSError:
        return None


def odd(log):
    """What no container may have said."""
    return next((line for line in log.splitlines() if "there is no variable" in line or PASSWORD in line), None)


def check_init(pod, commit, text):
    code = pod.start(pod.init).wait(PATIENCE)
    assert code == 0, f"the init container ended with {code}"
    assert pod.on(commit, text), "the init container left something else"
    owner = os.lstat(pod.link).st_uid
    assert owner == pod.uid(pod.init), f"the init container ran as {owner}"


def check_sidecar(pod, servers):
    """What was found to hold."""
    process, wanted = pod.start(pod.sidecar), pod.uid(pod.sidecar)
    try:
        said = []
        for kind, url in probes(pod.sidecar):
            eventually(lambda: f"{kind} {url} answers 200", lambda: status(url) == 200)
            said.append(f"{kind} 200")
        text = f"# {time.time_ns()}\n"
        commit = push(servers, text)
        eventually(lambda: f"it is on {commit}", lambda: pod.on(commit, text))
        pid = inside(process)
        owners = pathlib.Path(f"/proc/{pid}/status").read_text().split("Uid:")[1].split("\n")[0].split()
        assert owners == [str(wanted)] * 4, f"it runs as {owners}, not as {wanted}"
        for kind, url in probes(pod.sidecar):
            assert status(url) == 200, f"{kind} does not answer 200 any more"
        os.kill(pid, signal.SIGTERM)
        code = process.wait(PATIENCE)
        assert code == 0, f"SIGTERM ended it with {code}"
    finally:
        process.kill()
        process.wait()
    return [*said, f"followed a push as UID {wanted}", "SIGTERM: exit 0"]


def check_pod(pod, servers, scenario):
    text = f"# {time.time_ns()}\n"
    commit = push(servers, text)
    said = []
    try:
        if pod.init:
            check_init(pod, commit, text)
            said.append(f"init: exit 0 as UID {pod.uid(pod.init)}")
        if pod.sidecar:
            said += check_sidecar(pod, servers)
        for container in filter(None, (pod.init, pod.sidecar)):
            assert not odd(pod.log(container)), f"it said {odd(pod.log(container))}"
        for name in scenario.leaves:
            assert (pod.volume(pod.shared) / name).exists(), f"there is no {name}"
    except BaseException:
        for container in filter(None, (pod.init, pod.sidecar)):
            log = pod.folder / f"{container['name']}.log"
            sys.stderr.write(log.read_text() if log.exists() else "")
        raise
    looks = sorted({f"{name} reads {folder}" for name, folder, _ in pod.readers()})
    return "; ".join([*said, *looks])


def check_chart(chart, version, servers):
    knows_probes = "readinessProbe" in yaml.safe_load((chart / "values.yaml").read_text())["dags"]["gitSync"]
    for scenario in scenarios(servers, knows_probes):
        documents = template(chart, values(scenario))
        known = {**cluster(servers), **dict(objects(documents))}
        found = 0
        for name, manifest in pods(documents):
            with Pod(manifest["spec"], known) as pod:
                if pod.init or pod.sidecar:
                    print(f"airflow-{version}, {scenario.name}, {name}: {check_pod(pod, servers, scenario)}", flush=True)
                    found += 1
        assert found >= 4, f"only {found} pods with git-sync in airflow-{version}"


def main():
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        servers = Servers(folder / "servers", GUARD)
        (servers.at / "users").write_text(f"{USER}:{{PLAIN}}{PASSWORD}\n")
        try:
            push(servers, "# first\n")
            for number, chart in enumerate(sys.argv[1:] or DEFAULT):
                (folder / str(number)).mkdir()
                check_chart(*fetch(chart, folder / str(number)), servers)
        finally:
            servers.stop()


main()
