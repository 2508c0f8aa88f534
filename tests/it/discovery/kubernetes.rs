//! The pods that the Kubernetes API lists, with what it may answer instead.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

use super::api::{Api, NAMESPACE, TOKEN, person, pod, status};
use super::{fails, found_by, myself};
use crate::harness::{Dnsmasq, Reply};

const ALL: (&str, &str) = ("fleet.kubernetes.selector", "tier=airflow");

/// So many pods, named in order.
fn pods(count: usize) -> Vec<Value> {
    (0..count).map(|n| pod(&format!("worker-{n:05}"), "worker", &format!("10.1.{}.{}", n / 250, n % 250))).collect()
}

/// As a server with this mood answers.
fn in_mood(moods: impl IntoIterator<Item = Reply>) -> (Api, Result<Vec<String>, String>) {
    let api = Api::of(pods(3));
    api.cluster().moods.extend(moods);
    let found = found_by(api.person(), &[ALL]);
    assert!(!format!("{found:?}").contains("correct-horse"), "{found:?}");
    (api, found)
}

#[test]
fn pods_of_every_kind() {
    let mut starting = pod("starting", "worker", "");
    starting["status"] = json!({"phase": "Pending"});
    let mut leaving = pod("leaving", "worker", "10.0.0.2");
    leaving["metadata"]["deletionTimestamp"] = "2026-01-02T03:04:05Z".into();
    let mut without = pod("without", "webserver", "10.0.0.3");
    without["spec"]["containers"].as_array_mut().unwrap().pop();
    let mut done = pod("done", "worker", "10.0.0.4");
    done["status"]["phase"] = "Succeeded".into();
    let others = vec![pod("scheduler", "scheduler", "10.0.0.1"), pod("redis", "redis", "10.0.0.5")];
    let api = Api::of([others, vec![starting, leaving, without, done]].concat());
    let selector = ("fleet.kubernetes.selector", "tier=airflow,component in (scheduler,worker,webserver)");
    assert_eq!(
        found_by(api.person(), &[selector]).unwrap(),
        [
            "leaving http://10.0.0.2:8466 terminating",
            "scheduler http://10.0.0.1:8466 running",
            "starting - starting",
            "without - missing",
        ]
    );
    let settings = [selector, ("fleet.kubernetes.container", "webserver"), ("fleet.scheme", "https")];
    assert!(found_by(api.person(), &settings).unwrap().contains(&"without https://10.0.0.3:8466 running".to_owned()));
}

#[test]
fn many_pods_come_in_pages() {
    let api = Api::of(pods(600));
    let found = found_by(api.person(), &[ALL]).unwrap();
    assert_eq!((found.len(), found[599].as_str()), (600, "worker-00599 http://10.1.2.99:8466 running"));
    let pages: Vec<bool> = api.asked().iter().map(|path| path.contains("limit=250&continue=")).collect();
    assert_eq!(pages, [false, true, true], "{:?}", api.asked());
}

#[test]
fn a_place_that_the_api_forgot_is_begun_anew_but_not_for_ever() {
    let api = Api::of(pods(600));
    api.cluster().forgets = 2;
    assert_eq!(found_by(api.person(), &[ALL]).unwrap().len(), 600);
    assert_eq!(api.asked().len(), 7);

    api.cluster().forgets = usize::MAX;
    fails(&found_by(api.person(), &[ALL]), &["changed list pods: ", "forgot where the list was, 3 times in a row"]);
    assert_eq!(api.asked().len(), 7 + 6);
}

#[test]
fn an_api_with_too_much_to_do_is_waited_for_but_not_for_ever() {
    let busy = |wait: &str| {
        let reply = status(429, "TooManyRequests", "the server has received too many requests");
        Reply { headers: format!("Retry-After: {wait}\r\n"), ..reply }
    };
    let start = std::time::Instant::now();
    let (api, found) = in_mood([busy("1"), busy("2")]);
    assert_eq!((found.unwrap().len(), api.asked().len()), (3, 3));
    assert!(start.elapsed().as_secs() >= 3, "the API says how long");

    let (api, found) = in_mood((0..10).map(|_| busy("0")));
    fails(&found, &["has too much to do", "429", "too many requests"]);
    assert_eq!(api.asked().len(), 5);

    let (api, found) = in_mood([busy("3600")]);
    fails(&found, &["asks to wait 3600s"]);
    assert_eq!(api.asked().len(), 1);
}

