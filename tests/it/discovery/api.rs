//! A server that lists pods as the Kubernetes API does: over TLS of a private CA, to who shows the token, in pages, and
//! in bad moods that can be ordered.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex, MutexGuard};

use serde_json::{Value, json};
use tempfile::TempDir;

use super::myself;
use crate::harness::{Nginx, Reply, Web};

/// Who is let in; tests look for it where it must not be.
pub(crate) const TOKEN: &str = "eyJhbGciOiJSUzI1NiJ9.correct-horse.7731";
/// The one namespace that it may list.
pub(crate) const NAMESPACE: &str = "airflow";

/// What the server knows and how it feels.
#[derive(Debug)]
pub(crate) struct Cluster {
    pub(crate) pods: Vec<Value>,
    pub(crate) token: String,
    /// How many continue tokens it will not know any more.
    pub(super) forgets: usize,
    /// What it answers before it lists anything.
    pub(super) moods: VecDeque<Reply>,
}

/// The running server.
#[derive(Debug)]
pub(crate) struct Api {
    web: Web,
    tls: Nginx,
    cluster: Arc<Mutex<Cluster>>,
    folder: TempDir,
}

impl Api {
    pub(crate) fn of(pods: Vec<Value>) -> Self {
        let cluster = Cluster { pods, token: TOKEN.to_owned(), forgets: 0, moods: VecDeque::new() };
        let cluster = Arc::new(Mutex::new(cluster));
        let shared = cluster.clone();
        let web = Web::answering(move |asked| {
            shared.lock().unwrap().answer(&asked.path, asked.header("authorization").unwrap_or_default())
        });
        let port = web.url("").rsplit(':').next().unwrap().parse().unwrap();
        Self { web, tls: Nginx::before(port), cluster, folder: tempfile::tempdir().unwrap() }
    }

    pub(crate) fn cluster(&self) -> MutexGuard<'_, Cluster> {
        self.cluster.lock().unwrap()
    }

    /// The queries so far.
    pub(super) fn asked(&self) -> Vec<String> {
        self.web.asked().into_iter().map(|asked| asked.path).collect()
    }

    /// The same with their methods.
    pub(crate) fn requests(&self) -> Vec<(String, String)> {
        self.web.asked().into_iter().map(|asked| (asked.method, asked.path)).collect()
    }

    pub(crate) fn port(&self) -> u16 {
        self.tls.port
    }

    pub(crate) fn ca(&self) -> PathBuf {
        self.tls.ca()
    }

    /// A person at a terminal with this server in the kubeconfig.
    pub(super) fn person(&self) -> Command {
        self.person_who_trusts(&self.ca())
    }

    pub(super) fn person_who_trusts(&self, ca: &Path) -> Command {
        person(self.folder.path(), &format!("https://127.0.0.1:{}", self.port()), Some(ca))
    }
}

/// A person at a terminal with a kubeconfig for `server`.
pub(super) fn person(folder: &Path, server: &str, ca: Option<&Path>) -> Command {
    let config = json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "test",
        "clusters": [{"name": "test", "cluster": {"server": server, "certificate-authority": ca}}],
        "users": [{"name": "ada", "user": {"token": TOKEN}}],
        "contexts": [{"name": "test", "context": {"cluster": "test", "user": "ada", "namespace": NAMESPACE}}]
    });
    let path = folder.join("kubeconfig");
    std::fs::write(&path, config.to_string()).unwrap();
    let mut command = Command::new("env");
    command.env_clear().env("PATH", "/usr/bin:/bin").env("HOME", folder).env("KUBECONFIG", path);
    myself(&mut command);
    command
}

/// A `Status`, as every error of the API has it.
pub(super) fn status(code: u16, reason: &str, message: &str) -> Reply {
    let body = json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "message": message,
        "reason": reason, "code": code});
    (code, body.to_string()).into()
}

