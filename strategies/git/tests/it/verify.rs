//! Signed commits and tags, made by git with ssh-keygen and gpg; `git verify-commit` is the oracle.

mod gpg;

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use dagsync_core::{ErrorKind, Result, Revision};
use tempfile::TempDir;

use crate::harness::{Origin, Target, files};

/// A repository whose commits are signed, and the keys.
struct Signers {
    origin: Origin,
    keys: TempDir,
}

impl Signers {
    fn new() -> Self {
        let signers = Self { origin: Origin::new(), keys: tempfile::tempdir().unwrap() };
        signers.origin.git(&["config", "gpg.ssh.allowedSignersFile", signers.file().to_str().unwrap()]);
        signers
    }

    /// The file that the strategy and the oracle read.
    fn file(&self) -> PathBuf {
        self.keys.path().join("trusted")
    }

    fn key(&self, name: &str) -> PathBuf {
        self.keys.path().join(name)
    }

    /// A new ssh key; its public half.
    fn ssh_key(&self, name: &str, kind: &[&str]) -> String {
        run(Command::new("ssh-keygen")
            .args(["-q", "-N", "", "-C", name, "-t"])
            .args(kind)
            .arg("-f")
            .arg(self.key(name)));
        fs::read_to_string(self.key(&format!("{name}.pub"))).unwrap()
    }

    fn allow(&self, lines: &str) {
        fs::write(self.file(), lines).unwrap();
    }

    /// Commits `content`, signed by the ssh key `name`.
    fn commit(&self, name: &str, content: &str) -> String {
        self.origin.write("a.py", content).git(&["add", "-A"]);
        self.ssh(name, &["commit", "-q", "--allow-empty", "-S", "-m", content]);
        self.origin.git(&["rev-parse", "HEAD"])
    }

    fn ssh(&self, name: &str, args: &[&str]) {
        let key = format!("user.signingkey={}", self.key(name).display());
        self.origin.git(&[&["-c", "gpg.format=ssh", "-c", &key], args].concat());
    }

    /// The commit's content after `change`, under its new id, as the head.
    fn forge(&self, commit: &str, change: impl FnOnce(String) -> String) -> String {
        let object = self.origin.git(&["cat-file", "commit", commit]) + "\n";
        let file = self.key("object");
        fs::write(&file, change(object)).unwrap();
        let id = self.origin.git(&["hash-object", "-t", "commit", "-w", file.to_str().unwrap()]);
        self.origin.git(&["update-ref", "refs/heads/main", &id]);
        id
    }

    fn target(&self, verify: &str, reference: &str) -> Target {
        let file = self.file();
        let setting = if verify == "ssh" { "allowed_signers_file" } else { "keyring_file" };
        let settings = [("verify", verify), ("ref", reference), (setting, file.to_str().unwrap())];
        Target::new(&self.origin.url(), &settings)
    }

    fn sync(&self, verify: &str) -> Result<()> {
        self.target(verify, "main").sync().map(drop)
    }

    /// What git itself says of the head.
    fn oracle(&self) -> bool {
        let mut git = Command::new("git");
        git.current_dir(self.origin.path()).args(["verify-commit", "HEAD"]).env("GIT_CONFIG_GLOBAL", "/dev/null");
        git.env("GNUPGHOME", self.key("gpg")).output().unwrap().status.success()
    }

    #[track_caller]
    fn accepted(&self, verify: &str) {
        self.sync(verify).unwrap();
        assert!(self.oracle(), "git refuses it");
    }

    #[track_caller]
    fn refused(&self, verify: &str, words: &[&str]) -> String {
        assert!(!self.oracle(), "git accepts it");
        let head = self.origin.git(&["rev-parse", "HEAD"]);
        is_refused(self.sync(verify), &[words, &[&head]].concat())
    }
}

impl Drop for Signers {
    fn drop(&mut self) {
        let _ = Command::new("gpgconf").env("GNUPGHOME", self.key("gpg")).args(["--kill", "all"]).output();
    }
}

