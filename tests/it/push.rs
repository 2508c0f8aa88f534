//! Push events in place of polls, with a period that no test waits for.

use crate::harness::{Gate, Pod, Repo, Sshd, eventually, shell};

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

#[test]
fn a_signed_event_makes_the_commit_live() {
    let repo = Repo::with(&[("a.py", "1")]);
    let secret = tempfile::NamedTempFile::new().unwrap();
    let mut pod = listening(Pod::new(&repo.file_url()), &secret);
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
    let repo = Repo::with(&[("a.py", "1")]);
    let secret = tempfile::NamedTempFile::new().unwrap();
    let mut pod = listening(Pod::new(&repo.file_url()), &secret);
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
