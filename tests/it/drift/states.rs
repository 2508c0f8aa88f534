//! One version from four kinds of source, and each way of leaving it.

use rustix::process::Signal;

use super::{Airflow, Pod, Repo, append, check, files, json, named, of, url, who};
use crate::harness::Outcome;

#[test]
fn one_version_from_git_s3_a_volume_and_an_image_and_each_way_of_leaving_it() {
    let mut airflow = Airflow::start();
    all_in_sync(&airflow);
    a_commit_that_one_follows(&mut airflow);
    an_object_that_one_reads(&mut airflow);
    a_file_on_the_volume(&mut airflow);
    a_file_in_the_image(&mut airflow);
    other_globs(&mut airflow);
    one_that_hangs_and_one_that_is_dead(&mut airflow);
}

fn all_in_sync(airflow: &Airflow) {
    airflow.check(&[]).ended(0, &["IN SYNC: 4 pods on one version", &airflow.version()[7..19]]);
    let report = airflow.json(0, &["--reference", "leader", "--leader", &url(&airflow.scheduler)]);
    assert_eq!((&report["finding"], &report["reference"]["by"]), (&"fine".into(), &"leader".into()));
    assert_eq!(who(&report, "in-sync"), ["api-server", "scheduler", "triggerer", "worker"]);
    let strategies =
        ["scheduler", "worker", "triggerer", "api-server"].map(|name| of(&report, name)["strategy"].clone());
    assert_eq!(strategies, ["git", "s3", "volume", "image"]);
    airflow.check(&["--reference", &airflow.version()]).ended(0, &["4 pods"]);
    let nowhere = format!("sha256:{}", "0".repeat(64));
    airflow.check(&["--reference", &nowhere]).ended(1, &["4 drifted", "000000000000"]);
}

fn a_commit_that_one_follows(airflow: &mut Airflow) {
    airflow.repo.write("brand_new.py", "x = 1\n");
    airflow.repo.commit("one more");
    let newer = airflow.repo.version();
    airflow.scheduler.is_on(&newer);
    let report = airflow.json(1, &[]);
    assert_eq!(who(&report, "drifted"), ["scheduler"]);
    assert_eq!(files(&report, &newer), ["added brand_new.py"]);
    // Where the scheduler leads, the others have drifted.
    let outcome = airflow.check(&["--leader", &url(&airflow.scheduler)]);
    outcome.ended(
        1,
        &["3 drifted, 1 in-sync", "the leader airflow-scheduler-0", "1 file differs", "removed   brand_new.py"],
    );
    airflow.repo.git(&["reset", "--quiet", "--hard", "HEAD~1"]);
    airflow.repo.push();
    airflow.scheduler.is_on(&airflow.version());
    airflow.check(&[]).ended(0, &[]);
}

fn an_object_that_one_reads(airflow: &mut Airflow) {
    airflow.bucket.put("dags/from_s3.py", "y = 1\n");
    let more = files_of(&airflow.version()) + 1;
    airflow.worker.wait("it brings it", |s| s["files"].as_u64() == Some(more));
    let report = airflow.json(1, &[]);
    assert_eq!(who(&report, "drifted"), ["worker"]);
    let version = of(&report, "worker")["version"].as_str().unwrap();
    assert_eq!(files(&report, version), ["added from_s3.py"]);
    airflow.check(&[]).ended(1, &["airflow-worker-0", "its own source has", "added     from_s3.py"]);
    airflow.bucket.delete("dags/from_s3.py");
    airflow.worker.is_on(&airflow.version());
}

/// How many files the version has that all pods are on.
fn files_of(version: &str) -> u64 {
    let dags = crate::harness::example_dags();
    assert_eq!(crate::harness::version_by_hand(&dags), version);
    crate::harness::contents(&dags).unwrap().keys().filter(|path| !path.contains("__pycache__")).count() as u64
}

fn a_file_on_the_volume(airflow: &mut Airflow) {
    let file = airflow.volume().join("tutorial.py");
    let before = std::fs::read_to_string(&file).unwrap();
    append(&file, "# edited\n");
    let edited = super::version_by_hand(&airflow.volume());
    airflow.triggerer.is_on(&edited);
    let report = airflow.json(1, &[]);
    assert_eq!(who(&report, "drifted"), ["triggerer"]);
    assert_eq!(files(&report, &edited), ["modified tutorial.py"]);
    std::fs::write(&file, before).unwrap();
    airflow.triggerer.is_on(&airflow.version());
}

fn a_file_in_the_image(airflow: &mut Airflow) {
    let file = airflow.image().join("tutorial.py");
    let before = std::fs::read_to_string(&file).unwrap();
    append(&file, "# edited\n");
    airflow.api.wait("it sees it", |s| s["state"] == "tampered");
    let report = airflow.json(1, &[]);
    assert_eq!(who(&report, "tampered"), ["api-server"]);
    assert_eq!(of(&report, "api-server")["tampered"][0]["path"], "tutorial.py");
    airflow.check(&[]).ended(1, &["1 tampered, 3 in-sync", "airflow-api-server-0", "modified  tutorial.py"]);
    std::fs::write(&file, before).unwrap();
    airflow.api.wait("it is well again", |s| s["state"] == "converged");
    airflow.check(&[]).ended(0, &[]);
}

