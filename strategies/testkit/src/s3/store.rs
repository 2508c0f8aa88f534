//! What buckets hold: keys with their versions, also where only one is kept.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::time::SystemTime;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hyper::body::Bytes;
use md5::Md5;
use sha2::{Digest as _, Sha256};

/// The id of a version that was written while the bucket kept no versions.
const NULL: &str = "null";

/// What [`S3Double::put_with`](super::S3Double::put_with) gives an object that a plain upload would not.
#[derive(Debug, Clone, Default)]
pub struct PutOptions {
    /// The storage class instead of `STANDARD`. From `GLACIER` and `DEEP_ARCHIVE` nothing can be read.
    pub storage_class: Option<String>,
    /// The ETag, with or without quotes, instead of the MD5: `0123…-2` as after a multipart upload.
    pub etag: Option<String>,
    /// The SHA-256 that the store keeps, as in `x-amz-checksum-sha256`: base64, with `-N` at its end if it is
    /// composite. It need not be that of the content. See [`sha256`].
    pub sha256: Option<String>,
    /// The `LastModified` instead of now.
    pub modified: Option<SystemTime>,
    /// Header fields that reading the object returns, for example `x-amz-meta-mtime`; names in lower case.
    pub headers: Vec<(String, String)>,
}

/// The SHA-256 of `content` as S3 writes it, in base64.
pub fn sha256(content: impl AsRef<[u8]>) -> String {
    STANDARD.encode(Sha256::digest(content))
}

/// A checksum that is kept with an object.
#[derive(Debug, Clone)]
pub(super) struct Checksum {
    /// The name in a header field, for example `sha256`.
    pub(super) algorithm: String,
    pub(super) value: String,
}

impl Checksum {
    /// The header field that carries it.
    pub(super) fn header(&self) -> String {
        format!("x-amz-checksum-{}", self.algorithm)
    }

    /// Whether it covers the content or the checksums of parts. Base64 has no hyphen.
    pub(super) fn kind(&self) -> &'static str {
        if self.value.contains('-') { "COMPOSITE" } else { "FULL_OBJECT" }
    }
}

#[derive(Debug, Clone)]
pub(super) struct Object {
    pub(super) content: Bytes,
    /// Without quotes.
    pub(super) etag: String,
    pub(super) storage_class: String,
    pub(super) checksum: Option<Checksum>,
    pub(super) headers: Vec<(String, String)>,
    modified: SystemTime,
}

impl Object {
    pub(super) fn new(content: Bytes, options: PutOptions, has_opaque_etag: bool) -> Self {
        let etag = match options.etag {
            Some(etag) => etag.trim_matches('"').to_owned(),
            None if has_opaque_etag => random(),
            None => Md5::digest(&content).iter().map(|byte| format!("{byte:02x}")).collect(),
        };
        Self {
            etag,
            content,
            storage_class: options.storage_class.unwrap_or_else(|| "STANDARD".to_owned()),
            checksum: options.sha256.map(|value| Checksum { algorithm: "sha256".to_owned(), value }),
            headers: options.headers,
            modified: options.modified.unwrap_or_else(SystemTime::now),
        }
    }

    pub(super) fn is_archived(&self) -> bool {
        matches!(self.storage_class.as_str(), "GLACIER" | "DEEP_ARCHIVE")
    }
}

/// An ETag as it is sent.
pub(super) fn quoted(etag: &str) -> String {
    format!("\"{etag}\"")
}

fn random() -> String {
    format!("{:032x}", fastrand::u128(..))
}

#[derive(Debug)]
pub(super) struct Version {
    pub(super) id: String,
    pub(super) modified: SystemTime,
    /// `None` for a delete marker.
    pub(super) object: Option<Object>,
}

/// A version in a listing of versions.
pub(super) struct Listed<'a> {
    pub(super) key: &'a str,
    pub(super) version: &'a Version,
    pub(super) is_latest: bool,
}

