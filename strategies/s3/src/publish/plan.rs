//! What to upload: only what the bucket does not have, small files together.

use std::collections::{HashMap, HashSet};

use dagsync_core::{Digest, Error, ErrorKind, Result, TreePath};
use futures::{StreamExt as _, TryStreamExt as _, stream};

use super::{Local, Publisher};
use crate::pack::Header;
use crate::published;
use crate::record::{BLOBS, Hex, Pack, Record};

/// The most bytes of a new pack.
const PACK_BYTES: u64 = 32 << 20;
/// More packs than this are put together, so that a cold start stays a few reads.
const MAX_PACKS: usize = 24;
const AT_ONCE: usize = 4;

/// What to upload, and what the version is made of afterwards.
#[derive(Debug)]
pub(super) struct Plan {
    /// Packs that stay as they are.
    pub(super) kept: Vec<Pack>,
    /// Packs to write: what is in each, where it lies, in order.
    pub(super) packs: Vec<(Header, Vec<TreePath>)>,
    /// Files to write as objects of their own.
    pub(super) blobs: Vec<(Digest, TreePath, u64)>,
    /// Of these, the ones that are in the current version, and in the bucket.
    pub(super) blobs_there: HashSet<Digest>,
    pub(super) manifest_bytes: u64,
}

/// A content of the tree, and a real file that has it.
struct Found {
    path: TreePath,
    size: u64,
}

/// A pack that is there, with how much of it is still of use.
struct Old {
    pack: Pack,
    live: Vec<Digest>,
    live_bytes: u64,
}

impl Plan {
    pub(super) fn uploads(&self) -> (u64, u64) {
        let new = self.blobs.iter().filter(|(digest, ..)| !self.blobs_there.contains(digest));
        let (blobs, blob_bytes) = new.fold((0, 0), |(count, bytes), (_, _, size)| (count + 1, bytes + size));
        let pack_bytes: u64 = self.packs.iter().map(|(header, _)| header.pack_bytes()).sum();
        (blobs + self.packs.len() as u64 + 1, blob_bytes + pack_bytes + self.manifest_bytes)
    }

    pub(super) fn record(&self, local: &Local, now: String) -> Record {
        let manifest = &local.tree.manifest;
        let mut record = Record::new(manifest.version(), manifest.len() as u64, local.tree.bytes, now);
        let new = self.packs.iter().map(|(header, _)| describe(header));
        record.packs = self.kept.iter().copied().chain(new).collect();
        record.blobs = self.blobs.iter().map(|(digest, ..)| Hex(*digest)).collect();
        record.revision.clone_from(&local.revision);
        record
    }
}

fn describe(header: &Header) -> Pack {
    Pack { id: Hex(header.id()), header_bytes: header.as_bytes().len() as u64, bytes: header.pack_bytes() }
}

impl Publisher {
    pub(super) async fn plan(&self, local: &Local, current: Option<&Record>) -> Result<Plan> {
        let contents = contents(local)?;
        let most = self.requests.bucket.settings.pack_below.as_u64();
        let (small, large): (Vec<_>, Vec<_>) = contents.into_iter().partition(|(_, found)| found.size < most);
        let mut small: HashMap<Digest, Found> = small.into_iter().collect();
        let mut kept = Vec::new();
        for old in self.old_packs(current, &small).await? {
            kept.push(old.pack);
            old.live.iter().for_each(|digest| drop(small.remove(digest)));
        }
        let blobs: Vec<_> = large.into_iter().map(|(digest, found)| (digest, found.path, found.size)).collect();
        let blobs_there = self.old_blobs(current, &blobs).await?;
        let manifest_bytes = local.tree.manifest.to_bytes().len() as u64;
        Ok(Plan { kept, packs: pack(small), blobs, blobs_there, manifest_bytes })
    }

    /// What the current version has of them, unless somebody took it away.
    async fn old_blobs(&self, current: Option<&Record>, blobs: &[(Digest, TreePath, u64)]) -> Result<HashSet<Digest>> {
        let old: HashSet<Digest> = current.iter().flat_map(|record| &record.blobs).map(|hex| hex.0).collect();
        let of_use = blobs.iter().map(|(digest, ..)| *digest).filter(|digest| old.contains(digest));
        let named = of_use.map(|digest| (format!("{BLOBS}{digest}"), digest)).collect();
        Ok(self.there(named).await?.into_iter().collect())
    }

    /// The current version's packs that are worth keeping; what is only in others is written again.
    async fn old_packs(&self, current: Option<&Record>, small: &HashMap<Digest, Found>) -> Result<Vec<Old>> {
        let packs: &[Pack] = current.map(|record| record.packs.as_slice()).unwrap_or_default();
        let read = |pack: Pack| async move {
            match published::header(&self.requests, None, &pack).await {
                Ok(header) => Ok(Some((pack, header))),
                // Somebody took it away, or damaged it.
                Err(e) if matches!(e.kind(), ErrorKind::Changed | ErrorKind::Corrupt) => Ok(None),
                Err(e) => Err(e),
            }
        };
        let headers = stream::iter(packs.to_vec()).map(read).buffered(AT_ONCE);
        let headers: Vec<_> = headers.try_filter_map(|header| async move { Ok(header) }).try_collect().await?;
        let mut counted = HashSet::new();
        let old = |(pack, header): (Pack, Header)| {
            let live: Vec<_> =
                header.slices().filter(|s| small.contains_key(&s.digest) && counted.insert(s.digest)).collect();
            let live_bytes = live.iter().map(|slice| slice.size).sum();
            Old { pack, live: live.iter().map(|slice| slice.digest).collect(), live_bytes }
        };
        let old: Vec<_> = headers.into_iter().map(old).collect();
        let new = small.iter().filter(|(digest, _)| !counted.contains(*digest)).map(|(_, found)| found.size).sum();
        Ok(worth_keeping(old, new))
    }
}

