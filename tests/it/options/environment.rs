//! What git and ssh read beside git-sync's options: it is done, or it is said that it is not.

use super::*;
use crate::harness::{Nginx, PASSWORD, Pod, USER};

/// A server whose authority nobody knows, and a git-sync that may log in there.
fn private() -> (Repo, Nginx, impl Fn(&Nginx) -> GitSync) {
    let repo = Repo::with(&[("a.py", "1")]);
    let nginx = Nginx::serve(&repo);
    let git_sync = |nginx: &Nginx| {
        let git_sync = GitSync::of(&nginx.url(nginx.port)).flag("username", USER);
        git_sync.env("GITSYNC_PASSWORD", PASSWORD)
    };
    (repo, nginx, git_sync)
}

#[test]
fn gits_variables_for_certificates_count() {
    let (repo, nginx, git_sync) = private();
    let head = repo.git(&["rev-parse", "HEAD"]);
    git_sync(&nginx).once().ended(1, &["certificate"]);
    git_sync(&nginx).env("GIT_SSL_CAINFO", nginx.ca()).brings(&head);
    for value in ["true", "false", ""] {
        let unchecked = git_sync(&nginx).env("GIT_SSL_NO_VERIFY", value);
        unchecked.once().ended(0, &["the certificate of the git server is not checked"]);
        assert_eq!(unchecked.commit().as_deref(), Some(head.as_str()), "as git, whatever it says: {value:?}");
    }
    let other = Nginx::serve(&repo);
    let own = git_sync(&nginx).env("GIT_SSL_CAINFO", other.ca()).env("DAGSYNC_GIT__CA_FILE", nginx.ca());
    own.brings(&head);
}

#[test]
fn what_is_not_read_is_said_once_with_what_to_do() {
    let setting = Setting::new();
    let home = tempfile::tempdir().unwrap();
    let config = "Host github.com\n  ProxyCommand nc proxy 3128\n  Hostname ssh.github.com\n  Port 443\n";
    std::fs::create_dir(home.path().join(".ssh")).unwrap();
    std::fs::write(home.path().join(".ssh/config"), config).unwrap();
    let git_sync = setting.git_sync().env("HOME", home.path()).env("GIT_SSH_COMMAND", "ssh -J bastion");
    let git_sync = git_sync.env("GIT_PROXY_COMMAND", "nc").env("GITSYNC_ONE_TIME", "true");
    let outcome = Outcome::of(&mut git_sync.command());
    let instead = "set --ssh-key-file and --ssh-known-hosts-file";
    let said = [
        &format!("GIT_SSH_COMMAND is not read; no ssh command is run: {instead}"),
        "GIT_PROXY_COMMAND is not read; no proxy command is run",
        ".ssh/config is not read (it sets ProxyCommand, Hostname, Port)",
    ];
    outcome.ended(0, &said);
    for words in said {
        assert_eq!(outcome.stderr.matches(words).count(), 1, "{outcome:#?}");
    }
}

#[test]
fn dagsync_by_its_own_name_says_the_same_in_its_own_words() {
    let (_repo, nginx, _) = private();
    let pod = Pod::over_https(&nginx, nginx.port);
    let outcome = Outcome::of(pod.command("once").env("GIT_SSH_COMMAND", "ssh").env("GIT_SSL_NO_VERIFY", "1"));
    outcome.ended(0, &["set git.ssh_key_file and git.known_hosts_file", "set git.tls_check to off"]);
}
