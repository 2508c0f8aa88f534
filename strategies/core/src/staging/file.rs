//! A single file on its way into the staging folder.

use std::fs::File;
use std::io::Write;
use std::sync::Arc;

use sha2::{Digest as _, Sha256};

use super::{NANOS, Staging, second, set_mtime};
use crate::error::{Error, Result};
use crate::fs::Folder;
use crate::index::FileStat;
use crate::manifest::Digest;
use crate::path::TreePath;
use crate::tree;

/// A file that is being written to the staging folder; removed again unless it is finished.
#[derive(Debug)]
pub struct StagedFile {
    pub(super) staging: Staging,
    pub(super) folder: Arc<Folder>,
    pub(super) file: File,
    pub(super) path: TreePath,
    pub(super) hasher: Sha256,
    pub(super) bytes: u64,
    pub(super) finished: bool,
}

impl StagedFile {
    /// Appends to the file.
    pub fn append(&mut self, content: &[u8]) -> Result<()> {
        self.staging.0.interrupt.check("stage")?;
        self.bytes += content.len() as u64;
        self.staging.0.rules.limits.check_file(&self.path, self.bytes)?;
        self.file.write_all(content).map_err(|e| Error::io("write", self.shown(), e))?;
        self.hasher.update(content);
        Ok(())
    }

    /// How much has been appended.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Completes the file and counts it.
    pub fn finish(mut self) -> Result<Digest> {
        // The times that count are those that the volume gives.
        self.staging.settle(&self.file, &self.shown())?;
        let stat = self.outlive_previous(tree::stat_of(&self.file, &self.path)?)?;
        let digest = Digest::from(std::mem::take(&mut self.hasher));
        self.staging.record(self.path.clone(), stat, digest, |counts| {
            counts.written += 1;
            counts.bytes_written += stat.size;
        })?;
        self.finished = true;
        Ok(digest)
    }

    /// Python takes bytecode for fresh when mtime in whole seconds and size are equal, so a changed file must be at
    /// least a second younger than the one it replaces, also when both were written within one second.
    fn outlive_previous(&self, stat: FileStat) -> Result<FileStat> {
        let Some(snapshot) = &self.staging.0.previous else { return Ok(stat) };
        let Some((before, _)) = snapshot.index.get(self.path.as_str()) else { return Ok(stat) };
        if second(stat.mtime) > second(before.mtime) {
            return Ok(stat);
        }
        let mtime = (second(before.mtime) + 1) * NANOS;
        set_mtime(&self.file, mtime).map_err(|e| Error::io("set time", self.shown(), e))?;
        Ok(FileStat { mtime, ..stat })
    }

    fn shown(&self) -> std::path::PathBuf {
        self.folder.path().join(self.path.split().1)
    }
}

impl Drop for StagedFile {
    fn drop(&mut self) {
        if !self.finished {
            let _ = self.folder.unlink(self.path.split().1);
        }
    }
}
