//! A full disk and a read-only one.

use crate::harness::{Pod, Repo, Tmpfs, generate, version_of};

/// A repository whose tree of about 1 MiB does not compress, so that no disk of the tests holds it by luck.
fn large(repo: &Repo) {
    crate::harness::shell(&repo.work(), "for n in $(seq 16); do head -c 65536 /dev/urandom > noise_$n.bin; done");
}

#[test]
fn a_disk_that_fills_up_keeps_the_version_and_goes_on_when_there_is_room() {
    let repo = Repo::new();
    generate(&repo.work(), 20, 1);
    repo.commit("small");
    let small = repo.version();
    let disk = Tmpfs::of_kib(1024);
    let mut pod = Pod::new(&repo.file_url()).at(&disk.path().join("store"));
    pod.start_on(&small);
    let reader = pod.reader();

    large(&repo);
    repo.commit("too large");
    let full = pod.wait("it says that the disk is full", |s| s["last_error"].to_string().contains("space"));
    assert_eq!(full["version"], small.as_str());
    assert_eq!(pod.get("/readyz").unwrap().0, 200, "what is published is still good");
    assert_eq!(version_of(&pod.current().unwrap()).unwrap(), small);
    pod.kill();
    pod.change("max_failures", "0");
    pod.once().ended(2, &["space"]);
    pod.change("max_failures", "-1");
    assert_eq!(version_of(&pod.current().unwrap()).unwrap(), small);

    disk.grow_to_kib(65536);
    pod.start_on(&repo.version());
    pod.kill();
    reader.saw_only(&[&small, &repo.version()]);
}

#[test]
fn a_first_sync_onto_a_full_disk_publishes_nothing() {
    let repo = Repo::new();
    large(&repo);
    repo.commit("too large");
    for kib in [0, 64, 512, 1024, 1600] {
        let disk = Tmpfs::of_kib(kib.max(4));
        let pod = Pod::new(&repo.file_url()).at(&disk.path().join("store")).set("max_failures", "0");
        pod.once().ended(2, &["space"]);
        assert!(pod.current().is_none());
        disk.grow_to_kib(65536);
        pod.once().ended(0, &[]);
        assert_eq!(version_of(&pod.current().unwrap()).unwrap(), repo.version());
    }
}

#[test]
fn a_read_only_root_is_a_clear_error() {
    let repo = Repo::with(&[("a.py", "a")]);
    let disk = Tmpfs::of_kib(1024);
    disk.read_only();
    let store = disk.path().join("store");
    let pod = Pod::new(&repo.file_url()).at(&store).set("max_failures", "0");
    pod.once().ended(2, &[store.to_str().unwrap(), "Read-only file system", "mount that volume writable"]);
}
