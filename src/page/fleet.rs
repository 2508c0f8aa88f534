//! The whole fleet: who is on which version, and what differs.

use std::collections::BTreeMap;
use std::time::SystemTime;

use dagsync_core::{Version, printable};
use maud::{Markup, html};

use super::board::Look;
use super::{ago, changes, version};
use crate::fleet::report::{Difference, Finding, Group, Report, State, Verdict};

/// Versions that get a column; the others share one.
const COLUMNS: usize = 8;
/// Versions of which is told how they differ, and components that get a row.
const DETAILS: usize = 20;
const ROWS: usize = 100;
/// Pods that are listed, those first that are worst.
const PODS: usize = 500;

/// How good a state is, for its colour; the word says it too.
const fn tone(state: State) -> &'static str {
    match state {
        State::Drifted | State::Tampered => "bad",
        State::Unreachable | State::Missing | State::Incomparable | State::Converging => "odd",
        State::InSync => "good",
        State::Terminating => "dim",
    }
}

pub(super) fn section(look: &Look, now: SystemTime) -> Markup {
    html! {
        section.fleet {
            h2 { "Fleet" }
            @match &look.fleet {
                None => p { "All pods are being asked; this page shows soon what they say." },
                Some(fleet) => {
                    @match &fleet.found {
                        Ok(report) => (summary(report)),
                        Err(problem) => p.warning { (printable(problem)) },
                    }
                    p.age { "Asked " (ago(fleet.at, now)) @if look.is_asked { "; all pods are being asked again" } }
                    @if let Ok(report) = &fleet.found { (details(report, now)) }
                }
            }
        }
    }
}

fn summary(report: &Report) -> Markup {
    let tone = match report.finding() {
        Finding::Drift => "bad",
        Finding::Incomplete => "odd",
        Finding::Fine => "good",
    };
    let standard = &report.standard;
    html! {
        p { strong class=(tone) { (printable(report.headline())) } }
        p {
            "Reference (" (standard.by.as_str()) "):"
            @for candidate in standard.candidates.iter().take(COLUMNS) { " " (version(&candidate.version)) }
            (more(standard.candidates.len(), COLUMNS))
            @if standard.candidates.is_empty() { " none" }
            @if let Some(note) = &standard.note { ", " (printable(note)) }
        }
    }
}

fn details(report: &Report, now: SystemTime) -> Markup {
    html! {
        (matrix(report))
        @for group in report.groups.iter().take(DETAILS) {
            @match &group.differs {
                None => {},
                Some(Ok(found)) => (difference(group, found)),
                Some(Err(why)) => p.age { (version(&group.version)) ": " (printable(why)) },
            }
        }
        @if report.groups.len() > DETAILS { p.age { (report.groups.len() - DETAILS) " more versions" } }
        (pods(report, now))
    }
}

/// How many there are beyond those that are shown.
fn more(count: usize, shown: usize) -> Markup {
    html! { @if count > shown { " and " (count - shown) " more" } }
}

/// Components down, versions across, and how many pods of the one are on the other.
fn matrix(report: &Report) -> Markup {
    let (shown, others) = report.groups.split_at(report.groups.len().min(COLUMNS));
    let mut rows: BTreeMap<&str, Vec<&Verdict>> = BTreeMap::new();
    for pod in report.pods.iter().filter(|pod| pod.state != State::Terminating) {
        rows.entry(pod.component.as_deref().unwrap_or_default()).or_default().push(pod);
    }
    let silent = rows.values().flatten().filter(|pod| pod.version.is_none()).count();
    let is_shown = |wanted: Version| shown.iter().any(|group| group.version == wanted);
    html! {
        div.wide { table.matrix {
            thead { tr {
                th { "Component" }
                @for group in shown {
                    th {
                        (version(&group.version)) span.age { " × " (group.pods) }
                        @if group.is_reference { br; span.age { "reference" } }
                    }
                }
                @if !others.is_empty() { th { (others.len()) " others" } }
                @if silent > 0 { th { "none" span.age { " × " (silent) } } }
            } }
            tbody {
                @for (component, pods) in rows.iter().take(ROWS) {
                    tr {
                        th { @if component.is_empty() { "not known" } @else { (printable(component)) } }
                        @for group in shown { (cell(pods, |version| version == Some(group.version))) }
                        @if !others.is_empty() { (cell(pods, |version| version.is_some_and(|v| !is_shown(v)))) }
                        @if silent > 0 { (cell(pods, |version| version.is_none())) }
                    }
                }
            }
        } }
        @if rows.len() > ROWS { p { (rows.len() - ROWS) " more components" } }
    }
}

/// How many are there, in the colour of the one that stands worst.
fn cell(pods: &[&Verdict], is_here: impl Fn(Option<Version>) -> bool) -> Markup {
    let here = || pods.iter().filter(|pod| is_here(pod.version));
    html! {
        @match here().map(|pod| pod.state).min() {
            None => td {},
            Some(worst) => td class=(tone(worst)) { (here().count()) },
        }
    }
}

fn difference(group: &Group, found: &Difference) -> Markup {
    let differ = if found.count == 1 { " file differs" } else { " files differ" };
    let more = found.count.saturating_sub(found.files.len());
    html! {
        details {
            summary { (version(&group.version)) ": " (found.count) (differ) }
            (changes(&found.files))
            @if more > 0 { p { "and " (more) " more" } }
        }
    }
}

fn pods(report: &Report, now: SystemTime) -> Markup {
    let mut pods: Vec<&Verdict> = report.pods.iter().collect();
    pods.sort_by_key(|pod| (pod.state, &pod.component, &pod.name));
    html! {
        details open[pods.len() <= 20] {
            summary { "Pods" }
            div.wide { table.pods {
                thead { tr { th { "Pod" } th { "Component" } th { "Version" } th { "State" } } }
                tbody { @for pod in pods.iter().take(PODS) { (row(pod, now)) } }
            } }
            @if pods.len() > PODS { p { "and " (pods.len() - PODS) " more" } }
        }
    }
}

fn row(pod: &Verdict, now: SystemTime) -> Markup {
    html! {
        tr class=(format!("is-{}", tone(pod.state))) {
            td { (printable(&pod.name)) }
            td { @if let Some(component) = &pod.component { (printable(component)) } }
            td { @if let Some(known) = &pod.version { (version(known)) } @else { "none" } }
            td {
                strong class=(tone(pod.state)) { (pod.state.as_str()) }
                @if let Some(cause) = &pod.cause { ": " (printable(cause)) }
                @if let Some(since) = pod.since { " " span.age { "since " (ago(since, now)) } }
            }
        }
    }
}
