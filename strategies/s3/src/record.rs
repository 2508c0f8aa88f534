//! The published layout, as it lies below the prefix:
//!
//! ```text
//! dagsync.json             the pointer: the record of the version that is current, moved by compare-and-swap
//! versions/<hex>.json      the record of each version
//! manifests/<hex>          its manifest, as sha256sum prints it; <hex> is the version
//! packs/<hex>              small files together, see `pack`
//! blobs/sha256/<hex>       each other file
//! ```
//!
//! Manifests, packs and blobs are called after their content and never change. A record may be written anew, with other
//! packs that hold the same; the pointer is the only object that is moved.

use dagsync_core::{Digest, Error, ErrorKind, Result, Version};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// The key of the pointer below the prefix.
pub(crate) const POINTER: &str = "dagsync.json";
pub(crate) const VERSIONS: &str = "versions/";
pub(crate) const MANIFESTS: &str = "manifests/";
pub(crate) const PACKS: &str = "packs/";
pub(crate) const BLOBS: &str = "blobs/sha256/";

/// Where the publisher tries out conditions.
pub(crate) const PROBES: &str = ".dagsync/probe-";

/// What to do about a damaged object: the publisher asks whether it is there, and believes that it is what it is called
/// after.
pub(crate) const REMOVE: &str = "remove that object and publish the version again";

const FORMAT: u32 = 1;
/// Room for more packs and blobs than any version has.
pub(crate) const MAX_RECORD: u64 = 16 << 20;

/// What a version is made of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// Of the layout; another one is for another dagsync.
    pub format: u32,
    /// The version.
    pub version: Version,
    /// How many files it has.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
    /// What the publisher said where it comes from, such as a commit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revision: Option<String>,
    /// When it was published first.
    pub created_at: String,
    /// Where its small files are.
    pub packs: Vec<Pack>,
    /// Its other files.
    #[serde(default)]
    pub blobs: Vec<Hex>,
    /// In the pointer: when it came to point here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub moved_at: Option<String>,
}

/// A pack and how to read its header.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pack {
    /// What it is called.
    pub id: Hex,
    /// Bytes of its header.
    pub header_bytes: u64,
    /// Bytes of all of it.
    pub bytes: u64,
}

/// A digest as JSON has it: 64 hex digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Hex(pub Digest);

impl Serialize for Hex {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Hex {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map(Self).map_err(serde::de::Error::custom)
    }
}

impl Record {
    pub(crate) fn new(version: Version, files: u64, bytes: u64, created_at: String) -> Self {
        let (revision, moved_at) = (None, None);
        Self {
            format: FORMAT,
            version,
            files,
            bytes,
            revision,
            created_at,
            packs: Vec::new(),
            blobs: Vec::new(),
            moved_at,
        }
    }

    /// Reads a record; `what` names the object for people.
    pub(crate) fn parse(bytes: &[u8], what: &str) -> Result<Self> {
        let bad = |why: String| {
            Error::new(ErrorKind::Corrupt, "read record", format!("{what} is no record of dagsync: {why}"))
                .with_hint("publish again, or name another prefix")
        };
        // The format comes first: a newer one may differ in everything else.
        let json: serde_json::Value = serde_json::from_slice(bytes).map_err(|e| bad(e.to_string()))?;
        match json.get("format").and_then(serde_json::Value::as_u64) {
            Some(format) if format == u64::from(FORMAT) => {}
            Some(format) => {
                let message = format!("{what} has the format {format}");
                return Err(Error::new(ErrorKind::Refused, "read record", message)
                    .with_hint("a newer dagsync wrote it: update this one"));
            }
            None => return Err(bad("it names no format".to_owned())),
        }
        let record: Self = serde_json::from_value(json).map_err(|e| bad(e.to_string()))?;
        match record.packs.iter().all(|pack| pack.header_bytes <= pack.bytes) {
            true => Ok(record),
            false => Err(bad("a pack is smaller than its header".to_owned())),
        }
    }

    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = serde_json::to_vec_pretty(self).expect("a record has no map whose keys are no text");
        bytes.push(b'\n');
        bytes
    }

    pub(crate) fn key_of(version: &Version) -> String {
        format!("{VERSIONS}{}.json", version.hex())
    }

    pub(crate) fn manifest_key(version: &Version) -> String {
        format!("{MANIFESTS}{}", version.hex())
    }
}

/// Whether a name is one of the published layout's, which hold a digest and nothing else.
pub(crate) fn is_part(name: &str) -> bool {
    let is_digest = |text: &str| text.parse::<Digest>().is_ok();
    let is_record = |rest: &str| rest.strip_suffix(".json").is_some_and(is_digest);
    [MANIFESTS, PACKS, BLOBS].iter().any(|folder| name.strip_prefix(folder).is_some_and(is_digest))
        || name.strip_prefix(VERSIONS).is_some_and(is_record)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record() -> Record {
        let version = Version::from(Digest::of("manifest"));
        let mut record = Record::new(version, 3, 9, "2026-11-24T08:00:00Z".to_owned());
        record.packs = vec![Pack { id: Hex(Digest::of("pack")), header_bytes: 100, bytes: 109 }];
        record.blobs = vec![Hex(Digest::of("blob"))];
        record
    }

    #[test]
    fn what_is_written_is_read() {
        assert_eq!(Record::parse(&record().to_bytes(), "x").unwrap(), record());
    }

    #[test]
    fn a_later_dagsync_may_add_fields_but_not_change_the_format() {
        let mut json = serde_json::to_value(record()).unwrap();
        json["signature"] = "x".into();
        assert!(Record::parse(json.to_string().as_bytes(), "x").is_ok());
        json["format"] = 2.into();
        let error = Record::parse(json.to_string().as_bytes(), "s3://b/dagsync.json").unwrap_err().to_string();
        assert!(error.contains("s3://b/dagsync.json") && error.contains("update"), "{error}");
    }

    #[test]
    fn garbage_is_no_record() {
        for bad in ["", "<html>", "{}", "[1]", r#"{"format":1}"#, r#"{"format":1,"version":"sha256:00"}"#] {
            assert_eq!(Record::parse(bad.as_bytes(), "x").unwrap_err().kind(), ErrorKind::Corrupt, "{bad}");
        }
    }
}
