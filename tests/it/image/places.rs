//! Where an image's DAGs lie: on a root file system that nobody can write to, behind a link, or not where they should.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use super::baked::Baked;
use crate::harness::{Outcome, Pod, Process, dagsync, eventually};

/// The image's user, who has no right beyond what everybody has.
const USER: u32 = 65533;

/// The command as that user, without a capability.
fn as_user(command: &Command) -> Command {
    let mut confined = Command::new("setpriv");
    confined.args(["--reuid=65533", "--regid=65533", "--clear-groups", "--bounding-set=-all", "--no-new-privs"]);
    confined.arg(command.get_program()).args(command.get_args()).env_clear();
    confined.envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
    confined
}

/// The command in a mount namespace where everything but `writable` is read-only.
fn read_only(command: &Command, writable: &Path) -> Command {
    let mut confined = Command::new("unshare");
    let script = format!(
        "mount --bind {0} {0} && mount -o remount,ro,bind / && for m in /tmp /work; do mountpoint -q $m && mount -o remount,ro,bind $m; done; exec \"$@\"",
        writable.display()
    );
    confined.args(["--mount", "--propagation", "private", "sh", "-c", &script, "sh"]);
    let inner = as_user(command);
    confined.arg(inner.get_program()).args(inner.get_args()).env_clear();
    confined.envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
    confined
}

fn open_to(path: &Path, mode: u32) {
    std::fs::set_permissions(path, PermissionsExt::from_mode(mode)).unwrap();
}

#[test]
fn a_tree_and_a_root_file_system_that_nobody_can_write_to() {
    let baked = Baked::sealed();
    let store = tempfile::tempdir().unwrap();
    open_to(store.path(), 0o755);
    let root = store.path().join("root");
    std::fs::create_dir(&root).unwrap();
    std::os::unix::fs::chown(&root, Some(USER), Some(USER)).unwrap();
    baked.tamper("chmod -R a-w,a+rX .");
    let mut pod = baked.pod().at(&root);
    let probe = |file: &Path| {
        let mut touch = Command::new("touch");
        touch.arg(file).env("PATH", std::env::var_os("PATH").unwrap());
        Outcome::of(&mut read_only(&touch, &root)).code
    };
    assert_eq!((probe(&root.join("x")), probe(&baked.beside().join("x"))), (Some(0), Some(1)), "it is read-only");
    let mut verify = dagsync();
    verify.arg("verify").arg(baked.dags());
    Outcome::of(&mut read_only(&verify, &root)).ended(0, &["verified, 3 files"]);
    Outcome::of(&mut read_only(&pod.command("once"), &root)).ended(0, &[&baked.version()]);
    pod.change("log.level", "info");
    let log = store.path().join("log");
    let mut process = Process::start(&mut read_only(&pod.command("run"), &root), &log);
    let state = |state: &str| {
        eventually(&format!("it is {state}: {}", process.log()), || pod.status().filter(|s| s["state"] == state))
    };
    state("converged");
    baked.tamper("echo 'a = 2' > a.py");
    assert_eq!(state("tampered")["tampered"][0]["path"], "a.py");
    process.signal(rustix::process::Signal::TERM);
    assert!(process.wait().success(), "{}", process.log());
}

#[test]
fn a_folder_that_is_not_there_or_is_none() {
    let baked = Baked::sealed();
    baked.tamper("cd ..; echo 1 > file; ln -s dags link; ln -s nowhere dangling");
    let at = |name: &str| baked.beside().join(name).display().to_string();
    for (name, why) in [("absent", "absent"), ("dangling", "dangling"), ("file", "Not a directory")] {
        let verify = Outcome::of(dagsync().arg("verify").arg(at(name)));
        verify.ended(2, &[why, &at(name)]);
        let source = format!("image:{}", at(name));
        Pod::new(&source).once().ended(2, &[why, &at(name)]);
        let mut pod = Pod::new(&source);
        pod.start();
        let status = pod.wait("it says why", |s| !s["last_error"].is_null());
        let told = status["last_error"]["message"].as_str().unwrap();
        assert!(told.contains(why) && told.contains(&at(name)), "{told}");
        assert_eq!((&status["state"], pod.get("/readyz").unwrap().0), (&"starting".into(), 503));
    }
    // A link to it is what it leads to.
    Outcome::of(dagsync().arg("verify").arg(at("link"))).ended(0, &["verified, 3 files"]);
    Pod::new(&format!("image:{}", at("link"))).once().ended(0, &[&baked.version()]);
}

#[test]
fn what_may_not_be_read() {
    let baked = Baked::sealed();
    let store = tempfile::tempdir().unwrap();
    open_to(store.path(), 0o777);
    let mut verify = dagsync();
    verify.arg("verify").arg(baked.dags());
    let once = baked.pod().at(&store.path().join("root")).command("once");
    for file in ["team/b.py", "team", ".dagsync/seal.json", ".dagsync/manifest", ""] {
        let file = baked.dags().join(file);
        let before = std::fs::metadata(&file).unwrap().permissions();
        Outcome::of(&mut as_user(&verify)).ended(0, &["verified"]);
        open_to(&file, 0o000);
        let named = file.display().to_string();
        let named = named.trim_end_matches('/');
        // Whoever made a part of it unreadable changed it; that nothing of it can be read may be the caller's mistake.
        let status = if file == baked.dags().join("") { 2 } else { 1 };
        Outcome::of(&mut as_user(&verify)).ended(status, &["Permission denied", named]);
        Outcome::of(&mut as_user(&once)).ended(status, &["Permission denied", named]);
        std::fs::set_permissions(&file, before).unwrap();
    }
}
