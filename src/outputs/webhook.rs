//! The call that is made after a publish. Its URL may be a secret, so no more of it than the host is ever shown; nor is
//! the answer, which may repeat it.

use std::path::PathBuf;
use std::time::Duration;

use dagsync_core::{Error, ErrorKind, Interrupt, Result, blocking, fs};
use reqwest::Method;
use tokio_util::sync::CancellationToken;
use url::Url;

use super::hook::News;
use crate::client;
use crate::config;

const MAX_URL: u64 = 16 * 1024;
/// An answer that is longer is not read to its end.
const MAX_ANSWER: usize = 64 * 1024;

/// A call.
pub(super) struct Webhook {
    target: Target,
    method: Method,
    /// `None`: any.
    success: Option<u16>,
    timeout: Duration,
}

enum Target {
    Url(Url),
    /// Read at every call.
    File(PathBuf),
}

impl std::fmt::Debug for Webhook {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Webhook").field("method", &self.method).finish_non_exhaustive()
    }
}

impl Webhook {
    pub(super) const NAME: &str = "webhook";

    /// The call that is configured, if any.
    pub(super) fn new(config: &config::Webhook) -> Result<Option<Self>> {
        let wrong = |message: &str| Error::new(ErrorKind::Config, "read settings", message);
        let target = match (&*config.url, &config.url_file) {
            ("", None) => return Ok(None),
            ("", Some(file)) => Target::File(file.clone()),
            (url, None) => Target::Url(read_url(url).ok_or_else(|| wrong("webhook.url is no http or https URL"))?),
            _ => return Err(wrong("only one of webhook.url and webhook.url_file may be set")),
        };
        let method = Method::from_bytes(config.method.as_bytes())
            .map_err(|_| wrong("webhook.method is no HTTP method").with_hint("write it as POST or GET"))?;
        let success = Some(config.success_status).filter(|status| *status != 0);
        Ok(Some(Self { target, method, success, timeout: config.timeout }))
    }

    pub(super) async fn call(&self, news: &News, token: &CancellationToken) -> Result<()> {
        let url = self.url().await?;
        let shown = url.origin().ascii_serialization();
        let interrupt = Interrupt::new(token.clone(), None);
        let called = interrupt.guard(Self::NAME, self.send(url, news)).await;
        called.map_err(|e| e.with_context("url", shown))
    }

    async fn url(&self) -> Result<Url> {
        let file = match &self.target {
            Target::Url(url) => return Ok(url.clone()),
            Target::File(file) => file.clone(),
        };
        blocking(&Interrupt::never(), Self::NAME, move |_| {
            let text = fs::read(&file, MAX_URL)?.unwrap_or_default();
            std::str::from_utf8(&text).ok().and_then(|text| read_url(text.trim())).ok_or_else(|| {
                let message = format!("{} holds no http or https URL", file.display());
                Error::new(ErrorKind::NotFound, Self::NAME, message)
                    .with_hint("write the URL into it, and nothing else")
            })
        })
        .await
    }

    async fn send(&self, url: Url, news: &News) -> Result<()> {
        let (https, here) = (url.scheme() == "https", is_here(&url));
        // Made for each call, which is rare: certificates that changed count, and nothing is held meanwhile. A server
        // to which a redirect leads is not told where it came from.
        let build = move |_: &Interrupt| {
            let client = client::builder(if https { "https" } else { "http" }).referer(false);
            // A proxy comes from the environment, as for git; none of them knows this pod.
            let client = if here { client.no_proxy() } else { client };
            client
                .build()
                .map_err(|e| failed(ErrorKind::Unexpected, "TLS cannot be set up").with_source(e.without_url()))
        };
        let client = blocking(&Interrupt::never(), Self::NAME, build).await?;
        let request = client
            .request(self.method.clone(), url)
            .header("Gitsync-Hash", news.revision.as_str())
            .header("Dagsync-Version", news.version.to_string())
            .timeout(self.timeout);
        let no_answer = |e: reqwest::Error| {
            let kind = if e.is_timeout() { ErrorKind::Timeout } else { ErrorKind::Unreachable };
            failed(kind, "no complete answer")
                .with_source(e.without_url())
                .with_hint("check that the host can be reached from this pod, or raise webhook.timeout")
        };
        let mut response = request.send().await.map_err(no_answer)?;
        let status = response.status();
        if let Some(wanted) = self.success.filter(|wanted| *wanted != status.as_u16()) {
            return Err(failed(ErrorKind::Mismatch, &format!("the answer is {status}, not {wanted}"))
                .with_hint("set webhook.success_status to what that host answers, or 0 for any"));
        }
        let mut read = 0;
        while read < MAX_ANSWER {
            let Some(chunk) = response.chunk().await.map_err(no_answer)? else { break };
            read += chunk.len();
        }
        Ok(())
    }
}

/// Whether a URL leads to this pod.
fn is_here(url: &Url) -> bool {
    match url.host() {
        Some(url::Host::Domain(name)) => name == "localhost",
        Some(url::Host::Ipv4(address)) => address.is_loopback(),
        Some(url::Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    }
}

fn read_url(text: &str) -> Option<Url> {
    Url::parse(text).ok().filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host())
}

fn failed(kind: ErrorKind, message: &str) -> Error {
    Error::new(kind, Webhook::NAME, message).retryable()
}
