//! The loop of `dagsync run`: sync at every period or when woken, check what is published, back off after failures.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, SystemTime};

use dagsync_core::{Error, ErrorKind, Progress, Result};
use tokio::sync::Notify;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::backoff::{Backoff, jittered};
use super::{Engine, SyncReport};
use crate::config::Config;
use crate::daemon::Until;
use crate::memory;
use crate::metrics::Turn;
use crate::outputs::Outputs;
use crate::status::StatusBoard;

/// How often long work is looked at.
const BEAT: Duration = Duration::from_secs(5);

/// When to look again after a push event whose sync found nothing new: some servers send it a little before they show
/// the new head.
const SECOND_LOOKS: [Duration; 3] = [Duration::from_millis(500), Duration::from_secs(1), Duration::from_secs(2)];

/// Wakes the loop: a signal, a request or a push event asks for a sync now. Many at once become one.
#[derive(Debug, Clone, Default)]
pub struct Wake(Arc<Call>);

#[derive(Debug, Default)]
struct Call {
    notify: Notify,
    news: AtomicBool,
}

impl Wake {
    /// Asks for a sync as soon as the loop is free.
    pub fn wake(&self) {
        self.0.notify.notify_one();
    }

    /// The same when the source is known to have something new, so that it is asked again soon if it shows nothing.
    pub fn expect_news(&self) {
        self.0.news.store(true, Relaxed);
        self.wake();
    }

    /// Whether it was called since it was last answered.
    #[cfg(test)]
    pub(crate) fn is_called(&self) -> bool {
        futures::FutureExt::now_or_never(self.0.notify.notified()).is_some()
    }
}

/// Turns until `token` is cancelled or, as `until` says, the first sync is done.
///
/// # Errors
/// The last error, when `max_failures` syncs in a row failed; of `until` the first sync also that it never was done, and
/// what failed after it.
pub async fn run_loop(
    engine: Engine,
    config: &Config,
    wake: &Wake,
    token: &CancellationToken,
    until: Until,
) -> Result<()> {
    let mut daemon = Loop::new(engine, config)?;
    daemon.next_scrub = scrub_after(Instant::now(), config);
    let ended = if until == Until::FirstSync {
        daemon.first_sync(wake, token).await
    } else {
        daemon.outputs.start();
        let ended = daemon.turn(wake, token, until).await;
        daemon.outputs.stop().await;
        ended
    };
    daemon.engine.close().await;
    ended
}

/// Syncs once, trying again after errors that may pass until `config.timeout` is over. Where another process writes to
/// the store, what is good in it is enough.
///
/// # Errors
/// The last error. What was published before stays.
pub async fn run_once(engine: Engine, config: &Config, wake: &Wake, token: &CancellationToken) -> Result<SyncReport> {
    let mut once = Loop::new(engine, config)?;
    let ended = once.once(wake, token).await;
    once.engine.close().await;
    ended
}

impl Loop<'_> {
    async fn first_sync(&mut self, wake: &Wake, token: &CancellationToken) -> Result<()> {
        self.turn(wake, token, Until::FirstSync).await?;
        if self.settled { self.outputs.finish(token).await } else { Err(Error::cancelled("sync")) }
    }

    async fn once(&mut self, wake: &Wake, token: &CancellationToken) -> Result<SyncReport> {
        let deadline = self.next_sync + self.config.timeout;
        loop {
            let error = match self.attempt(token, Some(deadline.into_std())).await {
                Ok(Done::Synced(report)) => return self.outputs.finish(token).await.map(|()| report),
                Ok(Done::StoodBy { found: Some(report), .. }) => {
                    tracing::info!(version = %report.version, "the version of the process that writes to the store is good");
                    return self.outputs.finish(token).await.map(|()| report);
                }
                Ok(Done::StoodBy { locked, .. }) => {
                    self.next_sync = Instant::now() + self.config.period.min(Duration::from_secs(1));
                    self.engine.no_version(locked)
                }
                Err(error) => {
                    self.failed(&error).await;
                    if self.is_exhausted() || self.engine.gives_up() {
                        return Err(error);
                    }
                    error
                }
            };
            if !error.is_retryable() || self.next_sync >= deadline {
                return Err(error);
            }
            tokio::select! {
                () = token.cancelled() => return Err(error),
                () = wake.0.notify.notified() => self.next_sync = Instant::now(),
                () = tokio::time::sleep_until(self.next_sync) => {}
            }
        }
    }
}

