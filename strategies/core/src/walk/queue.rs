//! What is left to do of a walk, for many threads.

use std::ffi::OsString;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use crate::fs::Folder;

/// Tasks that wait at the most before who lists a folder asks for its files too.
const WAITING: usize = 256;

/// One piece of work, at `path` below the root.
pub(super) struct Task {
    pub(super) parent: Arc<Folder>,
    pub(super) path: Vec<u8>,
    pub(super) work: Work,
}

pub(super) enum Work {
    /// Open the folder of this name in the parent and list it.
    Enter(OsString),
    /// List the parent itself.
    List,
    /// Ask for these names in the parent.
    Stat(Vec<OsString>),
}

/// Tasks that wait. The last in is the first out, so that few folders are open at once.
pub(super) struct Queue {
    state: Mutex<Waiting>,
    changed: Condvar,
}

struct Waiting {
    tasks: Vec<Task>,
    /// Tasks that wait or are worked on.
    open: usize,
    failed: bool,
}

impl Queue {
    pub(super) fn new(first: Task) -> Self {
        let state = Waiting { tasks: vec![first], open: 1, failed: false };
        Self { state: Mutex::new(state), changed: Condvar::new() }
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn push(&self, task: Task) {
        let mut state = self.lock();
        state.tasks.push(task);
        state.open += 1;
        drop(state);
        self.changed.notify_one();
    }

    /// Whether so much waits that who has more to do had better do it.
    pub(super) fn is_full(&self) -> bool {
        self.lock().tasks.len() >= WAITING
    }

    /// The next task; `None` when all is done, or one failed.
    pub(super) fn next(&self) -> Option<Task> {
        let mut state = self.lock();
        loop {
            if state.failed || state.open == 0 {
                return None;
            }
            if let Some(task) = state.tasks.pop() {
                return Some(task);
            }
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn done(&self, failed: bool) {
        let mut state = self.lock();
        state.open -= 1;
        state.failed |= failed;
        if state.failed || state.open == 0 {
            drop(state);
            self.changed.notify_all();
        }
    }
}

/// Tells the queue that a task ended, also when it panicked: the other threads wait for it.
pub(super) struct Ending<'a>(pub(super) &'a Queue, pub(super) bool);

impl Drop for Ending<'_> {
    fn drop(&mut self) {
        self.0.done(self.1);
    }
}
