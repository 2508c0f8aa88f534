//! A volume that pods mount as their DAG folder: dagsync says what is there, and touches nothing.

use serde_json::Value;

use super::{Shared, in_place, told, write};
use crate::harness::{Outcome, Pod, dagsync};
use dagsync_testkit::oracle;

/// Waits until two more syncs are done.
fn syncs_twice(pod: &mut Pod) -> Value {
    let time = |status: &Value| status["last_success"].as_str().unwrap_or_default().to_owned();
    let mut status = pod.status().unwrap();
    for _ in 0..2 {
        let before = time(&status);
        status = pod.wait("it syncs again", |s| time(s) > before);
    }
    status
}

fn started(shared: &Shared) -> (Pod, Value) {
    let mut pod = in_place(&shared.path()).set("log.format", "json").set("log.level", "info");
    pod.start();
    let version = shared.version();
    let status = pod.wait("it reports it", |s| s["version"] == version.as_str() && s["state"] == "converged");
    (pod, status)
}

#[test]
fn the_status_tells_the_version_and_the_manifest_is_served() {
    let shared = Shared::with(&[("a.py", "1"), ("team/b.py", "2")]);
    std::os::unix::fs::symlink("team/b.py", shared.path().join("link.py")).unwrap();
    let before = oracle::footprint(&shared.path()).unwrap();
    let (pod, status) = started(&shared);
    assert_eq!((&status["folder"], &status["files"], &status["ready"]), (&Value::Null, &3.into(), &true.into()));
    let hex = shared.version().trim_start_matches("sha256:").to_owned();
    let (code, manifest) = pod.get(&format!("/v1/versions/{hex}/manifest")).unwrap();
    assert_eq!((code, manifest), (200, oracle::manifest(&shared.path()).unwrap()));
    assert_eq!(pod.get(&format!("/v1/versions/{}/manifest", "0".repeat(64))).unwrap().0, 404);
    assert!(pod.current().is_none() && !pod.root().join("versions").join(hex).exists(), "nothing is copied");
    assert_eq!(oracle::footprint(&shared.path()).unwrap(), before, "and nothing is written there");
    let url = format!("http://127.0.0.1:{}", pod.port());
    Outcome::of(dagsync().arg("diff").arg(url).arg(shared.path())).ended(0, &[]);
}

/// What Python writes beside the DAGs that it imports.
#[test]
fn bytecode_beside_the_dags_changes_nothing_and_an_edit_does() {
    let shared = Shared::with(&[("a.py", "1"), ("team/b.py", "2")]);
    let (mut pod, before) = started(&shared);
    for folder in ["__pycache__", "team/__pycache__"] {
        (0..3).for_each(|n| write(&shared.path().join(format!("{folder}/b.cpython-31{n}.pyc")), "bytecode"));
        write(&shared.path().join(folder).join("b.cpython-312.pyc.139872"), "half of it");
    }
    shared.write("team/old.pyc", "bytecode");
    let after = syncs_twice(&mut pod);
    for name in ["version", "revision", "since", "published_at", "files"] {
        assert_eq!(after[name], before[name], "{name}");
    }
    assert_eq!((told(&pod).len(), &after["warnings"]), (1, &Value::Array(vec![])), "{}", pod.log());
    assert_eq!(shared.version(), after["version"].as_str().unwrap());

    shared.write("team/b.py", "3");
    let version = shared.version();
    let edited = pod.wait("it sees the edit", |s| s["version"] == version.as_str());
    assert_ne!(edited["revision"], before["revision"]);
}

#[test]
fn after_a_restart_it_is_on_what_is_there_then() {
    let shared = Shared::with(&[("a.py", "1")]);
    let (mut pod, _) = started(&shared);
    pod.kill();
    pod.start();
    let version = shared.version();
    pod.wait("it is on it again", |s| s["version"] == version.as_str() && s["state"] == "converged");
    pod.kill();
    shared.write("a.py", "2");
    let version = shared.version();
    pod.start();
    pod.wait("it is on the new", |s| s["version"] == version.as_str() && s["state"] == "converged");
    assert_eq!(told(&pod).len(), 2, "{}", pod.log());
}
