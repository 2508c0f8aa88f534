//! One leader and a hundred followers.

use std::time::{Duration, SystemTime};

use serde_json::Value;

use crate::harness::{Pod, Repo};

const FOLLOWERS: usize = 100;

pub(super) fn follower(source: &str, leader: &Pod) -> Pod {
    Pod::new(source)
        .set("target.mode", "leader")
        .set("target.leader", format!("http://127.0.0.1:{}", leader.port()))
        // Long enough that nobody moves by polling.
        .set("period", "10m")
}

fn flips(status: &Value) -> Vec<(String, SystemTime)> {
    let flip = |flip: &Value| {
        let at = humantime::parse_rfc3339(flip["at"].as_str().unwrap()).unwrap();
        (flip["version"].as_str().unwrap().to_owned(), at)
    };
    status["history"].as_array().unwrap().iter().map(flip).collect()
}

fn flip_to(status: &Value, version: &str) -> SystemTime {
    flips(status).into_iter().find(|(to, _)| to == version).unwrap_or_else(|| panic!("{version}: {status}")).1
}

#[allow(clippy::print_stdout, reason = "the skew is for whoever runs it with --nocapture, and fails no test")]
#[test]
fn a_hundred_followers_are_on_each_version_right_after_their_leader_and_on_no_other() {
    let repo = Repo::with(&[("a.py", "0"), ("b.py", "0")]);
    let mut leader = Pod::new(&repo.file_url()).set("period", "300ms").set("log.level", "info");
    leader.start_on(&repo.version());
    let new = |_| follower(&repo.file_url(), &leader).set("log.level", "info");
    let mut followers: Vec<Pod> = (0..FOLLOWERS).map(new).collect();
    followers.iter_mut().for_each(Pod::start);
    let first = repo.version();
    followers.iter_mut().for_each(|pod| drop(pod.is_on(&first)));
    for change in 1..=4 {
        // The head moves on while the leader has not seen it yet: two of these are nobody's version for long.
        for half in [".5", ""] {
            repo.write("a.py", &format!("{change}{half}"));
            repo.commit("change");
        }
        let version = repo.version();
        leader.is_on(&version);
        let mut ats: Vec<_> = followers.iter_mut().map(|pod| flip_to(&pod.is_on(&version), &version)).collect();
        ats.sort();
        let led = flip_to(&leader.status().unwrap(), &version);
        let (first, last) = (ats[0], ats[FOLLOWERS - 1]);
        let since = |at: SystemTime| at.duration_since(led).map_or(Duration::ZERO, |after| after);
        println!(
            "change {change}: {FOLLOWERS} followers moved {:?} to {:?} after their leader, skew {:?}",
            since(first),
            since(last),
            last.duration_since(first).unwrap()
        );
    }
    let had = flips(&leader.status().unwrap());
    for pod in &followers {
        for (version, at) in flips(&pod.status().unwrap()) {
            let led = had.iter().find(|(had, _)| *had == version);
            let (_, led) = led.unwrap_or_else(|| panic!("the leader never had {version}: {had:?}"));
            assert!(at >= *led, "a follower was on {version} before its leader");
        }
    }
}
