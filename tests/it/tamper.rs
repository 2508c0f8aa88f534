//! What somebody does to a published tree by hand is found, named, counted and mended.

use std::path::Path;

use crate::harness::{Pod, Repo, contents, eventually, swap_in, version_of};

/// Two pods of one repository; a hand reaches into the first. The second must never notice.
fn by_hand(file: &str, content: Option<&str>) {
    let repo = Repo::with(&[("a.py", "a"), ("team/b.py", "b"), ("team/c.py", "c")]);
    let good = repo.version();
    let pod = || Pod::new(&repo.file_url()).set("scrub.interval", "300ms");
    let (mut pod, mut other) = (pod(), pod());
    pod.start_on(&good);
    other.start_on(&good);
    let broken = pod.current().unwrap();
    let whole = contents(&broken).unwrap();
    let reader = pod.reader();

    swap_in(&broken.join(file), content);
    let tampered = version_of(&broken).unwrap();
    assert_ne!(tampered, good);
    names(&pod, file);
    pod.wait("it mends it", |s| s["state"] == "converged" && moved_from(&broken));
    let mended = pod.current().unwrap();
    assert_ne!(mended, broken, "never by writing into the folder that readers use");
    assert_eq!(contents(&mended).unwrap(), whole);
    assert!(pod.metric("dagsync_tampered_files_total") >= 1.0);
    assert_eq!(version_of(&broken).unwrap_or(tampered.clone()), tampered, "the broken folder is left as it was");
    reader.saw_only(&[&good, &tampered]);
    other.is_on(&good);
    assert!(!other.log().contains("tampered"), "{}", other.log());
}

/// The log names the file as tampered.
fn names(pod: &Pod, file: &str) {
    let line = |log: String| log.lines().any(|l| l.contains("tampered") && l.contains(file)).then_some(());
    eventually("the log names the file", || line(pod.log()));
}

/// Whether the link left the broken folder.
fn moved_from(broken: &Path) -> bool {
    let link = broken.ancestors().nth(2).unwrap().join("current");
    std::fs::canonicalize(link).is_ok_and(|folder| folder != broken)
}

#[test]
fn an_edited_file() {
    by_hand("team/b.py", Some("import os"));
}

#[test]
fn a_deleted_file() {
    by_hand("a.py", None);
}

#[test]
fn an_added_file() {
    by_hand("team/added.py", Some("print()"));
}

#[test]
fn an_edit_that_keeps_size_and_mtime() {
    let repo = Repo::with(&[("a.py", "a = 1\n"), ("b.py", "b")]);
    let good = repo.version();
    let mut pod = Pod::new(&repo.file_url()).set("scrub.interval", "300ms");
    pod.start_on(&good);
    let broken = pod.current().unwrap();
    let file = broken.join("a.py");
    let script = "touch -r $1 stamp; chmod u+w $1; printf 'a = 2\\n' > $1; touch -r stamp $1";
    crate::harness::shell(pod.root(), &script.replace("$1", file.to_str().unwrap()));
    pod.wait("it is mended", |s| s["state"] == "converged" && moved_from(&broken));
    assert_eq!(version_of(&pod.current().unwrap()).unwrap(), good);
}

#[test]
fn found_at_the_next_start_too() {
    let repo = Repo::with(&[("a.py", "a"), ("b.py", "b")]);
    let good = repo.version();
    let mut pod = Pod::new(&repo.file_url());
    pod.start_on(&good);
    pod.kill();
    swap_in(&pod.current().unwrap().join("a.py"), Some("while nobody looked"));
    pod.start();
    pod.wait("it is mended", |s| s["state"] == "converged" && s["version"] == good.as_str());
    eventually("the reader finds it whole", || (version_of(&pod.current()?).ok()? == good).then_some(()));
}

#[test]
fn without_the_source_it_says_so_until_it_can_be_mended() {
    let repo = Repo::with(&[("a.py", "a"), ("team/b.py", "b")]);
    let good = repo.version();
    let mut pod = Pod::new(&repo.file_url()).set("scrub.interval", "300ms");
    pod.start_on(&good);
    repo.hide(true);
    swap_in(&pod.current().unwrap().join("team/b.py"), Some("edited"));
    swap_in(&pod.current().unwrap().join("a.py"), None);
    let status = pod.wait("it says which files", |s| s["tampered"].as_array().is_some_and(|t| t.len() == 2));
    assert_eq!(status["state"], "tampered");
    assert_eq!(status["tampered"][0], serde_json::json!({"path": "a.py", "change": "removed"}));
    assert_eq!(status["tampered"][1], serde_json::json!({"path": "team/b.py", "change": "modified"}));
    repo.hide(false);
    pod.is_on(&good);
}

#[test]
fn an_edit_in_place_reaches_older_versions_by_their_links_but_no_reader_when_they_come_back() {
    let repo = Repo::with(&[("a.py", "1"), ("same.py", "same in both versions")]);
    let old = repo.version();
    let mut pod = Pod::new(&repo.file_url()).set("scrub.interval", "300ms");
    pod.start_on(&old);
    let old_folder = pod.current().unwrap();
    repo.write("a.py", "2");
    repo.commit("second");
    pod.is_on(&repo.version());
    let broken = pod.current().unwrap();
    crate::harness::shell(&broken, "chmod u+w same.py; echo edited > same.py");
    assert_ne!(version_of(&old_folder).unwrap(), old, "it is one file under two names");
    pod.wait("it is mended", |s| s["state"] == "converged" && moved_from(&broken));

    repo.write("a.py", "1");
    repo.commit("back");
    pod.wait("it is back", |s| s["version"] == old.as_str());
    assert_eq!(version_of(&pod.current().unwrap()).unwrap(), old);
}
