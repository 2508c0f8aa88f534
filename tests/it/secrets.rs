//! Secrets stay in their files: not in a log, a status, a metric, an error or the store.

use crate::harness::{Nginx, PASSWORD, Pod, Repo, Sshd, dagsync, shell};

/// Everything that the pod says in a life with a failure, on every channel.
fn everything(pod: &mut Pod, repo: &Repo) -> String {
    pod.change("log.level", "trace");
    pod.start_on(&repo.version());
    repo.hide(true);
    pod.wait("it fails", |s| !s["last_error"].is_null());
    let pages = ["/v1/status", "/metrics", "/readyz", "/livez", "/"];
    let mut said: String = pages.iter().filter_map(|page| Some(pod.get(page)?.1)).collect();
    repo.hide(false);
    pod.stop();
    said.push_str(&format!("{:?}", pod.once()));
    said.push_str(&format!("{:?}", pod.command("config").output()));
    said.push_str(&shell(pod.root(), "find . -path ./versions -prune -o -type f -exec cat {} + | tr -d '\\0'"));
    said + &pod.log()
}

fn has_none(said: &str, secrets: &[&str]) {
    assert!(said.len() > 1000, "there is something to look through: {said}");
    for secret in secrets {
        let line = said.lines().find(|line| line.contains(secret));
        assert!(line.is_none(), "a secret stands in {line:?}");
    }
}

#[test]
fn the_password_is_nowhere() {
    let repo = Repo::with(&[("a.py", "1")]);
    let nginx = Nginx::serve(&repo);
    // What basic authentication sends, of `ada:` and the password.
    let encoded = shell(&repo.work(), &format!("printf ada:{PASSWORD} | base64"));
    let said = everything(&mut Pod::over_https(&nginx, nginx.port), &repo);
    has_none(&said, &[PASSWORD, &encoded]);
}

#[test]
fn the_key_is_nowhere() {
    let repo = Repo::with(&[("a.py", "1")]);
    let sshd = Sshd::start();
    let key = std::fs::read_to_string(sshd.key()).unwrap();
    let said = everything(&mut Pod::over_ssh(&sshd, &repo, sshd.port), &repo);
    has_none(&said, &[key.lines().nth(1).unwrap(), key.lines().nth(2).unwrap()]);
}

#[test]
fn a_password_in_the_url_is_hidden() {
    let repo = Repo::with(&[("a.py", "1")]);
    let nginx = Nginx::serve(&repo);
    let url = nginx.url(nginx.port).replace("https://", &format!("https://ada:{PASSWORD}@"));
    let pod = Pod::new(&url).set("git.ca_file", nginx.ca()).set("log.level", "trace");
    let said = format!("{:?}{:?}", pod.once(), pod.command("config").output());
    has_none(&(said + &" ".repeat(1000)), &[PASSWORD]);
}

#[test]
fn a_secret_in_the_configuration_file_is_refused() {
    let file = tempfile::Builder::new().suffix(".toml").tempfile().unwrap();
    std::fs::write(file.path(), format!("[git]\npassword = \"{PASSWORD}\"\n")).unwrap();
    let source = ["once", "--source", "https://127.0.0.1:1/x.git", "--config"];
    let outcome = crate::harness::Outcome::of(dagsync().args(source).arg(file.path()));
    outcome.ended(64, &["password"]);
    has_none(&(format!("{outcome:?}") + &" ".repeat(1000)), &[PASSWORD]);
}
