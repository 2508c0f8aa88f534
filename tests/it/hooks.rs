//! Commands: the gate before a publish, the hook after it, and the files that tell of both.

use std::path::{Path, PathBuf};

use rustix::process::{Pid, Signal, kill_process};

use crate::harness::{Outcome, Pod, Repo, dagsync, eventually, shell};

/// A shell script; another process writes it, because one that is open for writing cannot be run.
fn script(folder: &Path, body: &str) -> PathBuf {
    let path = folder.join("command");
    std::fs::write(folder.join("body"), format!("#!/bin/sh\n{body}\n")).unwrap();
    shell(folder, "cp body command && chmod 755 command");
    path
}

/// The process that wrote its number to `file`.
fn written_pid(file: &Path) -> Pid {
    let read = || std::fs::read_to_string(file).ok()?.trim().parse().ok();
    Pid::from_raw(eventually("a command writes its number", read)).unwrap()
}

fn is_there(pid: Pid) -> bool {
    Path::new("/proc").join(pid.as_raw_nonzero().to_string()).exists()
}

/// A gate that waits for ever once `hold` exists.
fn holding(folder: &Path) -> PathBuf {
    let (hold, pid) = (folder.join("hold"), folder.join("pid"));
    script(folder, &format!("test -e {} || exit 0; echo $$ > {}; exec sleep 1000", hold.display(), pid.display()))
}

#[test]
fn a_gate_holds_a_bad_tree_back_and_says_so_everywhere() {
    let (repo, folder) = (Repo::with(&[("a.py", "1")]), tempfile::tempdir().unwrap());
    let gate = script(folder.path(), "cut -f 2 | xargs grep -n BAD && exit 9; exit 0");
    let mut pod = Pod::new(&repo.file_url())
        .set("gate.command", &gate)
        .set("error_file", "error.json")
        .set("touch_file", "touched");
    let good = repo.version();
    pod.start_on(&good);
    assert!(pod.root().join("touched").exists() && !pod.root().join("error.json").exists());
    repo.write("dags/b.py", "BAD\n");
    repo.commit("second");
    let status = pod.wait("the gate refuses", |s| s["last_error"]["kind"] == "refused");
    assert_eq!(
        (&status["gate"]["result"], &status["gate"]["exit_status"]),
        (&"refused".into(), &"exit status: 9".into())
    );
    assert_eq!((&status["gate"]["output"], &status["version"]), (&"1:BAD".into(), &good.as_str().into()));
    assert_eq!(pod.get("/readyz").unwrap().0, 200);
    let asked =
        |pod: &Pod, result| pod.metric(&format!("dagsync_operations_total{{operation=\"gate\",result={result:?}}}"));
    assert!(asked(&pod, "success") == 1.0 && asked(&pod, "error") >= 1.0);
    let error = eventually("the error file is written", || std::fs::read(pod.root().join("error.json")).ok());
    let error: serde_json::Value = serde_json::from_slice(&error).unwrap();
    assert!(error["Err"].as_str().unwrap().contains("exit status: 9: 1:BAD"), "{error}");
    pod.says("exit status: 9");
    let url = format!("http://127.0.0.1:{}", pod.port());
    Outcome::of(dagsync().args(["status", &url])).ended(1, &["gate", "result: refused", "1:BAD"]);
    repo.write("dags/b.py", "mended\n");
    repo.commit("third");
    pod.is_on(&repo.version());
    assert_eq!(asked(&pod, "success"), 2.0);
    eventually("the error file is gone", || (!pod.root().join("error.json").exists()).then_some(()));
}

