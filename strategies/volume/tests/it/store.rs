//! The store of another dagsync as the source.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use dagsync_core::{Digest, ErrorKind, SealState, Strategy, Tree, Version};
use dagsync_testkit::{Files, Harness, oracle};
use tempfile::TempDir;

use crate::scene::{plain, strategy};

/// A store as dagsync lays it out, written with other means.
pub(crate) struct Store {
    home: TempDir,
}

impl Store {
    /// With an empty version.
    pub(crate) fn new() -> Self {
        let store = Self { home: tempfile::tempdir().unwrap() };
        store.publish(&Files::new());
        store
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.home.path().join("store")
    }

    /// Lays out a version and turns the link to it; where it lies below the store.
    pub(crate) fn publish(&self, files: &Files) -> String {
        let root = self.path();
        for folder in [".dagsync/manifests", ".dagsync/worktrees", "versions"] {
            std::fs::create_dir_all(root.join(folder)).unwrap();
        }
        let manifest = oracle::expected(files).unwrap();
        let hex = Version::from(Digest::of(&manifest)).hex();
        std::fs::write(root.join(".dagsync/manifests").join(&hex), manifest).unwrap();
        let below = (1..)
            .map(|n| if n == 1 { format!("versions/{hex}") } else { format!("versions/{hex}.{n}") })
            .find(|below| !root.join(below).exists())
            .unwrap();
        std::fs::create_dir(root.join(&below)).unwrap();
        oracle::lay_out(files, &root.join(&below)).unwrap();
        self.turn(&below);
        below
    }

    pub(crate) fn turn(&self, target: &str) {
        let beside = self.path().join("beside");
        std::os::unix::fs::symlink(target, &beside).unwrap();
        std::fs::rename(beside, self.path().join("current")).unwrap();
    }

    pub(crate) fn strategy(&self, changes: &[(&str, &str)]) -> Arc<dyn Strategy> {
        strategy(&self.path(), changes).unwrap()
    }
}

fn files(pairs: &[(&str, &str)]) -> Files {
    pairs.iter().map(|(path, content)| ((*path).to_owned(), plain(content))).collect()
}

fn edit(path: &Path, content: &str) {
    std::fs::write(path, content).unwrap();
}

#[tokio::test]
async fn a_file_that_is_not_what_the_manifest_says_is_named_and_nothing_is_brought() {
    let (store, harness) = (Store::new(), Harness::new());
    let version = store.path().join(store.publish(&files(&[("a.py", "1"), ("sub/b.py", "2")])));
    let strategy = store.strategy(&[]);
    let revision = harness.resolve(&*strategy).await.unwrap();
    let refused = async |named: &str| {
        let error = harness.materialize(&*strategy, &revision).await.unwrap_err();
        assert!(error.kind() == ErrorKind::Mismatch && error.is_retryable(), "{error}");
        assert!(error.to_string().contains(named), "{error}");
    };
    edit(&version.join("sub/b.py"), "3");
    refused("sub/b.py is not what its manifest says").await;
    edit(&version.join("sub/b.py"), "2");
    edit(&version.join("c.py"), "");
    refused("c.py is there, but its manifest does not name it").await;
    std::fs::rename(version.join("c.py"), version.join("c.pyc")).unwrap();
    std::fs::rename(version.join("a.py"), version.join("gone.pyc")).unwrap();
    refused("a.py is missing").await;
    std::fs::rename(version.join("gone.pyc"), version.join("a.py")).unwrap();
    let synced = harness.materialize(&*strategy, &revision).await.unwrap();
    assert_eq!(synced.manifest.len(), 2);
}

/// The engine compares what is served in its place, so that its status and metrics name every file.
#[tokio::test]
async fn what_is_served_in_place_comes_with_its_manifest() {
    let (store, harness) = (Store::new(), Harness::new());
    let below = store.publish(&files(&[("a.py", "1"), ("b.py", "2")]));
    let strategy = store.strategy(&[("mode", "in-place")]);
    edit(&store.path().join(below).join("b.py"), "3");
    let Tree::InPlace(found) = harness.sync(&*strategy).await.unwrap().tree else { panic!("it is in its place") };
    let SealState::Of(manifest, _) = &found.expectation.seal else { panic!("its manifest is known") };
    let changes = manifest.diff(&found.tree.manifest);
    assert_eq!(changes.iter().map(|c| c.path.as_str()).collect::<Vec<_>>(), ["b.py"]);
}

