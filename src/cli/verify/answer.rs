//! What is said of a verdict, to people and to machines.

use dagsync_core::{Change, ChangeKind};
use serde_json::{Value as Json, json};

use super::Verdict;
use crate::cli::answer::{Answer, Exit, Style, files};
use crate::cli::args::Output;

pub(super) fn of(verdict: &Verdict, exit: Exit, output: Output, style: Style) -> Answer {
    match output {
        Output::Json => Answer::json(exit, &machine(verdict)),
        Output::Text => Answer::text(exit, human(verdict, style)),
    }
}

/// What has become of a file that should be there.
const fn fate(change: ChangeKind) -> &'static str {
    match change {
        ChangeKind::Added => "added",
        ChangeKind::Removed => "missing",
        ChangeKind::Modified => "modified",
    }
}

/// The same fields always; `ok` is null when nobody could say.
fn machine(verdict: &Verdict) -> Json {
    let list = |changes: &Vec<Change>| -> Json {
        changes.iter().map(|c| json!({"path": c.path, "change": fate(c.change)})).collect()
    };
    let is_known = verdict.is_compared || !verdict.is_fine();
    json!({
        "ok": is_known.then(|| verdict.is_fine()),
        "expected": verdict.expected,
        "version": verdict.found,
        "files": verdict.files,
        "changes": verdict.changes.as_ref().map(list),
        "error": (!verdict.faults.is_empty()).then(|| verdict.faults.join("; ")),
        "warnings": verdict.warnings,
    })
}

fn human(verdict: &Verdict, style: Style) -> String {
    let Some(found) = verdict.found else { return String::new() };
    if verdict.is_fine() {
        let how = if verdict.is_compared { style.green("verified") } else { style.yellow("not compared") };
        return format!("{found}  {how}, {}\n", files(verdict.files));
    }
    let mut out = String::new();
    let changes = verdict.changes.as_deref().unwrap_or_default();
    for Change { path, change } in changes {
        out.push_str(&style.change(*change, &format!("{:8}  {path}", fate(*change))));
        out.push('\n');
    }
    if let Some(expected) = verdict.expected {
        out.push_str(&format!("{expected}  expected\n"));
    }
    let what = if verdict.expected.is_some() { "mismatch" } else { "not verified" };
    out.push_str(&format!("{found}  found: {}", style.red(what)));
    match &verdict.changes {
        Some(changes) if !changes.is_empty() => out.push_str(&format!(" in {}", files(changes.len()))),
        Some(_) if verdict.faults.is_empty() => out.push_str(", intact, but another version than expected"),
        _ => {}
    }
    out.push('\n');
    out
}
