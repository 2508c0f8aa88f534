//! What a pod's object says about dagsync in it.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use serde::Deserialize;

use super::super::{Found, Peer, Phase, url_of};
use crate::config::Fleet;

/// How long a container may not be ready before its pod counts as one that should answer.
const GRACE: Duration = Duration::from_secs(5 * 60);
/// The labels that say what a pod is in Airflow: of the official chart, and of everybody.
const COMPONENT: [&str; 2] = ["component", "app.kubernetes.io/component"];
/// The names of a port where dagsync answers.
const PORTS: [&str; 2] = ["dagsync", "http-dagsync"];

/// A pod, as far as it matters. A field that the API leaves out is empty.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Pod {
    metadata: Metadata,
    spec: Spec,
    status: Status,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Metadata {
    name: String,
    namespace: Option<String>,
    labels: Option<BTreeMap<String, String>>,
    deletion_timestamp: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Spec {
    node_name: Option<String>,
    containers: Option<Vec<Container>>,
    init_containers: Option<Vec<Container>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Container {
    name: String,
    restart_policy: Option<String>,
    ports: Option<Vec<Port>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Port {
    name: Option<String>,
    container_port: u16,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Status {
    phase: Option<String>,
    start_time: Option<String>,
    #[serde(rename = "podIP")]
    ip: Option<String>,
    #[serde(rename = "podIPs")]
    ips: Option<Vec<Ip>>,
    container_statuses: Option<Vec<ContainerStatus>>,
    init_container_statuses: Option<Vec<ContainerStatus>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Ip {
    ip: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct ContainerStatus {
    name: String,
    ready: bool,
}

/// What of the settings decides about a pod, and the time.
#[derive(Debug)]
pub(super) struct Mapping<'a> {
    fleet: &'a Fleet,
    now: SystemTime,
}

impl<'a> Mapping<'a> {
    pub(super) fn new(fleet: &'a Fleet) -> Self {
        Self { fleet, now: SystemTime::now() }
    }

    /// The pod as a peer; nothing when its work is done.
    pub(super) fn found(&self, pod: Pod) -> Option<Found> {
        if matches!(pod.status.phase.as_deref(), Some("Succeeded" | "Failed")) {
            return None;
        }
        let container = self.container(&pod.spec);
        let port = container.and_then(Container::port).unwrap_or(self.fleet.port);
        // Also of a pod without dagsync: DNS may lead to it.
        let urls: Vec<String> = pod.status.ips().map(|ip| url_of(self.fleet.scheme, ip, port)).collect();
        let peer = Peer {
            phase: self.phase(&pod, container),
            url: container.and(urls.first().cloned()),
            component: pod.metadata.component(),
            name: pod.metadata.name,
            namespace: pod.metadata.namespace,
            node: pod.spec.node_name,
        };
        Some(Found { peer, urls })
    }

    /// The container that runs dagsync all the time: an ordinary one, or an init container that is a native sidecar.
    fn container<'p>(&self, spec: &'p Spec) -> Option<&'p Container> {
        let native = spec.init_containers.iter().flatten().filter(|c| c.restart_policy.as_deref() == Some("Always"));
        let mut running = spec.containers.iter().flatten().chain(native);
        running.find(|c| self.fleet.kubernetes.container.contains(&c.name))
    }

    /// A pod without an address runs nothing yet. One whose dagsync is not ready has [`GRACE`] from its start; then it is
    /// asked, and a crash loop shows.
    fn phase(&self, pod: &Pod, container: Option<&Container>) -> Phase {
        if pod.metadata.deletion_timestamp.is_some() {
            return Phase::Terminating;
        }
        let Some(container) = container else { return Phase::Missing };
        let is_young = || self.age(&pod.status).is_none_or(|age| age < GRACE);
        if pod.status.ips().next().is_none() || !pod.status.is_ready(&container.name) && is_young() {
            return Phase::Starting;
        }
        Phase::Running
    }

    fn age(&self, status: &Status) -> Option<Duration> {
        let start = humantime::parse_rfc3339(status.start_time.as_deref()?).ok()?;
        // The clocks of the API and of this host may differ.
        Some(self.now.duration_since(start).unwrap_or_default())
    }
}

impl Metadata {
    fn component(&self) -> Option<String> {
        let labels = self.labels.as_ref()?;
        COMPONENT.iter().find_map(|name| labels.get(*name).cloned())
    }
}

impl Container {
    fn port(&self) -> Option<u16> {
        let named = |port: &&Port| port.name.as_deref().is_some_and(|name| PORTS.contains(&name));
        self.ports.iter().flatten().find(named).map(|port| port.container_port)
    }
}

impl Status {
    /// All addresses of the pod, the first one first.
    fn ips(&self) -> impl Iterator<Item = &str> {
        let all = self.ips.iter().flatten().map(|ip| ip.ip.as_str());
        let one = self.ip.as_deref().filter(|one| !self.ips.iter().flatten().any(|ip| ip.ip == *one));
        all.chain(one).filter(|ip| !ip.is_empty())
    }

    fn is_ready(&self, container: &str) -> bool {
        let mut all = self.container_statuses.iter().chain(&self.init_container_statuses).flatten();
        all.any(|status| status.name == container && status.ready)
    }
}

#[cfg(test)]
mod tests;
