//! Who belongs to the fleet: a list, the addresses behind a DNS name, or the pods that Kubernetes knows.

use dagsync_core::Result;

use crate::config::Fleet;

/// One pod that should run dagsync.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Peer {
    /// What people call it: the pod's name, or its address.
    pub name: String,
    /// Where its daemon answers; `None` when it should run dagsync and does not, or has no address yet.
    pub url: Option<String>,
    /// What is known of it besides, as far as its finder knows.
    pub namespace: Option<String>,
    /// See `namespace`.
    pub node: Option<String>,
    /// See `namespace`.
    pub component: Option<String>,
    /// Whether it can be expected to answer.
    pub phase: Phase,
}

/// Whether a pod can be expected to answer.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Phase {
    /// It should.
    #[default]
    Running,
    /// Not yet.
    Starting,
    /// Not for long.
    Terminating,
    /// It has no container of dagsync's.
    Missing,
}

impl Peer {
    /// One of which only the URL is known.
    pub fn at(url: &str) -> Self {
        Self {
            name: crate::config::redact_url(url),
            url: Some(url.to_owned()),
            namespace: None,
            node: None,
            component: None,
            phase: Phase::Running,
        }
    }
}

/// Everybody that the settings lead to, each once, sorted by name.
///
/// # Errors
/// A name that does not resolve, an API that does not answer: then nobody can say who is missing.
pub async fn discover(fleet: &Fleet) -> Result<Vec<Peer>> {
    let mut peers: Vec<Peer> = fleet.peers.iter().map(|url| Peer::at(url)).collect();
    peers.sort_by(|a, b| a.name.cmp(&b.name));
    peers.dedup_by(|a, b| a.url.is_some() && a.url == b.url);
    Ok(peers)
}