#[track_caller]
fn is_refused(synced: Result<()>, words: &[&str]) -> String {
    let error = synced.unwrap_err();
    let text = error.to_string();
    assert_eq!(
        (error.kind(), error.operation(), error.is_retryable()),
        (ErrorKind::Untrusted, "verify", false),
        "{text}"
    );
    words.iter().for_each(|word| assert!(text.contains(word), "it does not say {word:?}: {text}"));
    text
}

fn run(command: &mut Command) -> String {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn commits_of_every_kind_of_ssh_key_are_accepted() {
    let signers = Signers::new();
    let kinds: [&[&str]; 5] =
        [&["ed25519"], &["ecdsa"], &["ecdsa", "-b", "384"], &["ecdsa", "-b", "521"], &["rsa", "-b", "2048"]];
    for (n, kind) in kinds.iter().enumerate() {
        let name = format!("key{n}");
        let key = signers.ssh_key(&name, kind);
        signers.allow(&format!("# all\nada@example.com {key}"));
        signers.commit(&name, &name);
        signers.accepted("ssh");
    }
}

#[test]
fn an_unsigned_head_is_refused_and_a_signed_one_is_taken_again() {
    let signers = Signers::new();
    let key = signers.ssh_key("ada", &["ed25519"]);
    signers.allow(&format!("ada@example.com {key}"));
    signers.commit("ada", "1");
    let mut target = signers.target("ssh", "main");
    target.sync().unwrap();
    signers.origin.write("a.py", "2").commit();
    let text = is_refused(target.sync().map(drop), &["is not signed", "git.allowed_signers_file"]);
    assert!(!text.contains("signed by"), "{text}");
    signers.commit("ada", "3");
    target.sync().unwrap();
    assert_eq!(target.files(), files(&[("a.py", "3")]));
}

#[test]
fn a_key_counts_from_when_it_is_in_the_file_until_it_is_not() {
    let signers = Signers::new();
    let (ada, eve) = (signers.ssh_key("ada", &["ed25519"]), signers.ssh_key("eve", &["ed25519"]));
    let fingerprint = run(Command::new("ssh-keygen").arg("-lf").arg(signers.key("eve.pub")));
    let fingerprint = fingerprint.split(' ').nth(1).unwrap();
    signers.allow(&format!("ada@example.com {ada}"));
    signers.commit("eve", "1");
    signers.refused("ssh", &["its signer is not in", fingerprint]);
    signers.allow(&format!("ada@example.com {ada}eve@example.com {eve}"));
    signers.accepted("ssh");
    signers.allow(&format!("ada@example.com {ada}"));
    signers.refused("ssh", &["its signer is not in"]);
}

#[test]
fn a_file_that_names_nobody_trusts_nobody() {
    let signers = Signers::new();
    let key = signers.ssh_key("ada", &["ed25519"]);
    signers.commit("ada", "1");
    for (content, says) in [("", "names no key"), ("# ada\n", "names no key"), ("ada@example.com", "line 1")] {
        signers.allow(content);
        let error = signers.sync("ssh").unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Config);
        assert!(error.to_string().contains(says) && error.to_string().contains("trusted"), "{error}");
    }
    signers.allow(&format!("*@example.com cert-authority {key}"));
    assert!(signers.sync("ssh").unwrap_err().to_string().contains("certificates are not supported"));
    signers.allow("no keys");
    assert!(signers.sync("gpg").unwrap_err().to_string().contains("no public key"));
    fs::remove_file(signers.file()).unwrap();
    for verify in ["ssh", "gpg"] {
        let error = signers.sync(verify).unwrap_err();
        assert!(error.kind() == ErrorKind::Config && error.to_string().contains("does not exist"), "{error}");
    }
    let unset = |verify| crate::harness::strategy(&signers.origin.url(), &[("verify", verify)]).unwrap_err();
    assert!(unset("ssh").to_string().contains("git.allowed_signers_file"));
    assert!(unset("gpg").to_string().contains("git.keyring_file"));
}

