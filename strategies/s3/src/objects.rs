//! What is known of objects: the SHA-256 of their content by key, ETag and size, so that an unchanged object is not
//! fetched again.
//!
//! The file holds the objects of the last tree only, so it is as bounded as a tree. It is a cache: when it is damaged it
//! is ignored.

use std::fmt::Write as _;
use std::path::Path;

use dagsync_core::{Digest, Result, fs};

use crate::listing::Object;

const HEADER: &str = "dagsync-objects 1\n";
/// A checksum in hex and a line break.
const CHECKSUM: usize = 65;
const MAX_BYTES: u64 = 256 << 20;

/// What is known of one object.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Known {
    path: Box<str>,
    etag: Box<str>,
    size: u64,
    /// Empty where the listing told none.
    version: Box<str>,
    digest: Digest,
}

/// What is known of the objects of a tree, sorted by path.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Objects(Vec<Known>);

impl Objects {
    /// Reads the file; empty when it is missing, damaged or of another place.
    pub(crate) fn load(path: &Path, place: &str) -> Self {
        let bytes = fs::read(path, MAX_BYTES).ok().flatten();
        bytes.and_then(|bytes| Self::decode(&bytes, place)).unwrap_or_default()
    }

    /// Writes the file in one step.
    pub(crate) fn save(&self, path: &Path, place: &str) -> Result<()> {
        fs::write_atomic(path, self.encode(place).as_bytes())
    }

    /// The objects of a listing with their digests.
    pub(crate) fn of(objects: &[Object], digests: &[Option<Digest>]) -> Self {
        let known = |(object, digest): (&Object, &Option<Digest>)| {
            let version = object.version.clone().unwrap_or_default();
            let Object { path, etag, size, .. } = object;
            Some(Known { path: path.as_str().into(), etag: etag.clone(), size: *size, version, digest: (*digest)? })
        };
        Self(objects.iter().zip(digests).filter_map(known).collect())
    }

    /// The digest of an object that is as it was.
    pub(crate) fn get(&self, object: &Object) -> Option<Digest> {
        let at = self.0.binary_search_by(|known| (*known.path).cmp(object.path.as_str())).ok()?;
        let known = &self.0[at];
        let is_same = known.etag == object.etag
            && known.size == object.size
            && *known.version == *object.version.as_deref().unwrap_or_default();
        is_same.then_some(known.digest)
    }

    fn encode(&self, place: &str) -> String {
        let mut text = format!("{HEADER}{place}\n");
        for Known { path, etag, size, version, digest } in &self.0 {
            let _ = writeln!(text, "{digest} {size}\t{etag}\t{version}\t{path}");
        }
        let checksum = Digest::of(&text);
        let _ = writeln!(text, "{checksum}");
        text
    }

    fn decode(bytes: &[u8], place: &str) -> Option<Self> {
        let text = std::str::from_utf8(bytes).ok()?;
        let (content, checksum) = text.split_at_checked(text.len().checked_sub(CHECKSUM)?)?;
        if checksum.strip_suffix('\n') != Some(&Digest::of(content).to_string()) {
            return None;
        }
        let lines = content.strip_prefix(HEADER)?.strip_prefix(place)?.strip_prefix('\n')?.lines();
        lines.map(decode_line).collect::<Option<_>>().map(Self)
    }
}

fn decode_line(line: &str) -> Option<Known> {
    let (digest, rest) = line.split_once(' ')?;
    let mut fields = rest.splitn(4, '\t');
    let size = fields.next()?.parse().ok()?;
    let (etag, version, path) = (fields.next()?.into(), fields.next()?.into(), fields.next()?.into());
    Some(Known { path, etag, size, version, digest: digest.parse().ok()? })
}

#[cfg(test)]
mod tests {
    use dagsync_core::TreePath;

    use super::*;

    fn object(path: &str, etag: &str, size: u64, version: Option<&str>) -> Object {
        let path = TreePath::new(path).unwrap();
        Object { path, etag: etag.into(), size, version: version.map(Box::from), has_sha256: false }
    }

    fn sample() -> (Vec<Object>, Objects) {
        let objects = vec![object("a b.py", "\"e 1\"", 3, None), object("z/日.py", "\"e-2\"", 9, Some("v1"))];
        let digests = [Some(Digest::of("a")), Some(Digest::of("z"))];
        let known = Objects::of(&objects, &digests);
        (objects, known)
    }

    #[test]
    fn what_is_saved_is_loaded_for_the_same_place_only() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("objects");
        let (objects, known) = sample();
        known.save(&path, "s3://b/p/").unwrap();
        let loaded = Objects::load(&path, "s3://b/p/");
        assert_eq!(loaded, known);
        assert_eq!(loaded.get(&objects[1]), Some(Digest::of("z")));
        assert_eq!(Objects::load(&path, "s3://b/"), Objects::default());
    }

    #[test]
    fn any_change_of_an_object_makes_it_unknown() {
        let (_, known) = sample();
        for other in [
            object("a b.py", "\"e 2\"", 3, None),
            object("a b.py", "\"e 1\"", 4, None),
            object("a b.py", "\"e 1\"", 3, Some("v")),
            object("a", "\"e 1\"", 3, None),
        ] {
            assert_eq!(known.get(&other), None, "{other:?}");
        }
    }

    #[test]
    fn any_damage_is_found() {
        let good = sample().1.encode("x").into_bytes();
        for at in 0..good.len() {
            let mut bad = good.clone();
            bad[at] ^= 1;
            assert_eq!(Objects::decode(&bad, "x"), None, "byte {at}");
            assert_eq!(Objects::decode(&good[..at], "x"), None, "cut at {at}");
        }
    }
}
