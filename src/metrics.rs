//! Every metric in one table, and the registry that `/metrics` prints as OpenMetrics.

mod git_sync;

use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use dagsync_core::{ChangeKind, ErrorKind, Outcome, StagingCounts, Tally};
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Metric, Registry};

use crate::status::{Status, SyncState};
use crate::store::ScrubMode;

pub use git_sync::Turn;
use git_sync::Turns;

/// Whether a metric's name and labels may still change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stability {
    /// Changes only with a major release.
    Stable,
    /// May change with any release.
    Unstable,
}

impl Stability {
    /// The word for the table.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Stable => "stable",
            Self::Unstable => "unstable",
        }
    }
}

/// One line of the table.
#[derive(Debug, Clone, Copy)]
pub struct MetricInfo {
    /// The name as it is exported.
    pub name: &'static str,
    /// `counter`, `gauge`, `histogram` or `summary`.
    pub kind: &'static str,
    /// The unit; empty for a count of things.
    pub unit: &'static str,
    /// The labels.
    pub labels: &'static [&'static str],
    /// Whether it may change.
    pub stability: Stability,
    /// What it says.
    pub help: &'static str,
}

const fn stable(
    name: &'static str,
    kind: &'static str,
    unit: &'static str,
    labels: &'static [&'static str],
    help: &'static str,
) -> MetricInfo {
    MetricInfo { name, kind, unit, labels, stability: Stability::Stable, help }
}

/// Every metric that dagsync exports.
pub const METRICS: &[MetricInfo] = &[
    stable("dagsync_build_info", "gauge", "", &["version"], "The version of dagsync; always 1"),
    stable(
        "dagsync_version_info",
        "gauge",
        "",
        &["version", "revision", "strategy"],
        "The published DAG version; always 1",
    ),
    stable("dagsync_state", "gauge", "", &["state"], "1 for the state that the pod is in, 0 for the others"),
    stable("dagsync_store_writer", "gauge", "", &[], "1 when this process writes to its store, 0 when it stands by"),
    stable("dagsync_ready", "gauge", "", &[], "1 when a verified version is published"),
    stable("dagsync_files", "gauge", "", &[], "Files of the published version"),
    stable("dagsync_size_bytes", "gauge", "bytes", &[], "Size of the published version"),
    stable(
        "dagsync_published_timestamp_seconds",
        "gauge",
        "seconds",
        &[],
        "When the published version became current; 0 when not known",
    ),
    stable(
        "dagsync_last_success_timestamp_seconds",
        "gauge",
        "seconds",
        &[],
        "The end of the last sync without an error; 0 before the first",
    ),
    stable("dagsync_consecutive_failures", "gauge", "", &[], "Failed syncs since the last good one"),
    stable("dagsync_syncs_total", "counter", "", &["result"], "Syncs by result: published, unchanged, failed"),
    stable("dagsync_sync_errors_total", "counter", "", &["kind"], "Failed syncs by kind of error"),
    stable("dagsync_sync_duration_seconds", "histogram", "seconds", &[], "How long syncs took that were not failed"),
    stable(
        "dagsync_staged_files_total",
        "counter",
        "",
        &["how"],
        "Files of published versions: written, linked, copied",
    ),
    stable("dagsync_written_bytes_total", "counter", "bytes", &[], "Bytes of files that were written from the source"),
    stable("dagsync_pruned_versions_total", "counter", "", &[], "Old versions that were removed"),
    stable(
        "dagsync_scrubs_total",
        "counter",
        "",
        &["mode", "result"],
        "Checks of the published version: stat or full; clean, tampered, failed",
    ),
    stable(
        "dagsync_tampered_files_total",
        "counter",
        "",
        &["change"],
        "Files of the published version that were found added, removed or modified",
    ),
    stable(
        "dagsync_push_events_total",
        "counter",
        "",
        &["sender", "result"],
        "Push events from github, gitlab or generic: accepted, ignored, replayed, refused",
    ),
    stable(
        "dagsync_operations_total",
        "counter",
        "",
        &["operation", "result"],
        "Calls of what a sync depends on or tells: fetch, askpass, github_app_token, expect, gate, exechook, webhook",
    ),
    stable(
        "git_sync_duration_seconds",
        "summary",
        "seconds",
        &["status"],
        "With `http.git_sync`: how long syncs took: success, error, noop",
    ),
    stable("git_sync_count_total", "counter", "", &["status"], "With `http.git_sync`: syncs: success, error, noop"),
    stable("git_fetch_count_total", "counter", "", &[], "With `http.git_sync`: fetches"),
    stable(
        "git_sync_askpass_calls",
        "counter",
        "",
        &["status"],
        "With `http.git_sync`: calls of the askpass URL: success, error",
    ),
    stable(
        "git_sync_refresh_github_app_token_count",
        "counter",
        "",
        &["status"],
        "With `http.git_sync`: renewals of the GitHub App's token: success, error",
    ),
    stable(
        "git_sync_hook_run_count_total",
        "counter",
        "",
        &["name", "status"],
        "With `http.git_sync`: runs of exechook, webhook and pre-publish-exechook: success, error",
    ),
];

