//! A report as Markdown, for the summary of a CI job, and as a few lines for a chat.

use std::fmt::Write as _;

use dagsync_core::printable;

use super::table::age;
use super::{Group, Report, State, Verdict, revision};

/// Rows of each table, and lines for a chat.
const ROWS: usize = 50;
const LINES: usize = 10;
/// Files that are named of each version.
const FILES: usize = 5;

/// GitHub's Markdown.
pub fn markdown(report: &Report) -> String {
    let mut out = format!("### dagsync drift\n\n**{}**\n\n", report.headline());
    out.push_str("| version | revision | pods | differs |\n|---|---|---|---|\n");
    for group in report.groups.iter().take(ROWS) {
        let revision = group.revision.as_deref().map(revision).unwrap_or_default();
        let (short, differs) = (group.version.short(), differs(group));
        let _ = writeln!(out, "| `{short}` | {} | {} | {} |", cell(&revision), group.pods, cell(&differs));
    }
    more(&mut out, report.groups.len());
    let told: Vec<_> = told(report).collect();
    if !told.is_empty() {
        out.push_str("\n| state | pod | for | cause |\n|---|---|---|---|\n");
        for pod in told.iter().take(ROWS) {
            let age = pod.since.map(|since| age(report.at, since)).unwrap_or_default();
            let (name, cause) = (cell(&pod.name), cell(pod.cause.as_deref().unwrap_or_default()));
            let _ = writeln!(out, "| {} | {name} | {age} | {cause} |", pod.state.as_str());
        }
        more(&mut out, told.len());
    }
    out
}

/// A few lines without markup, in which a chat finds nobody to notify and no link.
pub fn chat(report: &Report) -> String {
    let mut out = format!("dagsync {}", report.headline());
    let told: Vec<_> = told(report).collect();
    for pod in told.iter().take(LINES) {
        let age = pod.since.map(|since| format!(" for {}", age(report.at, since))).unwrap_or_default();
        let cause = pod.cause.as_deref().map(|cause| format!(": {}", printable(cause))).unwrap_or_default();
        let line = format!("{} {}{age}{cause}", pod.state.as_str(), printable(&pod.name));
        out.push_str(&format!("\n• {}", escaped(&line, &[('&', "&amp;"), ('<', "&lt;"), ('>', "&gt;")])));
    }
    if told.len() > LINES {
        let _ = write!(out, "\nand {} more", told.len() - LINES);
    }
    out
}

/// The pods of which something is to be said, what is worst first.
fn told(report: &Report) -> impl Iterator<Item = &Verdict> {
    let is_told = |state: &State| !matches!(state, State::InSync | State::Terminating);
    State::ALL.into_iter().filter(is_told).flat_map(|state| report.pods.iter().filter(move |pod| pod.state == state))
}

fn differs(group: &Group) -> String {
    match &group.differs {
        None if group.is_reference => "the reference".to_owned(),
        None => String::new(),
        Some(Err(why)) => why.clone(),
        Some(Ok(differs)) => {
            let mut named: Vec<_> =
                differs.files.iter().take(FILES).map(|c| format!("{} {}", c.change, c.path)).collect();
            if differs.count > FILES {
                named.push(format!("and {} more", differs.count - FILES));
            }
            format!("{}: {}", differs.count, named.join(", "))
        }
    }
}

fn more(out: &mut String, count: usize) {
    if count > ROWS {
        let _ = writeln!(out, "\nand {} more", count - ROWS);
    }
}

/// Text that stays text, and in its cell, whoever sent it.
fn cell(text: &str) -> String {
    const MARKUP: &str = "\\|`*_[]()#<>&@!~$:";
    let escape = |c: char| if MARKUP.contains(c) { format!("&#{};", u32::from(c)) } else { c.to_string() };
    printable(text).chars().map(escape).collect()
}

fn escaped(text: &str, pairs: &[(char, &str)]) -> String {
    let with =
        |c: char| pairs.iter().find(|(from, _)| *from == c).map_or_else(|| c.to_string(), |(_, to)| (*to).to_owned());
    text.chars().map(with).collect()
}
