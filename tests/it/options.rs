//! Every option of git-sync, each against the real kind of server: the drop-in behaves as the table in the README says.

mod auth;
mod environment;
mod files;
mod hooks;
mod http;
mod informing;
mod messages;
mod old;
mod pace;
mod source;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};

use rustix::process::Signal;
use tempfile::TempDir;

use super::harness::{Outcome, Process, Repo, Sshd, dagsync, eventually, free_port, http, shell};

/// A repository behind sshd, and what brings it.
struct Setting {
    repo: Repo,
    sshd: Sshd,
}

impl Setting {
    fn new() -> Self {
        Self { repo: Repo::with(&[("a.py", "one\n"), ("lib/b.py", "two\n")]), sshd: Sshd::start() }
    }

    /// A git-sync that reaches the repository over ssh.
    fn git_sync(&self) -> GitSync {
        GitSync::of(&self.sshd.url(&self.repo, self.sshd.port))
            .flag("ssh-key-file", self.sshd.key())
            .flag("ssh-known-hosts-file", self.sshd.known_hosts(self.sshd.port))
    }

    fn head(&self) -> String {
        self.repo.git(&["rev-parse", "HEAD"])
    }
}

/// `dagsync git-sync` with flags and variables, in a root of its own.
struct GitSync {
    folder: TempDir,
    flags: BTreeMap<String, String>,
    more: Vec<String>,
    env: BTreeMap<String, String>,
    port: u16,
    process: Option<Process>,
}

impl GitSync {
    fn of(url: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("root");
        let new = Self {
            folder,
            flags: BTreeMap::new(),
            more: Vec::new(),
            env: BTreeMap::new(),
            port: free_port(),
            process: None,
        };
        let port = new.port;
        new.flag("repo", url)
            .flag("ref", "main")
            .flag("root", root)
            .flag("link", "link")
            .flag("period", "100ms")
            .flag("http-bind", format!("127.0.0.1:{port}"))
    }

    #[must_use]
    fn flag(mut self, name: &str, value: impl AsRef<Path>) -> Self {
        self.flags.insert(name.to_owned(), value.as_ref().to_str().unwrap().to_owned());
        self
    }

    /// One more argument, which may come again and again.
    #[must_use]
    fn and(mut self, argument: impl Into<String>) -> Self {
        self.more.push(argument.into());
        self
    }

    #[must_use]
    fn without(mut self, flag: &str) -> Self {
        self.flags.remove(flag);
        self
    }

    #[must_use]
    fn env(mut self, name: &str, value: impl AsRef<Path>) -> Self {
        self.env.insert(name.to_owned(), value.as_ref().to_str().unwrap().to_owned());
        self
    }

    /// As a container has it that gets no arguments.
    #[must_use]
    fn by_variables(mut self) -> Self {
        for (name, value) in std::mem::take(&mut self.flags) {
            self.env.insert(format!("GITSYNC_{}", name.to_uppercase().replace('-', "_")), value);
        }
        self
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn root(&self) -> PathBuf {
        self.path("root")
    }

    fn link(&self) -> PathBuf {
        self.root().join("link")
    }

    /// The commit that the link names, if there is one.
    fn commit(&self) -> Option<String> {
        commit_at(&self.link())
    }

    fn read(&self, path: &str) -> Option<String> {
        std::fs::read_to_string(self.link().join(path)).ok()
    }

    /// An executable script beside the root.
    fn script(&self, name: &str, body: &str) -> PathBuf {
        std::fs::write(self.path("body"), format!("#!/bin/sh\n{body}\n")).unwrap();
        // Written by another process, because a file that is open for writing in a fork cannot be run.
        shell(self.folder.path(), &format!("cp body {name}; chmod 755 {name}"));
        self.path(name)
    }

    fn command(&self) -> Command {
        let mut command = dagsync();
        command.arg("git-sync").env("HOME", "/tmp").envs(&self.env);
        command.args(self.flags.iter().map(|(name, value)| format!("--{name}={value}"))).args(&self.more);
        command
    }

    /// One sync.
    fn once(&self) -> Outcome {
        Outcome::of(self.command().arg("--one-time"))
    }

    /// One sync that must go well and leave `commit` behind the link.
    #[track_caller]
    fn brings(&self, commit: &str) {
        self.once().ended(0, &[]);
        assert_eq!(self.commit().as_deref(), Some(commit));
    }

    #[must_use]
    fn started(mut self) -> Self {
        self.start();
        self
    }

    fn start(&mut self) {
        self.process = Some(Process::start(&mut self.command(), &self.path("log")));
    }

    #[track_caller]
    fn is_on(&self, commit: &str) {
        eventually(&format!("the link is on {commit}; {}", self.log()), || {
            (self.commit().as_deref() == Some(commit)).then_some(())
        });
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.path("log")).unwrap_or_default()
    }

    #[track_caller]
    fn says(&self, words: &str) {
        eventually(&format!("it says {words:?}: {}", self.log()), || self.log().contains(words).then_some(()));
    }

    fn get(&self, path: &str) -> Option<(u16, String)> {
        http(self.port, "GET", path, "")
    }

    fn metric(&self, line: &str) -> Option<f64> {
        let (_, text) = self.get("/metrics")?;
        text.lines().find_map(|l| l.strip_prefix(line)?.trim().parse().ok())
    }

    fn signal(&self, signal: Signal) {
        self.process.as_ref().expect("it runs").signal(signal);
    }

    fn stop(&mut self) -> ExitStatus {
        self.signal(Signal::TERM);
        self.ends()
    }

    fn ends(&mut self) -> ExitStatus {
        self.process.take().expect("it runs").wait()
    }
}

fn commit_at(link: &Path) -> Option<String> {
    let target = std::fs::read_link(link).ok()?;
    assert!(target.is_relative(), "{target:?}");
    assert!(link.is_dir(), "{link:?} dangles");
    Some(target.file_name()?.to_str()?.to_owned())
}

/// The table's rows and these tests must not part: each row has a test of its name.
#[test]
fn every_option_has_a_test() {
    let tests = [
        include_str!("options/auth.rs"),
        include_str!("options/files.rs"),
        include_str!("options/hooks.rs"),
        include_str!("options/http.rs"),
        include_str!("options/informing.rs"),
        include_str!("options/old.rs"),
        include_str!("options/pace.rs"),
        include_str!("options/source.rs"),
    ]
    .concat();
    for option in dagsync::gitsync::options::all() {
        // A variable that has no flag is called after itself, without its prefix.
        let name = option.name.trim_start_matches("GITSYNC_").to_lowercase().replace('-', "_");
        let name = format!("fn {name}()");
        let escaped = name.replacen("fn ", "fn r#", 1);
        assert!(tests.contains(&name) || tests.contains(&escaped), "{} has no test {name}", option.name);
    }
}
