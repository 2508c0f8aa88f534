//! One writer a store.

use std::fs::File;
use std::io::Write;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

use dagsync_core::fs;
use dagsync_core::{Error, ErrorKind, Result};
use rustix::fs::{FlockOperation, Mode};

use super::Store;

/// The right to write to a store, held until dropped or until the process ends, however it ends.
#[derive(Debug)]
pub struct StoreLock {
    file: File,
    path: PathBuf,
}

impl Store {
    /// Takes the lock, or says who has it.
    ///
    /// # Errors
    /// [`ErrorKind::Locked`] when another process holds it.
    pub fn lock(&self) -> Result<StoreLock> {
        self.create()?;
        let path = self.private("lock");
        let fail = |e| Error::io("open lock", &path, e);
        let file = File::options().read(true).write(true).create(true).truncate(false).open(&path).map_err(fail)?;
        match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(rustix::io::Errno::WOULDBLOCK) => return Err(self.held(&path)),
            Err(e) => return Err(Error::io("lock", &path, e)),
        }
        if self.group_write {
            // Another user's is either shared already, or could not be opened.
            let _ = rustix::fs::fchmod(&file, Mode::from_raw_mode(0o664));
        }
        let lock = StoreLock { file, path };
        lock.check()?;
        lock.sign()?;
        Ok(lock)
    }

    fn held(&self, path: &std::path::Path) -> Error {
        let holder = fs::read(path, 512).ok().flatten().unwrap_or_default();
        let holder = dagsync_core::printable(String::from_utf8_lossy(&holder).trim());
        Error::new(ErrorKind::Locked, "lock store", format!("{} is in use by another dagsync", self.root.display()))
            .with_context("holder", if holder.is_empty() { "unknown" } else { &holder })
    }
}

impl StoreLock {
    /// The operation that errors of [`StoreLock::check`] name.
    pub const CHECK: &str = "check lock";

    /// Whether the lock still is what guards the store: its file may have been replaced, or the lease of a network
    /// file system lost. Asked right before the link is swapped.
    pub fn check(&self) -> Result<()> {
        let fail = |e: std::io::Error| Error::io(Self::CHECK, &self.path, e);
        let lost = |what| Error::new(ErrorKind::Locked, Self::CHECK, format!("{} {what}", self.path.display()));
        let here = std::fs::metadata(&self.path).map_err(fail)?;
        let held = self.file.metadata().map_err(fail)?;
        if (here.dev(), here.ino()) != (held.dev(), held.ino()) {
            return Err(lost("was replaced by another process"));
        }
        rustix::fs::flock(&self.file, FlockOperation::NonBlockingLockExclusive)
            .map_err(|e| lost("was taken over by another process").with_source(std::io::Error::from(e)))
    }

    /// Leaves a line for whoever finds the lock taken.
    fn sign(&self) -> Result<()> {
        let host = rustix::system::uname();
        let line = format!("pid {} on {}\n", std::process::id(), host.nodename().to_string_lossy());
        let write = || -> std::io::Result<()> {
            self.file.set_len(0)?;
            (&self.file).write_all(line.as_bytes())
        };
        write().map_err(|e| Error::io("write lock", &self.path, e))
    }
}
