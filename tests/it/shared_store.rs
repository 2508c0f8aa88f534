//! One store and many daemons: one writes, the others stand by, and no reader ever sees a gap.

use std::time::Duration;

use rustix::process::Signal;

use crate::harness::{Pod, Repo, contents, eventually, version_of};

const PODS: usize = 8;

/// Daemons that share the store of the first.
struct Fleet {
    repo: Repo,
    pods: Vec<Pod>,
    /// What was ever committed, the newest last.
    versions: Vec<String>,
}

impl Fleet {
    /// All of them run and are on the first commit.
    fn start() -> Self {
        let repo = Repo::with(&[("a.py", "0"), ("team/same.py", "same"), ("team/b.py", "0")]);
        let pod =
            || Pod::new(&repo.file_url()).set("lease", "1s").set("log.level", "info").set("scrub.interval", "300ms");
        let first = pod();
        let root = first.root().to_owned();
        let mut pods = vec![first];
        pods.extend((1..PODS).map(|_| pod().at(&root)));
        pods.iter_mut().for_each(Pod::start);
        let versions = vec![repo.version()];
        let mut fleet = Self { repo, pods, versions };
        fleet.are_on_the_newest(&[]);
        fleet
    }

    fn commit(&mut self) {
        let n = self.versions.len().to_string();
        self.repo.write("a.py", &n);
        self.repo.write("team/b.py", &format!("b = {n}"));
        self.repo.commit(&n);
        self.versions.push(self.repo.version());
    }

    fn newest(&self) -> String {
        self.versions.last().unwrap().clone()
    }

    /// Waits until every pod but those in `without` shows the newest version and one of them writes; which one.
    #[track_caller]
    fn are_on_the_newest(&mut self, without: &[usize]) -> usize {
        let newest = self.newest();
        let asked: Vec<usize> = (0..self.pods.len()).filter(|n| !without.contains(n)).collect();
        for n in &asked {
            let is_there = |s: &serde_json::Value| s["version"] == newest.as_str() && s["ready"] == true;
            self.pods[*n].wait(&format!("pod {n} is on {newest}"), is_there);
        }
        eventually("one pod writes and the others name it", || {
            let status: Vec<_> = asked.iter().map(|n| Some((*n, self.pods[*n].status()?))).collect::<Option<_>>()?;
            let writers: Vec<_> = status.iter().filter(|(_, s)| s["writer"] == true).collect();
            let [(writer, of_writer)] = writers[..] else { return None };
            let stands_by = |s: &serde_json::Value| s["state"] == "standby" && s["holder"] == of_writer["holder"];
            let others = status.iter().filter(|(n, _)| n != writer);
            (of_writer["state"] == "converged" && others.clone().all(|(_, s)| stands_by(s))).then_some(*writer)
        })
    }

    /// Every version was made current once, by one pod, as the logs say.
    fn flipped_once_each(&self) {
        for version in &self.versions {
            let flips = |pod: &Pod| {
                let of_it =
                    |line: &&str| line.contains("published") && line.contains("written") && line.contains(version);
                pod.log().lines().filter(of_it).count()
            };
            let flips: Vec<usize> = self.pods.iter().map(flips).collect();
            assert!(flips.iter().sum::<usize>() <= 1, "{version} was published by {flips:?}");
        }
    }

    /// The store is as one process alone would have left it.
    fn is_whole(&self) {
        let (current, newest) = (self.pods[0].current().unwrap(), self.newest());
        assert_eq!(version_of(&current).unwrap(), newest);
        let manifest = self.pods[0].root().join(".dagsync/manifests").join(&newest[7..]);
        let lines = std::fs::read_to_string(manifest).unwrap().lines().count();
        assert_eq!(lines, contents(&current).unwrap().len());
        for n in 0..self.pods.len() {
            assert!(!self.pods[n].log().contains("tampered"), "{}", self.pods[n].log());
        }
    }
}

#[test]
fn one_of_eight_writes_and_another_goes_on_when_it_is_killed() {
    let mut fleet = Fleet::start();
    let reader = fleet.pods[0].reader();
    let mut gone = Vec::new();
    for _ in 0..3 {
        let writer = fleet.are_on_the_newest(&gone);
        fleet.commit();
        assert_eq!(fleet.are_on_the_newest(&gone), writer, "as long as it lives it stays");
        for n in (0..PODS).filter(|n| !gone.contains(n)) {
            assert_eq!(fleet.pods[n].get("/readyz").unwrap().0, 200);
            assert_eq!(fleet.pods[n].metric("dagsync_store_writer"), f64::from(u8::from(n == writer)));
            assert!(!fleet.pods[n].log().contains("ERROR"), "standing by is no error: {}", fleet.pods[n].log());
        }
        fleet.pods[writer].kill();
        gone.push(writer);
        fleet.commit();
        assert_ne!(fleet.are_on_the_newest(&gone), writer);
    }
    let last = fleet.are_on_the_newest(&gone);
    assert_eq!(fleet.pods[last].stop().code(), Some(0));
    gone.push(last);
    fleet.commit();
    fleet.are_on_the_newest(&gone);
    fleet.flipped_once_each();
    fleet.is_whole();
    let versions: Vec<&str> = fleet.versions.iter().map(String::as_str).collect();
    reader.saw_only(&versions);
}

