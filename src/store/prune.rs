//! Removing old versions, but none that a task may still import from.

use std::collections::BTreeSet;
use std::os::fd::AsFd;
use std::path::Path;
use std::time::{Duration, SystemTime};

use dagsync_core::fs::{self, Folder};
use dagsync_core::{ErrorKind, Interrupt, Result, Version};
use rustix::fs::FlockOperation;
use rustix::io::Errno;

use super::names::WORKTREES;
use super::sweep::DOOMED_STAYS;
use super::{FolderName, State, Store, StoreLock, warn_of};

/// Twice as long as an NFS client believes what it knows of a link (`acregmax`, `acdirmax`).
const NETWORK_AGE: Duration = Duration::from_secs(120);

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
        old.into_iter()
            .filter(|(retired, name)| self.is_old(*retired, now) && !self.pinned.contains(&name.version()))
            .map(|(_, name)| name.clone())
            .collect()
    }

    /// A clock that went backwards makes everything young: better kept too long than removed too early.
    fn is_old(&self, retired: SystemTime, now: SystemTime) -> bool {
        now.duration_since(retired).is_ok_and(|age| age >= self.age)
    }
}

impl Store {
    /// Removes the versions that `policy` does not keep; returns them.
    pub fn prune(
        &self,
        lock: &StoreLock,
        state: &mut State,
        policy: &KeepPolicy,
        now: SystemTime,
        interrupt: &Interrupt,
    ) -> Result<Vec<FolderName>> {
        lock.check()?;
        let mut removed = Vec::new();
        let policy = &KeepPolicy { age: policy.age.max(self.least_age()), ..policy.clone() };
        // Readers follow the link, whoever turned it.
        let current = self.current()?;
        for name in policy.doomed(state, now) {
            if current.as_ref() == Some(&name) || self.is_in_use(&name) {
                continue;
            }
            interrupt.check("prune")?;
            // One that cannot be removed must not keep the others.
            match self.remove_folder(lock, &name, interrupt) {
                Ok(()) => {
                    state.folders.remove(&name);
                    removed.push(name);
                }
                Err(error) if error.kind() == ErrorKind::Locked => return Err(error),
                Err(error) => tracing::warn!(folder = %name, %error, "an old version cannot be removed"),
            }
        }
        if self.prune_git_sync(lock, state, policy, now, interrupt)? || !removed.is_empty() {
            self.save_state(lock, state);
        }
        Ok(removed)
    }

    /// How long every old version stays, whatever the policy is: readers on other hosts may be told for a while that the
    /// link still leads there.
    fn least_age(&self) -> Duration {
        if self.is_network() { NETWORK_AGE } else { Duration::ZERO }
    }

    /// Removes the trees that git-sync left, when they are old; says whether there was one.
    fn prune_git_sync(
        &self,
        lock: &StoreLock,
        state: &mut State,
        policy: &KeepPolicy,
        now: SystemTime,
        interrupt: &Interrupt,
    ) -> Result<bool> {
        let link = fs::resolve(&self.link_path())?;
        let old: Vec<String> = state
            .git_sync
            .iter()
            .filter(|(_, since)| policy.is_old(***since, now))
            .map(|(name, _)| name.clone())
            .collect();
        let mut some = false;
        for name in old {
            let tree = self.root.join(WORKTREES).join(&name);
            if link == fs::resolve(&tree)? || is_locked(&tree) {
                continue;
            }
            interrupt.check("prune")?;
            match self.take_out_of_sight(lock, &tree, interrupt) {
                Ok(doomed) => {
                    warn_of(fs::remove_tree(&doomed, interrupt), DOOMED_STAYS);
                    tracing::info!(folder = %tree.display(), "removed an old tree of git-sync");
                }
                Err(error) => tracing::warn!(%error, "an old tree of git-sync cannot be removed"),
            }
            // One that cannot be removed is tried again by the next process, not every minute.
            state.git_sync.remove(&name);
            some = true;
        }
        Ok(some)
    }

    /// Over NFS an exclusive lock needs a descriptor that may write, which a folder's may not, and a folder's lock is
    /// not seen by other hosts: there the manifest is what to hold.
    fn is_in_use(&self, name: &FolderName) -> bool {
        let manifest = std::fs::File::options().read(true).write(true).open(self.manifest_path(&name.version()));
        // A version whose lock cannot be asked for is kept: better too long than removed under a task.
        is_locked(&self.folder_path(name)) || manifest.is_ok_and(|file| try_lock(&file).is_err())
    }
}

/// Whether somebody holds a lock on a folder.
fn is_locked(folder: &Path) -> bool {
    Folder::open(folder).is_ok_and(|folder| try_lock(&folder) == Err(Errno::WOULDBLOCK))
}

fn try_lock(fd: &impl AsFd) -> Result<(), Errno> {
    rustix::fs::flock(fd, FlockOperation::NonBlockingLockExclusive)
}
