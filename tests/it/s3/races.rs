//! Writers while others read and write: whatever is ever published is a state that there was, and nobody is lost.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use dagsync_testkit::s3::{Action, Op, Rule, S3Double};
use rustix::process::Signal;
use serde_json::json;

use super::{Place, double, version_of_files};
use crate::harness::{Bucket, Outcome, Pod, S3Server, eventually, version_of};

const ROUNDS: usize = 300;
/// Every so many rounds the writer waits until it is followed.
const PAUSE: usize = 10;

/// Somebody who writes to `dags/` file by file and remembers each state of it.
struct Writer<'a> {
    /// Writes an object, or deletes it.
    write: &'a dyn Fn(&str, Option<&str>),
    random: fastrand::Rng,
    files: BTreeMap<String, String>,
    states: BTreeSet<String>,
}

impl<'a> Writer<'a> {
    fn new(write: &'a dyn Fn(&str, Option<&str>)) -> Self {
        Self { write, random: fastrand::Rng::with_seed(1), files: BTreeMap::new(), states: BTreeSet::new() }
    }

    /// Eight files with new content, one more, and one less.
    fn round(&mut self, round: usize) {
        for n in 0..8 {
            self.put(format!("dag_{n}.py"), format!("# round {round:03}\n"));
        }
        self.put(format!("only_{round:03}.py"), format!("# only in round {round:03}\n"));
        self.delete(&format!("only_{:03}.py", round.wrapping_sub(1)));
    }

    fn put(&mut self, path: String, content: String) {
        (self.write)(&path, Some(&content));
        self.files.insert(path, content);
        self.remember();
    }

    fn delete(&mut self, path: &str) {
        if self.files.remove(path).is_some() {
            (self.write)(path, None);
            self.remember();
        }
    }

    fn remember(&mut self) {
        self.states.insert(self.version());
        // Long enough, now and then, for a sync to get through.
        if self.random.u8(..8) == 0 {
            std::thread::sleep(Duration::from_millis(self.random.u64(..60)));
        }
    }

    fn version(&self) -> String {
        version_of_files(&self.files)
    }

    /// All rounds, with a pod that follows; what the pod published.
    fn tell(&mut self, mut pod: Pod) -> BTreeSet<String> {
        self.round(0);
        pod.start_on(&self.version());
        let reader = pod.reader();
        for round in 1..=ROUNDS {
            self.round(round);
            if round % PAUSE == 0 {
                let version = self.version();
                pod.wait(&format!("it follows to round {round}"), |s| s["version"] == version.as_str());
            }
        }
        pod.is_on(&self.version());
        reader.saw_only(&self.states.iter().map(String::as_str).collect::<Vec<_>>());
        assert!(pod.log().contains("while it was read"), "no sync was ever disturbed");
        published_by(&pod)
    }
}

/// Every version that a pod which removes none ever published.
fn published_by(pod: &Pod) -> BTreeSet<String> {
    let folders = std::fs::read_dir(pod.root().join("versions")).unwrap();
    let version = |folder: &Path| {
        let version = version_of(folder).unwrap();
        // One that comes back has a number behind it.
        let name = folder.file_name().unwrap().to_str().unwrap();
        assert!(name.starts_with(version.trim_start_matches("sha256:")), "{folder:?} is {version}");
        version
    };
    folders.map(|folder| version(&folder.unwrap().path())).collect()
}

fn pod_of(place: &Place, layout: &str) -> Pod {
    place.pod().set("s3.layout", layout).set("keep.versions", "100000").set("backoff.max", "50ms")
}

/// Each wait of the writer is one version; there were others too.
fn are_true(published: &BTreeSet<String>, states: &BTreeSet<String>) {
    let strange: Vec<_> = published.difference(states).collect();
    assert!(strange.is_empty(), "{strange:?} were published and never there");
    assert!(published.len() > ROUNDS / PAUSE + 1, "only {} were published", published.len());
}

#[test]
fn of_300_uploads_file_by_file_to_radosgw_only_true_states_are_published() {
    let bucket = S3Server::rgw().bucket();
    let write = |path: &str, content: Option<&str>| match content {
        Some(content) => drop(bucket.put(&format!("dags/{path}"), content)),
        None => bucket.delete(&format!("dags/{path}")),
    };
    let mut writer = Writer::new(&write);
    let published = writer.tell(pod_of(&Place::of(&bucket, "dags"), "prefix"));
    are_true(&published, &writer.states);
}

/// A listing of several pages is no snapshot.
#[test]
fn of_300_uploads_file_by_file_listed_in_pages_of_three_only_true_states_are_published() {
    let (double, place) = double();
    double.page_size(3);
    let write = |path: &str, content: Option<&str>| {
        std::thread::sleep(Duration::from_millis(1));
        match content {
            Some(content) => drop(double.put("b", &format!("dags/{path}"), content)),
            None => double.delete("b", &format!("dags/{path}")),
        }
    };
    let mut writer = Writer::new(&write);
    let published = writer.tell(pod_of(&place, "prefix"));
    are_true(&published, &writer.states);
}

