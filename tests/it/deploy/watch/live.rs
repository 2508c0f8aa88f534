//! A real Prometheus with the real rules watches real daemons.

use std::collections::BTreeMap;
use std::process::Command;

use dagsync::fleet::report::prometheus::METRICS as FLEET_METRICS;
use dagsync::metrics::METRICS;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::{items, parsed, plain_rules, queries, read, rules, text};
use crate::harness::{Authority, Outcome, Pod, Process, Repo, Web, dagsync, eventually, free_port, http};

/// What Prometheus, Kubernetes and the chart give to series, beside what dagsync does.
const TARGET: [&str; 11] = [
    "__name__",
    "cluster",
    "namespace",
    "release",
    "component",
    "pod",
    "container",
    "node",
    "kubernetes_executor",
    "job",
    "instance",
];

/// What the drift check said, and the labels that it is kept under.
type Check<'a> = (&'a Web, &'a BTreeMap<String, String>);

/// A Prometheus that looks often, and waits for nothing before it tells.
#[derive(Debug)]
struct Prometheus {
    port: u16,
    folder: TempDir,
    _process: Process,
}

impl Prometheus {
    /// Finds these pods as Kubernetes would tell of them, and asks `check` for what the drift check said.
    fn start(pods: &[&Pod], encrypted: &Pod, authority: &Authority, check: Check<'_>) -> Self {
        let (folder, port) = (plain_rules(), free_port());
        let at = folder.path();
        let plain = std::fs::read_to_string(at.join("dagsync.rules.yaml")).unwrap();
        let hasty = |line: &str| match line.split_once("for: ") {
            Some((indent, _)) if indent.trim().is_empty() => format!("{indent}for: 1s\n"),
            _ => format!("{line}\n"),
        };
        std::fs::write(at.join("dagsync.rules.yaml"), plain.lines().map(hasty).collect::<String>()).unwrap();
        std::fs::write(at.join("prometheus.json"), configuration(pods, encrypted, authority, check).to_string())
            .unwrap();
        let mut command = Command::new("prometheus");
        command.args(["--config.file=prometheus.json", "--storage.tsdb.path=data"]).current_dir(at);
        command.arg(format!("--web.listen-address=127.0.0.1:{port}"));
        let process = Process::start(&mut command, &at.join("log"));
        Self { port, folder, _process: process }
    }

    /// What an endpoint of its API says.
    fn get(&self, path: &str, parameter: &str, value: &str) -> Option<Value> {
        let coded: String = value.bytes().map(|byte| format!("%{byte:02x}")).collect();
        let (status, body) = http(self.port, "GET", &format!("/api/v1/{path}?{parameter}={coded}"), "")?;
        assert!([200, 503].contains(&status), "{value}: {body}; {}", self.log());
        (status == 200).then(|| serde_json::from_str::<Value>(&body).unwrap()["data"].clone())
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }

    /// Waits until it has this.
    #[track_caller]
    fn has(&self, path: &str, parameter: &str, value: &str) -> Value {
        eventually(&format!("{path} has {value}"), || {
            let data = self.get(path, parameter, value)?;
            let found = if data.is_array() { data } else { data["result"].clone() };
            found.as_array().is_some_and(|found| !found.is_empty()).then_some(found)
        })
    }

    /// The alerts of a name that fire.
    fn firing(&self, name: &str) -> Vec<Value> {
        let data = self.get("alerts", "", "").unwrap_or_default();
        let fires = |alert: &&Value| alert["labels"]["alertname"] == name && alert["state"] == "firing";
        items(&data["alerts"]).filter(fires).cloned().collect()
    }
}

