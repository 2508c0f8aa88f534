//! Cancellation and deadline, for asynchronous code and for blocking threads alike.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;

use crate::error::{Error, ErrorKind, Result};

/// Tells work when to stop: somebody asked, or the deadline passed. Cheap to clone and to check.
#[derive(Debug, Clone)]
pub struct Interrupt {
    token: CancellationToken,
    deadline: Option<Instant>,
    checks: Arc<AtomicU64>,
}

impl Interrupt {
    /// Stops when `token` is cancelled or, if given, at `deadline`.
    pub fn new(token: CancellationToken, deadline: Option<Instant>) -> Self {
        Self { token, deadline, checks: Arc::default() }
    }

    /// Never stops.
    pub fn never() -> Self {
        Self::new(CancellationToken::new(), None)
    }

    /// An error when work has to stop now.
    pub fn check(&self, operation: &'static str) -> Result<()> {
        self.checks.fetch_add(1, Relaxed);
        if self.token.is_cancelled() {
            return Err(Error::cancelled(operation));
        }
        match self.deadline {
            Some(deadline) if Instant::now() >= deadline => Err(timed_out(operation)),
            _ => Ok(()),
        }
    }

    /// How often work, by whichever clone, asked whether to stop: as long as this grows it does not hang.
    pub fn checks(&self) -> u64 {
        self.checks.load(Relaxed)
    }

    /// How long work may still take; `None` without a deadline.
    pub fn remaining(&self) -> Option<Duration> {
        self.deadline.map(|d| d.saturating_duration_since(Instant::now()))
    }

    /// The token, to wait on or to derive a child from.
    pub fn token(&self) -> &CancellationToken {
        &self.token
    }

    /// Runs `work` unless it has to stop before it ends.
    pub async fn guard<T>(&self, operation: &'static str, work: impl Future<Output = Result<T>>) -> Result<T> {
        let deadline = async {
            match self.deadline {
                Some(at) => tokio::time::sleep_until(at.into()).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            () = self.token.cancelled() => Err(Error::cancelled(operation)),
            () = deadline => Err(timed_out(operation)),
            result = work => result,
        }
    }
}

fn timed_out(operation: &'static str) -> Error {
    Error::new(ErrorKind::Timeout, operation, "did not end before its deadline")
        .with_hint("check that the source answers, or raise `timeout`")
}
