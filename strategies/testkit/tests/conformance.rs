//! The suite accepts a strategy that keeps the contract and catches each of these that does not.
#![allow(clippy::disallowed_methods, clippy::unwrap_used)]

use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use dagsync_core::{
    Digest, Error, ErrorKind, Result, Revision, Staging, Strategy, SyncContext, Tree, TreePath, async_trait,
};
use dagsync_testkit::conformance::{self, CLAUSES};
use dagsync_testkit::{Capabilities, Edit, Files, Item, MemorySource, Source};

/// What is wrong with a [`Broken`] strategy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Defect {
    Nothing,
    CountsCalls,
    NeverChanges,
    LooksAtNamesOnly,
    BringsTheNewest,
    CallsAMissingSourceEmpty,
    ForgetsEmptyFiles,
    MendsLineEnds,
    FoldsCase,
    IgnoresTheFilter,
    IgnoresLimits,
    KeepsDeletedFiles,
    WritesAlways,
    ForgetsExecutableBits,
    CopiesLinkedFiles,
    HidesBadLinks,
    RefusesEmptyTrees,
    ReplacesBackslashes,
    NeedsItsCache,
    TrustsItsCache,
    SleepsThroughInterrupts,
    EndsTooEarly,
    CallsItUnexpected,
    WritesBesideItsCache,
    TouchesTheSource,
    ChangesItsName,
    ShowsItsPassword,
}

use Defect::*;

const PASSWORD: &str = "hunter2";

#[derive(Clone)]
struct Broken {
    defect: Defect,
    source: MemorySource,
    calls: Arc<AtomicU64>,
    /// Where the source would lie if it were local.
    local: Arc<tempfile::TempDir>,
}

impl fmt::Debug for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.defect == ShowsItsPassword { PASSWORD } else { "Broken" })
    }
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.defect {
            ChangesItsName => write!(f, "call {}", self.calls.load(Relaxed)),
            _ => f.write_str("broken"),
        }
    }
}

#[async_trait]
impl Source for Broken {
    async fn apply(&mut self, edits: &[Edit]) {
        self.source.apply(edits).await;
        self.source.forget_history();
    }

    async fn remove(&mut self) {
        self.source.remove().await;
    }

    fn strategy(&self) -> Arc<dyn Strategy> {
        Arc::new(self.clone())
    }

    fn secrets(&self) -> Vec<String> {
        vec![PASSWORD.to_owned()]
    }

    fn local(&self) -> Option<std::path::PathBuf> {
        Some(self.local.path().to_owned())
    }
}

impl Broken {
    fn new(defect: Defect) -> Self {
        let local = Arc::new(tempfile::tempdir().unwrap());
        Self { defect, source: MemorySource::new(), calls: Arc::default(), local }
    }

    fn is(&self, defect: Defect) -> bool {
        self.defect == defect
    }

    fn files(&self, cx: &SyncContext, revision: &Revision) -> Result<Files> {
        let asked = if self.is(BringsTheNewest) { self.source.revision()? } else { revision.clone() };
        let asked = match asked.as_str().rsplit_once('/') {
            Some(_) => self.source.revision()?,
            None => asked,
        };
        let mut files = (*self.source.at(&asked)?).clone();
        if self.is(KeepsDeletedFiles) && cx.previous.is_some() {
            files.entry("gone.py".to_owned()).or_insert(Item::File { content: b"x".to_vec(), executable: false });
        }
        if self.is(RefusesEmptyTrees) && files.is_empty() {
            return Err(Error::new(ErrorKind::NotFound, "materialize", "nothing there"));
        }
        if matches!(self.defect, NeedsItsCache | TrustsItsCache) {
            self.cached(&cx.cache, &mut files)?;
        }
        if self.is(WritesBesideItsCache) {
            std::fs::write(cx.cache.join("../beside"), "x").unwrap();
        }
        if self.is(TouchesTheSource) {
            std::fs::write(self.local.path().join(".lock"), self.calls.load(Relaxed).to_string()).unwrap();
        }
        if self.is(HidesBadLinks) {
            files.retain(|path, item| !matches!(item, Item::Link(_)) || !["abs", "up"].contains(&path.as_str()));
        }
        Ok(files)
    }

