//! A pod: one daemon with its own store and its own HTTP port.

use std::collections::BTreeMap;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Output};

use rustix::process::Signal;
use serde_json::Value;
use tempfile::TempDir;

use super::net;
use super::netns::Namespace;
use super::nginx::{Nginx, USER};
use super::process::{Process, eventually};
use super::reader::Reader;
use super::sshd::Sshd;

/// The command under test, in an environment that holds nothing of the host's.
pub(crate) fn dagsync() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_dagsync"));
    command.env_clear().env("PATH", std::env::var_os("PATH").unwrap()).env("HOME", "/nonexistent");
    command
}

/// How a command ended.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl From<Output> for Outcome {
    fn from(output: Output) -> Self {
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).trim_end().to_owned();
        Self { code: output.status.code(), stdout: text(output.stdout), stderr: text(output.stderr) }
    }
}

impl Outcome {
    /// How `command` ends.
    pub(crate) fn of(command: &mut Command) -> Self {
        command.output().unwrap().into()
    }

    /// It ended with `code` and said each of `words`.
    #[track_caller]
    pub(crate) fn ended(&self, code: i32, words: &[&str]) -> &Self {
        assert_eq!(self.code, Some(code), "{self:#?}");
        let said = format!("{}\n{}", self.stdout, self.stderr);
        words.iter().for_each(|word| assert!(said.contains(word), "it does not say {word:?}: {said}"));
        self
    }
}

/// A pod and everything it needs. It is stopped until [`Pod::start`].
#[derive(Debug)]
pub(crate) struct Pod {
    folder: TempDir,
    root: PathBuf,
    port: u16,
    settings: BTreeMap<String, String>,
    environment: BTreeMap<String, String>,
    user: Option<u32>,
    namespace: Option<Namespace>,
    files: Option<u32>,
    process: Option<Process>,
}

impl Pod {
    /// A pod that reads from `source`, polls often and says much.
    pub(crate) fn new(source: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("store");
        let port = net::free_port();
        let (settings, environment) = (BTreeMap::new(), BTreeMap::new());
        let pod =
            Self { folder, root, port, settings, environment, user: None, namespace: None, files: None, process: None };
        pod.set("source", source)
            .set("period", "200ms")
            .set("backoff.initial", "100ms")
            .set("backoff.max", "500ms")
            .set("timeout", "60s")
            .set("log.level", "debug")
            .set("http.bind", format!("127.0.0.1:{port}"))
    }

    /// A pod that reads over ssh, at the server or at a gate in front of it.
    pub(crate) fn over_ssh(sshd: &Sshd, repo: &super::Repo, port: u16) -> Self {
        Self::new(&sshd.url(repo, port))
            .set("git.ssh_key_file", sshd.key())
            .set("git.known_hosts_file", sshd.known_hosts(port))
    }

    /// A pod that reads over https, at the server or at a gate in front of it.
    pub(crate) fn over_https(nginx: &Nginx, port: u16) -> Self {
        Self::new(&nginx.url(port))
            .set("git.ca_file", nginx.ca())
            .set("git.username", USER)
            .set("git.password_file", nginx.password_file())
    }

    /// Sets one setting, as `git.ref`.
    #[must_use]
    pub(crate) fn set(mut self, setting: &str, value: impl AsRef<Path>) -> Self {
        self.change(setting, value);
        self
    }

    /// The same for a pod that is there already; counts at its next start.
    pub(crate) fn change(&mut self, setting: &str, value: impl AsRef<Path>) {
        let value = value.as_ref().to_str().unwrap().to_owned();
        self.settings.insert(setting.to_owned(), value);
    }

    /// Sets a variable of its environment that is no setting, as `AWS_ACCESS_KEY_ID`.
    #[must_use]
    pub(crate) fn env(mut self, name: &str, value: impl Into<String>) -> Self {
        self.environment.insert(name.to_owned(), value.into());
        self
    }

    /// Uses the store at `root` in place of its own.
    #[must_use]
    pub(crate) fn at(mut self, root: &Path) -> Self {
        self.root = root.to_owned();
        self
    }

    /// Runs as another user of group 0, as a container does.
    #[must_use]
    pub(crate) fn by(mut self, user: u32) -> Self {
        self.user = Some(user);
        self
    }

    /// Runs in a namespace, where it listens on every address.
    #[must_use]
    pub(crate) fn within(mut self, namespace: Namespace) -> Self {
        self.namespace = Some(namespace);
        let port = self.port;
        self.set("http.bind", format!("0.0.0.0:{port}"))
    }

    /// May open no more files than this at once.
    #[must_use]
    pub(crate) fn files(mut self, files: u32) -> Self {
        self.files = Some(files);
        self
    }

    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// Where its endpoints listen.
    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// The link that Airflow reads.
    pub(crate) fn link(&self) -> PathBuf {
        self.root.join(self.settings.get("link").map_or("current", String::as_str))
    }

    /// The folder that the link points to, if any.
    pub(crate) fn current(&self) -> Option<PathBuf> {
        std::fs::canonicalize(self.link()).ok()
    }

    /// A reader of its link.
    pub(crate) fn reader(&self) -> Reader {
        Reader::of(self.link())
    }

    /// Starts the daemon.
    pub(crate) fn start(&mut self) {
        let process = Process::start(&mut self.command("run"), &self.log_file());
        self.process = Some(process);
    }