/// Keeps packs of which at least half is of use and that are much larger than what is written anyway, as git's geometric
/// repack does it: so there are few, and each byte is written again only a few times.
fn worth_keeping(mut old: Vec<Old>, mut new: u64) -> Vec<Old> {
    old.sort_by_key(|old| std::cmp::Reverse(old.live_bytes));
    let (mut kept, rest): (Vec<_>, Vec<_>) = old
        .into_iter()
        .partition(|old| old.live_bytes * 2 >= old.pack.bytes - old.pack.header_bytes && !old.live.is_empty());
    new += rest.iter().map(|old| old.live_bytes).sum::<u64>();
    while let Some(last) = kept.last()
        && (last.live_bytes < new.saturating_mul(2) && last.live_bytes < PACK_BYTES / 2 || kept.len() > MAX_PACKS)
    {
        new += last.live_bytes;
        kept.pop();
    }
    kept
}

/// Every content once, with a real file that has it: a path behind a link is none.
fn contents(local: &Local) -> Result<HashMap<Digest, Found>> {
    let mut contents = HashMap::new();
    for entry in local.tree.manifest.entries() {
        if let Some((stat, _)) = local.tree.index.get(entry.path.as_str()) {
            contents.entry(entry.digest).or_insert(Found { path: entry.path.clone(), size: stat.size });
        }
    }
    match local.tree.manifest.entries().iter().find(|entry| !contents.contains_key(&entry.digest)) {
        None => Ok(contents),
        Some(entry) => {
            let message = format!("no file of the tree has the content of {}", entry.path);
            Err(Error::new(ErrorKind::Unexpected, "publish", message))
        }
    }
}

/// Packs of the contents, in the order of their paths: what is read together lies together.
fn pack(contents: HashMap<Digest, Found>) -> Vec<(Header, Vec<TreePath>)> {
    let mut contents: Vec<_> = contents.into_iter().collect();
    contents.sort_unstable_by(|(_, a), (_, b)| a.path.cmp(&b.path));
    let (mut packs, mut files, mut paths, mut bytes) = (Vec::new(), Vec::new(), Vec::new(), 0);
    for (digest, found) in contents {
        if bytes + found.size > PACK_BYTES && !files.is_empty() {
            packs.push((Header::new(std::mem::take(&mut files)), std::mem::take(&mut paths)));
            bytes = 0;
        }
        bytes += found.size;
        files.push((digest, found.size));
        paths.push(found.path);
    }
    if !files.is_empty() {
        packs.push((Header::new(files), paths));
    }
    packs
}

#[cfg(test)]
mod tests {
    use super::*;

    fn old(bytes: u64, live_bytes: u64) -> Old {
        let pack = Pack { id: Hex(Digest::of(bytes.to_string())), header_bytes: 0, bytes };
        Old { pack, live: vec![Digest::of("x")], live_bytes }
    }

    fn kept(packs: &[(u64, u64)], new: u64) -> Vec<u64> {
        worth_keeping(packs.iter().map(|&(bytes, live)| old(bytes, live)).collect(), new)
            .iter()
            .map(|o| o.pack.bytes)
            .collect()
    }

    #[test]
    fn small_packs_are_put_together_and_large_ones_stay() {
        assert_eq!(kept(&[(1_000_000, 1_000_000), (10, 10)], 10), [1_000_000]);
        assert_eq!(kept(&[(1_000_000, 1_000_000), (1000, 1000)], 10), [1_000_000, 1000]);
        assert_eq!(kept(&[(1_000_000, 400_000)], 10), [0; 0], "more than half is of no use");
        let large = PACK_BYTES;
        assert_eq!(kept(&[(large, large), (large, large)], large), [large, large]);
    }

    #[test]
    fn a_thousand_small_changes_leave_few_packs() {
        let mut packs = vec![(40_000_000, 40_000_000)];
        let mut written = 0;
        for _ in 0..1000 {
            let before: u64 = packs.iter().map(|(bytes, _)| bytes).sum();
            packs = kept(&packs, 4096).into_iter().map(|bytes| (bytes, bytes)).collect();
            let rewritten = before - packs.iter().map(|(bytes, _)| bytes).sum::<u64>();
            packs.push((rewritten + 4096, rewritten + 4096));
            written += rewritten + 4096;
            assert!(packs.len() <= MAX_PACKS);
        }
        assert!(written < 1000 * 4096 * 12, "each byte is written again only a few times: {written}");
    }
}
