//! The call that is made after a publish. Its URL may be a secret, so no more of it than the host is ever shown; nor is
//! the answer, which may repeat it.

use std::time::Duration;

use dagsync_core::{Error, ErrorKind, Interrupt, Result};
use reqwest::Method;
use tokio_util::sync::CancellationToken;
use url::Url;

use super::hook::News;
use crate::config;
use crate::secret_url::{self, SecretUrl};

/// An answer that is longer is not read to its end.
const MAX_ANSWER: usize = 64 * 1024;

/// A call.
pub(super) struct Webhook {
    url: SecretUrl,
    method: Method,
    /// `None`: any.
    success: Option<u16>,
    timeout: Duration,
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
        let Some(url) = SecretUrl::new(&config.url, config.url_file.as_deref(), ["webhook.url", "webhook.url_file"])?
        else {
            return Ok(None);
        };
        let wrong = |message: &str| Error::new(ErrorKind::Config, "read settings", message);
        let method = Method::from_bytes(config.method.as_bytes())
            .map_err(|_| wrong("webhook.method is no HTTP method").with_hint("write it as POST or GET"))?;
        let success = Some(config.success_status).filter(|status| *status != 0);
        Ok(Some(Self { url, method, success, timeout: config.timeout }))
    }

    pub(super) async fn call(&self, news: &News, token: &CancellationToken) -> Result<()> {
        let url = self.url.read(Self::NAME).await?;
        let shown = url.origin().ascii_serialization();
        let interrupt = Interrupt::new(token.clone(), None);
        let called = interrupt.guard(Self::NAME, self.send(url, news)).await;
        called.map_err(|e| e.with_context("url", shown))
    }

    async fn send(&self, url: Url, news: &News) -> Result<()> {
        let client = secret_url::client(&url, Self::NAME).await?;
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

fn failed(kind: ErrorKind, message: &str) -> Error {
    Error::new(kind, Webhook::NAME, message).retryable()
}
