//! Where findings go besides standard output: a chat, a Pushgateway, node_exporter, a CI job; and what helps.

use std::path::Path;
use std::process::{Command, Stdio};

use rustix::process::Signal;

use super::{Pod, Repo, check, command, json, named, of, url, valid, who};
use crate::harness::{Process, Web, eventually};

const TOKEN: &str = "let-me-in-5170";

/// Two pods on one version that look for another one by themselves once an hour, and their repository.
fn sleepy(token: &Path) -> (Repo, Pod, Pod) {
    std::fs::write(token, TOKEN).unwrap();
    let repo = Repo::with(&[("a.py", "1"), ("old.py", "1")]);
    let pod = |name| named(Pod::new(&repo.file_url()), name).set("period", "1h").set("http.token_file", token);
    let (mut one, mut two) = (pod("one"), pod("two"));
    one.start_on(&repo.version());
    two.start_on(&repo.version());
    (repo, one, two)
}

#[test]
fn remediate_asks_those_who_have_drifted_from_the_head_to_sync() {
    let folder = tempfile::tempdir().unwrap();
    let token = folder.path().join("token");
    let (repo, mut one, mut two) = sleepy(&token);
    repo.write("a.py", "2");
    std::fs::remove_file(repo.work().join("old.py")).unwrap();
    repo.commit("second");
    let source = repo.file_url();
    let head = ["--reference", "head", "--source", &source];
    let report = json(&[&one, &two], 1, &head);
    assert_eq!(
        (&report["reference"]["by"], &report["reference"]["versions"][0]),
        (&"head".into(), &repo.version().into())
    );
    assert_eq!(
        super::files(&report, of(&report, "one")["version"].as_str().unwrap()),
        ["modified a.py", "added old.py"]
    );

    let wrong = folder.path().join("wrong");
    std::fs::write(&wrong, "not-it").unwrap();
    let with = |file: &Path| format!("client.token_file={}", file.display());
    let refused = check(&[&one, &two], &[&head[..], &["--remediate", "--set", &with(&wrong)]].concat());
    refused.ended(1, &["2 drifted", "could not be asked to sync", "401"]);
    let asked = check(&[&one, &two], &[&head[..], &["--remediate", "--set", &with(&token)]].concat());
    asked.ended(1, &["asked to sync now"]);
    one.is_on(&repo.version());
    two.is_on(&repo.version());
    check(&[&one, &two], &head).ended(0, &["IN SYNC: 2 pods"]);
    for outcome in [refused, asked] {
        assert!(!format!("{outcome:?}").contains(TOKEN) && !format!("{outcome:?}").contains("not-it"), "{outcome:?}");
    }
}

