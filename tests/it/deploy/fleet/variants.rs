//! Fleets that are not those of the base: dagsync in the place of git-sync, TLS and tokens, a proxy.

use std::collections::BTreeMap;
use std::os::unix::fs::symlink;
use std::process::Command;

use serde_json::{Value, json};
use tempfile::TempDir;

use super::container::Container;
use super::{chart, net, release, rendered, script};
use crate::discovery::api::{Api, pod};
use crate::harness::{Authority, Dnsmasq, Outcome, Pod, Process, Repo, Web, eventually, run};

/// The port that Airflow's chart gives to git-sync.
const GIT_SYNC: u16 = 1234;

/// A pod with git-sync, as Kubernetes knows it: the port has no name.
fn replaced(name: &str, component: &str, address: &str) -> Value {
    let mut pod = pod(name, component, address);
    release(&mut pod, "airflow");
    let container = &mut pod["spec"]["containers"][1];
    container["name"] = "git-sync".into();
    container.as_object_mut().unwrap().remove("ports");
    pod["status"]["containerStatuses"][1]["name"] = "git-sync".into();
    pod
}

/// dagsync by the name git-sync, with what the chart gives it.
fn git_sync(repo: &Repo, folder: &TempDir, address: &str) -> Process {
    let at = folder.path().join(address);
    std::fs::create_dir(&at).unwrap();
    symlink(env!("CARGO_BIN_EXE_dagsync"), at.join("git-sync")).unwrap();
    let variables: BTreeMap<_, _> = [
        ("GITSYNC_REPO", repo.file_url()),
        ("GITSYNC_ROOT", at.join("git").display().to_string()),
        ("GITSYNC_LINK", "repo".to_owned()),
        ("GITSYNC_PERIOD", "100ms".to_owned()),
        ("GITSYNC_MAX_FAILURES", "-1".to_owned()),
        ("GITSYNC_HTTP_BIND", format!("{address}:{GIT_SYNC}")),
    ]
    .into();
    let mut command = Command::new(at.join("git-sync"));
    command.env_clear().env("PATH", std::env::var_os("PATH").unwrap()).env("HOME", "/tmp").envs(variables);
    Process::start(&mut command, &at.join("log"))
}

#[test]
fn dagsync_in_the_place_of_git_sync_is_checked_at_its_port_and_without_a_leader() {
    let (repo, folder, net) = (Repo::with(&[("etl.py", "one")]), tempfile::tempdir().unwrap(), net(6));
    let address = |host: u8| format!("{net}{host}");
    let mut worker = git_sync(&repo, &folder, &address(2));
    let _processor = git_sync(&repo, &folder, &address(1));
    // With a dag-processor the scheduler has no git-sync, and nobody is to miss it.
    let mut scheduler = pod("scheduler", "scheduler", &address(3));
    release(&mut scheduler, "airflow");
    scheduler["spec"]["containers"].as_array_mut().unwrap().pop();
    let pods =
        vec![replaced("processor", "dag-processor", &address(1)), replaced("worker", "worker", &address(2)), scheduler];
    let api = Api::of(pods);
    let overlay = rendered("kustomize", "deploy/fleet/overlays/git-sync");
    let check = || Outcome::of(&mut Container::of(&overlay, &json!({}), "127.0.0.1 localhost\n", &api).command());
    let found = eventually("both have the repository", || Some(check()).filter(|found| found.code == Some(0)));
    found.ended(0, &["IN SYNC: 2 pods"]);
    worker.kill();
    check().ended(3, &["INCOMPLETE", "of 2 pods 1 unreachable"]);
}

#[test]
fn by_tls_the_token_reaches_pods_that_were_found_by_name() {
    const SERVICE: &str = "dagsync.airflow.svc.cluster.local";
    const TOKEN: &str = "token-of-the-whole-fleet-7731";
    let (folder, net, authority) = (tempfile::tempdir().unwrap(), net(7), Authority::new());
    let secret = authority.secret(&format!("*.{SERVICE},DNS:dagsync-leader"));
    let token = folder.path().join("token");
    std::fs::write(&token, TOKEN).unwrap();
    let dags = folder.path().join("dags");
    std::fs::create_dir(&dags).unwrap();
    std::fs::write(dags.join("etl.py"), "one").unwrap();
    let daemon = |host: u8| {
        let mut daemon = Pod::new(dags.to_str().unwrap())
            .set("volume.settle", "30ms")
            .set("http.bind", format!("{net}{host}:8466"))
            .set("http.auth", "all")
            .set("http.token_file", &token)
            .set("http.tls.cert_file", secret.certificate())
            .set("http.tls.key_file", secret.key());
        daemon.start();
        daemon
    };
    let _daemons = [1, 2].map(daemon);
    let hosts: String = [1, 2].iter().map(|host| format!("{net}{host} pod-{host}.{SERVICE}\n")).collect();
    let server =
        Dnsmasq::serving(&hosts, &[1, 2].map(|host| format!("_http._tcp.{SERVICE},pod-{host}.{SERVICE},8466")));
    let here = json!({"config": {"fleet": {
        "dns": [format!("_http._tcp.{SERVICE}.")], "dns_server": server.address(),
    }}});
    let check = |secrets: &Value| {
        let files = ["chart", "ci/production-values.yaml", &here.to_string()];
        let objects: Vec<Value> = serde_json::from_str(&run(script("rendered.py").args(files))).unwrap();
        let hosts = format!("127.0.0.1 localhost\n{net}1 dagsync-leader\n{hosts}");
        Outcome::of(&mut Container::of(&objects, secrets, &hosts, &Api::of(Vec::new())).command())
    };
    let ca = std::fs::read_to_string(authority.file()).unwrap();
    let secrets = |token: &str| {
        json!({
            "dagsync-drift": {"webhook-url": "http://127.0.0.1:9/"}, "dagsync-token": {"token": token}, "dagsync-ca": {"ca.crt": ca},
        })
    };
    let found = eventually("both answer", || Some(check(&secrets(TOKEN))).filter(|found| found.code == Some(0)));
    found.ended(0, &["IN SYNC: 2 pods"]);
    check(&secrets("another-token-which-nobody-knows")).ended(3, &["INCOMPLETE", "401"]);
}

#[test]
fn a_webhook_is_told_through_a_proxy_and_daemons_are_asked_without_it() {
    let mut fleet = super::Fleet::start(8);
    let proxy = Web::answering(|_| (200, String::new()));
    let objects = chart(&json!({
        "env": [{"name": "HTTP_PROXY", "value": proxy.url("")}],
        "config": {"drift": {"webhook_url_file": "/secrets/webhook-url"}},
        "secrets": ["dagsync-drift"],
    }));
    fleet.worker.kill();
    let secrets = json!({"dagsync-drift": {"webhook-url": "http://hooks.example/services/x"}});
    Outcome::of(&mut fleet.container(&objects, &secrets).command()).ended(3, &["of 2 pods 1 unreachable, 1 in-sync"]);
    let told: Vec<String> = proxy.asked().into_iter().map(|asked| asked.path).collect();
    assert_eq!(told, ["http://hooks.example/services/x"], "once, and nothing else");
}
