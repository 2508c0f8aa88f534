//! The status page for people: one document without scripts and without anything from elsewhere. What it shows was
//! written by others, so everything is escaped.

mod board;
mod fleet;
mod pod;

use std::sync::LazyLock;
use std::time::{Duration, SystemTime};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use dagsync_core::{Change, Digest, Version, printable};
use maud::{DOCTYPE, Markup, PreEscaped, html};

use crate::status::{Status, SyncState};

pub use board::{Fleet, FleetBoard, Look};

const STYLE: &str = include_str!("page/style.css");
/// Seconds after which a browser asks again.
const REFRESH: u64 = 30;
/// The same while the fleet is asked.
const SOON: u64 = 3;

/// Nothing is loaded and nothing is run; the style is known by its hash.
pub static POLICY: LazyLock<String> = LazyLock::new(|| {
    let hash = STANDARD.encode(Digest::of(STYLE).as_bytes());
    format!(
        "default-src 'none'; style-src 'sha256-{hash}'; img-src data:; base-uri 'none'; form-action 'none'; \
         frame-ancestors 'none'"
    )
});

/// The page of a pod, and of its fleet where it has one.
pub fn render(status: &Status, look: Option<&Look>, now: SystemTime) -> String {
    let refresh = if look.is_some_and(|look| look.is_asked) { SOON } else { REFRESH };
    let title = format!("{} · {} · dagsync", status.state.as_str(), printable(&status.pod));
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                meta http-equiv="refresh" content=(refresh);
                title { (title) }
                link rel="icon" href="data:,";
                style { (PreEscaped(STYLE)) }
            }
            body {
                (pod::header(status, now))
                main {
                    (pod::troubles(status, now))
                    (pod::facts(status, now))
                    @if let Some(look) = look { (fleet::section(look, now)) }
                    (pod::history(status, now))
                }
                footer {
                    "dagsync " (status.dagsync_version) " · as of " (time(now)) " · "
                    a href="v1/status" { "JSON" } " · " a href="metrics" { "metrics" }
                }
            }
        }
    };
    page.into_string()
}

/// How good a state is, for its colour; the word says it too.
const fn tone(state: SyncState) -> &'static str {
    match state {
        SyncState::Converged | SyncState::Standby => "good",
        SyncState::Starting | SyncState::Stale | SyncState::Unsealed => "odd",
        SyncState::Tampered => "bad",
    }
}

/// The first digits, with all of them for who wants to copy or compare them.
fn version(version: &Version) -> Markup {
    let whole = version.to_string();
    html! { code title=(whole) { (short(version.hex().as_ref())) } }
}

/// Enough of a hash for people.
fn short(hash: &str) -> &str {
    hash.get(..12).unwrap_or(hash)
}

/// A revision: a commit id is cut, everything else is not.
fn revision(revision: &str) -> Markup {
    let is_hash = revision.len() >= 40 && revision.bytes().all(|byte| byte.is_ascii_hexdigit());
    let shown = printable(if is_hash { short(revision) } else { revision });
    html! { code title=(printable(revision)) { (shown) } }
}

fn changes(changes: &[Change]) -> Markup {
    html! {
        ul.files {
            @for change in changes {
                li { span class=(format!("change {}", change.change)) { (change.change) } " " code { (printable(change.path.as_str())) } }
            }
        }
    }
}

/// A time in UTC to the second.
fn time(time: SystemTime) -> Markup {
    let text = humantime::format_rfc3339_seconds(time).to_string();
    html! { time datetime=(text) { (text.replace('T', " ").replace('Z', " UTC")) } }
}

/// A time, and how long ago that is.
fn ago(at: SystemTime, now: SystemTime) -> Markup {
    let age = now.duration_since(at).unwrap_or_default();
    html! { (time(at)) " " span.age { (rough(age)) " ago" } }
}

/// A duration to its two largest units.
fn rough(duration: Duration) -> String {
    let seconds = Duration::from_secs(duration.as_secs());
    humantime::format_duration(seconds).to_string().split(' ').take(2).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests;
