//! Push events in place of polls, with a period that no test waits for.

use std::time::{Duration, Instant};

use crate::harness::{Gate, Nginx, PATIENCE, Pod, Repo, Sshd, eventually, shell};

const BODY: &str = r#"{"ref":"refs/heads/main","forced":false}"#;

/// A pod that polls once an hour and knows the secret in `file`.
fn listening(pod: Pod, file: &tempfile::NamedTempFile) -> Pod {
    std::fs::write(file.path(), "s3cret\n").unwrap();
    pod.set("period", "1h").set("http.hooks.github_secret_file", file.path())
}

/// What GitHub sends with `body`, signed by openssl.
fn headers(id: &str, secret: &str, body: &str) -> String {
    let sign = format!("printf %s '{body}' | openssl dgst -sha256 -hmac '{secret}' -r | cut -d' ' -f1");
    let signature = shell(&std::env::temp_dir(), &sign);
    format!("X-GitHub-Event: push\r\nX-GitHub-Delivery: {id}\r\nX-Hub-Signature-256: sha256={signature}\r\n")
}

/// A forge, the setting that names its secret's file, and what it sends with an event.
struct Sender {
    name: &'static str,
    setting: &'static str,
    headers: fn(secret: &str) -> String,
}

const SENDERS: [Sender; 3] = [
    Sender { name: "github", setting: "http.hooks.github_secret_file", headers: |secret| headers("1", secret, BODY) },
    Sender {
        name: "gitlab",
        setting: "http.hooks.gitlab_token_file",
        headers: |token| format!("X-Gitlab-Event: Push Hook\r\nX-Gitlab-Token: {token}\r\nIdempotency-Key: 1\r\n"),
    },
    Sender { name: "generic", setting: "http.hooks.generic_secret_file", headers: standard_headers },
];

/// What Standard Webhooks wants with the body, signed by openssl.
fn standard_headers(secret: &str) -> String {
    let script = format!(
        "key=$(printf %s '{secret}' | od -An -tx1 | tr -d ' \n'); now=$(date +%s)
         signature=$(printf %s \"1.$now.\"'{BODY}' | openssl dgst -sha256 -mac HMAC -macopt hexkey:$key -binary | base64)
         printf 'Webhook-Id: 1\\r\\nWebhook-Timestamp: %s\\r\\nWebhook-Signature: v1,%s\\r\\n' $now $signature"
    );
    shell(&std::env::temp_dir(), &script) + "\r\n"
}

/// A pod that polls once an hour gets a commit from the forge's event; how long after the event its link leads there.
fn goes_live(pod: Pod, repo: &Repo, sender: &Sender) -> Duration {
    let secret = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(secret.path(), "s3cret\n").unwrap();
    let mut pod = pod.set("period", "1h").set(sender.setting, secret.path());
    pod.start_on(&repo.version());
    let before = pod.current();
    repo.write("a.py", sender.name);
    repo.commit("a change");
    assert_eq!(pod.event(sender.name, &(sender.headers)("guess"), BODY), 401);
    assert_eq!(pod.current(), before, "only an event that is believed brings it");
    let headers = (sender.headers)("s3cret");
    let sent = Instant::now();
    assert_eq!(pod.event(sender.name, &headers, BODY), 202);
    while pod.current() == before && sent.elapsed() < PATIENCE {
        std::thread::sleep(Duration::from_millis(1));
    }
    let took = sent.elapsed();
    pod.is_on(&repo.version());
    took
}

#[test]
#[allow(clippy::print_stdout, reason = "how long it took is for whoever runs it with --nocapture, and fails no test")]
fn a_pushed_commit_is_live_by_the_event_of_each_sender() {
    let repo = Repo::with(&[("a.py", "1")]);
    let (sshd, nginx) = (Sshd::start(), Nginx::serve(&repo));
    for sender in &SENDERS {
        let over_ssh = goes_live(Pod::over_ssh(&sshd, &repo, sshd.port), &repo, sender);
        repo.write("a.py", "1");
        repo.commit("back");
        let over_https = goes_live(Pod::over_https(&nginx, nginx.port), &repo, sender);
        println!("from {}'s event to the link: {over_ssh:?} over ssh, {over_https:?} over https", sender.name);
    }
}

#[test]
fn a_signed_event_makes_the_commit_live() {
    let (repo, sshd) = (Repo::with(&[("a.py", "1")]), Sshd::start());
    let secret = tempfile::NamedTempFile::new().unwrap();
    let mut pod = listening(Pod::over_ssh(&sshd, &repo, sshd.port), &secret);
    pod.start_on(&repo.version());
    repo.write("a.py", "2");
    repo.commit("second");
    assert_eq!(pod.event("github", &headers("1", "guess", BODY), BODY), 401);
    assert_eq!(pod.event("github", &headers("1", "s3cret", BODY), "{}"), 401);
    assert_eq!(pod.event("gitlab", &headers("1", "s3cret", BODY), BODY), 403);
    assert_eq!(pod.event("github", &headers("1", "s3cret", BODY), BODY), 202);
    pod.is_on(&repo.version());
    assert_eq!(pod.event("github", &headers("1", "s3cret", BODY), BODY), 200);
    std::fs::write(secret.path(), "s3cret\nnext\n").unwrap();
    repo.write("a.py", "3");
    repo.commit("third");
    let body = r#"{"ref":"refs/heads/main","forced":true}"#;
    assert_eq!(pod.event("github", &headers("2", "next", body), body), 202);
    pod.is_on(&repo.version());
    assert!(!pod.log().contains("s3cret") && !pod.log().contains("refs/heads/main\""), "{}", pod.log());
}

#[test]
fn a_head_that_shows_after_its_event_is_found_without_another() {
    let (repo, sshd) = (Repo::with(&[("a.py", "1")]), Sshd::start());
    let secret = tempfile::NamedTempFile::new().unwrap();
    let mut pod = listening(Pod::over_ssh(&sshd, &repo, sshd.port), &secret);
    pod.start_on(&repo.version());
    let before = pod.metric("dagsync_syncs_total");
    assert_eq!(pod.event("github", &headers("1", "s3cret", BODY), BODY), 202);
    eventually("the event's own sync is over", || (pod.metric("dagsync_syncs_total") > before).then_some(()));
    repo.write("a.py", "2");
    repo.commit("second");
    pod.is_on(&repo.version());
}

#[test]
fn a_burst_of_events_is_few_syncs() {
    let repo = Repo::with(&[("a.py", "1")]);
    let secret = tempfile::NamedTempFile::new().unwrap();
    let sshd = Sshd::start();
    let gate = Gate::before(sshd.port);
    let mut pod = listening(Pod::over_ssh(&sshd, &repo, gate.port), &secret);
    pod.start_on(&repo.version());
    let before = pod.metric("dagsync_syncs_total");
    gate.hang();
    repo.write("a.py", "2");
    repo.commit("second");
    for n in 0..50 {
        let body = format!(r#"{{"ref":"refs/heads/main","n":{n}}}"#);
        assert_eq!(pod.event("github", &headers(&n.to_string(), "s3cret", &body), &body), 202);
        if n == 0 {
            eventually("the source is asked", || (gate.waiting() > 0).then_some(()));
        }
    }
    gate.open();
    pod.is_on(&repo.version());
    let syncs = pod.metric("dagsync_syncs_total") - before;
    assert!(syncs <= 3.0, "the one that hung, and one for all the others: {syncs}");
}