struct Loop<'a> {
    engine: Engine,
    config: &'a Config,
    outputs: Outputs,
    backoff: Backoff,
    failures: u64,
    /// The first sync is done.
    settled: bool,
    /// What is left of [`SECOND_LOOKS`].
    looks: &'static [Duration],
    next_sync: Instant,
    next_scrub: Option<Instant>,
}

enum Due {
    Stop,
    Sync,
    Scrub,
}

/// What a turn came to that did not fail.
enum Done {
    Synced(SyncReport),
    /// Another process writes to the store, as `locked` says.
    StoodBy {
        locked: Error,
        found: Option<SyncReport>,
    },
}

impl<'a> Loop<'a> {
    fn new(engine: Engine, config: &'a Config) -> Result<Self> {
        let backoff = Backoff { initial: config.backoff.initial, max: config.backoff.max, jitter: config.jitter };
        let outputs = Outputs::new(config, &engine.parts.metrics.tally())?;
        let next_sync = Instant::now();
        let (failures, settled, looks, next_scrub) = (0, false, [].as_slice(), None);
        Ok(Self { engine, config, outputs, backoff, failures, settled, looks, next_sync, next_scrub })
    }

    /// Whether so many syncs in a row failed that it is time to give up.
    fn is_exhausted(&self) -> bool {
        let initial = self.config.init_max_failures.filter(|_| !self.settled);
        let allowed = initial.unwrap_or(self.config.max_failures);
        allowed >= 0 && self.failures >= allowed.unsigned_abs()
    }

    async fn turn(&mut self, wake: &Wake, token: &CancellationToken, until: Until) -> Result<()> {
        while until == Until::Stopped || !self.settled {
            self.engine.parts.board.beat();
            match self.due(wake, token).await {
                Due::Stop => return Ok(()),
                Due::Scrub => self.scrub(token).await,
                Due::Sync => {
                    if wake.0.news.swap(false, Relaxed) {
                        self.looks = &SECOND_LOOKS;
                    }
                    self.sync(token).await?;
                }
            }
        }
        Ok(())
    }

