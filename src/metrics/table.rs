//! Every metric in one table.

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
    stable(
        "dagsync_in_sync",
        "gauge",
        "",
        &[],
        "1 when this pod is on the version that it should be on, and nobody touched it",
    ),
    stable("dagsync_behind_seconds", "gauge", "seconds", &[], "How long this pod has not been in sync; 0 when it is"),
    stable(
        "dagsync_target_info",
        "gauge",
        "",
        &["mode", "version", "revision"],
        "Where this pod should be, as far as that is known; always 1",
    ),
    stable(
        "dagsync_leader_up",
        "gauge",
        "",
        &[],
        "With `target.mode` `leader`: 1 when a leader answers; 1 in the other modes",
    ),
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
        "dagsync_http_refused_total",
        "counter",
        "",
        &["reason"],
        "Requests with a wrong token, failed TLS handshakes, connections that had to make room: token, handshake, full",
    ),
    stable(
        "dagsync_http_certificate_reloads_total",
        "counter",
        "",
        &["result"],
        "Changed certificates of the listener: success, or error, and the one before stays",
    ),
    stable(
        "dagsync_http_certificate_expiry_timestamp_seconds",
        "gauge",
        "seconds",
        &[],
        "When the listener's certificate expires; absent without TLS",
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
