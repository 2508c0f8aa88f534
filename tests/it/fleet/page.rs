//! The page of one pod shows all of them.

use super::many::follower;
use crate::harness::{Pod, Repo, eventually};

#[test]
fn the_page_of_a_pod_shows_its_fleet_with_the_files_that_differ() {
    let repo = Repo::with(&[("a.py", "1")]);
    let mut leader =
        Pod::new(&repo.file_url()).set("pod.name", "airflow-scheduler-0").set("pod.component", "scheduler");
    let mut pod =
        follower(&repo.file_url(), &leader).set("pod.name", "airflow-worker-0").set("pod.component", "worker");
    let url = |pod: &Pod| format!("http://127.0.0.1:{}", pod.port());
    let gone = Pod::new("/nowhere");
    leader.change("fleet.peers", [&leader, &pod, &gone].map(url).join(","));
    leader.start_on(&repo.version());
    pod.start_on(&repo.version());
    let shows = |words: &[&str]| {
        let (_, page) = leader.get("/")?;
        words.iter().all(|word| page.contains(word)).then_some(())
    };
    eventually("the page shows everybody", || {
        shows(&["airflow-scheduler-0", "airflow-worker-0", "INCOMPLETE: no drift seen, but of 3 pods 1 unreachable"])
    });
    pod.kill();
    pod.change("pin_version", repo.version());
    pod.change("pin_revision", repo.git(&["rev-parse", "HEAD"]));
    pod.start();
    repo.write("etl/new.py", "2");
    repo.commit("second");
    let mut leader_on = || leader.status().filter(|s| s["version"] == repo.version().as_str()).map(drop);
    eventually("the leader moves", &mut leader_on);
    eventually("the page names the files that differ", || shows(&["reference", "1 file differs", "etl/new.py"]));
}
