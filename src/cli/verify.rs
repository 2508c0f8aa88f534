//! `dagsync verify`: reads every file of a tree and compares it with what it should be.

use std::path::PathBuf;

use dagsync_core::{Change, ChangeKind, Error, ErrorKind, Filter, Interrupt, Manifest, Result, Version};
use serde_json::{Value as Json, json};

use super::answer::{Answer, Exit, Style, files};
use super::args::{Globs, Output, VerifyArgs};
use super::tree::{manifest_file, published, read_folder};
use crate::store::{Store, differences, is_git_sync};

/// What a tree should be.
struct Expected {
    version: Version,
    /// Without it, files cannot be named.
    manifest: Option<Manifest>,
}

/// What was found.
struct Verdict {
    expected: Version,
    found: Version,
    files: usize,
    /// Seen from what was expected; `None` when that is not known file by file.
    changes: Option<Vec<Change>>,
}

impl Verdict {
    fn is_fine(&self) -> bool {
        self.changes.as_ref().map_or(self.expected == self.found, Vec::is_empty)
    }
}

pub(super) async fn run(args: VerifyArgs, interrupt: Interrupt, style: Style) -> Result<Answer> {
    let (dir, expected, in_store) = what(&args)?;
    // Of a store everything that readers see counts: its globs were applied when it was published.
    let globs = if in_store { Globs::default() } else { args.globs.clone() };
    let tree = read_folder(&dir, &globs, None, &interrupt).await?;
    let filter = Filter::new(&args.globs.include, &args.globs.exclude)?;
    let changes = expected.manifest.map(|manifest| match in_store {
        true => differences(&manifest, &tree, &filter, is_git_sync(&dir)),
        false => manifest.diff(&tree.manifest),
    });
    let (found, files) = (tree.manifest.version(), tree.manifest.len());
    let verdict = Verdict { expected: expected.version, found, files, changes };
    let exit = if verdict.is_fine() { Exit::Fine } else { Exit::Mismatch };
    Ok(match args.output {
        Output::Json => Answer::json(exit, &machine(&verdict)),
        Output::Text => Answer::text(exit, human(&verdict, style)),
    })
}

/// The folder to read, what it should be, and whether it is a store's.
fn what(args: &VerifyArgs) -> Result<(PathBuf, Expected, bool)> {
    let store = Store::find(&args.dir, args.link.as_deref());
    let own = if store.exists() { Some(published(&store)?) } else { None };
    let dir = own.as_ref().map_or_else(|| args.dir.clone(), |(folder, _)| store.folder_path(folder));
    let in_store = own.is_some();
    let expected = match (&args.expect, &args.manifest, own) {
        (Some(version), _, own) => {
            let manifest = own.map(|(_, manifest)| manifest).filter(|m| m.version() == *version);
            Expected { version: *version, manifest }
        }
        (None, Some(file), _) => whole(manifest_file(file)?),
        (None, None, Some((_, manifest))) => whole(manifest),
        (None, None, None) => {
            let message = format!("{} is no store, so there is nothing to compare it with", args.dir.display());
            return Err(Error::new(ErrorKind::Config, "verify", message).with_hint("give --expect or --manifest"));
        }
    };
    Ok((dir, expected, in_store))
}

fn whole(manifest: Manifest) -> Expected {
    Expected { version: manifest.version(), manifest: Some(manifest) }
}

/// What has become of a file that should be there.
const fn fate(change: ChangeKind) -> &'static str {
    match change {
        ChangeKind::Added => "added",
        ChangeKind::Removed => "missing",
        ChangeKind::Modified => "modified",
    }
}

fn machine(verdict: &Verdict) -> Json {
    let list = |changes: &Vec<Change>| -> Json {
        changes.iter().map(|c| json!({"path": c.path, "change": fate(c.change)})).collect()
    };
    json!({
        "ok": verdict.is_fine(),
        "expected": verdict.expected,
        "version": verdict.found,
        "files": verdict.files,
        "changes": verdict.changes.as_ref().map(list),
    })
}

fn human(verdict: &Verdict, style: Style) -> String {
    if verdict.is_fine() {
        return format!("{}  {}, {}\n", verdict.expected, style.green("verified"), files(verdict.files));
    }
    let mut out = String::new();
    let changes = verdict.changes.as_deref().unwrap_or_default();
    for Change { path, change } in changes {
        out.push_str(&style.change(*change, &format!("{:8}  {path}", fate(*change))));
        out.push('\n');
    }
    let mismatch = style.red("mismatch");
    out.push_str(&format!("{}  expected\n{}  found: {mismatch}", verdict.expected, verdict.found));
    if verdict.changes.is_some() {
        out.push_str(&format!(" in {}", files(changes.len())));
    }
    out.push('\n');
    out
}
