//! The fleet's Services and its check: what Kustomize and Helm make of them, and the check's container as a process.

mod container;
mod variants;

use serde_json::{Value, json};
use tempfile::TempDir;

use self::container::Container;
use super::script;
use crate::discovery::api::{Api, pod};
use crate::harness::{Dnsmasq, Outcome, Pod, Process, Web, dagsync, eventually, run};

/// One check of a script of tests/deploy.
macro_rules! checks {
    ($script:literal: $($name:ident)*) => { $(#[test] fn $name() { run(script($script).arg(stringify!($name))); })* };
}

checks! {
    "fleet.py":
    kubernetes_takes_every_object
    one_thing_is_said_twice
    what_is_watched_is_that_of_deploy_watch
    the_binary_takes_every_setting
    the_schema_names_settings_that_there_are
    every_object_of_the_schema_is_closed
    wrong_values_are_refused
    no_value_is_dead
    rights_are_the_least
    names_fit_together
    what_the_check_s_pod_is_called_wins
    the_notes_say_what_there_is
    the_readme_lists_every_value
}

checks! {
    "selected.py":
    what_counts_is_kept
    schedules_are_ones
    every_selector_is_of_one_airflow
    the_check_asks_who_has_dagsync
    the_policy_lets_in_who_has_to_ask
    a_leader_outlives_its_chart
}

/// The objects of a kustomization, or of the chart with these values.
fn rendered(what: &str, given: &str) -> Vec<Value> {
    serde_json::from_str(&run(script("rendered.py").args([what, given]))).unwrap()
}

fn chart(values: &Value) -> Vec<Value> {
    rendered("chart", &values.to_string())
}

/// Daemons on the port that all have, each at an address of its own, and the API that knows their pods.
struct Fleet {
    _scheduler: Pod,
    worker: Pod,
    folder: TempDir,
    net: String,
    api: Api,
}

impl Fleet {
    /// A scheduler and a worker with the same DAGs; beside them what a check must not ask.
    fn start(number: u8) -> Self {
        let net = net(number);
        let folder = tempfile::tempdir().unwrap();
        let address = |host: u8| format!("{net}{host}");
        let daemon = |name: &str, host| {
            let dags = folder.path().join(name);
            std::fs::create_dir(&dags).unwrap();
            std::fs::write(dags.join("etl.py"), "one").unwrap();
            let daemon = Pod::new(dags.to_str().unwrap()).set("volume.settle", "30ms").set("pod.name", name);
            let mut daemon = daemon.set("pod.component", name).set("http.bind", format!("{}:8466", address(host)));
            daemon.start();
            daemon
        };
        let (scheduler, worker) = (daemon("scheduler", 1), daemon("worker", 2));
        let mut executed = pod("executed", "worker", &address(3));
        executed["metadata"]["labels"]["kubernetes_executor"] = "True".into();
        executed["spec"]["containers"].as_array_mut().unwrap().pop();
        let mut redis = pod("redis", "redis", &address(4));
        redis["spec"]["containers"].as_array_mut().unwrap().pop();
        let mut others = [pod("scheduler", "scheduler", &address(1)), pod("worker", "worker", &address(2))];
        others.iter_mut().chain([&mut executed, &mut redis]).for_each(|each| release(each, "airflow"));
        // Of another Airflow in the same namespace, and on other DAGs for all that anybody knows.
        let mut foreign = pod("foreign", "worker", &address(5));
        release(&mut foreign, "reports");
        let fleet = Self {
            _scheduler: scheduler,
            worker,
            folder,
            net,
            api: Api::of([others.to_vec(), vec![executed, redis, foreign]].concat()),
        };
        let [leader, other] = [1, 2].map(|host| fleet.converged(host));
        assert_eq!(leader, other);
        fleet
    }

    fn address(&self, host: u8) -> String {
        format!("{}{host}", self.net)
    }

    /// The version on which a daemon is.
    fn converged(&self, host: u8) -> String {
        let url = format!("http://{}:8466", self.address(host));
        eventually(&format!("{url} is there"), || {
            let said = Outcome::of(dagsync().args(["status", &url, "--output", "json"]));
            let status: Value = serde_json::from_str(&said.stdout).ok()?;
            (status["state"] == "converged").then(|| status["version"].as_str().unwrap().to_owned())
        })
    }

    /// The worker gets other DAGs than the scheduler.
    fn part(&self) {
        std::fs::write(self.folder.path().join("worker/etl.py"), "two").unwrap();
        let before = self.converged(1);
        eventually("the worker is elsewhere", || (self.converged(2) != before).then_some(()));
    }

    fn container(&self, objects: &[Value], secrets: &Value) -> Container {
        let hosts = format!("127.0.0.1 localhost\n{} dagsync-leader\n", self.address(1));
        Container::of(objects, secrets, &hosts, &self.api)
    }

    /// How the check of these objects ends.
    fn check(&self, objects: &[Value]) -> Outcome {
        Outcome::of(&mut self.container(objects, &json!({})).command())
    }

    /// Nothing was asked of the API but what the check's Role allows.
    #[track_caller]
    fn asked_for_no_more_than(&self, role: &Value) {
        assert_eq!(role["rules"], json!([{"apiGroups": [""], "resources": ["pods"], "verbs": ["list"]}]));
        let asked = self.api.requests();
        assert!(!asked.is_empty());
        for (method, path) in asked {
            assert!(method == "GET" && path.starts_with("/api/v1/namespaces/airflow/pods?"), "{method} {path}");
            assert!(!path.contains("watch="), "{path}");
        }
    }
}

/// Of the loopback's addresses some that no other test and no other run of the tests has; the last digit is missing.
fn net(number: u8) -> String {
    let id = std::process::id();
    format!("127.{}.{}.{number}", id % 200 + 20, id / 200 % 250)
}

/// Makes a pod that of this release of Airflow.
fn release(pod: &mut Value, name: &str) {
    pod["metadata"]["labels"]["release"] = name.into();
}

fn only<'a>(kind: &str, objects: &'a [Value]) -> &'a Value {
    let found: Vec<_> = objects.iter().filter(|each| each["kind"] == kind).collect();
    assert_eq!(found.len(), 1, "{kind}");
    found[0]
}

