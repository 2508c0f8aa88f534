//! Every metric in one table, and the registry that `/metrics` prints as OpenMetrics.

mod git_sync;
mod table;

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
pub use table::{METRICS, MetricInfo, Stability};

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
    refused: Family<Labels, Counter>,
    reloads: Family<Labels, Counter>,
    certificate: Family<Labels, Gauge<f64, AtomicU64>>,
    operations: Family<Labels, Counter>,
    failures: Gauge,
    ready: Gauge,
    writer: Gauge,
    files: Gauge<i64, AtomicI64>,
    bytes: Gauge<i64, AtomicI64>,
    published: Gauge<f64, AtomicU64>,
    last_success: Gauge<f64, AtomicU64>,
    state: Family<Labels, Gauge>,
    in_sync: Gauge,
    behind: Gauge<f64, AtomicU64>,
    leader_up: Gauge,
    target: Family<Vec<(&'static str, String)>, Gauge>,
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
            refused: register(r, "dagsync_http_refused_total", Family::default()),
            reloads: register(r, "dagsync_http_certificate_reloads_total", Family::default()),
            certificate: register(r, "dagsync_http_certificate_expiry_timestamp_seconds", Family::default()),
            operations: register(r, "dagsync_operations_total", Family::default()),
            failures: register(r, "dagsync_consecutive_failures", Gauge::default()),
            ready: register(r, "dagsync_ready", Gauge::default()),
            writer: register(r, "dagsync_store_writer", Gauge::default()),
            files: register(r, "dagsync_files", Gauge::default()),
            bytes: register(r, "dagsync_size_bytes", Gauge::default()),
            published: register(r, "dagsync_published_timestamp_seconds", Gauge::default()),
            last_success: register(r, "dagsync_last_success_timestamp_seconds", Gauge::default()),
            state: register(r, "dagsync_state", Family::default()),
            in_sync: register(r, "dagsync_in_sync", Gauge::default()),
            behind: register(r, "dagsync_behind_seconds", Gauge::default()),
            leader_up: register(r, "dagsync_leader_up", Gauge::default()),
            target: register(r, "dagsync_target_info", Family::default()),
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
        for reason in ["token", "handshake", "full"] {
            let _ = self.refused.get_or_create(&vec![("reason", reason)]);
        }
        for result in ["success", "error"] {
            let _ = self.reloads.get_or_create(&vec![("result", result)]);
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

    /// Counts what a client was refused: a request without a `token`, a `handshake`, a place when it was `full`.
    pub fn refused(&self, reason: &'static str) {
        self.refused.get_or_create(&vec![("reason", reason)]).inc();
    }

    /// Counts a certificate that changed: `success` or `error`.
    pub fn reloaded_certificate(&self, result: &'static str) {
        self.reloads.get_or_create(&vec![("result", result)]).inc();
    }

    /// Notes when the listener's certificate expires. Without one there is no series, so that nothing seems to have expired.
    pub fn certificate_expires(&self, at: Option<SystemTime>) {
        self.certificate.clear();
        if at.is_some() {
            self.certificate.get_or_create(&Vec::new()).set(seconds(at));
        }
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
        self.in_sync.set(i64::from(status.in_sync));
        self.behind.set(status.behind_since.and_then(|since| since.elapsed().ok()).map_or(0.0, |d| d.as_secs_f64()));
        self.leader_up.set(i64::from(status.target.leader_up.unwrap_or(true)));
        self.target.clear();
        let text = |value: Option<String>| value.unwrap_or_default();
        let target = &status.target;
        let labels = vec![
            ("mode", target.mode.as_str().to_owned()),
            ("version", text(target.version.map(|version| version.to_string()))),
            ("revision", text(target.revision.as_ref().map(ToString::to_string))),
        ];
        self.target.get_or_create(&labels).set(1);
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