#[test]
fn what_was_changed_after_it_was_signed_is_refused() {
    let signers = Signers::new();
    let key = signers.ssh_key("ada", &["ed25519"]);
    signers.allow(&format!("ada@example.com {key}"));
    let first = signers.commit("ada", "1");
    let tree = signers.origin.git(&["rev-parse", "HEAD^{tree}"]);
    let second = signers.commit("ada", "2");
    signers.accepted("ssh");
    signers.forge(&second, |object| object.replacen(&signers.origin.git(&["rev-parse", "HEAD^{tree}"]), &tree, 1));
    signers.refused("ssh", &["does not match its content", "ada@example.com", "SHA256:"]);

    let signature = |commit: &str| {
        let object = signers.origin.git(&["cat-file", "commit", commit]);
        let from = object.find("gpgsig ").unwrap();
        let to = object.find("-----END SSH SIGNATURE-----\n").unwrap();
        object[from..to].to_owned()
    };
    let (mine, moved) = (signature(&second), signature(&first));
    signers.forge(&second, |object| object.replacen(&mine, &moved, 1));
    signers.refused("ssh", &["does not match its content"]);

    signers.forge(&second, |object| object.replacen(&mine, &format!("{mine}-----END SSH SIGNATURE-----\n{mine}"), 1));
    is_refused(signers.sync("ssh"), &["two signatures"]);
    let unsigned = |object: String| object.replacen(&format!("{mine}-----END SSH SIGNATURE-----\n"), "", 1);
    signers
        .forge(&second, |object| unsigned(object) + &mine.replace("gpgsig ", "\n") + "-----END SSH SIGNATURE-----\n");
    signers.refused("ssh", &["is not signed"]);
}

#[test]
fn a_signature_for_something_else_than_git_is_refused() {
    let signers = Signers::new();
    let key = signers.ssh_key("ada", &["ed25519"]);
    signers.allow(&format!("ada@example.com {key}"));
    let commit = signers.origin.write("a.py", "1").commit();
    let payload = signers.origin.git(&["cat-file", "commit", &commit]) + "\n";
    let sign = |namespace: &str| {
        fs::write(signers.key("payload"), &payload).unwrap();
        let mut keygen = Command::new("ssh-keygen");
        keygen.args(["-q", "-Y", "sign", "-n", namespace, "-f"]).arg(signers.key("ada")).arg(signers.key("payload"));
        let _ = fs::remove_file(signers.key("payload.sig"));
        run(&mut keygen);
        let signature = fs::read_to_string(signers.key("payload.sig")).unwrap();
        let header = format!("gpgsig {}\n", signature.trim_end().replace('\n', "\n "));
        signers.forge(&commit, |_| payload.replacen("\n\n", &format!("\n{header}\n"), 1));
    };
    sign("git");
    signers.accepted("ssh");
    sign("file");
    signers.refused("ssh", &["for \"file\", not for \"git\"", "ada@example.com"]);
    sign("git");
    signers.allow(&format!("ada@example.com namespaces=\"file\" {key}"));
    signers.refused("ssh", &["may not sign for git"]);
    signers.allow(&format!("ada@example.com namespaces=\"file,g*\" {key}"));
    signers.accepted("ssh");
}

#[test]
fn a_key_is_good_for_commits_of_its_time() {
    let signers = Signers::new();
    let key = signers.ssh_key("ada", &["ed25519"]);
    signers.commit("ada", "1");
    for (options, allowed) in [
        ("valid-before=\"20200101Z\"", false),
        ("valid-after=\"20200101Z\"", true),
        ("valid-after=\"29990101Z\"", false),
        ("valid-after=\"20200101Z\",valid-before=\"29990101Z\"", true),
    ] {
        signers.allow(&format!("ada@example.com {options} {key}"));
        match allowed {
            true => signers.accepted("ssh"),
            false => drop(signers.refused("ssh", &["valid-", "ada@example.com"])),
        }
    }
    signers.allow(&format!("ada@example.com valid-before=\"20200101Z\" {key}ada@example.com {key}"));
    signers.sync("ssh").unwrap();
}

