//! What a strategy counts besides syncs: its calls of the services that it depends on.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

/// How a call ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[allow(missing_docs)]
pub enum Outcome {
    Success,
    Error,
}

impl Outcome {
    /// Of a result.
    pub const fn of<T, E>(result: &Result<T, E>) -> Self {
        if result.is_ok() { Self::Success } else { Self::Error }
    }

    /// As a metric's label has it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Success => "success",
            Self::Error => "error",
        }
    }
}

/// Shared counters by operation and outcome. Cheap to clone; every clone counts into the same place.
#[derive(Debug, Clone, Default)]
pub struct Tally(Arc<Mutex<BTreeMap<(&'static str, Outcome), u64>>>);

impl Tally {
    /// Counts one call of `operation`, a name that may be a metric's label, such as `askpass`.
    pub fn count(&self, operation: &'static str, outcome: Outcome) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner).entry((operation, outcome)).or_default() += 1;
    }

    /// All counters so far.
    pub fn read(&self) -> BTreeMap<(&'static str, Outcome), u64> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
