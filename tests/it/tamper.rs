//! What somebody does to a published tree by hand is found, named, counted and mended.

use crate::harness::{Pod, Repo, contents, swap_in, version_of};

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
    pod.says(file);
    pod.wait("it says so and mends it", |s| s["state"] == "converged" && pod_moved(&broken, s));
    let mended = pod.current().unwrap();
    assert_ne!(mended, broken, "never by writing into the folder that readers use");
    assert_eq!(contents(&mended).unwrap(), whole);
    assert!(pod.metric("dagsync_tampered_files_total") >= 1.0);
    assert_eq!(version_of(&broken).unwrap_or(tampered.clone()), tampered, "the broken folder is left as it was");
    reader.saw_only(&[&good, &tampered]);
    other.is_on(&good);
    assert!(!other.log().contains("tampered"), "{}", other.log());
}

/// Whether the link left the broken folder.
fn pod_moved(broken: &std::path::Path, _status: &serde_json::Value) -> bool {
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
    pod.wait("it is mended", |s| s["state"] == "converged" && pod_moved(&broken, s));
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
    crate::harness::eventually("the reader finds it whole", || {
        (version_of(&pod.current()?).ok()? == good).then_some(())
    });
}
