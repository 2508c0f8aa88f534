//! In the place of git-sync: the same start, variables, link, probe, metrics and exit status.

use std::fs::Permissions;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::PathBuf;
use std::process::{Command, ExitStatus};

use rustix::process::Signal;
use tempfile::TempDir;

use crate::harness::{Gate, Nginx, Outcome, PASSWORD, Process, Repo, Sshd, eventually, free_port, http};

/// A container that was made for git-sync, and the volume that it shares with Airflow.
struct Container {
    folder: TempDir,
    port: u16,
    env: Vec<(String, String)>,
    args: Vec<String>,
    /// Runs as the image does: as UID 65533 of group 0.
    as_image: bool,
    process: Option<Process>,
}

impl Container {
    fn new(repo: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        // The volume as a pod with fsGroup 0 has it.
        std::fs::set_permissions(folder.path(), Permissions::from_mode(0o775)).unwrap();
        symlink(env!("CARGO_BIN_EXE_dagsync"), folder.path().join("git-sync")).unwrap();
        std::fs::create_dir(folder.path().join("git")).unwrap();
        std::fs::set_permissions(folder.path().join("git"), Permissions::from_mode(0o2775)).unwrap();
        let container =
            Self { folder, port: free_port(), env: Vec::new(), args: Vec::new(), as_image: false, process: None };
        let root = container.root().display().to_string();
        container.set("GITSYNC_REPO", repo).set("GITSYNC_ROOT", root).set("GITSYNC_LINK", "repo")
    }

    /// Reads over ssh, at the server or at a gate in front of it.
    fn over_ssh(sshd: &Sshd, repo: &Repo, port: u16) -> Self {
        let file = |path: PathBuf| path.display().to_string();
        Self::new(&sshd.url(repo, port))
            .set("GITSYNC_SSH_KEY_FILE", file(sshd.key()))
            .set("GITSYNC_SSH_KNOWN_HOSTS_FILE", file(sshd.known_hosts(port)))
    }

    /// With what the chart sends: both generations of variables, and no argument.
    fn of_the_chart(nginx: &Nginx) -> Self {
        let repo = nginx.url(nginx.port);
        let mut container = Self::new(&repo);
        container.as_image = rustix::process::getuid().is_root();
        let root = container.root().display().to_string();
        let bind = format!(":{}", container.port);
        for (name, value) in [
            ("GIT_SYNC_USERNAME", "ada"),
            ("GITSYNC_USERNAME", "ada"),
            ("GIT_SYNC_PASSWORD", PASSWORD),
            ("GITSYNC_PASSWORD", PASSWORD),
            ("GIT_SYNC_REV", "HEAD"),
            ("GITSYNC_REF", "main"),
            ("GIT_SYNC_BRANCH", "main"),
            ("GIT_SYNC_REPO", &repo),
            ("GIT_SYNC_DEPTH", "1"),
            ("GITSYNC_DEPTH", "1"),
            ("GIT_SYNC_ROOT", &root),
            ("GIT_SYNC_DEST", "repo"),
            ("GIT_SYNC_ADD_USER", "true"),
            ("GITSYNC_ADD_USER", "true"),
            ("GITSYNC_PERIOD", "100ms"),
            ("GIT_SYNC_MAX_SYNC_FAILURES", "0"),
            ("GITSYNC_MAX_FAILURES", "0"),
            ("GIT_SYNC_HTTP_BIND", &bind),
            ("GITSYNC_HTTP_BIND", &bind),
        ] {
            container.change(name, value);
        }
        // Not of the chart: the server's certificate is a private one.
        std::fs::copy(nginx.ca(), container.folder.path().join("ca.pem")).unwrap();
        let ca = container.folder.path().join("ca.pem").display().to_string();
        container.set("DAGSYNC_GIT__CA_FILE", &ca)
    }

    #[must_use]
    fn set(mut self, name: &str, value: impl AsRef<str>) -> Self {
        self.change(name, value);
        self
    }

    fn change(&mut self, name: &str, value: impl AsRef<str>) {
        self.env.push((name.to_owned(), value.as_ref().to_owned()));
    }

    /// Polls often, never gives up and answers.
    #[must_use]
    fn patient(self) -> Self {
        let bind = format!("localhost:{}", self.port);
        self.set("GITSYNC_PERIOD", "100ms").set("GITSYNC_MAX_FAILURES", "-1").set("GITSYNC_HTTP_BIND", bind)
    }

    #[must_use]
    fn with(mut self, args: &[&str]) -> Self {
        self.args.extend(args.iter().map(|a| (*a).to_owned()));
        self
    }

    fn root(&self) -> PathBuf {
        self.folder.path().join("git")
    }

    fn command(&self) -> Command {
        let program = self.folder.path().join("git-sync");
        let mut command = if self.as_image {
            let mut command = Command::new("setpriv");
            command.args(["--reuid=65533", "--regid=0", "--clear-groups"]).arg(program);
            command
        } else {
            Command::new(program)
        };
        command.args(&self.args).env_clear().env("PATH", std::env::var_os("PATH").unwrap()).env("HOME", "/tmp");
        command.envs(self.env.iter().map(|(n, v)| (n, v)));
        command
    }