#[test]
fn a_writer_that_is_stopped_at_any_moment_is_succeeded_and_does_no_harm_when_it_goes_on() {
    let mut fleet = Fleet::start();
    let reader = fleet.pods[0].reader();
    let mut random = fastrand::Rng::with_seed(12);
    let mut writer = fleet.are_on_the_newest(&[]);
    for _ in 0..9 {
        fleet.commit();
        std::thread::sleep(Duration::from_millis(random.u64(0..350)));
        fleet.pods[writer].signal(Signal::STOP);
        if random.bool() {
            fleet.commit();
        }
        let successor = fleet.are_on_the_newest(&[writer]);
        assert_ne!(successor, writer);
        let commits_go_on = random.bool();
        if commits_go_on {
            fleet.commit();
        }
        fleet.pods[writer].signal(Signal::CONT);
        let holder = fleet.pods[successor].status().unwrap()["holder"].clone();
        fleet.pods[writer].wait("it stands by", |s| s["writer"] == false && s["holder"] == holder);
        writer = fleet.are_on_the_newest(&[]);
        assert_eq!(writer, successor, "it takes nothing back");
    }
    fleet.flipped_once_each();
    fleet.is_whole();
    let versions: Vec<&str> = fleet.versions.iter().map(String::as_str).collect();
    reader.saw_only(&versions);
}

#[test]
fn once_is_content_with_what_another_process_keeps() {
    let repo = Repo::with(&[("a.py", "1")]);
    let mut daemon = Pod::new(&repo.file_url());
    daemon.start_on(&repo.version());
    let holder = daemon.status().unwrap()["holder"].as_str().unwrap().to_owned();
    // It does not even ask the source.
    let init = Pod::new("file:///nonexistent/dags.git").at(daemon.root()).set("log.level", "info");
    init.once().ended(0, &[&repo.version(), &holder, "standing by"]);
    let mut json = init.command("once");
    let outcome = crate::harness::Outcome::of(json.args(["--output", "json"]));
    let report: serde_json::Value = serde_json::from_str(&outcome.ended(0, &[]).stdout).unwrap();
    assert_eq!((&report["published"], &report["version"]), (&false.into(), &repo.version().into()));
}

#[test]
fn once_waits_for_a_version_of_the_process_that_keeps_the_store_and_says_when_there_is_none() {
    let repo = Repo::new();
    let mut daemon = Pod::new(&repo.file_url());
    daemon.start();
    daemon.wait("it writes and has nothing", |s| s["writer"] == true && !s["last_error"].is_null());
    let init = Pod::new(&repo.file_url()).at(daemon.root());
    let holder = daemon.status().unwrap()["holder"].as_str().unwrap().to_owned();
    let hurried = Pod::new(&repo.file_url()).at(daemon.root()).set("timeout", "1s").once();
    hurried.ended(2, &["is in use by another dagsync", &holder, "has not published a good version yet"]);
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| init.once());
        repo.write("a.py", "1");
        repo.commit("the first of all");
        waiting.join().unwrap().ended(0, &[&repo.version()]);
    });
}

#[test]
fn a_pod_that_stands_by_reports_what_is_done_to_the_store_and_the_writer_mends_it() {
    let repo = Repo::with(&[("a.py", "a"), ("b.py", "b")]);
    let good = repo.version();
    let mut writer = Pod::new(&repo.file_url()).set("scrub.interval", "2s");
    writer.start_on(&good);
    let mut standby = Pod::new(&repo.file_url()).at(writer.root()).set("scrub.interval", "100ms");
    standby.start();
    standby.wait("it stands by", |s| s["state"] == "standby" && s["version"] == good.as_str());
    let broken = writer.current().unwrap();
    crate::harness::swap_in(&broken.join("a.py"), Some("by hand"));
    standby.says("tampered");
    let mended =
        |s: &serde_json::Value| s["state"] == "standby" && s["folder"].as_str().is_some_and(|f| f.ends_with(".2"));
    standby.wait("it is mended", mended);
    assert!(!standby.log().contains("written="), "not by this one: {}", standby.log());
    assert!(standby.metric("dagsync_tampered_files_total") >= 1.0);
}

#[test]
fn each_pod_calls_its_own_hook_and_the_writer_alone_touches_a_file_in_the_store() {
    let repo = Repo::with(&[("a.py", "a")]);
    let mut writer = Pod::new(&repo.file_url()).set("touch_file", "touched");
    writer.start_on(&repo.version());
    let folder = tempfile::tempdir().unwrap();
    let (hook, told, own) = (folder.path().join("hook"), folder.path().join("told"), folder.path().join("own"));
    let script = format!("#!/bin/sh\necho $DAGSYNC_VERSION >> {}\n", told.display());
    std::fs::write(&hook, script).unwrap();
    crate::harness::shell(folder.path(), "chmod +x hook");
    let mut standby =
        Pod::new(&repo.file_url()).at(writer.root()).set("exechook.command", &hook).set("touch_file", &own);
    standby.start();
    let heard = |version: String| {
        eventually("the hook of the pod that stands by is called", || {
            std::fs::read_to_string(&told).ok()?.lines().last().is_some_and(|line| line == version).then_some(())
        });
    };
    heard(repo.version());
    assert!(own.exists(), "a file of its own is touched");
    std::fs::remove_file(&own).unwrap();
    std::fs::remove_file(writer.root().join("touched")).unwrap();
    standby.kill();
    standby.change("touch_file", "touched");
    standby.start();
    standby.wait("it stands by", |s| s["state"] == "standby");
    assert!(!writer.root().join("touched").exists(), "one in the store is the writer's");
    repo.write("a.py", "b");
    repo.commit("second");
    heard(repo.version());
    writer.is_on(&repo.version());
    eventually("the writer touches it", || writer.root().join("touched").exists().then_some(()));
}