/// What becomes of a Job whose pod ends so.
fn action(objects: &[Value], code: i32) -> Option<&str> {
    let rules = &only("CronJob", objects)["spec"]["jobTemplate"]["spec"]["podFailurePolicy"]["rules"];
    let rule = rules.as_array().unwrap().iter().find(|rule| {
        let codes = rule["onExitCodes"]["values"].as_array();
        codes.is_some_and(|codes| codes.contains(&code.into()))
    });
    rule.map(|rule| rule["action"].as_str().unwrap())
}

#[test]
fn the_check_says_in_sync_drift_and_incomplete() {
    let mut fleet = Fleet::start(1);
    let base = rendered("kustomize", "deploy/fleet/base");
    fleet.check(&base).ended(0, &["IN SYNC: 2 pods", "by the leader scheduler"]);
    fleet.asked_for_no_more_than(only("Role", &base));

    fleet.part();
    fleet.check(&base).ended(0, &["FINE: of 2 pods 1 converging"]);
    let impatient = chart(&json!({"config": {"drift": {"grace": "0s"}}}));
    let drift = fleet.check(&impatient);
    drift.ended(1, &["DRIFT: of 2 pods 1 drifted, 1 in-sync", "etl.py"]);
    assert_eq!(action(&impatient, 1), Some("FailJob"));

    fleet.worker.kill();
    fleet.check(&base).ended(3, &["INCOMPLETE: no drift seen, but of 2 pods 1 unreachable"]);
    assert_eq!((action(&base, 3), action(&base, 2)), (None, None));
    let patient = chart(&json!({"cronJob": {"retryIncomplete": true}}));
    assert_eq!((action(&patient, 3), action(&patient, 2)), (Some("Ignore"), None));
    fleet.asked_for_no_more_than(only("Role", &impatient));
}

#[test]
fn an_account_that_kubernetes_does_not_know_fails_the_check() {
    let fleet = Fleet::start(2);
    fleet.api.cluster().token = "of somebody else".to_owned();
    fleet.check(&rendered("kustomize", "deploy/fleet/base")).ended(2, &["the Kubernetes API does not know who asks"]);
}

#[test]
fn a_webhook_is_read_from_a_secret_and_told() {
    let fleet = Fleet::start(3);
    let chat = Web::answering(|_| (200, String::new()));
    let values = json!({
        "config": {"drift": {"grace": "0s", "webhook_url_file": "/secrets/webhook-url"}},
        "secrets": ["dagsync-drift"],
    });
    let secrets = json!({"dagsync-drift": {"webhook-url": chat.url("/services/s3cr3t")}});
    fleet.part();
    let outcome = Outcome::of(&mut fleet.container(&chart(&values), &secrets).command());
    outcome.ended(1, &["DRIFT"]);
    assert!(!format!("{outcome:?}").contains("s3cr3t"), "{outcome:?}");
    let told = chat.asked();
    assert!(told.len() == 1 && told[0].path == "/services/s3cr3t" && told[0].body.contains("DRIFT"), "{told:?}");
}

#[test]
fn by_dns_the_check_needs_no_token() {
    let fleet = Fleet::start(4);
    let service = "dagsync.airflow.svc.cluster.local";
    let name = |host: u8| format!("pod-{host}.{service}");
    let hosts: String = [1, 2].iter().map(|&host| format!("{} {}\n", fleet.address(host), name(host))).collect();
    let records = [1, 2].map(|host| format!("_http._tcp.{service},{},8466", name(host)));
    let server = Dnsmasq::serving(&hosts, &records);
    let values = json!({"config": {"fleet": {
        "dns": [format!("_http._tcp.{service}.")], "dns_server": server.address(), "kubernetes": {"selector": ""},
    }}});
    let objects = chart(&values);
    fleet.check(&objects).ended(0, &["IN SYNC: 2 pods"]);
    assert!(fleet.api.requests().is_empty());
    assert!(!fleet.container(&objects, &json!({})).has_token());
}

#[test]
fn a_watch_says_what_changed() {
    let fleet = Fleet::start(5);
    let watch = chart(&json!({"mode": "watch", "config": {"drift": {"grace": "0s", "interval": "200ms"}}}));
    let (container, log) = (fleet.container(&watch, &json!({})), fleet.folder.path().join("watch.log"));
    let mut process = Process::start(&mut container.command(), &log);
    eventually("it says that all is well", || process.log().contains("IN SYNC: 2 pods").then_some(()));
    fleet.part();
    eventually("it says that all is not", || process.log().contains("DRIFT: of 2 pods").then_some(()));
    process.kill();
}
