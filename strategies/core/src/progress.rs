//! How far long work has come: counters that workers raise and a terminal or a status page reads.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};

/// Shared counters of one piece of work. Cheap to clone; every clone counts into the same place.
#[derive(Debug, Clone, Default)]
pub struct Progress(Arc<State>);

#[derive(Debug, Default)]
struct State {
    phase: Mutex<&'static str>,
    total: AtomicU64,
    done: AtomicU64,
    bytes: AtomicU64,
}

/// A reading of [`Progress`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reading {
    /// What is being done, for example `hash`.
    pub phase: &'static str,
    /// Items to do in this phase; 0 when not known.
    pub total: u64,
    /// Items done in this phase.
    pub done: u64,
    /// Bytes moved or read in this phase.
    pub bytes: u64,
}

impl Progress {
    /// Starts a phase with `total` items (0 when not known).
    pub fn start(&self, phase: &'static str, total: u64) {
        *self.0.phase.lock().unwrap_or_else(PoisonError::into_inner) = phase;
        self.0.done.store(0, Relaxed);
        self.0.bytes.store(0, Relaxed);
        self.0.total.store(total, Relaxed);
    }

    /// Counts finished items and their bytes.
    pub fn add(&self, items: u64, bytes: u64) {
        self.0.done.fetch_add(items, Relaxed);
        self.0.bytes.fetch_add(bytes, Relaxed);
    }

    /// Sets counters that another library counts.
    pub fn set(&self, total: u64, done: u64, bytes: u64) {
        self.0.total.store(total, Relaxed);
        self.0.done.store(done, Relaxed);
        self.0.bytes.store(bytes, Relaxed);
    }

    /// Where the work stands now.
    pub fn read(&self) -> Reading {
        Reading {
            phase: *self.0.phase.lock().unwrap_or_else(PoisonError::into_inner),
            total: self.0.total.load(Relaxed),
            done: self.0.done.load(Relaxed),
            bytes: self.0.bytes.load(Relaxed),
        }
    }
}
