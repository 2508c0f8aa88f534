//! One sync: resolve, materialize, hash, verify, publish, report. And one check of what is published.

mod backoff;
mod daemon;
mod isolate;
mod writer;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use dagsync_core::{
    Change, Error, ErrorKind, Filter, Interrupt, Limits, Progress, Result, Revision, StagingCounts, StagingRules,
    Strategy, SyncContext, Tree, Version, Warning, blocking,
};
use tokio_util::sync::CancellationToken;

use crate::config::Config;
use crate::metrics::Metrics;
use crate::status::{StatusBoard, SyncState};
use crate::store::{KeepPolicy, ScrubMode, ScrubReport, Store};
use isolate::Isolation;
use writer::{Brought, Job, Writer};

pub use backoff::Backoff;
pub use daemon::{Wake, run_loop, run_once};

/// What an engine is made of.
#[derive(Debug)]
pub struct Parts {
    /// The strategy's name in the registry.
    pub name: String,
    /// The strategy.
    pub strategy: Arc<dyn Strategy>,
    /// Where to report.
    pub board: StatusBoard,
    /// Where to count.
    pub metrics: Metrics,
    /// Where long work counts.
    pub progress: Progress,
}

/// Brings the source's tree into the store. One engine writes to one store.
#[derive(Debug)]
pub struct Engine {
    parts: Parts,
    store: Store,
    rules: StagingRules,
    keep: KeepPolicy,
    timeout: Duration,
    allow_empty: bool,
    isolation: Isolation,
    writer: Option<Writer>,
    /// The revision that this process has brought. Not taken from the state file: settings may have changed since.
    materialized: Option<Revision>,
    /// The revision of what is published, as far as it is known.
    published: Option<Revision>,
    /// The published copy was touched: the next tree is published as a fresh one.
    tampered: bool,
    checks: u64,
}

/// What a sync did.
#[derive(Debug, Clone)]
pub struct SyncReport {
    /// The source's name for the tree.
    pub revision: Revision,
    /// The version that is current now.
    pub version: Version,
    /// Whether the link was swapped.
    pub published: bool,
    /// Files of the version.
    pub files: u64,
    /// How much work staging took.
    pub counts: StagingCounts,
    /// How long it took.
    pub took: Duration,
}

impl Engine {
    /// An engine with the settings of `config`. Touches nothing.
    pub fn new(config: &Config, parts: Parts, filter: Arc<Filter>) -> Self {
        Self {
            parts,
            store: Store::new(&config.root, &config.link),
            rules: StagingRules { filter, limits: Limits::from(&config.limits), symlinks: config.symlinks },
            keep: KeepPolicy {
                versions: config.keep.versions,
                age: config.keep.age,
                pinned: config.keep.pinned.iter().copied().collect(),
            },
            timeout: config.timeout,
            allow_empty: config.allow_empty,
            isolation: Isolation::default(),
            writer: None,
            materialized: None,
            published: None,
            tampered: false,
            checks: 0,
        }
    }

    /// Takes the store's lock, brings the store into order and checks what is published: if it is good, the pod is
    /// ready before the source was asked.
    ///
    /// # Errors
    /// [`ErrorKind::Locked`] when another process writes to the store; asking again later is right.
    pub async fn open(&mut self, token: &CancellationToken) -> Result<()> {
        if self.writer.is_some() {
            return Ok(());
        }
        let interrupt = Interrupt::new(token.clone(), None);
        let (store, name) = (self.store.clone(), self.parts.name.clone());
        let writer = blocking(&interrupt, "open store", move |interrupt| Writer::open(store, &name, interrupt)).await?;
        self.published = writer.revision();
        let published_at = writer.published_at();
        self.writer = Some(writer);
        // A check that fails is logged and counted; the sync that follows says whether the store can be written.
        let report = self.scrub(token, ScrubMode::Stat).await.ok().flatten();
        if let Some(report) = report.filter(|report| report.changes.is_empty()) {
            let version = report.folder.version();
            tracing::info!(%version, files = report.files, "the published version is good");
            let revision = self.published.clone();
            self.parts.board.update(|status| {
                status.ready = true;
                status.revision = revision;
                status.published_at = published_at;
                status.enter(SyncState::Converged, SystemTime::now());
            });
        }
        Ok(())
    }

