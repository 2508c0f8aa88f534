//! Whatever earlier lives, other tools and damaged disks left in the store, the next start needs no help.

use std::path::Path;

use crate::harness::{Pod, Repo, shell, version_of};

/// What is found in the store, as a script that leaves it there; `$V` is the published version's hex.
const LEFTOVERS: &[(&str, &str)] = &[
    (
        "stale staging",
        "mkdir -p .dagsync/staging/old/sub && echo x > .dagsync/staging/old/sub/f && chmod 555 .dagsync/staging/old/sub",
    ),
    ("a file as staging", "rm -rf .dagsync/staging && echo x > .dagsync/staging"),
    (
        "half-made links",
        "ln -sfn nowhere current.dagsync-new; ln -sfn nowhere tmp-link; ln -sfn versions/x current.tmp",
    ),
    ("a half-written manifest", "head -c 40 .dagsync/manifests/$V > m && mv -f m .dagsync/manifests/$V"),
    ("no manifest", "rm -f .dagsync/manifests/$V"),
    ("a foreign manifest", "echo junk > .dagsync/manifests/README; echo x > .dagsync/manifests/$V.tmp"),
    ("garbage in state.json", "echo '{\"version\": 7' > .dagsync/state.json"),
    ("an empty state.json", ": > .dagsync/state.json"),
    (
        "a state.json of another version",
        "sed -i 's/[0-9a-f]\\{64\\}/'$(printf 0%.0s $(seq 64))'/g' .dagsync/state.json",
    ),
    ("half a state.json", "echo '{' > .dagsync/state.json.tmp"),
    (
        "garbage in every index",
        "find .dagsync -type f -name '*index*' -exec sh -c 'head -c 999 /dev/urandom > \"$1\"' _ {} \\;",
    ),
    ("a dangling link", "ln -sfn versions/0000 current"),
    ("no link", "rm -f current"),
    ("a version without files", "mkdir -p versions/$(printf a%.0s $(seq 64))"),
    ("foreign files", "echo x > versions/README; echo x > NOTES; mkdir -p lost+found .dagsync/other"),
    ("stale lock files", "echo 12345 > .dagsync/lock; echo 1 > .dagsync/lock.old"),
    ("a broken git cache", "find .dagsync/cache -type f -exec sh -c 'echo junk > \"$1\"' _ {} \\;"),
    (
        "git's own lock files",
        "find .dagsync/cache -name HEAD -execdir touch index.lock HEAD.lock config.lock shallow.lock \\;",
    ),
    ("a git cache cut off", "find .dagsync/cache -type f -size +20c -exec truncate -s -20 {} +"),
    ("no cache", "rm -rf .dagsync/cache"),
    ("nothing but the version", "chmod -R u+w .dagsync; rm -rf .dagsync"),
];

#[test]
fn leftovers_of_every_kind() {
    let repo = Repo::with(&[("a.py", "a"), ("team/b.py", "b")]);
    let pod = Pod::new(&repo.file_url());
    pod.once().ended(0, &[]);
    for (n, (what, script)) in LEFTOVERS.iter().enumerate() {
        leave(pod.root(), &repo.version(), script);
        let outcome = pod.once();
        assert_eq!(outcome.code, Some(0), "{what}: {outcome:#?}");
        assert_eq!(version_of(&pod.current().unwrap()).unwrap(), repo.version(), "{what}");

        // Once more with news, for what only an update would trip over.
        leave(pod.root(), &repo.version(), script);
        repo.write("team/b.py", &format!("b = {n}"));
        repo.commit(what);
        let outcome = pod.once();
        assert_eq!(outcome.code, Some(0), "{what}, with news: {outcome:#?}");
        assert_eq!(version_of(&pod.current().unwrap()).unwrap(), repo.version(), "{what}, with news");
    }
}

fn leave(root: &Path, version: &str, script: &str) {
    let version = version.trim_start_matches("sha256:");
    shell(root, &format!("V={version}\n{script}"));
}

#[test]
fn what_is_not_ours_is_never_replaced() {
    let repo = Repo::with(&[("a.py", "a")]);
    for layout in ["versions", "worktrees"] {
        let pod = Pod::new(&repo.file_url()).set("layout", layout);
        std::fs::create_dir_all(pod.link()).unwrap();
        std::fs::write(pod.link().join("mine.py"), "mine").unwrap();
        pod.once().ended(2, &["current", "not a symbolic link"]);
        assert_eq!(std::fs::read_to_string(pod.link().join("mine.py")).unwrap(), "mine");
    }
}

#[test]
fn old_versions_go_and_young_ones_stay() {
    let repo = Repo::with(&[("a.py", "0")]);
    let pod = Pod::new(&repo.file_url()).set("keep.versions", "2").set("keep.age", "0s");
    for n in 1..6 {
        pod.once().ended(0, &[]);
        repo.write("a.py", &n.to_string());
        repo.commit("next");
    }
    let versions = || std::fs::read_dir(pod.root().join("versions")).unwrap().count();
    pod.once().ended(0, &[]);
    assert_eq!(versions(), 2);
    let young = pod.set("keep.age", "1h");
    repo.write("a.py", "young");
    repo.commit("next");
    young.once().ended(0, &[]);
    repo.write("a.py", "younger");
    repo.commit("next");
    young.once().ended(0, &[]);
    assert!(std::fs::read_dir(young.root().join("versions")).unwrap().count() > 2);
}
