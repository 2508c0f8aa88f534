//! What can be wrong with a shared folder and with the disk that is copied to: each is named, and the last good version
//! stays published.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, SystemTime};

use super::{Shared, fails_and_serves, in_place, pod};
use crate::harness::{FaultFs, Pod, Tmpfs, contents, shell};

/// A user that is not root and not the owner of anything.
const SOMEBODY: u32 = 65_533;

fn shared() -> Shared {
    Shared::with(&[("a.py", "1"), ("team/b.py", "2"), ("team/c.py", "3")])
}

#[track_caller]
fn converges(pod: &mut Pod, version: &str) {
    pod.wait(&format!("it is on {version}"), |s| s["version"] == version && s["state"] == "converged");
}

/// Copied and in place, started on what is there.
fn both(source: &std::path::Path, version: &str) -> [Pod; 2] {
    [pod(source), in_place(source)].map(|mut pod| {
        pod.start();
        converges(&mut pod, version);
        pod
    })
}

#[test]
fn a_folder_that_goes_or_is_empty_and_comes_back() {
    let shared = shared();
    let version = shared.version();
    for mut pod in both(&shared.path(), &version) {
        let tell = |script: &str| drop(shell(shared.home(), script));
        tell("mv dags away");
        fails_and_serves(
            &mut pod,
            "not-found",
            &["dags is not there", "check the path and that its volume is mounted"],
            &version,
        );
        tell("mkdir dags");
        fails_and_serves(
            &mut pod,
            "not-found",
            &["dags holds nothing at all", "check that the volume is mounted"],
            &version,
        );
        tell("rmdir dags; touch dags");
        fails_and_serves(&mut pod, "not-found", &["dags is no folder"], &version);
        tell("rm dags; mv away dags");
        converges(&mut pod, &version);
    }
}

#[test]
fn a_tree_that_loses_its_last_file_is_refused() {
    let shared = shared();
    let version = shared.version();
    let mut pod = shared.pod();
    pod.start_on(&version);
    shell(shared.home(), "mkdir aside; mv dags/* aside; mkdir dags/folder");
    fails_and_serves(&mut pod, "refused", &["empty", "allow_empty"], &version);
    shell(shared.home(), "rmdir dags/folder; mv aside/* dags");
    pod.is_on(&version);
}

#[test]
fn a_file_and_a_folder_that_the_daemon_may_not_read() {
    let shared = shared();
    let version = shared.version();
    for mut pod in [pod(&shared.path()), in_place(&shared.path())] {
        let root = tempfile::tempdir().unwrap();
        for (folder, mode) in [(shared.home(), 0o755), (root.path(), 0o777)] {
            std::fs::set_permissions(folder, PermissionsExt::from_mode(mode)).unwrap();
        }
        pod = pod.by(SOMEBODY).at(&root.path().join("store"));
        pod.start();
        converges(&mut pod, &version);
        shell(&shared.path(), "umask 077; echo 4 >team/secret.py");
        fails_and_serves(&mut pod, "io", &["team/secret.py", "Permission denied", "runAsUser"], &version);
        shell(&shared.path(), "chmod 644 team/secret.py");
        converges(&mut pod, &shared.version());

        let served = shared.version();
        shell(&shared.path(), "chmod 700 team");
        fails_and_serves(&mut pod, "io", &["team", "Permission denied"], &served);
        shell(&shared.path(), "chmod 755 team; rm team/secret.py");
        converges(&mut pod, &version);
        pod.kill();
    }
}

#[test]
fn errors_of_the_volumes_server() {
    let shared = shared();
    let mut fs = FaultFs::over(&shared.path());
    let version = shared.version();
    for (mut pod, own) in both(fs.path(), &version).into_iter().zip(["7", "8"]) {
        let served = pod.status().unwrap()["version"].as_str().unwrap().to_owned();
        // What is known already is not read again.
        shared.write("team/b.py", own);
        for (operation, errno, path, kind, words) in [
            ("read", "EIO", "team/b.py", "io", ["team/b.py", "Input/output error"]),
            ("open", "EIO", "team/b.py", "io", ["team/b.py", "Input/output error"]),
            ("stat", "EIO", "team/c.py", "io", ["team/c.py", "Input/output error"]),
            ("readdir", "EIO", "team", "io", ["team", "Input/output error"]),
            ("open", "ESTALE", "team/b.py", "changed", ["team/b.py", "Stale file handle"]),
            ("readdir", "EREMOTEIO", "team", "io", ["team", "Remote I/O error"]),
        ] {
            fs.heal();
            fs.fail(operation, errno, path);
            // Before the fault was there, it may have got through.
            if pod.status().unwrap()["version"] != served.as_str() {
                shared.write("team/b.py", &format!("{own} {operation} {errno}"));
            }
            let served = pod.status().unwrap()["version"].as_str().unwrap().to_owned();
            fails_and_serves(&mut pod, kind, &words, &served);
        }
        fs.heal();
        converges(&mut pod, &shared.version());
    }
}

#[test]
fn a_server_of_the_volume_that_dies_and_comes_back() {
    let shared = shared();
    let mut fs = FaultFs::over(&shared.path());
    let version = shared.version();
    for mut pod in both(fs.path(), &version) {
        fs.die();
        fails_and_serves(
            &mut pod,
            "io",
            &[fs.path().to_str().unwrap(), "Transport endpoint is not connected"],
            &version,
        );
        fs.revive();
        converges(&mut pod, &version);
    }
}