#[test]
fn watch_posts_what_changed_and_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    let repos = [(); 3].map(|()| Repo::with(&[("a.py", "1")]));
    let (version, other) = (repos[0].version(), &repos[1]);
    let mut pods = [0, 1, 2].map(|n| named(Pod::new(&repos[n].file_url()), &n.to_string()));
    pods.iter_mut().for_each(|pod| pod.start_on(&version));
    let chat = Web::answering(|_| (200, "ok".to_owned()));
    let secret = folder.path().join("url");
    std::fs::write(&secret, chat.url("/services/s3cr3t-path\n")).unwrap();
    let args = ["--watch", "--output", "json", "--set", "drift.interval=100ms", "--webhook-file"];
    let mut command = command(&pods.each_ref(), &[&args[..], &[secret.to_str().unwrap()]].concat());
    let log = folder.path().join("log");
    let mut watch = Process::start(&mut command, &log);
    let lines = || std::fs::read_to_string(&log).unwrap().lines().map(str::to_owned).collect::<Vec<_>>();
    eventually("it checks thrice", || (lines().len() >= 3).then_some(()));
    assert!(chat.asked().is_empty(), "all was well from the start: {:?}", chat.asked());

    other.write("a.py", "2");
    other.commit("elsewhere");
    let posted = eventually("drift is posted", || chat.asked().first().cloned());
    let body: serde_json::Value = serde_json::from_str(&posted.body).unwrap();
    assert_eq!((posted.method.as_str(), posted.path.as_str()), ("POST", "/services/s3cr3t-path"));
    assert_eq!((&body["finding"], &body["counts"]["drifted"]), (&"drift".into(), &1.into()));
    assert!(body["text"].as_str().unwrap().contains("drifted airflow-1-0"), "{body}");
    let seen = lines().len();
    eventually("it checks thrice more", || (lines().len() >= seen + 3).then_some(()));
    assert_eq!(chat.asked().len(), 1, "the same finding is not posted again");

    other.git(&["reset", "--quiet", "--hard", "HEAD~1"]);
    other.push();
    let posted = eventually("the end of it is posted", || chat.asked().get(1).cloned());
    assert!(posted.body.contains("IN SYNC: 3 pods"), "{}", posted.body);
    watch.signal(Signal::TERM);
    assert_eq!(watch.wait().code(), Some(0), "{:?}", lines());
    lines().iter().filter(|line| line.starts_with('{')).take(3).for_each(|line| drop(valid(line)));
    assert!(!lines().concat().contains("s3cr3t"), "{:?}", lines());
}

#[test]
fn a_watch_that_goes_blind_says_so_once_and_that_it_sees_again() {
    let folder = tempfile::tempdir().unwrap();
    let (repo, nobody, prom) = (Repo::with(&[("a.py", "1")]), [], folder.path().join("dagsync.prom"));
    let (chat, gateway) = (Web::answering(|_| (200, "ok".into())), Web::answering(|_| (200, String::new())));
    let (source, away) = (repo.file_url(), folder.path().join("away.git"));
    let (webhook, pushgateway) = (chat.url("/s3cr3t"), gateway.url(""));
    let args = ["--watch", "--set", "drift.interval=100ms", "--peer", "http://127.0.0.1:1", "--reference", "head"];
    let to = ["--source", &source, "--webhook", &webhook, "--pushgateway", &pushgateway, "--prometheus-file"];
    let mut command = command(&nobody, &[&args[..], &to, &[prom.to_str().unwrap()]].concat());
    let log = folder.path().join("log");
    let mut watch = Process::start(&mut command, &log);
    let posted = |n: usize| eventually("it is posted", || chat.asked().get(n).map(|asked| asked.body.clone()));
    let metric = |line: &str| {
        let holds = |text: String| text.contains(&format!("\n{line}\n")).then_some(());
        eventually(line, || holds(std::fs::read_to_string(&prom).ok()?));
        eventually(line, || holds(gateway.asked().last()?.body.clone()));
    };
    assert!(posted(0).contains("INCOMPLETE"), "{:?}", chat.asked());
    metric("dagsync_fleet_check_success 1");

    std::fs::rename(repo.bare(), &away).unwrap();
    let blind: serde_json::Value = serde_json::from_str(&posted(1)).unwrap();
    assert_eq!(blind["finding"], "failed");
    assert!(blind["text"].as_str().unwrap().contains("the fleet cannot be checked"), "{blind}");
    metric("dagsync_fleet_check_success 0");
    let text = std::fs::read_to_string(&prom).unwrap();
    assert!(
        !text.contains("dagsync_fleet_pods") && text.contains("dagsync_fleet_last_check_timestamp_seconds"),
        "{text}"
    );
    lint(&text);
    let (pushed, seen) = (|| gateway.asked().len(), gateway.asked().len());
    eventually("it looks again and again", || (pushed() > seen + 3).then_some(()));
    assert_eq!(chat.asked().len(), 2, "that it is blind is posted once");

    std::fs::rename(&away, repo.bare()).unwrap();
    assert!(posted(2).contains("INCOMPLETE"), "{:?}", chat.asked());
    metric("dagsync_fleet_check_success 1");
    watch.signal(Signal::TERM);
    assert_eq!((watch.wait().code(), chat.asked().len()), (Some(0), 3));
    let log = std::fs::read_to_string(&log).unwrap();
    assert!(log.contains("prefer --webhook-file") && !log.contains("s3cr3t"), "{log}");
}

