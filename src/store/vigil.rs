//! Watching the holder of a store's lock.
//!
//! An `flock` outlives what it is for: the kernel keeps that of a process which was stopped or hangs, and over NFS it
//! even renews its lease. So a holder writes a count into the lock file at every quarter of its lease (see
//! [`super::beat`]), and who stands by takes over from one whose text did not change for a whole lease, by the clock
//! of who stands by alone: no time of another host or of a file system is compared with it.

use std::fs::File;
use std::os::unix::fs::MetadataExt;
use std::time::{Duration, Instant};

use super::lock::read;

/// What one look at a lock file found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Sight {
    device: u64,
    inode: u64,
    /// `None` where it cannot be read: then nobody can tell whether the holder lives, and only its end frees the lock.
    text: Option<Vec<u8>>,
}

impl Sight {
    /// What a lock file says that was opened just now: what an open file says later may be old over NFS.
    pub(super) fn of(file: &File) -> std::io::Result<Self> {
        let found = file.metadata()?;
        Ok(Self { device: found.dev(), inode: found.ino(), text: read(file)? })
    }

    /// Who holds the lock.
    pub(super) fn holder(&self) -> String {
        let text = self.text();
        let holder = dagsync_core::printable(text.lines().next().unwrap_or_default());
        if holder.is_empty() { "unknown".to_owned() } else { holder }
    }

    fn text(&self) -> std::borrow::Cow<'_, str> {
        String::from_utf8_lossy(self.text.as_deref().unwrap_or_default())
    }

    /// How long the holder may be silent, if it says so.
    fn lease(&self) -> Option<Duration> {
        let text = self.text();
        humantime::parse_duration(text.lines().find_map(|line| line.strip_prefix("lease "))?).ok()
    }
}

/// What a process that stands by has seen of the holder of the lock.
#[derive(Debug, Default)]
pub struct Vigil {
    seen: Option<(Sight, Instant)>,
}

impl Vigil {
    /// Who held the lock when it was looked at last.
    pub fn holder(&self) -> Option<String> {
        self.seen.as_ref().map(|(sight, _)| sight.holder())
    }

    /// Notes what was found by a look that began at `looked`; whether that has been so for a whole lease, this process's
    /// or the holder's, whichever is longer. A lease of 0 never ends.
    ///
    /// Counted from the end of the first look to the beginning of the last, for a process may be stopped in any look.
    pub(super) fn is_over(&mut self, sight: &Sight, looked: Instant, lease: Duration) -> bool {
        match &self.seen {
            Some((seen, since)) if seen == sight => {
                let holders = sight.lease().unwrap_or(lease);
                let is_endless = sight.text.is_none() || lease.is_zero() || holders.is_zero();
                !is_endless && looked.saturating_duration_since(*since) > lease.max(holders)
            }
            _ => {
                self.seen = Some((sight.clone(), Instant::now()));
                false
            }
        }
    }

    /// There is nobody to watch any more.
    pub(super) fn end(&mut self) {
        self.seen = None;
    }

    /// As if everything had been seen so much earlier.
    #[cfg(test)]
    pub(super) fn wait(&mut self, time: Duration) {
        if let Some((_, since)) = &mut self.seen {
            *since = since.checked_sub(time).unwrap();
        }
    }
}