/// The jobs of scrape.yaml, with pods from this file in the place of Kubernetes.
fn configuration(pods: &[&Pod], encrypted: &Pod, authority: &Authority, (check, group): Check<'_>) -> Value {
    let mut scrape = parsed("scrape.yaml");
    let jobs = scrape["scrape_configs"].as_array_mut().unwrap();
    for job in jobs.iter_mut() {
        let job = job.as_object_mut().unwrap();
        let found = job.remove("kubernetes_sd_configs").unwrap();
        assert_eq!(found[0]["role"], "pod");
        job.insert("scrape_interval".into(), "500ms".into());
    }
    let status = |pod: &Pod| pod.status().unwrap();
    let named = pods.iter().map(|pod| target(pod.port(), text(&status(pod)["pod"]), text(&status(pod)["component"])));
    let mut named: Vec<Value> = named.collect();
    // A port of something else, and a task that is done.
    for (name, value) in [("container_port_name", "http"), ("phase", "Succeeded")] {
        let mut other = named[0].clone();
        other["labels"][format!("__meta_kubernetes_pod_{name}")] = value.into();
        other["labels"]["__meta_kubernetes_pod_name"] = "nobody".into();
        named.push(other);
    }
    let mut over_tls = target(encrypted.port(), "airflow-encrypted-0", "encrypted");
    over_tls["labels"]["__scheme__"] = "https".into();
    named.push(over_tls);
    jobs[0]["static_configs"] = named.into();
    jobs[0]["tls_config"] = json!({"ca_file": authority.file()});
    let mut replaced = target(80, "gitsync", "scheduler");
    replaced["labels"]["__meta_kubernetes_pod_container_name"] = "git-sync".into();
    jobs[1]["static_configs"] = json!([replaced]);
    let gateway = check.url("").trim_start_matches("http://").trim_end_matches('/').to_owned();
    jobs.push(json!({"job_name": "pushgateway", "honor_labels": true, "scrape_interval": "500ms",
        "static_configs": [{"targets": [gateway], "labels": group}]}));
    json!({"global": {"evaluation_interval": "500ms", "scrape_timeout": "500ms"},
        "rule_files": ["dagsync.rules.yaml"], "scrape_configs": jobs})
}

/// A container's port, as Kubernetes tells of it.
fn target(port: u16, pod: &str, component: &str) -> Value {
    let release = if ["image", "encrypted"].contains(&component) { component } else { "airflow" };
    let facts = [
        ("namespace", "airflow"),
        ("pod_name", pod),
        ("pod_container_name", "dagsync"),
        ("pod_phase", "Running"),
        ("pod_container_port_name", "dagsync"),
        ("pod_label_component", component),
        ("pod_label_release", release),
        ("pod_node_name", "node-1"),
        ("pod_ip", "127.0.0.1"),
    ];
    let labels: BTreeMap<_, _> = facts.map(|(name, value)| (format!("__meta_kubernetes_{name}"), value)).into();
    json!({"targets": [format!("127.0.0.1:{port}")], "labels": labels})
}

fn pod(source: &str, component: &str) -> Pod {
    Pod::new(source).set("pod.name", format!("airflow-{component}-0")).set("pod.component", component)
}

/// What a drift check of these pods pushes, and the labels that a Pushgateway gives it.
fn checked(pods: &[&Pod]) -> (String, BTreeMap<String, String>) {
    let gateway = Web::answering(|_| (200, String::new()));
    let peers = pods.iter().flat_map(|pod| ["--peer".to_owned(), format!("http://127.0.0.1:{}", pod.port())]);
    let to = ["--set", "pod.namespace=airflow", "--pushgateway", &gateway.url("")];
    Outcome::of(dagsync().arg("drift").args(peers).args(to)).ended(0, &[]);
    let pushed = gateway.asked().remove(0);
    let runbook = read("runbooks/DagsyncDriftCheckStale.md");
    assert!(runbook.contains(&format!("http://pushgateway:9091{}\n", pushed.path)), "{} is not deleted", pushed.path);
    let mut words = pushed.path.trim_start_matches("/metrics/").split('/').map(str::to_owned);
    let labels = std::iter::from_fn(|| Some((words.next()?, words.next()?))).collect();
    (pushed.body, labels)
}

/// The selectors of a query: names of series with what stands in braces behind them.
fn selectors(query: &str) -> Vec<String> {
    let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let starts = query.match_indices(|c: char| is_name(c)).map(|(at, _)| at);
    let starts = starts.filter(|at| !query[..*at].ends_with(|c: char| is_name(c) || c == '"' || c == '.'));
    let names = starts.map(|at| query[at..].split(|c: char| !is_name(c)).next().map(|name| (at, name)).unwrap());
    let ours = names
        .filter(|(_, name)| ["up", "ALERTS", "scrape_duration_seconds"].contains(name) || name.starts_with("dagsync_"));
    let whole = ours.map(|(at, name)| match query[at + name.len()..].trim_start().strip_prefix('{') {
        Some(rest) => format!("{name}{{{}}}", rest.split_once('}').unwrap().0),
        None => name.to_owned(),
    });
    whole.collect()
}

