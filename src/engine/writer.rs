//! The blocking half of the engine: everything that writes to the store, under its lock.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use dagsync_core::{
    Error, ErrorKind, HashedTree, InPlace, Interrupt, Limits, Progress, Result, Revision, Snapshot, StagedTree,
    Staging, StagingCounts, StagingRules, SymlinkPolicy, Version, Warning,
};

use crate::status::Flip;
use crate::store::{
    Draft, FolderName, FolderState, KeepPolicy, Publication, Published, Scrub, ScrubMode, ScrubReport, State, Store,
    StoreLock, Vigil,
};

/// A store with its lock. Cheap to clone; one thread writes at a time.
#[derive(Debug, Clone)]
pub(super) struct Writer {
    store: Store,
    /// The strategy's own folder.
    pub(super) cache: PathBuf,
    /// Also in what is held, which whoever writes has for itself.
    pub(super) lock: Arc<StoreLock>,
    held: Arc<Mutex<Held>>,
}

#[derive(Debug)]
struct Held {
    lock: Arc<StoreLock>,
    state: State,
}

/// A tree that is being staged.
#[derive(Debug)]
pub(super) struct StagedDraft {
    pub(super) draft: Draft,
    pub(super) staging: Staging,
    pub(super) previous: Option<Arc<Snapshot>>,
}

/// A tree that is complete in its staging folder.
#[derive(Debug)]
pub(super) struct Staged {
    pub(super) draft: Draft,
    pub(super) tree: StagedTree,
    pub(super) previous: Option<Arc<Snapshot>>,
}

impl StagedDraft {
    pub(super) fn finish(self) -> Result<Staged> {
        let Self { draft, staging, previous } = self;
        Ok(Staged { draft, tree: staging.finish()?, previous })
    }
}

/// What to publish a staged tree as.
#[derive(Debug)]
pub(super) struct Job {
    pub(super) revision: Revision,
    pub(super) strategy: String,
    pub(super) source: String,
    pub(super) rules: StagingRules,
    pub(super) allow_empty: bool,
    pub(super) fresh: bool,
    pub(super) keep: KeepPolicy,
}

impl Job {
    fn publication(&self, now: SystemTime) -> Publication<'_> {
        Publication {
            revision: &self.revision,
            strategy: &self.strategy,
            source: self.source.clone(),
            filter: &self.rules.filter,
            allow_empty: self.allow_empty,
            fresh: self.fresh,
            now,
        }
    }
}

/// What a sync brought.
#[derive(Debug)]
pub(super) struct Brought {
    pub(super) version: Version,
    pub(super) folder: Option<FolderName>,
    pub(super) in_place: Option<PathBuf>,
    pub(super) files: u64,
    pub(super) bytes: u64,
    pub(super) published: bool,
    pub(super) counts: StagingCounts,
    pub(super) warnings: Vec<Warning>,
    pub(super) pruned: usize,
}

impl Writer {
    /// Takes the lock and brings the store into order; says whether a tree was adopted that was not the store's.
    pub(super) fn open(
        store: Store,
        vigil: &Mutex<Vigil>,
        strategy: &str,
        limits: &Limits,
        interrupt: &Interrupt,
        progress: &Progress,
    ) -> Result<(Self, bool)> {
        let lock = store.lock_after(&mut vigil.lock().unwrap_or_else(PoisonError::into_inner), interrupt)?;
        let adopted = store.adopt(&lock, limits, interrupt, progress)?;
        let state = store.recover(&lock, store.now(), interrupt)?;
        let cache = store.cache(strategy)?;
        let lock = Arc::new(lock);
        let held = Held { lock: lock.clone(), state };
        Ok((Self { store, cache, lock, held: Arc::new(Mutex::new(held)) }, adopted))
    }

    /// Whether the store still is this process's, and the link still points to what was published last, unless the tree
    /// that counts lies elsewhere.
    pub(super) fn check_link(&self, is_in_place: bool) -> Result<()> {
        let (lock, expected) = self.lock_and_current();
        self.find(&lock, expected.as_ref().filter(|_| !is_in_place)).map(drop)
    }

    pub(super) fn scrub(
        &self,
        mode: ScrubMode,
        rules: &StagingRules,
        interrupt: &Interrupt,
        progress: &Progress,
    ) -> Result<Option<ScrubReport>> {
        let (lock, expected) = self.lock_and_current();
        let Some(name) = self.find(&lock, expected.as_ref())? else { return Ok(None) };
        let StagingRules { filter, limits, .. } = rules;
        let scrub = Scrub { mode, renew_index: Some(&lock), filter, limits, interrupt, progress };
        self.store.scrub(&name, &scrub).map(Some)
    }

    pub(super) fn stage(&self, rules: StagingRules, interrupt: &Interrupt, progress: Progress) -> Result<StagedDraft> {
        let previous = self.store.snapshot()?.map(Arc::new);
        let draft = self.store.draft(&self.held().lock)?;
        let staging = Staging::new(&draft.tree(), rules, previous.clone(), interrupt.clone(), progress)?;
        Ok(StagedDraft { draft, staging, previous })
    }

