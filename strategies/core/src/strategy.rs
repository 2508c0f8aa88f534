//! The contract between the engine and a kind of source.

use std::fmt::{Debug, Display};
use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;

use crate::error::{Error, ErrorKind, Result};
use crate::filter::Filter;
use crate::interrupt::Interrupt;
use crate::limits::Limits;
use crate::links::Links;
use crate::manifest::{Manifest, Version};
use crate::progress::Progress;
use crate::revision::Revision;
use crate::staging::{Snapshot, Staging};
use crate::tally::Tally;
use crate::tree::HashedTree;
use crate::warning::Warning;

/// One kind of source.
///
/// # Contract
///
/// - **Identity.** `Display` names the source for people: it holds no secret, and it stays the same while the process
///   runs. `Debug` holds no secret either.
/// - **resolve** reads only, fetches no content and does not look at the version before. Two calls with an unchanged
///   source return equal revisions. It fails with [`ErrorKind::NotFound`] when what was asked for is not in the source,
///   with [`ErrorKind::Unreachable`] when the source does not answer, and with [`ErrorKind::Unauthorized`] or
///   [`ErrorKind::Untrusted`] when one side refuses the other.
/// - **materialize** brings exactly `revision`, whatever the source holds by then, or fails: with
///   [`ErrorKind::Changed`] when the revision can no longer be had but a newer one may. The result depends on the
///   revision and the settings alone, never on the version before or on what a cache holds.
/// - Every file and link that [`Staging::wants`] is staged exactly once, with the content and the executable bit that
///   the source has; nothing else is. An unchanged file is offered to [`Staging::reuse`] before it is written.
/// - What [`SyncContext::cache`] holds may be lost, damaged or left half-written by a killed process at any time: the
///   strategy finds out and rebuilds it. Nothing else on disk is written, except through [`Staging`].
/// - Both methods end soon after [`SyncContext::interrupt`] says so, leave no work running behind, and never block the
///   runtime: what blocks goes through [`SyncContext::blocking`].
/// - They do not retry: that happens in the engine. An error says whether trying again can help. Only a single request of
///   very many, as S3 needs them, may be made again, a bounded number of times and in one place.
/// - Credentials are read from their files on every use.
///
/// The conformance suite in `dagsync-testkit` checks these.
#[async_trait]
pub trait Strategy: Debug + Display + Send + Sync + 'static {
    /// What the source offers now. Reads only, cheap, no content.
    async fn resolve(&self, cx: &SyncContext) -> Result<Revision>;

    /// The same for a caller that has nothing of the source yet and materializes next what this returns: a strategy that
    /// can say what there is and fetch it in one connection may do so. That the fetch fails is not this call's error.
    async fn resolve_ahead(&self, cx: &SyncContext) -> Result<Revision> {
        self.resolve(cx).await
    }

    /// The source's name for one certain state instead of its newest: the one that holds `version`, or that another pod with
    /// this strategy calls `revision`. `None` when the strategy cannot tell: then the newest is brought, and has to be right.
    /// Reads only; whether the content is `version` is checked by the engine.
    async fn find(
        &self,
        _cx: &SyncContext,
        _version: Option<&Version>,
        _revision: Option<&Revision>,
    ) -> Result<Option<Revision>> {
        Ok(None)
    }

    /// Waits until the source says that it may have changed, where a source can say so: a hint that wakes the loop, never
    /// the truth. It runs beside syncs and may be dropped at any time; an error of it is logged and nothing more.
    async fn changed(&self, _interrupt: &Interrupt) -> Result<()> {
        std::future::pending().await
    }

    /// Whether the source's names for its states prove less than its content would, as stats do: then the engine has
    /// everything brought again at each full check, with [`SyncContext::thorough`].
    fn is_reread(&self) -> bool {
        false
    }

    /// Whether the tree is served from where it lies, so that nothing in the store is what this pod serves.
    fn is_in_place(&self) -> bool {
        false
    }

    /// Brings exactly `revision` into `staging`, or says where it already lies.
    async fn materialize(&self, cx: &SyncContext, revision: &Revision, staging: &Staging) -> Result<Tree>;
}

