//! A report as metrics in Prometheus' text format, for node_exporter's textfile collector and for a Pushgateway.

use std::fmt::Write as _;
use std::time::SystemTime;

use super::{Finding, Report, State};

/// How the text is called over HTTP.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Every metric and what it means; all are gauges.
pub const METRICS: [(&str, &str); 6] = [
    ("dagsync_fleet_pods", "Pods of the fleet by how they stand."),
    ("dagsync_fleet_versions", "Versions that pods of the fleet are on."),
    ("dagsync_fleet_in_sync", "1 if every pod is where it should be or within the grace period, else 0."),
    ("dagsync_fleet_drift_seconds", "For how long the pod that has drifted for longest has; 0 if none has."),
    ("dagsync_fleet_differing_files", "Files of the version that differs most from the reference, as far as compared."),
    ("dagsync_fleet_last_check_timestamp_seconds", "When the fleet was checked last."),
];

/// The metrics of one check.
pub fn text(report: &Report) -> String {
    let mut out = String::new();
    for (name, help) in METRICS {
        // Writing to a string cannot fail.
        let _ = writeln!(out, "# HELP {name} {help}\n# TYPE {name} gauge");
        for (labels, value) in samples(name, report) {
            let _ = writeln!(out, "{name}{labels} {value}");
        }
    }
    out
}

fn samples(name: &str, report: &Report) -> Vec<(String, String)> {
    let one = |value: String| vec![(String::new(), value)];
    match name {
        "dagsync_fleet_pods" => {
            let of = |state: State| (format!("{{state=\"{}\"}}", state.as_str()), report.count(state).to_string());
            State::ALL.into_iter().map(of).collect()
        }
        "dagsync_fleet_versions" => one(report.groups.len().to_string()),
        "dagsync_fleet_in_sync" => one(u8::from(report.finding() == Finding::Fine).to_string()),
        "dagsync_fleet_drift_seconds" => one(report.longest().as_secs().to_string()),
        "dagsync_fleet_differing_files" => {
            let compared = report.groups.iter().filter_map(|group| group.differs.as_ref()?.as_ref().ok());
            one(compared.map(|differs| differs.count).max().unwrap_or(0).to_string())
        }
        _ => one(report.at.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs_f64().to_string()),
    }
}
