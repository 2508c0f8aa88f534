//! Which dialect of conditions the server speaks, found out by trying: some ignore them and answer 200 (Garage 2), some
//! want ETags without their quotes (Ceph 16).

use bytes::Bytes;
use dagsync_core::{Digest, Error, ErrorKind, Result};

use crate::record::PROBES;
use crate::requests::{Condition, Content, Requests};

/// How conditions are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Dialect {
    /// As HTTP has it.
    Quoted,
    /// ETags without quotes.
    Bare,
    /// They are ignored.
    None,
}

impl Dialect {
    pub(super) fn honours_conditions(self) -> bool {
        self != Self::None
    }

    /// An ETag as the server wants it.
    pub(super) fn write(self, etag: &str) -> String {
        match self {
            Self::Bare => etag.trim_matches('"').to_owned(),
            Self::Quoted | Self::None => etag.to_owned(),
        }
    }
}

/// Tries conditions on an object of its own, which is removed again. Amazon's S3 documents them, so it is not asked.
///
/// # Errors
/// [`ErrorKind::Refused`] when conditions are `required` and the server ignores them.
pub(super) async fn probe(requests: &Requests, required: bool) -> Result<Dialect> {
    if requests.bucket.settings.endpoint.is_none() {
        return Ok(Dialect::Quoted);
    }
    let key = requests.location().key(&format!("{PROBES}{:016x}", fastrand::u64(..)));
    let found = attempt(requests, &key).await;
    let removed = requests.delete(&key).await;
    match found? {
        Dialect::None if required => {
            let message = format!("{}: the server ignores conditions of writes", requests.location());
            Err(Error::new(ErrorKind::Refused, "publish", message).with_hint(
                "two publishers at once could lose a version unseen; if there is only ever one, set s3.conditional_writes = off",
            ))
        }
        dialect => {
            if let Err(error) = removed {
                tracing::warn!(%error, "the probe stays in the bucket");
            }
            Ok(dialect)
        }
    }
}

async fn attempt(requests: &Requests, key: &str) -> Result<Dialect> {
    let put = async |content: &'static str, condition: Condition<'_>| {
        let bytes = Bytes::from_static(content.as_bytes());
        match requests.put(key, Content::Bytes(&bytes), &Digest::of(content), condition).await {
            Ok(etag) => Ok(Some(etag)),
            Err(error) if matches!(error.kind(), ErrorKind::Changed | ErrorKind::NotFound) => Ok(None),
            // A server that does not know the header.
            Err(error) if error.kind() == ErrorKind::Config => Ok(None),
            Err(error) => Err(error),
        }
    };
    let Some(first) = put("1", Condition::Always).await? else { return Ok(Dialect::None) };
    if put("2", Condition::Absent).await?.is_some() {
        return Ok(Dialect::None);
    }
    if put("3", Condition::Unchanged("\"00000000000000000000000000000000\"")).await?.is_some() {
        return Ok(Dialect::None);
    }
    let bare = Dialect::Bare.write(&first);
    for (dialect, etag) in [(Dialect::Quoted, &first), (Dialect::Bare, &bare)] {
        if put("4", Condition::Unchanged(etag)).await?.is_some() {
            return Ok(dialect);
        }
    }
    Ok(Dialect::None)
}
