//! Asks another dagsync over HTTP: bounded in time, size and redirects.

mod pinned;
mod token;

use std::path::Path;
use std::time::Duration;

use dagsync_core::{Error, ErrorKind, Manifest, Result, Revision, Version, printable, secret};
use reqwest::header::{AUTHORIZATION, HeaderMap};
use reqwest::{Method, RequestBuilder, Response, StatusCode, redirect};
use serde::{Deserialize, Serialize};
use url::Url;

use crate::config::{ClientSettings, redact_url};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
const TIMEOUT: Duration = Duration::from_secs(30);
/// What a daemon gets for an answer beyond the time that it may wait.
const ANSWER: Duration = Duration::from_secs(5);
const REDIRECTS: usize = 3;
const MAX_STATUS: usize = 1 << 20;
const MAX_TARGET: usize = 64 << 10;
/// The longest name of a revision that another daemon is believed.
const MAX_TEXT: usize = 1024;
/// Leaders that follow each other, at the most.
const MAX_CHAIN: usize = 16;
/// More than the default limits allow for a tree whose paths have the usual length.
const MAX_MANIFEST: usize = 128 << 20;

/// A daemon that can be asked.
#[derive(Clone)]
pub struct Client {
    http: reqwest::Client,
    settings: ClientSettings,
    base: Url,
    idle: usize,
    /// Somebody wrote its URL down; the others were found.
    is_named: bool,
}

/// Where a daemon is, for those who follow it: the JSON of `/v1/target`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lead {
    /// The version that it has published.
    pub version: Version,
    /// What its source calls it.
    pub revision: Option<Revision>,
    /// Its strategy: a revision means something to those with the same one only.
    pub strategy: String,
    /// The hash of its globs: versions under other ones cannot be compared.
    pub filter_hash: String,
    /// Itself and the leaders that it follows, by names that no two processes share.
    #[serde(default)]
    pub via: Vec<String>,
}

impl Lead {
    /// Whether it is short and can be shown.
    fn is_sane(&self) -> bool {
        let texts =
            self.revision.iter().map(Revision::as_str).chain([self.strategy.as_str(), self.filter_hash.as_str()]);
        self.via.len() <= MAX_CHAIN
            && texts
                .chain(self.via.iter().map(String::as_str))
                .all(|t| t.len() <= MAX_TEXT && !t.contains(char::is_control))
    }
}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Client").field(&self.shown()).finish()
    }
}

impl Client {
    /// A client for the daemon at `url`, such as `http://10.0.0.7:8466`. Reads the certificates, and asks nothing yet.
    ///
    /// # Errors
    /// [`ErrorKind::Config`] when the URL or a certificate cannot be read.
    pub fn new(url: &str, settings: &ClientSettings) -> Result<Self> {
        Ok(Self { is_named: true, ..Self::keeping(usize::MAX, url, settings)? })
    }

    /// The same for who asks many daemons once: no connection is kept, and those that nobody named are not sent the token
    /// by plain HTTP.
    ///
    /// # Errors
    /// As [`Client::new`].
    pub fn of_many(url: &str, settings: &ClientSettings) -> Result<Self> {
        Self::keeping(0, url, settings)
    }

    fn keeping(idle: usize, url: &str, settings: &ClientSettings) -> Result<Self> {
        let base = Self::base(url)?;
        let http = builder(base.scheme()).no_proxy().pool_max_idle_per_host(idle);
        let http = if base.scheme() == "https" { trust(http, settings)? } else { http };
        Self::built(http, base, settings, idle)
    }

    /// A client for the daemon of this pod, which is known by its certificate and may be called by an address.
    ///
    /// # Errors
    /// As [`Client::new`].
    pub fn of_this_pod(url: &str, certificate: &Path, settings: &ClientSettings) -> Result<Self> {
        let base = Self::base(url)?;
        let http = builder(base.scheme()).no_proxy();
        let http = http.tls_backend_preconfigured(pinned::trusting(certificate, settings)?);
        Self::built(http, base, settings, usize::MAX)
    }

