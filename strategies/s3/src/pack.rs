//! A pack: small files in one object, so that a cold start is a few large reads instead of thousands of small ones.
//!
//! ```text
//! dagsync-pack 1
//! <64 hex digits of a file's SHA-256> <its size>
//! …
//!                                  an empty line ends the header
//! <the contents, one after another>
//! ```
//!
//! A pack is called after the SHA-256 of its header, so a header proves itself, and each content is proved by the digest
//! that stands for it. Any part of a pack can be read on its own.

use std::collections::HashSet;
use std::fmt::Write as _;

use dagsync_core::{Digest, Error, ErrorKind, Result};

use crate::record::REMOVE;

const MAGIC: &str = "dagsync-pack 1";
/// The most that a file in a pack may have; larger ones are objects of their own.
pub(crate) const MAX_FILE: u64 = 8 << 20;

/// What a pack holds, in the order of its contents.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Header {
    files: Vec<(Digest, u64)>,
    text: String,
}

/// Where a content lies in its pack.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Slice {
    pub(crate) digest: Digest,
    /// From the start of the pack.
    pub(crate) start: u64,
    pub(crate) size: u64,
}

/// Bytes of a pack that are read at once, and what of them is wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Run {
    pub(crate) start: u64,
    pub(crate) end: u64,
    pub(crate) slices: Vec<Slice>,
}

impl Header {
    pub(crate) fn new(files: Vec<(Digest, u64)>) -> Self {
        let mut text = format!("{MAGIC}\n");
        for (digest, size) in &files {
            let _ = writeln!(text, "{digest} {size}");
        }
        text.push('\n');
        Self { files, text }
    }

    /// Reads a header that must be the one of the pack called `id`.
    pub(crate) fn parse(bytes: &[u8], id: &Digest) -> Result<Self> {
        let damaged =
            |why: &str| Error::new(ErrorKind::Corrupt, "read pack", format!("packs/{id}: {why}")).with_hint(REMOVE);
        if Digest::of(bytes) != *id {
            return Err(damaged("its header is not the one that it is called after"));
        }
        let text = std::str::from_utf8(bytes).map_err(|_| damaged("its header is not text"))?;
        let lines =
            text.strip_prefix(MAGIC).and_then(|rest| rest.strip_prefix('\n')).and_then(|r| r.strip_suffix('\n'));
        let file = |line: &str| {
            let (digest, size) = line.split_once(' ')?;
            Some((digest.parse().ok()?, size.parse().ok().filter(|size| *size <= MAX_FILE)?))
        };
        let files = lines.ok_or_else(|| damaged("its header is none"))?.lines().map(file).collect::<Option<_>>();
        Ok(Self { files: files.ok_or_else(|| damaged("a line of its header is malformed"))?, text: text.to_owned() })
    }

    pub(crate) fn id(&self) -> Digest {
        Digest::of(&self.text)
    }

    pub(crate) fn as_bytes(&self) -> &[u8] {
        self.text.as_bytes()
    }

    /// The size of the whole pack.
    pub(crate) fn pack_bytes(&self) -> u64 {
        self.text.len() as u64 + self.files.iter().map(|(_, size)| size).sum::<u64>()
    }

    pub(crate) fn slices(&self) -> impl Iterator<Item = Slice> {
        self.files.iter().scan(self.text.len() as u64, |at, &(digest, size)| {
            let start = *at;
            *at += size;
            Some(Slice { digest, start, size })
        })
    }

    /// What to read for the contents that are `wanted`: neighbours together, up to `most` bytes, over gaps up to `gap`.
    pub(crate) fn runs(&self, wanted: &HashSet<Digest>, gap: u64, most: u64) -> Vec<Run> {
        let mut runs: Vec<Run> = Vec::new();
        for slice in self.slices().filter(|slice| wanted.contains(&slice.digest)) {
            let end = slice.start + slice.size;
            match runs.last_mut() {
                Some(run) if slice.start - run.end <= gap && end - run.start <= most => {
                    run.end = end;
                    run.slices.push(slice);
                }
                _ => runs.push(Run { start: slice.start, end, slices: vec![slice] }),
            }
        }
        runs
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn header(contents: &[&[u8]]) -> Header {
        Header::new(contents.iter().map(|content| (Digest::of(content), content.len() as u64)).collect())
    }

    #[test]
    fn the_format_is_as_documented() {
        let header = header(&[b"abc", b""]);
        let text = "dagsync-pack 1\n\
            ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad 3\n\
            e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855 0\n\n";
        assert_eq!(header.as_bytes(), text.as_bytes());
        assert_eq!(header.pack_bytes(), text.len() as u64 + 3);
        assert_eq!(Header::parse(text.as_bytes(), &header.id()).unwrap(), header);
    }

    #[test]
    fn any_other_header_is_damage() {
        let good = header(&[b"abc", b"de"]);
        for at in 0..good.as_bytes().len() {
            let mut bad = good.as_bytes().to_vec();
            bad[at] ^= 1;
            assert!(Header::parse(&bad, &good.id()).is_err());
            // Also where somebody made it fit.
            let _ = Header::parse(&bad, &Digest::of(&bad));
        }
        for bad in ["", "dagsync-pack 1", "dagsync-pack 2\n\n", "dagsync-pack 1\nxx 3\n\n"] {
            assert!(Header::parse(bad.as_bytes(), &Digest::of(bad)).is_err(), "{bad:?}");
        }
        let huge = format!("dagsync-pack 1\n{} {}\n\n", Digest::of("x"), u64::MAX);
        assert!(Header::parse(huge.as_bytes(), &Digest::of(&huge)).is_err());
    }

    proptest! {
        #[test]
        fn runs_cover_what_is_wanted_and_little_more(
            contents in prop::collection::btree_set(prop::collection::vec(any::<u8>(), 0..50), 1..40),
            mask in any::<u64>(), gap in 0u64..60, most in 1u64..300,
        ) {
            let contents: Vec<_> = contents.iter().map(Vec::as_slice).collect();
            let header = header(&contents);
            let mut pack = header.as_bytes().to_vec();
            contents.iter().for_each(|content| pack.extend_from_slice(content));
            prop_assert_eq!(pack.len() as u64, header.pack_bytes());
            let wanted: HashSet<_> =
                contents.iter().enumerate().filter(|(i, _)| mask >> i & 1 == 1).map(|(_, c)| Digest::of(c)).collect();
            let mut found = HashSet::new();
            for run in header.runs(&wanted, gap, most) {
                prop_assert!(run.end - run.start <= most || run.slices.len() == 1);
                let bytes = &pack[run.start as usize..run.end as usize];
                let mut end = run.start;
                for slice in &run.slices {
                    prop_assert!(slice.start - end <= gap);
                    end = slice.start + slice.size;
                    let at = (slice.start - run.start) as usize;
                    prop_assert_eq!(Digest::of(&bytes[at..at + slice.size as usize]), slice.digest);
                    prop_assert!(found.insert(slice.digest));
                }
                prop_assert_eq!(end, run.end);
            }
            prop_assert_eq!(found, wanted);
        }
    }
}