    /// Keeps the content of `a.py` in the cache and believes in it.
    fn cached(&self, cache: &Path, files: &mut Files) -> Result<()> {
        let Some(Item::File { content, .. }) = files.get_mut("a.py") else { return Ok(()) };
        let key = cache.join(Digest::of(&*content).to_string());
        let first = self.calls.load(Relaxed) == 0;
        match std::fs::read(&key) {
            Ok(bytes) if self.is(TrustsItsCache) => *content = bytes,
            Err(_) if self.is(NeedsItsCache) && !first && cache.read_dir().unwrap().next().is_none() => {
                return Err(Error::new(ErrorKind::Io, "read cache", "it is not there"));
            }
            _ => std::fs::write(&key, &*content).unwrap(),
        }
        self.calls.fetch_add(1, Relaxed);
        Ok(())
    }

    fn bend(&self, path: &mut String, content: &mut Vec<u8>, executable: &mut bool) {
        match self.defect {
            MendsLineEnds => content.retain(|b| *b != b'\r'),
            FoldsCase => *path = path.to_lowercase(),
            ForgetsExecutableBits => *executable = false,
            ReplacesBackslashes => *path = path.replace('\\', "/"),
            _ => {}
        }
    }

    fn stage(&self, cx: &SyncContext, staging: &Staging, files: &Files) -> Result<()> {
        for (path, item) in files {
            if !self.is(SleepsThroughInterrupts) {
                cx.interrupt.check("materialize")?;
            }
            let mut path = path.clone();
            if !cx.filter.keeps(&path) && !self.is(IgnoresTheFilter) {
                continue;
            }
            match item {
                Item::Link(target) if self.is(CopiesLinkedFiles) => {
                    staging.write_bytes(&TreePath::new(path)?, false, target.as_bytes())?;
                }
                Item::Link(target) => staging.link(&TreePath::new(path)?, target.as_bytes())?,
                Item::File { content, .. } if self.is(ForgetsEmptyFiles) && content.is_empty() => {}
                Item::File { content, executable } => {
                    let (mut content, mut executable) = (content.clone(), *executable);
                    self.bend(&mut path, &mut content, &mut executable);
                    let path = TreePath::new(&path)?;
                    if self.is(WritesAlways) || !staging.reuse(&path, executable, &Digest::of(&content))? {
                        staging.write_bytes(&path, executable, &content)?;
                    }
                }
            }
        }
        Ok(())
    }

    /// The names and executable bits, but not the content.
    fn names(&self) -> Revision {
        let head = self.source.head();
        Revision::new(format!("names/{}", Digest::of(format!("{:?}", head.keys().collect::<Vec<_>>()))))
    }
}

#[async_trait]
impl Strategy for Broken {
    async fn resolve(&self, cx: &SyncContext) -> Result<Revision> {
        cx.interrupt.check("resolve")?;
        let revision = match self.source.revision() {
            Err(_) if self.is(CallsAMissingSourceEmpty) => return Ok(Revision::new("empty")),
            Err(e) if self.is(ShowsItsPassword) => return Err(e.with_context("password", PASSWORD)),
            revision => revision?,
        };
        Ok(match self.defect {
            CountsCalls => Revision::new(format!("{revision}/{}", self.calls.fetch_add(1, Relaxed))),
            NeverChanges => Revision::new("same/for-ever"),
            LooksAtNamesOnly => self.names(),
            _ => revision,
        })
    }

    async fn materialize(&self, cx: &SyncContext, revision: &Revision, staging: &Staging) -> Result<Tree> {
        if self.is(SleepsThroughInterrupts) && cx.interrupt.check("materialize").is_err() {
            tokio::time::sleep(Duration::from_secs(6)).await;
        }
        if self.is(EndsTooEarly) && cx.interrupt.check("materialize").is_err() {
            return Ok(Tree::Staged);
        }
        let files = self.files(cx, revision)?;
        if matches!(self.defect, ChangesItsName) {
            self.calls.fetch_add(1, Relaxed);
        }
        match self.stage(cx, staging, &files) {
            Err(e) if self.is(CallsItUnexpected) => {
                Err(Error::new(ErrorKind::Unexpected, "materialize", e.to_string()))
            }
            Err(e) if self.is(IgnoresLimits) && e.kind() == ErrorKind::LimitExceeded => Ok(Tree::Staged),
            done => done.map(|()| Tree::Staged),
        }
    }
}

