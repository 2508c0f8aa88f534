//! The store that another dagsync keeps on the volume: its readers copy from it or use it where it is.

use std::collections::BTreeSet;
use std::path::Path;

use rustix::process::Signal;
use serde_json::Value;

use super::{Shared, fails_and_serves, in_place, pod, told};
use crate::harness::{Pod, Repo, swap_in, version_of};

const FLIPS: usize = 50;
/// Every so many flips the readers are waited for.
const PAUSE: usize = 5;

/// Keeps nothing but what is current.
fn tight(writer: Pod) -> Pod {
    writer.set("keep.versions", "1").set("keep.age", "0s")
}

/// Two readers of what `writer` publishes, copying and in place, which say in JSON what they do.
fn readers(writer: &Pod) -> [Pod; 2] {
    [pod(writer.root()), in_place(writer.root())]
        .map(|reader| reader.set("log.format", "json").set("log.level", "info"))
}

/// Flips that `publish` makes, which returns their versions, are followed; nothing else is ever taken over.
fn follow(mut writer: Pod, mut publish: impl FnMut(usize) -> String) {
    let mut versions = BTreeSet::from([publish(0)]);
    writer.start_on(versions.first().unwrap());
    let mut readers = readers(&writer);
    readers.iter_mut().for_each(Pod::start);
    let mut random = fastrand::Rng::with_seed(1);
    let mut removed = 0;
    for flip in 1..=FLIPS {
        let version = publish(flip);
        writer.wait(&format!("it makes flip {flip}"), |s| s["version"] == version.as_str());
        removed += usize::from(!has_what_it_serves(&readers[1]));
        if flip % PAUSE == 0 {
            for reader in &mut readers {
                reader.wait(&format!("it follows to flip {flip}"), |s| s["version"] == version.as_str());
            }
        } else {
            std::thread::sleep(std::time::Duration::from_millis(random.u64(..200)));
        }
        versions.insert(version);
    }
    // It may once have been on its way to the next just then.
    assert!(removed <= 1, "{removed} versions were removed while they were served in place");
    let last = writer.status().unwrap()["version"].as_str().unwrap().to_owned();
    for reader in &mut readers {
        reader.wait("it is on the last", |s| s["version"] == last.as_str() && s["state"] == "converged");
        let told = told(reader);
        assert!(told.is_subset(&versions), "{:?} were never published", told.difference(&versions));
        assert!(told.len() > FLIPS / PAUSE, "only {} were taken over", told.len());
        // What is pruned while it is read is nobody's fault, and nothing else may happen.
        failures(reader).iter().for_each(|failure| assert_eq!(failure["kind"], "changed", "{failure:#}"));
    }
    assert_eq!(version_of(&readers[0].current().unwrap()).unwrap(), last);
    assert!(readers[1].current().is_none(), "what is used where it is has no copy");
    let kept = std::fs::read_dir(writer.root().join("versions")).unwrap().count();
    assert!(kept <= 3, "{kept} versions are left: nothing was pruned, so the readers had it easy");
}

/// Whether the version that a reader in place is on is still in the store.
fn has_what_it_serves(reader: &Pod) -> bool {
    let status = || reader.status().map(|s| (s["source"].clone(), s["version"].clone()));
    let before = status();
    let Some((Value::String(source), Value::String(version))) = &before else { return true };
    let folder = Path::new(source).join("versions").join(version.trim_start_matches("sha256:"));
    folder.exists() || status() != before
}

fn failures(pod: &Pod) -> Vec<Value> {
    let lines = pod.log();
    let lines = lines.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    lines.filter(|line| line["message"] == "sync failed").collect()
}

#[test]
fn of_50_flips_by_git_each_reader_follows_only_what_was_published() {
    let repo = Repo::new();
    let publish = |flip: usize| {
        (0..40).for_each(|n| repo.write(&format!("team_{}/dag_{n}.py", n % 4), &format!("flip = {flip}\n")));
        repo.commit(&format!("flip {flip}"));
        repo.version()
    };
    follow(tight(Pod::new(&repo.file_url()).set("period", "100ms")), publish);
}

#[test]
fn of_50_flips_by_a_folder_each_reader_follows_only_what_was_published() {
    let shared = Shared::new();
    let publish = |flip: usize| {
        (0..40).for_each(|n| shared.write(&format!("team_{}/dag_{n}.py", n % 4), &format!("flip = {flip}\n")));
        shared.version()
    };
    follow(tight(shared.pod().set("volume.settle", "300ms")), publish);
}

/// A writer on its second version, one file of which somebody edited, while the readers could not look.
fn edited_behind(reader: impl Fn(&Pod) -> Pod, check: impl Fn(&mut Pod, &str)) {
    let repo = Repo::with(&[("a.py", "1"), ("team/b.py", "1")]);
    let good = repo.version();
    let mut writer = tight(Pod::new(&repo.file_url())).set("scrub.interval", "1h");
    writer.start_on(&good);
    let mut reader = reader(&writer);
    reader.start();
    reader.wait("it is on the first", |s| s["version"] == good.as_str() && s["state"] == "converged");

    reader.signal(Signal::STOP);
    repo.write("a.py", "2");
    repo.commit("second");
    writer.is_on(&repo.version());
    swap_in(&writer.current().unwrap().join("a.py"), Some("edited by hand"));
    reader.signal(Signal::CONT);
    check(&mut reader, &good);

    writer.kill();
    writer.start_on(&repo.version());
    let second = repo.version();
    reader.wait("it takes the fresh copy", |s| s["version"] == second.as_str() && s["state"] == "converged");
}

#[test]
fn an_edited_store_is_not_copied_until_its_writer_has_mended_it() {
    edited_behind(
        |writer| pod(writer.root()),
        |reader, good| {
            let words = ["a.py is not what its manifest says", "somebody edited the store"];
            fails_and_serves(reader, "mismatch", &words, good);
        },
    );
}

#[test]
fn an_edited_store_that_is_served_in_place_is_called_tampered_until_its_writer_has_mended_it() {
    edited_behind(
        |writer| in_place(writer.root()),
        |reader, _| {
            let words = "not what its manifest says: a.py is modified; somebody edited the store";
            reader.wait("it says what Airflow finds", |s| {
                s["state"] == "tampered"
                    && s["tampered"][0]["path"] == "a.py"
                    && s["last_error"]["message"].as_str().is_some_and(|text| text.contains(words))
            });
        },
    );
}

/// Where the store is what Airflow reads, an edit is in the DAGs at once.
#[test]
fn an_edit_of_what_is_served_in_place_is_named() {
    let repo = Repo::with(&[("a.py", "1"), ("team/b.py", "1")]);
    let good = repo.version();
    let mut writer = tight(Pod::new(&repo.file_url())).set("scrub.interval", "1h");
    writer.start_on(&good);
    let mut reader = in_place(writer.root()).set("scrub.interval", "300ms");
    reader.start();
    reader.wait("it is on the first", |s| s["version"] == good.as_str() && s["state"] == "converged");
    let served = writer.current().unwrap();
    swap_in(&served.join("team/b.py"), Some("edited by hand"));
    let named = |s: &Value| s["state"] != "converged" && s.to_string().contains("team/b.py");
    reader.wait("it names the file", named);
    writer.kill();
    writer.start();
    reader.wait("it follows the fresh copy", |s| s["version"] == good.as_str() && s["state"] == "converged");
    assert_ne!(writer.current().unwrap(), served);
}
