//! Tells others what was found: a chat by its webhook, and a Pushgateway.

use std::time::Duration;

use dagsync_core::{Error, ErrorKind, Result};
use reqwest::Method;
use reqwest::header::CONTENT_TYPE;
use serde_json::json;
use url::Url;

use super::report::{Report, json, prometheus, summary};
use crate::config;
use crate::secret_url::{self, SecretUrl};

const TIMEOUT: Duration = Duration::from_secs(10);
/// The job's name at the Pushgateway.
const JOB: &str = "dagsync_fleet";
/// Where a path of the Pushgateway says itself which group is replaced.
const GROUP: &str = "/metrics/job";

/// Where findings are told.
#[derive(Debug)]
pub struct Posts {
    webhook: Option<SecretUrl>,
    pushgateway: Option<SecretUrl>,
    /// Of the fleet; empty where it is not known.
    namespace: String,
}

impl Posts {
    /// Those that are configured. Fleets in several namespaces have a group each at one Pushgateway.
    ///
    /// # Errors
    /// [`ErrorKind::Config`] for what is no URL.
    pub fn new(config: &config::Config) -> Result<Self> {
        let config::Config { drift: config, fleet, pod, .. } = config;
        let file = config.webhook_url_file.as_deref();
        let webhook = SecretUrl::new(&config.webhook_url, file, ["drift.webhook_url", "drift.webhook_url_file"])?;
        let pushgateway = SecretUrl::new(&config.pushgateway, None, ["drift.pushgateway", ""])?;
        let namespace = [&fleet.kubernetes.namespace, &pod.namespace].into_iter().find(|name| !name.is_empty());
        Ok(Self { webhook, pushgateway, namespace: namespace.cloned().unwrap_or_default() })
    }

    /// Posts the finding, or that there is none, to the webhook: `text` for a chat, `finding` and `counts` for a program.
    ///
    /// # Errors
    /// It did not arrive.
    pub async fn tell(&self, found: &Result<Report>) -> Result<()> {
        const OPERATION: &str = "post finding";
        let Some(webhook) = &self.webhook else { return Ok(()) };
        let body = match found {
            Ok(report) => json!({
                "text": summary::chat(report), "finding": report.finding(), "counts": json::counts(report),
            }),
            Err(error) => json!({"text": summary::blind(error), "finding": "failed"}),
        };
        let url = webhook.read(OPERATION).await?;
        send(url, OPERATION, Method::POST, "application/json", body.to_string()).await
    }

    /// Replaces the fleet's metrics at the Pushgateway by `text`.
    ///
    /// # Errors
    /// They did not arrive.
    pub async fn push(&self, text: String) -> Result<()> {
        const OPERATION: &str = "push metrics";
        let Some(pushgateway) = &self.pushgateway else { return Ok(()) };
        let url = group(pushgateway.read(OPERATION).await?, &self.namespace);
        send(url, OPERATION, Method::PUT, prometheus::CONTENT_TYPE, text).await
    }
}

/// The URL of the group of metrics that a check replaces.
fn group(mut url: Url, namespace: &str) -> Url {
    if url.path().contains(GROUP) {
        return url;
    }
    if let Ok(mut path) = url.path_segments_mut() {
        path.pop_if_empty().extend(["metrics", "job", JOB]);
        if !namespace.is_empty() {
            path.extend(["namespace", namespace]);
        }
    }
    url
}

async fn send(url: Url, operation: &'static str, method: Method, kind: &'static str, body: String) -> Result<()> {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_fleets_do_not_overwrite_each_other_at_one_pushgateway() {
        for (given, namespace, pushed) in [
            ("http://push:9091", "airflow", "http://push:9091/metrics/job/dagsync_fleet/namespace/airflow"),
            ("http://push:9091/base/", "", "http://push:9091/base/metrics/job/dagsync_fleet"),
            ("http://push/", "a/b", "http://push/metrics/job/dagsync_fleet/namespace/a%2Fb"),
            ("http://push/metrics/job/mine/team/a", "airflow", "http://push/metrics/job/mine/team/a"),
            ("http://push/x/metrics/job@base64/bWluZQ", "airflow", "http://push/x/metrics/job@base64/bWluZQ"),
        ] {
            assert_eq!(group(given.parse().unwrap(), namespace).as_str(), pushed);
        }
    }
}