impl Cluster {
    fn answer(&mut self, path: &str, authorization: &str) -> Reply {
        if authorization != format!("Bearer {}", self.token) {
            return status(401, "Unauthorized", "Unauthorized");
        }
        if let Some(reply) = self.moods.pop_front() {
            return reply;
        }
        let url = url::Url::parse("http://api").unwrap().join(path).unwrap();
        if url.path() != format!("/api/v1/namespaces/{NAMESPACE}/pods") {
            let namespace = url.path().split('/').nth(4).unwrap_or_default();
            let message = format!(
                "pods is forbidden: User \"system:serviceaccount:airflow:dagsync\" cannot list resource \"pods\" in API \
                 group \"\" in the namespace \"{namespace}\""
            );
            return status(403, "Forbidden", &message);
        }
        let query = |name: &str| url.query_pairs().find(|(n, _)| n == name).map(|(_, v)| v.into_owned());
        self.list(&query("labelSelector").unwrap_or_default(), query("limit"), query("continue"))
    }

    fn list(&mut self, selector: &str, limit: Option<String>, token: Option<String>) -> Reply {
        if selector.contains('(') && !selector.ends_with(')') {
            return status(400, "BadRequest", "unable to parse requirement: found '', expected: ',' or ')'");
        }
        if token.is_some() && self.forgets > 0 {
            self.forgets -= 1;
            let message = "The provided continue parameter is too old to display a consistent list result.";
            return status(410, "Expired", message);
        }
        let matching: Vec<&Value> = self.pods.iter().filter(|pod| matches(pod, selector)).collect();
        let start: usize = token.map_or(0, |token| token.parse().unwrap());
        let end = matching.len().min(start + limit.map_or(usize::MAX, |limit| limit.parse().unwrap()));
        let next = if end < matching.len() { end.to_string() } else { String::new() };
        let metadata =
            json!({"resourceVersion": "184467", "continue": next, "remainingItemCount": matching.len() - end});
        let body = json!({"kind": "PodList", "apiVersion": "v1", "metadata": metadata, "items": matching[start..end]});
        (200, body.to_string()).into()
    }
}

/// What of selectors the tests ask for: `a=b`, `a!=b` and, at the end, `a in (b,c)`.
fn matches(pod: &Value, selector: &str) -> bool {
    let label = |name: &str| pod["metadata"]["labels"][name].as_str().unwrap_or_default();
    let (rest, is_in) = match selector.split_once(" in (") {
        Some((before, set)) => {
            let (rest, name) = before.rsplit_once(',').unwrap_or(("", before));
            (rest, set.trim_end_matches(')').split(',').any(|value| value == label(name)))
        }
        None => (selector, true),
    };
    is_in
        && rest.split(',').filter(|term| !term.is_empty()).all(|term| match term.split_once("!=") {
            Some((name, value)) => label(name) != value,
            None => term.split_once('=').is_some_and(|(name, value)| label(name) == value),
        })
}

/// A pod that runs Airflow and dagsync, with what else the API says of one.
pub(crate) fn pod(name: &str, component: &str, ip: &str) -> Value {
    json!({
        "metadata": {"name": name, "namespace": NAMESPACE, "uid": format!("uid-of-{name}"),
            "labels": {"tier": "airflow", "component": component}, "creationTimestamp": "2026-01-02T03:04:05Z",
            "managedFields": [{"manager": "kubelet", "operation": "Update", "fieldsV1": {"f:status": {}}}]},
        "spec": {"nodeName": "node-1", "containers": [
            {"name": component, "image": "apache/airflow:3.0.2", "env": [{"name": "A", "value": "b"}]},
            {"name": "dagsync", "image": "dagsync:0.1.0", "ports": [{"name": "dagsync", "containerPort": 8466}]}]},
        "status": {"phase": "Running", "podIP": ip, "podIPs": [{"ip": ip}], "startTime": "2026-01-02T03:04:05Z",
            "containerStatuses": [{"name": component, "ready": true}, {"name": "dagsync", "ready": true}]}
    })
}
