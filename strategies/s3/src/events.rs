//! An SQS queue of S3 events, as a hint that the bucket may have changed: direct, through SNS, or through EventBridge.

use std::time::Duration;

use aws_config::Region;
use aws_config::timeout::TimeoutConfig;
use aws_sdk_sqs::Client;
use aws_sdk_sqs::config::http::HttpResponse;
use aws_sdk_sqs::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_sqs::types::Message;
use dagsync_core::{Error, Result};
use serde_json::Value as Json;
use tokio::sync::Mutex;

use crate::client;
use crate::errors;
use crate::listing;
use crate::location::Location;
use crate::requests::Bucket;

/// The longest that SQS waits for a message.
const WAIT: Duration = Duration::from_secs(20);
const MESSAGES: i32 = 10;

/// The queue.
pub(crate) struct Queue {
    url: String,
    /// Made anew after an error, because it may be one of credentials that rotated.
    client: Mutex<Option<Client>>,
}

impl Queue {
    pub(crate) fn new(url: String) -> Self {
        Self { url, client: Mutex::default() }
    }

    /// Waits for a message about what lies below the prefix. Every message that was seen is removed.
    pub(crate) async fn changed(&self, bucket: &Bucket) -> Result<()> {
        let mut known = self.client.lock().await;
        let client = match known.take() {
            Some(client) => client,
            None => self.connect(bucket).await?,
        };
        while !self.receive(&client, bucket).await? {}
        *known = Some(client);
        Ok(())
    }

    /// Waits for messages once; whether one is about what lies below the prefix.
    async fn receive(&self, client: &Client, bucket: &Bucket) -> Result<bool> {
        let request = client
            .receive_message()
            .queue_url(&self.url)
            .wait_time_seconds(WAIT.as_secs() as i32)
            .max_number_of_messages(MESSAGES);
        let received = request.send().await.map_err(|e| self.explain(e))?;
        let mut removed = Ok(());
        for message in received.messages() {
            if let Some(receipt) = message.receipt_handle() {
                let delete = client.delete_message().queue_url(&self.url).receipt_handle(receipt);
                removed = removed.and(delete.send().await.map(drop).map_err(|e| self.explain(e)));
            }
        }
        let concerns = |message: &Message| message.body().is_some_and(|body| names(body, &bucket.location));
        match (received.messages().iter().any(concerns), removed) {
            // What was heard counts all the same.
            (true, Err(error)) => tracing::warn!(%error, "a message stays in the queue"),
            (false, Err(error)) => return Err(error),
            (heard, Ok(())) => return Ok(heard),
        }
        Ok(true)
    }

    fn explain<E>(&self, error: SdkError<E, HttpResponse>) -> Error
    where
        E: ProvideErrorMetadata + std::error::Error + Send + Sync + 'static,
    {
        errors::explain("receive", &self.url, error).error
    }

    async fn connect(&self, bucket: &Bucket) -> Result<Client> {
        let config = client::sdk_config(&bucket.settings, None).await?;
        let timeouts = TimeoutConfig::builder()
            .connect_timeout(bucket.settings.connect_timeout)
            .read_timeout(WAIT + bucket.settings.read_timeout)
            .build();
        let mut builder = aws_sdk_sqs::config::Builder::from(&config).timeout_config(timeouts);
        let host = Host::of(&self.url);
        if let Some(region) = host.region {
            builder = builder.region(Region::new(region.to_owned()));
        }
        if !host.is_standard {
            // An address of one's own goes with neither.
            builder = builder.endpoint_url(host.origin).use_fips(false).use_dual_stack(false);
        }
        Ok(Client::from_conf(builder.build()))
    }
}

/// Who serves a queue.
#[derive(Debug, PartialEq)]
struct Host<'a> {
    /// Scheme, host and port.
    origin: &'a str,
    /// Of Amazon's hosts.
    region: Option<&'a str>,
    /// Whether the SDK knows the address by its region, as of `https://sqs.eu-west-1.amazonaws.com/123456789012/name`.
    is_standard: bool,
}

