//! What a follower does about its leader's word, and without it.

use rustix::process::Signal;

use super::many::follower;
use crate::harness::{Outcome, Pod, Repo, Web, contents, dagsync, version_of};

/// A repository with two states, and a leader that stays on the first.
fn held_back() -> (Repo, Pod, String) {
    let repo = Repo::with(&[("a.py", "1")]);
    let first = repo.version();
    let commit = repo.git(&["rev-parse", "HEAD"]);
    let mut leader = Pod::new(&repo.file_url()).set("pin_revision", commit).set("pin_version", &first);
    repo.write("a.py", "2");
    repo.commit("second");
    leader.start_on(&first);
    (repo, leader, first)
}

#[test]
fn a_leader_that_follows_itself_says_so_and_is_no_fleet_in_sync() {
    let repo = Repo::with(&[("a.py", "1")]);
    let version = repo.version();
    let itself = |pod: Pod| {
        let url = format!("http://127.0.0.1:{}", pod.port());
        pod.set("target.leader", url).set("target.mode", "leader").set("period", "200ms")
    };
    let mut fresh = itself(Pod::new(&repo.file_url()));
    fresh.start();
    let says = |error: &str| {
        let error = error.to_owned();
        move |s: &serde_json::Value| s["target"]["error"].as_str().is_some_and(|said| said.contains(&error))
    };
    let status = fresh.wait("it finds out", says("the leader is this very pod, which has no version yet"));
    assert_eq!(status["version"], serde_json::Value::Null);

    let mut leader = Pod::new(&repo.file_url());
    leader.start_on(&version);
    leader.stop();
    let mut leader = itself(leader);
    leader.start();
    leader.wait("it finds out", says("the leader is this very pod, or follows it"));
    let mut worker = follower(&repo.file_url(), &leader);
    worker.start_on(&version);
    let url = |pod: &Pod| format!("http://127.0.0.1:{}", pod.port());
    let check = |grace: &str| {
        let args = ["drift", "--peer", &url(&worker), "--leader", &url(&leader), "--grace", grace];
        Outcome::of(dagsync().args(args))
    };
    check("1h").ended(0, &["1 converging, 1 in-sync", "a leader does not know itself where it should be"]);
    check("0s").ended(1, &["1 drifted, 1 in-sync", "the leader is this very pod, or follows it"]);
}

#[test]
fn a_new_worker_starts_on_its_leaders_version_although_the_head_is_newer() {
    let (repo, leader, first) = held_back();
    let worker = follower(&repo.file_url(), &leader);
    worker.once().ended(0, &[&first]);
    assert_eq!(version_of(&worker.current().unwrap()).unwrap(), first);
}

#[test]
fn a_stamped_version_wins_over_the_leader() {
    let (repo, leader, _) = held_back();
    let second = repo.version();
    let stamped = |worker: Pod| worker.env("DAGSYNC_PIN_VERSION", &second);
    let worker =
        stamped(follower(&repo.file_url(), &leader)).env("DAGSYNC_PIN_REVISION", repo.git(&["rev-parse", "HEAD"]));
    worker.once().ended(0, &[&second]);
    // Without the commit the source's head is tried, which happens to be right.
    stamped(follower(&repo.file_url(), &leader)).once().ended(0, &[&second]);
    let wrong = follower(&repo.file_url(), &leader)
        .env("DAGSYNC_PIN_VERSION", format!("sha256:{}", "0".repeat(64)))
        .set("timeout", "2s");
    wrong.once().ended(2, &["holds another version than this pod should be on", "pin_version", &second]);
    assert!(wrong.current().is_none(), "nothing is published");
    follower(&repo.file_url(), &leader).env("DAGSYNC_PIN_VERSION", "v2").once().ended(64, &["pin_version"]);
}

#[test]
fn what_the_source_calls_a_pinned_version_is_asked_of_a_leader() {
    let repo = Repo::with(&[("a.py", "1")]);
    let mut leader = Pod::new(&repo.file_url());
    let first = repo.version();
    leader.start_on(&first);
    repo.write("a.py", "2");
    repo.commit("second");
    leader.is_on(&repo.version());
    let worker = follower(&repo.file_url(), &leader).env("DAGSYNC_PIN_VERSION", &first);
    worker.once().ended(0, &[&first]);
    leader.kill();
    let lost = follower(&repo.file_url(), &leader).env("DAGSYNC_PIN_VERSION", &first).set("timeout", "2s");
    lost.once().ended(2, &["holds another version than this pod should be on", "should hold", &first]);
}

