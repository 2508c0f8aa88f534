//! Asks another dagsync over HTTP: bounded in time, size and redirects.

use std::time::Duration;

use dagsync_core::{Error, ErrorKind, Manifest, Result, Version};
use reqwest::{StatusCode, redirect};
use url::Url;

use crate::config::redact_url;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
const TIMEOUT: Duration = Duration::from_secs(30);
const REDIRECTS: usize = 3;
const MAX_STATUS: usize = 1 << 20;
/// More than the default limits allow for a tree whose paths have the usual length.
const MAX_MANIFEST: usize = 128 << 20;

/// A daemon that can be asked.
#[derive(Clone)]
pub struct Client {
    http: reqwest::Client,
    base: Url,
}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Client").field(&self.shown()).finish()
    }
}

impl Client {
    /// A client for the daemon at `url`, such as `http://10.0.0.7:8466`. Asks nothing yet.
    ///
    /// # Errors
    /// [`ErrorKind::Config`] when the URL cannot be read.
    pub fn new(url: &str) -> Result<Self> {
        let bad = || Error::new(ErrorKind::Config, "read URL", format!("{:?} is no URL of a daemon", redact_url(url)));
        let hint = "write it as http://host:8466";
        let base = Url::parse(url).map_err(|e| bad().with_source(e).with_hint(hint))?;
        if !matches!(base.scheme(), "http" | "https") || !base.has_host() {
            return Err(bad().with_hint(hint));
        }
        // A daemon is asked directly: a proxy for the world outside does not know pods.
        let http = builder(base.scheme()).no_proxy().build().map_err(|e| {
            Error::new(ErrorKind::Config, "start HTTP client", "TLS cannot be set up").with_source(e.without_url())
        })?;
        Ok(Self { http, base })
    }

    /// The daemon's own account of itself.
    pub async fn status(&self) -> Result<serde_json::Value> {
        let body = self.get("ask for status", "v1/status", MAX_STATUS).await?;
        let status = serde_json::from_slice(&body).ok().filter(serde_json::Value::is_object);
        status.ok_or_else(|| self.error(ErrorKind::Corrupt, "ask for status", "the answer is no status of dagsync"))
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
        let url = self.url(path);
        let failed = |e: reqwest::Error| self.transport(operation, e);
        let mut response = self.http.get(url).send().await.map_err(failed)?;
        if !response.status().is_success() {
            return Err(self.refused(operation, response.status()));
        }
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(failed)? {
            if body.len() + chunk.len() > max {
                let message = format!("the answer is larger than {max} bytes");
                return Err(self.error(ErrorKind::LimitExceeded, operation, &message));
            }
            body.extend_from_slice(&chunk);
        }
        Ok(body)
    }

    /// A path of the base stays: a daemon may stand behind a proxy's prefix.
    fn url(&self, path: &str) -> Url {
        let mut url = self.base.clone();
        url.set_path(&format!("{}/{path}", self.base.path().trim_end_matches('/')));
        url
    }

    fn transport(&self, operation: &'static str, e: reqwest::Error) -> Error {
        let kind = if e.is_timeout() { ErrorKind::Timeout } else { ErrorKind::Unreachable };
        self.error(kind, operation, "no complete answer").with_source(e.without_url())
    }

    fn refused(&self, operation: &'static str, status: StatusCode) -> Error {
        let kind = match status {
            StatusCode::NOT_FOUND => ErrorKind::NotFound,
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => ErrorKind::Unauthorized,
            _ => ErrorKind::Unreachable,
        };
        let error = self.error(kind, operation, &format!("the answer is {status}"));
        if status.is_client_error() { error.permanent() } else { error }
    }

    fn error(&self, kind: ErrorKind, operation: &'static str, message: &str) -> Error {
        Error::new(kind, operation, message).with_context("url", self.shown())
    }

    fn shown(&self) -> String {
        redact_url(self.base.as_str())
    }
}

/// What every client of dagsync's has in common.
pub(crate) fn builder(scheme: &str) -> reqwest::ClientBuilder {
    let builder = reqwest::Client::builder()
        .user_agent(concat!("dagsync/", env!("CARGO_PKG_VERSION")))
        .connect_timeout(CONNECT_TIMEOUT)
        .timeout(TIMEOUT)
        .redirect(redirect::Policy::limited(REDIRECTS));
    // Plain HTTP must work in an image without certificates, where the system's could not be loaded.
    if scheme == "http" { builder.tls_certs_only([]) } else { builder }
}

#[cfg(test)]
mod tests;