    async fn due(&self, wake: &Wake, token: &CancellationToken) -> Due {
        let scrub = async {
            match self.next_scrub {
                Some(at) => tokio::time::sleep_until(at).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            () = token.cancelled() => Due::Stop,
            () = wake.0.notify.notified() => Due::Sync,
            () = tokio::time::sleep_until(self.next_sync) => Due::Sync,
            () = scrub => Due::Scrub,
        }
    }

    async fn sync(&mut self, token: &CancellationToken) -> Result<()> {
        let before = self.engine.parts.board.read().revision.clone();
        match self.attempt(token, None).await {
            Ok(done) => {
                self.failures = 0;
                let period = jittered(self.config.period, self.config.jitter, fastrand::f64());
                let wait = match &done {
                    Done::Synced(report) => self.second_look(before.as_ref() != Some(&report.revision)),
                    Done::StoodBy { .. } => None,
                };
                self.next_sync = Instant::now() + wait.unwrap_or(period).min(period);
            }
            Err(error) if token.is_cancelled() && error.kind() == ErrorKind::Cancelled => {}
            Err(error) => {
                self.failed(&error).await;
                if self.is_exhausted() || self.engine.gives_up() {
                    return Err(error);
                }
            }
        }
        Ok(())
    }

    /// When to look again for what a push event announced, as long as nothing is new.
    fn second_look(&mut self, is_new: bool) -> Option<Duration> {
        let (next, rest) = std::mem::take(&mut self.looks).split_first().filter(|_| !is_new)?;
        self.looks = rest;
        Some(*next)
    }

    async fn attempt(&mut self, token: &CancellationToken, deadline: Option<std::time::Instant>) -> Result<Done> {
        let (board, progress) = self.heart();
        let start = Instant::now();
        let done = beating(&board, &progress, self.try_once(token, deadline)).await;
        memory::trim();
        self.outputs.stand_by(self.engine.stands_by());
        self.engine.parts.metrics.turned(self.turn_of(&done), start.elapsed());
        let (Ok(Done::Synced(report)) | Ok(Done::StoodBy { found: Some(report), .. })) = &done else { return done };
        let first = !std::mem::replace(&mut self.settled, true);
        self.outputs.succeeded(report, first).await;
        if report.changed || first {
            memory::forget_code();
        }
        done
    }

    /// One sync, or one look where another process writes.
    async fn try_once(&mut self, token: &CancellationToken, deadline: Option<std::time::Instant>) -> Result<Done> {
        let mut may_lose_it = true;
        loop {
            let locked = match self.engine.open(token).await {
                Ok(()) => match self.engine.sync(token, deadline).await {
                    Err(error) if error.kind() == ErrorKind::Locked && std::mem::take(&mut may_lose_it) => {
                        tracing::warn!(%error, "the store's lock is lost");
                        continue;
                    }
                    synced => return synced.map(Done::Synced),
                },
                Err(error) if error.kind() == ErrorKind::Locked => error,
                Err(error) => return Err(error),
            };
            let found = self.engine.follow(token).await?;
            return Ok(Done::StoodBy { locked, found });
        }
    }

    /// How git-sync calls what a turn did: its first success counts as news.
    fn turn_of(&self, done: &Result<Done>) -> Turn {
        match done {
            Ok(Done::Synced(report)) if report.changed || !self.settled => Turn::Success,
            Ok(_) => Turn::Noop,
            Err(_) => Turn::Error,
        }
    }

    fn heart(&self) -> (StatusBoard, Progress) {
        (self.engine.parts.board.clone(), self.engine.parts.progress.clone())
    }

    /// The wait before the next attempt. `init_period` is taken as it is: who sets it waits for the first sync.
    fn wait_after(&self, error: &Error) -> Duration {
        let wait = self.backoff.after(self.failures, fastrand::f64());
        match self.config.init_period {
            init_period if !self.settled && !init_period.is_zero() => init_period,
            // The source may have what it should by the next period.
            _ if error.is_retryable() && matches!(error.kind(), ErrorKind::Mismatch | ErrorKind::Changed) => {
                wait.min(self.config.period)
            }
            _ if error.is_retryable() => wait,
            _ => wait.max(self.config.period),
        }
    }

    async fn failed(&mut self, error: &Error) {
        self.failures += 1;
        let wait = self.wait_after(error);
        self.next_sync = Instant::now() + wait;
        self.engine.parts.metrics.failed(error.kind(), self.failures);
        self.engine.parts.board.update(|status| status.fail(error, self.failures, SystemTime::now()));
        let stays = self.engine.parts.board.read().version.map_or_else(|| "none".to_owned(), |v| v.to_string());
        tracing::error!(
            kind = error.kind().as_str(), attempts = self.failures, next_in_ms = wait.as_millis() as u64, published = stays,
            %error, "sync failed"
        );
        self.outputs.failed(error, self.failures).await;
    }

    async fn scrub(&mut self, token: &CancellationToken) {
        let mode = self.engine.next_scrub_mode(self.config.scrub.full_every);
        let (board, progress) = self.heart();
        beating(&board, &progress, async {
            // Errors are logged and counted where they happen.
            let _ = self.engine.scrub(token, mode).await;
            if let Err(error) = self.engine.prune(token).await {
                tracing::warn!(%error, "old versions could not be removed; they stay until the next attempt");
            }
        })
        .await;
        // A look at what lies in its place is a sync, which is due however often the last ones failed.
        if self.engine.is_in_place() || self.engine.is_tampered() && self.failures == 0 {
            self.next_sync = Instant::now();
        }
        self.next_scrub = scrub_after(Instant::now(), self.config);
    }
}

/// Work that moves on is a turn of the loop, however long it takes: a full check of a large tree on a network volume
/// must not look like a loop that is dead.
async fn beating<T>(board: &StatusBoard, progress: &Progress, work: impl Future<Output = T>) -> T {
    let mut seen = progress.read();
    tokio::pin!(work);
    loop {
        tokio::select! {
            done = &mut work => return done,
            () = tokio::time::sleep(BEAT) => {
                let now = progress.read();
                if now != seen {
                    board.beat();
                    seen = now;
                }
            }
        }
    }
}

fn scrub_after(now: Instant, config: &Config) -> Option<Instant> {
    (config.scrub.interval > Duration::ZERO).then(|| now + config.scrub.interval)
}
