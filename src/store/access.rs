//! Who may write to a store: one user, or with `group_write` all users of a group, such as the containers of a pod that
//! run with different user ids.

use std::os::unix::fs::MetadataExt;
use std::path::Path;

use dagsync_core::fs::{self, Folder};
use dagsync_core::{Error, Interrupt, Result};
use rustix::io::Errno;

use super::{PRIVATE, Store, make_folder};

impl Store {
    /// Lets the group write to the store's own folders and to `trees`.
    pub(super) fn share(&self, trees: &Path) -> Result<()> {
        let cache = self.private("cache");
        if fs::Folder::open(&cache)?.stat(".")?.mode & 0o020 == 0 {
            // What a strategy made before is not the group's; it is made again.
            fs::remove_tree(&cache, &Interrupt::never())?;
            make_folder(&cache)?;
        }
        let link = self.link_path();
        let own = ["", "manifests", "indexes", "worktrees", "staging", "cache"].map(|name| self.private(name));
        let around = [&self.root, link.parent().unwrap_or(&self.root), trees];
        own.iter().map(std::path::PathBuf::as_path).chain(around).try_for_each(share_folder)
    }

    /// Adds to a refused file operation whose the store is.
    pub(crate) fn explain(&self, error: Error) -> Error {
        let is_refused = [Errno::ACCESS, Errno::PERM].map(|e| Some(e.raw_os_error())).contains(&error.raw_os_error());
        let owner = [PRIVATE, ""].iter().find_map(|name| std::fs::metadata(self.root.join(name)).ok());
        let user = rustix::process::geteuid().as_raw();
        match owner.map(|found| found.uid()).filter(|owner| is_refused && *owner != user) {
            Some(owner) if user == 0 => error.with_hint(format!(
                "{} belongs to user {owner}, and its volume does not let root in (root_squash): run as that user",
                self.root.display()
            )),
            Some(owner) => error.with_hint(format!(
                "{} belongs to user {owner} and this is user {user}: run both as one user, or in one group with \
                 group_write set for both",
                self.root.display()
            )),
            None => error,
        }
    }
}

/// Of another user's folder only that user can change the mode; what does not work there says so when it is tried.
pub(super) fn share_folder(path: &Path) -> Result<()> {
    let folder = Folder::open(path)?;
    if folder.stat(".")?.mode & 0o070 != 0o070 {
        let _ = folder.share();
    }
    Ok(())
}
