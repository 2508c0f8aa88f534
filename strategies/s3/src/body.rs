//! The body of an answer: bounded in length and in silence, and slowed down where that is wanted.

use aws_sdk_s3::primitives::ByteStream;
use bytes::Bytes;
use dagsync_core::{Error, ErrorKind, Result};

use crate::errors;
use crate::requests::Bucket;

/// A body that is being read.
pub(crate) struct Body<'a> {
    pub(crate) stream: ByteStream,
    pub(crate) what: String,
    pub(crate) bucket: &'a Bucket,
    /// How long it is said to be.
    pub(crate) length: Option<u64>,
    pub(crate) max: u64,
    pub(crate) read: u64,
}

impl Body<'_> {
    /// The next piece; at the end it must have been as long as it was said to be, and never longer than allowed.
    pub(crate) async fn next(&mut self) -> Result<Option<Bytes>> {
        let Self { stream, what, bucket, .. } = self;
        let chunk = tokio::time::timeout(bucket.settings.read_timeout, stream.next()).await;
        let stalled = |_| Error::new(ErrorKind::Timeout, "get", format!("{what}: the body stalls"));
        let Some(chunk) = chunk.map_err(stalled)? else { return self.end().map(|()| None) };
        let chunk = chunk.map_err(|e| errors::broken_body("get", what, &e))?;
        self.read += chunk.len() as u64;
        if self.read > self.max {
            let message = format!("{}: the body is longer than {} bytes", self.what, self.max);
            return Err(Error::new(ErrorKind::LimitExceeded, "get", message)
                .with_hint("leave it out with an exclude glob, or raise the setting in limits"));
        }
        self.bucket.throttle.take(chunk.len()).await;
        Ok(Some(chunk))
    }

    fn end(&self) -> Result<()> {
        match self.length {
            Some(length) if length != self.read => {
                let message = format!("{}: {} bytes came of {length}", self.what, self.read);
                Err(Error::new(ErrorKind::Unreachable, "get", message))
            }
            _ => Ok(()),
        }
    }
}
