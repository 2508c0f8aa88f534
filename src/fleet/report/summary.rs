//! A report as Markdown, for the summary of a CI job, and as a few lines for a chat.

use std::fmt::Write as _;

use dagsync_core::{Error, printable};

use super::table::{age, reference};
use super::{Group, Report, State, Verdict, revision};

/// Rows of each table, and lines for a chat.
const ROWS: usize = 50;
const LINES: usize = 10;
/// Files that are named of each version, and versions that are named in a chat.
const FILES: usize = 5;
const VERSIONS: usize = 5;
/// Characters of one line for a chat.
const LINE: usize = 300;
/// Without width: what stands on both sides of it is no name and no link.
const BREAK: char = '\u{200b}';
/// Where no check was possible.
const FAILED: &str = "FAILED: the fleet cannot be checked";

/// GitHub's Markdown.
pub fn markdown(report: &Report) -> String {
    let mut out = format!("### dagsync drift\n\n**{}**\n\n{}\n\n", report.headline(), cell(&reference(report)));
    out.push_str("| version | revision | pods | differs |\n|---|---|---|---|\n");
    for group in report.groups.iter().take(ROWS) {
        let revision = group.revision.as_deref().map(revision).unwrap_or_default();
        let (short, differs) = (group.version.short(), differs(group));
        let _ = writeln!(out, "| `{short}` | {} | {} | {} |", cell(&revision), group.pods, cell(&differs));
    }
    more(&mut out, report.groups.len());
    let told: Vec<_> = told(report).collect();
    if !told.is_empty() {
        out.push_str("\n| state | pod | for | version | cause |\n|---|---|---|---|---|\n");
        for pod in told.iter().take(ROWS) {
            let age = pod.since.map(|since| age(report.at, since)).unwrap_or_default();
            let (name, cause) = (cell(&pod.name), cell(pod.cause.as_deref().unwrap_or_default()));
            let version = pod.version.map(|version| format!("`{}`", version.short())).unwrap_or_default();
            let _ = writeln!(out, "| {} | {name} | {age} | {version} | {cause} |", pod.state.as_str());
        }
        more(&mut out, told.len());
    }
    out
}

/// The same of a check that failed.
pub fn failed(error: &Error) -> String {
    format!("### dagsync drift\n\n**{FAILED}**\n\n{}\n", cell(&error.to_string()))
}

/// A few lines for a chat.
pub fn chat(report: &Report) -> String {
    let told: Vec<_> = told(report).collect();
    let mut lines = vec![reference(report)];
    lines.extend(told.iter().take(LINES).map(|pod| line(report, pod)));
    if told.len() > LINES {
        lines.push(format!("and {} more", told.len() - LINES));
    }
    for group in report.groups.iter().filter(|group| !group.is_reference).take(VERSIONS) {
        let revision = group.revision.as_deref().map(|r| format!(" ({})", revision(r))).unwrap_or_default();
        let pods = if group.pods == 1 { "1 pod".to_owned() } else { format!("{} pods", group.pods) };
        lines.push(format!("{}{revision} on {pods}; files that differ: {}", group.version.short(), differs(group)));
    }
    block(&report.headline(), &lines)
}

/// The same of a check that failed.
pub fn blind(error: &Error) -> String {
    block(FAILED, &[error.to_string()])
}

fn line(report: &Report, pod: &Verdict) -> String {
    let age = pod.since.map(|since| format!(" for {}", age(report.at, since))).unwrap_or_default();
    let cause = pod.cause.as_deref().map(|cause| format!(": {cause}")).unwrap_or_default();
    format!("• {} {}{age}{cause}", pod.state.as_str(), pod.name)
}

/// What others wrote stands in a block of code.
fn block(headline: &str, lines: &[String]) -> String {
    let lines: Vec<_> = lines.iter().map(|line| inert(line)).collect();
    format!("dagsync {headline}\n```\n{}\n```", lines.join("\n"))
}

/// Text that does not leave its line or its block, and in which a chat finds nobody to notify and no link.
fn inert(text: &str) -> String {
    let escape = |c: char| match c {
        '&' => "&amp;".to_owned(),
        '<' => "&lt;".to_owned(),
        '>' => "&gt;".to_owned(),
        '`' => "'".to_owned(),
        '@' => format!("@{BREAK}"),
        c => c.to_string(),
    };
    let text: String = printable(text).chars().take(LINE).map(escape).collect();
    text.replace("://", &format!(":{BREAK}//"))
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

/// Text that stays text, and in its cell, whoever sent it. GitHub looks for names after it has read the Markdown.
fn cell(text: &str) -> String {
    const MARKUP: &str = "\\|`*_[]()#<>&@!~$:";
    let escape = |c: char| match c {
        '@' | '#' => format!("&#{};{BREAK}", u32::from(c)),
        c if MARKUP.contains(c) => format!("&#{};", u32::from(c)),
        c => c.to_string(),
    };
    let text: String = printable(text).chars().map(escape).collect();
    text.replace("www.", "www&#46;")
}
