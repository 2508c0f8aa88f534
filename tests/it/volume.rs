//! A shared folder as the source, or the store that another dagsync keeps there.

mod crash;
mod faults;
mod hangs;
mod in_place;
mod limits;
mod mounts;
mod rounds;
mod same;
mod store;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use serde_json::Value;
use tempfile::TempDir;

use super::harness::{Pod, version_by_hand, version_of};

/// A folder that stands for a mounted volume. The DAGs lie in `dags`; beside it, on the same file system, what is made
/// ready to be moved there.
#[derive(Debug)]
struct Shared {
    home: TempDir,
}

impl Shared {
    fn new() -> Self {
        let home = tempfile::tempdir().unwrap();
        std::fs::create_dir(home.path().join("dags")).unwrap();
        Self { home }
    }

    fn with(files: &[(&str, &str)]) -> Self {
        let shared = Self::new();
        files.iter().for_each(|(path, content)| shared.write(path, content));
        shared
    }

    fn home(&self) -> &Path {
        self.home.path()
    }

    fn path(&self) -> PathBuf {
        self.home().join("dags")
    }

    /// Writes a file as most programs do: what is there already is truncated.
    fn write(&self, path: &str, content: &str) {
        write(&self.path().join(path), content);
    }

    fn remove(&self, path: &str) {
        std::fs::remove_file(self.path().join(path)).unwrap();
    }

    /// The version of what lies there, by coreutils.
    fn version(&self) -> String {
        version_by_hand(&self.path())
    }

    /// A pod that reads it.
    fn pod(&self) -> Pod {
        pod(&self.path())
    }
}

fn write(path: &Path, content: &str) {
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, content).unwrap();
}

/// A pod that reads what lies at `source`, looks often and believes soon that it is complete.
fn pod(source: &Path) -> Pod {
    Pod::new(source.to_str().unwrap()).set("period", "100ms").set("jitter", "0").set("volume.settle", "30ms")
}

/// The same where nothing is copied.
fn in_place(source: &Path) -> Pod {
    pod(source).set("volume.mode", "in-place")
}

/// What the status says of the last error: its kind and its message.
fn last_error(status: &Value) -> (String, String) {
    let text = |name: &str| status["last_error"][name].as_str().unwrap_or_default().to_owned();
    (text("kind"), text("message"))
}

/// Waits until a sync fails with each of `words`, and checks that `version` is served as before.
#[track_caller]
fn fails_and_serves(pod: &mut Pod, kind: &str, words: &[&str], version: &str) -> String {
    let said = |status: &Value| {
        let (found, message) = last_error(status);
        found == kind && words.iter().all(|word| message.contains(word))
    };
    let status = pod.wait(&format!("it fails with {kind}: {words:?}"), said);
    assert_eq!(
        (&status["version"], &status["state"], &status["ready"]),
        (&version.into(), &"stale".into(), &true.into())
    );
    assert_eq!((pod.get("/readyz").unwrap().0, pod.get("/livez").unwrap().0), (200, 200));
    if let Some(folder) = pod.current() {
        assert_eq!(version_of(&folder).unwrap(), version);
    }
    last_error(&status).1
}

/// Every version that a pod which logs JSON ever was on, by its log.
fn told(pod: &Pod) -> BTreeSet<String> {
    let log = pod.log();
    let lines = log.lines().map(|line| serde_json::from_str::<Value>(line).unwrap_or_else(|e| panic!("{e}: {line}")));
    lines.filter_map(|line| line["version"].as_str().map(str::to_owned)).collect()
}
