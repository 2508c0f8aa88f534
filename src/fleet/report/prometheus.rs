//! A report as metrics in Prometheus' text format, for node_exporter's textfile collector and for a Pushgateway.

use std::fmt::Write as _;
use std::time::SystemTime;

use super::{Finding, Report, State};

/// How the text is called over HTTP.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Every metric and what it means; all are gauges.
pub const METRICS: [(&str, &str); 7] = [
    (
        "dagsync_fleet_check_success",
        "1 if the fleet could be checked, else 0; then all others but the time are absent.",
    ),
    ("dagsync_fleet_pods", "Pods of the fleet by how they stand."),
    ("dagsync_fleet_versions", "Versions that pods of the fleet are on."),
    ("dagsync_fleet_in_sync", "1 if every pod is where it should be or within the grace period, else 0."),
    ("dagsync_fleet_drift_seconds", "For how long the pod that has drifted for longest has; 0 if none has."),
    (
        "dagsync_fleet_differing_files",
        "Files of the version that differs most from the reference, as far as compared; absent if none was.",
    ),
    ("dagsync_fleet_last_check_timestamp_seconds", "When the fleet was checked last with success."),
];

/// The metrics of one check.
pub fn text(report: &Report) -> String {
    written(|name| samples(name, report))
}

/// The metrics of a check that failed; the last that did not was at `last`. What was true then is not said again.
pub fn failed(last: Option<SystemTime>) -> String {
    written(|name| match name {
        "dagsync_fleet_check_success" => one("0"),
        "dagsync_fleet_last_check_timestamp_seconds" => last.map(|at| one(seconds(at))).unwrap_or_default(),
        _ => Vec::new(),
    })
}

type Samples = Vec<(String, String)>;

fn written(samples: impl Fn(&str) -> Samples) -> String {
    let mut out = String::new();
    for (name, help) in METRICS {
        let samples = samples(name);
        if !samples.is_empty() {
            // Writing to a string cannot fail.
            let _ = writeln!(out, "# HELP {name} {help}\n# TYPE {name} gauge");
        }
        for (labels, value) in samples {
            let _ = writeln!(out, "{name}{labels} {value}");
        }
    }
    out
}

fn one(value: impl ToString) -> Samples {
    vec![(String::new(), value.to_string())]
}

fn seconds(at: SystemTime) -> f64 {
    at.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs_f64()
}

fn samples(name: &str, report: &Report) -> Samples {
    match name {
        "dagsync_fleet_check_success" => one(1),
        "dagsync_fleet_pods" => {
            let of = |state: State| (format!("{{state=\"{}\"}}", state.as_str()), report.count(state).to_string());
            State::ALL.into_iter().map(of).collect()
        }
        "dagsync_fleet_versions" => one(report.groups.len()),
        "dagsync_fleet_in_sync" => one(u8::from(report.finding() == Finding::Fine)),
        "dagsync_fleet_drift_seconds" => one(report.longest().as_secs()),
        "dagsync_fleet_differing_files" => {
            let compared = report.groups.iter().filter_map(|group| group.differs.as_ref()?.as_ref().ok());
            let most = compared.map(|differs| differs.count).max();
            // Where all are on the reference, nothing differs.
            let is_one = matches!(report.groups.as_slice(), [one] if one.is_reference);
            most.or(is_one.then_some(0)).map(one).unwrap_or_default()
        }
        _ => one(seconds(report.at)),
    }
}
