//! One writer a store, also across hosts and also when the writer is stopped in the middle of something.
//!
//! The lock is an `flock` on `.dagsync/lock`, whose text says who holds it. It is lost when another takes it: one that
//! got the `flock` because this process died or its host was cut off, or one that put a new file in its place because
//! the text did not change for a whole lease (see [`super::vigil`]). Whoever lost it may find out late: a process that
//! was stopped goes on in the middle of whatever it did. This is why it does no harm then:
//!
//! - What a holder changes in the store, it changes by [`StoreLock::put`], which renames. One end of that rename is
//!   something that the holder made for it alone: a file or folder of a unique name in `.dagsync/staging`, or a link
//!   `<link>.dagsync-new-<random>`. Between making it and renaming stands [`StoreLock::check`].
//! - A successor first makes the lock its own, then removes all of those ([`Store::sweep`]), then does anything else.
//! - So if the old holder made its end before the successor removed them, it is gone and the rename fails, at whatever
//!   moment it comes. If it made it later, the lock was the successor's by then, and the check between finds that out.
//!
//! That covers the link, the trees that appear and those that go (they move into staging), manifests, records, indexes
//! and `state.json`. A tree that the old holder moves while the successor is removing it may arrive in pieces; no link
//! leads to it, its name is taken for the successor's purposes, and the next start forgets it. What a process removes
//! by name are leftovers that it listed before a check, so they are older than any successor and named like nothing of
//! a successor's. What is left: empty folders of the store, which are the same whoever makes them; modes; the cache of
//! a strategy, which may be lost or damaged at any time by contract.

use std::fs::{File, Metadata};
use std::io::Read;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use dagsync_core::{Error, ErrorKind, Interrupt, Result, fs};
use rustix::fs::{FlockOperation, Mode};
use rustix::io::Errno;

use super::Store;
use super::beat::Beat;
use super::moment::Moments;
use super::vigil::{Sight, Vigil};

/// The longest text that a lock file is expected to have.
const TEXT_MAX: u64 = 512;

/// The right to write to a store, held until dropped, until the process ends, however it ends, or until it is lost.
#[derive(Debug)]
pub struct StoreLock {
    path: PathBuf,
    held: Arc<HeldFile>,
    beat: Option<Beat>,
    pub(super) moments: Moments,
}

/// The open lock file and what it says.
#[derive(Debug)]
pub(super) struct HeldFile {
    file: File,
    /// The text without the count that changes.
    claim: String,
    /// Whoever stands by may be on another host, which sees what has left this one.
    is_network: bool,
}

impl Store {
    /// Takes the lock, or says who has it.
    ///
    /// # Errors
    /// [`ErrorKind::Locked`] when another process holds it.
    pub fn lock(&self) -> Result<StoreLock> {
        self.lock_after(&mut Vigil::default(), &Interrupt::never())
    }

