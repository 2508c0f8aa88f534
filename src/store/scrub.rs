//! Checking what was published: an edited, deleted or added file is found and named.

use std::path::PathBuf;

use dagsync_core::fs::Folder;
use dagsync_core::index::{StatIndex, file_system_now};
use dagsync_core::tree::Reading;
use dagsync_core::{
    Change, ChangeKind, Error, ErrorKind, Filter, HashedTree, Interrupt, Limits, Progress, Result, SymlinkPolicy,
    hash_tree,
};

use super::{FolderName, Store};

/// How thoroughly a version is checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ScrubMode {
    /// Files whose stat proves that they did not change are not read.
    Stat,
    /// Every file is read.
    Full,
}

impl ScrubMode {
    /// The name used in logs and metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Stat => "stat",
            Self::Full => "full",
        }
    }
}

/// What a check found.
#[derive(Debug, Clone)]
pub struct ScrubReport {
    /// The folder that was checked.
    pub folder: FolderName,
    /// Where it lies.
    pub path: PathBuf,
    /// How it differs from its manifest; empty when it is good.
    pub changes: Vec<Change>,
    /// How many files it should have.
    pub files: u64,
    /// Bytes of the files it has.
    pub bytes: u64,
    /// Files that had to be read.
    pub files_read: u64,
}

impl Store {
    /// Checks the version in the folder `name`. Writes nothing but that version's index.
    ///
    /// # Errors
    /// [`ErrorKind::Corrupt`] when the manifest is missing or damaged, so that nothing can be said.
    pub fn scrub(
        &self,
        name: &FolderName,
        mode: ScrubMode,
        filter: &Filter,
        limits: &Limits,
        interrupt: &Interrupt,
        progress: &Progress,
    ) -> Result<ScrubReport> {
        let expected = self.manifest(&name.version)?.ok_or_else(|| {
            let message = format!("{} is missing", self.manifest_path(&name.version).display());
            Error::new(ErrorKind::Corrupt, "scrub", message).with_hint("the next sync writes it anew")
        })?;
        let path = self.folder_path(name);
        let index_path = self.index_path(name);
        let index = if mode == ScrubMode::Stat { StatIndex::load(&index_path) } else { StatIndex::default() };
        let now = file_system_now(&self.private("staging"))?;
        // What readers see counts, so nothing but the caches that Python writes is left out of the check.
        let everything = Filter::default();
        let symlinks = SymlinkPolicy::Skip;
        let reading =
            Reading { filter: &everything, limits, symlinks, index: &index, now: Some(now), interrupt, progress };
        let tree = hash_tree(&Folder::open(&path)?, &reading)?;
        let mut changes = expected.diff(&tree.manifest);
        changes.retain(|change| !is_behind_a_link(change, &tree, filter));
        if changes.is_empty() && tree.files_read > 0 {
            tree.index.save(&index_path)?;
        }
        let (files, bytes, files_read) = (expected.len() as u64, tree.bytes, tree.files_read);
        Ok(ScrubReport { folder: name.clone(), path, changes, files, bytes, files_read })
    }
}

/// A link to a folder may show files under names that the globs leave out; they are no addition.
pub(crate) fn is_behind_a_link(change: &Change, tree: &HashedTree, filter: &Filter) -> bool {
    change.change == ChangeKind::Added
        && !filter.keeps(change.path.as_str())
        && tree.index.get(change.path.as_str()).is_none()
}
