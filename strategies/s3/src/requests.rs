//! Every request that is made of the bucket, in one place: bounded in number, time and size, counted, and tried again
//! when the server was busy or the connection broke. Nothing below or above tries a single request again.

use std::future::Future;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use aws_sdk_s3::Client;
use aws_sdk_s3::primitives::ByteStream;
use aws_sdk_s3::types::RequestPayer;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use bytes::{Bytes, BytesMut};
use dagsync_core::{Digest, Error, ErrorKind, Interrupt, Outcome, Result, SyncContext, Tally};
use tokio::sync::Semaphore;

use crate::body::Body;
use crate::client;
use crate::errors::{self, Failure};
use crate::location::Location;
use crate::settings::Settings;
use crate::sse::SseC;
use crate::throttle::Throttle;

const FIRST_WAIT: Duration = Duration::from_millis(200);
const LONGEST_WAIT: Duration = Duration::from_secs(5);
/// How much longer than the server may be silent a small answer may take.
const ANSWER: u32 = 3;
/// Bytes a second that an upload must reach.
const SLOWEST: u64 = 64 << 10;
pub(crate) const FOREVER: Duration = Duration::from_secs(1 << 30);
/// What is set aside for a body before it is there.
const BODY_START: u64 = 1 << 20;

/// A bucket, as long as the process runs.
pub(crate) struct Bucket {
    pub(crate) settings: Settings,
    pub(crate) location: Location,
    /// Held while one is made, so that all wait for it instead of making their own.
    client: tokio::sync::Mutex<Option<Client>>,
    /// Where a server said that the bucket is.
    region: Mutex<Option<String>>,
    pub(crate) throttle: Throttle,
    slots: Semaphore,
}

impl Bucket {
    pub(crate) fn new(location: Location, settings: Settings) -> Self {
        let throttle = Throttle::new(settings.bandwidth.as_u64());
        let slots = Semaphore::new(settings.concurrency);
        Self { settings, location, client: Default::default(), region: Mutex::default(), throttle, slots }
    }

    async fn client(&self) -> Result<Client> {
        let mut known = self.client.lock().await;
        if let Some(client) = &*known {
            return Ok(client.clone());
        }
        let region = lock(&self.region).clone();
        let config = client::sdk_config(&self.settings, region).await?;
        Ok(known.insert(client::s3(&config, &self.settings)).clone())
    }

    /// Forgets a client with everything that it read: environment, profile, tokens. The SDK itself reads a profile once,
    /// and keeps keys for 15 minutes even if the server no longer takes them.
    async fn renew(&self, client: &Client) {
        self.client.lock().await.take_if(|known| std::ptr::eq(known.config(), client.config()));
    }

    /// Turns to another region when the server says that the bucket is there; not where the user said otherwise.
    async fn follow(&self, region: &str) -> bool {
        let is_fixed = self.settings.region.is_some() || self.settings.endpoint.is_some();
        if is_fixed || lock(&self.region).replace(region.to_owned()).as_deref() == Some(region) {
            return false;
        }
        tracing::info!(bucket = self.location.bucket, region, "the bucket is in this region");
        *self.client.lock().await = None;
        true
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Requests of one sync.
#[derive(Clone)]
pub(crate) struct Requests {
    pub(crate) bucket: Arc<Bucket>,
    pub(crate) interrupt: Interrupt,
    tally: Tally,
}

/// What of an object is wanted.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Wanted<'a> {
    pub(crate) key: &'a str,
    pub(crate) if_match: Option<&'a str>,
    pub(crate) if_none_match: Option<&'a str>,
    pub(crate) version: Option<&'a str>,
    /// First and last byte.
    pub(crate) range: Option<(u64, u64)>,
    /// Ask for the SHA-256 that is stored with the object.
    pub(crate) checksum: bool,
}

/// An object that was read.
#[derive(Debug, Clone, Default)]
pub(crate) struct Got {
    pub(crate) etag: String,
    /// The SHA-256 of the whole object that is stored with it; never one of parts.
    pub(crate) stored: Option<Digest>,
    pub(crate) body: Bytes,
}

/// On what condition an object is written.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Condition<'a> {
    Always,
    /// Nothing is there.
    Absent,
    /// This ETag is there, written as the server wants it.
    Unchanged(&'a str),
}

/// What is written.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Content<'a> {
    Bytes(&'a Bytes),
    File(&'a Path),
}

impl Content<'_> {
    fn bytes(&self) -> u64 {
        match self {
            Self::Bytes(bytes) => bytes.len() as u64,
            Self::File(path) => std::fs::metadata(path).map_or(0, |file| file.len()),
        }
    }
}

impl Requests {
    pub(crate) fn new(bucket: Arc<Bucket>, cx: &SyncContext) -> Self {
        Self::with(bucket, cx.interrupt.clone(), cx.tally.clone())
    }

