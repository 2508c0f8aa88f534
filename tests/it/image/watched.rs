//! `dagsync run` beside Airflow: whatever is touched in the image shows in status, metrics, log and `dagsync status`, until
//! it is put back.

use serde_json::{Value, json};

use super::baked::Baked;
use crate::harness::{Outcome, Pod, Repo, dagsync, eventually};

fn url(pod: &Pod) -> String {
    format!("http://127.0.0.1:{}", pod.port())
}

fn status(pod: &Pod) -> Outcome {
    Outcome::of(dagsync().arg("status").arg(url(pod)))
}

/// A metric with its label, as `dagsync_state{state="tampered"}`.
fn shows(pod: &Pod, line: &str) {
    let has = || pod.get("/metrics")?.1.lines().any(|l| l == line).then_some(());
    eventually(&format!("metrics say {line:?}"), has);
}

fn is_converged(pod: &mut Pod, version: &str) {
    let status = pod.wait("it is converged", |s| s["state"] == "converged" && s["version"] == version);
    assert_eq!((&status["tampered"], &status["last_error"]), (&json!([]), &Value::Null));
}

/// It says that it is tampered, on every channel, and once counted it is not counted again.
fn is_tampered(pod: &mut Pod, changes: &Value, named: &str) {
    let status = pod.wait("it is tampered", |s| s["state"] == "tampered" && &s["tampered"] == changes);
    let told = status["last_error"]["message"].as_str().map(str::to_owned);
    let told = told.unwrap_or_else(|| {
        let status = pod.wait("it says why", |s| !s["last_error"].is_null());
        status["last_error"]["message"].as_str().unwrap().to_owned()
    });
    assert!(told.contains(named), "{told}");
    shows(pod, "dagsync_state{state=\"tampered\"} 1");
    shows(pod, "dagsync_state{state=\"converged\"} 0");
    assert_eq!(self::status(pod).code, Some(1));
    self::status(pod).ended(1, &["tampered", named]);
    assert_eq!(pod.get("/readyz").unwrap().0, 200, "a tree that was good once does not take readiness back");
}

#[test]
fn files_that_are_touched_until_they_are_put_back() {
    let baked = Baked::sealed();
    let (version, mut pod) = (baked.version(), baked.pod());
    pod.start();
    is_converged(&mut pod, &version);
    status(&pod).ended(0, &["converged", &version, "image"]);
    assert_eq!(pod.get("/readyz").unwrap(), (200, format!("{version}\n")));
    assert!(pod.current().is_none(), "nothing is published");

    baked.tamper("cp -a . ../good; touch -r a.py ../t; echo 'a = 2' > a.py; touch -r ../t a.py; rm team/b.py; echo 1 > team/new.py");
    let changes = json!([
        {"path": "a.py", "change": "modified"}, {"path": "team/b.py", "change": "removed"},
        {"path": "team/new.py", "change": "added"}
    ]);
    is_tampered(&mut pod, &changes, "team/new.py is added");
    for path in ["a.py", "team/b.py", "team/new.py"] {
        let file = baked.dags().join(path).display().to_string();
        let says = |log: String| log.lines().any(|l| l.contains("tampered") && l.contains(&file)).then_some(());
        eventually("the log names the file", || says(pod.log()));
    }
    let counted = pod.metric("dagsync_tampered_files_total");
    let scrubs = pod.metric("dagsync_scrubs_total");
    eventually("it is looked at again", || (pod.metric("dagsync_scrubs_total") >= scrubs + 3.0).then_some(()));
    assert_eq!(pod.metric("dagsync_tampered_files_total"), counted, "what is known is not counted again");
    shows(&pod, "dagsync_tampered_files_total{change=\"modified\"} 1");
    shows(&pod, "dagsync_tampered_files_total{change=\"removed\"} 1");
    shows(&pod, "dagsync_tampered_files_total{change=\"added\"} 1");

    baked.tamper("cp -a ../good/. .; rm team/new.py");
    is_converged(&mut pod, &version);
    status(&pod).ended(0, &["converged"]);
    shows(&pod, "dagsync_state{state=\"converged\"} 1");
    assert!(pod.stop().success());
}