#[test]
fn a_full_disk_and_a_quota() {
    let shared = shared();
    let small = shared.version();
    let disk = Tmpfs::of_kib(1024);
    let mut full = shared.pod().at(&disk.path().join("store"));
    let backing = tempfile::tempdir().unwrap();
    let mut fs = FaultFs::over(backing.path());
    let mut quota = shared.pod().at(&fs.path().join("store"));
    full.start_on(&small);
    quota.start_on(&small);
    fs.fail("write", "EDQUOT", "*");
    shell(&shared.path(), "for n in $(seq 16); do head -c 131072 /dev/urandom >noise_$n.bin; done");
    fails_and_serves(&mut full, "io", &["No space left on device"], &small);
    fails_and_serves(&mut quota, "io", &["quota exceeded"], &small);
    disk.grow_to_kib(65536);
    fs.heal();
    full.is_on(&shared.version());
    quota.is_on(&shared.version());
}

/// Whatever the clock of who wrote the files says.
#[test]
fn times_of_the_far_future_and_past() {
    let shared = shared();
    let mut pod = shared.pod();
    let set = |path: &str, time: SystemTime| {
        std::fs::File::options().write(true).open(shared.path().join(path)).unwrap().set_modified(time).unwrap();
    };
    let century = Duration::from_secs(100 * 365 * 86_400);
    let (future, past) = (SystemTime::now() + century, SystemTime::UNIX_EPOCH - century / 2);
    set("a.py", future);
    set("team/b.py", past);
    set("team/c.py", SystemTime::UNIX_EPOCH);
    pod.start_on(&shared.version());
    for content in ["8", "9"] {
        for (path, time) in [("a.py", future), ("team/b.py", past)] {
            shared.write(path, content);
            set(path, time);
            pod.is_on(&shared.version());
            // Airflow parses again what is newer than it was, by the clock of this host.
            let published = std::fs::metadata(pod.link().join(path)).unwrap().modified().unwrap();
            let now = SystemTime::now();
            let apart = now.duration_since(published).unwrap_or_else(|ahead| ahead.duration());
            assert!(apart < Duration::from_secs(3600), "{path} is of {published:?}");
        }
    }
}

#[test]
fn a_name_in_latin_1_is_named_until_it_is_left_out_or_renamed() {
    let shared = shared();
    let version = shared.version();
    let latin1 = shared.path().join("team").join(OsStr::from_bytes(b"pr\xfcfung.py"));
    for mut pod in both(&shared.path(), &version) {
        std::fs::write(&latin1, "1").unwrap();
        fails_and_serves(&mut pod, "refused", &["team/pr\\xfcfung.py is not UTF-8"], &version);
        std::fs::rename(&latin1, shared.path().join("team/prüfung.py")).unwrap();
        converges(&mut pod, &shared.version());
        shared.remove("team/prüfung.py");
        converges(&mut pod, &version);
    }
    std::fs::write(&latin1, "1").unwrap();
    let mut pod = shared.pod().set("exclude", "team/*fung.py");
    pod.start();
    converges(&mut pod, &version);
}

/// One folder becomes a link to a folder outside and back, over and over, while the tree is read.
#[test]
fn a_folder_that_becomes_a_link_never_leads_outside() {
    let shared = Shared::new();
    let outside = tempfile::tempdir().unwrap();
    (0..50).for_each(|n| shared.write(&format!("sub/{n}.py"), "inside"));
    (0..50).for_each(|n| std::fs::write(outside.path().join(format!("{n}.py")), "secret").unwrap());
    symlink(outside.path(), shared.home().join("link")).unwrap();
    let mut pod = shared.pod().set("volume.settle", "0s").set("keep.versions", "100000").set("timeout", "2s");
    let inside = shared.version();
    pod.start_on(&inside);
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let (sub, link, aside) =
                (shared.path().join("sub"), shared.home().join("link"), shared.home().join("aside"));
            let mut random = fastrand::Rng::with_seed(1);
            while !stop.load(Relaxed) {
                std::fs::rename(&sub, &aside).unwrap();
                std::fs::rename(&link, &sub).unwrap();
                std::thread::sleep(Duration::from_millis(random.u64(..60)));
                std::fs::rename(&sub, &link).unwrap();
                std::fs::rename(&aside, &sub).unwrap();
                // With another tree each time, so that it is read again.
                std::fs::write(sub.join("0.py"), format!("inside {}", random.u32(..))).unwrap();
                std::thread::sleep(Duration::from_millis(random.u64(..60)));
            }
        });
        let versions = pod.root().join("versions");
        pod.wait("it published ten times", |_| std::fs::read_dir(&versions).unwrap().count() > 10);
        stop.store(true, Relaxed);
    });
    pod.is_on(&shared.version());
    for folder in std::fs::read_dir(pod.root().join("versions")).unwrap() {
        let found = contents(&folder.unwrap().path()).unwrap();
        found.iter().for_each(|(path, content)| assert!(content.starts_with(b"inside"), "{path}"));
    }
}
