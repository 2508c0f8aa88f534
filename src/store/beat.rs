//! Keeps a lock from looking abandoned: as long as the process lives and the volume answers, it says so.

use std::io;
use std::sync::{Arc, Condvar, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use rustix::io::Errno;

use super::lock::HeldFile;

/// Beats in a lease: three may be late.
const BEATS: u32 = 4;
/// Ample for a loop that writes a line.
const STACK: usize = 256 * 1024;

/// One thread a lock, so that no more than one hangs with the volume; ends when dropped.
#[derive(Debug)]
pub(super) struct Beat(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    /// Held while the lock file is written.
    ended: Mutex<bool>,
    wake: Condvar,
    failure: OnceLock<String>,
    last: Mutex<Instant>,
    lease: Duration,
}

impl Beat {
    /// Beats for `held`; nothing with a lease of 0, which nobody waits out.
    pub(super) fn start(held: Arc<HeldFile>, lease: Duration) -> io::Result<Option<Self>> {
        if lease.is_zero() {
            return Ok(None);
        }
        let (ended, wake, failure, last) =
            (Mutex::default(), Condvar::new(), OnceLock::new(), Mutex::new(Instant::now()));
        let shared = Arc::new(Shared { ended, wake, failure, last, lease });
        let run = shared.clone();
        let thread = std::thread::Builder::new().name("lock".to_owned()).stack_size(STACK);
        thread.spawn(move || run.turn(&held, lease / BEATS))?;
        Ok(Some(Self(shared)))
    }

    /// Why the lock is lost, if a beat told.
    pub(super) fn failure(&self) -> Option<&str> {
        self.0.failure.get().map(String::as_str)
    }

    /// Whether none came through for a whole lease, so that another may have taken the lock.
    pub(super) fn is_late(&self) -> bool {
        self.0.last.lock().unwrap_or_else(PoisonError::into_inner).elapsed() > self.0.lease
    }
}

impl Drop for Beat {
    fn drop(&mut self) {
        *self.0.ended.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.0.wake.notify_one();
    }
}

impl Shared {
    fn turn(&self, held: &HeldFile, interval: Duration) {
        let mut ended = self.ended.lock().unwrap_or_else(PoisonError::into_inner);
        for beat in 1.. {
            ended = self
                .wake
                .wait_timeout_while(ended, interval, |ended| !*ended)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
            if *ended {
                return;
            }
            match held.beat(beat) {
                Err(error) if is_final(&error) => {
                    tracing::warn!(%error, "the store's lock could not be kept");
                    let _ = self.failure.set(error.to_string());
                    return;
                }
                Err(error) => {
                    tracing::warn!(%error, "the store's lock could not be renewed; the next beat tries again")
                }
                Ok(()) => *self.last.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now(),
            }
        }
    }
}

/// A full volume does not take the lock away; anything else means that it may be another's.
fn is_final(error: &io::Error) -> bool {
    !matches!(Errno::from_io_error(error), Some(Errno::NOSPC | Errno::DQUOT | Errno::INTR))
}
