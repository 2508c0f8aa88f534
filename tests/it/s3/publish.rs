//! `dagsync publish` as a pipeline uses it: what it answers, and what it leaves alone.

use dagsync_testkit::s3::{Action, Op, Rule};
use rustix::process::Signal;
use serde_json::{Value, json};

use super::{Place, double, folder_of, version_of_files};
use crate::harness::{Outcome, Process, S3Server, dagsync, eventually, version_of};

#[test]
fn publish_list_roll_back_and_prune() {
    let bucket = S3Server::rgw().bucket();
    let place = Place::of(&bucket, "team/dags");
    let folders =
        ["one", "two", "three"].map(|text| folder_of(&[("a.py", text), ("lib/same.py", "same"), ("empty.py", "")]));
    let [first, second, third] = folders.each_ref().map(|folder| version_of(folder.path()).unwrap());
    let dirs = folders.each_ref().map(|folder| folder.path().to_str().unwrap());
    let keys = || bucket.list().into_iter().map(|(key, listed)| (key, listed.etag)).collect::<Vec<_>>();

    // Nothing is there yet.
    assert_eq!(place.json(0, &["--list"]), json!([]));
    place.publish(&["--prune"]).ended(2, &["nothing is published there"]);
    place.publish(&["--version", &first]).ended(2, &["no whole version", &first, "--list"]);
    let dry = place.json(0, &["--dry-run", dirs[0]]);
    assert_eq!((&dry["dry_run"], &dry["published"]), (&json!(true), &json!(false)));
    assert_eq!(keys(), []);

    // The first version, of which the dry run said how much it is.
    let done = place.json(0, &[dirs[0], "--revision", "commit 1"]);
    let expected = json!({
        "version": first, "previous": null, "published": true, "files": 3, "bytes": 7, "dry_run": false,
        "uploaded_objects": dry["uploaded_objects"], "uploaded_bytes": dry["uploaded_bytes"],
    });
    assert_eq!(done, expected);
    assert_eq!(keys().len(), 4, "pointer, record, manifest and pack");
    let again = place.publish(&[dirs[0]]);
    assert_eq!(again.ended(0, &["is current already"]).stdout, first);

    // A pod follows from version to version.
    let mut pod = place.pod();
    pod.start_on(&first);
    let outcome = place.publish(&[dirs[1], "--revision", "commit 2"]);
    outcome.ended(0, &["is current now", &first, "3 files"]);
    assert_eq!(outcome.stdout, second, "nothing else is on standard output");
    pod.is_on(&second);
    assert_eq!(place.publish_dir(folders[2].path()), third);
    pod.is_on(&third);

    let list = place.json(0, &["--list"]);
    let of = |name: &str| list.as_array().unwrap().iter().map(|release| release[name].clone()).collect::<Vec<Value>>();
    let by_version = |version: &String| list.as_array().unwrap().iter().find(|r| r["version"] == *version).unwrap();
    assert_eq!(of("version").len(), 3);
    assert_eq!(of("is_current").iter().filter(|is| **is == true).count(), 1);
    assert_eq!(by_version(&third)["is_current"], true);
    assert_eq!(by_version(&second)["revision"], "commit 2");
    assert!(by_version(&third).get("revision").is_none_or(Value::is_null));
    assert_eq!((by_version(&first)["files"].clone(), by_version(&first)["bytes"].clone()), (json!(3), json!(7)));
    let table = place.publish(&["--list"]).ended(0, &["commit 1", "3 files"]).stdout.clone();
    assert_eq!(table.lines().count(), 3);
    assert!(table.lines().any(|line| line.starts_with(&format!("* {third}"))), "{table}");

    // Back, which a dry run only tells.
    let before = keys();
    let dry = place.json(0, &["--version", &first, "--dry-run"]);
    assert_eq!((&dry["previous"], &dry["published"], &dry["dry_run"]), (&json!(third), &json!(false), &json!(true)));
    assert_eq!(keys(), before);
    let back = place.json(0, &["--version", &first]);
    assert_eq!(
        (&back["previous"], &back["published"], &back["uploaded_objects"]),
        (&json!(third), &json!(true), &json!(0))
    );
    pod.is_on(&first);
    assert_eq!(place.publish(&["--version", &first]).ended(0, &["is current already"]).stdout, first);

    // The newest and the current one stay; what is young stays anyway.
    assert_eq!(place.json(0, &["--prune", "--keep", "1"])["objects"], 0);
    let before = keys();
    let prune = ["--prune", "--keep", "2", "--keep-age", "0s"];
    let dry = place.json(0, &[&prune[..], &["--dry-run"]].concat());
    assert_eq!((keys(), &dry["dry_run"]), (before.clone(), &json!(true)));
    let text = place.publish(&prune);
    text.ended(0, &["removed 1 version", &second]);
    assert_eq!(dry["versions"], json!([second]));
    assert_eq!(before.len() - keys().len(), dry["objects"].as_u64().unwrap() as usize);
    place.publish(&["--version", &second]).ended(2, &["no whole version"]);
    assert_eq!(place.json(0, &["--version", &third])["version"], json!(third));
    pod.is_on(&third);
    // What was pruned can be published again.
    assert_eq!(place.publish_dir(folders[1].path()), second);
    pod.is_on(&second);
}

