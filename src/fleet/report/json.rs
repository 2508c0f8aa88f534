//! A report for machines; `schema.json` beside this file documents it.

use dagsync_core::Change;
use serde_json::{Map, Value as Json, json};

use super::{Group, Report, State, Verdict};
use std::time::SystemTime;

/// What the report's `schema` is; another one when a field changes its meaning or goes.
const SCHEMA: u32 = 1;
/// The JSON Schema of [`of`].
pub const DOCUMENT: &str = include_str!("schema.json");

/// The report.
pub fn of(report: &Report) -> Json {
    let standard = &report.standard;
    let versions: Vec<_> = standard.candidates.iter().map(|candidate| candidate.version).collect();
    let leaders: Vec<_> = report.pods.iter().filter(|pod| pod.leads).map(|pod| &pod.name).collect();
    json!({
        "schema": SCHEMA,
        "checked_at": time(report.at),
        "finding": report.finding(),
        "grace_seconds": report.grace.as_secs_f64(),
        "reference": {
            "by": standard.by,
            "versions": versions,
            "revision": standard.candidates.first().and_then(|candidate| candidate.revision.as_ref()),
            "leaders": leaders,
            "filter_hash": standard.filter_hash,
            "note": standard.note,
        },
        "counts": counts(report),
        "versions": report.groups.iter().map(group).collect::<Vec<_>>(),
        "pods": report.pods.iter().map(pod).collect::<Vec<_>>(),
    })
}

/// How many pods stand how; every state is there.
pub fn counts(report: &Report) -> Json {
    let count = |state: State| (state.as_str().to_owned(), report.count(state).into());
    Json::Object(State::ALL.into_iter().map(count).collect::<Map<_, _>>())
}

fn group(group: &Group) -> Json {
    let differs = group.differs.as_ref();
    json!({
        "version": group.version,
        "revision": group.revision,
        "pods": group.pods,
        "reference": group.is_reference,
        "differs": differs.and_then(|differs| differs.as_ref().ok()),
        "not_compared": differs.and_then(|differs| differs.as_ref().err()),
    })
}

fn pod(pod: &Verdict) -> Json {
    let remedy = pod.remedy.as_ref().map(|remedy| json!({"asked": remedy.is_ok(), "error": remedy.as_ref().err()}));
    let tampered: &[Change] = if pod.state == State::Tampered { &pod.tampered } else { &[] };
    json!({
        "name": pod.name,
        "url": pod.url,
        "namespace": pod.namespace,
        "node": pod.node,
        "component": pod.component,
        "leader": pod.leads,
        "state": pod.state,
        "since": pod.since.map(time),
        "cause": pod.cause,
        "daemon_state": pod.daemon_state,
        "version": pod.version,
        "revision": pod.revision,
        "strategy": pod.strategy,
        "source": pod.source,
        "tampered": tampered,
        "remedy": remedy,
    })
}

fn time(time: SystemTime) -> String {
    humantime::format_rfc3339_millis(time).to_string()
}
