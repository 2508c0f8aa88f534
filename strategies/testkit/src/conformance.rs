//! Every clause of the contract of [`dagsync_core::Strategy`] as one named check.
//!
//! A clause is run on a new source each time, so a failure says which clause is broken and nothing else. Clauses about
//! what a source cannot hold (see [`Capabilities`](crate::Capabilities)) are left out.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use dagsync_core::{ErrorKind, Strategy};

use crate::harness::{Harness, Synced};
use crate::oracle;
use crate::source::{Capabilities, Edit, Files, Source};

mod cache;
mod content;
mod interrupts;
mod outside;
mod revisions;

/// What a clause found: nothing, or what is wrong.
type Outcome = Result<(), String>;
type Check = for<'a> fn(Case<'a>) -> Pin<Box<dyn Future<Output = Outcome> + 'a>>;

/// How long one clause may take before the strategy counts as hung.
const PATIENCE: Duration = Duration::from_secs(60);

/// One clause of the contract.
#[derive(Clone, Copy)]
pub struct Clause {
    /// Its name, which says what must hold.
    pub name: &'static str,
    needs: fn(&Capabilities) -> bool,
    check: Check,
}

impl fmt::Debug for Clause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

/// A clause that does not hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// Which.
    pub clause: &'static str,
    /// What is wrong.
    pub what: String,
}

macro_rules! clauses {
    ($($needs:expr => $($module:ident::$name:ident),+;)+) => {
        /// All clauses.
        pub const CLAUSES: &[Clause] = &[
            $($(Clause { name: stringify!($name), needs: $needs, check: |case| Box::pin($module::$name(case)) },)+)+
        ];
    };
}

clauses! {
    |_| true =>
        revisions::an_unchanged_source_keeps_its_revision,
        revisions::every_change_of_the_source_changes_the_revision,
        revisions::a_revision_is_brought_exactly_or_called_changed,
        revisions::a_missing_source_is_not_found_or_unreachable,
        content::the_tree_is_what_was_put_in,
        content::what_the_filter_leaves_out_is_not_brought,
        content::a_tree_beyond_a_limit_is_refused,
        content::the_result_does_not_depend_on_the_version_before,
        content::unchanged_files_are_reused,
        cache::a_lost_cache_changes_nothing,
        cache::a_damaged_cache_changes_nothing,
        cache::a_cut_off_cache_changes_nothing,
        interrupts::cancelled_work_ends_soon,
        interrupts::work_ends_at_its_deadline,
        outside::nothing_is_written_outside_cache_and_staging,
        outside::its_name_is_one_stable_line,
        outside::no_secret_is_shown;
    |can| can.executable => content::executable_bits_are_kept;
    |can| can.symlinks => content::links_inside_are_brought_and_others_are_not;
    |can| can.empty => content::an_empty_source_is_an_empty_tree;
    |can| can.refused_names => content::a_name_that_tools_print_differently_is_refused;
}

/// Runs every clause on sources that `make` makes, each new and empty.
///
/// # Panics
/// Naming each clause that does not hold.
pub async fn all<S: Source>(make: impl AsyncFn() -> S) {
    let failures = check(make).await;
    let text: Vec<_> = failures.iter().map(|f| format!("\n- {}: {}", f.clause, f.what)).collect();
    assert!(failures.is_empty(), "the strategy breaks its contract:{}", text.concat());
}

/// As [`all`], but returns what does not hold.
pub async fn check<S: Source>(make: impl AsyncFn() -> S) -> Vec<Failure> {
    let mut failures = Vec::new();
    for clause in CLAUSES {
        if let Err(what) = clause.run(&mut make().await).await {
            failures.push(Failure { clause: clause.name, what });
        }
    }
    failures
}

impl Clause {
    /// Checks this clause alone on a new, empty source; passes where it does not apply.
    ///
    /// # Errors
    /// What is wrong.
    pub async fn run(&self, source: &mut dyn Source) -> Result<(), String> {
        if !(self.needs)(&source.capabilities()) {
            return Ok(());
        }
        let outcome = tokio::time::timeout(PATIENCE, (self.check)(Case::new(source))).await;
        outcome.unwrap_or_else(|_| Err(format!("did not end within {PATIENCE:?}")))
    }
}

/// A source, what it holds, and a harness to sync it in.
struct Case<'a> {
    source: &'a mut dyn Source,
    files: Files,
    harness: Harness,
    strategy: Arc<dyn Strategy>,
}

impl<'a> Case<'a> {
    fn new(source: &'a mut dyn Source) -> Self {
        let strategy = source.strategy();
        Self { source, files: Files::new(), harness: Harness::new(), strategy }
    }

    async fn apply(&mut self, edits: &[Edit]) {
        self.source.apply(edits).await;
        edits.iter().for_each(|edit| edit.apply(&mut self.files));
    }

    async fn sync(&self) -> Result<Synced, String> {
        self.harness.sync(&*self.strategy).await.map_err(|e| format!("a sync failed: {e:?}"))
    }

    /// Syncs, compares the result with what the source holds and makes it the version before.
    async fn sync_as_is(&mut self) -> Result<Synced, String> {
        let synced = self.sync().await?;
        expect_tree(&synced, &self.files)?;
        self.harness.publish(&synced).map_err(|e| format!("the tree cannot be published: {e:?}"))?;
        Ok(synced)
    }
}

/// The manifest of `synced`, and what coreutils make of its folder, against what coreutils make of `files`.
fn expect_tree(synced: &Synced, files: &Files) -> Outcome {
    let say = |e: std::io::Error| format!("cannot check the tree: {e}");
    let want = oracle::expected(files).map_err(say)?;
    let manifest = String::from_utf8_lossy(&synced.manifest.to_bytes()).into_owned();
    if manifest != want {
        return Err(format!("the manifest is\n{manifest}and must be\n{want}"));
    }
    // A tree in its place may hold what the filter leaves out; a staged one may not.
    if synced.tree.is_staged() {
        let found = oracle::manifest(&synced.folder).map_err(say)?;
        if found != want {
            return Err(format!("in the staging folder is\n{found}and must be\n{want}"));
        }
    }
    Ok(())
}

fn expect(holds: bool, what: impl FnOnce() -> String) -> Outcome {
    if holds { Ok(()) } else { Err(what()) }
}

fn expect_kind<T>(done: Result<T, dagsync_core::Error>, kinds: &[ErrorKind], when: &str) -> Outcome {
    match done {
        Err(e) if kinds.contains(&e.kind()) => Ok(()),
        Err(e) => Err(format!("{when} it fails with {e:?}, not with {kinds:?}")),
        Ok(_) => Err(format!("{when} it succeeds; wanted {kinds:?}")),
    }
}
