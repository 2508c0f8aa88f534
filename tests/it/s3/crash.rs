//! `kill -9` at random moments of a sync and of a publish: the store and the bucket stay good, and what is left behind goes.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::{Duration, Instant};

use dagsync_testkit::s3::{Action, Rule, S3Double};
use serde_json::Value;

use super::{Place, double, version_of_files};
use crate::harness::{Outcome, PATIENCE, Pod, Process, contents, dagsync, generate, version_of};

/// How long after its first request something is killed at the latest. A kill that came too late makes it shorter, one
/// that came in time longer, so that about half of them land whatever else the machine does.
struct Reach(Duration);

impl Reach {
    fn new() -> Self {
        Self(Duration::from_millis(150))
    }

    /// Waits for a random moment after the first request since the last [`S3Double::clear_requests`].
    fn wait(&self, double: &S3Double, random: &mut fastrand::Rng) {
        let deadline = Instant::now() + PATIENCE;
        while double.requests().is_empty() {
            assert!(Instant::now() < deadline, "nothing is ever asked");
            std::thread::sleep(Duration::from_millis(1));
        }
        std::thread::sleep(self.0.mul_f64(random.f64()));
    }

    fn learn(&mut self, in_time: bool) {
        self.0 = self.0.mul_f64(if in_time { 1.25 } else { 0.8 });
    }
}

/// A bucket of a server that takes a moment for each answer, as real ones do.
fn slow_double() -> (S3Double, Place) {
    let (double, place) = double();
    double.inject(Rule::any(Action::Delay(Duration::from_millis(5))).forever());
    (double, place)
}

#[test]
fn syncs_of_a_prefix_killed_at_20_random_moments() {
    let world = World::new();
    syncs(&world, "prefix", |folder| {
        world.double.keys("b").iter().for_each(|key| world.double.delete("b", key));
        for (path, content) in contents(folder).unwrap() {
            world.double.put("b", &format!("dags/{path}"), content);
        }
    });
}

#[test]
fn syncs_of_what_is_published_killed_at_20_random_moments() {
    let world = World::new();
    syncs(&world, "auto", |folder| drop(world.place.publish_dir(folder)));
}

/// A bucket, and a tree before and after an update.
struct World {
    double: S3Double,
    place: Place,
    before: tempfile::TempDir,
    after: tempfile::TempDir,
}

impl World {
    fn new() -> Self {
        let (double, place) = slow_double();
        let tree = |files, seed: u8| {
            let folder = tempfile::tempdir().unwrap();
            generate(folder.path(), files, seed.into());
            // Whatever is larger takes another way.
            (0..3)
                .for_each(|n| std::fs::write(folder.path().join(format!("{n}.bin")), vec![seed; 700_000 + n]).unwrap());
            folder
        };
        Self { double, place, before: tree(60, 1), after: tree(90, 2) }
    }
}

/// Ten stores, each killed in its first sync and in an update.
fn syncs(world: &World, layout: &str, put: impl Fn(&Path)) {
    let versions = [&world.before, &world.after].map(|folder| version_of(folder.path()).unwrap());
    let [before, after] = &versions;
    let mut random = fastrand::Rng::with_seed(1);
    let mut reaches = [Reach::new(), Reach::new()];
    let mut landed = 0;
    for _ in 0..10 {
        let mut pod = world.place.pod().set("s3.layout", layout).set("http.bind", "");
        let reader = pod.reader();
        for (n, (folder, new)) in [(&world.before, before), (&world.after, after)].into_iter().enumerate() {
            put(folder.path());
            let old = (n == 1).then_some(before);
            world.double.clear_requests();
            pod.start();
            reaches[n].wait(&world.double, &mut random);
            pod.kill();
            let in_time = is_good(&pod, old, new);
            reaches[n].learn(in_time);
            landed += usize::from(in_time && pod.root().join(".dagsync/lock").exists());
            pod.once().ended(0, &[]);
            assert!(!is_good(&pod, old, new), "the next start gets there without help");
            assert_eq!(std::fs::read_dir(pod.root().join(".dagsync/staging")).unwrap().count(), 0);
        }
        reader.saw_only(&[before, after]);
    }
    assert!(landed >= 3, "only {landed} kills came in the middle of a sync");
}

/// Whether the store is still as before; it must be that, or on the new version, and verify.
fn is_good(pod: &Pod, old: Option<&String>, new: &String) -> bool {
    let found = pod.current().map(|folder| version_of(&folder).unwrap());
    assert!(found.as_ref() == old || found.as_ref() == Some(new), "{found:?} is neither {old:?} nor {new}");
    if found.is_some() {
        Outcome::of(dagsync().arg("verify").arg(pod.root())).ended(0, &["verified"]);
    }
    found.as_ref() == old
}

