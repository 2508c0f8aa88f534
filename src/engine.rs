//! One sync: resolve, materialize, hash, verify, publish, report. And one check of what is published.

mod aim;
mod backoff;
mod check;
mod daemon;
mod gate;
pub(crate) mod isolate;
mod standby;
mod verdict;
mod volume;
mod writer;

use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use dagsync_core::{
    Error, ErrorKind, Filter, Interrupt, Limits, Progress, Result, Revision, StagingCounts, StagingRules, Strategy,
    SyncContext, Tree, Version, Warning,
};
use tokio_util::sync::CancellationToken;

use crate::config::{Config, Gate};
use crate::metrics::Metrics;
use crate::status::{Flip, StatusBoard, SyncState};
use crate::store::{KeepPolicy, ScrubMode, Store, Vigil};
use crate::target::Target;
use aim::Wanted;
use isolate::Isolation;
use verdict::Verdict;
use writer::{Brought, Job, StagedDraft, Writer};

pub use backoff::Backoff;
pub use daemon::{Wake, run_loop, run_once};

/// Lines that one sync or check writes about single files at the most.
const LOGGED: usize = 100;

/// What an engine is made of.
#[derive(Debug)]
pub struct Parts {
    /// The strategy's name in the registry.
    pub name: String,
    /// The strategy.
    pub strategy: Arc<dyn Strategy>,
    /// Where to report.
    pub board: StatusBoard,
    /// Where this pod should be.
    pub target: Target,
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
    gate: Gate,
    source: Isolation,
    volume: Isolation,
    vigil: Arc<Mutex<Vigil>>,
    writer: Option<Writer>,
    /// Another process writes to the store.
    standing: bool,
    /// The revision that this process has brought. Not taken from the state file: settings may have changed since.
    materialized: Option<Revision>,
    /// What the source called a tree that was not the version that this pod should be on.
    missed: Option<(Revision, Version)>,
    /// What somebody called a version, and the source did not have.
    misleading: Option<Revision>,
    /// A version in the store that is not what it was.
    spoiled: Option<Version>,
    /// A check for which the strategy has to bring the tree again.
    recheck: Option<ScrubMode>,
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
    /// Whether readers see another tree than before: it was published, or its place holds another one.
    pub changed: bool,
    /// Where a tree lies that is not published but served in its place.
    pub in_place: Option<PathBuf>,
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
            store: Store::from(config),
            rules: StagingRules {
                filter,
                limits: Limits::from(&config.limits),
                symlinks: config.symlinks,
                group_write: config.group_write,
            },
            keep: KeepPolicy {
                versions: config.keep.versions,
                age: config.keep.age,
                pinned: config.keep.pinned.iter().copied().chain(config.pin_version).collect(),
            },
            timeout: config.timeout,
            allow_empty: config.allow_empty,
            gate: config.gate.clone(),
            source: Isolation::of_source(parts.strategy.to_string()),
            volume: Isolation::of_volume(&config.root),
            vigil: Arc::default(),
            writer: None,
            standing: false,
            materialized: None,
            missed: None,
            misleading: None,
            spoiled: None,
            recheck: None,
            tampered: false,
            checks: 0,
            parts,
        }
    }

    /// Checks what is published, then takes the store's lock and brings the store into order. If the version is good,
    /// the pod is ready before the source was asked, also where the store cannot be written.
    ///
    /// # Errors
    /// [`ErrorKind::Locked`] when another process writes to the store; asking again later is right.
    pub async fn open(&mut self, token: &CancellationToken) -> Result<()> {
        if self.writer.is_some() {
            return Ok(());
        }
        if !self.standing {
            self.check_found(token).await;
        }
        let interrupt = Interrupt::new(token.clone(), None);
        let (store, name, vigil) = (self.store.clone(), self.parts.name.clone(), self.vigil.clone());
        let (limits, progress) = (self.rules.limits, self.parts.progress.clone());
        let open = move |interrupt: &Interrupt| Writer::open(store, &vigil, &name, &limits, interrupt, &progress);
        let (writer, adopted) = self.in_store(&interrupt, "open store", open).await?;
        // What this process brought before may not be what another made current meanwhile.
        self.materialized = None;
        if std::mem::take(&mut self.standing) {
            tracing::info!("standing by is over: this process writes to the store now");
            let own = self.rules.filter.hash().to_string();
            self.parts.board.update(|status| status.filter_hash = own);
        }
        self.parts
            .board
            .update(|status| (status.writer, status.holder) = (true, Some(writer.lock.holder().to_owned())));
        let history = writer.history();
        self.parts.board.update(|status| {
            if status.history.is_empty() {
                history.into_iter().rev().for_each(|flip| status.flip(flip));
            }
        });
        self.writer = Some(writer);
        if adopted {
            self.check_found(token).await;
        }
        Ok(())
    }

    /// One sync, which ends by `deadline` or earlier. Whatever fails, the published version stays.
    pub async fn sync(&mut self, token: &CancellationToken, deadline: Option<Instant>) -> Result<SyncReport> {
        let synced = match self.try_sync(token, deadline).await {
            Err(error) => Err(self.blame_the_lock(error, token).await),
            synced => synced,
        };
        self.let_go_if_lost(&synced);
        if let Some(writer) = &self.writer {
            // One that could not renew its lock says nothing about it: another may have it.
            let keeps = !writer.lock.is_late();
            self.parts.board.update(|status| status.writer = keeps);
        }
        synced
    }

    async fn try_sync(&mut self, token: &CancellationToken, deadline: Option<Instant>) -> Result<SyncReport> {
        let start = Instant::now();
        let mut interrupt = self.interrupt(token, deadline);
        let Some(writer) = self.writer.clone() else {
            return Err(Error::new(ErrorKind::Unexpected, "sync", "the store is not open"));
        };
        // Before the source is asked: its cache is in the store, which may be another's by now, or not answer.
        self.notice_a_lost_link(&interrupt, &writer).await?;
        let (wanted, trouble) = self.wanted(self.context(&interrupt, &writer), &writer).await?;
        if trouble.is_some() {
            // The source may have used up the time.
            interrupt = self.interrupt(token, None);
        }
        if let Some(report) = self.already_there(&wanted, start) {
            return Ok(report);
        }
        let brought = self.bring(token, &interrupt, &writer, &wanted, start).await;
        if let (Err(error), Some(good)) = (&brought, self.materialized.clone().map(Wanted::from))
            && (self.tampered && error.kind() == ErrorKind::Refused && good.revision != wanted.revision)
        {
            tracing::warn!(
                %error, revision = %wanted.revision, revision_that_stays = %good.revision, "refused; repairing without it"
            );
            if let Err(error) = self.bring(token, &self.interrupt(token, None), &writer, &good, start).await {
                tracing::error!(%error, revision = %good.revision, "the published version stays as it was touched");
            }
        }
        trouble.map_or(brought, Err)
    }

    /// Makes the tree that is wanted current.
    async fn bring(
        &mut self,
        token: &CancellationToken,
        interrupt: &Interrupt,
        writer: &Writer,
        wanted: &Wanted,
        start: Instant,
    ) -> Result<SyncReport> {
        let revision = &wanted.revision;
        let (rules, progress, stage) = (self.rules.clone(), self.parts.progress.clone(), writer.clone());
        let stage = move |interrupt: &Interrupt| stage.stage(rules, interrupt, progress);
        let draft = self.in_store(interrupt, "stage", stage).await?;
        let tree = match wanted.kept {
            true => self.restore(interrupt, writer, wanted, &draft).await,
            false => self.materialize(self.context(interrupt, writer), revision, &draft).await,
        };
        let brought = match tree.and_then(|tree| self.check_unchanged(wanted, tree)) {
            Ok(Tree::Staged) => self.publish(token, interrupt, writer, draft, wanted).await?,
            Ok(Tree::Unchanged) => {
                let removal = draft.draft.removal();
                self.clean_up(draft, &removal).await;
                let (writer, job, status) = (writer.clone(), self.job(revision), self.parts.board.read());
                let keep = move |_: &Interrupt| writer.keep(job, status.files, status.bytes);
                self.in_store(interrupt, "keep version", keep).await?
            }
            Ok(Tree::InPlace(mut found)) => {
                wanted.expect(&mut found.expectation);
                let removal = draft.draft.removal();
                self.clean_up(draft, &removal).await;
                let (writer, symlinks) = (writer.clone(), self.rules.symlinks);
                let note = move |_: &Interrupt| {
                    let verdict = Verdict::of(&found.tree, &found.expectation);
                    Ok((writer.note_in_place(*found, symlinks)?, verdict))
                };
                let (brought, verdict) = self.in_store(interrupt, "note tree", note).await?;
                return self.judge(revision, brought, &verdict, start);
            }
            Err(error) => {
                let removal = draft.draft.removal();
                self.clean_up(draft, &removal).await;
                return Err(self.doubt(wanted, error));
            }
        };
        Ok(self.note(revision.clone(), brought, start, &Verdict::Fine))
    }

    /// Notes a tree in its place, and what is wrong with it.
    fn judge(
        &mut self,
        revision: &Revision,
        brought: Brought,
        verdict: &Verdict,
        start: Instant,
    ) -> Result<SyncReport> {
        let place = brought.in_place.clone().unwrap_or_default();
        let is_known = self.parts.board.read().shows(verdict.changes());
        let report = self.note(revision.clone(), brought, start, verdict);
        let Some(error) = verdict.error(&report.version) else { return Ok(report) };
        // It is looked at again at the next sync, not only at the next check.
        self.materialized = None;
        // What is known already is not counted again at each sync.
        if !is_known {
            self.note_changes(&report.version, &place, verdict.changes());
        }
        Err(error)
    }

    async fn publish(
        &mut self,
        token: &CancellationToken,
        interrupt: &Interrupt,
        writer: &Writer,
        draft: StagedDraft,
        wanted: &Wanted,
    ) -> Result<Brought> {
        let revision = &wanted.revision;
        let staged = Arc::new(self.in_store(interrupt, "stage", move |_| draft.finish()).await?);
        let version = staged.tree.manifest.version();
        let passed = match wanted.check(&version) {
            Ok(()) => self.ask_gate(token, &staged, revision).await,
            Err(error) => {
                if wanted.kept {
                    self.spoiled = wanted.version();
                } else {
                    self.missed = Some((revision.clone(), version));
                }
                Err(error)
            }
        };
        let warning = match passed {
            Ok(warning) => warning,
            Err(error) => {
                let removal = staged.draft.removal();
                self.clean_up(staged, &removal).await;
                return Err(error);
            }
        };
        // The gate has a time of its own, which must not be missing here.
        let interrupt = if self.gate.command.is_some() { &self.interrupt(token, None) } else { interrupt };
        let (writer, job) = (writer.clone(), self.job(revision));
        let publish = move |interrupt: &Interrupt| writer.publish(&staged, job, interrupt);
        let mut brought = self.in_store(interrupt, "publish", publish).await?;
        brought.warnings.extend(warning);
        Ok(brought)
    }

    /// Removes versions that have become old since the last publish.
    pub async fn prune(&mut self, token: &CancellationToken) -> Result<()> {
        let Some(writer) = self.writer.clone() else { return Ok(()) };
        let keep = self.keep.clone();
        let interrupt = Interrupt::new(token.clone(), None);
        let pruned = self.in_store(&interrupt, "prune", move |interrupt| writer.prune(&keep, interrupt)).await;
        self.let_go_if_lost(&pruned);
        self.parts.metrics.pruned(pruned?);
        Ok(())
    }

    async fn materialize(&self, mut cx: SyncContext, revision: &Revision, draft: &StagedDraft) -> Result<Tree> {
        if !self.tampered {
            cx.previous.clone_from(&draft.previous);
        }
        let interrupt = cx.interrupt.clone();
        let (strategy, revision, staging) = (self.parts.strategy.clone(), revision.clone(), draft.staging.clone());
        let call = async move { strategy.materialize(&cx, &revision, &staging).await };
        self.source.run(&interrupt, "materialize", call).await
    }

    fn interrupt(&self, token: &CancellationToken, deadline: Option<Instant>) -> Interrupt {
        let own = Instant::now() + self.timeout;
        Interrupt::new(token.child_token(), Some(deadline.map_or(own, |deadline| deadline.min(own))))
    }

    fn context(&self, interrupt: &Interrupt, writer: &Writer) -> SyncContext {
        SyncContext {
            interrupt: interrupt.clone(),
            cache: writer.cache.clone(),
            filter: self.rules.filter.clone(),
            limits: self.rules.limits,
            previous: None,
            progress: self.parts.progress.clone(),
            tally: self.parts.metrics.tally(),
            thorough: self.recheck == Some(ScrubMode::Full),
        }
    }

    fn already_there(&mut self, wanted: &Wanted, start: Instant) -> Option<SyncReport> {
        let revision = &wanted.revision;
        if !self.is_on(wanted) {
            return None;
        }
        let status = self.parts.board.read();
        let (version, files, took) = (status.version?, status.files, start.elapsed());
        self.parts.board.update(|status| {
            // An equal version may have another name by now.
            status.revision = Some(revision.clone());
            status.succeed(SystemTime::now(), SyncState::Converged);
        });
        self.parts.metrics.synced(false, took);
        tracing::debug!(%revision, %version, ?took, "nothing changed");
        let (counts, revision) = (StagingCounts::default(), revision.clone());
        Some(SyncReport { revision, version, published: false, changed: false, in_place: None, files, counts, took })
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

    fn vigil(&self) -> MutexGuard<'_, Vigil> {
        self.vigil.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn note(&mut self, revision: Revision, brought: Brought, start: Instant, verdict: &Verdict) -> SyncReport {
        let (now, took) = (SystemTime::now(), start.elapsed());
        let Brought { version, folder, in_place, files, bytes, published, counts, mut warnings, pruned } = brought;
        // Also what another process published before it died, which this one has not followed.
        let changed = published || self.parts.board.read().version != Some(version);
        if files == 0 {
            warnings.push(Warning::Other("the tree is empty: check the source, the subpath and the globs".to_owned()));
        }
        let Parts { name, metrics, board, .. } = &self.parts;
        let fault = verdict.error(&version);
        if fault.is_none() {
            metrics.synced(published, took);
        }
        metrics.pruned(pruned);
        if published {
            metrics.staged(&counts);
            tracing::info!(
                strategy = %name, %revision, %version, files, bytes, written = counts.written,
                linked = counts.linked, copied = counts.copied, pruned, took_ms = took.as_millis() as u64, "published"
            );
        } else if changed {
            tracing::info!(strategy = %name, %revision, %version, files, took_ms = took.as_millis() as u64, "found");
        } else if fault.is_none() {
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
            if changed {
                status.flip(Flip { version, revision: Some(revision.clone()), at: now });
            }
            if status.target.revision.as_ref() == Some(&revision) {
                status.target.version.get_or_insert(version);
            }
            (status.files, status.bytes) = (files, bytes);
            status.warn(&warnings);
            // In one step: what is wrong must not look right in between.
            match &fault {
                None => status.succeed(now, SyncState::Converged),
                Some(error) => status.condemn(now, verdict.state(), error, verdict.changes()),
            }
            status.ready |= verdict.is_verified();
        });
        self.tampered = false;
        if let Some(mode) = self.recheck.take().filter(|_| in_place.is_some()) {
            self.parts.metrics.scrubbed(mode, verdict.result());
        }
        self.materialized = Some(revision.clone());
        SyncReport { revision, version, published, changed, in_place, files, counts, took }
    }
}

fn log_warnings(revision: &Revision, warnings: &[Warning]) {
    for warning in warnings.iter().take(LOGGED) {
        tracing::warn!(%revision, "{warning}");
    }
    if warnings.len() > LOGGED {
        tracing::warn!(%revision, "and {} more", warnings.len() - LOGGED);
    }
}

#[cfg(test)]
#[path = "engine/tests.rs"]
mod tests;