    fn start(&mut self) {
        self.process = Some(Process::start(&mut self.command(), &self.folder.path().join("log")));
    }

    /// Runs until it ends by itself.
    fn run(&self) -> Outcome {
        Outcome::of(&mut self.command())
    }

    fn process(&mut self) -> &mut Process {
        self.process.as_mut().unwrap()
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }

    fn stop(&mut self) -> ExitStatus {
        self.process().signal(Signal::TERM);
        self.process.take().unwrap().wait()
    }

    fn probe(&self, path: &str) -> Option<(u16, String)> {
        http(self.port, "GET", path, "")
    }

    /// What the link points to, which is relative and ends with the commit.
    fn commit(&self) -> Option<String> {
        let target = std::fs::read_link(self.root().join("repo")).ok()?;
        assert!(target.starts_with(".worktrees"), "{target:?}");
        Some(target.file_name()?.to_str()?.to_owned())
    }

    #[track_caller]
    fn is_on(&self, commit: &str) {
        eventually(&format!("the link is on {commit}; the log:\n{}", self.log()), || {
            (self.commit().as_deref() == Some(commit)).then_some(())
        });
    }

    #[track_caller]
    fn answers(&self, path: &str, status: u16) -> String {
        eventually(&format!("{path} answers {status}; the log:\n{}", self.log()), || {
            self.probe(path).filter(|(found, _)| *found == status).map(|(_, body)| body)
        })
    }
}

fn dags() -> Repo {
    Repo::with(&[("dags/a.py", "a = 1\n"), ("plugins/p.py", "p = 1\n")])
}

#[test]
fn the_charts_init_container_and_sidecar_need_nothing_but_another_image() {
    let repo = dags();
    let nginx = Nginx::serve(&repo);
    let first = repo.git(&["rev-parse", "HEAD"]);
    let mut pod = Container::of_the_chart(&nginx);
    let mut init = pod.command();
    init.env("GIT_SYNC_ONE_TIME", "true").env("GITSYNC_ONE_TIME", "true").env_remove("GITSYNC_HTTP_BIND");
    let said = Outcome::of(init.env_remove("GIT_SYNC_HTTP_BIND"));
    said.ended(0, &[]);
    assert!(!format!("{said:?}").contains(PASSWORD), "{said:?}");
    assert_eq!(pod.commit().as_deref(), Some(first.as_str()));
    pod.start();
    pod.answers("/", 200);
    repo.write("dags/a.py", "a = 2\n");
    let second = repo.commit("second");
    pod.is_on(&second);
    assert_eq!(std::fs::read_to_string(pod.root().join("repo/dags/a.py")).unwrap(), "a = 2\n");
    assert_eq!(pod.stop().code(), Some(0), "{}", pod.log());
    assert!(!pod.log().contains(PASSWORD) && !pod.log().contains("there is no variable"), "{}", pod.log());
}

#[test]
fn the_probe_is_503_until_the_first_sync_and_never_again() {
    let (repo, sshd) = (dags(), Sshd::start());
    let server = Gate::before(sshd.port);
    server.shut();
    let mut pod = Container::over_ssh(&sshd, &repo, server.port).patient();
    pod.start();
    for path in ["/", "/healthz"] {
        assert_eq!(pod.answers(path, 503), "repo is not ready\n");
    }
    server.open();
    pod.answers("/", 200);
    pod.answers("/any/path", 200);
    server.shut();
    assert_eq!(pod.stop().code(), Some(0));
    let failures = |pod: &Container| pod.log().matches("sync failed").count();
    let before = failures(&pod);
    pod.start();
    pod.answers("/", 200);
    eventually("the outage is seen", || (failures(&pod) > before).then_some(()));
    assert_eq!(pod.probe("/").unwrap().0, 200, "the tree is there, whatever the source does");
    pod.is_on(&repo.git(&["rev-parse", "HEAD"]));
    repo.write("dags/a.py", "a = 2\n");
    let second = repo.commit("second");
    server.open();
    pod.is_on(&second);
    assert_eq!(pod.stop().code(), Some(0));
}

#[test]
fn one_time_ends_after_the_first_sync() {
    let repo = dags();
    let pod = Container::new(&repo.file_url()).with(&["--one-time", "--max-failures=5", "-v", "1"]);
    pod.run().ended(0, &["published"]);
    assert_eq!(pod.commit(), Some(repo.git(&["rev-parse", "HEAD"])));
}

#[test]
fn it_gives_up_as_git_sync_does() {
    let repo = dags();
    repo.hide(true);
    let failures = |args: &[&str]| {
        let pod = Container::new(&repo.file_url()).with(&["--period=100ms"]).with(args);
        let outcome = pod.run();
        outcome.ended(1, &["sync failed"]);
        outcome.stderr.matches("sync failed").count()
    };
    assert_eq!(failures(&[]), 1, "the default is the first failure");
    assert_eq!(failures(&["--max-failures=1", "--one-time"]), 1);
    assert_eq!(failures(&["--max-failures=3", "--one-time"]), 3);
    assert_eq!(failures(&["--max-failures=-1", "--init-max-failures=2", "--init-period=10ms"]), 2);
}

