//! Whom a pod believes, and how it says that it does not.

use crate::harness::{Nginx, Pod, Repo, Sshd, shell};

/// The pod fails for good reason: it says each of `words` and publishes nothing.
#[track_caller]
fn refuses(pod: &Pod, words: &[&str]) {
    pod.once().ended(2, words);
    assert!(pod.current().is_none());
}

#[test]
fn an_unknown_host_key() {
    let repo = Repo::with(&[("a.py", "1")]);
    let sshd = Sshd::start();
    let pod = Pod::over_ssh(&sshd, &repo, sshd.port);
    let keyscan = format!("ssh-keyscan -p {} 127.0.0.1", sshd.port);
    let elsewhere = sshd.known_hosts(1);
    refuses(
        &pod.set("git.known_hosts_file", elsewhere),
        &["host key", "is not known", "known_hosts.1", &keyscan, "to that file"],
    );
    let pod = Pod::over_ssh(&sshd, &repo, sshd.port).set("git.known_hosts_file", sshd.wrong_hosts(sshd.port));
    refuses(&pod, &["another host key", "wrong_hosts", "compare the fingerprint"]);
}

#[test]
fn a_revoked_host_key_is_refused_although_it_is_known() {
    let repo = Repo::with(&[("a.py", "1")]);
    let sshd = Sshd::start();
    let known = sshd.known_hosts(sshd.port);
    let line = std::fs::read_to_string(&known).unwrap();
    let pod = Pod::over_ssh(&sshd, &repo, sshd.port);
    for hosts in [line.split(' ').next().unwrap(), "*"] {
        let key = line.split_once(' ').unwrap().1;
        std::fs::write(&known, format!("{line}\n@revoked {hosts} {key}\n")).unwrap();
        refuses(&pod, &["marked as revoked", "known_hosts", "the server needs a new one"]);
    }
    std::fs::write(&known, format!("@cert-authority {line}\n")).unwrap();
    refuses(&pod, &["is not known", "not supported @cert-authority"]);
    std::fs::write(&known, line).unwrap();
    pod.once().ended(0, &[]);
}

#[test]
fn a_key_that_is_not_let_in() {
    let repo = Repo::with(&[("a.py", "1")]);
    let sshd = Sshd::start();
    let pod = Pod::over_ssh(&sshd, &repo, sshd.port);
    refuses(&pod.set("git.ssh_key_file", sshd.strange_key()), &["git.ssh_key_file", "deploy keys"]);
    let pod = Pod::over_ssh(&sshd, &repo, sshd.port).set("git.ssh_key_file", "/nonexistent/key");
    refuses(&pod, &["git.ssh_key_file /nonexistent/key", "check that the Secret is mounted"]);
}

#[test]
fn a_certificate_of_an_unknown_ca() {
    let repo = Repo::with(&[("a.py", "1")]);
    let nginx = Nginx::serve(&repo);
    let other = Nginx::serve(&repo);
    let pod = Pod::over_https(&nginx, nginx.port).set("git.ca_file", other.ca());
    refuses(&pod, &["certificate", "name its bundle in git.ca_file"]);
}

#[test]
fn an_expired_certificate() {
    let repo = Repo::with(&[("a.py", "1")]);
    let nginx = Nginx::expired(&repo);
    refuses(&Pod::over_https(&nginx, nginx.port), &["certificate", "expired", "the server must renew it"]);
}

#[test]
fn a_branch_that_is_not_there() {
    let repo = Repo::with(&[("a.py", "1")]);
    repo.git(&["push", "--quiet", "origin", "HEAD:release-2.1"]);
    let nginx = Nginx::serve(&repo);
    let pod = Pod::over_https(&nginx, nginx.port).set("git.ref", "relaese-2.1");
    refuses(&pod, &["no such branch or tag", "relaese-2.1", "check git.ref; there is release-2.1"]);
}

#[test]
fn a_wrong_password() {
    let repo = Repo::with(&[("a.py", "1")]);
    let nginx = Nginx::serve(&repo);
    let wrong = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(wrong.path(), "tr0ub4dor").unwrap();
    let pod = Pod::over_https(&nginx, nginx.port).set("git.password_file", wrong.path());
    refuses(&pod, &["check git.username and git.password_file"]);
}

#[test]
fn a_password_that_is_rotated_is_used_without_a_restart() {
    let repo = Repo::with(&[("a.py", "1")]);
    let nginx = Nginx::serve(&repo);
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), "old").unwrap();
    let mut pod = Pod::over_https(&nginx, nginx.port).set("git.password_file", file.path());
    pod.start();
    pod.wait("it is not let in", |s| !s["last_error"].is_null());
    std::fs::copy(nginx.password_file(), file.path()).unwrap();
    pod.is_on(&repo.version());
    nginx.change_password("next");
    pod.wait("it is shut out", |s| !s["last_error"].is_null());
    repo.write("a.py", "2");
    repo.commit("second");
    std::fs::write(file.path(), "next").unwrap();
    pod.is_on(&repo.version());
}

#[test]
fn what_nobody_trusted_signed_is_not_published_and_the_version_before_stays() {
    let keys = tempfile::tempdir().unwrap();
    shell(keys.path(), "ssh-keygen -q -t ed25519 -N '' -f key; (printf 'ada@example.com '; cat key.pub) > signers");
    let repo = Repo::new();
    repo.git(&["config", "gpg.format", "ssh"]);
    repo.git(&["config", "user.signingkey", keys.path().join("key").to_str().unwrap()]);
    repo.write("a.py", "1");
    repo.git(&["add", "--all"]);
    repo.git(&["commit", "--quiet", "-S", "-m", "signed"]);
    repo.push();
    let nginx = Nginx::serve(&repo);
    let mut pod = Pod::over_https(&nginx, nginx.port)
        .set("git.verify", "ssh")
        .set("git.allowed_signers_file", keys.path().join("signers"));
    let good = repo.version();
    pod.start_on(&good);

    repo.write("a.py", "2");
    let unsigned = repo.commit("unsigned");
    let is_refused = |s: &serde_json::Value| {
        s["last_error"]["kind"] == "untrusted" && s["state"] == "stale" && s["version"] == good.as_str()
    };
    let status = pod.wait("it is refused", is_refused);
    let message = status["last_error"]["message"].as_str().unwrap();
    assert!(message.contains(&unsigned) && message.contains("git.allowed_signers_file"), "{message}");
    pod.kill();
    pod.start();
    pod.wait("it is refused by the next process too", is_refused);
    assert_eq!((pod.get("/readyz").unwrap().0, pod.current().is_some()), (200, true));

    repo.git(&["tag", "-s", "-m", "release", "v1"]);
    repo.git(&["push", "--quiet", "origin", "v1"]);
    pod.kill();
    pod.change("git.ref", "v1");
    pod.start_on(&repo.version());
}
