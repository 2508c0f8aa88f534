//! Checking what was published: an edited, deleted or added file is found and named.

use std::path::PathBuf;

use dagsync_core::fs::Folder;
use dagsync_core::index::{StatIndex, file_system_now};
use dagsync_core::tree::Reading;
use dagsync_core::{
    Change, ChangeKind, Error, ErrorKind, Filter, HashedTree, Interrupt, Limits, Manifest, Progress, Result,
    SymlinkPolicy, hash_tree,
};

use super::adopt::is_git_sync;
use super::{FolderName, Store, StoreLock, warn_of};

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

/// How to check a version.
#[derive(Debug)]
pub struct Scrub<'a> {
    /// How thoroughly.
    pub mode: ScrubMode,
    /// Renew the version's index, with the store's lock; without one nothing is written.
    pub renew_index: Option<&'a StoreLock>,
    /// The configured filter.
    pub filter: &'a Filter,
    /// How large a tree may be.
    pub limits: &'a Limits,
    /// When to stop.
    pub interrupt: &'a Interrupt,
    /// Where to count.
    pub progress: &'a Progress,
}

impl Store {
    /// Checks the version that the link leads to; another process may turn it meanwhile.
    ///
    /// # Errors
    /// As [`Store::scrub`].
    pub fn scrub_current(&self, scrub: &Scrub<'_>) -> Result<Option<ScrubReport>> {
        const TRIES: usize = 3;
        let mut tries = 0..TRIES;
        loop {
            let Some(name) = self.current()? else { return Ok(None) };
            let checked = self.scrub(&name, scrub);
            let is_good = checked.as_ref().is_ok_and(|report| report.changes.is_empty());
            if is_good || tries.next().is_none() || self.current()? == Some(name) {
                return checked.map(Some);
            }
        }
    }

    /// Checks the version in the folder `name`.
    ///
    /// # Errors
    /// [`ErrorKind::Corrupt`] when the manifest is missing or damaged, so that nothing can be said.
    pub fn scrub(&self, name: &FolderName, scrub: &Scrub<'_>) -> Result<ScrubReport> {
        let expected = self.manifest(&name.version())?.ok_or_else(|| {
            let message = format!("{} is missing", self.manifest_path(&name.version()).display());
            Error::new(ErrorKind::Corrupt, "scrub", message).with_hint("the next sync writes it anew")
        })?;
        let path = self.folder_path(name);
        let index_path = self.index_path(name);
        let index = if scrub.mode == ScrubMode::Stat { StatIndex::load(&index_path) } else { StatIndex::default() };
        // Without a clock the new index proves nothing, so it is not kept. A full disk must not stop the check.
        let clock = || file_system_now(&self.private("staging")).ok();
        let now = scrub.renew_index.filter(|lock| lock.check().is_ok()).and_then(|_| clock());
        // What readers see counts, so nothing but the caches that Python writes is left out of the check.
        let everything = Filter::default();
        // What was published passed the limits; links aside, only its size is counted otherwise.
        let limits = &Limits { bytes: u64::MAX, file_bytes: u64::MAX, ..*scrub.limits };
        let Scrub { interrupt, progress, .. } = *scrub;
        let symlinks = SymlinkPolicy::Skip;
        let reading = Reading { filter: &everything, limits, symlinks, index: &index, now, interrupt, progress };
        let tree = hash_tree(&Folder::open(&path)?, &reading)?;
        let changes = differences(&expected, &tree, scrub.filter, is_git_sync(&path));
        if let Some(lock) = scrub.renew_index
            && (changes.is_empty() && tree.files_read > 0 && now.is_some())
        {
            warn_of(self.save_index(lock, name, &tree.index), "the next check has to read every file");
        }
        let (files, bytes, files_read) = (expected.len() as u64, tree.bytes, tree.files_read);
        Ok(ScrubReport { folder: name.clone(), path, changes, files, bytes, files_read })
    }
}

/// How a published tree differs from its manifest. One that was adopted may hold links that do not count; in any other
/// each of those was added.
pub(crate) fn differences(expected: &Manifest, tree: &HashedTree, filter: &Filter, adopted: bool) -> Vec<Change> {
    let mut changes = expected.diff(&tree.manifest);
    changes.retain(|change| !is_behind_a_link(change, tree, filter));
    if adopted {
        return changes;
    }
    changes.extend(tree.idle_links().map(|(path, _)| Change { path: path.clone(), change: ChangeKind::Added }));
    changes
}

/// A link to a folder may show files under names that the globs leave out; they are no addition.
fn is_behind_a_link(change: &Change, tree: &HashedTree, filter: &Filter) -> bool {
    change.change == ChangeKind::Added
        && !filter.keeps(change.path.as_str())
        && tree.index.get(change.path.as_str()).is_none()
}