#[test]
fn a_full_commit_id_is_verified_too() {
    let signers = Signers::new();
    let key = signers.ssh_key("ada", &["ed25519"]);
    signers.allow(&format!("ada@example.com {key}"));
    let good = signers.commit("ada", "1");
    let bad = signers.origin.write("a.py", "2").commit();
    signers.target("ssh", &good).sync().unwrap();
    is_refused(signers.target("ssh", &bad).sync().map(drop), &["is not signed", &bad]);
}

#[test]
fn what_is_cached_is_verified_when_that_is_switched_on() {
    let signers = Signers::new();
    let key = signers.ssh_key("ada", &["ed25519"]);
    signers.allow(&format!("ada@example.com {key}"));
    let commit = signers.origin.write("a.py", "1").commit();
    let mut target = Target::new(&signers.origin.url(), &[]);
    target.materialize(&Revision::new(&commit)).unwrap();
    let file = signers.file();
    target.reconfigure(&signers.origin.url(), &[("verify", "ssh"), ("allowed_signers_file", file.to_str().unwrap())]);
    is_refused(target.materialize(&Revision::new(&commit)).map(drop), &["is not signed"]);
}

#[test]
fn a_signed_tag_vouches_for_its_commit() {
    let signers = Signers::new();
    let key = signers.ssh_key("ada", &["ed25519"]);
    let eve = signers.ssh_key("eve", &["ed25519"]);
    signers.allow(&format!("ada@example.com {key}"));
    let commit = signers.origin.write("a.py", "1").commit();
    signers.ssh("ada", &["tag", "-s", "-m", "release", "v1"]);
    signers.ssh("ada", &["tag", "-s", "-m", "the same", "v1-again", "v1"]);
    signers.ssh("eve", &["tag", "-s", "-m", "release", "v2"]);
    signers.origin.git(&["tag", "-a", "-m", "release", "v3"]);
    signers.origin.git(&["tag", "light"]);
    signers.origin.git(&["update-ref", "refs/tags/v9", "refs/tags/v1"]);
    for reference in ["v1", "tags/v1", "refs/tags/v1", "v1-again"] {
        let mut target = signers.target("ssh", reference);
        assert_eq!(target.resolve().unwrap().as_str(), commit);
        target.sync().unwrap();
        assert_eq!(target.files(), files(&[("a.py", "1")]), "{reference}");
    }
    for (reference, says) in [
        ("v2", "the tag is refused: its signer is not in"),
        ("v3", "the tag is refused: it is not signed"),
        ("light", "the commit is refused: it is not signed"),
        ("main", "the commit is refused: it is not signed"),
        ("v9", "it was signed as \"v1\" and lies under the name \"v9\""),
    ] {
        is_refused(signers.target("ssh", reference).sync().map(drop), &[says, &commit]);
    }
    signers.allow(&format!("eve@example.com {eve}"));
    signers.target("ssh", "v2").sync().unwrap();
}

#[test]
fn a_tag_that_was_seen_needs_no_server_and_one_that_moved_is_asked_for_again() {
    let signers = Signers::new();
    let key = signers.ssh_key("ada", &["ed25519"]);
    signers.allow(&format!("ada@example.com {key}"));
    signers.origin.write("a.py", "1").commit();
    signers.ssh("ada", &["tag", "-s", "-m", "one", "live"]);
    let mut target = signers.target("ssh", "live");
    let first = target.resolve().unwrap();
    target.materialize(&first).unwrap();
    let (here, away) = (signers.origin.path().join(".git"), signers.key("away"));
    fs::rename(&here, &away).unwrap();
    target.materialize(&first).unwrap();
    fs::rename(&away, &here).unwrap();
    signers.origin.write("a.py", "2").commit();
    signers.ssh("ada", &["tag", "-s", "-f", "-m", "two", "live"]);
    target.sync().unwrap();
    assert_eq!(target.files(), files(&[("a.py", "2")]));
}
