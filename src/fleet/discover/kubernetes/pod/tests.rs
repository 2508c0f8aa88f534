use std::time::{Duration, SystemTime};

use serde_json::{Value, json};

use super::super::super::{Found, Phase};
use super::{Mapping, Pod};
use crate::config::{Fleet, Scheme};

const START: &str = "2026-11-20T08:00:00Z";

fn fleet() -> Fleet {
    let mut fleet = Fleet { port: 8466, ..Fleet::default() };
    fleet.kubernetes.container = vec!["dagsync".to_owned(), "git-sync".to_owned()];
    fleet
}

/// A scheduler of the official chart, as the API shows it, less what says nothing here.
fn scheduler() -> Value {
    json!({
        "metadata": {
            "name": "airflow-scheduler-6d9f8c7b5-x2x7k", "generateName": "airflow-scheduler-6d9f8c7b5-",
            "namespace": "airflow", "uid": "0c1f6f8a-8e5b-4c27-9d1b-2f6f7d0a9f11", "resourceVersion": "184467",
            "creationTimestamp": "2026-11-20T07:59:58Z",
            "labels": {"component": "scheduler", "release": "airflow", "tier": "airflow"},
            "ownerReferences": [{"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "airflow-scheduler-6d9f8c7b5"}]
        },
        "spec": {
            "nodeName": "ip-10-0-3-17.eu-west-1.compute.internal", "restartPolicy": "Always",
            "initContainers": [
                {"name": "wait-for-airflow-migrations", "image": "apache/airflow:3.0.2"},
                {"name": "dagsync-init", "image": "dagsync:0.1.0"}
            ],
            "containers": [
                {"name": "scheduler", "image": "apache/airflow:3.0.2", "ports": [{"containerPort": 8793, "protocol": "TCP"}]},
                {"name": "dagsync", "image": "dagsync:0.1.0", "ports": [
                    {"name": "other", "containerPort": 9000, "protocol": "TCP"},
                    {"name": "dagsync", "containerPort": 8470, "protocol": "TCP"}
                ]}
            ]
        },
        "status": {
            "phase": "Running", "hostIP": "10.0.3.17", "podIP": "10.244.1.23", "podIPs": [{"ip": "10.244.1.23"}],
            "startTime": START, "qosClass": "Burstable",
            "containerStatuses": [
                {"name": "dagsync", "ready": true, "started": true, "restartCount": 0,
                 "state": {"running": {"startedAt": "2026-11-20T08:00:09Z"}}},
                {"name": "scheduler", "ready": false, "started": true, "restartCount": 0}
            ]
        }
    })
}

/// What becomes of a pod so long after its start.
fn found_at(age: u64, fleet: &Fleet, pod: &Value) -> Option<Found> {
    let now: SystemTime = humantime::parse_rfc3339(START).unwrap() + Duration::from_secs(age);
    let pod: Pod = serde_json::from_value(pod.clone()).unwrap();
    Mapping { fleet, now }.found(pod)
}

/// The same of one that runs for long.
fn found(pod: &Value) -> Found {
    found_at(86_400, &fleet(), pod).unwrap()
}

fn seen(pod: &Value) -> (Phase, Option<String>) {
    let found = found(pod);
    (found.peer.phase, found.peer.url)
}

#[test]
fn a_plain_sidecar() {
    let peer = found(&scheduler()).peer;
    assert_eq!(peer.name, "airflow-scheduler-6d9f8c7b5-x2x7k");
    assert_eq!(peer.url.as_deref(), Some("http://10.244.1.23:8470"));
    assert_eq!(peer.namespace.as_deref(), Some("airflow"));
    assert_eq!(peer.node.as_deref(), Some("ip-10-0-3-17.eu-west-1.compute.internal"));
    assert_eq!((peer.component.as_deref(), peer.phase), (Some("scheduler"), Phase::Running));
}

#[test]
fn a_native_sidecar_is_an_init_container_that_runs_on() {
    let mut pod = scheduler();
    pod["spec"]["containers"].as_array_mut().unwrap().pop();
    pod["spec"]["initContainers"][1] = json!({"name": "git-sync", "restartPolicy": "Always"});
    pod["status"]["containerStatuses"] = json!([{"name": "scheduler", "ready": true}]);
    pod["status"]["initContainerStatuses"] =
        json!([{"name": "wait-for-airflow-migrations", "ready": true}, {"name": "git-sync", "ready": true}]);
    assert_eq!(seen(&pod), (Phase::Running, Some("http://10.244.1.23:8466".to_owned())));
    pod["spec"]["initContainers"][1]["restartPolicy"] = Value::Null;
    assert_eq!(seen(&pod), (Phase::Missing, None), "it ended before the pod began");
}

#[test]
fn a_pod_without_dagsync_is_missing_it_and_dns_may_still_lead_there() {
    let mut pod = scheduler();
    pod["spec"]["containers"][1]["name"] = "statsd".into();
    let found = found(&pod);
    assert_eq!((found.peer.phase, &found.peer.url), (Phase::Missing, &None));
    assert_eq!(found.urls, ["http://10.244.1.23:8466"]);
}

#[test]
fn pods_that_wait_for_a_node_or_an_address_are_starting() {
    let mut pod = scheduler();
    pod["status"] = json!({"phase": "Pending", "conditions": [{"type": "PodScheduled", "status": "False"}]});
    pod["spec"].as_object_mut().unwrap().remove("nodeName");
    let found = found(&pod);
    assert_eq!((found.peer.phase, found.peer.url, found.peer.node), (Phase::Starting, None, None));
    assert!(found.urls.is_empty());
}

#[test]
fn dagsync_that_is_not_ready_has_five_minutes_from_the_pods_start() {
    let mut pod = scheduler();
    pod["status"]["containerStatuses"][0]["ready"] = false.into();
    let phase = |age, pod: &Value| found_at(age, &fleet(), pod).unwrap().peer.phase;
    assert_eq!(phase(0, &pod), Phase::Starting);
    assert_eq!(phase(299, &pod), Phase::Starting);
    assert_eq!(phase(300, &pod), Phase::Running, "it is asked, and that it does not answer is seen");
    // An image that cannot be pulled keeps the whole pod pending, while the scheduler beside it may run.
    pod["status"]["phase"] = "Pending".into();
    assert_eq!(phase(3_600, &pod), Phase::Running);
    pod["status"]["startTime"] = "2026-11-21T08:00:00Z".into();
    assert_eq!(phase(0, &pod), Phase::Starting, "a clock that is behind makes nobody old");
}

#[test]
fn a_pod_that_is_being_deleted_is_terminating_whatever_else_it_is() {
    let mut pod = scheduler();
    pod["metadata"]["deletionTimestamp"] = "2026-11-21T08:00:00Z".into();
    assert_eq!(seen(&pod), (Phase::Terminating, Some("http://10.244.1.23:8470".to_owned())));
    pod["status"]["containerStatuses"][0]["ready"] = false.into();
    assert_eq!(seen(&pod).0, Phase::Terminating);
    pod["spec"]["containers"][1]["name"] = "statsd".into();
    assert_eq!(seen(&pod), (Phase::Terminating, None));
}

#[test]
fn a_worker_that_is_done_does_not_count() {
    for phase in ["Succeeded", "Failed"] {
        let mut pod = scheduler();
        pod["status"]["phase"] = phase.into();
        assert!(found_at(86_400, &fleet(), &pod).is_none(), "{phase}");
    }
}

#[test]
fn of_two_stacks_the_first_is_asked_and_both_are_known() {
    let mut pod = scheduler();
    pod["status"]["podIP"] = "fd00:10:244:1::17".into();
    pod["status"]["podIPs"] = json!([{"ip": "fd00:10:244:1::17"}, {"ip": "10.244.1.23"}]);
    let fleet = Fleet { scheme: Scheme::Https, ..fleet() };
    let found = found_at(86_400, &fleet, &pod).unwrap();
    assert_eq!(found.peer.url.as_deref(), Some("https://[fd00:10:244:1::17]:8470"));
    assert_eq!(found.urls, ["https://[fd00:10:244:1::17]:8470", "https://10.244.1.23:8470"]);
    pod["status"].as_object_mut().unwrap().remove("podIPs");
    let found = found_at(86_400, &fleet, &pod).unwrap();
    assert_eq!(found.urls, ["https://[fd00:10:244:1::17]:8470"]);
}

#[test]
fn other_charts_have_other_labels_and_some_have_none() {
    let mut pod = scheduler();
    pod["metadata"]["labels"] = json!({"app.kubernetes.io/component": "triggerer"});
    assert_eq!(found(&pod).peer.component.as_deref(), Some("triggerer"));
    pod["metadata"]["labels"] = Value::Null;
    assert_eq!(found(&pod).peer.component, None);
}

#[test]
fn the_emptiest_pod_is_no_surprise() {
    assert_eq!(seen(&json!({"metadata": {"name": "x"}})), (Phase::Missing, None));
    assert_eq!(seen(&json!({"metadata": {}, "spec": {"containers": null}, "status": {}})), (Phase::Missing, None));
}