#[tokio::test]
async fn a_strategy_that_keeps_the_contract_passes() {
    conformance::all(async || MemorySource::new()).await;
    assert_eq!(conformance::check(async || Broken::new(Nothing)).await, []);
}

#[tokio::test]
async fn each_defect_is_caught_by_its_clause() {
    for (defect, clause) in [
        (CountsCalls, "an_unchanged_source_keeps_its_revision"),
        (NeverChanges, "every_change_of_the_source_changes_the_revision"),
        (LooksAtNamesOnly, "every_change_of_the_source_changes_the_revision"),
        (BringsTheNewest, "a_revision_is_brought_exactly_or_called_changed"),
        (CallsAMissingSourceEmpty, "a_missing_source_is_not_found_or_unreachable"),
        (ForgetsEmptyFiles, "the_tree_is_what_was_put_in"),
        (MendsLineEnds, "the_tree_is_what_was_put_in"),
        (FoldsCase, "the_tree_is_what_was_put_in"),
        (IgnoresTheFilter, "what_the_filter_leaves_out_is_not_brought"),
        (IgnoresLimits, "a_tree_beyond_a_limit_is_refused"),
        (KeepsDeletedFiles, "the_result_does_not_depend_on_the_version_before"),
        (WritesAlways, "unchanged_files_are_reused"),
        (ForgetsExecutableBits, "executable_bits_are_kept"),
        (CopiesLinkedFiles, "links_inside_are_brought_and_others_are_not"),
        (HidesBadLinks, "links_inside_are_brought_and_others_are_not"),
        (RefusesEmptyTrees, "an_empty_source_is_an_empty_tree"),
        (ReplacesBackslashes, "a_name_that_tools_print_differently_is_refused"),
        (NeedsItsCache, "a_lost_cache_changes_nothing"),
        (TrustsItsCache, "a_damaged_cache_changes_nothing"),
        (TrustsItsCache, "a_cut_off_cache_changes_nothing"),
        (SleepsThroughInterrupts, "cancelled_work_ends_soon"),
        (SleepsThroughInterrupts, "work_ends_at_its_deadline"),
        (EndsTooEarly, "cancelled_work_ends_soon"),
        (CallsItUnexpected, "work_ends_at_its_deadline"),
        (WritesBesideItsCache, "nothing_is_written_outside_cache_and_staging"),
        (TouchesTheSource, "nothing_is_written_outside_cache_and_staging"),
        (ChangesItsName, "its_name_is_one_stable_line"),
        (ShowsItsPassword, "no_secret_is_shown"),
    ] {
        let clause = CLAUSES.iter().find(|c| c.name == clause).unwrap();
        let caught = clause.run(&mut Broken::new(defect)).await;
        assert!(caught.is_err(), "{defect:?} slips through {clause:?}");
    }
}

#[tokio::test]
async fn clauses_about_what_a_source_cannot_hold_are_left_out() {
    #[derive(Debug)]
    struct Poor(MemorySource);
    #[async_trait]
    impl Source for Poor {
        fn capabilities(&self) -> Capabilities {
            Capabilities { symlinks: false, executable: false, empty: false, refused_names: false }
        }
        async fn apply(&mut self, edits: &[Edit]) {
            for edit in edits {
                let Edit::Put(path, item) = edit else { continue };
                assert!(matches!(item, Item::File { executable: false, .. }), "{item:?}");
                assert!(!path.contains('\\'), "{path}");
            }
            self.0.apply(edits).await;
        }
        async fn remove(&mut self) {
            self.0.remove().await;
        }
        fn strategy(&self) -> Arc<dyn Strategy> {
            self.0.strategy()
        }
    }
    conformance::all(async || Poor(MemorySource::new())).await;
    assert_eq!(CLAUSES.len(), 21);
}