    /// One sync. Whatever fails, the published version stays.
    pub async fn sync(&mut self, token: &CancellationToken) -> Result<SyncReport> {
        let start = Instant::now();
        let interrupt = Interrupt::new(token.child_token(), Some(start + self.timeout));
        let Some(writer) = self.writer.clone() else {
            return Err(Error::new(ErrorKind::Unexpected, "sync", "the store is not open"));
        };
        let mut cx = self.context(&interrupt, &writer);
        let revision = self.wanted(&cx).await?;
        if let Some(report) = self.already_there(&revision, start) {
            return Ok(report);
        }
        let (rules, progress) = (self.rules.clone(), self.parts.progress.clone());
        let stage = writer.clone();
        let (draft, staging, previous) =
            blocking(&interrupt, "stage", move |interrupt| stage.stage(rules, interrupt, progress)).await?;
        cx.previous = previous;
        let (strategy, wanted, target) = (self.parts.strategy.clone(), revision.clone(), staging.clone());
        let tree = self
            .isolation
            .run(&interrupt, "materialize", async move { strategy.materialize(&cx, &wanted, &target).await })
            .await?;
        let brought = match tree {
            Tree::InPlace(path) => self.read_in_place(&interrupt, path).await?,
            Tree::Staged => {
                let job = self.job(&revision);
                blocking(&interrupt, "publish", move |interrupt| writer.publish(draft, staging, job, interrupt)).await?
            }
        };
        Ok(self.note(revision, brought, start))
    }

    /// Checks the published version. Tampered content is reported with its paths; the next sync publishes a fresh copy.
    pub async fn scrub(&mut self, token: &CancellationToken, mode: ScrubMode) -> Result<Option<ScrubReport>> {
        let interrupt = Interrupt::new(token.clone(), None);
        let (store, rules, progress) = (self.store.clone(), self.rules.clone(), self.parts.progress.clone());
        let result = blocking(&interrupt, "scrub", move |interrupt| {
            store.scrub(mode, &rules.filter, &rules.limits, interrupt, &progress)
        })
        .await;
        match &result {
            Ok(None) => {}
            Ok(Some(report)) => self.note_scrub(mode, report),
            Err(error) if error.kind() == ErrorKind::Cancelled => {}
            Err(error) => {
                self.parts.metrics.scrubbed(mode, None);
                tracing::error!(mode = mode.as_str(), %error, "the published version could not be checked");
                if is_the_tree_to_blame(error) {
                    self.distrust(&[]);
                    self.parts.board.update(|status| status.fail(error, 1, SystemTime::now()));
                }
            }
        }
        result
    }

    /// The mode of the next periodic check: every `full_every`th reads everything.
    pub fn next_scrub_mode(&mut self, full_every: u64) -> ScrubMode {
        self.checks += 1;
        if full_every > 0 && self.checks.is_multiple_of(full_every) { ScrubMode::Full } else { ScrubMode::Stat }
    }

    /// Removes versions that have become old since the last publish.
    pub async fn prune(&self, token: &CancellationToken) -> Result<()> {
        let Some(writer) = self.writer.clone() else { return Ok(()) };
        let keep = self.keep.clone();
        let interrupt = Interrupt::new(token.clone(), None);
        let removed = blocking(&interrupt, "prune", move |interrupt| writer.prune(&keep, interrupt)).await?;
        self.parts.metrics.pruned(removed);
        Ok(())
    }

    /// Whether the published copy is known to be touched.
    pub const fn is_tampered(&self) -> bool {
        self.tampered
    }

    /// What the source offers. While it does not answer, a touched version is repaired from what the strategy still has.
    async fn wanted(&self, cx: &SyncContext) -> Result<Revision> {
        let (strategy, context) = (self.parts.strategy.clone(), cx.clone());
        let resolved =
            self.isolation.run(&cx.interrupt, "resolve", async move { strategy.resolve(&context).await }).await;
        match (resolved, &self.published) {
            (Ok(revision), _) => {
                self.parts.board.update(|status| status.target.revision = Some(revision.clone()));
                Ok(revision)
            }
            (Err(error), Some(revision)) if self.tampered && error.is_retryable() => {
                tracing::warn!(%error, %revision, "the source does not answer; repairing without it");
                Ok(revision.clone())
            }
            (Err(error), _) => Err(error),
        }
    }

