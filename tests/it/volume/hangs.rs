//! A volume whose server answers nobody: NFS and EFS hang so. Nothing hangs with it but the sync.

use std::path::Path;

use super::{Shared, fails_and_serves, in_place, last_error, pod};
use crate::harness::{FaultFs, Outcome, Pod, dagsync, eventually, shell};

/// Threads of the daemon.
fn threads(pod: &Pod) -> usize {
    let status = std::fs::read_to_string(format!("/proc/{}/status", pod.id())).unwrap();
    status.lines().find_map(|line| line.strip_prefix("Threads:")).unwrap().trim().parse().unwrap()
}

fn attempts(status: &serde_json::Value) -> u64 {
    status["last_error"]["attempts"].as_u64().unwrap_or_default()
}

/// The volume does not answer: says so, serves what it has, and does not pile up threads.
fn lives_on(pod: &mut Pod, version: &str) {
    fails_and_serves(pod, "timeout", &["has not answered for", "the call before still hangs"], version);
    let (first, before) = (attempts(&pod.status().unwrap()), threads(pod));
    pod.wait("ten attempts more", |s| attempts(s) >= first + 10);
    let now = threads(pod);
    assert!(now < before + 5, "{now} threads after ten attempts more, {before} before");
    for path in ["/livez", "/readyz", "/metrics"] {
        assert_eq!(pod.get(path).unwrap().0, 200, "{path}");
    }
}

fn tree(files: usize) -> Shared {
    let shared = Shared::new();
    (0..files).for_each(|n| shared.write(&format!("team_{}/dag_{n}.py", n % 5), "first"));
    shared
}

fn started(make: impl Fn(&Path) -> Pod, fs: &FaultFs, version: &str) -> Pod {
    // An attempt gives up soon.
    let mut pod = make(fs.path()).set("timeout", "1s");
    pod.start();
    pod.wait("it is on the first", |s| s["version"] == version && s["state"] == "converged");
    pod
}

fn while_idle(make: impl Fn(&Path) -> Pod) {
    let shared = tree(40);
    let fs = FaultFs::over(&shared.path());
    let version = shared.version();
    let mut pod = started(make, &fs, &version);
    for content in ["second", "third"] {
        let version = pod.status().unwrap()["version"].as_str().unwrap().to_owned();
        let hang = fs.hang();
        lives_on(&mut pod, &version);
        assert!(hang.waiting() > 0, "nobody hangs");
        shared.write("team_0/dag_0.py", content);
        drop(hang);
        let version = shared.version();
        pod.wait("it goes on", |s| s["version"] == version.as_str() && s["state"] == "converged");
    }
}

#[test]
fn a_mount_that_hangs_holds_up_nothing_but_the_sync() {
    while_idle(pod);
}

#[test]
fn a_mount_that_hangs_under_what_is_served_in_place_does_not_silence_the_daemon() {
    while_idle(in_place);
}

/// The server goes while files are copied.
#[test]
fn a_mount_that_hangs_in_the_middle_of_a_copy() {
    const FILES: usize = 1000;
    let shared = tree(FILES);
    let fs = FaultFs::over(&shared.path());
    let version = shared.version();
    let mut pod = pod(fs.path()).set("timeout", "10s");
    pod.start_on(&version);
    pod.kill();
    (0..FILES).for_each(|n| shared.write(&format!("team_{}/dag_{n}.py", n % 5), "second"));
    pod.start();
    let staging = pod.root().join(".dagsync/staging");
    let staged = || shell(&staging, "find . -name '*.py' | wc -l").parse::<usize>().unwrap();
    eventually("files are copied", || (staged() > 0).then_some(()));
    let hang = fs.hang_at_once();
    assert!((1..FILES).contains(&staged()), "it was copied before it could be stopped");
    lives_on(&mut pod, &version);
    drop(hang);
    pod.is_on(&shared.version());
}

/// A pod that is rescheduled during the outage.
#[test]
fn a_start_while_the_mount_hangs_serves_what_was_published() {
    let shared = tree(40);
    let fs = FaultFs::over(&shared.path());
    let version = shared.version();
    let mut pod = started(pod, &fs, &version);
    pod.kill();
    let hang = fs.hang();
    pod.start();
    lives_on(&mut pod, &version);
    drop(hang);
    pod.is_on(&version);
}

#[test]
fn sigterm_and_once_end_while_the_mount_hangs() {
    let shared = tree(40);
    let fs = FaultFs::over(&shared.path());
    let version = shared.version();
    let mut pod = started(pod, &fs, &version);
    let hang = fs.hang();
    pod.wait("it hangs", |s| last_error(s).0 == "timeout");
    assert_eq!(pod.stop().code(), Some(0), "{}", pod.log());
    pod.once().ended(2, &["check that the source answers"]);
    Outcome::of(dagsync().arg("status").arg(pod.root())).ended(0, &[&version[7..19]]);
    drop(hang);
    pod.once().ended(0, &[]);
}
