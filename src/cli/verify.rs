//! `dagsync verify`: reads every file of a tree and compares it with what it should be.

mod answer;
#[cfg(feature = "image")]
mod image;
#[cfg(not(feature = "image"))]
#[path = "verify/no_image.rs"]
mod image;
mod place;

use std::path::PathBuf;
use std::sync::Arc;

use dagsync_core::{
    Change, Error, ErrorKind, Filter, HashedTree, Interrupt, Manifest, Registry, Result, Version, blocking,
};

use super::answer::{Answer, Exit, Style, warn};
use super::args::{Globs, VerifyArgs};
use super::tree::{read_folder, read_with};
use crate::store::{differences, is_git_sync};
use place::Place;

/// What was found.
struct Verdict {
    expected: Option<Version>,
    /// Unknown when the tree cannot be read as a whole.
    found: Option<Version>,
    files: usize,
    /// Seen from its manifest; `None` when that is not known.
    changes: Option<Vec<Change>>,
    /// What is wrong beside single files.
    faults: Vec<String>,
    warnings: Vec<String>,
    /// Whether it was compared with all that was asked for.
    is_compared: bool,
}

impl Verdict {
    fn is_fine(&self) -> bool {
        self.faults.is_empty()
            && self.changes.as_ref().is_none_or(Vec::is_empty)
            && (self.expected.is_none() || self.expected == self.found)
    }
}

pub(super) async fn run(
    registry: &Registry,
    file: Option<PathBuf>,
    args: VerifyArgs,
    interrupt: Interrupt,
    style: Style,
) -> Result<Answer> {
    let who = image::who(registry, file, &args)?;
    let args = Arc::new(args);
    let known = args.clone();
    let place = blocking(&interrupt, "read seal", move |_| place::find(&known)).await?;
    let globs = place.globs.clone();
    let mut verdict = match look(place, &args, &interrupt).await {
        // That it cannot be read is what is wrong with it.
        Err(error) if error.kind() == ErrorKind::Mismatch => Verdict::unreadable(&error),
        verdict => verdict?,
    };
    // Whoever does not answer must not keep what was found from being said.
    if verdict.is_fine()
        && let Some(who) = who
    {
        match image::ask(&who, &globs, &interrupt).await {
            Ok(version) => verdict.expected = Some(version),
            Err(error) if !only_warns(&args) || is_ours(&error) => return Err(error),
            Err(error) => {
                verdict.is_compared = false;
                verdict.warnings.push(format!("nothing is compared with what it should be: {error}"));
            }
        }
    }
    let is_wrong = verdict.is_compared && verdict.expected.is_none();
    if is_wrong && verdict.is_fine() {
        verdict.faults.push(nothing_to_compare(&args).to_string());
    }
    verdict.faults.iter().chain(&verdict.warnings).for_each(warn);
    let exit = if verdict.is_fine() || only_warns(&args) { Exit::Fine } else { Exit::Mismatch };
    Ok(answer::of(&verdict, exit, args.output, style))
}

/// Reads the tree and compares it with what this host knows.
async fn look(place: Place, args: &VerifyArgs, interrupt: &Interrupt) -> Result<Verdict> {
    let Place { dir, globs, store, manifest, version, faults, seal } = place;
    let tree = match &store {
        // Of a store everything that readers see counts: its globs were applied when it was published.
        Some(_) => read_folder(&dir, &Globs::default(), None, interrupt).await?,
        None => {
            let seal = seal.clone();
            read_with(&dir, &globs, None, interrupt, move |folder, reading| image::read(folder, reading, &seal)).await?
        }
    };
    let filter = Filter::new(&globs.include, &globs.exclude)?;
    let changes = match (&manifest, &store) {
        (Some(manifest), Some(_)) => Some(differences(manifest, &tree, &filter, is_git_sync(&dir))),
        (manifest, _) => changes(manifest.as_ref(), &tree, seal.links(&tree)?),
    };
    let odd = tree.odd.iter().map(|odd| odd.why.clone());
    let mut warnings: Vec<String> = tree.skipped.iter().map(ToString::to_string).collect();
    warnings.extend(store.iter().flat_map(|root| place::beside(root)));
    Ok(Verdict {
        expected: version.or(args.expect).or(manifest.as_ref().map(Manifest::version)),
        found: Some(tree.manifest.version()),
        files: tree.manifest.len(),
        changes,
        faults: faults.into_iter().chain(odd).collect(),
        warnings,
        is_compared: true,
    })
}

/// How a folder differs from its manifest; without one, what no manifest could hold.
fn changes(manifest: Option<&Manifest>, tree: &HashedTree, links: dagsync_core::links::Links) -> Option<Vec<Change>> {
    let changes = tree.changes_since(manifest.unwrap_or(&tree.manifest), &links);
    (manifest.is_some() || !changes.is_empty()).then_some(changes)
}

fn nothing_to_compare(args: &VerifyArgs) -> Error {
    let message = format!("{} is no store and has no seal, so there is nothing to compare it with", args.dir.display());
    Error::new(ErrorKind::Mismatch, "verify", message)
        .with_hint("give --expect or --manifest, or seal it with `dagsync seal`")
}

/// Whether drift is only to be said.
fn only_warns(args: &VerifyArgs) -> bool {
    #[cfg(feature = "image")]
    return args.image.on_drift == super::args::OnDrift::Warn;
    #[cfg(not(feature = "image"))]
    {
        let _ = args;
        false
    }
}

/// Whether an error is the caller's doing rather than that of who was asked.
fn is_ours(error: &Error) -> bool {
    matches!(error.kind(), ErrorKind::Config | ErrorKind::Cancelled)
}

impl Verdict {
    fn unreadable(error: &Error) -> Self {
        let faults = vec![error.to_string()];
        Self { expected: None, found: None, files: 0, changes: None, faults, warnings: Vec::new(), is_compared: true }
    }
}
