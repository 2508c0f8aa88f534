//! What watches dagsync: alerts, scrapes, the dashboard and the runbooks.

mod live;
mod runbooks;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::harness::{run, shell};

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/watch")
}

fn read(name: &str) -> String {
    std::fs::read_to_string(folder().join(name)).unwrap()
}

/// A file of YAML or JSON.
fn parsed(name: &str) -> Value {
    let python = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/testdata/python");
    let script = "import json, sys, yaml; json.dump(yaml.safe_load(open(sys.argv[1])), sys.stdout)";
    let mut command = Command::new("python3");
    command.args(["-c", script]).arg(folder().join(name)).env("PYTHONPATH", python);
    serde_json::from_str(&run(&mut command)).unwrap()
}

/// The rules as a plain file, made as rules.yaml says, beside their tests.
fn plain_rules() -> TempDir {
    let (into, from) = (tempfile::tempdir().unwrap(), folder());
    let rules = read("rules.yaml");
    let (_, made) = rules.split_once("#   sed ").unwrap();
    let command = format!("sed {}", made.lines().next().unwrap());
    shell(into.path(), &format!("cp {}/rules*.yaml .; {command}", from.display()));
    into
}

fn items(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

/// Every rule.
fn rules() -> Vec<Value> {
    let rules = parsed("rules.yaml");
    items(&rules["spec"]["groups"]).flat_map(|group| items(&group["rules"])).cloned().collect()
}

fn alerts() -> BTreeSet<String> {
    rules().iter().filter_map(|rule| Some(rule["alert"].as_str()?.to_owned())).collect()
}

/// Every panel that is no row.
fn panels(dashboard: &Value) -> Vec<&Value> {
    items(&dashboard["panels"]).filter(|panel| panel["type"] != "row").collect()
}

/// Every query of a dashboard, with all that can be chosen.
fn queries(dashboard: &Value) -> Vec<String> {
    let targets = panels(dashboard).into_iter().flat_map(|panel| items(&panel["targets"]));
    let expressions =
        targets.chain(items(&dashboard["annotations"]["list"])).filter_map(|target| target["expr"].as_str());
    let variables = items(&dashboard["templating"]["list"]).filter_map(|variable| variable["query"]["query"].as_str());
    let variables = variables.map(|query| query.trim_start_matches("label_values(").rsplit_once(',').unwrap().0);
    let all = expressions.chain(variables).map(|query| {
        let chosen = |query: String, name| query.replace(&format!("${name}"), ".*");
        let query = ["cluster", "namespace", "release", "component"].into_iter().fold(query.to_owned(), chosen);
        query.replace("$__rate_interval", "5m")
    });
    let all: Vec<_> = all.collect();
    assert!(all.iter().all(|query| !query.contains('$') || query.contains("\"$1\"")), "an unknown variable in {all:?}");
    all
}

#[test]
fn every_alert_fires_in_its_time_and_for_nothing_else() {
    let folder = plain_rules();
    shell(folder.path(), "promtool check rules dagsync.rules.yaml && promtool test rules rules_test.yaml");
    let tests = parsed("rules_test.yaml");
    let cases: Vec<_> = items(&tests["tests"]).flat_map(|test| items(&test["alert_rule_test"])).collect();
    let named = |fires: bool| -> BTreeSet<String> {
        let cases = cases.iter().filter(|case| items(&case["exp_alerts"]).next().is_some() == fires);
        cases.map(|case| text(&case["alertname"]).to_owned()).collect()
    };
    assert_eq!((named(true), named(false)), (alerts(), alerts()), "each is seen to fire, and to be silent");
}

/// A rule of relabeling, in either spelling.
fn relabeling(rule: &Value) -> [String; 5] {
    [
        ["sourceLabels", "source_labels"],
        ["targetLabel", "target_label"],
        ["regex"; 2],
        ["replacement"; 2],
        ["action"; 2],
    ]
    .map(|names| names.into_iter().find_map(|name| rule.get(name)).map(Value::to_string).unwrap_or_default())
}

#[test]
fn the_operator_and_prometheus_alone_ask_the_same_pods_and_see_the_same_labels() {
    let (monitor, scrape) = (parsed("podmonitor.yaml"), parsed("scrape.yaml"));
    let (endpoints, jobs) = (&monitor["spec"]["podMetricsEndpoints"], &scrape["scrape_configs"]);
    assert_eq!((items(endpoints).count(), items(jobs).count()), (2, 2));
    for (endpoint, job) in items(endpoints).zip(items(jobs)) {
        assert_eq!(endpoint["interval"], job["scrape_interval"]);
        // The operator adds these itself; with a port it keeps only containers that name it, which git-sync's does not.
        let named = |name: &str, label: &str| {
            let source = format!("__meta_kubernetes_{name}");
            json!({"sourceLabels": [source], "targetLabel": label})
        };
        let mut added = vec![
            named("namespace", "namespace"),
            named("pod_name", "pod"),
            named("pod_container_name", "container"),
            json!({"sourceLabels": ["__meta_kubernetes_pod_phase"], "regex": "Succeeded|Failed", "action": "drop"}),
        ];
        assert_eq!(endpoint.get("portNumber"), None);
        if let Some(port) = endpoint.get("port") {
            let name = ["__meta_kubernetes_pod_container_port_name"];
            added.push(json!({"sourceLabels": name, "regex": port, "action": "keep"}));
        }
        let operator: BTreeSet<_> = items(&endpoint["relabelings"]).chain(&added).map(relabeling).collect();
        let mut alone: BTreeSet<_> = items(&job["relabel_configs"]).map(relabeling).collect();
        // The job's name is the label, unless another one is given.
        alone.insert(relabeling(&json!({"targetLabel": "job", "replacement": "dagsync"})));
        assert_eq!(operator, alone);
    }
}

#[test]
fn the_dashboard_is_whole() {
    let dashboard = parsed("dashboard.json");
    assert_eq!(dashboard["id"], Value::Null, "Grafana gives it one");
    let all: Vec<_> = items(&dashboard["panels"]).collect();
    let unique = |field: &dyn Fn(&Value) -> String| all.iter().map(|p| field(p)).collect::<BTreeSet<_>>().len();
    assert_eq!((unique(&|p| p["id"].to_string()), unique(&|p| p["title"].to_string())), (all.len(), all.len()));
    let mut taken = BTreeSet::new();
    for panel in &all {
        let at = |side: &str| panel["gridPos"][side].as_u64().unwrap();
        assert!(at("x") + at("w") <= 24, "{} is out of the grid", panel["title"]);
        for cell in (at("x")..at("x") + at("w")).flat_map(|x| (at("y")..at("y") + at("h")).map(move |y| (x, y))) {
            assert!(taken.insert(cell), "{} lies over another panel", panel["title"]);
        }
    }
    for panel in panels(&dashboard) {
        let title = &panel["title"];
        assert!(text(&panel["description"]).ends_with('.'), "{title} has no description");
        assert!(!text(&panel["fieldConfig"]["defaults"]["unit"]).is_empty(), "{title} has no unit");
        let sources = items(&panel["targets"]).map(|target| &target["datasource"]).chain([&panel["datasource"]]);
        assert!(sources.into_iter().all(|source| source["uid"] == "${datasource}"), "{title} is bound to a Prometheus");
    }
}
