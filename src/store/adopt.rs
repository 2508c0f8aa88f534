//! Taking over what git-sync left: the tree behind its link is served on, its other trees go when they are old.

use std::path::{Path, PathBuf};
use std::time::SystemTime;

use dagsync_core::fs::{self, Folder};
use dagsync_core::index::{StatIndex, file_system_now};
use dagsync_core::tree::Reading;
use dagsync_core::{Error, ErrorKind, Filter, Interrupt, Limits, Progress, Result, SymlinkPolicy, hash_tree};

use super::names::{VERSIONS, WORKTREES, Worktree, is_old_worktree};
use super::{FolderName, State, Store, StoreLock, warn_of};

/// What the link leads to.
#[derive(Debug)]
pub(super) enum Behind {
    /// There is no link, or nothing behind it.
    Nothing,
    /// A published tree.
    Ours(FolderName),
    /// A tree that git-sync published, or one whose record is lost.
    Unrecorded(Worktree),
    /// A tree of git-sync before version 4.
    Old(PathBuf),
}

impl Store {
    /// What lies behind the link.
    ///
    /// # Errors
    /// [`ErrorKind::Refused`] when that is nothing that dagsync or git-sync published.
    pub(super) fn behind_link(&self) -> Result<Behind> {
        let link = self.link_path();
        // Over NFS this renews what is known of the link, which may be a minute old otherwise.
        drop(link.parent().map(Folder::open));
        let Some(target) = fs::read_link(&link)? else { return Ok(Behind::Nothing) };
        let Some(found) = fs::resolve(&link)? else { return Ok(Behind::Nothing) };
        let root = fs::resolve(&self.root)?.unwrap_or_else(|| self.root.clone());
        let below = found.strip_prefix(root).unwrap_or(Path::new(""));
        if let Some(tree) = Worktree::at(below) {
            let recorded = self.records()?.into_iter().find(|name| name.path() == below);
            return Ok(recorded.map_or(Behind::Unrecorded(tree), Behind::Ours));
        }
        if is_old_worktree(below) {
            return Ok(Behind::Old(found));
        }
        let name = below.strip_prefix(VERSIONS).ok().and_then(Path::to_str).and_then(|name| name.parse().ok());
        name.map(Behind::Ours).ok_or_else(|| {
            let message = format!("{} points to {}, which dagsync did not make", link.display(), target.display());
            Error::new(ErrorKind::Refused, "read store", message).with_hint("move it away or choose another link name")
        })
    }

    /// Makes the tree that the link leads to one of the store's, if it is not: it is hashed as it lies there, so that
    /// it is served on whether or not the source answers. Says whether it did.
    pub fn adopt(&self, lock: &StoreLock, limits: &Limits, interrupt: &Interrupt, progress: &Progress) -> Result<bool> {
        let tree = match self.behind_link()? {
            Behind::Unrecorded(tree) => tree,
            Behind::Old(found) => {
                let link = self.link_path();
                tracing::info!(link = %link.display(), folder = %found.display(), "the link is of git-sync 3: it is replaced after the first sync, and its folder stays");
                return Ok(false);
            }
            _ => return Ok(false),
        };
        let path = self.root.join(tree.path());
        match self.hash_as_it_lies(&path, limits, interrupt, progress) {
            Ok(hashed) if hashed.manifest.is_empty() => {
                tracing::warn!(folder = %path.display(), "the tree behind the link is empty; a fresh one replaces it");
                Ok(false)
            }
            Ok(hashed) => {
                let version = hashed.manifest.version();
                let name = tree.named(version);
                self.replace(lock, &self.manifest_path(&version), &hashed.manifest.to_bytes())?;
                Folder::open(self.private("manifests"))?.sync()?;
                self.record(lock, &name)?;
                warn_of(self.save_index(lock, &name, &hashed.index), "the next check has to read every file");
                tracing::info!(folder = %path.display(), %version, files = hashed.manifest.len(), "adopted the tree behind the link");
                Ok(true)
            }
            Err(error) if matches!(error.kind(), ErrorKind::Cancelled | ErrorKind::Locked) => Err(error),
            Err(error) => {
                tracing::warn!(folder = %path.display(), %error, "the tree behind the link cannot be adopted; a fresh one replaces it");
                Ok(false)
            }
        }
    }

    /// Everything that readers see counts, whatever the globs are: if they leave something out, the first sync brings
    /// another version.
    fn hash_as_it_lies(
        &self,
        path: &Path,
        limits: &Limits,
        interrupt: &Interrupt,
        progress: &Progress,
    ) -> Result<dagsync_core::tree::HashedTree> {
        let (filter, index, symlinks) = (&Filter::default(), &StatIndex::default(), SymlinkPolicy::Skip);
        let now = file_system_now(&self.private("staging")).ok();
        hash_tree(&Folder::open(path)?, &Reading { filter, limits, symlinks, index, now, interrupt, progress })
    }

    /// Notes git-sync's other trees, which are pruned when they are old, and names what stays.
    pub(super) fn note_git_sync(&self, state: &mut State, behind: &Behind, now: SystemTime) -> Result<()> {
        let recorded: Vec<PathBuf> = self.records()?.iter().map(FolderName::path).collect();
        let mut found = Vec::new();
        for entry in self.names_of(WORKTREES)? {
            let below = Path::new(WORKTREES).join(&entry.name);
            let is_current = matches!(behind, Behind::Unrecorded(tree) if tree.path() == below);
            if Worktree::at(&below).is_none() || recorded.contains(&below) || is_current {
                continue;
            }
            if is_git_sync(&self.root.join(&below)) {
                found.extend(entry.name.into_string());
            } else {
                tracing::info!(folder = %self.root.join(below).display(), "neither dagsync's nor git-sync's: it stays");
            }
        }
        state.git_sync.retain(|name, _| found.contains(name));
        for name in found {
            state.git_sync.entry(name).or_insert(now.into());
        }
        let repository = self.root.join(".git");
        if repository.is_dir() {
            tracing::info!(folder = %repository.display(), "git-sync's repository is not needed any more and may be removed");
        }
        Ok(())
    }
}

/// Whether git-sync checked the tree out: its `.git` is a file that leads to the repository in the root.
pub(crate) fn is_git_sync(tree: &Path) -> bool {
    const MAX: u64 = 4096;
    let is_file = std::fs::symlink_metadata(tree.join(".git")).is_ok_and(|found| found.is_file());
    let text = if is_file { fs::read(&tree.join(".git"), MAX).ok().flatten() } else { None };
    let text = text.map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default();
    text.strip_prefix("gitdir:").is_some_and(|path| path.contains(".git/worktrees/"))
}
