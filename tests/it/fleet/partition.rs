//! A pod that the network cuts off during a change.

use super::many::follower;
use crate::harness::{Pod, Repo, Switch};

#[test]
fn a_pod_that_is_cut_off_during_a_change_keeps_what_it_has_and_follows_when_it_is_back() {
    let repo = Repo::with(&[("a.py", "1")]);
    let switch = Switch::with(3);
    let first = repo.version();
    let mut leader = Pod::new(&repo.file_url()).within(switch.pod(0));
    leader.start_on(&first);
    let url = format!("http://{}:{}", switch.pod(0).address, leader.port());
    let pod = |number| {
        follower(&repo.file_url(), &leader).set("target.leader", &url).set("period", "300ms").within(switch.pod(number))
    };
    let (mut near, mut far) = (pod(1), pod(2));
    near.start_on(&first);
    far.start_on(&first);
    switch.cut(&switch.pod(2));
    repo.write("a.py", "2");
    repo.commit("second");
    let second = repo.version();
    leader.is_on(&second);
    near.is_on(&second);
    let status = far.status().unwrap();
    assert_eq!((&status["version"], &status["ready"]), (&first.as_str().into(), &true.into()), "{status}");
    switch.heal(&switch.pod(2));
    far.is_on(&second);
}