/// Every series of the rules' tests has the labels that one of a real daemon has, with its values where these are few.
fn is_as_real(prometheus: &Prometheus, series: &str) {
    let (name, labels) = series.trim_end_matches('}').split_once('{').unwrap();
    let labels: BTreeMap<_, _> = labels.split(',').filter_map(|label| label.split_once('=')).collect();
    let is_free = |label: &str| ["version", "revision", "strategy", "namespace"].contains(&label);
    // What a check pushes is found under the labels that it says itself.
    let is_outside = |label: &str| match label {
        "job" | "namespace" => !name.starts_with("dagsync_fleet_"),
        _ => TARGET.contains(&label),
    };
    let own: BTreeMap<String, String> = labels
        .into_iter()
        .filter(|(label, _)| !is_outside(label))
        .map(|(label, value)| (label.to_owned(), if is_free(label) { String::new() } else { value.replace('"', "") }))
        .collect();
    let real = prometheus.has("series", "match[]", name);
    let real = items(&real).map(|series| {
        let labels = series.as_object().unwrap().iter().filter(|(label, _)| !is_outside(label));
        labels.map(|(l, v)| (l.clone(), if is_free(l) { "" } else { text(v) }.to_owned())).collect::<BTreeMap<_, _>>()
    });
    let real: Vec<_> = real.collect();
    assert!(real.contains(&own), "no daemon exports {series}: {real:?}");
}

#[test]
fn pods_that_differ_are_told_until_they_do_not_and_every_query_finds_something() {
    let repo = Repo::with(&[("etl.py", "1")]);
    let (first, image) = (repo.version(), tempfile::tempdir().unwrap());
    let authority = Authority::new();
    let secret = authority.secret("dagsync");
    std::fs::write(image.path().join("etl.py"), "1").unwrap();
    Outcome::of(dagsync().arg("seal").arg(image.path())).ended(0, &[]);
    let mut leader = pod(&repo.file_url(), "scheduler");
    let mut follower = pod(&repo.file_url(), "triggerer")
        .set("target.mode", "leader")
        .set("target.leader", format!("http://127.0.0.1:{}", leader.port()));
    let mut worker = pod(&repo.file_url(), "worker").set("pin_version", &first);
    let mut baked = pod(&format!("image:{}", image.path().display()), "image");
    for pod in [&mut leader, &mut follower, &mut worker, &mut baked] {
        pod.start();
        pod.wait("it is there", |status| status["version"] == first.as_str());
    }
    let all = [&leader, &follower, &worker, &baked];
    let (check, group) = checked(&all);
    let check = Web::answering(move |_| (200, check.clone()));
    let mut encrypted = pod(&repo.file_url(), "encrypted")
        .set("http.tls.cert_file", secret.certificate())
        .set("http.tls.key_file", secret.key());
    encrypted.start();
    let prometheus = Prometheus::start(&all, &encrypted, &authority, (&check, &group));
    prometheus.has("query", "query", "count(up{job=\"dagsync\"} == 1) == 5");
    assert!(prometheus.firing("DagsyncDrift").is_empty());
    let known = prometheus.get("targets", "", "").unwrap();
    let asked: Vec<_> = items(&known["activeTargets"]).map(|target| text(&target["scrapeUrl"])).collect();
    assert!(asked.contains(&"http://127.0.0.1:1234/metrics") && asked.len() == 7, "{asked:?}");

    repo.write("etl.py", "2");
    repo.commit("second");
    leader.is_on(&repo.version());
    follower.is_on(&repo.version());
    let told = eventually("drift is told", || prometheus.firing("DagsyncDrift").pop());
    assert_eq!((&told["labels"]["version"], &told["labels"]["release"]), (&first.into(), &"airflow".into()));
    assert!(text(&told["annotations"]["description"]).contains("most of them: airflow-worker-0."), "{told:#}");
    everything_is_found(&prometheus);

    worker.stop();
    worker.change("pin_version", repo.version());
    worker.start_on(&repo.version());
    eventually("drift ends", || prometheus.firing("DagsyncDrift").is_empty().then_some(()));
}

/// Alerts, tests and dashboard name what is there.
fn everything_is_found(prometheus: &Prometheus) {
    let dashboard = queries(&parsed("dashboard.json"));
    dashboard.iter().for_each(|query| drop(prometheus.has("query", "query", query)));
    let rules = rules();
    let named = rules.iter().map(|rule| text(&rule["expr"])).chain(dashboard.iter().map(String::as_str));
    let named: Vec<_> = named.flat_map(selectors).collect();
    assert!(named.len() > 60, "{named:?}");
    for selector in named {
        prometheus.has("series", "match[]", &selector);
        let name = selector.split('{').next().unwrap().trim_end_matches("_bucket");
        let is_ours = METRICS.iter().any(|m| m.name == name) || FLEET_METRICS.iter().any(|(ours, _)| *ours == name);
        assert!(is_ours || !name.starts_with("dagsync_"), "{name} is in no table");
    }
    let tests = parsed("rules_test.yaml");
    let series = items(&tests["tests"]).flat_map(|test| items(&test["input_series"]));
    series.for_each(|series| is_as_real(prometheus, text(&series["series"])));
}
