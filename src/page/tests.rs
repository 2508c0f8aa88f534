use dagsync_core::{ChangeKind, TreePath};

use super::*;
use crate::config::Pod;
use crate::fleet::answer::Answer;
use crate::fleet::ask::{Asked, Said};
use crate::fleet::judge::judge;
use crate::fleet::report::{Difference, Report};
use crate::fleet::{Basis, Peer};
use crate::status::{Flip, StatusBoard};

const EVIL: &str = "<script>alert(1)</script>\"'&.py";

fn digest(text: &str) -> Version {
    Version::from(Digest::of(text))
}

fn change(path: &str) -> Change {
    Change { path: TreePath::new(path).unwrap(), change: ChangeKind::Modified }
}

fn evil_status() -> Status {
    let evil = || EVIL.to_owned();
    let pod = Pod { name: evil(), namespace: evil(), node: evil(), component: evil() };
    let filter = dagsync_core::Filter::default().hash();
    let board = StatusBoard::new(&pod, "git", evil(), filter, SystemTime::UNIX_EPOCH);
    board.update(|status| {
        status.version = Some(digest("1"));
        status.warnings.push(evil());
        status.tampered.push(change(EVIL.trim_end_matches("</script>")));
        let error = dagsync_core::Error::new(dagsync_core::ErrorKind::Refused, "gate", evil());
        status.fail(&error, 3, SystemTime::UNIX_EPOCH);
        let revision = Some(dagsync_core::Revision::new(evil()));
        status.flip(Flip { version: digest("1"), revision, at: SystemTime::UNIX_EPOCH });
    });
    (*board.read()).clone()
}

fn pod(name: &str, component: &str, version: &str, state: &str) -> Asked {
    let answer = Answer {
        pod: name.to_owned(),
        component: component.to_owned(),
        state: state.to_owned(),
        version: Some(digest(version)),
        since: Some(SystemTime::UNIX_EPOCH),
        ..Answer::default()
    };
    Asked { peer: Peer::at("http://10.0.0.7:8466"), leads: false, said: Said::Status(Box::new(answer)) }
}

fn judged(asked: &[Asked], leader: &str) -> Report {
    let basis = Basis::Version(digest(leader));
    judge(asked, &basis, Duration::from_secs(60), SystemTime::UNIX_EPOCH + Duration::from_secs(9_000))
}

/// Most pods are not where they should be.
pub(crate) fn fleet() -> Report {
    let peer = Peer { name: EVIL.to_owned(), ..Peer::at("http://10.0.0.8:8466") };
    let asked = [
        pod("scheduler-0", "scheduler", "1", "converged"),
        pod("worker-0", "worker", "1", "tampered"),
        pod("worker-1", "worker", "2", "converged"),
        pod("worker-2", "worker", "2", "converged"),
        pod(EVIL, "worker", "3", "converged"),
        Asked { peer, leads: false, said: Said::Nothing(EVIL.to_owned()) },
    ];
    let mut report = judged(&asked, "1");
    for group in report.groups.iter_mut().filter(|group| !group.is_reference) {
        let files = vec![change("dags/a.py"), change(EVIL)];
        let is_compared = group.version == digest("2");
        let found = Difference { count: 4_711, files };
        group.differs = Some(if is_compared { Ok(found) } else { Err(format!("not compared: {EVIL}")) });
    }
    report
}

fn look(report: Report) -> Look {
    Look { fleet: Some(Fleet { at: report.at, found: Ok(report) }.into()), is_asked: false }
}

fn page(look: &Look) -> String {
    render(&evil_status(), Some(look), SystemTime::now())
}

#[test]
fn whatever_others_wrote_is_text() {
    let page = page(&look(fleet()));
    assert!(!page.contains("<script") && !page.contains(EVIL), "{page}");
    assert!(page.matches("&lt;script&gt;alert(1)").count() >= 10, "{page}");
    let nobody =
        Look { fleet: Some(Fleet { at: SystemTime::now(), found: Err(EVIL.to_owned()) }.into()), is_asked: false };
    assert!(!self::page(&nobody).contains("<script"));
}

#[test]
fn the_colour_of_a_cell_is_how_its_pods_stand_and_not_how_many_they_are() {
    let page = page(&look(fleet()));
    for says in [
        "DRIFT: of 6 pods",
        "1 unreachable",
        "<th>scheduler</th><td class=\"good\">1</td><td></td><td></td><td></td>",
        "<th>worker</th><td class=\"bad\">1</td><td class=\"bad\">2</td><td class=\"bad\">1</td><td></td>",
        "<th>not known</th><td></td><td></td><td></td><td class=\"odd\">1</td>",
    ] {
        assert!(page.contains(says), "{says} in {page}");
    }
    assert!(!render(&evil_status(), None, SystemTime::now()).contains("Fleet"));
}

#[test]
fn all_files_that_differ_are_counted_and_what_was_not_compared_is_told() {
    let page = page(&look(fleet()));
    for says in ["4711 files differ", "dags/a.py", "and 4709 more", "not compared: "] {
        assert!(page.contains(says), "{says} in {page}");
    }
}

#[test]
fn while_the_fleet_is_asked_the_page_says_so_and_comes_again_soon() {
    let (soon, later) = ("http-equiv=\"refresh\" content=\"3\"", "http-equiv=\"refresh\" content=\"30\"");
    let first = page(&Look { fleet: None, is_asked: true });
    assert!(first.contains("All pods are being asked") && first.contains(soon), "{first}");
    let again = page(&Look { is_asked: true, ..look(fleet()) });
    assert!(again.contains("being asked again") && again.contains("DRIFT") && again.contains(soon), "{again}");
    let done = page(&look(fleet()));
    assert!(!done.contains("being asked") && done.contains(later));
}

#[test]
fn behind_a_proxy_s_prefix_links_stay_below_it() {
    let page = page(&look(fleet()));
    assert!(page.contains("href=\"v1/status\"") && page.contains("href=\"metrics\""));
    assert!(!page.contains("href=\"/"), "{page}");
}

#[test]
fn the_page_of_a_large_fleet_is_bounded() {
    let pods: Vec<_> = (0..5000).map(|i| pod(&format!("p-{i}"), "worker", &i.to_string(), "converged")).collect();
    let page = page(&look(judged(&pods, "1")));
    assert!(page.contains("4992 others") && page.contains("and 4500 more") && page.len() < 500_000, "{}", page.len());
}

#[test]
fn the_page_of_a_fleet_with_thousands_of_versions_and_components_is_bounded() {
    let name = |i: usize| i.to_string();
    let pods: Vec<_> = (0..5000).map(|i| pod(&name(i), &name(i), &name(i), "converged")).collect();
    let mut report = judge(&pods, &Basis::Majority, Duration::from_secs(60), SystemTime::now());
    assert_eq!((report.standard.candidates.len(), report.groups.len()), (5000, 5000));
    report.groups.iter_mut().for_each(|group| group.differs = Some(Err("not compared".to_owned())));
    let page = page(&look(report));
    for says in ["and 4992 more", "4980 more versions", "4900 more components"] {
        assert!(page.contains(says), "{says} in {page}");
    }
    assert!(page.matches("not compared").count() <= 20 && page.len() < 500_000, "{}", page.len());
}

#[test]
fn durations_are_rough() {
    for (seconds, says) in [(0, "0s"), (59, "59s"), (3725, "1h 2m"), (90_061, "1day 1h")] {
        assert_eq!(rough(Duration::from_secs(seconds)), says);
    }
}
