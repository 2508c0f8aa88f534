//! Who may ask this daemon for what, and how it asks others.

use std::path::PathBuf;
use std::sync::Arc;

use dagsync_core::Result;
use serde::Deserialize;
use url::Url;

use super::Bind;
use super::model::{Config, address, empty_is_none};

/// How other daemons are asked.
#[derive(Debug, Clone, Default, Deserialize)]
#[allow(missing_docs)]
pub struct ClientSettings {
    #[serde(deserialize_with = "empty_is_none")]
    pub token_file: Option<PathBuf>,
    #[serde(deserialize_with = "empty_is_none")]
    pub ca_file: Option<PathBuf>,
    #[serde(deserialize_with = "empty_is_none")]
    pub cert_file: Option<PathBuf>,
    #[serde(deserialize_with = "empty_is_none")]
    pub key_file: Option<PathBuf>,
    /// The daemons that the settings name: leaders and listed peers, other than what DNS and Kubernetes find. Shared,
    /// because every one of thousands of clients has these settings.
    #[serde(skip)]
    pub named: Arc<[Url]>,
}

/// The HTTP listener.
#[derive(Debug, Clone, Deserialize)]
pub struct Http {
    /// Where it listens; empty: nowhere.
    #[serde(deserialize_with = "address")]
    pub bind: Option<Bind>,
    /// Where a second one listens, for probes alone and without TLS; empty: nowhere.
    #[serde(deserialize_with = "address")]
    pub probe_bind: Option<Bind>,
    /// What the token is asked for.
    pub auth: HttpAuth,
    /// The file with the bearer tokens; empty: commands are refused.
    #[serde(deserialize_with = "empty_is_none")]
    pub token_file: Option<PathBuf>,
    /// The certificate.
    pub tls: HttpTls,
    /// Answer as git-sync does besides.
    pub git_sync: bool,
    /// Push events.
    pub hooks: PushHooks,
}

/// What the token is asked for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum HttpAuth {
    /// Commands.
    #[default]
    Commands,
    /// Everything but probes.
    All,
}

/// The files of TLS, read again when they change.
#[derive(Debug, Clone, Default, Deserialize)]
#[allow(missing_docs)]
pub struct HttpTls {
    #[serde(deserialize_with = "empty_is_none")]
    pub cert_file: Option<PathBuf>,
    #[serde(deserialize_with = "empty_is_none")]
    pub key_file: Option<PathBuf>,
    #[serde(deserialize_with = "empty_is_none")]
    pub client_ca_file: Option<PathBuf>,
}

/// The files with what the senders of push events prove themselves with; without one its path is refused.
#[derive(Debug, Clone, Default, Deserialize)]
#[allow(missing_docs)]
pub struct PushHooks {
    #[serde(deserialize_with = "empty_is_none")]
    pub github_secret_file: Option<PathBuf>,
    #[serde(deserialize_with = "empty_is_none")]
    pub gitlab_token_file: Option<PathBuf>,
    #[serde(deserialize_with = "empty_is_none")]
    pub generic_secret_file: Option<PathBuf>,
}

/// The daemons that somebody wrote down.
pub(super) fn named(config: &Config) -> Arc<[Url]> {
    let listed = config.target.leader.iter().chain(&config.fleet.peers);
    listed.filter_map(|url| Url::parse(url).ok()).collect()
}

/// What belongs together and may not be set alone.
pub(super) fn validate(config: &Config, check: &impl Fn(&str, bool, &str) -> Result<()>) -> Result<()> {
    let Http { auth, token_file, tls, .. } = &config.http;
    let HttpTls { cert_file, key_file, client_ca_file } = tls;
    check("http.auth", *auth == HttpAuth::Commands || token_file.is_some(), "needs http.token_file")?;
    check("http.tls.cert_file", cert_file.is_none() || key_file.is_some(), "needs http.tls.key_file")?;
    check("http.tls.key_file", key_file.is_none() || cert_file.is_some(), "needs http.tls.cert_file")?;
    check(
        "http.tls.client_ca_file",
        client_ca_file.is_none() || cert_file.is_some(),
        "needs http.tls.cert_file and http.tls.key_file",
    )
}
