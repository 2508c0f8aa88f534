//! A folder behind a user's process: a volume as far away as an NFS server, which may stop answering.

use std::path::Path;
use std::process::Command;

use rustix::process::Signal;
use tempfile::TempDir;

use super::process::{Process, eventually};

/// A mounted bindfs. Needs root.
#[derive(Debug)]
pub(crate) struct Bindfs {
    folder: TempDir,
    server: Process,
}

impl Bindfs {
    /// A volume that is mounted with `options`, for example `--perms=a-x`.
    pub(crate) fn with(options: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        ["behind", "mnt"].iter().for_each(|name| std::fs::create_dir(at(name)).unwrap());
        // Without caches in the kernel that would answer for a server that is stopped.
        let mut command = Command::new("bindfs");
        command.args(["-f", "-o", "attr_timeout=0,entry_timeout=0"]).args(options).arg(at("behind")).arg(at("mnt"));
        let server = Process::start(&mut command, &at("log"));
        let device = |name: &str| std::os::unix::fs::MetadataExt::dev(&std::fs::metadata(at(name)).unwrap());
        eventually("it is mounted", || (device("mnt") != device("behind")).then_some(()));
        Self { folder, server }
    }

    pub(crate) fn path(&self) -> std::path::PathBuf {
        self.folder.path().join("mnt")
    }

    /// The same files, not through the volume.
    pub(crate) fn behind(&self) -> std::path::PathBuf {
        self.folder.path().join("behind")
    }

    /// Stops answering, or answers again.
    pub(crate) fn hang(&self, hangs: bool) {
        self.server.signal(if hangs { Signal::STOP } else { Signal::CONT });
    }
}

impl Drop for Bindfs {
    fn drop(&mut self) {
        self.hang(false);
        let unmount = |path: &Path| Command::new("umount").arg("--lazy").arg(path).status();
        let _ = unmount(&self.path());
    }
}
