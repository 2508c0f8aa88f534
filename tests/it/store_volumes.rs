//! Volumes that are not a local disk: no hard links, no permissions, errors that come late, and servers that hang.

use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

use rustix::io::Errno;

use crate::harness::{Bindfs, Outcome, Pod, Repo, refusing, version_of};

const LINKS: [std::ffi::c_long; 2] = [libc::SYS_link, libc::SYS_linkat];

/// A repository with a file that stays, a program that stays, and one that changes.
fn repository() -> Repo {
    let repo = Repo::with(&[("same.py", "same"), ("run.sh", "#!/bin/sh\n"), ("a.py", "1")]);
    repo.git(&["update-index", "--chmod=+x", "run.sh"]);
    repo.git(&["commit", "--quiet", "-m", "executable"]);
    repo.push();
    crate::harness::shell(&repo.work(), "chmod +x run.sh");
    repo
}

fn change(repo: &Repo) {
    repo.write("a.py", "2");
    repo.commit("second");
}

fn stat(folder: &Path, name: &str) -> std::fs::Metadata {
    std::fs::metadata(folder.join(name)).unwrap()
}

#[test]
fn where_links_are_refused_unchanged_files_are_copied_with_their_times() {
    for errno in [Errno::MLINK, Errno::PERM, Errno::NOTSUP, Errno::XDEV] {
        let repo = repository();
        let pod = Pod::new(&repo.file_url());
        pod.once().ended(0, &[]);
        let before = pod.current().unwrap();
        std::thread::sleep(std::time::Duration::from_millis(20));
        change(&repo);
        let outcome = Outcome::of(refusing(&pod.command("once"), &LINKS, errno).args(["--output", "json"]));
        let report: serde_json::Value = serde_json::from_str(&outcome.ended(0, &[]).stdout).unwrap();
        assert_eq!((&report["counts"]["copied"], &report["counts"]["written"]), (&2.into(), &1.into()), "{errno}");
        let after = pod.current().unwrap();
        assert_eq!(version_of(&after).unwrap(), repo.version());
        for name in ["same.py", "run.sh"] {
            let (old, new) = (stat(&before, name), stat(&after, name));
            assert_eq!(old.modified().unwrap(), new.modified().unwrap(), "{name}: {errno}");
            assert_eq!(old.permissions().mode(), new.permissions().mode(), "{name}: {errno}");
            assert!(old.ino() != new.ino() && new.nlink() == 1, "{name}: {errno}");
        }
    }
}

#[test]
fn where_modes_are_not_carried_unchanged_files_are_shared_all_the_same() {
    let fixed = "--create-with-perms=u=rw:go=r:ud=rwx:god=rx";
    for options in [&["--perms=a-x"][..], &["--perms=a+x"], &["--chmod-ignore", fixed]] {
        let volume = Bindfs::with(options);
        let repo = repository();
        let mut pod = Pod::new(&repo.file_url()).at(&volume.path().join("store"));
        pod.start_on(&repo.version());
        let before = pod.current().unwrap();
        change(&repo);
        pod.is_on(&repo.version());
        let after = pod.current().unwrap();
        assert_ne!(before, after);
        for name in ["same.py", "run.sh"] {
            let (old, new) = (stat(&before, name), stat(&after, name));
            assert_eq!(old.modified().unwrap(), new.modified().unwrap(), "{name}: {options:?}");
            assert_eq!(old.ino(), new.ino(), "{name}: {options:?}");
        }
    }
}

#[test]
fn a_quota_that_shows_only_when_a_file_is_flushed_publishes_nothing() {
    let (volume, repo) = (Bindfs::with(&[]), repository());
    let pod = Pod::new(&repo.file_url()).at(&volume.path().join("store")).set("max_failures", "0");
    let refused = Outcome::of(&mut refusing(&pod.command("once"), &[libc::SYS_fsync], Errno::DQUOT));
    refused.ended(2, &["fsync", "staging", "quota", "free space on that volume"]);
    assert!(pod.current().is_none());
    pod.once().ended(0, &[]);
    assert_eq!(version_of(&pod.current().unwrap()).unwrap(), repo.version());
}

#[test]
fn old_versions_stay_on_a_volume_whose_readers_may_be_told_late() {
    let (volume, repo) = (Bindfs::with(&[]), repository());
    let with = |root: &Path| {
        Pod::new(&repo.file_url())
            .at(root)
            .set("keep.versions", "1")
            .set("keep.age", "0s")
            .set("scrub.interval", "100ms")
    };
    let disk = tempfile::tempdir().unwrap();
    let (mut far, mut near) = (with(&volume.path().join("store")), with(&disk.path().join("store")));
    far.start_on(&repo.version());
    near.start_on(&repo.version());
    let old = (far.current().unwrap(), near.current().unwrap());
    change(&repo);
    far.is_on(&repo.version());
    near.is_on(&repo.version());
    near.says("removed an old version");
    assert!(!old.1.exists());
    let checks = far.metric("dagsync_scrubs_total");
    crate::harness::eventually("it had time to", || (far.metric("dagsync_scrubs_total") > checks + 3.0).then_some(()));
    assert!(old.0.exists());
}

#[test]
fn a_volume_that_hangs_is_named_and_the_daemon_lives_on_and_recovers() {
    let (volume, repo) = (Bindfs::with(&[]), repository());
    let root = volume.path().join("store");
    let mut pod = Pod::new(&repo.file_url()).at(&root).set("timeout", "1s").set("scrub.interval", "300ms");
    pod.start_on(&repo.version());
    let before = repo.version();
    volume.hang(true);
    change(&repo);
    let silent = format!("{} has not answered for", root.display());
    let says = |s: &serde_json::Value| s["last_error"]["message"].as_str().is_some_and(|m| m.contains(&silent));
    pod.wait("it names the volume", says);
    let attempts = |s: &serde_json::Value| s["last_error"]["attempts"].as_u64() >= Some(4);
    let status = pod.wait("it tries again", attempts);
    assert_eq!((&status["version"], &status["state"]), (&before.as_str().into(), &"stale".into()));
    assert_eq!((pod.get("/livez").unwrap().0, pod.get("/readyz").unwrap().0), (200, 200));
    let (code, body) = pod.get(&format!("/v1/versions/{}/manifest", &before[7..])).unwrap();
    assert!(code == 503 && body.contains("has not answered"), "{code} {body}");
    assert!(pod.threads() < 12, "threads do not pile up");
    volume.hang(false);
    pod.is_on(&repo.version());
    assert_eq!(version_of(&volume.behind().join("store/current")).unwrap(), repo.version());
}

#[test]
fn a_daemon_ends_when_it_is_told_to_also_while_the_volume_hangs() {
    let (volume, repo) = (Bindfs::with(&[]), repository());
    let mut pod = Pod::new(&repo.file_url()).at(&volume.path().join("store")).set("timeout", "1s");
    pod.start_on(&repo.version());
    volume.hang(true);
    pod.wait("it names the volume", |s| s["last_error"].to_string().contains("has not answered"));
    assert_eq!(pod.stop().code(), Some(0), "{}", pod.log());
}
