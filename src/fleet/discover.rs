//! Who belongs to the fleet: a list, the addresses behind a DNS name, or the pods that Kubernetes knows.

use std::collections::HashSet;

use dagsync_core::{Error, ErrorKind, Result};
use url::Url;

use crate::config::{Fleet, Scheme};

mod dns;
#[cfg(feature = "kubernetes")]
mod kubernetes;

/// The most pods of a fleet.
const MAX_PEERS: usize = 10_000;

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

    /// Whether Kubernetes says who it is: it alone knows namespaces.
    pub const fn is_of_kubernetes(&self) -> bool {
        self.namespace.is_some()
    }
}

/// A pod, and every URL that another way may find it by.
#[derive(Debug)]
struct Found {
    peer: Peer,
    urls: Vec<String>,
}

impl From<Peer> for Found {
    fn from(peer: Peer) -> Self {
        Self { urls: peer.url.iter().cloned().collect(), peer }
    }
}

/// Everybody that the settings lead to, each once, sorted by name.
///
/// # Errors
/// A name that does not resolve, an API that does not answer: then nobody can say who is missing.
pub async fn discover(fleet: &Fleet) -> Result<Vec<Peer>> {
    let listed = fleet.peers.iter().map(|url| Peer::at(url).into()).collect();
    let (pods, resolved) = futures::future::try_join(in_kubernetes(fleet), dns::find(fleet)).await?;
    // Of two ways to one pod, the first here says more about it.
    let mut peers = each_once([pods, listed, resolved].into_iter().flatten());
    if peers.len() > MAX_PEERS {
        let message = format!("the fleet has more than {MAX_PEERS} pods");
        return Err(Error::new(ErrorKind::LimitExceeded, "find fleet", message)
            .with_hint("narrow fleet.kubernetes.selector or fleet.dns"));
    }
    peers.sort_by(|a, b| (&a.name, &a.namespace, &a.url).cmp(&(&b.name, &b.namespace, &b.url)));
    Ok(peers)
}

#[cfg(feature = "kubernetes")]
use kubernetes::find as in_kubernetes;

#[cfg(not(feature = "kubernetes"))]
async fn in_kubernetes(fleet: &Fleet) -> Result<Vec<Found>> {
    if fleet.kubernetes.selector.is_empty() {
        return Ok(Vec::new());
    }
    Err(Error::new(
        ErrorKind::Config,
        "find fleet",
        "fleet.kubernetes.selector is set, and this build has no Kubernetes",
    )
    .with_hint("build with the feature `kubernetes`, or use fleet.dns"))
}

/// Pods that Kubernetes knows are several also at one address, which may be their host's.
fn each_once(all: impl Iterator<Item = Found>) -> Vec<Peer> {
    let mut seen = HashSet::new();
    let mut fresh = |found: &Found| {
        let urls: Vec<String> = found.urls.iter().map(|url| normal(url)).collect();
        let is_known = urls.iter().any(|url| seen.contains(url));
        seen.extend(urls);
        !is_known || found.peer.is_of_kubernetes()
    };
    all.filter(|found| fresh(found)).map(|found| found.peer).collect()
}

/// One spelling of a URL, to compare it.
fn normal(url: &str) -> String {
    Url::parse(url).map_or_else(|_| url.to_owned(), |url| url.as_str().trim_end_matches('/').to_owned())
}

/// The URL of the daemon at a host, which may be an address, and its port.
fn url_of(scheme: Scheme, host: &str, port: u16) -> String {
    let scheme = scheme.as_str();
    if host.contains(':') { format!("{scheme}://[{host}]:{port}") } else { format!("{scheme}://{host}:{port}") }
}

#[cfg(test)]
mod tests {
    use super::{Found, Peer, each_once, url_of};
    use crate::config::Scheme;

    #[test]
    fn a_pod_that_several_ways_find_is_listed_once_as_the_first_knows_it() {
        let named = Peer { name: "scheduler-0".to_owned(), ..Peer::at("http://10.0.0.7:8466") };
        let urls = vec!["http://10.0.0.7:8466".to_owned(), "http://[fd00::7]:8466".to_owned()];
        let others = ["http://10.0.0.7:8466/", "HTTP://[FD00:0::7]:8466", "http://10.0.0.8:8466"];
        let all = [Found { peer: named, urls }].into_iter().chain(others.map(|url| Peer::at(url).into()));
        let names: Vec<String> = each_once(all).into_iter().map(|peer| peer.name).collect();
        assert_eq!(names, ["scheduler-0", "http://10.0.0.8:8466"]);
    }

    #[test]
    fn two_pods_of_kubernetes_with_the_address_of_their_host_are_two() {
        let at = |name: &str| Peer {
            name: name.to_owned(),
            namespace: Some("airflow".to_owned()),
            ..Peer::at("http://10.0.0.7:8466")
        };
        let all = [at("a"), at("b"), Peer::at("http://10.0.0.7:8466")].map(Found::from);
        let names: Vec<String> = each_once(all.into_iter()).into_iter().map(|peer| peer.name).collect();
        assert_eq!(names, ["a", "b"]);
    }

    #[test]
    fn pods_without_an_address_are_not_taken_for_one() {
        let pending = |name: &str| Found::from(Peer { name: name.to_owned(), url: None, ..Peer::at("") });
        assert_eq!(each_once([pending("a"), pending("b")].into_iter()).len(), 2);
    }

    #[test]
    fn an_address_of_ipv6_stands_in_brackets() {
        assert_eq!(url_of(Scheme::Http, "10.0.0.7", 80), "http://10.0.0.7:80");
        assert_eq!(url_of(Scheme::Https, "fd00::7", 8466), "https://[fd00::7]:8466");
    }
}