    fn built(http: reqwest::ClientBuilder, base: Url, settings: &ClientSettings, idle: usize) -> Result<Self> {
        // A daemon is asked directly: a proxy for the world outside does not know pods.
        let http = http.build().map_err(|e| {
            Error::new(ErrorKind::Config, "start HTTP client", "TLS cannot be set up").with_source(e.without_url())
        })?;
        Ok(Self { http, settings: settings.clone(), base, idle, is_named: false })
    }

    /// The same for another of many daemons, with whatever can be shared.
    ///
    /// # Errors
    /// As [`Client::new`].
    pub fn beside(&self, url: &str) -> Result<Self> {
        let base = Self::base(url)?;
        if base.scheme() != self.base.scheme() {
            return Self::keeping(self.idle, url, &self.settings);
        }
        Ok(Self { base, is_named: false, ..self.clone() })
    }

    fn base(url: &str) -> Result<Url> {
        let bad = || Error::new(ErrorKind::Config, "read URL", format!("{:?} is no URL of a daemon", redact_url(url)));
        let hint = "write it as http://host:8466";
        let base = Url::parse(url).map_err(|e| bad().with_source(e).with_hint(hint))?;
        if !matches!(base.scheme(), "http" | "https") || !base.has_host() {
            return Err(bad().with_hint(hint));
        }
        Ok(base)
    }

    /// Where the daemon is, as soon as that is not `after`, or after `wait`.
    pub async fn lead(&self, after: Option<&Version>, wait: Duration) -> Result<Lead> {
        const OPERATION: &str = "ask leader";
        let mut url = self.url("v1/target");
        let wait = if after.is_some() { wait } else { Duration::ZERO };
        if let Some(after) = after {
            url.query_pairs_mut()
                .append_pair("after", &after.to_string())
                .append_pair("wait", &format!("{}s", wait.as_secs()));
        }
        let request = self.http.request(Method::GET, url).timeout(wait + ANSWER);
        let unready = |error: Error| match error.kind() {
            ErrorKind::Unreachable => error.with_hint("it may have no good version yet: see its /v1/status and log"),
            _ => error,
        };
        let response = self.send(OPERATION, request).await.map_err(unready)?;
        let status = response.status();
        if !status.is_success() {
            let is_own = status == StatusCode::SERVICE_UNAVAILABLE
                && self.body(OPERATION, response, MAX_TARGET).await.is_ok_and(|body| is_of_this_process(&body));
            return Err(if is_own { self.alone(OPERATION) } else { unready(self.refused(OPERATION, status)) });
        }
        let body = self.body(OPERATION, response, MAX_TARGET).await.map_err(unready)?;
        let lead: Option<Lead> = serde_json::from_slice(&body).ok();
        let wrong = || self.error(ErrorKind::Corrupt, OPERATION, "the answer is no target of dagsync").retryable();
        lead.filter(Lead::is_sane).ok_or_else(wrong)
    }

    /// What its source called a version that the daemon published not long ago.
    pub async fn known(&self, version: &Version) -> Result<Lead> {
        const OPERATION: &str = "ask for revision";
        let body = self.get(OPERATION, &format!("v1/versions/{}", version.hex()), MAX_TARGET).await?;
        let lead: Option<Lead> = serde_json::from_slice(&body).ok();
        lead.filter(|lead| lead.is_sane() && lead.version == *version)
            .ok_or_else(|| self.error(ErrorKind::Corrupt, OPERATION, "the answer is not about that version"))
    }

    /// Asks the daemon to sync now.
    pub async fn sync(&self) -> Result<()> {
        let request = self.http.request(Method::POST, self.url("v1/sync"));
        self.answer("ask for a sync", request, MAX_TARGET).await.map(drop)
    }

    /// The daemon's own account of itself.
    pub async fn status(&self) -> Result<serde_json::Value> {
        let body = self.get("ask for status", "v1/status", MAX_STATUS).await?;
        let status = serde_json::from_slice(&body).ok().filter(serde_json::Value::is_object);
        status.ok_or_else(|| self.error(ErrorKind::Corrupt, "ask for status", "the answer is no status of dagsync"))
    }

