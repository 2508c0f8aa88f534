//! The engine's part in one sync, reduced to what a strategy can see: a context, a staging folder, the version before.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use dagsync_core::fs::{self, Folder};
use dagsync_core::index::{Nanos, StatIndex, file_system_now};
use dagsync_core::tree::Reading;
use dagsync_core::{
    Filter, HashedTree, Interrupt, Limits, Manifest, Progress, Result, Revision, Snapshot, Staging, StagingCounts,
    StagingRules, Strategy, SymlinkPolicy, SyncContext, Tally, Tree, Warning, hash_tree,
};

/// A temporary folder with a cache and staging folders in which a strategy is run.
#[derive(Debug)]
pub struct Harness {
    dir: tempfile::TempDir,
    staged: std::sync::atomic::AtomicU32,
    previous: Option<Arc<Snapshot>>,
    /// Which files belong to the tree.
    pub filter: Arc<Filter>,
    /// How large the tree may be.
    pub limits: Limits,
    /// When to stop.
    pub interrupt: Interrupt,
}

/// What one sync brought.
#[derive(Debug)]
pub struct Synced {
    /// What the source called it.
    pub revision: Revision,
    /// The folder that holds it.
    pub folder: PathBuf,
    /// Whether it was staged there or always lies there.
    pub tree: Tree,
    /// Every file as a reader sees it.
    pub manifest: Manifest,
    /// How much work staging took.
    pub counts: StagingCounts,
    /// What was odd.
    pub warnings: Vec<Warning>,
}

impl Default for Harness {
    fn default() -> Self {
        Self::new()
    }
}

impl Harness {
    /// Empty folders, default limits, no deadline.
    pub fn new() -> Self {
        let dir = tempfile::tempdir().expect("a test needs a temporary folder");
        for name in ["cache", "staging"] {
            fs::create_folders(&dir.path().join(name)).expect("the temporary folder is writable");
        }
        Self {
            dir,
            staged: 0.into(),
            previous: None,
            filter: Arc::default(),
            limits: Limits::default(),
            interrupt: Interrupt::never(),
        }
    }

    /// The folder that holds everything that a strategy may write to, and nothing else.
    pub fn root(&self) -> &Path {
        self.dir.path()
    }

    /// The strategy's own folder.
    pub fn cache(&self) -> PathBuf {
        self.dir.path().join("cache")
    }

    /// The context of a `resolve`.
    pub fn context(&self) -> SyncContext {
        SyncContext {
            interrupt: self.interrupt.clone(),
            cache: self.cache(),
            filter: self.filter.clone(),
            limits: self.limits,
            previous: None,
            progress: Progress::default(),
            tally: Tally::default(),
            thorough: false,
        }
    }

    /// Asks the strategy what the source offers.
    pub async fn resolve(&self, strategy: &dyn Strategy) -> Result<Revision> {
        strategy.resolve(&self.context()).await
    }

    /// Has the strategy bring `revision` into a new staging folder, and completes the tree.
    pub async fn materialize(&self, strategy: &dyn Strategy, revision: &Revision) -> Result<Synced> {
        let number = self.staged.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let folder = self.dir.path().join("staging").join(number.to_string());
        fs::create_folders(&folder)?;
        let cx = SyncContext { previous: self.previous.clone(), ..self.context() };
        let rules = StagingRules {
            filter: cx.filter.clone(),
            limits: cx.limits,
            symlinks: SymlinkPolicy::default(),
            group_write: false,
        };
        let staging = Staging::new(&folder, rules, self.previous.clone(), cx.interrupt.clone(), cx.progress.clone())?;
        let tree = strategy.materialize(&cx, revision, &staging).await?;
        let revision = revision.clone();
        if let Tree::InPlace(found) = &tree {
            let HashedTree { manifest, skipped, .. } = found.tree.clone();
            let warnings = skipped.into_iter().map(Warning::SkippedLink).collect();
            let folder = found.path.clone();
            return Ok(Synced { revision, folder, tree, manifest, counts: StagingCounts::default(), warnings });
        }
        if let (Tree::Unchanged, Some(previous)) = (&tree, &self.previous) {
            let folder = previous.folder.path().to_owned();
            let manifest = self.read(&folder, None)?.manifest;
            let (counts, warnings) = Default::default();
            return Ok(Synced { revision, folder, tree, manifest, counts, warnings });
        }
        let staged = staging.finish()?;
        let (manifest, counts, warnings) = (staged.manifest, staged.counts, staged.warnings);
        Ok(Synced { revision, folder, tree, manifest, counts, warnings })
    }

    /// Resolves and materializes.
    pub async fn sync(&self, strategy: &dyn Strategy) -> Result<Synced> {
        let revision = self.resolve(strategy).await?;
        self.materialize(strategy, &revision).await
    }

    /// Makes `synced` the version before of the next sync. A tree in its place is never one.
    pub fn publish(&mut self, synced: &Synced) -> Result<()> {
        if !synced.tree.is_staged() {
            return Ok(());
        }
        let hashed = self.read(&synced.folder, Some(self.later()?))?;
        let (folder, version) = (Folder::open(&synced.folder)?, hashed.manifest.version());
        self.previous = Some(Arc::new(Snapshot { folder, version, index: hashed.index }));
        Ok(())
    }

    /// Forgets the version before.
    pub fn unpublish(&mut self) {
        self.previous = None;
    }

    /// Reads every file of `folder`, under this harness's filter and limits; `now` as of a [`Reading`].
    pub fn read(&self, folder: &Path, now: Option<Nanos>) -> Result<HashedTree> {
        let reading = Reading {
            filter: &self.filter,
            limits: &self.limits,
            symlinks: SymlinkPolicy::default(),
            index: &StatIndex::default(),
            now,
            interrupt: &self.interrupt,
            progress: &Progress::default(),
        };
        hash_tree(&Folder::open(folder)?, &reading)
    }

    /// A moment on the file system's clock at which nothing that was staged so far is racy.
    fn later(&self) -> Result<Nanos> {
        let start = file_system_now(self.root())?;
        loop {
            let now = file_system_now(self.root())?;
            if now > start {
                return Ok(now);
            }
            std::thread::sleep(std::time::Duration::from_millis(1));
        }
    }
}

impl Drop for Harness {
    fn drop(&mut self) {
        // Staged folders are read-only, which the temporary folder's own clean-up stumbles over.
        let _ = fs::remove_tree(&self.dir.path().join("staging"), &Interrupt::never());
    }
}