#[test]
fn stopped_before_the_one_sync_is_no_success() {
    let repo = dags();
    repo.hide(true);
    let mut pod = Container::new(&repo.file_url()).patient().with(&["--one-time"]);
    pod.start();
    pod.answers("/", 503);
    assert_eq!(pod.stop().code(), Some(1), "{}", pod.log());
}

#[test]
fn a_signal_asks_for_a_sync() {
    let repo = dags();
    let mut pod = Container::new(&repo.file_url()).patient().with(&["--period=1h", "--sync-on-signal=USR1"]);
    pod.start();
    pod.is_on(&repo.git(&["rev-parse", "HEAD"]));
    repo.write("dags/b.py", "b = 1\n");
    let second = repo.commit("second");
    pod.answers("/", 200);
    pod.process().signal(Signal::USR1);
    pod.is_on(&second);
}

#[test]
fn a_commit_as_the_ref_still_repairs_the_tree() {
    let (repo, sshd) = (dags(), Sshd::start());
    let commit = repo.git(&["rev-parse", "HEAD"]);
    let mut pod = Container::over_ssh(&sshd, &repo, sshd.port).patient().with(&["--ref", &commit]);
    pod.change("DAGSYNC_SCRUB__INTERVAL", "200ms");
    pod.start();
    pod.is_on(&commit);
    let file = pod.root().join("repo/dags/a.py");
    let broken = std::fs::canonicalize(&file).unwrap();
    std::fs::remove_file(&broken).unwrap();
    eventually("the file is back", || (std::fs::read_to_string(&file).ok()? == "a = 1\n").then_some(()));
    pod.is_on(&commit);
}

#[test]
fn a_password_on_the_command_line_does_not_stay_there() {
    let repo = dags();
    let nginx = Nginx::serve(&repo);
    let mut pod = Container::of_the_chart(&nginx);
    pod.env.retain(|(name, _)| !name.ends_with("PASSWORD"));
    let mut pod = pod.with(&["--password", PASSWORD]);
    pod.start();
    pod.is_on(&repo.git(&["rev-parse", "HEAD"]));
    let pid = pod.process().id();
    let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap();
    assert!(!String::from_utf8_lossy(&line).contains(PASSWORD));
    assert!(pod.log().contains("a flag holds a secret") && !pod.log().contains(PASSWORD), "{}", pod.log());
}

#[test]
fn what_has_no_meaning_is_said_and_what_has_no_effect_too() {
    let repo = dags();
    let pod = Container::new(&repo.file_url()).set("GITSYNC_PEROID", "1s").set("GITSYNC_GIT_GC", "off");
    let pod = pod.with(&["--one-time", "--filter=blob:none"]);
    pod.run().ended(
        0,
        &[
            "there is no variable GITSYNC_PEROID",
            "did you mean GITSYNC_PERIOD?",
            "--git-gc has no effect",
            "--filter has no",
        ],
    );
}

#[test]
fn options_that_do_not_fit_together_end_with_the_message_also_in_the_error_file() {
    let pod = Container::new("https://example.com/x.git").with(&["--error-file=error", "--username=ada"]);
    pod.run().ended(1, &["--username needs GITSYNC_PASSWORD or --password-file", "Usage: git-sync"]);
    let file = std::fs::read_to_string(pod.root().join("error")).unwrap();
    assert_eq!(file, "--username needs GITSYNC_PASSWORD or --password-file");
    let alone = Container::new("").with(&["--error-file=error"]);
    alone.run().ended(1, &["--repo is required"]);
    let unknown = Container::new("x").with(&["--perod=1s"]);
    unknown.run().ended(2, &["there is no flag --perod; did you mean --period?"]);
}

#[test]
fn help_manual_and_version_need_nothing() {
    let ask = |flag: &str| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_dagsync"));
        Outcome::of(command.env_clear().args(["git-sync", flag]))
    };
    ask("--help").ended(0, &["--stale-worktree-timeout", "$GITSYNC_PASSWORD"]);
    ask("-?").ended(0, &["Usage: git-sync"]);
    ask("--man").ended(0, &["EXIT STATUS"]);
    ask("--version").ended(0, &[env!("CARGO_PKG_VERSION")]);
}

#[test]
fn metrics_have_git_syncs_names_too() {
    let repo = dags();
    let mut pod = Container::new(&repo.file_url()).patient();
    pod.start();
    pod.answers("/", 200);
    let text = eventually("a poll that finds nothing is counted", || {
        let (_, text) = pod.probe("/metrics")?;
        (!text.contains("git_sync_count_total{status=\"noop\"} 0\n")).then_some(text)
    });
    assert!(text.contains("git_sync_count_total{status=\"success\"} 1\n"), "{text}");
    assert!(text.contains("# TYPE git_sync_duration_seconds summary\n") && text.contains("dagsync_ready 1"), "{text}");
}