impl<'a> Host<'a> {
    fn of(url: &'a str) -> Self {
        let start = url.find("//").map_or(0, |at| at + 2);
        let end = url[start..].find('/').map_or(url.len(), |length| start + length);
        let host = &url[start..end];
        let mut labels = host.split('.').skip_while(|label| !["sqs", "sqs-fips"].contains(label)).skip(1);
        let is_amazon = host.ends_with(".amazonaws.com") || host.ends_with(".amazonaws.com.cn");
        let region = labels.next().filter(|_| is_amazon);
        Self { origin: &url[..end], region, is_standard: region.is_some() && host.starts_with("sqs.") }
    }
}

/// Whether a message names something below the prefix.
fn names(body: &str, location: &Location) -> bool {
    let Ok(message) = serde_json::from_str::<Json>(body) else { return false };
    // SNS wraps the message in a text, unless it is told not to.
    if let Some(inner) = message["Message"].as_str() {
        return names(inner, location);
    }
    // Events name the bucket behind an access point.
    let is_access_point = location.bucket.starts_with("arn:") || location.bucket.ends_with("-s3alias");
    let is_ours = |event: &Json, key: Option<Vec<u8>>| {
        event["bucket"]["name"].as_str().is_some_and(|name| is_access_point || name == location.bucket)
            && key.is_some_and(|key| key.starts_with(location.prefix.as_bytes()))
    };
    // S3 itself encodes keys, EventBridge does not.
    let records = message["Records"].as_array().map(Vec::as_slice).unwrap_or_default();
    records.iter().any(|record| is_ours(&record["s3"], record["s3"]["object"]["key"].as_str().map(listing::decode)))
        || is_ours(&message["detail"], message["detail"]["object"]["key"].as_str().map(|key| key.as_bytes().to_vec()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_come_in_three_forms() {
        let location = Location::parse("s3://bucket/team dags").unwrap();
        let direct = r#"{"Records":[{"s3":{"bucket":{"name":"bucket"},"object":{"key":"team+dags/a.py"}}}]}"#;
        let bridge = r#"{"source":"aws.s3","detail":{"bucket":{"name":"bucket"},"object":{"key":"team dags/a.py"}}}"#;
        let sns = serde_json::json!({"Type": "Notification", "Message": direct}).to_string();
        for ours in [direct, bridge, &sns] {
            assert!(names(ours, &location), "{ours}");
        }
        for other in [
            &direct.replace("team", "other"),
            &bridge.replace("\"bucket\"},", "\"bucket-2\"},"),
            r#"{"Service":"Amazon S3","Event":"s3:TestEvent","Bucket":"bucket"}"#,
            "not json",
            "[]",
        ] {
            assert!(!names(other, &location), "{other}");
        }
    }

    #[test]
    fn events_name_the_bucket_behind_an_access_point() {
        let event = r#"{"Records":[{"s3":{"bucket":{"name":"bucket"},"object":{"key":"dags/a.py"}}}]}"#;
        for (source, is_ours) in [
            ("s3://arn:aws:s3:eu-west-1:1:accesspoint/ap/dags", true),
            ("s3://arn:aws:s3:eu-west-1:1:accesspoint/ap/other", false),
            ("s3://ap-metadata-s3alias/dags", true),
            ("s3://other/dags", false),
        ] {
            assert_eq!(names(event, &Location::parse(source).unwrap()), is_ours, "{source}");
        }
    }

    #[test]
    fn a_queue_of_amazons_names_its_region() {
        for (url, origin, region, is_standard) in [
            ("https://sqs.eu-west-1.amazonaws.com/1/q", "https://sqs.eu-west-1.amazonaws.com", Some("eu-west-1"), true),
            (
                "https://sqs-fips.us-east-2.amazonaws.com/1/q",
                "https://sqs-fips.us-east-2.amazonaws.com",
                Some("us-east-2"),
                false,
            ),
            (
                "https://vpce-0a.sqs.eu-west-1.vpce.amazonaws.com/1/q",
                "https://vpce-0a.sqs.eu-west-1.vpce.amazonaws.com",
                Some("eu-west-1"),
                false,
            ),
            (
                "http://sqs.eu-west-1.localhost.localstack.cloud:4566/1/q",
                "http://sqs.eu-west-1.localhost.localstack.cloud:4566",
                None,
                false,
            ),
            ("http://127.0.0.1:5000/1/q", "http://127.0.0.1:5000", None, false),
            ("http://localhost", "http://localhost", None, false),
        ] {
            assert_eq!(Host::of(url), Host { origin, region, is_standard });
        }
    }
}