#[derive(Debug, Default)]
pub(super) struct Bucket {
    pub(super) versioned: bool,
    /// The versions of each key from old to new; never none. Strings in byte order, as S3 lists them.
    keys: BTreeMap<String, Vec<Version>>,
}

impl Bucket {
    /// The newest version, which may be a delete marker.
    pub(super) fn current(&self, key: &str) -> Option<&Version> {
        self.keys.get(key)?.last()
    }

    pub(super) fn current_mut(&mut self, key: &str) -> Option<&mut Version> {
        self.keys.get_mut(key)?.last_mut()
    }

    /// The object that a reader without a version id gets.
    pub(super) fn object(&self, key: &str) -> Option<&Object> {
        self.current(key)?.object.as_ref()
    }

    pub(super) fn version(&self, key: &str, id: &str) -> Option<&Version> {
        self.keys.get(key)?.iter().find(|version| version.id == id)
    }

    /// Adds a version, or replaces the only one, and returns its id.
    pub(super) fn push(&mut self, key: &str, object: Option<Object>) -> String {
        let id = if self.versioned { random() } else { NULL.to_owned() };
        let versions = self.keys.entry(key.to_owned()).or_default();
        if !self.versioned {
            versions.retain(|version| version.id != NULL);
        }
        let modified = object.as_ref().map_or_else(SystemTime::now, |object| object.modified);
        versions.push(Version { id: id.clone(), modified, object });
        id
    }

    /// Deletes as a request without a version id does, and returns the id of the delete marker, if there is one.
    pub(super) fn delete(&mut self, key: &str) -> Option<String> {
        let has_others = || self.keys.get(key).is_some_and(|versions| versions.iter().any(|v| v.id != NULL));
        if self.versioned || has_others() {
            return Some(self.push(key, None));
        }
        self.keys.remove(key);
        None
    }

    /// Removes one version for good.
    pub(super) fn remove(&mut self, key: &str, id: &str) -> Option<Version> {
        let versions = self.keys.get_mut(key)?;
        let removed = versions.remove(versions.iter().position(|version| version.id == id)?);
        if versions.is_empty() {
            self.keys.remove(key);
        }
        Some(removed)
    }

    /// The objects below `prefix` whose keys are greater than `after`, in order.
    pub(super) fn live<'a>(
        &'a self,
        prefix: &'a str,
        after: &'a str,
    ) -> impl Iterator<Item = (&'a str, &'a Version)> + 'a {
        let keys = self.range(prefix, Bound::Excluded(after));
        keys.filter_map(|(key, versions)| Some((key, versions.last().filter(|newest| newest.object.is_some())?)))
    }

    /// Every version below `prefix` that comes after the marker, keys in order, the newest version of a key first. With
    /// no version in the marker, its key is through.
    pub(super) fn history<'a>(
        &'a self,
        prefix: &'a str,
        (key, id): (&'a str, Option<&'a str>),
    ) -> impl Iterator<Item = Listed<'a>> + 'a {
        let start = if id.is_some() { Bound::Included(key) } else { Bound::Excluded(key) };
        self.range(prefix, start).flat_map(move |(name, versions)| {
            let marker = id.filter(|_| name == key);
            // A marker that is gone since the page before: the key is listed anew rather than passed over.
            let seen = marker.and_then(|id| versions.iter().rev().position(|v| v.id == id)).map_or(0, |at| at + 1);
            let listed = move |(i, version)| Listed { key: name, version, is_latest: i == 0 };
            versions.iter().rev().enumerate().skip(seen).map(listed)
        })
    }

    fn range<'a>(
        &'a self,
        prefix: &'a str,
        start: Bound<&'a str>,
    ) -> impl Iterator<Item = (&'a str, &'a Vec<Version>)> + 'a {
        let start = match start {
            Bound::Included(key) | Bound::Excluded(key) if key >= prefix && !key.is_empty() => start,
            _ => Bound::Included(prefix),
        };
        let keys = self.keys.range::<str, _>((start, Bound::Unbounded));
        keys.map(|(key, versions)| (key.as_str(), versions)).take_while(move |(key, _)| key.starts_with(prefix))
    }
}
