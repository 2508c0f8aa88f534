//! The pointer, moved by compare-and-swap.

use std::time::SystemTime;

use bytes::Bytes;
use dagsync_core::{Digest, Error, ErrorKind, Result, Version};

use super::probe::Dialect;
use super::rfc3339;
use crate::record::{MAX_RECORD, POINTER, Record};
use crate::requests::{Condition, Content, Requests, Wanted};

/// How often a server may say that somebody else writes at the same moment.
const TRIES: u32 = 5;

/// The pointer as it was read.
pub(super) struct Pointer {
    etag: Option<String>,
    pub(super) record: Option<Record>,
}

impl Pointer {
    pub(super) async fn read(requests: &Requests) -> Result<Self> {
        let key = requests.location().key(POINTER);
        match requests.get(Wanted { key: &key, ..Wanted::default() }, MAX_RECORD).await {
            Ok(got) => Ok(Self {
                etag: Some(got.etag),
                record: Some(Record::parse(&got.body, &requests.show(&key)).map_err(damaged)?),
            }),
            Err(error) if error.kind() == ErrorKind::NotFound && !is_no_bucket(&error) => {
                Ok(Self { etag: None, record: None })
            }
            Err(error) => Err(error),
        }
    }

    pub(super) fn version(&self) -> Option<Version> {
        self.record.as_ref().map(|record| record.version)
    }

    /// Makes `record` current if the pointer is still as it was read.
    pub(super) async fn move_to(mut self, requests: &Requests, record: &Record, dialect: Dialect) -> Result<()> {
        let key = requests.location().key(POINTER);
        let record = Record { moved_at: Some(rfc3339(SystemTime::now())), ..record.clone() };
        let bytes = Bytes::from(record.to_bytes());
        let digest = Digest::of(&bytes);
        for tries in 1..=TRIES {
            let written = self.etag.as_deref().map(|etag| dialect.write(etag));
            let condition = match (&written, dialect.honours_conditions()) {
                (_, false) => Condition::Always,
                (Some(etag), true) => Condition::Unchanged(etag),
                (None, true) => Condition::Absent,
            };
            let error = match requests.put(&key, Content::Bytes(&bytes), &digest, condition).await {
                Ok(_) => return Ok(()),
                Err(error) if matches!(error.kind(), ErrorKind::Changed | ErrorKind::NotFound) => error,
                Err(error) => return Err(error),
            };
            // 412, 404 or 409: what is there now tells which of us it was. An answer that was lost may have been ours.
            let now = Self::read(requests).await?;
            if now.record.as_ref() == Some(&record) {
                return Ok(());
            }
            if now.etag != self.etag {
                return Err(now.conflict(requests, &record).with_source(error));
            }
            self = now;
            requests.pause("move the pointer", tries).await?;
        }
        let message = format!("{}: somebody else writes to it all the time", requests.show(&key));
        Err(Error::new(ErrorKind::Changed, "move the pointer", message).with_hint("try again"))
    }

    fn conflict(&self, requests: &Requests, ours: &Record) -> Error {
        let theirs = self.version().map_or_else(|| "gone".to_owned(), |version| format!("on {version}"));
        let message = format!("another publisher moved the pointer of {}: it is {theirs}", requests.location());
        Error::new(ErrorKind::Mismatch, "move the pointer", message).with_hint(format!(
            "{version} is uploaded; if it is the right one, `dagsync publish --version {version} {}` makes it current",
            requests.location(),
            version = ours.version
        ))
    }
}

fn damaged(error: Error) -> Error {
    match error.kind() {
        ErrorKind::Corrupt => {
            error.with_hint("remove it, then make a version current with `dagsync publish --version`")
        }
        _ => error,
    }
}

/// A missing bucket is a missing pointer too, but one that cannot be written.
fn is_no_bucket(error: &Error) -> bool {
    error.to_string().contains("no such bucket")
}