    /// The version that the daemon has published, and the hash of its globs.
    pub async fn published(&self) -> Result<(Version, Option<String>)> {
        let status = self.status().await?;
        let hint = "run a sync there, or wait for its first";
        let none =
            || self.error(ErrorKind::NotFound, "ask for version", "it has no published version yet").with_hint(hint);
        let version = status["version"].as_str().ok_or_else(none)?;
        let version = version.parse().map_err(|_| {
            self.error(ErrorKind::Corrupt, "ask for version", "the daemon's status names no version")
                .with_context("version", printable(version))
        })?;
        Ok((version, status["filter_hash"].as_str().map(str::to_owned)))
    }

    /// The manifest of a version that the daemon has, checked against that version.
    pub async fn manifest(&self, version: &Version) -> Result<Manifest> {
        const OPERATION: &str = "ask for manifest";
        let body = self.get(OPERATION, &format!("v1/versions/{}/manifest", version.hex()), MAX_MANIFEST).await?;
        let manifest = Manifest::parse(&body).map_err(|e| e.with_context("url", self.shown()))?;
        if manifest.version() != *version {
            return Err(self.error(ErrorKind::Mismatch, OPERATION, "the manifest is not that of its version"));
        }
        Ok(manifest)
    }

    async fn get(&self, operation: &'static str, path: &str, max: usize) -> Result<Vec<u8>> {
        self.answer(operation, self.http.request(Method::GET, self.url(path)), max).await
    }

    async fn answer(&self, operation: &'static str, request: RequestBuilder, max: usize) -> Result<Vec<u8>> {
        let response = self.send(operation, request).await?;
        if !response.status().is_success() {
            return Err(self.refused(operation, response.status()));
        }
        self.body(operation, response, max).await
    }

    async fn body(&self, operation: &'static str, mut response: Response, max: usize) -> Result<Vec<u8>> {
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(|e| self.transport(operation, e))? {
            if body.len() + chunk.len() > max {
                let message = format!("the answer is larger than {max} bytes");
                return Err(self.error(ErrorKind::LimitExceeded, operation, &message));
            }
            body.extend_from_slice(&chunk);
        }
        Ok(body)
    }

    /// Sends a request; with the token only to who wants one.
    async fn send(&self, operation: &'static str, request: RequestBuilder) -> Result<Response> {
        let failed = |e: reqwest::Error| self.transport(operation, e);
        let file = self.settings.token_file.as_deref().filter(|_| self.may_have_token());
        let (Some(file), Some(again)) = (file, request.try_clone()) else {
            return request.send().await.map_err(failed);
        };
        if !token::is_wanted_by(&self.base) {
            let response = request.send().await.map_err(failed)?;
            if response.status() != StatusCode::UNAUTHORIZED {
                return Ok(response);
            }
            token::note_wanted_by(&self.base);
        }
        let token = token::bearer(file).await?;
        // In the place of what a user in the URL comes to: of two such headers a server reads the first.
        again.headers(HeaderMap::from_iter([(AUTHORIZATION, token)])).send().await.map_err(failed)
    }

    /// Whether the token is not read on its way, or goes where somebody wants it to go.
    fn may_have_token(&self) -> bool {
        self.is_named || token::may_go_to(&self.base, &self.settings.named)
    }

    /// A path of the base stays: a daemon may stand behind a proxy's prefix.
    fn url(&self, path: &str) -> Url {
        let mut url = self.base.clone();
        url.set_path(&format!("{}/{path}", self.base.path().trim_end_matches('/')));
        url
    }

    fn transport(&self, operation: &'static str, e: reqwest::Error) -> Error {
        let kind = if e.is_timeout() { ErrorKind::Timeout } else { ErrorKind::Unreachable };
        let cause = causes(&e);
        let error = self.error(kind, operation, "no complete answer").with_source(e.without_url());
        match cause.to_lowercase() {
            // It says so in an alert, whose name is `CertificateRequired`.
            cause if cause.contains("certificaterequired") => {
                error.with_hint("the daemon wants a certificate: set client.cert_file and client.key_file")
            }
            cause if cause.contains("received fatal alert") => {
                error.with_hint("the daemon does not take the certificate of client.cert_file")
            }
            cause if cause.contains("certificate") => error.with_hint(
                "set client.ca_file to the authority of the daemon's certificate, and use a name that it has",
            ),
            cause if cause.contains("corrupt message") => error.with_hint("it speaks plain HTTP: write http://"),
            _ => error,
        }
    }