fn other_globs(airflow: &mut Airflow) {
    airflow.worker.stop();
    airflow.worker.change("exclude", "tutorial*.py");
    airflow.worker.start();
    let version = airflow.version();
    airflow.worker.wait("it leaves them out", |s| s["state"] == "converged" && s["version"] != version.as_str());
    let report = airflow.json(3, &[]);
    assert_eq!(who(&report, "incomparable"), ["worker"]);
    airflow.check(&[]).ended(3, &["INCOMPLETE: no drift seen", "airflow-worker-0", "other include and exclude globs"]);
    airflow.worker.stop();
    airflow.worker.change("exclude", "");
    airflow.worker.start_on(&version);
}

fn one_that_hangs_and_one_that_is_dead(airflow: &mut Airflow) {
    airflow.worker.kill();
    airflow.triggerer.signal(Signal::STOP);
    let outcome = airflow.check(&["--timeout", "1s"]);
    outcome.ended(3, &["2 unreachable, 2 in-sync", &url(&airflow.worker), "no complete answer", "no answer within 1s"]);
    // Drift is told all the same, and counts for more.
    let nowhere = format!("sha256:{}", "0".repeat(64));
    let report = airflow.json(1, &["--timeout", "1s", "--reference", &nowhere]);
    assert_eq!(report["counts"]["unreachable"], 2);
    airflow.triggerer.signal(Signal::CONT);
    airflow.worker.start_on(&airflow.version());
    airflow.check(&[]).ended(0, &[]);
}

#[test]
fn two_leaders_that_disagree_are_drift() {
    let repos = ["1", "2"].map(|text| Repo::with(&[("a.py", text)]));
    let mut leaders = ["one", "two"].map(|name| named(Pod::new(&repos[usize::from(name == "two")].file_url()), name));
    leaders.iter_mut().zip(&repos).for_each(|(pod, repo)| pod.start_on(&repo.version()));
    let pods = [&leaders[0], &leaders[1]];
    let args = ["--leader", &url(pods[0]), "--leader", &url(pods[1])];
    let report = json(&pods, 1, &args);
    assert_eq!(report["reference"]["versions"].as_array().unwrap().len(), 2);
    assert_eq!(report["reference"]["note"], "the leaders disagree");
    check(&pods, &args)
        .ended(1, &["2 drifted", "the leader airflow-one-0, airflow-two-0", "the leaders disagree", "1 file differs"]);
}

#[test]
fn a_pod_that_starts_and_one_that_has_just_fallen_behind_are_given_time() {
    let repo = Repo::with(&[("a.py", "1")]);
    let (mut fine, mut starts) =
        (named(Pod::new(&repo.file_url()), "fine"), named(Pod::new("file:///nowhere.git"), "starts"));
    fine.start_on(&repo.version());
    starts.start();
    starts.wait("it fails", |s| !s["last_error"].is_null());
    let pods = [&fine, &starts];
    let report = json(&pods, 0, &["--grace", "1h"]);
    assert_eq!((who(&report, "converging"), who(&report, "in-sync")), (vec!["starts".into()], vec!["fine".into()]));
    check(&pods, &[]).ended(1, &["airflow-starts-0", "/nowhere.git"]);
}

#[test]
fn what_cannot_be_checked_says_so_with_its_status() {
    let nobody: [&Pod; 0] = [];
    check(&nobody, &[]).ended(64, &["the fleet has no pods", "fleet.peers"]);
    check(&nobody, &["--reference", "leader"]).ended(64, &["target.leader"]);
    check(&nobody, &["--reference", "nobody"]).ended(64, &["drift.reference", "majority"]);
    check(&nobody, &["--peer", "http://127.0.0.1:1", "--remediate"]).ended(64, &["client.token_file"]);
    let found = ["--set", "client.token_file=/token", "--set", "fleet.dns=nowhere.invalid.", "--set"];
    let by_dns = |scheme| [&["--remediate"][..], &found, &["fleet.dns_server=127.0.0.1:1", "--set", scheme]].concat();
    check(&nobody, &by_dns("fleet.scheme=http")).ended(2, &["--remediate cannot help", "set fleet.scheme to https"]);
    assert!(!check(&nobody, &by_dns("fleet.scheme=https")).stderr.contains("--remediate"));
    check(&nobody, &["--peer", "http://me:pa55@127.0.0.1:1"]).ended(64, &["fleet.peers", "me:***@"]);
    let missing = ["--peer", "http://127.0.0.1:1", "--reference", "head", "--source", "file:///nowhere.git"];
    check(&nobody, &missing).ended(2, &["/nowhere.git"]);
    check(&nobody, &["--peer", "http://127.0.0.1:1"]).ended(3, &["1 unreachable", "no pod has a version"]);
    Outcome::of(crate::harness::dagsync().args(["drift", "--no-such-flag"])).ended(64, &["--no-such-flag"]);
}
