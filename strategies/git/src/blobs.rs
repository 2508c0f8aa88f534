//! What is known of blobs: the SHA-256 of their content, so that an unchanged blob is neither inflated nor hashed.
//!
//! The file holds the blobs of the last tree only, so it is as bounded as a tree. It is a cache: when it is damaged it
//! is ignored.

use std::path::Path;

use dagsync_core::{Digest, Result, fs};
use git2::Oid;

const MAGIC: &[u8] = b"dagsync-blobs 1\n";
const ENTRY: usize = 20 + 32 + 1;
const CHECKSUM: usize = 32;
/// Room for two million blobs.
const MAX_BYTES: u64 = 128 << 20;

/// A pointer file is smaller, see the Git LFS specification (docs/spec.md).
const LFS_MAX: usize = 1024;
const LFS_START: &[u8] = b"version https://git-lfs.github.com/spec/";

/// What is known of one blob.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Blob {
    pub(crate) digest: Digest,
    /// It is a Git LFS pointer, not the content it stands for.
    pub(crate) lfs: bool,
}

/// What is known of the blobs of a tree, sorted by id.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Blobs(Vec<(Oid, Blob)>);

impl Blobs {
    /// Reads the file; empty when it is missing or damaged.
    pub(crate) fn load(path: &Path) -> Self {
        let bytes = fs::read(path, MAX_BYTES).ok().flatten();
        bytes.and_then(|bytes| Self::decode(&bytes)).unwrap_or_default()
    }

    /// Writes the file in one step.
    pub(crate) fn save(&self, path: &Path) -> Result<()> {
        fs::write_atomic(path, &self.encode())
    }

    pub(crate) fn get(&self, id: Oid) -> Option<Blob> {
        self.0.binary_search_by_key(&id, |(known, _)| *known).ok().map(|at| self.0[at].1)
    }

    fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(MAGIC.len() + self.0.len() * ENTRY + CHECKSUM);
        bytes.extend_from_slice(MAGIC);
        for (id, blob) in &self.0 {
            bytes.extend_from_slice(id.as_bytes());
            bytes.extend_from_slice(blob.digest.as_bytes());
            bytes.push(u8::from(blob.lfs));
        }
        let checksum = Digest::of(&bytes);
        bytes.extend_from_slice(checksum.as_bytes());
        bytes
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let (content, checksum) = bytes.split_last_chunk::<CHECKSUM>()?;
        let entries = content.strip_prefix(MAGIC)?;
        if Digest::of(content).as_bytes() != checksum || entries.len() % ENTRY != 0 {
            return None;
        }
        entries.chunks_exact(ENTRY).map(decode_entry).collect()
    }
}

fn decode_entry(entry: &[u8]) -> Option<(Oid, Blob)> {
    let (id, rest) = entry.split_first_chunk::<20>()?;
    let (digest, flags) = rest.split_first_chunk::<32>()?;
    Some((Oid::from_bytes(id).ok()?, Blob { digest: Digest::from(*digest), lfs: flags == [1] }))
}

impl FromIterator<(Oid, Blob)> for Blobs {
    fn from_iter<I: IntoIterator<Item = (Oid, Blob)>>(blobs: I) -> Self {
        let mut blobs: Vec<_> = blobs.into_iter().collect();
        blobs.sort_unstable_by_key(|(id, _)| *id);
        blobs.dedup_by_key(|(id, _)| *id);
        Self(blobs)
    }
}

/// Whether this content is a Git LFS pointer.
pub(crate) fn is_lfs_pointer(content: &[u8]) -> bool {
    content.len() < LFS_MAX && content.starts_with(LFS_START)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Blobs {
        (0..50u8)
            .map(|i| (Oid::from_bytes(&[i; 20]).unwrap(), Blob { digest: Digest::of([i]), lfs: i % 7 == 0 }))
            .collect()
    }

    #[test]
    fn what_is_saved_is_loaded() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("blobs");
        assert_eq!(Blobs::load(&path), Blobs::default());
        sample().save(&path).unwrap();
        assert_eq!(Blobs::load(&path), sample());
    }

    #[test]
    fn any_damage_is_found() {
        let good = sample().encode();
        for at in (0..good.len()).step_by(7) {
            let mut bad = good.clone();
            bad[at] ^= 1;
            assert_eq!(Blobs::decode(&bad), None, "byte {at}");
            assert_eq!(Blobs::decode(&good[..at]), None, "cut at {at}");
        }
    }

    #[test]
    fn lfs_pointers_are_recognised() {
        let pointer = b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n";
        assert!(is_lfs_pointer(pointer));
        assert!(!is_lfs_pointer(b"# version https://git-lfs.github.com/spec/v1"));
        assert!(!is_lfs_pointer(&[pointer.as_slice(), &[b' '; 1024]].concat()));
    }
}