    pub(super) fn publish(&self, staged: &Staged, job: Job, interrupt: &Interrupt) -> Result<Brought> {
        let Staged { draft, tree, .. } = staged;
        let held = &mut *self.held();
        let published =
            self.store.publish(&held.lock, &mut held.state, draft, tree, &job.publication(self.store.now()))?;
        let is_new = matches!(published, Published::New(_));
        let index = |held: &Held| {
            if let Err(error) = self.store.index(&held.lock, published.folder(), tree, interrupt) {
                tracing::warn!(%error, "the next check has to read every file");
            }
        };
        let mut pruned = 0;
        if is_new {
            if self.store.is_network() {
                // Pods on other hosts look at what is new at once, and would read all of it.
                index(held);
            }
            // The version is live: what fails from here on is worth a line in the log, not a failed sync.
            pruned = self.prune_held(held, &job.keep, interrupt).unwrap_or_else(|error| {
                tracing::warn!(%error, "old versions could not be removed; they stay until the next attempt");
                0
            });
        } else {
            // What was linked into the draft got another ctime by that, and by its removal.
            draft.discard();
        }
        if !is_new || pruned > 0 || !self.store.is_network() {
            index(held);
        }
        Ok(Brought {
            version: tree.manifest.version(),
            folder: Some(published.folder().clone()),
            in_place: None,
            files: tree.manifest.len() as u64,
            bytes: tree.bytes,
            published: is_new,
            counts: tree.counts,
            warnings: tree.warnings.clone(),
            pruned,
        })
    }

    /// What the source called a version that the store still has.
    pub(super) fn kept(&self, version: &Version) -> Option<Revision> {
        let held = self.held();
        let (name, folder) = held.state.folders.iter().find(|(name, _)| name.version() == *version)?;
        let named = folder.revision.clone().or_else(|| name.revision());
        Some(named.unwrap_or_else(|| Revision::new(version.to_string())))
    }

    /// Stages such a version.
    pub(super) fn restore(
        &self,
        version: &Version,
        staging: &Staging,
        rules: &StagingRules,
        interrupt: &Interrupt,
    ) -> Result<()> {
        let name = self.held().state.folders.keys().find(|name| name.version() == *version).cloned();
        let gone = || Error::new(ErrorKind::Changed, "restore", "the store no longer has that version");
        self.store.restore(&name.ok_or_else(gone)?, staging, rules, interrupt)
    }

    /// What was current, the newest first.
    pub(super) fn history(&self) -> Vec<Flip> {
        let held = self.held();
        let flip = |(name, folder): (&FolderName, &FolderState)| Flip {
            version: name.version(),
            revision: folder.revision.clone(),
            at: folder.published_at,
        };
        let mut flips: Vec<_> = held.state.folders.iter().map(flip).collect();
        flips.sort_by_key(|flip| std::cmp::Reverse(flip.at));
        flips
    }

    /// Notes that what the strategy has is the current version.
    pub(super) fn keep(&self, job: Job, files: u64, bytes: u64) -> Result<Brought> {
        let held = &mut *self.held();
        let folder = self.store.keep(&held.lock, &mut held.state, &job.publication(self.store.now()))?;
        Ok(Brought {
            version: folder.version(),
            folder: Some(folder),
            in_place: None,
            files,
            bytes,
            published: false,
            counts: StagingCounts::default(),
            warnings: Vec::new(),
            pruned: 0,
        })
    }

    /// Notes a tree that is served from where it lies: its manifest is kept, so that others can ask for it.
    pub(super) fn note_in_place(&self, found: InPlace, symlinks: SymlinkPolicy) -> Result<Brought> {
        let HashedTree { manifest, skipped, bytes, .. } = found.tree;
        symlinks.check(&skipped)?;
        let version = self.store.keep_manifest(&self.held().lock, &manifest)?;
        Ok(Brought {
            version,
            folder: None,
            in_place: Some(found.path),
            files: manifest.len() as u64,
            bytes,
            published: false,
            counts: StagingCounts::default(),
            warnings: skipped.into_iter().map(Warning::SkippedLink).chain(found.expectation.warnings).collect(),
            pruned: 0,
        })
    }

    pub(super) fn prune(&self, keep: &KeepPolicy, interrupt: &Interrupt) -> Result<usize> {
        self.prune_held(&mut self.held(), keep, interrupt)
    }

    fn prune_held(&self, held: &mut Held, keep: &KeepPolicy, interrupt: &Interrupt) -> Result<usize> {
        let removed = self.store.prune(&held.lock, &mut held.state, keep, self.store.now(), interrupt)?;
        for folder in &removed {
            tracing::info!(%folder, "removed an old version");
        }
        Ok(removed.len())
    }

    /// What the link leads to, which only a successor may have turned.
    fn find(&self, lock: &StoreLock, expected: Option<&FolderName>) -> Result<Option<FolderName>> {
        lock.check()?;
        self.store.check_link(expected).or_else(|error| lock.check().and(Err(error)))
    }

    /// The lock, and what should be current.
    fn lock_and_current(&self) -> (Arc<StoreLock>, Option<FolderName>) {
        let held = self.held();
        (held.lock.clone(), held.state.current.clone())
    }

    fn held(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