#[test]
fn links_and_the_seal_itself() {
    let baked = Baked::signed("seal");
    let mut pod = baked.pod().set("image.key_file", baked.keys("seal").1);
    let version = baked.version();
    baked.tamper("cp -a . ../good");
    pod.start();
    is_converged(&mut pod, &version);
    let restore = "find . -mindepth 1 -delete; cp -a ../good/. .";
    for (hand, changes, named) in [
        ("ln -sf /etc/passwd a.py", json!([{"path": "a.py", "change": "modified"}]), "a.py is modified"),
        ("ln -s /etc/passwd x.py", json!([{"path": "x.py", "change": "added"}]), "x.py is added"),
        ("echo >> .dagsync/seal.json", json!([]), "the signature is not of this seal and key"),
        ("rm .dagsync/seal.sig", json!([]), "is not signed"),
        ("rm .dagsync/manifest", json!([]), "manifest is missing"),
        ("rm .dagsync/manifest; mkdir .dagsync/manifest", json!([]), "is no file"),
    ] {
        // Straight from the one before, so that nothing of it is left.
        baked.tamper(hand);
        is_tampered(&mut pod, &changes, named);
        baked.tamper(restore);
        is_converged(&mut pod, &version);
    }
    // A file first, then the seal: what was wrong before is not said any longer.
    baked.tamper("echo 'a = 3' > a.py");
    is_tampered(&mut pod, &json!([{"path": "a.py", "change": "modified"}]), "a.py is modified");
    baked.tamper("echo >> .dagsync/seal.json");
    is_tampered(&mut pod, &json!([]), "the signature is not of this seal and key");
}

#[test]
fn without_a_seal_nobody_can_say() {
    let baked = Baked::unsealed();
    let mut pod = baked.pod();
    pod.start();
    let status = pod.wait("it is unsealed", |s| s["state"] == "unsealed" && !s["last_error"].is_null());
    assert_eq!(status["version"], baked.version());
    assert!(status["last_error"]["message"].as_str().unwrap().contains("run `dagsync seal DIR`"));
    shows(&pod, "dagsync_state{state=\"unsealed\"} 1");
    assert_eq!(pod.get("/readyz").unwrap().0, 503);
    self::status(&pod).ended(1, &["unsealed"]);
    let version = baked.seal(&[]);
    is_converged(&mut pod, &version);
    assert_eq!(pod.get("/readyz").unwrap().0, 200);
}

#[test]
fn bytecode_that_python_writes_while_it_is_watched_changes_nothing() {
    let baked = Baked::sealed();
    let mut pod = baked.pod();
    pod.start();
    is_converged(&mut pod, &baked.version());
    baked.tamper(
        "chmod -R a+rwx .; python3 -m compileall -q .; python3 -m compileall -q -b .; echo 1 > .nfs00000012345",
    );
    assert!(baked.dags().join("a.pyc").exists() && baked.dags().join("__pycache__").exists());
    let scrubs = pod.metric("dagsync_scrubs_total");
    eventually("it is looked at again", || (pod.metric("dagsync_scrubs_total") >= scrubs + 3.0).then_some(()));
    is_converged(&mut pod, &baked.version());
    assert!(!pod.log().contains("tampered"), "{}", pod.log());
    shows(&pod, "dagsync_state{state=\"converged\"} 1");
}

/// A pod with the image and one that reads the same DAGs from git answer alike, so that their files can be compared.
#[test]
fn the_files_that_differ_from_a_pod_of_another_strategy() {
    let baked = Baked::sealed();
    let repo = Repo::with(&[("a.py", "a = 1\n"), ("team/b.py", "b = 1\n"), ("team/c.txt", "1\n")]);
    let (mut image, mut git) = (baked.pod(), Pod::new(&repo.file_url()));
    image.start();
    git.start_on(&baked.version());
    is_converged(&mut image, &baked.version());
    let diff = |a: &Pod, b: &Pod| Outcome::of(dagsync().arg("diff").args([url(a), url(b)]));
    diff(&git, &image).ended(0, &["equal, 3 files"]);
    let manifest = |pod: &Pod| {
        let version = pod.status().unwrap()["version"].as_str().unwrap().to_owned();
        pod.get(&format!("/v1/versions/{}/manifest", version.trim_start_matches("sha256:"))).unwrap()
    };
    assert_eq!((manifest(&image), manifest(&git).0), (manifest(&git), 200));
    assert_eq!(image.status().unwrap()["filter_hash"], git.status().unwrap()["filter_hash"]);
    let strategy = |pod: &Pod| pod.status().unwrap()["strategy"].clone();
    assert_eq!((strategy(&image), strategy(&git)), (json!("image"), json!("git")));

    baked.tamper("echo 'b = 2' > team/b.py; echo 1 > x.py");
    image.wait("it is tampered", |s| s["tampered"].as_array().is_some_and(|t| t.len() == 2));
    let found = diff(&git, &image);
    found.ended(1, &["modified  team/b.py", "added     x.py", "2 files differ"]);
    let verified = baked.verify(&["--expect-from", &url(&git)]);
    verified.ended(1, &["modified  team/b.py", "added     x.py"]);
}