/// Another version links what did not change, which moves its ctime.
#[tokio::test]
async fn of_the_next_version_only_what_changed_is_read() {
    let (store, harness) = (Store::new(), Harness::new());
    let old = store.publish(&files(&[("a.py", "1"), ("b.py", "2")]));
    let strategy = store.strategy(&[("mode", "in-place")]);
    let read = |synced: &dagsync_testkit::Synced| match &synced.tree {
        Tree::InPlace(found) => found.tree.files_read,
        _ => panic!("it is in its place"),
    };
    assert_eq!(read(&harness.sync(&*strategy).await.unwrap()), 2);
    let new = store.publish(&files(&[("a.py", "1"), ("b.py", "3")]));
    std::fs::remove_file(store.path().join(&new).join("a.py")).unwrap();
    std::fs::hard_link(store.path().join(old).join("a.py"), store.path().join(new).join("a.py")).unwrap();
    assert_eq!(read(&harness.sync(&*strategy).await.unwrap()), 1);
}

#[tokio::test]
async fn globs_that_leave_out_what_a_link_leads_to_are_no_tampering() {
    let (store, mut harness) = (Store::new(), Harness::new());
    let mut tree = files(&[("lib/real.py", "1"), ("b.py", "2")]);
    tree.insert("a.py".to_owned(), dagsync_testkit::Item::Link("lib/real.py".to_owned()));
    store.publish(&tree);
    harness.filter = std::sync::Arc::new(dagsync_core::Filter::new(&[], &["lib".into()]).unwrap());
    let synced = harness.sync(&*store.strategy(&[])).await.unwrap();
    assert_eq!(synced.manifest.entries().iter().map(|e| e.path.as_str()).collect::<Vec<_>>(), ["b.py"]);
}

#[tokio::test]
async fn a_manifest_that_was_edited_is_believed_by_nobody() {
    let (store, harness) = (Store::new(), Harness::new());
    let below = store.publish(&files(&[("a.py", "1")]));
    let manifest = store.path().join(".dagsync/manifests").join(below.strip_prefix("versions/").unwrap());
    let strategy = store.strategy(&[]);
    edit(&manifest, &format!("{}  a.py\n", Digest::of("2")));
    let error = harness.sync(&*strategy).await.unwrap_err();
    assert!(error.to_string().contains("is not the manifest of its version"), "{error}");
    std::fs::remove_file(manifest).unwrap();
    let error = harness.sync(&*strategy).await.unwrap_err();
    assert!(error.kind() == ErrorKind::Changed && error.to_string().contains("is gone"), "{error}");
}

#[tokio::test]
async fn a_version_that_is_pruned_while_it_is_asked_for_is_called_changed() {
    let (store, harness) = (Store::new(), Harness::new());
    let old = store.publish(&files(&[("a.py", "1")]));
    let strategy = store.strategy(&[]);
    let revision = harness.resolve(&*strategy).await.unwrap();
    store.publish(&files(&[("a.py", "2")]));
    std::fs::remove_dir_all(store.path().join(old)).unwrap();
    let error = harness.materialize(&*strategy, &revision).await.unwrap_err();
    assert!(error.kind() == ErrorKind::Changed && error.is_retryable(), "{error}");
    assert_eq!(harness.sync(&*strategy).await.unwrap().manifest.len(), 1);
}