    fn refused(&self, operation: &'static str, status: StatusCode) -> Error {
        let kind = match status {
            StatusCode::NOT_FOUND => ErrorKind::NotFound,
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => ErrorKind::Unauthorized,
            _ => ErrorKind::Unreachable,
        };
        let error = self.error(kind, operation, &format!("the answer is {status}"));
        let error = if status.is_client_error() { error.permanent() } else { error };
        match (status, &self.settings.token_file) {
            (StatusCode::UNAUTHORIZED, None) => {
                error.with_hint("the daemon wants a token: set client.token_file (DAGSYNC_CLIENT__TOKEN_FILE)")
            }
            (StatusCode::UNAUTHORIZED, Some(_)) if !self.may_have_token() => error.with_hint(
                "it wants a token; client.token_file is not sent by plain HTTP to a discovered pod: set fleet.scheme https",
            ),
            (StatusCode::UNAUTHORIZED, Some(_)) => {
                error.with_hint("the token of client.token_file is none of the daemon's http.token_file")
            }
            _ => error,
        }
    }

    /// Nobody leads.
    fn alone(&self, operation: &'static str) -> Error {
        self.error(ErrorKind::Config, operation, "the leader is this very pod, which has no version yet")
            .with_hint("one pod has to lead: give it target.mode head")
    }

    fn error(&self, kind: ErrorKind, operation: &'static str, message: &str) -> Error {
        Error::new(kind, operation, message).with_context("url", self.shown())
    }

    fn shown(&self) -> String {
        redact_url(self.base.as_str())
    }
}

/// Whether a daemon that says why it has no answer is the one that asks.
fn is_of_this_process(body: &[u8]) -> bool {
    serde_json::from_slice::<serde_json::Value>(body).is_ok_and(|body| body["id"] == crate::status::id())
}

/// Everything that led to an error, in words.
fn causes(error: &dyn std::error::Error) -> String {
    std::iter::successors(Some(error), |error| error.source()).map(|error| format!("{error} {error:?} ")).collect()
}

/// Trusts and shows what the settings say.
fn trust(mut http: reqwest::ClientBuilder, settings: &ClientSettings) -> Result<reqwest::ClientBuilder> {
    let bad = |what: &str| Error::new(ErrorKind::Config, "read certificates", what);
    if let Some(path) = &settings.ca_file {
        let pem = secret::pem("client.ca_file", path)?;
        let certificates = reqwest::Certificate::from_pem_bundle(&pem).unwrap_or_default();
        if certificates.is_empty() {
            return Err(bad("client.ca_file holds no certificate in PEM"));
        }
        http = http.tls_certs_merge(certificates);
    }
    match (&settings.cert_file, &settings.key_file) {
        (None, None) => Ok(http),
        (Some(cert), Some(key)) => {
            let pem = secret::identity(("client.cert_file", cert), ("client.key_file", key))?;
            // What is wrong with a key is not quoted.
            let identity = reqwest::Identity::from_pem(&pem)
                .map_err(|_| bad("client.cert_file and client.key_file are no certificate and key in PEM"))?;
            Ok(http.identity(identity))
        }
        _ => Err(bad("client.cert_file and client.key_file are of use only together")),
    }
}

/// What every client of dagsync's has in common.
pub(crate) fn builder(scheme: &str) -> reqwest::ClientBuilder {
    let builder = reqwest::Client::builder()
        .user_agent(concat!("dagsync/", env!("CARGO_PKG_VERSION")))
        .connect_timeout(CONNECT_TIMEOUT)
        .timeout(TIMEOUT)
        .redirect(follow(scheme == "https"));
    // Plain HTTP must work in an image without certificates, where the system's could not be loaded.
    if scheme == "http" { builder.tls_certs_only([]) } else { builder }
}

/// A bounded number of redirects, and none from TLS to plain HTTP.
fn follow(is_https: bool) -> redirect::Policy {
    redirect::Policy::custom(move |attempt| match attempt.previous().len() {
        REDIRECTS.. => attempt.error("too many redirects"),
        _ if is_https && attempt.url().scheme() != "https" => attempt.error("a redirect to plain HTTP"),
        _ => attempt.follow(),
    })
}

#[cfg(test)]
mod tests;