    pub(crate) fn with(bucket: Arc<Bucket>, interrupt: Interrupt, tally: Tally) -> Self {
        Self { bucket, interrupt, tally }
    }

    pub(crate) fn location(&self) -> &Location {
        &self.bucket.location
    }

    /// Makes a request whose answer is small until it succeeds, fails for a lasting reason, or was made often enough.
    pub(crate) async fn attempt<T, F, Fut>(&self, operation: &'static str, send: F) -> Result<T>
    where
        F: Fn(Client) -> Fut,
        Fut: Future<Output = Result<T, Failure>>,
    {
        // The SDK's own limit ends with the first byte of the answer.
        self.attempt_within(operation, self.bucket.settings.read_timeout * ANSWER, send).await
    }

    /// The same with the longest that one attempt may take.
    pub(crate) async fn attempt_within<T, F, Fut>(&self, operation: &'static str, most: Duration, send: F) -> Result<T>
    where
        F: Fn(Client) -> Fut,
        Fut: Future<Output = Result<T, Failure>>,
    {
        let (mut attempts, mut was_stale) = (0, false);
        loop {
            attempts += 1;
            let failure = match self.once(operation, most, &send).await {
                Ok(done) => return Ok(done),
                Err(failure) => failure,
            };
            let moved = match &failure.region {
                Some(region) => self.bucket.follow(region).await,
                None => false,
            };
            let renewed = failure.stale && !std::mem::replace(&mut was_stale, true);
            let passes = matches!(failure.error.kind(), ErrorKind::Unreachable | ErrorKind::Timeout);
            let again = moved || renewed || (passes && failure.error.is_retryable());
            if !again || attempts >= self.bucket.settings.attempts || self.interrupt.check(operation).is_err() {
                return Err(failure.error);
            }
            tracing::debug!(error = %failure.error, attempts, "the request is made again");
            match self.pause(operation, attempts).await {
                Ok(()) => {}
                // Why it takes so long says more than that it does.
                Err(late) if late.kind() == ErrorKind::Timeout => return Err(failure.error),
                Err(cancelled) => return Err(cancelled),
            }
        }
    }

    async fn once<T, F, Fut>(&self, operation: &'static str, most: Duration, send: &F) -> Result<T, Failure>
    where
        F: Fn(Client) -> Fut,
        Fut: Future<Output = Result<T, Failure>>,
    {
        let work = async {
            let _slot = self.bucket.slots.acquire().await;
            let client = self.bucket.client().await?;
            let late =
                |_| Error::new(ErrorKind::Timeout, operation, format!("{}: no whole answer in time", self.location()));
            let done = tokio::time::timeout(most, send(client.clone())).await.map_err(late)?;
            if matches!(&done, Err(Failure { stale: true, .. })) {
                self.bucket.renew(&client).await;
            }
            Ok(done)
        };
        // The SDK's futures are large, and would make those of all callers large too.
        let done = self.interrupt.guard(operation, Box::pin(work)).await?;
        self.tally.count(operation, Outcome::of(&done));
        done
    }

    pub(crate) async fn pause(&self, operation: &'static str, attempts: u32) -> Result<()> {
        let longest = FIRST_WAIT.saturating_mul(1 << attempts.min(10)).min(LONGEST_WAIT);
        let wait = longest.mul_f64(0.5 + fastrand::f64() / 2.0);
        let sleep = async {
            tokio::time::sleep(wait).await;
            Ok(())
        };
        self.interrupt.guard(operation, sleep).await
    }

    /// Reads at most `max` bytes of an object, which is all of it or an error.
    pub(crate) async fn get(&self, wanted: Wanted<'_>, max: u64) -> Result<Got> {
        let read = |client| async move {
            let (mut got, mut body) = self.open(&client, wanted, max).await?;
            let mut bytes = BytesMut::with_capacity(body.length.unwrap_or(0).min(max).min(BODY_START) as usize);
            while let Some(chunk) = body.next().await? {
                bytes.extend_from_slice(&chunk);
            }
            got.body = bytes.freeze();
            Ok(got)
        };
        // A body has a limit for each of its pieces.
        self.attempt_within("get", FOREVER, read).await
    }

    /// Sends a request for an object; its answer without the body, and the body, which is at most `max` bytes long.
    pub(crate) async fn open(&self, client: &Client, wanted: Wanted<'_>, max: u64) -> Result<(Got, Body<'_>), Failure> {
        let Bucket { settings, location, .. } = &*self.bucket;
        let mut request = client
            .get_object()
            .bucket(&location.bucket)
            .key(wanted.key)
            .set_if_match(wanted.if_match.map(str::to_owned))
            .set_if_none_match(wanted.if_none_match.map(str::to_owned))
            .set_version_id(wanted.version.map(str::to_owned))
            .set_range(wanted.range.map(|(first, last)| format!("bytes={first}-{last}")))
            .set_expected_bucket_owner(settings.expected_bucket_owner.clone())
            .set_request_payer(payer(settings));
        if wanted.checksum {
            request = request.checksum_mode(aws_sdk_s3::types::ChecksumMode::Enabled);
        }
        if let Some(SseC { key, md5 }) = SseC::read(settings)? {
            request = request.sse_customer_algorithm("AES256").sse_customer_key(key).sse_customer_key_md5(md5);
        }
        let answer = request.send().await.map_err(|e| errors::explain("get", &self.show(wanted.key), e))?;
        let got = Got {
            etag: answer.e_tag.unwrap_or_default(),
            stored: answer.checksum_sha256.as_deref().and_then(whole_sha256),
            body: Bytes::new(),
        };
        let length = answer.content_length.and_then(|length| length.try_into().ok());
        let body =
            Body { stream: answer.body, what: self.show(wanted.key), bucket: &self.bucket, length, max, read: 0 };
        Ok((got, body))
    }

    /// The SHA-256 that is stored with an object, and whether the object is there.
    pub(crate) async fn head(&self, wanted: Wanted<'_>) -> Result<Got> {
        let Bucket { settings, location, .. } = &*self.bucket;
        let ask = |client: Client| async move {
            let mut request = client
                .head_object()
                .bucket(&location.bucket)
                .key(wanted.key)
                .set_if_match(wanted.if_match.map(str::to_owned))
                .set_version_id(wanted.version.map(str::to_owned))
                .set_expected_bucket_owner(settings.expected_bucket_owner.clone())
                .set_request_payer(payer(settings));
            if wanted.checksum {
                request = request.checksum_mode(aws_sdk_s3::types::ChecksumMode::Enabled);
            }
            if let Some(SseC { key, md5 }) = SseC::read(settings)? {
                request = request.sse_customer_algorithm("AES256").sse_customer_key(key).sse_customer_key_md5(md5);
            }
            let answer = request.send().await.map_err(|e| errors::explain("head", &self.show(wanted.key), e))?;
            let stored = answer.checksum_sha256.as_deref().and_then(whole_sha256);
            let etag = answer.e_tag.unwrap_or_default();
            Ok(Got { etag, stored, body: Bytes::new() })
        };
        self.attempt("head", ask).await
    }

    /// Writes an object, whose SHA-256 the server checks; its ETag.
    pub(crate) async fn put(
        &self,
        key: &str,
        content: Content<'_>,
        digest: &Digest,
        condition: Condition<'_>,
    ) -> Result<String> {
        let Bucket { settings, location, .. } = &*self.bucket;
        let checksum = BASE64_STANDARD.encode(digest.as_bytes());
        let checksum = checksum.as_str();
        let write = |client: Client| async move {
            let body = match content {
                Content::Bytes(bytes) => ByteStream::from(bytes.clone()),
                Content::File(path) => ByteStream::from_path(path).await.map_err(|e| {
                    Error::new(ErrorKind::Io, "put", format!("cannot read {}", path.display())).with_source(e)
                })?,
            };
            let mut request = client
                .put_object()
                .bucket(&location.bucket)
                .key(key)
                .body(body)
                .checksum_sha256(checksum)
                .set_expected_bucket_owner(settings.expected_bucket_owner.clone())
                .set_request_payer(payer(settings));
            request = match condition {
                Condition::Always => request,
                Condition::Absent => request.if_none_match("*"),
                Condition::Unchanged(etag) => request.if_match(etag),
            };
            if let Some(SseC { key, md5 }) = SseC::read(settings)? {
                request = request.sse_customer_algorithm("AES256").sse_customer_key(key).sse_customer_key_md5(md5);
            }
            let answer = request.send().await.map_err(|e| errors::explain("put", &self.show(key), e))?;
            Ok(answer.e_tag.unwrap_or_default())
        };
        let slowest = Duration::from_secs(content.bytes() / SLOWEST);
        self.attempt_within("put", settings.read_timeout * ANSWER + slowest, write).await
    }

    /// Removes an object; it may be gone already.
    pub(crate) async fn delete(&self, key: &str) -> Result<()> {
        let Bucket { settings, location, .. } = &*self.bucket;
        let remove = |client: Client| async move {
            let request = client
                .delete_object()
                .bucket(&location.bucket)
                .key(key)
                .set_expected_bucket_owner(settings.expected_bucket_owner.clone())
                .set_request_payer(payer(settings));
            request.send().await.map(drop).map_err(|e| errors::explain("delete", &self.show(key), e))
        };
        self.attempt("delete", remove).await
    }

    /// A key for people.
    pub(crate) fn show(&self, key: &str) -> String {
        let location = &self.bucket.location;
        location.show(key.strip_prefix(&location.prefix).unwrap_or(key))
    }
}

pub(crate) fn payer(settings: &Settings) -> Option<RequestPayer> {
    settings.requester_pays.then_some(RequestPayer::Requester)
}

/// A stored SHA-256, unless it is one of parts, which S3 writes as `…-3`.
fn whole_sha256(text: &str) -> Option<Digest> {
    let bytes: [u8; 32] = BASE64_STANDARD.decode(text).ok()?.try_into().ok()?;
    Some(Digest::from(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::settings;

    #[tokio::test]
    async fn a_bucket_in_another_region_is_followed_unless_a_setting_says_where_it_is() {
        let bucket = |changes: &[(&str, &str)]| Bucket::new(Location::parse("s3://team").unwrap(), settings(changes));
        let free = bucket(&[("anonymous", "true")]);
        *lock(&free.region) = Some("us-east-1".to_owned());
        assert_eq!(region(&free).await, "us-east-1");
        assert!(free.follow("ap-south-2").await);
        assert_eq!(region(&free).await, "ap-south-2");
        assert!(!free.follow("ap-south-2").await, "it is told the same again");
        for fixed in [("region", "us-east-1"), ("endpoint", "http://minio:9000")] {
            assert!(!bucket(&[fixed]).follow("ap-south-2").await, "{fixed:?}");
        }
    }

    async fn region(bucket: &Bucket) -> String {
        bucket.client().await.unwrap().config().region().unwrap().to_string()
    }

    #[tokio::test]
    async fn only_the_client_that_was_refused_is_forgotten() {
        let with = settings(&[("anonymous", "true"), ("endpoint", "http://minio:9000")]);
        let bucket = Bucket::new(Location::parse("s3://team").unwrap(), with);
        let same = |a: &Client, b: &Client| std::ptr::eq(a.config(), b.config());
        let first = bucket.client().await.unwrap();
        assert!(same(&first, &bucket.client().await.unwrap()));
        bucket.renew(&first).await;
        let second = bucket.client().await.unwrap();
        assert!(!same(&first, &second));
        bucket.renew(&first).await;
        assert!(same(&second, &bucket.client().await.unwrap()), "others still came with the first");
    }

    #[test]
    fn a_checksum_of_parts_is_none_of_the_object() {
        let whole = BASE64_STANDARD.encode(Digest::of("x").as_bytes());
        assert_eq!(whole_sha256(&whole), Some(Digest::of("x")));
        assert_eq!(whole_sha256(&format!("{whole}-3")), None);
        assert_eq!(whole_sha256("AAAA"), None);
    }
}
