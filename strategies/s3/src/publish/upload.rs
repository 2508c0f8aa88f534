//! Uploading what a plan says.

use bytes::{Bytes, BytesMut};
use dagsync_core::fs::Folder;
use dagsync_core::tree::{BUFFER, hash_stream};
use dagsync_core::{Digest, Error, ErrorKind, Interrupt, Result, TreePath, Version, blocking};
use futures::{StreamExt as _, TryStreamExt as _, stream};

use super::plan::Plan;
use super::{Local, Publisher};
use crate::pack::Header;
use crate::published;
use crate::record::{BLOBS, Hex, PACKS, Record};
use crate::requests::{Condition, Content, Wanted};

/// Packs that are in memory at once.
const PACKS_AT_ONCE: usize = 2;
impl Publisher {
    /// Packs and blobs, then the manifest.
    pub(super) async fn upload(&self, local: &Local, plan: &Plan) -> Result<()> {
        self.progress.start("upload", plan.uploads().0);
        let pack = |(header, paths): (Header, Vec<TreePath>)| self.pack(local, header, paths);
        stream::iter(plan.packs.clone()).map(pack).buffer_unordered(PACKS_AT_ONCE).try_collect::<()>().await?;
        let new: Vec<_> =
            plan.blobs.iter().filter(|(digest, ..)| !plan.blobs_there.contains(digest)).cloned().collect();
        let blob = |(digest, path, size): (Digest, TreePath, u64)| self.blob(local, digest, path, size);
        let concurrency = self.requests.bucket.settings.concurrency;
        stream::iter(new).map(blob).buffer_unordered(concurrency).try_collect::<()>().await?;
        let manifest = Bytes::from(local.tree.manifest.to_bytes());
        self.put(&Record::manifest_key(&local.tree.manifest.version()), &manifest).await
    }

    async fn pack(&self, local: &Local, header: Header, paths: Vec<TreePath>) -> Result<()> {
        let folder = local.folder.clone();
        let id = header.id();
        let build = move |interrupt: &Interrupt| {
            let folder = Folder::open(folder)?;
            let mut pack = BytesMut::with_capacity(header.pack_bytes() as usize);
            pack.extend_from_slice(header.as_bytes());
            for (slice, path) in header.slices().zip(&paths) {
                interrupt.check("read")?;
                pack.extend_from_slice(&read(&folder, path, slice.size, &slice.digest)?);
            }
            Ok(pack.freeze())
        };
        let bytes = blocking(&self.requests.interrupt, "read", build).await?;
        self.put(&format!("{PACKS}{id}"), &bytes).await
    }

    /// Writes an object that is called after its content: if it is there, it is right.
    async fn put(&self, name: &str, bytes: &Bytes) -> Result<()> {
        let key = self.requests.location().key(name);
        let for_digest = bytes.clone();
        let digest = blocking(&self.requests.interrupt, "hash", move |_| Ok(Digest::of(&for_digest))).await?;
        self.requests.put(&key, Content::Bytes(bytes), &digest, Condition::Always).await?;
        self.progress.add(1, bytes.len() as u64);
        Ok(())
    }

    async fn blob(&self, local: &Local, digest: Digest, path: TreePath, size: u64) -> Result<()> {
        let (folder, of) = (local.folder.clone(), path.clone());
        let check = move |interrupt: &Interrupt| {
            let mut file = Folder::open(folder)?.file(of.as_str())?;
            let (found, _) = hash_stream(&mut file, &mut vec![0; BUFFER], interrupt)?;
            if found == digest { Ok(()) } else { Err(changed(&of)) }
        };
        blocking(&self.requests.interrupt, "read", check).await?;
        let file = local.folder.join(path.as_path());
        let key = self.requests.location().key(&format!("{BLOBS}{digest}"));
        // A blob of no version may be about to be pruned: written anew, it is young again.
        self.requests.put(&key, Content::File(&file), &digest, Condition::Always).await?;
        self.progress.add(1, size);
        Ok(())
    }

    pub(super) async fn put_record(&self, record: &Record) -> Result<()> {
        let bytes = Bytes::from(Record { moved_at: None, ..record.clone() }.to_bytes());
        let key = self.requests.location().key(&Record::key_of(&record.version));
        self.requests.put(&key, Content::Bytes(&bytes), &Digest::of(&bytes), Condition::Always).await.map(drop)
    }

    /// The record of a version of which nothing is missing.
    pub(super) async fn whole(&self, version: &Version) -> Result<Option<Record>> {
        let record = match published::record(&self.requests, version).await {
            Ok(record) => record,
            Err(e) if matches!(e.kind(), ErrorKind::Changed | ErrorKind::NotFound | ErrorKind::Corrupt) => {
                return Ok(None);
            }
            Err(e) => return Err(e),
        };
        let packs = record.packs.iter().map(|pack| format!("{PACKS}{}", pack.id.0));
        let blobs = record.blobs.iter().map(|Hex(digest)| format!("{BLOBS}{digest}"));
        let parts: Vec<_> = packs.chain(blobs).chain([Record::manifest_key(version)]).collect();
        let count = parts.len();
        let there = self.there(parts.into_iter().map(|name| (name, ())).collect()).await?;
        Ok((there.len() == count).then_some(record))
    }

    /// Those of the named objects that are there, as what was given with their names.
    pub(super) async fn there<T: Send>(&self, named: Vec<(String, T)>) -> Result<Vec<T>> {
        let look = |(name, given): (String, T)| async move {
            let key = self.requests.location().key(&name);
            match self.requests.head(Wanted { key: &key, ..Wanted::default() }).await {
                Ok(_) => Ok(Some(given)),
                Err(e) if e.kind() == ErrorKind::NotFound => Ok(None),
                Err(e) => Err(e),
            }
        };
        let concurrency = self.requests.bucket.settings.concurrency;
        let looks = stream::iter(named).map(look).buffer_unordered(concurrency);
        looks.try_filter_map(|there| async move { Ok(there) }).try_collect().await
    }
}

fn read(folder: &Folder, path: &TreePath, size: u64, digest: &Digest) -> Result<Vec<u8>> {
    use std::io::Read as _;
    let mut bytes = Vec::with_capacity(size as usize);
    let file = folder.file(path.as_str())?;
    file.take(size + 1)
        .read_to_end(&mut bytes)
        .map_err(|e| Error::io("read", folder.path().join(path.as_path()), e))?;
    if Digest::of(&bytes) == *digest { Ok(bytes) } else { Err(changed(path)) }
}

fn changed(path: &TreePath) -> Error {
    Error::new(ErrorKind::Changed, "publish", format!("{path} changed while it was published"))
        .with_hint("nothing was published; publish again when nobody writes to the folder")
}
