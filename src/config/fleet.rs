//! Who belongs to the fleet, and how they are found.

use std::net::{IpAddr, SocketAddr};

use serde::Deserialize;

use super::Source;

/// Who belongs to the fleet, for `dagsync drift` and the status page.
#[derive(Debug, Clone, Default, Deserialize)]
pub struct Fleet {
    /// URLs of daemons.
    pub peers: Vec<Source>,
    /// Names with an address for every pod; those that start with `_` are of SRV records.
    pub dns: Vec<String>,
    /// Who is asked for them; none: the servers of `/etc/resolv.conf`.
    #[serde(deserialize_with = "dns_server")]
    pub dns_server: Option<SocketAddr>,
    /// The port of a daemon whose finder knows none.
    pub port: u16,
    /// How daemons are asked that are not listed.
    pub scheme: Scheme,
    /// The pods that Kubernetes knows.
    pub kubernetes: KubernetesFleet,
}

impl Fleet {
    /// Whether there is any way to find somebody.
    pub const fn is_known(&self) -> bool {
        !(self.peers.is_empty() && self.dns.is_empty() && self.kubernetes.selector.is_empty())
    }
}

/// How a daemon is asked.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[allow(missing_docs)]
pub enum Scheme {
    #[default]
    Http,
    Https,
}

impl Scheme {
    /// As it is written in a URL.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
        }
    }
}

/// Which pods of Kubernetes should run dagsync.
#[derive(Debug, Clone, Default, Deserialize)]
pub struct KubernetesFleet {
    /// A label selector; empty: Kubernetes is not asked.
    pub selector: String,
    /// Where they are; empty: where this pod is.
    pub namespace: String,
    /// The names of the containers that run dagsync.
    pub container: Vec<String>,
}

/// `address` or `address:port`.
fn dns_server<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<SocketAddr>, D::Error> {
    const DNS: u16 = 53;
    let text = String::deserialize(deserializer)?;
    let address = || text.parse().ok().or_else(|| Some((text.parse::<IpAddr>().ok()?, DNS).into()));
    match address() {
        None if !text.is_empty() => Err(serde::de::Error::custom("must be an IP address, with or without a port")),
        found => Ok(found),
    }
}