#[test]
fn who_may_not_list_pods_is_told_which_role_is_missing() {
    let api = Api::of(pods(1));
    let error = found_by(api.person(), &[ALL, ("fleet.kubernetes.namespace", "other")]);
    fails(
        &error,
        &[
            "unauthorized list pods: this account may not list pods in namespace \"other\": 403",
            "User \"system:serviceaccount:airflow:dagsync\" cannot list",
            "a Role in other with apiGroups [\"\"], resources [\"pods\"], verbs [\"list\"]",
        ],
    );
    api.cluster().token = "another".to_owned();
    let error = found_by(api.person(), &[ALL]);
    fails(
        &error,
        &["unauthorized list pods: the Kubernetes API does not know who asks: 401", "automountServiceAccountToken"],
    );
    assert!(!error.unwrap_err().contains("correct-horse"));
}

#[test]
fn a_selector_that_is_none_or_that_nothing_matches() {
    let api = Api::of(pods(1));
    let error = found_by(api.person(), &[("fleet.kubernetes.selector", "tier in (airflow")]);
    fails(&error, &["config list pods: ", "400", "unable to parse requirement", "check fleet.kubernetes.selector"]);
    let error = found_by(api.person(), &[("fleet.kubernetes.selector", "tier=arflow")]);
    fails(&error, &["not-found list pods: no pod matches", "namespace airflow", "tier=arflow", "check fleet"]);
}

