"""Pins every KubernetesExecutor worker to the DAG version that this scheduler sees.

Put it on the scheduler's PYTHONPATH as ``airflow_local_settings.py`` (the official chart: ``airflowLocalSettings``), or
import ``pod_mutation_hook`` from the one you have.

A worker pod starts later than its task was queued, and clones whatever is newest by then. This hook asks a dagsync what is
published now and writes it into the pod's dagsync containers, where it wins over every other target:

* ``DAGSYNC_PIN_VERSION``: the content hash that the worker must end up with;
* ``DAGSYNC_PIN_REVISION``: what the source calls it, for a worker with the same strategy.

``DAGSYNC_TARGET_URL`` says which dagsync is asked: by default the sidecar of this pod. In Airflow 3 a scheduler without
LocalExecutor has no DAGs of its own; name the dag-processor's there. ``DAGSYNC_CLIENT__TOKEN_FILE`` holds the token where one
is wanted, ``DAGSYNC_CLIENT__CA_FILE`` names who signed its certificate. An exception in a hook would fail the task, so
whatever goes wrong is logged and the pod is left as it is: then its dagsync asks its leader, if it has one.
"""

import json
import logging
import os
import re
import ssl
import time
import urllib.request

TARGET_URL = "http://127.0.0.1:8466/v1/target"
#: The names of the containers that are stamped; those of the official chart's git-sync are among them.
CONTAINERS = {"dagsync", "dagsync-init", "git-sync", "git-sync-init"}
#: The scheduler waits for this hook.
TIMEOUT_SECONDS = 2
MAX_BYTES = 64 * 1024

log = logging.getLogger(__name__)


def pod_mutation_hook(pod):
    """Called by Airflow with the ``V1Pod`` of each worker, and of each KubernetesPodOperator, which has no dagsync."""
    try:
        containers = [c for c in _containers(pod) if c.name in CONTAINERS]
        if containers:
            _stamp(containers, _target())
    except Exception:
        log.exception("dagsync: the worker is not pinned to a DAG version")


def _containers(pod):
    return [*(pod.spec.init_containers or []), *(pod.spec.containers or [])]


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """A redirect would take the token to another host."""

    def redirect_request(self, *_):
        return None


def _target():
    request = urllib.request.Request(os.environ.get("DAGSYNC_TARGET_URL", TARGET_URL))
    token_file = os.environ.get("DAGSYNC_CLIENT__TOKEN_FILE")
    if token_file:
        with open(token_file, encoding="ascii") as file:
            request.add_header("Authorization", f"Bearer {file.read().split()[0]}")
    # A proxy for the world outside does not know pods.
    context = ssl.create_default_context(cafile=os.environ.get("DAGSYNC_CLIENT__CA_FILE") or None)
    handlers = urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=context), _NoRedirect
    opener = urllib.request.build_opener(*handlers)
    end = time.monotonic() + TIMEOUT_SECONDS
    body = b""
    with opener.open(request, timeout=TIMEOUT_SECONDS) as answer:
        while piece := answer.read1(MAX_BYTES):
            body += piece
            if len(body) > MAX_BYTES or time.monotonic() > end:
                raise ValueError("the answer is too large or too slow")
    target = json.loads(body)
    if not re.fullmatch(r"sha256:[0-9a-f]{64}", target["version"]):
        raise ValueError("the answer names no version")
    return target


def _stamp(containers, target):
    # Only the scheduler has Airflow's client of Kubernetes, not every place that imports this.
    from kubernetes.client import models as k8s

    revision = target.get("revision")
    pin = {
        "DAGSYNC_PIN_VERSION": target["version"],
        "DAGSYNC_PIN_REVISION": revision if isinstance(revision, str) else None,
    }
    for container in containers:
        kept = [e for e in container.env or [] if e.name not in pin]
        container.env = kept + [k8s.V1EnvVar(name=name, value=value) for name, value in pin.items() if value]
