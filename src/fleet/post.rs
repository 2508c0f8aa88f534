//! Tells others what was found: a chat by its webhook, and a Pushgateway.

use std::time::Duration;

use dagsync_core::{Error, ErrorKind, Result};
use reqwest::Method;
use reqwest::header::CONTENT_TYPE;
use serde_json::json;

use super::report::{Report, json, prometheus, summary};
use crate::config;
use crate::secret_url::{self, SecretUrl};

const TIMEOUT: Duration = Duration::from_secs(10);
/// The job's name at the Pushgateway; a check replaces what the check before it pushed.
const JOB: &str = "metrics/job/dagsync_drift";

/// Where findings are told.
#[derive(Debug)]
pub struct Posts {
    webhook: Option<SecretUrl>,
    pushgateway: Option<SecretUrl>,
}

impl Posts {
    /// Those that are configured.
    ///
    /// # Errors
    /// [`ErrorKind::Config`] for what is no URL.
    pub fn new(config: &config::Drift) -> Result<Self> {
        let file = config.webhook_url_file.as_deref();
        let webhook = SecretUrl::new(&config.webhook_url, file, ["drift.webhook_url", "drift.webhook_url_file"])?;
        let pushgateway = SecretUrl::new(&config.pushgateway, None, ["drift.pushgateway", ""])?;
        Ok(Self { webhook, pushgateway })
    }

    /// Posts the finding to the webhook: `text` for a chat, `finding` and `counts` for a program.
    ///
    /// # Errors
    /// It did not arrive.
    pub async fn tell(&self, report: &Report) -> Result<()> {
        const OPERATION: &str = "post finding";
        let Some(webhook) = &self.webhook else { return Ok(()) };
        let body = json!({
            "text": summary::chat(report), "finding": report.finding(), "counts": json::counts(report),
        });
        send(webhook, OPERATION, Method::POST, "", "application/json", body.to_string()).await
    }

    /// Replaces the fleet's metrics at the Pushgateway.
    ///
    /// # Errors
    /// They did not arrive.
    pub async fn push(&self, report: &Report) -> Result<()> {
        const OPERATION: &str = "push metrics";
        let Some(pushgateway) = &self.pushgateway else { return Ok(()) };
        send(pushgateway, OPERATION, Method::PUT, JOB, prometheus::CONTENT_TYPE, prometheus::text(report)).await
    }
}

async fn send(
    to: &SecretUrl,
    operation: &'static str,
    method: Method,
    path: &str,
    kind: &'static str,
    body: String,
) -> Result<()> {
    let mut url = to.read(operation).await?;
    if !path.is_empty() {
        url.set_path(&format!("{}/{path}", url.path().trim_end_matches('/')));
    }
    let shown = url.origin().ascii_serialization();
    let client = secret_url::client(&url, operation).await?;
    let failed = |kind, message: String| {
        let hint = "check that the host can be reached from here";
        Error::new(kind, operation, message).with_context("url", &shown).with_hint(hint)
    };
    let sent = client.request(method, url).header(CONTENT_TYPE, kind).body(body).timeout(TIMEOUT).send().await;
    let answer =
        sent.map_err(|e| failed(ErrorKind::Unreachable, "no answer".to_owned()).with_source(e.without_url()))?;
    // The answer itself may repeat the URL, so it is neither read nor shown.
    match answer.status() {
        status if status.is_success() => Ok(()),
        status => Err(failed(ErrorKind::Unreachable, format!("the answer is {status}"))),
    }
}