#[tokio::test]
async fn a_version_that_is_served_in_place_is_locked_against_removal_until_the_next() {
    use rustix::fs::{FlockOperation::NonBlockingLockExclusive, flock};
    let (store, harness) = (Store::new(), Harness::new());
    let strategy = store.strategy(&[("mode", "in-place")]);
    let is_held = |below: &str| {
        let path = store.path().join(".dagsync/manifests").join(below.strip_prefix("versions/").unwrap());
        flock(std::fs::File::open(path).unwrap(), NonBlockingLockExclusive).is_err()
    };
    let old = store.publish(&files(&[("a.py", "1")]));
    harness.sync(&*strategy).await.unwrap();
    assert!(is_held(&old));
    let new = store.publish(&files(&[("a.py", "2")]));
    harness.sync(&*strategy).await.unwrap();
    assert!(is_held(&new) && !is_held(&old));
}

#[tokio::test]
async fn git_syncs_layout_is_followed_by_its_records() {
    let (store, harness) = (Store::new(), Harness::new());
    let below = store.publish(&files(&[("a.py", "1")]));
    let hex = below.strip_prefix("versions/").unwrap();
    let (commit, root) = ("c".repeat(40), store.path());
    std::fs::create_dir_all(root.join(".worktrees/copy-2")).unwrap();
    for (folder, record) in [
        (format!(".worktrees/{commit}"), format!("{commit}@{hex}")),
        (format!(".worktrees/copy-2/{commit}"), format!("{commit}.2@{hex}")),
    ] {
        std::fs::rename(root.join(&below), root.join(&folder)).unwrap();
        store.turn(&folder);
        let strategy = store.strategy(&[]);
        let error = harness.sync(&*strategy).await.unwrap_err();
        assert!(error.to_string().contains("is no version that the store knows"), "{error}");
        edit(&root.join(".dagsync/worktrees").join(record), "");
        assert_eq!(harness.sync(&*strategy).await.unwrap().manifest.version().hex(), hex);
        std::fs::rename(root.join(&folder), root.join(&below)).unwrap();
    }
}

#[tokio::test]
async fn a_link_that_is_missing_or_of_somebody_else_says_what_to_do() {
    let (store, harness) = (Store::new(), Harness::new());
    let strategy = store.strategy(&[]);
    for target in ["/etc", "../elsewhere", "dags"] {
        store.turn(target);
        let error = harness.resolve(&*strategy).await.unwrap_err();
        assert!(error.kind() == ErrorKind::Refused && error.to_string().contains("which is no version"), "{error}");
    }
    std::fs::remove_file(store.path().join("current")).unwrap();
    let error = harness.resolve(&*strategy).await.unwrap_err();
    assert!(error.is_retryable() && error.to_string().contains("has published nothing yet"), "{error}");
}

#[tokio::test]
async fn a_store_that_is_made_while_the_folder_is_looked_at_is_none_of_its_dags() {
    let (store, harness) = (Store::new(), Harness::new());
    let (ready, aside) = (store.path(), store.path().with_file_name("aside"));
    store.publish(&files(&[("a.py", "1")]));
    std::fs::rename(&ready, &aside).unwrap();
    std::fs::create_dir(&ready).unwrap();
    std::fs::write(ready.join("README.txt"), "soon").unwrap();
    let (from, to) = (aside.clone(), ready.clone());
    let maker = std::thread::spawn(move || {
        std::thread::sleep(std::time::Duration::from_millis(100));
        for name in [".dagsync", "versions", "current"] {
            std::fs::rename(from.join(name), to.join(name)).unwrap();
        }
    });
    let strategy = store.strategy(&[("settle", "300ms")]);
    let synced = harness.sync(&*strategy).await.unwrap();
    maker.join().unwrap();
    assert_eq!(synced.manifest.entries().iter().map(|e| e.path.as_str()).collect::<Vec<_>>(), ["a.py"]);
}

#[tokio::test]
async fn a_store_that_was_there_is_never_taken_for_a_folder_of_dags() {
    let (store, harness) = (Store::new(), Harness::new());
    store.publish(&files(&[("a.py", "1")]));
    let strategy = store.strategy(&[]);
    harness.sync(&*strategy).await.unwrap();
    std::fs::rename(store.path().join(".dagsync"), store.path().join("gone")).unwrap();
    let error = harness.sync(&*strategy).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Changed, "{error}");
}
