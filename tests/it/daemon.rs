//! The daemon's life: signals, exit codes, restarts, and who may write to a store.

use rustix::process::Signal;

use crate::harness::{Gate, Outcome, Pod, Repo, Sshd, dagsync};

#[test]
fn sighup_syncs_now() {
    let repo = Repo::with(&[("a.py", "1")]);
    let mut pod = Pod::new(&repo.file_url()).set("period", "1h");
    pod.start_on(&repo.version());
    repo.write("a.py", "2");
    repo.commit("second");
    pod.signal(Signal::HUP);
    pod.is_on(&repo.version());
}

#[test]
fn a_post_with_the_token_syncs_now() {
    let repo = Repo::with(&[("a.py", "1")]);
    let token = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(token.path(), "let-me-in\n").unwrap();
    let mut pod = Pod::new(&repo.file_url()).set("period", "1h").set("http.token_file", token.path());
    pod.start_on(&repo.version());
    repo.write("a.py", "2");
    repo.commit("second");
    let (refused, _) = pod.post("/v1/sync", "wrong").unwrap();
    assert!(refused == 401 || refused == 403, "{refused}");
    let (code, body) = pod.post("/v1/sync", "let-me-in").unwrap();
    assert!((200..300).contains(&code), "{code} {body}");
    pod.is_on(&repo.version());
}

#[test]
fn sigterm_ends_it_with_0_and_leaves_the_store_good() {
    let repo = Repo::with(&[("a.py", "1")]);
    let mut pod = Pod::new(&repo.file_url());
    pod.start_on(&repo.version());
    assert_eq!(pod.stop().code(), Some(0), "{}", pod.log());
    Outcome::of(dagsync().arg("status").arg(pod.root())).ended(0, &[&repo.version()[7..19]]);
}

#[test]
fn a_restart_while_the_source_is_down_is_ready_at_once() {
    let repo = Repo::with(&[("a.py", "1")]);
    let sshd = Sshd::start();
    let gate = Gate::before(sshd.port);
    let mut pod = Pod::over_ssh(&sshd, &repo, gate.port);
    pod.start_on(&repo.version());
    pod.kill();
    gate.shut();
    pod.start();
    pod.wait("it fails and says so", |s| !s["last_error"].is_null());
    assert_eq!(pod.get("/readyz").unwrap().0, 200);
    assert_eq!(pod.status().unwrap()["version"], repo.version().as_str());
    gate.open();
    pod.is_on(&repo.version());
}

#[test]
fn it_is_not_ready_before_something_is_published() {
    let repo = Repo::new();
    let mut pod = Pod::new(&repo.file_url());
    pod.start();
    pod.wait("it fails", |s| !s["last_error"].is_null());
    assert_eq!((pod.get("/readyz").unwrap().0, pod.get("/livez").unwrap().0), (503, 200));
    repo.write("a.py", "1");
    repo.commit("the first commit of all");
    pod.is_on(&repo.version());
    assert_eq!(pod.get("/readyz").unwrap().0, 200);
}

#[test]
fn max_failures_ends_it_and_fewer_do_not() {
    let repo = Repo::new();
    let mut pod = Pod::new(&repo.file_url()).set("max_failures", "3");
    pod.start();
    assert_eq!(pod.ends().code(), Some(2), "{}", pod.log());
}

#[test]
fn once_says_by_its_exit_code_how_it_went() {
    let repo = Repo::with(&[("a.py", "1")]);
    Pod::new(&repo.file_url()).once().ended(0, &[]);
    Pod::new("file:///nonexistent/dags.git").once().ended(2, &["/nonexistent/dags.git"]);
    Pod::new("gopher://somewhere/dags").once().ended(64, &["git"]);
    Pod::new(&repo.file_url()).set("period", "soon").once().ended(64, &["period"]);
    Pod::new(&repo.file_url()).set("perriod", "1s").once().ended(64, &["PERRIOD", "DAGSYNC_PERIOD"]);
    Outcome::of(dagsync().args(["once", "--no-such-flag"])).ended(64, &["--no-such-flag"]);
}

#[test]
fn an_unknown_key_in_the_file_suggests_the_nearest() {
    let file = tempfile::Builder::new().suffix(".yaml").tempfile().unwrap();
    std::fs::write(file.path(), "git:\n  reff: main\n").unwrap();
    let args = ["once", "--source", "file:///x.git", "--config"];
    Outcome::of(dagsync().args(args).arg(file.path())).ended(64, &["git.reff", "git.ref"]);
}

#[test]
fn a_second_daemon_on_the_same_store_waits_for_the_first() {
    let repo = Repo::with(&[("a.py", "1")]);
    let mut first = Pod::new(&repo.file_url());
    first.start_on(&repo.version());
    let mut second = Pod::new(&repo.file_url()).at(first.root());
    second.start();
    second.says("lock");
    repo.write("a.py", "2");
    repo.commit("second");
    first.is_on(&repo.version());
    first.kill();
    repo.write("a.py", "3");
    repo.commit("third");
    second.is_on(&repo.version());
}
