//! A pod that the network cuts off during a change.

use serde_json::Value;

use super::many::follower;
use crate::harness::{Outcome, Pod, Repo, Switch, dagsync};

#[test]
fn a_pod_that_is_cut_off_during_a_change_keeps_what_it_has_and_follows_when_it_is_back() {
    let repo = Repo::with(&[("a.py", "1")]);
    let switch = Switch::with(3);
    let first = repo.version();
    let mut leader = Pod::new(&repo.file_url()).within(switch.pod(0));
    leader.start_on(&first);
    let url = format!("http://{}:{}", switch.pod(0).address, leader.port());
    let pod = |number| follower(&repo.file_url(), &leader).set("target.leader", &url).within(switch.pod(number));
    let (mut near, mut far) = (pod(1), pod(2));
    near.start_on(&first);
    far.start_on(&first);
    let process = far.id();
    switch.cut(&switch.pod(2));
    repo.write("a.py", "2");
    repo.commit("second");
    let second = repo.version();
    leader.is_on(&second);
    near.is_on(&second);
    assert_eq!(found(&switch, &[&leader, &near, &far]), (3, ["in-sync", "in-sync", "unreachable"].map(str::to_owned)));
    let status = far.status().unwrap();
    assert_eq!((&status["version"], &status["ready"]), (&first.as_str().into(), &true.into()), "{status}");
    // It comes back to everybody but its leader first, so that the moment before it follows lasts.
    Switch::part(&switch.pod(0), &switch.pod(2));
    switch.heal(&switch.pod(2));
    assert_eq!(found(&switch, &[&leader, &near, &far]), (0, ["in-sync", "in-sync", "converging"].map(str::to_owned)));
    assert_eq!(far.status().unwrap()["version"], first.as_str(), "it serves what it had");
    Switch::join(&switch.pod(0), &switch.pod(2));
    far.is_on(&second);
    assert_eq!(found(&switch, &[&leader, &near, &far]), (0, ["in-sync"; 3].map(str::to_owned)));
    assert_eq!(far.id(), process, "it was never restarted");
}

/// How the drift check ends at the switch, and how each pod stands.
fn found<const N: usize>(switch: &Switch, pods: &[&Pod; N]) -> (i32, [String; N]) {
    let urls: Vec<_> =
        (0..N).map(|number| format!("http://{}:{}", switch.pod(number).address, pods[number].port())).collect();
    let mut check = dagsync();
    check.args(["drift", "--output", "json"]).env("DAGSYNC_TARGET__LEADER", &urls[0]);
    for url in &urls {
        check.args(["--peer", url]);
    }
    let ended = Outcome::of(&mut switch.command(&check));
    let report: Value = serde_json::from_str(&ended.stdout).unwrap_or_else(|e| panic!("{e}: {ended:#?}"));
    let pods = report["pods"].as_array().unwrap();
    let state = |url: &String| {
        let pod = pods.iter().find(|pod| pod["url"].as_str().unwrap().trim_end_matches('/') == url).unwrap();
        pod["state"].as_str().unwrap().to_owned()
    };
    (ended.code.unwrap(), urls.iter().map(state).collect::<Vec<_>>().try_into().unwrap())
}