/// What is counted in the [`Tally`].
const OPERATIONS: &[&str] = &["fetch", "askpass", "github_app_token", "gate", "exechook", "webhook"];

fn info(name: &str) -> &'static MetricInfo {
    METRICS.iter().find(|m| m.name == name).unwrap_or_else(|| unreachable!("{name} stands in the table"))
}

type Labels = Vec<(&'static str, &'static str)>;

/// The counters that events raise. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Metrics {
    tally: Tally,
    /// Only where git-sync's names are exported.
    turns: Option<Turns>,
    registry: Arc<Registry>,
    syncs: Family<Labels, Counter>,
    errors: Family<Labels, Counter>,
    duration: Histogram,
    staged: Family<Labels, Counter>,
    written_bytes: Counter,
    pruned: Counter,
    scrubs: Family<Labels, Counter>,
    tampered: Family<Labels, Counter>,
    push_events: Family<Labels, Counter>,
    operations: Family<Labels, Counter>,
    failures: Gauge,
    ready: Gauge,
    writer: Gauge,
    files: Gauge<i64, AtomicI64>,
    bytes: Gauge<i64, AtomicI64>,
    published: Gauge<f64, AtomicU64>,
    last_success: Gauge<f64, AtomicU64>,
    state: Family<Labels, Gauge>,
    version: Family<Vec<(&'static str, String)>, Gauge>,
}

fn register<M: Metric + Clone>(registry: &mut Registry, name: &str, metric: M) -> M {
    let info = info(name);
    // The encoder appends `_total` itself.
    registry.register(name.trim_end_matches("_total"), info.help, metric.clone());
    metric
}

impl Default for Metrics {
    fn default() -> Self {
        let mut registry = Registry::default();
        let r = &mut registry;
        let build: Family<Labels, Gauge> = register(r, "dagsync_build_info", Family::default());
        build.get_or_create(&vec![("version", env!("CARGO_PKG_VERSION"))]).set(1);
        // 5 ms to 10 minutes.
        let buckets = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 600.0];
        let metrics = Self {
            tally: Tally::default(),
            turns: None,
            syncs: register(r, "dagsync_syncs_total", Family::default()),
            errors: register(r, "dagsync_sync_errors_total", Family::default()),
            duration: register(r, "dagsync_sync_duration_seconds", Histogram::new(buckets)),
            staged: register(r, "dagsync_staged_files_total", Family::default()),
            written_bytes: register(r, "dagsync_written_bytes_total", Counter::default()),
            pruned: register(r, "dagsync_pruned_versions_total", Counter::default()),
            scrubs: register(r, "dagsync_scrubs_total", Family::default()),
            tampered: register(r, "dagsync_tampered_files_total", Family::default()),
            push_events: register(r, "dagsync_push_events_total", Family::default()),
            operations: register(r, "dagsync_operations_total", Family::default()),
            failures: register(r, "dagsync_consecutive_failures", Gauge::default()),
            ready: register(r, "dagsync_ready", Gauge::default()),
            writer: register(r, "dagsync_store_writer", Gauge::default()),
            files: register(r, "dagsync_files", Gauge::default()),
            bytes: register(r, "dagsync_size_bytes", Gauge::default()),
            published: register(r, "dagsync_published_timestamp_seconds", Gauge::default()),
            last_success: register(r, "dagsync_last_success_timestamp_seconds", Gauge::default()),
            state: register(r, "dagsync_state", Family::default()),
            version: register(r, "dagsync_version_info", Family::default()),
            registry: Arc::new(registry),
        };
        metrics.start_at_zero();
        metrics
    }
}

impl Metrics {
    /// The counters, with git-sync's names beside ours or without.
    pub fn new(git_sync: bool) -> Self {
        Self { turns: git_sync.then(Turns::default), ..Self::default() }
    }

    /// A series that appears only with its first event hides that event from `increase()`.
    fn start_at_zero(&self) {
        for result in ["published", "unchanged", "failed"] {
            let _ = self.syncs.get_or_create(&vec![("result", result)]);
        }
        for kind in ErrorKind::ALL {
            let _ = self.errors.get_or_create(&vec![("kind", kind.as_str())]);
        }
        self.staged(&StagingCounts::default());
        for mode in [ScrubMode::Stat, ScrubMode::Full] {
            for result in ["clean", "tampered", "failed"] {
                let _ = self.scrubs.get_or_create(&vec![("mode", mode.as_str()), ("result", result)]);
            }
        }
        for change in [ChangeKind::Added, ChangeKind::Removed, ChangeKind::Modified] {
            let _ = self.tampered.get_or_create(&vec![("change", change.as_str())]);
        }
        for sender in ["github", "gitlab", "generic"] {
            for result in ["accepted", "ignored", "replayed", "refused"] {
                let _ = self.push_events.get_or_create(&vec![("sender", sender), ("result", result)]);
            }
        }
    }

    /// Where strategies and hooks count their calls of other services.
    pub fn tally(&self) -> Tally {
        self.tally.clone()
    }

    /// Notes a turn of the loop as git-sync counts it.
    pub fn turned(&self, turn: Turn, took: Duration) {
        if let Some(turns) = &self.turns {
            turns.count(turn, took);
        }
    }

