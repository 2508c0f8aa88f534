//! Copies the files of a listing into the staging folder.

use std::fs::File;
use std::io::{Read, Seek};

use crate::error::{Error, Result};
use crate::fs::Folder;
use crate::index::{FileStat, Same};
use crate::interrupt::Interrupt;
use crate::manifest::Digest;
use crate::open_folders::OpenFolders;
use crate::path::TreePath;
use crate::staging::Staging;
use crate::tree::{check_unchanged, hash_stream};
use crate::walk::{Listing, vanished};
use crate::workers;

/// The real files of a tree with their stats and digests.
pub type Hashed = Vec<(TreePath, (FileStat, Digest))>;

/// Where from and where to.
#[derive(Debug)]
pub struct Copy<'a> {
    /// The tree's folder.
    pub root: &'a Folder,
    /// What must not change while a file is read.
    pub same: Same,
    /// Where to.
    pub staging: &'a Staging,
    /// When to stop.
    pub interrupt: &'a Interrupt,
}

impl Copy<'_> {
    /// Stages everything in `listing`. `known` tells the digest of a file that need not be read, if the version before
    /// has it.
    pub fn stage(
        &self,
        listing: &Listing,
        known: impl Fn(&TreePath, &FileStat) -> Option<Digest> + Sync,
    ) -> Result<Hashed> {
        self.staging.progress().start("copy", listing.files.len() as u64);
        for (path, target) in &listing.links {
            self.staging.link(path, target)?;
        }
        let folders = OpenFolders::reading(self.root.again().map_err(vanished)?);
        workers::for_each(&listing.files, self.root.workers(), |(path, stat), buffer| {
            let digest = self.file(&folders, path, stat, known(path, stat), buffer)?;
            Ok((path.clone(), (*stat, digest)))
        })
    }

    fn file(
        &self,
        folders: &OpenFolders,
        path: &TreePath,
        stat: &FileStat,
        known: Option<Digest>,
        buffer: &mut [u8],
    ) -> Result<Digest> {
        let executable = stat.is_executable();
        if let Some(digest) = known
            && self.staging.reuse(path, executable, &digest)?
        {
            return Ok(digest);
        }
        let (folder, name) = path.split();
        let mut file = folders.get(folder).and_then(|folder| folder.file(name)).map_err(vanished)?;
        let failed = |e| vanished(Error::io("read", self.root.path().join(path.as_path()), e));
        if stat.size < buffer.len() as u64 {
            let bytes = fill(&mut file, &mut buffer[..stat.size as usize]).map_err(failed)?;
            check_unchanged(&file, path, stat, self.same, bytes as u64)?;
            let content = &buffer[..bytes];
            return match known {
                Some(_) => self.staging.write_bytes(path, executable, content),
                None => self.staging.reuse_or_write(path, executable, content),
            };
        }
        if known.is_none() && self.staging.replaces(path, stat.size) {
            let (digest, bytes) =
                hash_stream(&mut file, buffer, self.interrupt).map_err(|e| e.with_context("file", path))?;
            check_unchanged(&file, path, stat, self.same, bytes)?;
            if self.staging.reuse(path, executable, &digest)? {
                return Ok(digest);
            }
            file.rewind().map_err(failed)?;
        }
        let mut content = Counted { source: &mut file, bytes: 0 };
        let digest = self.staging.write(path, executable, &mut content)?;
        let bytes = content.bytes;
        check_unchanged(&file, path, stat, self.same, bytes)?;
        Ok(digest)
    }
}

/// Reads until `buffer` is full or the file ends; how much that was.
fn fill(file: &mut File, buffer: &mut [u8]) -> std::io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match file.read(&mut buffer[filled..]) {
            Ok(0) => break,
            Ok(bytes) => filled += bytes,
            Err(e) if e.kind() == std::io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    Ok(filled)
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
