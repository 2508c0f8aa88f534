//! What happens to a source: history rewritten, a branch gone, a server that hangs.

use crate::harness::{Gate, Nginx, Pod, Repo, Sshd, eventually, version_of};

#[test]
fn a_force_push_is_followed() {
    let repo = Repo::with(&[("a.py", "1")]);
    repo.write("a.py", "2");
    repo.commit("second");
    let sshd = Sshd::start();
    let mut pod = Pod::over_ssh(&sshd, &repo, sshd.port);
    pod.start_on(&repo.version());
    repo.git(&["reset", "--quiet", "--hard", "HEAD~1"]);
    repo.write("b.py", "another history");
    repo.commit("instead of the second");
    pod.is_on(&repo.version());
}

#[test]
fn a_deleted_branch_is_an_error_that_names_it_and_passes() {
    let repo = Repo::with(&[("a.py", "1")]);
    repo.git(&["checkout", "--quiet", "-b", "release"]);
    repo.push();
    let version = repo.version();
    let mut pod = Pod::new(&repo.file_url()).set("git.ref", "release");
    pod.start_on(&version);
    repo.git(&["push", "--quiet", "origin", "--delete", "release"]);
    let status = pod.wait("it says which branch", |s| s["last_error"].to_string().contains("release"));
    assert_eq!((&status["version"], pod.get("/readyz").unwrap().0), (&version.as_str().into(), 200));
    repo.write("a.py", "2");
    repo.commit("it is back");
    pod.is_on(&repo.version());
}

#[test]
fn branches_tags_and_commits() {
    let repo = Repo::with(&[("a.py", "1")]);
    let (first, commit) = (repo.version(), repo.git(&["rev-parse", "HEAD"]));
    repo.git(&["tag", "light"]);
    repo.git(&["tag", "-a", "-m", "annotated", "v1"]);
    repo.git(&["push", "--quiet", "--tags", "origin"]);
    repo.write("a.py", "2");
    repo.commit("second");
    let second = repo.version();
    let nginx = Nginx::serve(&repo);
    let wanted = [("main", &second), ("HEAD", &second), ("light", &first), ("v1", &first), (commit.as_str(), &first)];
    for (reference, version) in wanted {
        let pod = Pod::over_https(&nginx, nginx.port).set("git.ref", reference);
        pod.once().ended(0, &[]);
        assert_eq!(&crate::harness::version_by_hand(&pod.current().unwrap()), version, "{reference}");
    }
}

#[test]
fn a_tag_of_a_folder_is_refused_for_good() {
    let repo = Repo::with(&[("a.py", "1")]);
    repo.git(&["tag", "folder", "HEAD^{tree}"]);
    repo.git(&["tag", "-a", "-m", "annotated", "note", "HEAD:a.py"]);
    repo.git(&["push", "--quiet", "--tags", "origin"]);
    let nginx = Nginx::serve(&repo);
    for (reference, kind) in [("folder", "a tree"), ("note", "a blob")] {
        let pod = Pod::over_https(&nginx, nginx.port).set("git.ref", reference);
        pod.once().ended(2, &[kind, "not to a commit", "git.ref"]);
    }
}

#[test]
fn a_hung_server_ends_in_a_timeout_and_is_forgiven() {
    let repo = Repo::with(&[("a.py", "1")]);
    let (sshd, nginx) = (Sshd::start(), Nginx::serve(&repo));
    let gates = [Gate::before(sshd.port), Gate::before(nginx.port)];
    let mut pods = [Pod::over_ssh(&sshd, &repo, gates[0].port), Pod::over_https(&nginx, gates[1].port)];
    for (pod, gate) in pods.iter_mut().zip(&gates) {
        pod.change("timeout", "2s");
        pod.start_on(&repo.version());
        gate.hang();
    }
    for (pod, gate) in pods.iter_mut().zip(&gates) {
        eventually("somebody waits for an answer", || (gate.waiting() > 0).then_some(()));
        let status = pod.wait("it gave up", |s| !s["last_error"].is_null());
        assert_eq!(status["last_error"]["kind"], "timeout", "{status}");
        assert_eq!(pod.get("/livez").unwrap().0, 200);
    }
    repo.write("a.py", "2");
    repo.commit("news");
    gates.iter().for_each(Gate::open);
    pods.iter_mut().for_each(|pod| drop(pod.is_on(&repo.version())));
}

#[test]
fn sigterm_ends_a_sync_that_hangs() {
    let repo = Repo::with(&[("a.py", "1")]);
    let nginx = Nginx::serve(&repo);
    let gate = Gate::before(nginx.port);
    gate.hang();
    let mut pod = Pod::over_https(&nginx, gate.port);
    pod.start();
    eventually("somebody waits for an answer", || (gate.waiting() > 0).then_some(()));
    assert_eq!(pod.stop().code(), Some(0), "{}", pod.log());
}

#[test]
fn an_emptied_source_deletes_nothing_unless_allowed() {
    let repo = Repo::with(&[("a.py", "1")]);
    let good = repo.version();
    let mut pod = Pod::new(&repo.file_url());
    pod.start_on(&good);
    std::fs::remove_file(repo.work().join("a.py")).unwrap();
    repo.commit("everything deleted");
    let status = pod.wait("it refuses", |s| s["last_error"].to_string().contains("allow_empty"));
    assert_eq!(status["version"], good.as_str());
    pod.kill();
    pod.change("allow_empty", "true");
    pod.start_on(&repo.version());
}

#[test]
fn a_first_sync_is_one_connection_and_so_is_one_that_finds_nothing_new() {
    let (repo, sshd) = (Repo::with(&[("a.py", "1")]), Sshd::start());
    let gate = Gate::before(sshd.port);
    let pod = Pod::over_ssh(&sshd, &repo, gate.port);
    for connections in [1, 2] {
        pod.once().ended(0, &[]);
        assert_eq!((gate.guests(), version_of(&pod.current().unwrap()).unwrap()), (connections, repo.version()));
    }
}