    /// As [`Store::lock`], also from a holder that `vigil` has seen silent for a whole lease. Whoever has a lock may know
    /// that what holders before it began cannot be finished any more.
    ///
    /// # Errors
    /// As [`Store::lock`].
    pub fn lock_after(&self, vigil: &mut Vigil, interrupt: &Interrupt) -> Result<StoreLock> {
        if !self.exists() {
            self.create()?;
        }
        let path = self.private("lock");
        let fail = |e: std::io::Error| match Errno::from_io_error(&e) {
            // It is being replaced, or was and this host does not know yet: the next look finds the new one.
            Some(Errno::STALE) => self.changes_hands().with_source(e),
            _ => Error::io("open lock", &path, e),
        };
        let looked = Instant::now();
        look_anew(&path)?;
        let file = File::options().read(true).write(true).create(true).truncate(false).open(&path).map_err(fail)?;
        let lock = match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {
                let claim = self.sign(&file, &path)?;
                self.begin(file, claim, &path)?
            }
            Err(Errno::WOULDBLOCK) => {
                let sight = Sight::of(&file).map_err(fail)?;
                // What this host has open, an NFS client does not replace in one step.
                drop(file);
                if !vigil.is_over(&sight, looked, self.lease) {
                    return Err(self.is_held(&sight));
                }
                self.take_over(&sight, &path)?
            }
            Err(e) => return Err(fail(e.into())),
        };
        vigil.end();
        self.create()?;
        self.sweep(&lock, interrupt)?;
        Ok(lock)
    }

    /// Puts a lock file of its own in the place of one whose holder is silent.
    fn take_over(&self, silent: &Sight, path: &Path) -> Result<StoreLock> {
        let beside = self.new_staging_path();
        let taken = || {
            let file = File::options().read(true).write(true).create_new(true).open(&beside);
            let file = file.map_err(|e| Error::io("create lock", &beside, e))?;
            rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive)
                .map_err(|e| Error::io("lock", &beside, e))?;
            let claim = self.sign(&file, path)?;
            // Another that stands by may have been faster. If it comes after this, what lies beside is gone.
            look_anew(path)?;
            match fs::open(path)?.map(|file| Sight::of(&file)).transpose() {
                Ok(Some(sight)) if sight == *silent => {}
                Ok(Some(sight)) => return Err(self.is_held(&sight)),
                _ => return Err(self.is_held(silent)),
            }
            fs::rename(&beside, path)?;
            Ok((file, claim))
        };
        let taken = taken().inspect_err(|_| drop(fs::remove_file(&beside)));
        let (file, claim) = taken.map_err(|e| if e.is_not_found() { self.is_held(silent) } else { e })?;
        tracing::warn!(holder = silent.holder(), "the holder of the store's lock is silent; this process writes now");
        self.begin(file, claim, path)
    }

    /// From here on the lock is kept.
    fn begin(&self, file: File, claim: String, path: &Path) -> Result<StoreLock> {
        let is_network = fs::is_network(&file);
        let held = Arc::new(HeldFile { file, claim, is_network });
        let beat = Beat::start(held.clone(), self.lease).map_err(|e| Error::io("keep lock", path, e))?;
        let lock = StoreLock { path: path.to_owned(), held, beat, moments: Moments::default() };
        lock.check()?;
        Ok(lock)
    }

    /// Makes a locked file say whose it is; returns the part of the text that stays.
    fn sign(&self, file: &File, path: &Path) -> Result<String> {
        if self.group_write {
            // Another user's is either shared already, or could not be opened.
            let _ = rustix::fs::fchmod(file, Mode::from_raw_mode(0o664));
        }
        let claim = claim(self.lease);
        let text = text(&claim, 0);
        // In this order there is no moment in which the file says nothing.
        let written = file.write_all_at(text.as_bytes(), 0).and_then(|()| file.set_len(text.len() as u64));
        written.and_then(|()| file.sync_data()).map_err(|e| Error::io("write lock", path, e))?;
        Ok(claim)
    }

    fn changes_hands(&self) -> Error {
        let message = format!("the lock of {} changes hands", self.root.display());
        Error::new(ErrorKind::Locked, "lock store", message)
    }

    fn is_held(&self, sight: &Sight) -> Error {
        Error::new(ErrorKind::Locked, "lock store", format!("{} is in use by another dagsync", self.root.display()))
            .with_context("holder", sight.holder())
    }
}

impl StoreLock {
    /// The operation that errors of [`StoreLock::check`] name.
    pub const CHECK: &str = "check lock";

