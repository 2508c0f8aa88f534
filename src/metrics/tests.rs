use std::collections::BTreeSet;

use super::*;
use crate::config::Pod;
use crate::status::StatusBoard;

fn status() -> Arc<Status> {
    let pod = Pod { name: "p".into(), namespace: "n".into(), node: "o".into(), component: "scheduler".into() };
    let board = StatusBoard::new(&pod, "git", "s".into(), dagsync_core::Digest::of(""), UNIX_EPOCH);
    board.update(|s| {
        s.version = Some(dagsync_core::Manifest::default().version());
        s.succeed(UNIX_EPOCH + Duration::from_secs(5), SyncState::Converged);
    });
    board.read()
}

#[test]
fn the_table_is_what_is_exported() {
    let metrics = Metrics::new(true);
    assert!(!metrics.encode(&status()).contains("certificate_expiry"), "no certificate, and so none that has expired");
    metrics.certificate_expires(Some(UNIX_EPOCH));
    let text = metrics.encode(&status());
    let exported: BTreeSet<(String, String)> = text
        .lines()
        .filter_map(|l| l.strip_prefix("# TYPE "))
        .map(|l| l.split_once(' ').map(|(n, k)| (n.to_owned(), k.replace("unknown", "counter"))).unwrap())
        .collect();
    let table: BTreeSet<(String, String)> =
        METRICS.iter().map(|m| (m.name.trim_end_matches("_total").to_owned(), m.kind.to_owned())).collect();
    assert_eq!(exported, table);
    assert!(text.ends_with("# EOF\n"));
}

#[test]
fn a_name_ends_with_its_unit() {
    for m in METRICS {
        let name = m.name.trim_end_matches("_total");
        let unit = ["bytes", "seconds"].into_iter().find(|unit| name.ends_with(&format!("_{unit}")));
        assert_eq!(m.unit, unit.unwrap_or_default(), "{}", m.name);
    }
}

#[test]
fn the_older_format_names_counters_like_their_series() {
    let text = as_plain_text(&Metrics::default().encode(&status()));
    assert!(text.contains("# TYPE dagsync_syncs_total counter\n") && text.contains("# HELP dagsync_syncs_total "));
    assert!(text.contains("# TYPE dagsync_sync_duration_seconds histogram\n") && !text.contains("# EOF"));
}

#[test]
fn gauges_follow_the_status_and_counters_the_events() {
    let metrics = Metrics::default();
    metrics.synced(true, Duration::from_millis(3));
    metrics.failed(ErrorKind::Unreachable, 4);
    let text = metrics.encode(&status());
    for line in [
        "dagsync_syncs_total{result=\"published\"} 1",
        "dagsync_sync_errors_total{kind=\"unreachable\"} 1",
        "dagsync_consecutive_failures 4",
        "dagsync_state{state=\"converged\"} 1",
        "dagsync_state{state=\"stale\"} 0",
        "dagsync_last_success_timestamp_seconds 5.0",
        "dagsync_ready 1",
    ] {
        assert!(text.lines().any(|l| l == line), "{line} in\n{text}");
    }
}

#[test]
fn git_syncs_names_are_there_only_where_they_are_wanted() {
    let metrics = Metrics::default();
    metrics.turned(Turn::Noop, Duration::from_secs(1));
    assert!(!metrics.encode(&status()).contains("git_"));
    let metrics = Metrics::new(true);
    metrics.turned(Turn::Success, Duration::from_millis(1500));
    metrics.turned(Turn::Noop, Duration::from_millis(10));
    metrics.turned(Turn::Noop, Duration::from_millis(20));
    for (operation, outcome) in [
        ("fetch", Outcome::Success),
        ("fetch", Outcome::Error),
        ("askpass", Outcome::Error),
        ("gate", Outcome::Success),
    ] {
        metrics.tally().count(operation, outcome);
    }
    let text = metrics.encode(&status());
    for line in [
        "git_sync_duration_seconds_sum{status=\"success\"} 1.5",
        "git_sync_duration_seconds_count{status=\"noop\"} 2",
        "git_sync_count_total{status=\"noop\"} 2",
        "git_sync_count_total{status=\"error\"} 0",
        "git_fetch_count_total 2",
        "# TYPE git_sync_askpass_calls unknown",
        "git_sync_askpass_calls{status=\"error\"} 1",
        "git_sync_refresh_github_app_token_count{status=\"success\"} 0",
        "git_sync_hook_run_count_total{name=\"pre-publish-exechook\",status=\"success\"} 1",
        "dagsync_operations_total{operation=\"fetch\",result=\"error\"} 1",
        "dagsync_operations_total{operation=\"webhook\",result=\"success\"} 0",
    ] {
        assert!(text.lines().any(|l| l == line), "{line} in\n{text}");
    }
    assert!(text.ends_with("# EOF\n") && text.matches("# EOF").count() == 1);
    let plain = as_plain_text(&text);
    for name in ["git_sync_count_total", "git_sync_askpass_calls", "git_sync_refresh_github_app_token_count"] {
        assert!(plain.contains(&format!("# TYPE {name} counter\n")), "{name} in\n{plain}");
    }
}

#[test]
fn what_an_operation_counted_is_not_counted_again_by_the_next_scrape() {
    let metrics = Metrics::default();
    metrics.tally().count("fetch", Outcome::Success);
    let line = "dagsync_operations_total{operation=\"fetch\",result=\"success\"} 1";
    assert!((0..2).all(|_| metrics.encode(&status()).lines().any(|l| l == line)));
}
