//! What can go wrong with a server in the middle of a sync: the last good version is served, the status says why, and it
//! goes on when the server does.

use std::path::Path;
use std::process::Command;

use dagsync_testkit::s3::{Action, Op, Rule, S3Double};
use rustix::process::Signal;

use super::{Place, double, folder_of, version_of_files};
use crate::harness::{Pod, Process, contents, eventually, free_port, http, request, version_of};

/// A pod that gives up soon.
fn impatient(place: &Place, layout: &str) -> Pod {
    place.pod().set("s3.layout", layout).set("s3.attempts", "2").set("s3.read_timeout", "400ms")
}

/// Faults of any request, each with the kind of error and words that the status must hold.
fn faults() -> Vec<(Action, &'static str, &'static str)> {
    vec![
        (Action::status(403, "AccessDenied"), "unauthorized", "AccessDenied"),
        (Action::status(412, "PreconditionFailed"), "changed", "it has changed"),
        (Action::status(500, "InternalError"), "unreachable", "500 InternalError"),
        (Action::status(503, "SlowDown"), "unreachable", "503 SlowDown"),
        (Action::status(400, "ExpiredToken"), "unauthorized", "the security token has expired"),
        (Action::redirect("eu-west-1"), "config", "set s3.region to eu-west-1"),
        (Action::Reset, "unreachable", "no answer"),
        (Action::Hang, "timeout", "no answer in time"),
    ]
}

/// Those of a body.
fn faults_of_a_body() -> Vec<(Action, &'static str, &'static str)> {
    vec![
        (Action::Truncate(1), "unreachable", "the body did not arrive whole"),
        (Action::Stall(1), "timeout", "the body stalls"),
    ]
}

/// Lets `write` change the bucket while each fault lasts.
fn each_is_survived(
    double: &S3Double,
    pod: &mut Pod,
    mut write: impl FnMut(usize) -> String,
    rule: impl Fn(Action) -> Rule,
    faults: &[(Action, &str, &str)],
) {
    let mut good = write(0);
    pod.start_on(&good);
    for (n, (action, kind, words)) in (1..).zip(faults) {
        let before = contents(&pod.link()).unwrap();
        double.inject(rule(action.clone()).forever());
        let next = write(n);
        let status = pod.wait(&format!("{action:?} is {kind} and says {words:?}"), |s| {
            let error = &s["last_error"];
            error["kind"] == *kind && error["message"].as_str().is_some_and(|said| said.contains(words))
        });
        assert_eq!((&status["version"], &status["state"]), (&good.as_str().into(), &"stale".into()), "{action:?}");
        assert_eq!(contents(&pod.link()).unwrap(), before, "{action:?}");
        assert_eq!(pod.get("/readyz").unwrap().0, 200);
        double.clear_faults();
        pod.is_on(&next);
        good = next;
    }
}