#[test]
fn of_300_published_versions_each_is_seen_whole_or_not_at_all() {
    let bucket = S3Server::rgw().bucket();
    let place = Place::of(&bucket, "dags");
    let folder = tempfile::tempdir().unwrap();
    let (mut pod, mut versions) = (pod_of(&place, "auto"), BTreeSet::new());
    let mut publish = |round: usize| {
        (0..8).for_each(|n| std::fs::write(folder.path().join(format!("dag_{n}.py")), format!("{round}\n")).unwrap());
        let version = place.publish_dir(folder.path());
        assert!(versions.insert(version.clone()));
        version
    };
    pod.start_on(&publish(0));
    let reader = pod.reader();
    for round in 1..=ROUNDS {
        let version = publish(round);
        if round % PAUSE == 0 {
            pod.wait(&format!("it follows to round {round}"), |s| s["version"] == version.as_str());
        }
    }
    reader.saw_only(&versions.iter().map(String::as_str).collect::<Vec<_>>());
    are_true(&published_by(&pod), &versions);
}

#[test]
fn of_two_publishers_at_once_neither_is_lost_silently() {
    let bucket = S3Server::rgw().bucket();
    let place = Place::of(&bucket, "dags");
    let folders = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let mut conflicts = 0;
    // The first round is about who comes first to an empty prefix.
    for round in 0..20 {
        let versions = folders.each_ref().map(|folder| {
            // Uploading it takes so long that both read the pointer before either moves it.
            let noise: Vec<u8> = std::iter::repeat_with(|| fastrand::u8(..)).take(2 << 20).collect();
            std::fs::write(folder.path().join("noise.bin"), noise).unwrap();
            version_of(folder.path()).unwrap()
        });
        let before = current(&place);
        let publishers = folders.each_ref().map(|folder| {
            let mut command = place.command(&["--output", "json", folder.path().to_str().unwrap()]);
            command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
        });
        let outcomes = publishers.map(|publisher| Outcome::from(publisher.wait_with_output().unwrap()));
        let said = outcomes.each_ref().map(|o| serde_json::from_str::<serde_json::Value>(&o.stdout).unwrap());

        let list = place.json(0, &["--list"]);
        let listed: Vec<_> = list.as_array().unwrap().iter().map(|release| &release["version"]).collect();
        versions.iter().for_each(|version| assert!(listed.contains(&&json!(version)), "{version} of round {round}"));
        let now = current(&place).unwrap();
        let last = versions.iter().position(|version| *version == now).expect("one of both is current");
        let (other, previous) = (1 - last, &said[last]["previous"]);
        assert_eq!(outcomes[last].code, Some(0), "{outcomes:#?}");
        if outcomes[other].code == Some(0) {
            // One after the other, after all.
            assert_eq!(*previous, json!(versions[other]), "{said:#?}");
            assert_eq!(said[other]["previous"], json!(before), "{said:#?}");
        } else {
            conflicts += 1;
            assert_eq!((previous, &said[other]["published"]), (&json!(before), &json!(false)), "{said:#?}");
            outcomes[other].ended(1, &["another publisher moved the pointer", &now, &versions[other], "--version"]);
        }
    }
    assert!(conflicts >= 5, "there were only {conflicts} races");
}

fn current(place: &Place) -> Option<String> {
    let list = place.json(0, &["--list"]);
    let mut current = list.as_array().unwrap().iter().filter(|release| release["is_current"] == true);
    let version = current.next().map(|release| release["version"].as_str().unwrap().to_owned());
    assert!(current.next().is_none(), "{list:#}");
    version
}

#[test]
fn fifty_of_fifty_overwrites_of_the_same_size_in_the_same_second_are_found() {
    let bucket = S3Server::rgw().bucket();
    let mut pod = Place::of(&bucket, "dags").pod().set("s3.layout", "prefix");
    let put = |bucket: &Bucket, content: &str| {
        bucket.put("dags/a.py", content);
        let head = bucket.server.call("s3", "head_object", &json!({ "Bucket": bucket.name, "Key": "dags/a.py" }));
        (head["ContentLength"].clone(), head["LastModified"].clone())
    };
    put(&bucket, "start");
    pod.start_on(&version_of_files([(&"a.py".to_owned(), &"start".to_owned())]));
    let (mut found, mut round) = (0, 0);
    while found < 50 {
        round += 1;
        let stats = ["a", "b"].map(|half| {
            let content = format!("{round:06}{half}");
            let stat = put(&bucket, &content);
            // Or it would wait for its period each time.
            pod.signal(Signal::HUP);
            eventually(&format!("{content} is published"), || {
                (std::fs::read_to_string(pod.link().join("a.py")).ok()? == content).then_some(())
            });
            stat
        });
        found += usize::from(stats[0] == stats[1]);
        assert!(round < 2000, "the server is too slow for two writes within one second");
    }
}

/// What a publisher has uploaded by halves is no folder of DAGs.
#[test]
fn a_first_publish_is_seen_whole_or_not_at_all() {
    let (double, place) = double();
    let mut pod = pod_of(&place, "auto");
    pod.start();
    pod.wait("it looked", |s| s["last_success"] != json!(null) || s["last_error"] != json!(null));
    slow(&double);
    let folder = super::folder_of(&[("a.py", "a"), ("large.bin", &"x".repeat(1 << 20))]);
    let version = place.publish_dir(folder.path());
    pod.is_on(&version);
    assert!(pod.log().contains("looks published, but has no pointer"), "it never looked meanwhile: {}", pod.log());
    let empty = version_of_files([]);
    let published = published_by(&pod);
    assert!(published.iter().all(|v| *v == version || *v == empty), "{published:?}");
}

/// Whoever writes waits before each object until others had time to look.
fn slow(double: &S3Double) {
    double.inject(Rule::on(Op::Put, Action::Delay(Duration::from_millis(400))).forever());
}