#[test]
fn what_is_not_understood_is_64_and_asks_nothing() {
    let (double, place) = double();
    let folder = folder_of(&[("a.py", "a")]);
    let dir = folder.path().to_str().unwrap();
    for args in [
        &[][..],
        &["--version", "sha256:12"],
        &[dir, dir],
        &["--list", "--prune"],
        &["--list", dir],
        &["--list", "--dry-run"],
        &["--prune", "--keep", "0"],
        &["--keep", "3", dir],
        &["--prune", "--keep-age", "soon"],
        &["--set", "s3.pack_below=1GiB", dir],
        &["--set", "s3.pack_blow=1MiB", dir],
        &["--set", "s3.at=2026-11-24T08:00:00Z", dir],
        &["--endpoint-url", "localhost", dir],
    ] {
        let outcome = place.publish(args);
        assert_eq!((outcome.code, outcome.stdout.as_str()), (Some(64), ""), "{args:?}: {outcome:#?}");
    }
    for targets in [&[dir][..], &[dir, "https://example.com/b"], &[dir, "s3://"], &[dir, "/tmp"]] {
        let outcome = Outcome::of(dagsync().arg("publish").args(targets).envs(place.environment()));
        assert_eq!((outcome.code, outcome.stdout.as_str()), (Some(64), ""), "{targets:?}: {outcome:#?}");
    }
    assert_eq!(double.requests().len(), 0);
}

#[test]
fn what_fails_is_2_says_why_and_writes_nothing() {
    let bucket = S3Server::rgw().bucket();
    let folder = folder_of(&[("a.py", "a")]);
    let dir = folder.path().to_str().unwrap();
    let place = Place::of(&bucket, "dags");
    let wrong_key = Place { keys: Some(["nobody".to_owned(), "secret".to_owned()]), ..place.clone() };
    let [id, _] = place.keys.clone().unwrap();
    let wrong_secret = Place { keys: Some([id, "secret".to_owned()]), ..place.clone() };
    let nobody = Place { endpoint: format!("http://127.0.0.1:{}", crate::harness::free_port()), ..place.clone() };
    let no_bucket = Place { url: "s3://there-is-no-such-bucket/dags".to_owned(), ..place.clone() };
    for (place, words) in [
        (&wrong_key, "does not know the access key"),
        (&wrong_secret, "the secret key does not belong to the access key"),
        (&nobody, "no answer"),
        (&no_bucket, "no such bucket"),
    ] {
        place.publish(&[dir]).ended(2, &[words]);
    }
    let empty = tempfile::tempdir().unwrap();
    place.publish(&[empty.path().to_str().unwrap()]).ended(2, &["holds no file", "allow_empty"]);
    place.publish(&["/nonexistent/dags"]).ended(2, &["/nonexistent/dags"]);
    place.publish(&["--exclude", "*.py", dir]).ended(2, &["holds no file"]);
    assert_eq!(bucket.list().len(), 0);
    // With the word for it, also nothing is a version.
    let empty = place.publish(&["--set", "allow_empty=true", empty.path().to_str().unwrap()]);
    assert_eq!(empty.ended(0, &[]).stdout, version_of_files([]));
}

