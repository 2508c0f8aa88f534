//! What this pod is on.

use std::time::SystemTime;

use dagsync_core::printable;
use maud::{Markup, html};

use super::{ago, changes, revision, rough, tone, version};
use crate::status::{GateResult, Status};

pub(super) fn header(status: &Status, now: SystemTime) -> Markup {
    let place = [&status.component, &status.namespace, &status.node];
    let place: Vec<String> = place.iter().filter(|text| !text.is_empty()).map(printable).collect();
    let age = rough(now.duration_since(status.since).unwrap_or_default());
    html! {
        header class=(tone(status.state)) {
            h1 { (printable(&status.pod)) }
            @if !place.is_empty() { p.place { (place.join(" · ")) } }
            p.state { strong { (status.state.as_str()) } " for " (age) }
        }
    }
}

/// What somebody should look at; nothing when all is well.
pub(super) fn troubles(status: &Status, now: SystemTime) -> Markup {
    html! {
        @if let Some(error) = &status.last_error {
            section.trouble {
                h2 { "Last error" }
                p.message { (printable(&error.message)) }
                p.age { (error.kind) ", " (error.attempts) " in a row, " (ago(error.at, now)) }
            }
        }
        @if let Some(gate) = status.gate.as_ref().filter(|gate| gate.result != GateResult::Passed) {
            section.trouble {
                h2 { "The gate has " (gate.result.as_str()) " " (revision(gate.revision.as_str())) }
                p.age { (printable(&gate.exit_status)) ", " (ago(gate.at, now)) }
                pre { @for line in gate.output.lines() { (printable(line)) "\n" } }
            }
        }
        @if !status.tampered.is_empty() {
            section.trouble {
                h2 { "Files that are not what was published" }
                (changes(&status.tampered))
            }
        }
        @if !status.warnings.is_empty() {
            section.warning {
                h2 { "Warnings" }
                ul { @for warning in &status.warnings { li { (printable(warning)) } } }
            }
        }
    }
}

pub(super) fn facts(status: &Status, now: SystemTime) -> Markup {
    html! {
        section {
            h2 { "Version" }
            dl {
                dt { "Published" }
                dd { (published(status)) }
                @if let Some(known) = &status.revision { dt { "Revision" } dd { (revision(known.as_str())) } }
                @if let Some(at) = status.published_at { dt { "Since" } dd { (ago(at, now)) } }
                dt { "Files" }
                dd { (status.files) ", " (bytesize::ByteSize(status.bytes)) }
                dt { "Target" }
                dd { (target(status, now)) }
                dt { "Source" }
                dd { (status.strategy) ", " code { (printable(&status.source)) } }
                @if let Some(at) = status.last_success { dt { "Last good sync" } dd { (ago(at, now)) } }
                dt { "Writes the store" }
                dd { (writer(status)) }
                dt { "Filter" }
                dd { code title=(status.filter_hash) { (super::short(&status.filter_hash)) } }
            }
        }
    }
}

fn published(status: &Status) -> Markup {
    html! {
        @match &status.version {
            Some(version) => code.whole { (version) },
            None => "nothing yet",
        }
    }
}

fn target(status: &Status, now: SystemTime) -> Markup {
    let target = &status.target;
    html! {
        (target.mode.as_str())
        @if let Some(wanted) = &target.version { " " (version(wanted)) }
        @if let Some(wanted) = &target.revision { " " (revision(wanted.as_str())) }
        @for leader in &target.leaders {
            ", " (printable(&leader.url))
            @if leader.error.is_some() { " " strong.odd { "does not answer" } }
            @else if leader.version != target.version {
                @if let Some(said) = &leader.version { " says " (version(said)) }
            }
        }
        ": "
        @match status.behind_since {
            None => strong.good { "in sync" },
            Some(since) => { strong.odd { "behind" } " since " (ago(since, now)) },
        }
    }
}

fn writer(status: &Status) -> String {
    match (&status.holder, status.writer) {
        (_, true) => "this pod".to_owned(),
        (Some(holder), false) => printable(holder),
        (None, false) => "nobody, as far as this pod knows".to_owned(),
    }
}

pub(super) fn history(status: &Status, now: SystemTime) -> Markup {
    html! {
        section {
            h2 { "History" }
            @if status.history.is_empty() { p { "No version became current since this process started." } }
            @else {
                div.wide { table {
                    thead { tr { th { "Version" } th { "Revision" } th { "Became current" } } }
                    tbody {
                        @for flip in &status.history {
                            tr {
                                td { (version(&flip.version)) }
                                td { @if let Some(known) = &flip.revision { (revision(known.as_str())) } }
                                td { (ago(flip.at, now)) }
                            }
                        }
                    }
                } }
            }
        }
    }
}
