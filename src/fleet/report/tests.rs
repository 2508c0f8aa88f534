use std::collections::BTreeSet;

use dagsync_core::{ChangeKind, TreePath};

use super::super::answer::Answer;
use super::super::discover::Phase;
use super::super::fixture::{ago, answer, leader, now, pod, silent, v};
use super::super::judge::judge;
use super::super::reference::Basis;
use super::table::Paint;
use super::*;

/// No colours.
struct Plain;

impl Paint for Plain {
    fn bad(&self, text: &str) -> String {
        text.to_owned()
    }

    fn odd(&self, text: &str) -> String {
        text.to_owned()
    }

    fn good(&self, text: &str) -> String {
        text.to_owned()
    }

    fn strong(&self, text: &str) -> String {
        text.to_owned()
    }
}

const HOSTILE: &str = "\u{1b}[2J<b>|`@here\n[x](http://evil)";

fn change(path: &str, change: ChangeKind) -> Change {
    Change { path: TreePath::new(path).unwrap(), change }
}

fn report() -> Report {
    let error = || Some("sync: s3 says no".to_owned());
    let behind = Answer { last_error: error(), behind_since: Some(ago(700)), ..answer(&[(1, 9_000)]) };
    let touched = vec![change("dags/etl.py", ChangeKind::Modified)];
    let tampered = Answer { state: "tampered".into(), since: Some(ago(4)), tampered: touched, ..answer(&[(2, 900)]) };
    let asked = [
        leader("scheduler", answer(&[(2, 900)])),
        pod("api", answer(&[(2, 800)])),
        pod("triggerer", tampered),
        pod("worker-0", Answer { component: "worker".into(), ..behind }),
        silent("worker-1", Phase::Running),
    ];
    let mut report = judge(&asked, &Basis::Leader, Duration::from_secs(60), now());
    let files = vec![change("dags/etl.py", ChangeKind::Modified), change("dags/new.py", ChangeKind::Removed)];
    report.groups[1].differs = Some(Ok(Difference { count: 2, files }));
    report
}

fn hostile() -> Report {
    let evil = Answer {
        last_error: Some(HOSTILE.into()),
        component: HOSTILE.into(),
        revision: Some(HOSTILE.into()),
        behind_since: Some(ago(100)),
        ..answer(&[(1, 900)])
    };
    let asked = [leader("a", answer(&[(2, 900)])), pod(HOSTILE, evil)];
    judge(&asked, &Basis::Leader, Duration::ZERO, now())
}

#[test]
fn the_table_says_who_since_when_how_many_files_and_which() {
    let (right, wrong) = (v(2).short(), v(1).short());
    let expected = format!(
        "\
DRIFT: of 5 pods 1 drifted, 1 tampered, 1 unreachable, 2 in-sync
reference: {right}, r2, by the leader scheduler; grace 1m

{right}  3 pods    the reference
  tampered      triggerer  for 4s
      modified  dags/etl.py
  in-sync       api, scheduler

{wrong}  1 pod     2 files differ
  drifted       worker-0  for 15m, worker
                sync: s3 says no
      modified  dags/etl.py
      removed   dags/new.py

no version    1 pod
  unreachable   worker-1
                no route
"
    );
    assert_eq!(table::text(&report(), &Plain), expected);
}

#[test]
fn the_table_stays_short_however_large_the_fleet_is() {
    let asked: Vec<_> = (0..2_000).map(|n| pod(&format!("p{n}"), answer(&[(n % 3, 900)]))).collect();
    let text = table::text(&judge(&asked, &Basis::Majority, Duration::ZERO, now()), &Plain);
    assert!(text.lines().count() < 60, "{text}");
    assert!(text.contains("and 655 more") || text.contains("and 654 more"), "{text}");
}

#[test]
fn nothing_that_a_pod_says_steers_a_terminal_a_page_or_a_chat() {
    let report = hostile();
    let table = table::text(&report, &Plain);
    let markdown = summary::markdown(&report);
    let chat = summary::chat(&report);
    for text in [&table, &markdown, &chat] {
        assert!(text.contains("evil") && !text.contains('\u{1b}') && !text.contains("@here\n"), "{text}");
    }
    for markup in ["<b>", "](http", "@here"] {
        assert!(!markdown.contains(markup), "{markdown}");
    }
    let rows = markdown.lines().filter(|line| line.starts_with('|'));
    assert!(rows.clone().all(|row| matches!(row.matches('|').count(), 5)), "{markdown}");
    assert!(!chat.contains("<b>") && chat.lines().count() == 2, "{chat}");
}

#[test]
fn the_chat_and_the_summary_name_the_pods_that_are_not_in_sync() {
    let chat = summary::chat(&report());
    assert!(chat.starts_with("dagsync DRIFT: of 5 pods 1 drifted"), "{chat}");
    for line in [
        "• drifted worker-0 for 15m: sync: s3 says no",
        "• tampered triggerer for 4s",
        "• unreachable worker-1: no route",
    ] {
        assert!(chat.contains(line), "{chat}");
    }
    let markdown = summary::markdown(&report());
    assert!(markdown.contains("| drifted | worker-0 | 15m | sync&#58; s3 says no |"), "{markdown}");
    assert!(markdown.contains("2&#58; modified dags/etl.py"), "{markdown}");
    assert!(!markdown.contains("| api |"), "{markdown}");
}

#[test]
fn metrics_have_every_state_and_unique_names() {
    let text = prometheus::text(&report());
    for line in [
        "dagsync_fleet_pods{state=\"drifted\"} 1",
        "dagsync_fleet_pods{state=\"missing\"} 0",
        "dagsync_fleet_versions 2",
        "dagsync_fleet_in_sync 0",
        "dagsync_fleet_drift_seconds 900",
        "dagsync_fleet_differing_files 2",
        "dagsync_fleet_last_check_timestamp_seconds 1000000",
    ] {
        assert!(text.lines().any(|found| found == line), "{line} in\n{text}");
    }
    let samples: Vec<_> = text.lines().filter(|l| !l.starts_with('#')).filter_map(|l| l.split(' ').next()).collect();
    assert_eq!(samples.iter().collect::<BTreeSet<_>>().len(), samples.len());
}

#[test]
fn the_schema_is_what_is_written() {
    let schema: serde_json::Value = serde_json::from_str(json::DOCUMENT).unwrap();
    let validator = jsonschema::validator_for(&schema).unwrap();
    let mut remedied = report();
    remedied.pods[0].remedy = Some(Err("refused".into()));
    remedied.pods[1].remedy = Some(Ok(()));
    remedied.groups[1].differs = Some(Err("not compared".into()));
    let empty = judge(&[], &Basis::Majority, Duration::ZERO, now());
    for report in [report(), remedied, empty, hostile()] {
        let json = json::of(&report);
        let wrong: Vec<_> = validator.iter_errors(&json).map(|e| e.to_string()).collect();
        assert!(wrong.is_empty(), "{wrong:?}\n{json:#}");
    }
    let mut json = json::of(&report());
    json["pods"][0]["state"] = "odd".into();
    assert!(!validator.is_valid(&json));
}
