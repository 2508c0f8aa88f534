//! What goes wrong is told in git-sync's words: who moved here with its variables knows no setting of dagsync's.

use super::*;
use crate::harness::{Nginx, Proxy, USER};

/// Fails as long as it runs, and says each of `words` in its log, in its status and in its error file.
#[track_caller]
fn says(git_sync: GitSync, words: &[&str]) {
    let git_sync = git_sync.flag("error-file", "error.json").flag("max-failures", "-1").by_variables().started();
    let message = eventually(&format!("the status has an error: {}", git_sync.log()), || {
        let status: serde_json::Value = serde_json::from_str(&git_sync.get("/v1/status")?.1).unwrap();
        status["last_error"]["message"].as_str().map(str::to_owned)
    });
    let file =
        eventually("the error file is there", || std::fs::read_to_string(git_sync.root().join("error.json")).ok());
    let file: serde_json::Value = serde_json::from_str(&file).unwrap();
    for said in [&message, file["Err"].as_str().unwrap(), &git_sync.log()] {
        words.iter().for_each(|word| assert!(said.contains(word), "it does not say {word:?}: {said}"));
        for word in said.split([' ', '(', ',', ';', '"', '`']) {
            let of_dagsync = ["git.", "http.bind", "keep.", "error_file"].iter().any(|start| word.starts_with(start));
            assert!(!of_dagsync || word.starts_with("git.local"), "{word:?} is no word of git-sync's: {said}");
        }
    }
    assert_eq!(git_sync.commit(), None);
}

#[test]
fn a_wrong_key() {
    let setting = Setting::new();
    let wrong = || setting.git_sync().flag("ssh-key-file", setting.sshd.strange_key());
    says(wrong(), &["refused the key", "GITSYNC_SSH_KEY_FILE", "add its public half to the repository's deploy keys"]);
    wrong().once().ended(1, &["--ssh-key-file", "deploy keys"]);
    let missing = setting.git_sync().flag("ssh-key-file", "/nonexistent/key");
    says(missing, &["GITSYNC_SSH_KEY_FILE /nonexistent/key", "check that the Secret is mounted"]);
}

#[test]
fn an_unknown_host_key() {
    let setting = Setting::new();
    let port = setting.sshd.port;
    let with = |hosts: &Path| setting.git_sync().flag("ssh-known-hosts-file", hosts);
    let keyscan = format!("add the output of `ssh-keyscan -p {port} 127.0.0.1` to that file");
    let unknown = setting.sshd.known_hosts(1);
    says(with(&unknown), &["is not known", "GITSYNC_SSH_KNOWN_HOSTS_FILE", &keyscan]);
    with(&unknown).once().ended(1, &["--ssh-known-hosts-file", &keyscan]);
    says(with(&setting.sshd.wrong_hosts(port)), &["another host key", "GITSYNC_SSH_KNOWN_HOSTS_FILE", "compare"]);
    says(with(Path::new("/nonexistent")), &["no host keys are known", "name it in GITSYNC_SSH_KNOWN_HOSTS_FILE"]);
}

#[test]
fn a_wrong_password() {
    let repo = Repo::with(&[("a.py", "1")]);
    let nginx = Nginx::serve(&repo);
    let git_sync = || GitSync::of(&nginx.url(nginx.port)).env("GIT_SSL_CAINFO", nginx.ca()).without("ref");
    let by_user = || git_sync().flag("username", USER);
    let wrong = by_user().env("GITSYNC_PASSWORD", "wrong");
    says(wrong, &["refused user and password", "check GITSYNC_USERNAME and GITSYNC_PASSWORD"]);
    by_user().env("GITSYNC_PASSWORD", "wrong").once().ended(1, &["check --username and GITSYNC_PASSWORD"]);
    let old = by_user().env("GIT_SYNC_PASSWORD", "wrong");
    says(old, &["check GITSYNC_USERNAME and GIT_SYNC_PASSWORD"]);
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), "wrong").unwrap();
    says(by_user().flag("password-file", file.path()), &["check GITSYNC_USERNAME and GITSYNC_PASSWORD_FILE"]);
    let entry = serde_json::json!({ "url": nginx.url(nginx.port), "username": USER, "password": "wrong" });
    says(git_sync().flag("credential", entry.to_string()), &["check the entry for this host in GITSYNC_CREDENTIAL"]);
    says(git_sync(), &["none are configured", "GITSYNC_USERNAME and GITSYNC_PASSWORD_FILE"]);
}

#[test]
fn a_missing_branch() {
    let setting = Setting::new();
    let git_sync = || setting.git_sync().flag("ref", "mian");
    says(git_sync(), &["no such branch or tag", "mian", "check GITSYNC_REF; there is main"]);
    git_sync().once().ended(1, &["check --ref; there is main"]);
    says(setting.git_sync().without("ref").env("GIT_SYNC_BRANCH", "mian"), &["check GIT_SYNC_BRANCH; there is main"]);
}

#[test]
fn a_certificate_that_is_expired_or_of_an_unknown_authority() {
    let repo = Repo::with(&[("a.py", "1")]);
    let (expired, other) = (Nginx::expired(&repo), Nginx::serve(&repo));
    let git_sync = |ca: &Path| GitSync::of(&expired.url(expired.port)).env("GIT_SSL_CAINFO", ca);
    let hint = "name its bundle in GIT_SSL_CAINFO; if it expired, the server must renew it";
    says(git_sync(&expired.ca()), &["the certificate of 127.0.0.1 is not trusted", "expired", hint]);
    let unknown = GitSync::of(&other.url(other.port));
    says(unknown, &["the certificate of 127.0.0.1 is not trusted", hint]);
    let gone = git_sync(Path::new("/nonexistent.pem"));
    says(gone, &["GIT_SSL_CAINFO", "/nonexistent.pem", "it must be a PEM file"]);
}

#[test]
fn a_proxy_that_refuses() {
    let repo = Repo::with(&[("a.py", "1")]);
    let nginx = Nginx::serve(&repo);
    for status in ["403 Forbidden", "502 Bad Gateway"] {
        let proxy = Proxy::answering(status);
        let git_sync = GitSync::of(&nginx.url(nginx.port)).env("GIT_SSL_CAINFO", nginx.ca());
        let hint = "check the proxy that https_proxy names, or list 127.0.0.1 in no_proxy";
        says(git_sync.env("https_proxy", proxy.url()), &["proxy", &status[..3], hint]);
    }
}

#[test]
fn what_cannot_be_used() {
    let setting = Setting::new();
    let git_sync = setting.git_sync().flag("link", ".git/x");
    git_sync.once().ended(1, &["\".git/x\" from flag --link"]);
    let sparse = setting.git_sync().flag("sparse-checkout-file", "/nonexistent");
    says(sparse, &["GITSYNC_SPARSE_CHECKOUT_FILE /nonexistent", "check that it is mounted"]);
    let touching = setting.git_sync().flag("touch-file", "/proc/touched").by_variables().started();
    touching.says("GITSYNC_TOUCH_FILE is not touched");
}
