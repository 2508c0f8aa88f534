//! Copies the files of a listing into the staging folder.

use std::io::{Read, Seek};

use dagsync_core::fs::Folder;
use dagsync_core::index::{FileStat, Same};
use dagsync_core::tree::{check_unchanged, hash_stream, open_unchanged};
use dagsync_core::walk::Listing;
use dagsync_core::{Digest, Error, Interrupt, Result, Staging, TreePath, workers};

/// A file up to this size is read once, into memory; a larger one that may be the same as before is hashed first.
const IN_MEMORY: u64 = 1 << 20;

/// The real files of a tree with their stats and digests.
pub(crate) type Hashed = Vec<(TreePath, (FileStat, Digest))>;

/// Where from and where to.
#[derive(Debug)]
pub(crate) struct Copy<'a> {
    pub(crate) root: &'a Folder,
    /// What must not change while a file is read.
    pub(crate) same: Same,
    pub(crate) staging: &'a Staging,
    pub(crate) interrupt: &'a Interrupt,
}

impl Copy<'_> {
    /// Stages everything in `listing`. `known` tells the digest of a file that need not be read, if the version before
    /// has it.
    pub(crate) fn stage(
        &self,
        listing: &Listing,
        known: impl Fn(&TreePath, &FileStat) -> Option<Digest> + Sync,
    ) -> Result<Hashed> {
        self.staging.progress().start("copy", listing.files.len() as u64);
        for (path, target) in &listing.links {
            self.staging.link(path, target)?;
        }
        workers::for_each(&listing.files, self.root.workers(), |(path, stat), buffer| {
            let digest = self.file(path, stat, known(path, stat), buffer)?;
            Ok((path.clone(), (*stat, digest)))
        })
    }

    fn file(&self, path: &TreePath, stat: &FileStat, known: Option<Digest>, buffer: &mut [u8]) -> Result<Digest> {
        let executable = stat.is_executable();
        if let Some(digest) = known
            && self.staging.reuse(path, executable, &digest)?
        {
            return Ok(digest);
        }
        let mut file = open_unchanged(self.root, path, stat, self.same)?;
        if stat.size <= IN_MEMORY {
            let mut content = Vec::with_capacity(stat.size as usize + 1);
            let read = (&mut file).take(stat.size + 1).read_to_end(&mut content);
            let bytes = read.map_err(|e| Error::io("read", self.root.path().join(path.as_path()), e))?;
            check_unchanged(&file, path, stat, self.same, bytes as u64)?;
            return match known {
                Some(_) => self.staging.write_bytes(path, executable, &content),
                None => self.staging.reuse_or_write(path, executable, &content),
            };
        }
        if known.is_none() && self.staging.replaces(path, stat.size) {
            let (digest, bytes) =
                hash_stream(&mut file, buffer, self.interrupt).map_err(|e| e.with_context("file", path))?;
            check_unchanged(&file, path, stat, self.same, bytes)?;
            if self.staging.reuse(path, executable, &digest)? {
                return Ok(digest);
            }
            file.rewind().map_err(|e| Error::io("read", path.as_path(), e))?;
        }
        let mut content = Counted { source: &mut file, bytes: 0 };
        let digest = self.staging.write(path, executable, &mut content)?;
        let bytes = content.bytes;
        check_unchanged(&file, path, stat, self.same, bytes)?;
        Ok(digest)
    }
}

/// Counts what is read.
struct Counted<R> {
    source: R,
    bytes: u64,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let read = self.source.read(buffer)?;
        self.bytes += read as u64;
        Ok(read)
    }
}