#[test]
fn a_leader_that_stops_is_waited_for_and_one_that_dies_too() {
    let repo = Repo::with(&[("a.py", "1")]);
    let mut leader = Pod::new(&repo.file_url());
    let first = repo.version();
    leader.start_on(&first);
    let mut pod = follower(&repo.file_url(), &leader).set("period", "200ms");
    pod.start_on(&first);
    leader.signal(Signal::STOP);
    repo.write("a.py", "2");
    repo.commit("second");
    let second = repo.version();
    std::thread::sleep(std::time::Duration::from_secs(1));
    assert_eq!(pod.status().unwrap()["version"], first.as_str(), "the head is newer, but the leader is not there");
    leader.signal(Signal::CONT);
    leader.is_on(&second);
    pod.is_on(&second);
    leader.kill();
    let status = pod.wait("it misses its leader", |s| s["target"]["leader_up"] == false);
    assert_eq!((&status["state"], &status["in_sync"]), (&"converged".into(), &true.into()), "its word still counts");
    repo.write("a.py", "3");
    repo.commit("third");
    leader.start_on(&repo.version());
    pod.is_on(&repo.version());
}

#[test]
fn without_its_leader_a_worker_waits_and_then_does_what_it_was_told() {
    let repo = Repo::with(&[("a.py", "1")]);
    let gone = Pod::new(&repo.file_url());
    let worker = |fallback: &str| {
        follower(&repo.file_url(), &gone)
            .set("target.fallback", fallback)
            .set("target.fallback_after", "1s")
            .set("timeout", "4s")
    };
    for fallback in ["hold", "fail"] {
        let worker = worker(fallback);
        worker.once().ended(2, &["ask leader", "no answer", &format!("127.0.0.1:{}", gone.port())]);
        assert!(worker.current().is_none());
    }
    worker("head").once().ended(0, &[&repo.version()]);
    let mut failing = worker("fail");
    failing.start();
    assert_eq!(failing.ends().code(), Some(2));
}

#[test]
fn garbage_from_a_leader_moves_nobody() {
    let repo = Repo::with(&[("a.py", "1")]);
    let answers = [
        (200, "<html>login</html>".to_owned()),
        (200, "{\"version\":\"sha256:zz\"}".to_owned()),
        (200, "x".repeat(200_000)),
        (500, "oops".to_owned()),
    ];
    for answer in answers {
        let web = Web::answering(move |_| answer.clone());
        let worker = Pod::new(&repo.file_url())
            .set("target.mode", "leader")
            .set("target.leader", web.url(""))
            .set("timeout", "2s");
        worker.once().ended(2, &["ask leader"]);
        assert!(worker.current().is_none());
    }
}

#[test]
fn a_follower_on_another_kind_of_source_moves_when_its_own_source_has_the_leaders_version() {
    let repo = Repo::with(&[("a.py", "1"), ("b.py", "same")]);
    let mut leader = Pod::new(&repo.file_url());
    let volume = tempfile::tempdir().unwrap();
    let write = |content: &str| std::fs::write(volume.path().join("a.py"), content).unwrap();
    write("1");
    std::fs::write(volume.path().join("b.py"), "same").unwrap();
    leader.start_on(&repo.version());
    let mut pod = follower(volume.path().to_str().unwrap(), &leader).set("period", "200ms").set("volume.settle", "0s");
    pod.start_on(&repo.version());
    let before = contents(&pod.current().unwrap()).unwrap();
    // The volume is ahead: nobody moves.
    write("2");
    std::thread::sleep(std::time::Duration::from_millis(800));
    assert_eq!(contents(&pod.current().unwrap()).unwrap(), before);
    repo.write("a.py", "2");
    repo.commit("second");
    pod.is_on(&repo.version());
    // The volume lags behind: it says so, and keeps what it has.
    repo.write("a.py", "3");
    repo.commit("third");
    leader.is_on(&repo.version());
    let status = pod.wait("it says that its source lags", |s| s["last_error"]["kind"] == "mismatch");
    assert_eq!((&status["in_sync"], &status["ready"]), (&false.into(), &true.into()));
    write("3");
    pod.is_on(&repo.version());
}

#[test]
fn a_full_check_of_a_follower_does_not_ask_for_what_its_source_held_before() {
    let repo = Repo::with(&[("a.py", "1")]);
    let mut leader = Pod::new(&repo.file_url());
    let volume = tempfile::tempdir().unwrap();
    std::fs::write(volume.path().join("a.py"), "1").unwrap();
    leader.start_on(&repo.version());
    let mut pod = follower(volume.path().to_str().unwrap(), &leader)
        .set("period", "200ms")
        .set("volume.settle", "0s")
        .set("scrub.interval", "200ms")
        .set("scrub.full_every", "1");
    pod.start_on(&repo.version());
    std::fs::write(volume.path().join("a.py"), "ahead").unwrap();
    std::thread::sleep(std::time::Duration::from_secs(1));
    let status = pod.status().unwrap();
    assert_eq!((&status["state"], &status["last_error"]), (&"converged".into(), &serde_json::Value::Null), "{status}");
}
