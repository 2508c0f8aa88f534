"""The part of the Kubernetes API that pods here ask for: it knows accounts by their tokens, and allows what the rendered roles do."""

import json
import re
import ssl
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

NAMESPACE = "airflow"
PODS = re.compile(rf"/api/v1/namespaces/{NAMESPACE}/(?P<resource>\w+)(/(?P<name>[^/]+))?")


def matches(selector, labels):
    """As the API takes labelSelector: a=b, a!=b, a in (b,c), a notin (b,c), a, !a."""
    return all(holds(part.strip(), labels) for part in re.findall(r"(?:[^,(]|\([^)]*\))+", selector))


def holds(part, labels):
    if found := re.fullmatch(r"(\S+) (in|notin) \(([^)]*)\)", part):
        return (labels.get(found[1]) in [value.strip() for value in found[3].split(",")]) == (found[2] == "in")
    if found := re.fullmatch(r"([^!=]+)(==?|!=)([^=]*)", part):
        return (labels.get(found[1]) == found[3]) == (found[2] != "!=")
    return (part.lstrip("!") in labels) != part.startswith("!")


def allowed(documents, account, verb, resource):
    """Whether a Role of these documents, bound to the account, has the verb on the resource of the core group."""
    subject = {"kind": "ServiceAccount", "name": account}
    rules = {(d["kind"], d["metadata"]["name"]): d.get("rules") or [] for d in documents if d["kind"] in ("Role", "ClusterRole")}
    for each in documents:
        if each["kind"] in ("RoleBinding", "ClusterRoleBinding"):
            if any(subject.items() <= s.items() and s.get("namespace", NAMESPACE) == NAMESPACE for s in each.get("subjects") or []):
                for rule in rules.get((each["roleRef"]["kind"], each["roleRef"]["name"]), []):
                    if "" in rule["apiGroups"] and resource in rule["resources"] and verb in rule["verbs"]:
                        return True
    return False


class Api:
    """`cluster` has documents, pods and the accounts of tokens; `certificate` the files of a certificate and its key."""

    def __init__(self, address, certificate, cluster):
        class Handler(Answer):
            pass

        Handler.cluster = cluster
        self.asked = Handler.asked = []
        self.server = ThreadingHTTPServer((address, 0), Handler)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*certificate)
        self.server.socket = context.wrap_socket(self.server.socket, server_side=True)
        self.address = self.server.server_address
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def stop(self):
        self.server.shutdown()
        self.server.server_close()


class Answer(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def send(self, status, body):
        data = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def refuse(self, status, message):
        self.send(status, {"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": status, "message": message})

    def answer(self):
        url = urlsplit(self.path)
        token = (self.headers.get("Authorization") or "").removeprefix("Bearer ")
        account = next((name for name, known in self.cluster.tokens.items() if known == token), None)
        found = PODS.fullmatch(url.path)
        verb = {"GET": "get" if found and found["name"] else "list"}.get(self.command, self.command.lower())
        resource = found["resource"] if found else url.path
        self.asked.append((account, verb, resource))
        if account is None:
            return self.refuse(401, "Unauthorized")
        if not allowed(self.cluster.documents, account, verb, resource):
            return self.refuse(403, f"{account} cannot {verb} {resource} in the namespace {NAMESPACE}")
        if (verb, resource) != ("list", "pods"):
            return self.refuse(405, "that is not answered here")
        selector = parse_qs(url.query).get("labelSelector", [""])[0]
        items = [p for p in self.cluster.objects_of_pods() if matches(selector, p["metadata"].get("labels") or {})]
        return self.send(200, {"kind": "PodList", "apiVersion": "v1", "metadata": {"resourceVersion": "1"}, "items": items})

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = answer