    /// Counts a sync that published a version or found nothing to do.
    pub fn synced(&self, published: bool, took: Duration) {
        self.syncs.get_or_create(&vec![("result", if published { "published" } else { "unchanged" })]).inc();
        self.duration.observe(took.as_secs_f64());
        self.failures.set(0);
    }

    /// Notes that another process's version was found to be good.
    pub fn followed(&self) {
        self.failures.set(0);
    }

    /// Counts a failed sync.
    pub fn failed(&self, kind: ErrorKind, attempts: u64) {
        self.syncs.get_or_create(&vec![("result", "failed")]).inc();
        self.errors.get_or_create(&vec![("kind", kind.as_str())]).inc();
        self.failures.set(i64::try_from(attempts).unwrap_or(i64::MAX));
    }

    /// Counts the files of a published version.
    pub fn staged(&self, counts: &StagingCounts) {
        for (how, files) in [("written", counts.written), ("linked", counts.linked), ("copied", counts.copied)] {
            self.staged.get_or_create(&vec![("how", how)]).inc_by(files);
        }
        self.written_bytes.inc_by(counts.bytes_written);
    }

    /// Counts removed versions.
    pub fn pruned(&self, versions: usize) {
        self.pruned.inc_by(versions as u64);
    }

    /// Counts a check of the published version: `clean`, `tampered` or `failed`.
    pub fn scrubbed(&self, mode: ScrubMode, result: &'static str) {
        self.scrubs.get_or_create(&vec![("mode", mode.as_str()), ("result", result)]).inc();
    }

    /// Counts a file that was found changed.
    pub fn tampered(&self, change: ChangeKind) {
        self.tampered.get_or_create(&vec![("change", change.as_str())]).inc();
    }

    /// Counts a push event: `accepted`, `ignored`, `replayed` or `refused`.
    pub fn push_event(&self, sender: &'static str, result: &'static str) {
        self.push_events.get_or_create(&vec![("sender", sender), ("result", result)]).inc();
    }

    /// The exposition in OpenMetrics text format, with gauges as `status` has them.
    pub fn encode(&self, status: &Status) -> String {
        self.ready.set(i64::from(status.ready));
        self.writer.set(i64::from(status.writer));
        self.files.set(i64::try_from(status.files).unwrap_or(i64::MAX));
        self.bytes.set(i64::try_from(status.bytes).unwrap_or(i64::MAX));
        self.published.set(seconds(status.published_at));
        self.last_success.set(seconds(status.last_success));
        for state in SyncState::ALL {
            self.state.get_or_create(&vec![("state", state.as_str())]).set(i64::from(state == status.state));
        }
        self.version.clear();
        if let Some(version) = status.version {
            let revision = status.revision.as_ref().map(ToString::to_string).unwrap_or_default();
            let labels =
                vec![("version", version.to_string()), ("revision", revision), ("strategy", status.strategy.clone())];
            self.version.get_or_create(&labels).set(1);
        }
        let tally = self.tally.read();
        for operation in tally.keys().map(|(operation, _)| *operation).chain(OPERATIONS.iter().copied()) {
            for outcome in [Outcome::Success, Outcome::Error] {
                let labels = vec![("operation", operation), ("result", outcome.as_str())];
                let count = tally.get(&(operation, outcome)).copied().unwrap_or_default();
                self.operations.get_or_create(&labels).inner().store(count, Ordering::Relaxed);
            }
        }
        let mut text = String::new();
        if encode(&mut text, &self.registry).is_err() {
            let _ = writeln!(text, "# EOF");
        }
        if let Some(turns) = &self.turns {
            text.truncate(text.trim_end_matches("# EOF\n").len());
            turns.encode(&mut text, &tally);
            text.push_str("# EOF\n");
        }
        text
    }
}

/// The same exposition in the text format 0.0.4, where a counter's family is called like its series, also without
/// `_total`, and nothing marks the end.
pub fn as_plain_text(openmetrics: &str) -> String {
    let counters: Vec<&str> = METRICS.iter().filter_map(|m| m.name.strip_suffix("_total")).collect();
    let mut text = String::with_capacity(openmetrics.len());
    for line in openmetrics.lines().filter(|line| *line != "# EOF" && !line.starts_with("# UNIT ")) {
        let mut words = line.splitn(4, ' ');
        match (words.next(), words.next(), words.next(), words.next()) {
            (Some("#"), Some(keyword), Some(name), Some(rest)) if counters.contains(&name) => {
                let _ = writeln!(text, "# {keyword} {name}_total {rest}");
            }
            (Some("#"), Some("TYPE"), Some(name), Some("unknown")) => {
                let _ = writeln!(text, "# TYPE {name} counter");
            }
            _ => {
                text.push_str(line);
                text.push('\n');
            }
        }
    }
    text
}

fn seconds(time: Option<SystemTime>) -> f64 {
    time.and_then(|t| t.duration_since(UNIX_EPOCH).ok()).map_or(0.0, |d| d.as_secs_f64())
}

#[cfg(test)]
mod tests;
