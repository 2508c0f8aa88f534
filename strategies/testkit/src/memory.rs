//! A source in memory with a history, and its strategy: the shortest one that keeps the whole contract.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use dagsync_core::{
    Digest, Error, ErrorKind, Filter, Interrupt, Result, Revision, Staging, Strategy, SyncContext, Tree, TreePath,
    Version, async_trait,
};

use crate::source::{Edit, Files, Item, Source};

/// A source in memory. Clones share one source, so a test keeps one and gives another to the strategy.
#[derive(Debug, Clone, Default)]
pub struct MemorySource(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    /// Every state since the start; `None` where it was forgotten.
    history: Vec<Option<Arc<Files>>>,
    removed: bool,
}

impl MemorySource {
    /// An empty source, at revision `memory-0`.
    pub fn new() -> Self {
        let source = Self::default();
        source.state().history.push(Some(Arc::default()));
        source
    }

    /// Makes `edits` as one new state; with none, a revision of the same content.
    pub fn commit(&self, edits: &[Edit]) -> Revision {
        let mut files = (*self.head()).clone();
        edits.iter().for_each(|edit| edit.apply(&mut files));
        let mut state = self.state();
        state.history.push(Some(Arc::new(files)));
        revision(state.history.len() - 1)
    }

    /// Makes every state before the newest unavailable, as a force-push or an overwritten object does.
    pub fn forget_history(&self) {
        let mut state = self.state();
        let newest = state.history.len().saturating_sub(1);
        state.history[..newest].fill(None);
    }

    /// What it holds now.
    pub fn head(&self) -> Arc<Files> {
        self.state().history.last().cloned().flatten().unwrap_or_default()
    }

    /// What it held at `revision`.
    pub fn at(&self, revision: &Revision) -> Result<Arc<Files>> {
        let state = self.available("materialize")?;
        let number = revision.as_str().strip_prefix("memory-").and_then(|n| n.parse::<usize>().ok());
        match number.and_then(|n| state.history.get(n)) {
            Some(Some(files)) => Ok(files.clone()),
            Some(None) => Err(Error::new(ErrorKind::Changed, "materialize", format!("{revision} was forgotten"))),
            None => Err(Error::new(ErrorKind::NotFound, "materialize", format!("there never was {revision}"))),
        }
    }

    /// The name of its newest state.
    pub fn revision(&self) -> Result<Revision> {
        Ok(revision(self.available("resolve")?.history.len() - 1))
    }

    fn available(&self, operation: &'static str) -> Result<MutexGuard<'_, State>> {
        let state = self.state();
        if state.removed {
            return Err(Error::new(ErrorKind::NotFound, operation, "the source in memory was removed"));
        }
        Ok(state)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn revision(number: usize) -> Revision {
    Revision::new(format!("memory-{number}"))
}

#[async_trait]
impl Source for MemorySource {
    async fn apply(&mut self, edits: &[Edit]) {
        self.commit(edits);
    }

    async fn remove(&mut self) {
        self.state().removed = true;
    }

    fn strategy(&self) -> Arc<dyn Strategy> {
        Arc::new(MemoryStrategy::new(self.clone()))
    }
}

/// The strategy that reads a [`MemorySource`].
#[derive(Debug, Clone)]
pub struct MemoryStrategy(MemorySource);

impl MemoryStrategy {
    /// A strategy that reads `source`.
    pub fn new(source: MemorySource) -> Self {
        Self(source)
    }
}

impl fmt::Display for MemoryStrategy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("memory")
    }
}

#[async_trait]
impl Strategy for MemoryStrategy {
    async fn resolve(&self, cx: &SyncContext) -> Result<Revision> {
        cx.interrupt.check("resolve")?;
        self.0.revision()
    }

    async fn find(
        &self,
        _: &SyncContext,
        _: Option<&Version>,
        revision: Option<&Revision>,
    ) -> Result<Option<Revision>> {
        Ok(revision.cloned())
    }

    async fn materialize(&self, cx: &SyncContext, revision: &Revision, staging: &Staging) -> Result<Tree> {
        let (files, filter, staging) = (self.0.at(revision)?, cx.filter.clone(), staging.clone());
        cx.blocking("materialize", move |interrupt| stage(&files, &filter, &staging, interrupt)).await?;
        Ok(Tree::Staged)
    }
}

fn stage(files: &Files, filter: &Filter, staging: &Staging, interrupt: &Interrupt) -> Result<()> {
    for (path, item) in files {
        interrupt.check("materialize")?;
        // A name that is left out need not be a good one, so the filter comes first.
        if !filter.keeps(path) {
            continue;
        }
        let path = TreePath::new(path)?;
        match item {
            Item::Link(target) => staging.link(&path, target.as_bytes())?,
            Item::File { content, executable } => {
                if !staging.reuse(&path, *executable, &Digest::of(content))? {
                    staging.write_bytes(&path, *executable, content)?;
                }
            }
        }
    }
    Ok(())
}
