//! Upper bounds on what a source may bring, so that a mistake or an attack cannot fill a node.

use crate::error::{Error, ErrorKind, Result};
use crate::path::TreePath;

/// Upper bounds on one tree. Exceeding one is an error that names the limit; nothing is published.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Files, links included.
    pub files: u64,
    /// Bytes of all files together.
    pub bytes: u64,
    /// Bytes of one file.
    pub file_bytes: u64,
    /// Bytes of one path.
    pub path_bytes: usize,
    /// Parts of one path.
    pub depth: usize,
}

impl Default for Limits {
    /// 100,000 files, 4 GiB, 1 GiB a file, paths of 1,024 bytes (the longest S3 key) and 64 parts.
    fn default() -> Self {
        Self { files: 100_000, bytes: 4 << 30, file_bytes: 1 << 30, path_bytes: 1024, depth: 64 }
    }
}

impl Limits {
    /// Checks one path's length and depth.
    pub fn check_path(&self, path: &TreePath) -> Result<()> {
        if path.as_str().len() > self.path_bytes {
            return Err(exceeded("limits.path_bytes", self.path_bytes, format!("path {path}")));
        }
        if path.depth() > self.depth {
            return Err(exceeded("limits.depth", self.depth, format!("path {path}")));
        }
        Ok(())
    }

    /// Checks one file's size.
    pub fn check_file(&self, path: &TreePath, bytes: u64) -> Result<()> {
        if bytes > self.file_bytes {
            return Err(exceeded("limits.file_bytes", self.file_bytes, format!("file {path}")));
        }
        Ok(())
    }

    /// Checks the totals of a tree.
    pub fn check_total(&self, files: u64, bytes: u64) -> Result<()> {
        if files > self.files {
            return Err(exceeded("limits.files", self.files, "the number of files".to_owned()));
        }
        if bytes > self.bytes {
            return Err(exceeded("limits.bytes", self.bytes, "the size of the tree".to_owned()));
        }
        Ok(())
    }
}

fn exceeded(setting: &str, limit: impl std::fmt::Display, what: String) -> Error {
    Error::new(ErrorKind::LimitExceeded, "check limits", format!("{what} exceeds {setting} = {limit}"))
        .with_hint("leave files out with an exclude glob or raise that setting")
}