#[test]
fn the_endpoints_answer_while_the_gate_runs_and_sigterm_ends_both() {
    let (repo, folder) = (Repo::with(&[("a.py", "1")]), tempfile::tempdir().unwrap());
    let mut pod = Pod::new(&repo.file_url()).set("gate.command", holding(folder.path())).set("gate.timeout", "1h");
    pod.start_on(&repo.version());
    let version = repo.version();
    std::fs::write(folder.path().join("hold"), "").unwrap();
    repo.write("a.py", "2");
    repo.commit("second");
    let gate = written_pid(&folder.path().join("pid"));
    assert_eq!(pod.status().unwrap()["version"], version.as_str());
    assert_eq!((pod.get("/readyz").unwrap().0, pod.get("/livez").unwrap().0), (200, 200));
    assert_eq!(pod.stop().code(), Some(0), "{}", pod.log());
    assert!(!is_there(gate));
    assert_eq!(std::fs::read_dir(pod.root().join(".dagsync/staging")).unwrap().count(), 0);
}

#[test]
fn a_daemon_that_is_killed_while_the_gate_runs_starts_again() {
    let (repo, folder) = (Repo::with(&[("a.py", "1")]), tempfile::tempdir().unwrap());
    let mut pod = Pod::new(&repo.file_url()).set("gate.command", holding(folder.path())).set("gate.timeout", "1h");
    pod.start_on(&repo.version());
    std::fs::write(folder.path().join("hold"), "").unwrap();
    repo.write("a.py", "2");
    repo.commit("second");
    let gate = written_pid(&folder.path().join("pid"));
    pod.kill();
    std::fs::remove_file(folder.path().join("hold")).unwrap();
    pod.start_on(&repo.version());
    assert_eq!(std::fs::read_dir(pod.root().join(".dagsync/staging")).unwrap().count(), 0);
    kill_process(gate, Signal::KILL).unwrap();
}

#[test]
fn a_command_inherits_no_secret_and_may_run_dagsync() {
    let (repo, folder) = (Repo::with(&[("a.py", "1")]), tempfile::tempdir().unwrap());
    let program = env!("CARGO_BIN_EXE_dagsync");
    let hook = script(folder.path(), &format!("env > {}/env; {program} config", folder.path().display()));
    let pod = Pod::new(&repo.file_url()).set("exechook.command", &hook).set("git.password", "s3cret");
    pod.once().ended(0, &[]);
    let environment = std::fs::read_to_string(folder.path().join("env")).unwrap();
    assert!(environment.contains("DAGSYNC_SOURCE=file://") && environment.contains("GITSYNC_HASH="), "{environment}");
    assert!(!environment.contains("s3cret"), "{environment}");
}

#[test]
fn once_fails_when_its_command_does_and_the_tree_stays_published() {
    let (repo, folder) = (Repo::with(&[("a.py", "1")]), tempfile::tempdir().unwrap());
    let hook = script(folder.path(), "echo out of luck; exit 7");
    let pod = Pod::new(&repo.file_url()).set("exechook.command", &hook).set("error_file", "error.json");
    pod.once().ended(2, &["exit status: 7", "out of luck"]);
    assert_eq!(std::fs::read_to_string(pod.link().join("a.py")).unwrap(), "1");
    assert!(pod.root().join("error.json").exists());
    script(folder.path(), "exit 0");
    pod.once().ended(0, &[]);
    assert!(!pod.root().join("error.json").exists());
}

#[test]
fn a_hook_of_a_daemon_runs_again_until_it_succeeds() {
    let (repo, folder) = (Repo::with(&[("a.py", "1")]), tempfile::tempdir().unwrap());
    let tries = folder.path().join("tries");
    let hook = script(folder.path(), &format!("cat a.py >> {0}; test $(wc -c < {0}) -ge 3", tries.display()));
    let mut pod = Pod::new(&repo.file_url()).set("exechook.command", &hook).set("exechook.backoff", "100ms");
    pod.start_on(&repo.version());
    let said = || std::fs::read_to_string(&tries).ok().filter(|tries| tries == "111");
    eventually("it is run three times", said);
    repo.write("a.py", "2");
    repo.commit("second");
    pod.is_on(&repo.version());
    eventually("it is run for the second", || std::fs::read_to_string(&tries).ok().filter(|tries| tries == "1112"));
    assert_eq!(pod.stop().code(), Some(0));
}