#[test]
fn metrics_are_pushed_and_written_as_prometheus_reads_them_and_the_summary_as_github_does() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let (repo, other) = (Repo::with(&[("a.py", "1")]), Repo::with(&[("a.py", "2")]));
    let (mut one, mut two) = (named(Pod::new(&repo.file_url()), "one"), named(Pod::new(&other.file_url()), "two"));
    one.start_on(&repo.version());
    two.start_on(&other.version());
    let gateway = Web::answering(|_| (200, String::new()));
    let (prom, summary, version) = (at("dagsync.prom"), at("summary.md"), repo.version());
    [&prom, &summary].iter().for_each(|file| std::fs::write(file, "old\n").unwrap());
    let (pushgateway, reference) = (gateway.url("/base/"), ["--reference", &version, "--pushgateway"]);
    let files = [&pushgateway, "--prometheus-file", &prom, "--summary", &summary];
    check(&[&one, &two], &[&reference[..], &files].concat()).ended(1, &["1 drifted, 1 in-sync"]);

    let text = std::fs::read_to_string(&prom).unwrap();
    assert!(
        text.contains("dagsync_fleet_pods{state=\"drifted\"} 1") && text.contains("dagsync_fleet_in_sync 0"),
        "{text}"
    );
    lint(&text);
    let pushed = gateway.asked().remove(0);
    assert_eq!((pushed.method.as_str(), pushed.path.as_str()), ("PUT", "/base/metrics/job/dagsync_fleet"));
    assert_eq!(pushed.body, text);
    let summary = std::fs::read_to_string(&summary).unwrap();
    assert!(
        summary.starts_with("old\n")
            && summary.contains("| drifted | airflow-two-0 |")
            && summary.contains("modified a.py"),
        "{summary}"
    );
    assert!(std::fs::read_dir(folder.path()).unwrap().count() == 2, "nothing is left beside them");
}

/// What promtool says of it: nothing.
fn lint(text: &str) {
    let mut promtool = Command::new("promtool");
    promtool.args(["check", "metrics"]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = promtool.spawn().expect("promtool is there; tests/run installs it");
    std::io::Write::write_all(child.stdin.as_mut().unwrap(), text.as_bytes()).unwrap();
    let out = child.wait_with_output().unwrap();
    assert!(out.status.success() && out.stdout.is_empty() && out.stderr.is_empty(), "{out:?}\n{text}");
}

#[test]
fn a_report_that_does_not_arrive_is_a_failure_unless_drift_is_more() {
    let repo = Repo::with(&[("a.py", "1")]);
    let mut pod = named(Pod::new(&repo.file_url()), "one");
    pod.start_on(&repo.version());
    let broken = Web::answering(|_| (500, "leaks s3cr3t".to_owned()));
    let args = ["--pushgateway", &broken.url("/s3cr3t")];
    let outcome = check(&[&pod], &args);
    outcome.ended(2, &["IN SYNC", "push metrics", "500"]);
    let nowhere = format!("sha256:{}", "0".repeat(64));
    let drift = check(&[&pod], &[&args[..], &["--reference", &nowhere, "--webhook", &broken.url("/s3cr3t")]].concat());
    drift.ended(1, &["1 drifted", "push metrics", "500"]);
    assert!(!format!("{outcome:?}{drift:?}").contains("s3cr3t"), "{drift:?}");
    assert_eq!(who(&json(&[&pod], 0, &["--leader", &url(&pod)]), "in-sync"), ["one"]);
}