/// Where a tree lies after [`Strategy::materialize`].
#[derive(Debug, Clone)]
pub enum Tree {
    /// In the staging folder; it will be published.
    Staged,
    /// Nowhere, because it is the same as [`SyncContext::previous`]: nothing was staged.
    Unchanged,
    /// Where it always lies; it is never copied.
    InPlace(Box<InPlace>),
}

impl Tree {
    /// Whether it is in the staging folder.
    pub const fn is_staged(&self) -> bool {
        matches!(self, Self::Staged)
    }
}

/// A tree that is served from where it lies.
///
/// Unlike one that is staged it may change at any time, so only the strategy can say what it was as `revision`: it
/// hashes the tree itself, with [`hash_tree`](crate::hash_tree) or [`hash_listing`](crate::tree::hash_listing).
#[derive(Debug, Clone)]
pub struct InPlace {
    /// Its folder.
    pub path: PathBuf,
    /// What was found there.
    pub tree: HashedTree,
    /// What should be there.
    pub expectation: Expectation,
}

/// What a tree in its place should be, as far as the strategy knows; by default it is right as it is.
#[derive(Debug, Clone, Default)]
pub struct Expectation {
    /// What it was when it was made.
    pub seal: SealState,
    /// The version that it should have now, and who says so.
    pub wanted: Option<(Version, String)>,
    /// What to do when it is not what it was.
    pub mend: &'static str,
    /// What is odd about this.
    pub warnings: Vec<Warning>,
}

/// What is known of a tree from when it was made.
#[derive(Debug, Clone, Default)]
pub enum SealState {
    /// Such trees have no seal.
    #[default]
    None,
    /// It should have one.
    Missing,
    /// Its seal was touched; how.
    Broken(String),
    /// It had these files, and these links that counted for nothing.
    Of(Manifest, Links),
}

/// What a strategy may know and use during one sync.
#[derive(Debug, Clone)]
pub struct SyncContext {
    /// When to stop.
    pub interrupt: Interrupt,
    /// A folder of the strategy's own, kept between syncs; it exists.
    pub cache: PathBuf,
    /// Which files belong to the tree.
    pub filter: Arc<Filter>,
    /// How large the tree may be.
    pub limits: Limits,
    /// The version before; absent in `resolve`, and where a fresh copy is wanted because that one was touched.
    pub previous: Option<Arc<Snapshot>>,
    /// Where to count.
    pub progress: Progress,
    /// Where to count calls of other services.
    pub tally: Tally,
    /// Whether every file is to be read, whatever is known of it; see [`Strategy::is_reread`].
    pub thorough: bool,
}

impl SyncContext {
    /// Runs work that blocks (libgit2, hashing, file trees) on a blocking thread.
    ///
    /// The work is given the interrupt and must look at it: it is waited for, never abandoned.
    pub async fn blocking<T: Send + 'static>(
        &self,
        operation: &'static str,
        work: impl FnOnce(&Interrupt) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        blocking(&self.interrupt, operation, work).await
    }
}

/// As [`SyncContext::blocking`], for callers without a context.
pub async fn blocking<T: Send + 'static>(
    interrupt: &Interrupt,
    operation: &'static str,
    work: impl FnOnce(&Interrupt) -> Result<T> + Send + 'static,
) -> Result<T> {
    let interrupt = interrupt.clone();
    match tokio::task::spawn_blocking(move || work(&interrupt)).await {
        Ok(result) => result,
        Err(e) if e.is_panic() => std::panic::resume_unwind(e.into_panic()),
        Err(e) => Err(Error::new(ErrorKind::Cancelled, operation, "the runtime is shutting down").with_source(e)),
    }
}
