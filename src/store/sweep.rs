//! Removing what is in the store: what earlier holders left unfinished, what was never current, and single versions.

use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use dagsync_core::fs::{self, Folder};
use dagsync_core::{Interrupt, Result};

use super::names::WORKTREES;
use super::{FolderName, FolderState, State, Store, StoreLock, warn_of};

pub(super) const DOOMED_STAYS: &str = "a removed version stays in staging until the next start";

impl Store {
    /// Removes what earlier holders were about to move into the store, so that they cannot any more.
    pub(super) fn sweep(&self, lock: &StoreLock, interrupt: &Interrupt) -> Result<()> {
        let link = self.link_path();
        let home = link.parent().unwrap_or(&self.root);
        let prefix = link.file_name().map(|name| fs::with_suffix(Path::new(name), fs::BESIDE_LINK)).unwrap_or_default();
        let staging = self.private("staging");
        let (drafts, mut links) = (Folder::open(&staging)?.names()?, Folder::open(home)?.names()?);
        links.retain(|entry| entry.name.as_bytes().starts_with(prefix.as_os_str().as_bytes()));
        // What was listed while the lock is this process's is nobody's who took it later.
        lock.check()?;
        for entry in drafts {
            // Somebody else's file may be in it, which only a person can remove.
            warn_of(fs::remove_tree(&staging.join(entry.name), interrupt), "a staging folder stays");
        }
        links.into_iter().try_for_each(|entry| fs::remove_file(&home.join(entry.name)))
    }

    /// A folder that the state does not know and the link does not name was complete but never current: nobody reads it.
    /// If the state could not be saved, it may have been current; on another host somebody may still be told so.
    pub(super) fn forget_unpublished(
        &self,
        lock: &StoreLock,
        state: &mut State,
        current: Option<&FolderName>,
        now: SystemTime,
        interrupt: &Interrupt,
    ) -> Result<()> {
        let on_disk = self.folders()?;
        for name in on_disk.iter().filter(|name| Some(*name) != current) {
            if state.folders.contains_key(name) {
                continue;
            }
            if self.is_network() {
                state.folders.insert(name.clone(), FolderState::retired(now));
                continue;
            }
            warn_of(self.remove_folder(lock, name, interrupt), "a version that was never current stays");
        }
        state.folders.retain(|name, _| on_disk.contains(name));
        Ok(())
    }

    pub(super) fn remove_folder(&self, lock: &StoreLock, name: &FolderName, interrupt: &Interrupt) -> Result<()> {
        let doomed = self.take_out_of_sight(lock, &self.folder_path(name), interrupt)?;
        let is_last = !self.folders()?.iter().any(|other| other.version() == name.version());
        let index = [(self.index_path(name), "index")];
        let record = name.is_worktree().then(|| (self.record_path(name), "record"));
        let manifest = is_last.then(|| (self.manifest_path(&name.version()), "manifest"));
        for (path, kind) in index.into_iter().chain(record).chain(manifest) {
            unless_gone(lock.put(&path, &doomed.join(kind)))?;
        }
        warn_of(fs::remove_tree(&doomed, interrupt), DOOMED_STAYS);
        Ok(())
    }

    /// Moves a tree to staging before it is removed, so that a reader sees all of it or nothing. What cannot be removed
    /// then lies there until the next start; for the store it is gone.
    pub(super) fn take_out_of_sight(&self, lock: &StoreLock, tree: &Path, interrupt: &Interrupt) -> Result<PathBuf> {
        let doomed = self.new_staging_path();
        lock.moments.pass();
        fs::create_folders(&doomed)?;
        let (home, name) = (tree.parent().unwrap_or(&self.root), tree.file_name().unwrap_or_default());
        let moved = Folder::open(home).and_then(|home| home.folder(&name.to_string_lossy())).and_then(|folder| {
            lock.check()?;
            // Not fatal: where the group may write, the folder may be another user's.
            let _ = folder.chmod(0o755);
            lock.put(tree, &doomed.join("tree"))
        });
        if let Err(error) = unless_gone(moved) {
            warn_of(fs::remove_tree(&doomed, interrupt), "a staging folder stays");
            return Err(error);
        }
        if home.parent() == Some(&self.root.join(WORKTREES)) {
            // The folder of a copy; that another is in it is fine.
            let _ = std::fs::remove_dir(home);
        }
        Ok(doomed)
    }
}

/// That something to be removed is not there is fine.
fn unless_gone(result: Result<()>) -> Result<()> {
    result.or_else(|error| if error.is_not_found() { Ok(()) } else { Err(error) })
}
