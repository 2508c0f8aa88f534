//! Signatures by OpenPGP keys.

use std::fs;
use std::process::Command;

use super::{Signers, is_refused, run};
use crate::harness::git;

/// gpg with a home of its own.
fn gpg(signers: &Signers, args: &[&str]) -> String {
    let home = signers.key("gpg");
    if !home.exists() {
        fs::create_dir(&home).unwrap();
        fs::set_permissions(&home, std::os::unix::fs::PermissionsExt::from_mode(0o700)).unwrap();
    }
    let fixed = ["--batch", "--quiet", "--no-tty", "--passphrase", "", "--pinentry-mode", "loopback"];
    run(Command::new("gpg").env("GNUPGHOME", home).args(fixed).args(args))
}

impl Signers {
    /// Commits `content`, signed by gpg as `signer`; `options` are gpg's.
    fn commit_gpg(&self, signer: &str, content: &str, options: &str) -> String {
        let program = self.key("sign");
        let home = self.key("gpg");
        let script = format!("#!/bin/sh\nGNUPGHOME='{}' exec gpg --batch {options} \"$@\"\n", home.display());
        fs::write(&program, script).unwrap();
        fs::set_permissions(&program, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
        self.origin.write("a.py", content).git(&["add", "-A"]);
        let (program, signer) = (format!("gpg.program={}", program.display()), format!("user.signingkey={signer}"));
        git(self.origin.path(), &["-c", &program, "-c", &signer, "commit", "-q", "--allow-empty", "-S", "-m", content]);
        self.origin.git(&["rev-parse", "HEAD"])
    }

    fn export(&self, options: &[&str]) {
        let out = self.file();
        let _ = fs::remove_file(&out);
        gpg(self, &[options, &["--output", out.to_str().unwrap(), "--export"]].concat());
    }

    fn create(&self, name: &str, kind: &str, usage: &str, lasts: &str) {
        gpg(self, &["--quick-gen-key", name, kind, usage, lasts]);
    }
}

#[test]
fn commits_of_every_kind_of_openpgp_key_are_accepted() {
    let signers = Signers::new();
    for (name, kind) in [("ed@x.org", "ed25519"), ("rsa@x.org", "rsa2048"), ("ec@x.org", "nistp256")] {
        signers.create(name, kind, "sign", "never");
        signers.commit_gpg(name, name, "");
        for options in [["--armor"].as_slice(), &[]] {
            signers.export(options);
            signers.accepted("gpg");
        }
    }
    let one = |name| gpg(&signers, &["--armor", "--export", name]);
    fs::write(signers.file(), format!("# two\n{}{}", one("rsa@x.org"), one("ec@x.org"))).unwrap();
    signers.accepted("gpg");
    fs::write(signers.file(), one("ed@x.org")).unwrap();
    let text = is_refused(signers.sync("gpg"), &["its signer is not in git.keyring_file"]);
    let listed = gpg(&signers, &["--with-colons", "--list-keys", "ec@x.org"]);
    let fingerprint = listed.lines().find_map(|line| line.strip_prefix("fpr:::::::::")).unwrap();
    assert!(text.contains(fingerprint.trim_end_matches(':')), "{text}");
}

#[test]
fn a_subkey_signs_if_it_may_and_belongs_to_the_key() {
    let signers = Signers::new();
    signers.create("ada@x.org", "ed25519", "cert", "never");
    let listed = gpg(&signers, &["--with-colons", "--list-keys"]);
    let primary = listed.lines().find_map(|line| line.strip_prefix("fpr:::::::::")).unwrap().trim_end_matches(':');
    gpg(&signers, &["--quick-add-key", primary, "ed25519", "sign", "never"]);
    signers.commit_gpg("ada@x.org", "1", "");
    signers.export(&["--armor"]);
    signers.accepted("gpg");
    signers.export(&["--export-options", "export-minimal"]);
    signers.accepted("gpg");
    let home = signers.key("gpg");
    let script = "printf 'key 1\\nrevkey\\ny\\n0\\n\\ny\\nsave\\n' | gpg --command-fd 0 --no-tty --quiet --pinentry-mode loopback --passphrase '' --edit-key ada@x.org";
    let old = fs::read(signers.file()).unwrap();
    run(Command::new("sh").env("GNUPGHOME", &home).args(["-c", script]));
    signers.export(&[]);
    signers.refused("gpg", &["is revoked", "ada@x.org"]);
    let new = fs::read(signers.file()).unwrap();
    fs::write(signers.file(), [old, new].concat()).unwrap();
    signers.refused("gpg", &["is revoked"]);
}

#[test]
fn an_expired_or_revoked_key_is_refused() {
    let signers = Signers::new();
    let then = "--faked-system-time=20240101T000000";
    gpg(&signers, &[then, "--quick-gen-key", "old@x.org", "ed25519", "sign", "30d"]);
    signers.commit_gpg("old@x.org", "1", "--faked-system-time=20240110T000000");
    signers.export(&[]);
    signers.refused("gpg", &["has expired", "old@x.org"]);

    signers.create("ada@x.org", "ed25519", "sign", "never");
    signers.commit_gpg("ada@x.org", "2", "");
    signers.export(&[]);
    signers.accepted("gpg");
    let certificate = fs::read_dir(signers.key("gpg").join("openpgp-revocs.d")).unwrap().map(|e| e.unwrap().path());
    for file in certificate {
        let text = fs::read_to_string(&file).unwrap().replace(":-----BEGIN", "-----BEGIN");
        fs::write(&file, text).unwrap();
        gpg(&signers, &["--import", file.to_str().unwrap()]);
    }
    signers.export(&[]);
    signers.refused("gpg", &["is revoked", "ada@x.org"]);
}

#[test]
fn openpgp_signatures_that_prove_nothing_are_refused() {
    let signers = Signers::new();
    signers.create("ada@x.org", "rsa2048", "sign", "never");
    signers.commit_gpg("ada@x.org", "1", "--digest-algo SHA1 --allow-weak-digest-algos");
    signers.export(&[]);
    is_refused(signers.sync("gpg"), &["SHA-1", "ada@x.org"]);
    let good = signers.commit_gpg("ada@x.org", "2", "");
    signers.accepted("gpg");
    signers.forge(&good, |object| object.replacen("\n\n2", "\n\n3", 1));
    signers.refused("gpg", &["does not match its content", "ada@x.org"]);
    signers.ssh_key("ssh", &["ed25519"]);
    signers.commit("ssh", "4");
    signers.refused("gpg", &["not signed by OpenPGP"]);
    gpg(&signers, &["--faked-system-time=20230101T000000", "--quick-gen-key", "bea@x.org", "ed25519", "sign", "never"]);
    signers.commit_gpg("bea@x.org", "5", "--faked-system-time=20230601T000000 --default-sig-expire 10d");
    signers.export(&[]);
    signers.refused("gpg", &["its signature has expired", "bea@x.org"]);
}

#[test]
fn an_openpgp_signature_is_no_ssh_signature() {
    let signers = Signers::new();
    signers.create("ada@x.org", "ed25519", "sign", "never");
    signers.commit_gpg("ada@x.org", "1", "");
    signers.allow(&format!("ada@x.org {}", signers.ssh_key("ada", &["ed25519"])));
    is_refused(signers.sync("ssh"), &["not signed by an ssh key"]);
}