    /// Whether the lock still is what guards the store: its file may have been replaced, or the lease of a network
    /// file system lost.
    ///
    /// # Errors
    /// [`ErrorKind::Locked`] when it is lost.
    pub fn check(&self) -> Result<()> {
        self.moments.pass();
        let fail = |e: std::io::Error| Error::io(Self::CHECK, &self.path, e);
        let lost = |what: &str| Error::new(ErrorKind::Locked, Self::CHECK, format!("{} {what}", self.path.display()));
        if let Some(why) = self.beat.as_ref().and_then(Beat::failure) {
            return Err(lost("could not be kept").with_context("cause", why));
        }
        self.held.lock().map_err(|e| lost("was taken over by another process").with_source(std::io::Error::from(e)))?;
        // Opened each time: over NFS a stat may be a minute old.
        look_anew(&self.path).map_err(|e| lost("cannot be looked at").with_source(e))?;
        let Some(here) = fs::open(&self.path)? else { return Err(lost("is gone")) };
        // A file that the server forgot is no lock.
        let held = self.held.file.metadata().map_err(|e| lost("was taken over by another process").with_source(e))?;
        if held.nlink() == 0 {
            return Err(lost("was taken over by another process"));
        }
        let same = here.metadata().map_err(fail)?;
        let is_same = |a: Metadata, b: Metadata| (a.dev(), a.ino()) == (b.dev(), b.ino());
        // The number of a file that a server forgot may be given to another, which does not say the same.
        let says_so = |text: Vec<u8>| text.starts_with(self.held.claim.as_bytes());
        if !is_same(same, held) || !read(&here).map_err(fail)?.is_none_or(says_so) {
            return Err(lost("was taken over by another process"));
        }
        Ok(())
    }

    /// The only way in which a holder changes what is in the store, see the module's own words: renames `from` to `to`,
    /// one of which lies where a successor removes everything.
    ///
    /// # Errors
    /// As [`StoreLock::check`], also when the rename fails because a successor was here.
    pub(super) fn put(&self, from: &Path, to: &Path) -> Result<()> {
        self.check()?;
        self.moments.pass();
        let moved = fs::rename(from, to);
        if moved.is_err() {
            self.check()?;
        }
        moved
    }

    /// Whether the volume has not let it be renewed for a whole lease.
    pub fn is_late(&self) -> bool {
        self.beat.as_ref().is_some_and(Beat::is_late)
    }

    /// Who holds it, as others see it.
    pub fn holder(&self) -> &str {
        self.held.claim.lines().next().unwrap_or_default()
    }
}

/// A client of NFS that knows a name opens what it knows, also when another host has replaced it and the old file is still
/// open somewhere. Opening its folder first makes the client ask for the name.
fn look_anew(path: &Path) -> Result<()> {
    path.parent().map_or(Ok(()), |parent| fs::Folder::open(parent).map(drop))
}

impl HeldFile {
    fn lock(&self) -> Result<(), Errno> {
        rustix::fs::flock(&self.file, FlockOperation::NonBlockingLockExclusive)
    }

    /// Says for the `beat`th time who holds the lock. Only a holder may: what is not its own any more is not written to.
    pub(super) fn beat(&self, beat: u64) -> std::io::Result<()> {
        self.lock()?;
        self.file.write_all_at(text(&self.claim, beat).as_bytes(), 0)?;
        if self.is_network { self.file.sync_data() } else { Ok(()) }
    }
}

impl Drop for StoreLock {
    fn drop(&mut self) {
        // First, so that nothing is written into a lock that is another's by then.
        self.beat.take();
        let _ = rustix::fs::flock(&self.held.file, FlockOperation::Unlock);
    }
}

/// What nobody else says of a lock.
fn claim(lease: Duration) -> String {
    let host = rustix::system::uname();
    let (pid, host, lease) = (std::process::id(), host.nodename().to_string_lossy(), humantime::format_duration(lease));
    format!("pid {pid} on {host}\nclaim {:016x}\nlease {lease}\n", fastrand::u64(..))
}

/// Of one length whatever the count, so that it can be written over.
fn text(claim: &str, beat: u64) -> String {
    format!("{claim}beat {beat:020}\n")
}

/// What a lock file says; `None` where a lock keeps others from reading, as over SMB.
pub(super) fn read(mut file: &File) -> std::io::Result<Option<Vec<u8>>> {
    let mut text = Vec::new();
    match Read::by_ref(&mut file).take(TEXT_MAX).read_to_end(&mut text) {
        Err(e) if matches!(Errno::from_io_error(&e), Some(Errno::ACCESS | Errno::AGAIN)) => Ok(None),
        read => read.map(|_| Some(text)),
    }
}

#[cfg(test)]
#[path = "lock_tests.rs"]
mod tests;