    /// Starts it and waits until it is on `version`.
    #[track_caller]
    pub(crate) fn start_on(&mut self, version: &str) {
        self.start();
        self.is_on(version);
    }

    /// The init container: one sync.
    pub(crate) fn once(&self) -> Outcome {
        Outcome::of(&mut self.command("once"))
    }

    /// `dagsync run` or `dagsync once` with the pod's settings.
    pub(crate) fn command(&self, name: &str) -> Command {
        let mut command = dagsync();
        if let Some(files) = self.files {
            let limited = format!("ulimit -n {files}; exec \"$0\" \"$@\"");
            command = Command::new("sh");
            command.args(["-c", &limited, env!("CARGO_BIN_EXE_dagsync")]);
        }
        command.arg(name).arg("--root").arg(&self.root).envs(&self.environment);
        if let Some(user) = self.user {
            command.uid(user).gid(0).env("HOME", "/tmp");
        }
        for (setting, value) in &self.settings {
            command.env(format!("DAGSYNC_{}", setting.to_uppercase().replace('.', "__")), value);
        }
        if let Some(namespace) = &self.namespace {
            command = namespace.command(&command);
        }
        command
    }

    /// Waits until the status satisfies `condition`.
    #[track_caller]
    pub(crate) fn wait(&mut self, what: &str, condition: impl Fn(&Value) -> bool) -> Value {
        let mut last = None;
        let deadline = std::time::Instant::now() + super::PATIENCE;
        while std::time::Instant::now() < deadline {
            last = self.status().or(last);
            if let Some(status) = last.take_if(|s| condition(s)) {
                return status;
            }
            if let Some(status) = self.process.as_mut().and_then(Process::ended) {
                panic!("waiting until {what}, the daemon ended: {status}; its log:\n{}", self.log());
            }
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
        panic!("never: {what}; last status {last:#?}; its log:\n{}", self.log());
    }

    /// Waits until it reports that it is converged on `version`, and checks that this is what a reader finds.
    #[track_caller]
    pub(crate) fn is_on(&mut self, version: &str) -> Value {
        let status =
            self.wait(&format!("it is on {version}"), |s| s["version"] == version && s["state"] == "converged");
        assert_eq!(super::version_by_hand(&self.current().expect("something is published")), version);
        status
    }

    /// What `/v1/status` says, if it answers.
    pub(crate) fn status(&self) -> Option<Value> {
        let (200, body) = self.get("/v1/status")? else { return None };
        Some(serde_json::from_str(&body).unwrap_or_else(|e| panic!("{e}: {body}")))
    }

    /// One GET.
    pub(crate) fn get(&self, path: &str) -> Option<(u16, String)> {
        let get = || net::http(self.port, "GET", path, "");
        self.namespace.as_ref().map_or_else(get, |namespace| namespace.visit(get))
    }

    /// One POST with a bearer token.
    pub(crate) fn post(&self, path: &str, token: &str) -> Option<(u16, String)> {
        net::http(self.port, "POST", path, &format!("Authorization: Bearer {token}\r\n"))
    }

    /// A push event; the status of the answer.
    pub(crate) fn event(&self, sender: &str, headers: &str, body: &str) -> u16 {
        let path = format!("/v1/hooks/{sender}");
        eventually("an event is answered", || net::request(self.port, "POST", &path, headers, body)).0
    }

    /// The sum of a metric over its labels.
    #[track_caller]
    pub(crate) fn metric(&self, name: &str) -> f64 {
        let (_, text) = eventually("metrics answer", || self.get("/metrics"));
        let of_name = |line: &&str| line.strip_prefix(name).is_some_and(|rest| rest.starts_with([' ', '{']));
        let values: Vec<f64> =
            text.lines().filter(of_name).filter_map(|l| l.rsplit(' ').next()?.parse().ok()).collect();
        assert!(!values.is_empty(), "there is no metric {name}:\n{text}");
        values.iter().sum()
    }

    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.log_file()).unwrap_or_default()
    }

    /// Waits until the log says `words`.
    #[track_caller]
    pub(crate) fn says(&self, words: &str) {
        eventually(&format!("the log says {words:?}:\n{}", self.log()), || self.log().contains(words).then_some(()));
    }

    /// How many threads it has.
    pub(crate) fn threads(&self) -> usize {
        let id = self.process.as_ref().expect("it runs").id();
        std::fs::read_dir(format!("/proc/{id}/task")).unwrap().count()
    }

    pub(crate) fn signal(&self, signal: Signal) {
        self.process.as_ref().expect("it runs").signal(signal);
    }

    /// Its process.
    pub(crate) fn id(&self) -> u32 {
        self.process.as_ref().expect("it runs").id()
    }

    /// `kill -9`.
    pub(crate) fn kill(&mut self) {
        self.process.take().expect("it runs").kill();
    }

    /// SIGTERM, and how it ends.
    pub(crate) fn stop(&mut self) -> ExitStatus {
        self.signal(Signal::TERM);
        self.ends()
    }

    /// Waits until it ends by itself.
    pub(crate) fn ends(&mut self) -> ExitStatus {
        self.process.take().expect("it runs").wait()
    }

    fn log_file(&self) -> PathBuf {
        self.folder.path().join("log")
    }
}
