//! The manifest of a DAG tree and its version: the SHA-256 of what `sha256sum` prints for the sorted files.
//!
//! By hand, in any container with coreutils and findutils:
//!
//! ```text
//! find -L . \( -name .git -o -name '*.pyc' -o -name '*.pyo' -o -name '.nfs*' \
//!      -o -type d \( -name __pycache__ -o -name .dagsync -o -name lost+found \) \) -prune \
//!      -o -type f -printf '%P\0' | LC_ALL=C sort -z | xargs -0 -r sha256sum -- | sha256sum
//! ```

use std::fmt;
use std::str::FromStr;

use sha2::{Digest as _, Sha256};

use crate::error::{Error, ErrorKind, Result};
use crate::path::TreePath;

/// A SHA-256 digest; printed as 64 lower-case hex digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest([u8; 32]);

impl Digest {
    /// The digest of `bytes`.
    pub fn of(bytes: impl AsRef<[u8]>) -> Self {
        Self(Sha256::digest(bytes.as_ref()).into())
    }

    /// The 64 hex digits.
    pub fn hex(&self) -> [u8; 64] {
        let mut hex = [0; 64];
        for (pair, byte) in hex.chunks_exact_mut(2).zip(self.0) {
            pair[0] = HEX[usize::from(byte >> 4)];
            pair[1] = HEX[usize::from(byte & 15)];
        }
        hex
    }

    /// The raw 32 bytes.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl From<[u8; 32]> for Digest {
    fn from(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }
}

impl From<Sha256> for Digest {
    fn from(hasher: Sha256) -> Self {
        Self(hasher.finalize().into())
    }
}

impl FromStr for Digest {
    type Err = Error;

    /// Reads exactly 64 lower-case hex digits.
    fn from_str(text: &str) -> Result<Self> {
        parse_hex(text.as_bytes()).map(Self).ok_or_else(|| {
            Error::new(ErrorKind::Corrupt, "read digest", format!("{text:?} is not 64 lower-case hex digits"))
                .permanent()
        })
    }
}

const HEX: &[u8; 16] = b"0123456789abcdef";

/// Not a hex digit.
const BAD: u8 = 0xff;

/// What each byte stands for as a hex digit: a tree has millions of them to read.
const VALUES: [u8; 256] = {
    let mut values = [BAD; 256];
    let mut i = 0;
    while i < 16 {
        values[HEX[i] as usize] = i as u8;
        i += 1;
    }
    values
};

fn parse_hex(text: &[u8]) -> Option<[u8; 32]> {
    if text.len() != 64 {
        return None;
    }
    let mut out = [0; 32];
    let mut seen = 0;
    for (byte, pair) in out.iter_mut().zip(text.chunks_exact(2)) {
        let (high, low) = (VALUES[usize::from(pair[0])], VALUES[usize::from(pair[1])]);
        seen |= high | low;
        *byte = high << 4 | low;
    }
    (seen < 16).then_some(out)
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(std::str::from_utf8(&self.hex()).expect("hex digits are ASCII"))
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The version of a whole DAG tree: `sha256:` and the SHA-256 of its manifest.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Version(Digest);

impl Version {
    const PREFIX: &str = "sha256:";

    /// The 64 hex digits, as they stand in the store's folder names.
    pub fn hex(&self) -> String {
        self.0.to_string()
    }

    /// The first 12 hex digits, for people.
    pub fn short(&self) -> String {
        let mut hex = self.hex();
        hex.truncate(12);
        hex
    }
}

impl From<Digest> for Version {
    fn from(digest: Digest) -> Self {
        Self(digest)
    }
}

impl FromStr for Version {
    type Err = Error;

    /// Reads `sha256:<64 hex digits>` or the digits alone.
    fn from_str(text: &str) -> Result<Self> {
        text.strip_prefix(Self::PREFIX).unwrap_or(text).parse().map(Self).map_err(|_| {
            Error::new(ErrorKind::Config, "read version", format!("{text:?} is not a version"))
                .with_hint("a version is sha256: and 64 lower-case hex digits, as `dagsync hash` prints it")
        })
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", Self::PREFIX, self.0)
    }
}

impl fmt::Debug for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl serde::Serialize for Version {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> serde::Deserialize<'de> for Version {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// One file of a manifest.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Entry {
    /// Where the file is, as a reader sees it (below folders that are symbolic links too).
    pub path: TreePath,
    /// The SHA-256 of its content.
    pub digest: Digest,
}

/// Every file of a tree with its SHA-256, sorted by path bytes, each path once.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Manifest(Vec<Entry>);

/// How one path differs between two manifests.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum ChangeKind {
    /// Only in the second.
    Added,
    /// Only in the first.
    Removed,
    /// In both, with other content.
    Modified,
}

