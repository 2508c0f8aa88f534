//! The `pod_mutation_hook` under deploy/, with Kubernetes' own client and real daemons.

use std::process::Command;

use serde_json::{Value, json};

use super::many::follower;
use crate::harness::{Outcome, Pod, Repo, version_of};

const RUN: &str = "
import json, sys
from kubernetes import client
sys.path.insert(0, sys.argv[1])
from airflow_local_settings import pod_mutation_hook
api = client.ApiClient()
pod = api._ApiClient__deserialize(json.loads(sys.argv[2]), 'V1Pod')
pod_mutation_hook(pod)
print(json.dumps(api.sanitize_for_serialization(pod)))
";

fn worker_pod() -> Value {
    json!({
        "metadata": { "name": "worker" },
        "spec": {
            "initContainers": [
                { "name": "git-sync-init", "env": [{ "name": "DAGSYNC_PIN_VERSION", "value": "stale" }, { "name": "A", "value": "1" }] },
            ],
            "containers": [{ "name": "base", "image": "airflow" }],
        },
    })
}

/// What the hook makes of a pod.
fn mutated(pod: &Value, url: &str) -> (Value, String) {
    let root = concat!(env!("CARGO_MANIFEST_DIR"), "/deploy/airflow");
    let python = concat!(env!("CARGO_MANIFEST_DIR"), "/target/testdata/python");
    let mut command = Command::new("python3");
    command.args(["-B", "-c", RUN, root, &pod.to_string()]).env("PYTHONPATH", python).env("DAGSYNC_TARGET_URL", url);
    let ended = Outcome::of(&mut command);
    ended.ended(0, &[]);
    (serde_json::from_str(&ended.stdout).unwrap(), ended.stderr)
}

fn env_of(pod: &Value, container: &str) -> Vec<(String, String)> {
    let spec = pod["spec"].as_object().unwrap();
    let all = ["initContainers", "containers"].iter().flat_map(|kind| spec[*kind].as_array().unwrap());
    let found = all.clone().find(|c| c["name"] == container).unwrap();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    found["env"]
        .as_array()
        .map_or_else(Vec::new, |env| env.iter().map(|e| (text(&e["name"]), text(&e["value"]))).collect())
}

#[test]
fn a_worker_is_pinned_to_what_the_scheduler_sees() {
    let repo = Repo::with(&[("a.py", "1")]);
    let mut scheduler = Pod::new(&repo.file_url()).set("period", "1h");
    let first = repo.version();
    scheduler.start_on(&first);
    let url = format!("http://127.0.0.1:{}/v1/target", scheduler.port());
    let (pod, _) = mutated(&worker_pod(), &url);
    let env = env_of(&pod, "git-sync-init");
    assert!(env.contains(&("DAGSYNC_PIN_VERSION".to_owned(), first.clone())), "{env:?}");
    assert!(env.contains(&("A".to_owned(), "1".to_owned())) && env.len() == 3, "{env:?}");
    assert_eq!(env_of(&pod, "base"), []);
    // The head moves on before the worker starts.
    repo.write("a.py", "2");
    repo.commit("second");
    let worker = env.into_iter().fold(Pod::new(&repo.file_url()), |worker, (name, value)| worker.env(&name, value));
    worker.once().ended(0, &[&first]);
    assert_eq!(version_of(&worker.current().unwrap()).unwrap(), first);
}

#[test]
fn a_hook_that_cannot_ask_leaves_the_pod_as_it_is() {
    let gone = Pod::new("/nowhere");
    let (pod, log) = mutated(&worker_pod(), &format!("http://127.0.0.1:{}/v1/target", gone.port()));
    assert_eq!(pod, worker_pod());
    assert!(log.contains("not pinned"), "{log}");
    // Its dagsync asks its leader then.
    let repo = Repo::with(&[("a.py", "1")]);
    let mut leader = Pod::new(&repo.file_url());
    leader.start_on(&repo.version());
    let worker: Outcome = follower(&repo.file_url(), &leader).once();
    worker.ended(0, &[&repo.version()]);
}
