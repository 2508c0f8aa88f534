use dagsync_core::{ChangeKind, TreePath};

use super::*;
use crate::config::Pod;
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

pub(crate) fn fleet() -> Fleet {
    let pod = |name: &str, component: &str, version: Option<&str>, state: &str| FleetPod {
        name: name.into(),
        component: component.into(),
        version: version.map(digest),
        state: state.into(),
        since: Some(SystemTime::UNIX_EPOCH),
        is_well: true,
    };
    Fleet {
        at: SystemTime::UNIX_EPOCH,
        pods: vec![
            pod("scheduler-0", "scheduler", Some("1"), "converged"),
            pod("worker-0", "worker", Some("1"), "converged"),
            pod("worker-1", "worker", Some("2"), "stale"),
            pod(EVIL, "", None, "no answer"),
        ],
        problem: Some(EVIL.to_owned()),
        differ: [(digest("2"), vec![change("dags/a.py"), change(EVIL)])].into(),
    }
}

#[test]
fn whatever_others_wrote_is_text() {
    let page = render(&evil_status(), Some(&fleet()), SystemTime::now());
    assert!(!page.contains("<script") && !page.contains(EVIL), "{page}");
    assert!(page.matches("&lt;script&gt;alert(1)").count() >= 10, "{page}");
}

#[test]
fn the_fleet_is_a_matrix_with_what_differs() {
    let page = render(&evil_status(), Some(&fleet()), SystemTime::now());
    for says in [
        "4 pods",
        "2 versions, 1 without one",
        "2 files differ",
        "dags/a.py",
        "<th>worker</th><td class=\"good\">1</td><td class=\"bad\">1</td><td></td>",
        "<th>not known</th><td></td><td></td><td class=\"odd\">1</td>",
    ] {
        assert!(page.contains(says), "{says} in {page}");
    }
    assert!(!render(&evil_status(), None, SystemTime::now()).contains("Fleet"));
}

#[test]
fn the_page_of_a_large_fleet_is_bounded() {
    let mut large = fleet();
    let template = large.pods[0].clone();
    large.pods = (0..5000)
        .map(|i| FleetPod { name: format!("p-{i}"), version: Some(digest(&i.to_string())), ..template.clone() })
        .collect();
    let page = render(&evil_status(), Some(&large), SystemTime::now());
    assert!(page.contains("4992 others") && page.contains("and 4500 more") && page.len() < 400_000, "{}", page.len());
}

#[test]
fn durations_are_rough() {
    for (seconds, says) in [(0, "0s"), (59, "59s"), (3725, "1h 2m"), (90_061, "1day 1h")] {
        assert_eq!(rough(Duration::from_secs(seconds)), says);
    }
}
