//! A small disk of the test's own.

use std::path::Path;
use std::process::Command;

use tempfile::TempDir;

use super::process::run;

/// A mounted tmpfs.
#[derive(Debug)]
pub(crate) struct Tmpfs(TempDir);

impl Tmpfs {
    /// A disk of so many KiB. Needs root.
    pub(crate) fn of_kib(kib: u32) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let size = format!("size={kib}k,nr_inodes=0");
        run(Command::new("mount").args(["-t", "tmpfs", "-o", &size, "dagsync-test"]).arg(folder.path()));
        Self(folder)
    }

    pub(crate) fn path(&self) -> &Path {
        self.0.path()
    }

    /// Makes it larger.
    pub(crate) fn grow_to_kib(&self, kib: u32) {
        self.remount(&format!("remount,size={kib}k"));
    }

    /// Makes it read-only.
    pub(crate) fn read_only(&self) {
        self.remount("remount,ro");
    }

    fn remount(&self, options: &str) {
        run(Command::new("mount").args(["-o", options]).arg(self.path()));
    }
}

impl Drop for Tmpfs {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("--lazy").arg(self.path()).status();
    }
}