#[test]
fn publishers_killed_at_40_random_moments_leave_a_good_bucket_and_garbage_that_prune_finds() {
    let (double, place) = slow_double();
    let (folder, mut random, mut reach) = (tempfile::tempdir().unwrap(), fastrand::Rng::with_seed(2), Reach::new());
    let mut current: Option<String> = None;
    let mut halves = 0;
    for n in 0..40 {
        write_tree(folder.path(), n);
        let version = version_of(folder.path()).unwrap();
        let objects = double.keys("b").len();
        double.clear_requests();
        let log = tempfile::NamedTempFile::new().unwrap();
        let mut publisher = Process::start(&mut place.command(&[folder.path().to_str().unwrap()]), log.path());
        reach.wait(&double, &mut random);
        publisher.kill();
        let in_time = pointer(&double).as_ref() != Some(&version);
        reach.learn(in_time);
        halves += usize::from(in_time && double.keys("b").len() > objects);
        if !in_time {
            current = Some(version);
        }
        assert_eq!(pointer(&double), current);
        let pod = place.pod();
        match &current {
            Some(version) => assert_eq!(pod.once().ended(0, &[]).stdout, *version),
            // Only at the beginning, when there is nothing yet but what was left behind: that is no DAG.
            None => {
                let outcome = pod.once();
                let empty = version_of_files([]);
                assert!(outcome.code == Some(2) || outcome.stdout == empty, "{outcome:#?}");
            }
        }
        // Now and then somebody gets through, and may find all of it there already.
        if n % 8 == 7 {
            current = Some(place.publish_dir(folder.path()));
        }
    }
    assert!(halves >= 5, "only {halves} kills left something behind");
    let version = place.publish_dir(folder.path());

    let args = ["--prune", "--keep", "1", "--keep-age", "0s"];
    for _ in 0..5 {
        double.clear_requests();
        let log = tempfile::NamedTempFile::new().unwrap();
        let mut sweeper = Process::start(&mut place.command(&args), log.path());
        reach.wait(&double, &mut random);
        sweeper.kill();
        assert_eq!(place.pod().once().ended(0, &[]).stdout, version);
        // What is listed is whole, so that it can be current.
        for release in place.json(0, &["--list"]).as_array().unwrap() {
            place.publish(&["--dry-run", "--version", release["version"].as_str().unwrap()]).ended(0, &[]);
        }
    }
    write_tree(folder.path(), 100);
    let version = place.publish_dir(folder.path());
    let before: BTreeSet<_> = double.keys("b").into_iter().collect();
    let dry = place.json(0, &[&args[..], &["--dry-run"]].concat());
    assert_eq!(double.keys("b").len(), before.len());
    let swept = place.json(0, &args);
    let after: BTreeSet<_> = double.keys("b").into_iter().collect();
    assert_eq!(
        (&dry["objects"], &dry["versions"], &dry["bytes"]),
        (&swept["objects"], &swept["versions"], &swept["bytes"])
    );
    assert_eq!(swept["objects"], before.difference(&after).count());
    assert_eq!(after, named_by_the_pointer(&double));
    assert_eq!(place.pod().once().ended(0, &[]).stdout, version);
    let again = place.json(0, &args);
    assert_eq!(again["objects"], 0, "{again:#}");
}

/// Files that change and files that stay, small ones and large ones.
fn write_tree(folder: &Path, n: usize) {
    for file in 0..40 {
        let changes = if file % 4 == 0 { n } else { 0 };
        std::fs::write(folder.join(format!("dag_{file}.py")), format!("# {file} {changes}\n").repeat(50)).unwrap();
    }
    std::fs::write(folder.join("same.bin"), vec![7; 600_000]).unwrap();
    (0..4).for_each(|file| std::fs::write(folder.join(format!("{file}.bin")), vec![n as u8; 300_000 + file]).unwrap());
}

fn record(double: &S3Double) -> Option<Value> {
    Some(serde_json::from_slice(&double.get("b", "dags/dagsync.json")?).unwrap())
}

fn pointer(double: &S3Double) -> Option<String> {
    Some(record(double)?["version"].as_str().unwrap().to_owned())
}

/// The keys of all that the current version is made of, by the documented format.
fn named_by_the_pointer(double: &S3Double) -> BTreeSet<String> {
    let record = record(double).unwrap();
    let hex = record["version"].as_str().unwrap().trim_start_matches("sha256:");
    let each = |list: &str, name: fn(&Value) -> String| -> Vec<String> {
        record[list].as_array().unwrap().iter().map(name).collect()
    };
    let packs = each("packs", |pack| format!("packs/{}", pack["id"].as_str().unwrap()));
    let blobs = each("blobs", |blob| format!("blobs/sha256/{}", blob.as_str().unwrap()));
    let others = ["dagsync.json".to_owned(), format!("versions/{hex}.json"), format!("manifests/{hex}")];
    packs.into_iter().chain(blobs).chain(others).map(|name| format!("dags/{name}")).collect()
}