#[test]
fn answers_that_are_no_list() {
    let html = "<html>welcome to the log-in page</html>".to_owned();
    let cases: [(Reply, &[&str]); 5] = [
        ((200, html).into(), &["corrupt list pods: the answer is no list of pods", "expected value"]),
        ((200, r#"{"kind":"NodeList","items":[]}"#.to_owned()).into(), &["no list of pods", "NodeList"]),
        ((200, r#"{"kind":"PodList","items":[{"metadata":"#.to_owned()).into(), &["no list of pods", "EOF"]),
        ((502, "bad\u{7} gateway".to_owned()).into(), &["unreachable list pods: ", "502"]),
        (
            status(500, "InternalError", "etcdserver: \u{1b}request timed out"),
            &["500", "etcdserver: request timed out"],
        ),
    ];
    for (mood, words) in cases {
        fails(&in_mood([mood]).1, words);
    }
}

#[test]
fn a_fleet_has_an_end() {
    let (_, found) = in_mood([(200, json!({"kind": "PodList", "pad": "x".repeat(33 << 20)}).to_string()).into()]);
    fails(&found, &["limit-exceeded list pods: ", "33554432 bytes"]);
    let api = Api::of(pods(10_001));
    fails(&found_by(api.person(), &[ALL]), &["limit-exceeded list pods: there are more than 10000", "narrow"]);
}

/// A server that does with each guest what the test wants.
fn rude(serve: impl Fn(TcpStream) + Send + 'static) -> Result<Vec<String>, String> {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let (folder, at) = (tempfile::tempdir().unwrap(), listener.local_addr().unwrap());
    std::thread::spawn(move || listener.incoming().flatten().for_each(serve));
    found_by(person(folder.path(), &format!("http://{at}"), None), &[ALL])
}

#[test]
fn an_answer_that_breaks_off_or_never_ends() {
    let head = |guest: &mut TcpStream| {
        let _ = guest.read(&mut [0; 4096]);
        guest.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n{\"kind\":\"PodList\"")
    };
    fails(&rude(move |mut guest| drop(head(&mut guest))), &["unreachable list pods: the answer broke off"]);
    let endless = rude(move |mut guest| {
        let _ = head(&mut guest);
        while guest.write_all(&[b' '; 65536]).is_ok() {}
    });
    fails(&endless, &["limit-exceeded list pods: ", "33554432 bytes"]);
    let silent = rude(|guest| drop(std::thread::spawn(move || (std::thread::park(), guest))));
    fails(&silent, &["timeout list pods: the Kubernetes API did not list them within 30s"]);
}

#[test]
fn a_server_of_another_authority_is_not_believed() {
    let (api, other) = (Api::of(pods(1)), Api::of(Vec::new()));
    let error = found_by(api.person_who_trusts(&other.ca()), &[ALL]);
    fails(&error, &["unreachable list pods: the Kubernetes API gives no answer", "certificate"]);
    assert!(api.asked().is_empty(), "it never saw the token");
}

#[test]
fn a_kubeconfig_that_is_none_is_not_quoted() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| {
        let mut command = Command::new("env");
        command.env_clear().env("HOME", folder.path()).env("KUBECONFIG", folder.path().join(name));
        myself(&mut command);
        command
    };
    fails(&found_by(at("nowhere"), &[ALL]), &["config list pods: no kubeconfig can be used", "nowhere"]);
    std::fs::write(folder.path().join("broken"), format!("users:\n- token: {TOKEN}: [\n")).unwrap();
    let error = found_by(at("broken"), &[ALL]);
    fails(&error, &["no kubeconfig can be used: it cannot be parsed"]);
    assert!(!error.unwrap_err().contains("correct-horse"));

    let mut nothing = Command::new("env");
    nothing.env_clear().env("HOME", folder.path());
    myself(&mut nothing);
    fails(&found_by(nothing, &[ALL]), &["no kubeconfig can be used", "KUBECONFIG names one"]);
}

#[test]
fn dns_and_kubernetes_know_the_same_pods() {
    let mut both = pod("dual", "worker", "10.1.0.7");
    both["status"]["podIPs"] = json!([{"ip": "10.1.0.7"}, {"ip": "fd00::7"}]);
    let mut without = pod("without", "webserver", "10.1.0.8");
    without["spec"]["containers"].as_array_mut().unwrap().pop();
    let api = Api::of(vec![both, without]);
    let name = "dagsync.airflow.svc.cluster.local";
    let hosts: String =
        ["10.1.0.7", "fd00::7", "10.1.0.8", "10.1.0.9"].iter().map(|ip| format!("{ip} {name}\n")).collect();
    let server = Dnsmasq::serving(&hosts, &[]);
    let settings = [ALL, ("fleet.dns", name), ("fleet.dns_server", &server.address())];
    assert_eq!(
        found_by(api.person(), &settings).unwrap(),
        ["10.1.0.9 http://10.1.0.9:8466 running", "dual http://10.1.0.7:8466 running", "without - missing"]
    );
}

/// The command in a pod whose ServiceAccount is in `account`.
fn in_pod(api: &Api, account: &Path) -> Command {
    let mut pod = Command::new("bwrap");
    pod.env_clear().env("PATH", "/usr/bin:/bin").env("KUBERNETES_SERVICE_HOST", "127.0.0.1");
    pod.env("KUBERNETES_SERVICE_PORT", api.port().to_string());
    pod.args(["--die-with-parent", "--dev-bind", "/", "/", "--tmpfs", "/run", "--ro-bind-try"]).arg(account);
    pod.arg("/run/secrets/kubernetes.io/serviceaccount");
    myself(&mut pod);
    pod
}

#[test]
fn a_pod_asks_with_its_account_whose_token_is_rotated() {
    let (api, account) = (Api::of(pods(2)), tempfile::tempdir().unwrap());
    let write = |name: &str, text: &str| std::fs::write(account.path().join(name), text).unwrap();
    std::fs::copy(api.ca(), account.path().join("ca.crt")).unwrap();
    write("namespace", NAMESPACE);
    for token in ["first", "second"] {
        api.cluster().token = token.to_owned();
        write("token", token);
        assert_eq!(found_by(in_pod(&api, account.path()), &[ALL]).unwrap().len(), 2);
    }
    let error = found_by(in_pod(&api, Path::new("/nonexistent")), &[ALL]);
    fails(&error, &["config list pods: this pod has no way to the Kubernetes API", "automountServiceAccountToken"]);
}