#[test]
fn a_folder_of_somebody_else_is_not_published_to() {
    let bucket = S3Server::rgw().bucket();
    bucket.put("dags/of_aws_s3_sync.py", "print()");
    let folder = folder_of(&[("a.py", "a")]);
    let place = Place::of(&bucket, "dags");
    for args in [&[folder.path().to_str().unwrap()][..], &[folder.path().to_str().unwrap(), "--dry-run"]] {
        place.publish(args).ended(2, &["holds other objects", "of_aws_s3_sync.py", "a prefix of its own"]);
        assert_eq!(bucket.list().into_keys().collect::<Vec<_>>(), ["dags/of_aws_s3_sync.py"]);
    }
    // Beside it is fine, and a folder marker is nothing.
    bucket.put("dags2/", "");
    assert_eq!(Place::of(&bucket, "dags2").publish_dir(folder.path()), version_of(folder.path()).unwrap());
}

#[test]
fn a_server_that_ignores_conditions_is_refused_unless_that_is_allowed() {
    let (double, place) = double();
    double.ignore_conditions(true);
    let folder = folder_of(&[("a.py", "a")]);
    let dir = folder.path().to_str().unwrap();
    place.publish(&[dir]).ended(2, &["ignores conditions", "s3.conditional_writes = off"]);
    assert_eq!(double.keys("b"), [""; 0]);
    let off = ["--set", "s3.conditional_writes=off"];
    assert_eq!(place.json(0, &[&off[..], &[dir]].concat())["published"], true);
    let other = folder_of(&[("a.py", "b")]);
    place.publish(&[other.path().to_str().unwrap()]).ended(2, &["ignores conditions"]);
    assert_eq!(place.pod().once().ended(0, &[]).stdout, version_of(folder.path()).unwrap());
}

#[test]
fn who_comes_second_is_told_and_can_insist() {
    let (double, place) = double();
    let folders = ["0", "theirs", "ours"].map(|text| folder_of(&[("a.py", text)]));
    let [_, theirs, ours] = folders.each_ref().map(|folder| version_of(folder.path()).unwrap());
    place.publish_dir(folders[1].path());
    let pointer = double.get("b", "dags/dagsync.json").unwrap();
    place.publish_dir(folders[0].path());
    // They come between our look at the pointer and our move.
    let move_first = Action::run(move |double| drop(double.put("b", "dags/dagsync.json", &pointer)));
    double.inject(Rule::on(Op::Put, move_first).key("dagsync.json"));
    let ended = place.json(1, &[folders[2].path().to_str().unwrap()]);
    assert_eq!(ended["published"], false);
    let conflict = ended["conflict"].as_str().unwrap();
    assert!(
        conflict.contains(&format!("it is on {theirs}")) && conflict.contains(&format!("--version {ours}")),
        "{conflict}"
    );
    assert_eq!(place.pod().once().ended(0, &[]).stdout, theirs);
    assert_eq!(place.publish(&["--version", &ours]).ended(0, &[]).stdout, ours);
    assert_eq!(place.pod().once().ended(0, &[]).stdout, ours);
}

