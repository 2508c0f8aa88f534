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

const HOSTILE: &str = "\u{1b}[2J<b>|```@here <!here> @channel\n[x](http://evil) www.evil.com *_~#1 \u{202e}\u{200b}";

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
        assert!(text.contains("evil") && !text.contains(['\u{1b}', '\u{202e}']), "{text}");
    }
    let written = |c: &str| format!("&#{};", u32::from(c.chars().next().unwrap()));
    for markup in ["<", "[", "]", "(", "*", "_", "~"] {
        let ours = markdown.matches(markup).count() - markdown.matches("**").count() * 2 * usize::from(markup == "*");
        assert!(ours == 0 && markdown.contains(&written(markup)), "{markup} in {markdown}");
    }
    for link in ["@here", "&#64;here", "@channel", "&#64;channel", "://", "www.", "&#35;1"] {
        assert!(!markdown.contains(link), "{link} in {markdown}");
    }
    let rows = markdown.lines().filter(|line| line.starts_with('|'));
    assert!(rows.clone().all(|row| matches!(row.matches('|').count(), 5 | 6)), "{markdown}");
    for link in ["<", ">", "@here", "@channel", "://"] {
        assert!(!chat.contains(link), "{link} in {chat}");
    }
    assert!(chat.matches('`').count() == 6 && chat.ends_with("\n```") && chat.lines().count() == 6, "{chat}");
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
    let drifted = format!("| drifted | worker-0 | 15m | `{}` | sync&#58; s3 says no |", v(1).short());
    assert!(markdown.contains(&drifted), "{markdown}");
    for (text, colon) in [(&chat, ":"), (&markdown, "&#58;")] {
        let reference = format!("reference{colon} {}, r2, by the leader scheduler; grace 1m", v(2).short());
        assert!(text.contains(&reference), "{text}");
    }
    let version =
        format!("{} (r1) on 1 pod; files that differ: 2: modified dags/etl.py, removed dags/new.py", v(1).short());
    assert!(chat.contains(&version), "{chat}");
    assert!(markdown.contains("2&#58; modified dags/etl.py"), "{markdown}");
    assert!(!markdown.contains("| api |"), "{markdown}");
}

#[test]
fn the_chat_stays_short_whatever_a_fleet_has_to_say() {
    let long = |n: u64| Answer {
        last_error: Some("x".repeat(5_000)),
        revision: Some("y".repeat(5_000)),
        ..answer(&[(n, 900)])
    };
    let asked: Vec<_> = (0..2_000).map(|n| pod(&format!("{n}{}", "p".repeat(200)), long(n))).collect();
    let mut report = judge(&asked, &Basis::Version(v(1)), Duration::ZERO, now());
    let files = vec![change(&["d"; 100].join("/"), ChangeKind::Added); 100];
    report.groups[1].differs = Some(Ok(Difference { count: 10_000, files }));
    let chat = summary::chat(&report);
    assert!(chat.chars().count() < 6_000 && chat.contains("and 1989 more"), "{chat}");
}

#[test]
fn a_path_that_turns_the_direction_of_a_line_is_escaped_in_the_table() {
    let mut report = report();
    let files = vec![change("dags/a\u{202e}yp.b", ChangeKind::Added)];
    report.groups[1].differs = Some(Ok(Difference { count: 1, files }));
    let text = table::text(&report, &Plain);
    assert!(text.contains("added     dags/a\\u{202e}yp.b"), "{text}");
}

#[test]
fn a_check_that_failed_leaves_no_metric_of_one_that_did_not() {
    let text = prometheus::failed(Some(now()));
    let samples: Vec<_> = text.lines().filter(|line| !line.starts_with('#')).collect();
    assert_eq!(samples, ["dagsync_fleet_check_success 0", "dagsync_fleet_last_check_timestamp_seconds 1000000"]);
    assert!(!prometheus::failed(None).contains("timestamp"));
    let error = dagsync_core::Error::new(dagsync_core::ErrorKind::Timeout, "ask DNS", "no answer\n<!here>");
    assert_eq!(
        summary::blind(&error),
        "dagsync FAILED: the fleet cannot be checked\n```\nask DNS: no answer\\n&lt;!here&gt;\n```"
    );
}

#[test]
fn files_that_were_not_compared_are_not_said_to_be_none() {
    let metric = "dagsync_fleet_differing_files";
    let mut report = report();
    report.groups[1].differs = Some(Err("not compared".into()));
    assert!(!prometheus::text(&report).contains(metric));
    report.groups.truncate(1);
    assert!(prometheus::text(&report).contains(&format!("\n{metric} 0\n")));
    report.groups[0].is_reference = false;
    assert!(!prometheus::text(&report).contains(metric), "all are on one version, and that is not the reference");
}

#[test]
fn of_versions_that_all_are_the_reference_none_is_said_to_be_without_a_difference() {
    let metric = "dagsync_fleet_differing_files";
    for asked in [vec![pod("a", answer(&[(1, 9)])), pod("b", answer(&[(2, 9)]))], vec![silent("a", Phase::Running)]] {
        let report = judge(&asked, &Basis::Majority, Duration::ZERO, now());
        assert!(report.groups.iter().all(|group| group.is_reference));
        assert!(!prometheus::text(&report).contains(metric), "nothing was compared");
    }
}

#[test]
fn that_all_pods_end_is_news_and_so_is_that_they_are_back() {
    let at = |phase| {
        let mut one = pod("a", answer(&[(1, 900)]));
        one.peer.phase = phase;
        judge(&[one], &Basis::Majority, Duration::ZERO, now()).essence()
    };
    assert_ne!(at(Phase::Running), at(Phase::Terminating));
}

#[test]
fn metrics_have_every_state_and_unique_names() {
    let text = prometheus::text(&report());
    for line in [
        "dagsync_fleet_check_success 1",
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
