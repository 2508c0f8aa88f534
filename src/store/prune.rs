//! Removing old versions, but none that a task may still import from.

use std::collections::BTreeSet;
use std::time::{Duration, SystemTime};

use dagsync_core::fs::Folder;
use dagsync_core::{Interrupt, Result, Version};
use rustix::fs::FlockOperation;

use super::{FolderName, State, Store, StoreLock};

/// Which old versions stay: the newest `versions`, all that were current within `age`, all `pinned`, and all on whose
/// folder or manifest somebody holds a shared `flock`, as `flock -s /dags/current command` does.
#[derive(Debug, Clone)]
pub struct KeepPolicy {
    /// The newest so many, the current one included.
    pub versions: usize,
    /// All that were current within this time.
    pub age: Duration,
    /// Never removed.
    pub pinned: BTreeSet<Version>,
}

impl KeepPolicy {
    /// The folders that may go, oldest first.
    fn doomed(&self, state: &State, now: SystemTime) -> Vec<FolderName> {
        let mut old: Vec<_> = state.folders.iter().filter_map(|(name, f)| Some((f.retired_at?, name))).collect();
        old.sort_unstable();
        let spare = old.len().saturating_sub(self.versions.saturating_sub(1));
        old.truncate(spare);
        // A clock that went backwards makes everything young: better kept too long than removed too early.
        let is_old = |retired: SystemTime| now.duration_since(retired).is_ok_and(|age| age >= self.age);
        old.into_iter()
            .filter(|(retired, name)| is_old(*retired) && !self.pinned.contains(&name.version))
            .map(|(_, name)| name.clone())
            .collect()
    }
}

impl Store {
    /// Removes the versions that `policy` does not keep; returns them.
    pub fn prune(
        &self,
        _lock: &StoreLock,
        state: &mut State,
        policy: &KeepPolicy,
        now: SystemTime,
        interrupt: &Interrupt,
    ) -> Result<Vec<FolderName>> {
        let mut removed = Vec::new();
        // Readers follow the link, whoever turned it.
        let current = self.current()?;
        for name in policy.doomed(state, now) {
            if current.as_ref() == Some(&name) || self.is_held(&name) {
                continue;
            }
            interrupt.check("prune")?;
            // One that cannot be removed must not keep the others.
            match self.remove_folder(&name, interrupt) {
                Ok(()) => {
                    state.folders.remove(&name);
                    removed.push(name);
                }
                Err(error) => tracing::warn!(folder = %name, %error, "an old version cannot be removed"),
            }
        }
        if !removed.is_empty() {
            self.save_state(state);
        }
        Ok(removed)
    }

    /// Over NFS an exclusive lock needs a descriptor that may write, which a folder's may not, and a folder's lock is
    /// not seen by other hosts: there the manifest is what to hold.
    fn is_held(&self, name: &FolderName) -> bool {
        let try_lock = |fd: &dyn std::os::fd::AsFd| rustix::fs::flock(fd, FlockOperation::NonBlockingLockExclusive);
        let folder = Folder::open(self.folder_path(name)).map(|folder| try_lock(&folder));
        let manifest = std::fs::File::options().read(true).write(true).open(self.manifest_path(&name.version));
        // A version whose lock cannot be asked for is kept: better too long than removed under a task.
        matches!(folder, Ok(Err(rustix::io::Errno::WOULDBLOCK))) || manifest.is_ok_and(|file| try_lock(&file).is_err())
    }
}