#[test]
fn a_server_that_is_busy_or_loses_answers_is_published_to_all_the_same() {
    let (double, place) = double();
    place.publish_dir(folder_of(&[("a.py", "a"), ("large.bin", &"x".repeat(400_000))]).path());
    for op in [Op::Get, Op::Head, Op::Put] {
        double.inject(Rule::on(op, Action::status(503, "SlowDown")).times(2));
    }
    // The write counts, and who wrote does not hear of it.
    double.inject(Rule::on(Op::Put, Action::Lost).key("blobs/"));
    double.inject(Rule::on(Op::Put, Action::Lost).key("dagsync.json"));
    let folder = folder_of(&[("a.py", "b"), ("large.bin", &"y".repeat(400_000))]);
    let done = place.json(0, &[folder.path().to_str().unwrap()]);
    assert_eq!(done["published"], true);
    assert_eq!(place.pod().once().ended(0, &[]).stdout, version_of(folder.path()).unwrap());
}

#[test]
fn a_publisher_that_is_stopped_ends_with_130_and_published_nothing() {
    for signal in [Signal::INT, Signal::TERM] {
        let (double, place) = double();
        let version = place.publish_dir(folder_of(&[("a.py", "a")]).path());
        double.inject(Rule::on(Op::Put, Action::Hang).key("packs/").forever());
        double.clear_requests();
        let (folder, log) = (folder_of(&[("a.py", "b")]), tempfile::NamedTempFile::new().unwrap());
        let mut publisher = Process::start(&mut place.command(&[folder.path().to_str().unwrap()]), log.path());
        let uploads = || double.requests().iter().any(|seen| seen.op == Op::Put && seen.key.contains("packs/"));
        eventually("it uploads", || uploads().then_some(()));
        publisher.signal(signal);
        assert_eq!(publisher.wait().code(), Some(130), "{}", publisher.log());
        assert_eq!(place.pod().once().ended(0, &[]).stdout, version);
    }
}

/// A lifecycle rule or somebody's mistake took away a part: publishing the folder again is what the errors advise.
#[test]
fn a_version_of_which_a_part_is_gone_is_mended_by_publishing_it_again() {
    for part in ["packs/", "blobs/", "manifests/", "versions/"] {
        let (double, place) = double();
        let large = "x".repeat(400_000);
        let folder = folder_of(&[("a.py", "a"), ("large.bin", &large)]);
        let version = place.publish_dir(folder.path());
        let key = double.keys("b").into_iter().find(|key| key.contains(part)).unwrap();
        double.delete("b", &key);
        let dir = folder.path().to_str().unwrap();
        assert_eq!(place.publish(&["--dry-run", dir]).ended(0, &["would be whole again"]).stdout, version, "{part}");
        assert_eq!(place.publish(&[dir]).ended(0, &["is whole again"]).stdout, version, "{part}");
        assert!(double.get("b", &key).is_some(), "{part} is still gone");
        assert_eq!(place.pod().once().ended(0, &[]).stdout, version, "{part}");

        // So does another version, which would have been made of the same parts.
        double.delete("b", &key);
        std::fs::write(folder.path().join("b.py"), "b").unwrap();
        let next = place.publish_dir(folder.path());
        assert_eq!(place.pod().once().ended(0, &[]).stdout, next, "{part}");
    }
}

#[test]
fn a_part_that_is_damaged_is_named_and_publishing_without_it_mends_it() {
    for part in ["packs/", "blobs/", "manifests/"] {
        let (double, place) = double();
        let large = "x".repeat(400_000);
        let folder = folder_of(&[("a.py", "a"), ("large.bin", &large)]);
        let version = place.publish_dir(folder.path());
        let key = double.keys("b").into_iter().find(|key| key.contains(part)).unwrap();
        let mut content = double.get("b", &key).unwrap();
        *content.last_mut().unwrap() ^= 1;
        double.put("b", &key, &content);
        let words = [&key, "remove that object and publish the version again"];
        place.pod().set("max_failures", "1").once().ended(2, &words);
        double.delete("b", &key);
        assert_eq!(place.publish_dir(folder.path()), version);
        assert_eq!(place.pod().once().ended(0, &[]).stdout, version);
    }
}