/// Three files, of which two change, and one of these is large.
fn tree(n: usize) -> [(&'static str, String); 3] {
    [("a.py", "always".to_owned()), ("b.py", format!("# {n:09}")), ("c.bin", format!("{n:09}").repeat(50_000))]
}

fn write_files(double: &S3Double, n: usize) -> String {
    let tree = tree(n).map(|(path, content)| (path.to_owned(), content));
    tree.iter().for_each(|(path, content)| drop(double.put("b", &format!("dags/{path}"), content)));
    version_of_files(tree.iter().map(|(path, content)| (path, content)))
}

/// Publishes versions in advance; later the pointer alone is moved, as nobody can publish while the server fails.
fn versions(double: &S3Double, place: &Place, count: usize) -> Vec<(String, Vec<u8>)> {
    let publish = |n| {
        let folder = folder_of(&tree(n).each_ref().map(|(path, content)| (*path, content.as_str())));
        (place.publish_dir(folder.path()), double.get("b", "dags/dagsync.json").unwrap())
    };
    (0..count).map(publish).collect()
}

#[test]
fn objects_that_cannot_be_read_in_the_middle_of_a_sync() {
    at_once(["b.py", "c.bin"], |object| {
        let (double, place) = double();
        let mut faults = [faults(), faults_of_a_body()].concat();
        faults.push((Action::Overlong(9), "changed", "longer than"));
        faults.push((Action::status(404, "NoSuchKey"), "changed", "an object went away while the prefix was read"));
        let rule = |action| Rule::on(Op::Get, action).key(object);
        each_is_survived(&double, &mut impatient(&place, "prefix"), |n| write_files(&double, n), rule, &faults);
    });
}

/// Most of the time is spent waiting for the pod to give up.
fn at_once<T: Send, const N: usize>(cases: [T; N], test: impl Fn(T) + Sync) {
    std::thread::scope(|scope| {
        for case in cases {
            scope.spawn(|| test(case));
        }
    });
}

/// The first listing of a sync succeeds; the one that proves what was read does not.
#[test]
fn listings_that_fail_in_the_middle_of_a_sync() {
    let (double, place) = double();
    let mut faults = faults();
    faults.push((Action::status(404, "NoSuchBucket"), "not-found", "there is no such bucket"));
    faults.push((Action::Truncate(100), "unreachable", ""));
    faults.push((Action::Stall(100), "timeout", "in time"));
    faults.push((Action::Garbage, "unreachable", "is none of S3"));
    let rule = |action| Rule::on(Op::List, action).skip(1);
    each_is_survived(&double, &mut impatient(&place, "prefix"), |n| write_files(&double, n), rule, &faults);
}

#[test]
fn parts_of_a_published_version_that_cannot_be_read_in_the_middle_of_a_sync() {
    let overlong = [
        ("manifests/", "corrupt", "is not the manifest"),
        ("packs/", "changed", "more came than was asked for"),
        ("blobs/", "corrupt", "is damaged"),
    ];
    at_once(overlong, |(part, kind, words)| {
        let (double, place) = double();
        let mut faults = [faults(), faults_of_a_body()].concat();
        faults.push((Action::Overlong(9), kind, words));
        faults.push((Action::status(404, "NoSuchKey"), "changed", "a part of the version is gone"));
        let versions = versions(&double, &place, faults.len() + 1);
        let rule = |action| Rule::on(Op::Get, action).key(part);
        let move_pointer = |n| move_pointer(&double, &versions[n]);
        each_is_survived(&double, &mut impatient(&place, "auto"), move_pointer, rule, &faults);
    });
}

fn move_pointer(double: &S3Double, (version, pointer): &(String, Vec<u8>)) -> String {
    double.put("b", "dags/dagsync.json", pointer);
    version.clone()
}

#[test]
fn a_pointer_that_cannot_be_read() {
    let (double, place) = double();
    let mut faults = [faults(), faults_of_a_body()].concat();
    // 412 is no answer to what is asked here.
    faults.retain(|(_, kind, _)| *kind != "changed");
    faults.push((Action::status(404, "NoSuchKey"), "not-found", "nothing is published there"));
    faults.push((Action::status(404, "NoSuchBucket"), "not-found", "nothing is published there"));
    faults.push((Action::Garbage, "corrupt", "dagsync.json is no record of dagsync"));
    let versions = versions(&double, &place, faults.len() + 1);
    let rule = |action| Rule::on(Op::Get, action).key("dagsync.json");
    let move_pointer = |n| move_pointer(&double, &versions[n]);
    each_is_survived(&double, &mut impatient(&place, "auto"), move_pointer, rule, &faults);
}

/// moto on a port that stays; all its buckets are gone when it is killed.
fn moto(port: u16, folder: &Path) -> Process {
    let mut command = Command::new("python3");
    command.args(["-m", "moto.server", "-H", "127.0.0.1", "-p", &port.to_string()]);
    command.env("PYTHONPATH", Path::new(env!("CARGO_MANIFEST_DIR")).join("target/testdata/python"));
    let process = Process::start(&mut command, &folder.join("moto"));
    eventually("moto answers", || http(port, "GET", "/", ""));
    process
}

#[test]
fn a_server_that_hangs_is_killed_and_comes_back_empty() {
    let (port, folder) = (free_port(), tempfile::tempdir().unwrap());
    let mut server = moto(port, folder.path());
    let put = |path: &str, body: &str| assert_eq!(request(port, "PUT", path, "", body).unwrap().0, 200, "{path}");
    let dags = |content: &str| folder_of(&[("a.py", "a"), ("b.py", content)]);
    let place = |url: &str| {
        let keys = Some(["access".to_owned(), "secret".to_owned()]);
        Place { url: url.to_owned(), endpoint: format!("http://127.0.0.1:{port}"), keys }
    };
    let (files, published) = (place("s3://bucket/dags"), place("s3://bucket/published"));
    put("/bucket", "");
    put("/bucket/dags/a.py", "a");
    put("/bucket/dags/b.py", "1");
    let first = published.publish_dir(dags("1").path());
    let mut pods = [impatient(&files, "prefix"), impatient(&published, "auto")];
    pods.iter_mut().for_each(|pod| pod.start_on(&first));
    let holds = |pods: &mut [Pod; 2], words: [&str; 2]| {
        for (pod, words) in pods.iter_mut().zip(words) {
            let status = pod.wait(words, |s| s["last_error"]["message"].as_str().is_some_and(|m| m.contains(words)));
            assert_eq!((&status["version"], &status["ready"]), (&first.as_str().into(), &true.into()));
            assert_eq!(version_of(&pod.current().unwrap()).unwrap(), first);
        }
    };

    server.signal(Signal::STOP);
    holds(&mut pods, ["no answer in time"; 2]);
    server.signal(Signal::CONT);
    pods.iter_mut().for_each(|pod| drop(pod.is_on(&first)));

    server.kill();
    holds(&mut pods, ["no answer"; 2]);
    // A pod that comes up meanwhile serves what it has.
    for pod in &mut pods {
        pod.kill();
        pod.start();
        pod.wait("it is ready", |s| s["ready"] == true);
        assert_eq!(pod.get("/readyz").unwrap().0, 200);
    }
    holds(&mut pods, ["no answer"; 2]);

    let _server = moto(port, folder.path());
    holds(&mut pods, ["there is no such bucket", ""]);
    put("/bucket", "");
    holds(&mut pods, ["allow_empty", ""]);
    put("/bucket/dags/b.py", "2");
    put("/bucket/dags/a.py", "a");
    let second = published.publish_dir(dags("2").path());
    pods.iter_mut().for_each(|pod| drop(pod.is_on(&second)));
}

/// Such requests are made again within the same sync: nobody hears of it.
#[test]
fn a_server_that_is_busy_for_a_moment_is_no_outage() {
    let (double, place) = double();
    let mut pod = place.pod().set("s3.layout", "prefix");
    pod.start_on(&write_files(&double, 0));
    for action in [Action::status(503, "SlowDown"), Action::Reset, Action::Truncate(1)] {
        double.inject(Rule::on(Op::Get, action));
    }
    pod.is_on(&write_files(&double, 1));
    let log = pod.log();
    assert_eq!(log.matches("the request is made again").count(), 3, "{log}");
    // But that the bucket was written to, which it may have met.
    let failures = log.lines().filter(|line| line.contains("sync failed") && !line.contains(r#""kind":"changed""#));
    assert_eq!(failures.collect::<Vec<_>>(), [""; 0]);
}