impl ChangeKind {
    /// The stable name used in logs, metrics and JSON.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Added => "added",
            Self::Removed => "removed",
            Self::Modified => "modified",
        }
    }
}

impl fmt::Display for ChangeKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// One difference between two manifests.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Change {
    /// The path that differs.
    pub path: TreePath,
    /// How it differs, seen from the first manifest.
    pub change: ChangeKind,
}

/// What `sha256sum` reads its standard input for.
const STDIN: &str = "-";

impl Manifest {
    /// A manifest from entries in any order.
    ///
    /// # Errors
    /// [`ErrorKind::Refused`] when a path stands twice, or is `-`: `sha256sum` takes that for its standard input, so
    /// the version could not be checked by hand.
    pub fn new(mut entries: Vec<Entry>) -> Result<Self> {
        entries.sort_unstable();
        if entries.iter().any(|e| e.path.as_str() == STDIN) {
            return Err(Error::new(ErrorKind::Refused, "build manifest", "a file in the root is called `-`")
                .with_hint("rename it in the source or leave it out with an exclude glob"));
        }
        match entries.windows(2).find(|pair| pair[0].path == pair[1].path) {
            Some(pair) => {
                Err(Error::new(ErrorKind::Refused, "build manifest", format!("{} stands in it twice", pair[0].path)))
            }
            None => Ok(Self(entries)),
        }
    }

    /// Reads what [`Manifest::to_bytes`] or `sha256sum` wrote: sorted, one `<hex>  <path>` a line.
    ///
    /// # Errors
    /// [`ErrorKind::Corrupt`] with the line's number when a line is malformed, out of order or cut off.
    pub fn parse(bytes: &[u8]) -> Result<Self> {
        let mut entries: Vec<Entry> = Vec::new();
        let mut rest = bytes;
        while !rest.is_empty() {
            let bad = |why: &str| {
                let line = entries.len() + 1;
                Error::new(ErrorKind::Corrupt, "read manifest", format!("line {line} {why}")).permanent()
            };
            let end = rest.iter().position(|&b| b == b'\n').ok_or_else(|| bad("is cut off"))?;
            let line = &rest[..end];
            let (hex, path) = line.split_at_checked(64).ok_or_else(|| bad("is too short"))?;
            let digest = parse_hex(hex).ok_or_else(|| bad("does not start with 64 lower-case hex digits"))?;
            let path = path.strip_prefix(b"  ").ok_or_else(|| bad("lacks the two spaces before the path"))?;
            let path = TreePath::new(path).map_err(|e| bad("has a refused path").with_source(e))?;
            if entries.last().is_some_and(|last| last.path >= path) {
                return Err(bad("is not in byte order of the paths"));
            }
            entries.push(Entry { path, digest: Digest(digest) });
            rest = &rest[end + 1..];
        }
        Ok(Self(entries))
    }

    /// The manifest as `sha256sum` prints it.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.0.iter().map(|e| e.path.as_str().len() + 67).sum());
        for Entry { path, digest } in &self.0 {
            out.extend_from_slice(&digest.hex());
            out.extend_from_slice(b"  ");
            out.extend_from_slice(path.as_str().as_bytes());
            out.push(b'\n');
        }
        out
    }

    /// The version of the tree that this manifest describes.
    pub fn version(&self) -> Version {
        Version(Digest::of(self.to_bytes()))
    }

    /// The entries in byte order of their paths.
    pub fn entries(&self) -> &[Entry] {
        &self.0
    }

    /// How many files there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are no files.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The digest of the file at `path`.
    pub fn get(&self, path: &str) -> Option<&Digest> {
        self.0.binary_search_by(|e| e.path.as_str().cmp(path)).ok().map(|i| &self.0[i].digest)
    }

    /// What must change in `self` to become `other`, in byte order of the paths.
    pub fn diff(&self, other: &Self) -> Vec<Change> {
        use std::cmp::Ordering;
        let (mut left, mut right) = (self.0.iter().peekable(), other.0.iter().peekable());
        let mut changes = Vec::new();
        loop {
            let order = match (left.peek(), right.peek()) {
                (None, None) => return changes,
                (Some(_), None) => Ordering::Less,
                (None, Some(_)) => Ordering::Greater,
                (Some(a), Some(b)) => a.path.cmp(&b.path),
            };
            let a = if order.is_le() { left.next() } else { None };
            let b = if order.is_ge() { right.next() } else { None };
            let change = match (a, b) {
                (Some(a), Some(b)) if a.digest == b.digest => continue,
                (Some(_), Some(_)) => ChangeKind::Modified,
                (Some(_), None) => ChangeKind::Removed,
                (None, _) => ChangeKind::Added,
            };
            let path = a.or(b).expect("one side was taken").path.clone();
            changes.push(Change { path, change });
        }
    }
}

#[cfg(test)]
#[path = "manifest_tests.rs"]
mod tests;