    fn context(&self, interrupt: &Interrupt, writer: &Writer) -> SyncContext {
        SyncContext {
            interrupt: interrupt.clone(),
            cache: writer.cache.clone(),
            filter: self.rules.filter.clone(),
            limits: self.rules.limits,
            previous: None,
            progress: self.parts.progress.clone(),
        }
    }

    fn already_there(&self, revision: &Revision, start: Instant) -> Option<SyncReport> {
        if self.tampered || self.materialized.as_ref() != Some(revision) {
            return None;
        }
        let status = self.parts.board.read();
        let (version, files, took) = (status.version?, status.files, start.elapsed());
        self.parts.board.update(|status| status.succeed(SystemTime::now()));
        self.parts.metrics.synced(false, took);
        tracing::debug!(%revision, %version, ?took, "nothing changed");
        let counts = StagingCounts::default();
        Some(SyncReport { revision: revision.clone(), version, published: false, files, counts, took })
    }

    fn job(&self, revision: &Revision) -> Job {
        Job {
            revision: revision.clone(),
            strategy: self.parts.name.clone(),
            source: self.parts.strategy.to_string(),
            rules: self.rules.clone(),
            allow_empty: self.allow_empty,
            fresh: self.tampered,
            keep: self.keep.clone(),
        }
    }

    async fn read_in_place(&self, interrupt: &Interrupt, path: PathBuf) -> Result<Brought> {
        let (rules, progress) = (self.rules.clone(), self.parts.progress.clone());
        blocking(interrupt, "hash", move |interrupt| writer::read_in_place(&path, &rules, interrupt, &progress)).await
    }

    fn note(&mut self, revision: Revision, brought: Brought, start: Instant) -> SyncReport {
        let (now, took) = (SystemTime::now(), start.elapsed());
        let Brought { version, folder, files, bytes, published, counts, warnings, pruned } = brought;
        let Parts { name, metrics, board, .. } = &self.parts;
        metrics.synced(published, took);
        metrics.pruned(pruned);
        if published {
            metrics.staged(&counts);
            tracing::info!(
                strategy = %name, %revision, %version, files, bytes, written = counts.written,
                linked = counts.linked, copied = counts.copied, pruned, took_ms = took.as_millis() as u64, "published"
            );
        } else {
            tracing::info!(strategy = %name, %revision, %version, files, took_ms = took.as_millis() as u64, "same content");
        }
        log_warnings(&revision, &warnings);
        board.update(|status| {
            if status.version != Some(version) || published {
                status.published_at = Some(now);
            }
            status.version = Some(version);
            status.folder = folder;
            status.revision = Some(revision.clone());
            (status.files, status.bytes) = (files, bytes);
            status.warn(&warnings);
            status.succeed(now);
        });
        self.tampered = false;
        self.materialized = Some(revision.clone());
        self.published = Some(revision.clone());
        SyncReport { revision, version, published, files, counts, took }
    }

    fn note_scrub(&mut self, mode: ScrubMode, report: &ScrubReport) {
        self.parts.metrics.scrubbed(mode, Some(&report.changes));
        let version = report.folder.version();
        self.parts.board.update(|status| {
            status.version = Some(version);
            status.folder = Some(report.folder.clone());
            (status.files, status.bytes) = (report.files, report.bytes);
        });
        for change in &report.changes {
            let path = report.path.join(change.path.as_path());
            tracing::error!(%version, path = %path.display(), change = change.change.as_str(), "tampered");
        }
        if !report.changes.is_empty() {
            self.distrust(&report.changes);
        }
    }

    fn distrust(&mut self, changes: &[Change]) {
        self.tampered = true;
        self.parts.board.update(|status| status.tamper(changes, SystemTime::now()));
    }
}

/// Whether a check failed because of what lies in the store: a damaged manifest, a name that cannot be published, a
/// file that is being written or that cannot be read. A fresh copy mends all of them.
fn is_the_tree_to_blame(error: &Error) -> bool {
    let is_unreadable = error.raw_os_error() == Some(rustix::io::Errno::ACCESS.raw_os_error());
    let kinds = [ErrorKind::Corrupt, ErrorKind::Refused, ErrorKind::LimitExceeded, ErrorKind::Changed];
    is_unreadable || kinds.contains(&error.kind())
}

fn log_warnings(revision: &Revision, warnings: &[Warning]) {
    for warning in warnings {
        tracing::warn!(%revision, "{warning}");
    }
}

#[cfg(test)]
#[path = "engine/tests.rs"]
mod tests;
