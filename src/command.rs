//! Runs a command of the user's, bounded in time and output, and leaves no process of it behind.

use std::collections::VecDeque;
use std::ffi::OsString;
use std::fmt;
use std::fs::File;
use std::io;
use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use dagsync_core::{Error, ErrorKind, Interrupt, Result, blocking, printable};
use rustix::process::{Pid, Signal, WaitOptions, kill_process_group, test_kill_process_group, waitpgid};
use tokio::net::unix::pipe::Receiver;
use tokio::process::Child;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use crate::config::redact_url;
use crate::orphans::{self, Awaited};

/// How long a command may take to end after it was asked to.
const GRACE: Duration = Duration::from_secs(2);
/// Time between two looks at what is left of a group that was killed.
const STEP: Duration = Duration::from_millis(5);
/// Bytes that are kept from the beginning of the output, and as many from its end.
const KEPT: usize = 8 * 1024;
/// Characters of the output's end that an error carries.
const IN_ERROR: usize = 1024;
const BUFFER: usize = 16 * 1024;

/// What commands are told beyond settings, by variables that are none: a command may run dagsync itself.
pub(crate) const TOLD: [&str; 6] = [
    "DAGSYNC_REVISION",
    "DAGSYNC_VERSION",
    "DAGSYNC_TREE",
    "DAGSYNC_CHANGES",
    "DAGSYNC_PREVIOUS_VERSION",
    "DAGSYNC_PREVIOUS_TREE",
];

/// What to run. It inherits the environment of this process, but no secret of dagsync's.
#[derive(Debug)]
pub(crate) struct Command {
    /// For errors, as `exechook`.
    pub(crate) operation: &'static str,
    /// The command; it gets no arguments.
    pub(crate) program: PathBuf,
    /// Where it runs.
    pub(crate) folder: PathBuf,
    /// What it is told.
    pub(crate) environment: Vec<(&'static str, OsString)>,
    /// What it can read.
    pub(crate) input: Option<File>,
    /// The longest that it may take.
    pub(crate) timeout: Duration,
}

/// A command that came to its end.
#[derive(Debug)]
pub(crate) struct Ended {
    /// How.
    pub(crate) how: How,
    /// The beginning and the end of what it wrote to either stream, without control characters but line breaks.
    pub(crate) output: String,
}

/// How a command ended.
#[derive(Debug)]
pub(crate) enum How {
    /// By itself.
    Exited(ExitStatus),
    /// It was killed after this time.
    TimedOut(Duration),
}

impl fmt::Display for How {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exited(status) => status.fmt(f),
            Self::TimedOut(after) => write!(f, "killed after {}", humantime::format_duration(*after)),
        }
    }
}

impl Ended {
    pub(crate) fn is_success(&self) -> bool {
        matches!(self.how, How::Exited(status) if status.success())
    }

    /// The end of the output on one line.
    pub(crate) fn last_words(&self) -> String {
        let skipped = self.output.chars().count().saturating_sub(IN_ERROR);
        let end: String = self.output.chars().skip(skipped).collect();
        end.replace('\n', " | ")
    }
}

/// Commands that are being started at the same time. One that hangs with a volume keeps its turn, so that the threads
/// which wait for it do not pile up.
static STARTS: Semaphore = Semaphore::const_new(4);

impl Command {
    /// Runs until it ends, `timeout` is over or `token` is cancelled. Whatever it started that is still in its process
    /// group is killed then.
    ///
    /// # Errors
    /// [`ErrorKind::Io`] when it cannot be started; [`ErrorKind::Cancelled`].
    pub(crate) async fn run(self, token: &CancellationToken) -> Result<Ended> {
        let (operation, timeout, program) = (self.operation, self.timeout, printable(&self.program));
        let fail = |e: io::Error| {
            Error::new(ErrorKind::Io, operation, format!("cannot run {program}")).with_source(e).with_hint(
                "it must exist in this container and be executable, as must the interpreter in its first line",
            )
        };
        let interrupt = Interrupt::new(token.clone(), None);
        interrupt.check(operation)?;
        let turn = STARTS.try_acquire().map_err(|_| {
            Error::new(ErrorKind::Timeout, operation, format!("cannot run {program}: those before it still hang"))
                .with_hint("the volume that they lie on, or run in, does not answer")
        })?;
        let start = move |_: &Interrupt| {
            let _turn = turn;
            Ok(self.start())
        };
        let too_late = async {
            let _ = tokio::time::timeout(timeout, token.cancelled()).await;
            tokio::time::sleep(GRACE).await;
        };
        let (mut child, output, group) = tokio::select! {
            biased;
            started = blocking(&interrupt, operation, start) => started?.map_err(fail)?,
            // It is left behind; what comes of it after all is ended when it is dropped.
            () = too_late => {
                return Err(Error::new(ErrorKind::Timeout, operation, format!("{program} has not started in time"))
                    .with_hint("the volume that it lies on, or runs in, does not answer"));
            }
        };
        let mut captured = Captured::default();
        let how = tokio::select! {
            biased;
            () = token.cancelled() => Err(Error::cancelled(operation)),
            status = follow(&mut child, &output, &mut captured) => Ok(How::Exited(status.map_err(fail)?)),
            () = tokio::time::sleep(timeout) => Ok(How::TimedOut(timeout)),
        };
        if !matches!(how, Ok(How::Exited(_))) {
            group.signal(Signal::TERM);
            let _ = tokio::time::timeout(GRACE, follow(&mut child, &output, &mut captured)).await;
        }
        group.end(&mut child).await;
        captured.drain(&output);
        Ok(Ended { how: how?, output: captured.text() })
    }

    /// Blocks until the program is loaded, which may lie on a slow volume.
    fn start(self) -> io::Result<(Child, Receiver, Group)> {
        let (output, both_streams) = io::pipe()?;
        let output = Receiver::from_owned_fd(output.into())?;
        let mut command = tokio::process::Command::new(&self.program);
        command
            .current_dir(&self.folder)
            .stdin(self.input.map_or_else(Stdio::null, Stdio::from))
            .stdout(both_streams.try_clone()?)
            .stderr(both_streams)
            .process_group(0)
            .kill_on_drop(true);
        for (name, value) in std::env::vars_os() {
            if is_secret(&name.to_string_lossy(), &value.to_string_lossy()) {
                command.env_remove(name);
            }
        }
        let (child, awaited) = orphans::start_awaited(|| command.envs(self.environment).spawn())?;
        let leader = child.id().and_then(|id| Pid::from_raw(id.cast_signed()));
        let leader = leader.ok_or_else(|| io::Error::other("it has no process id"))?;
        Ok((child, output, Group { leader, is_ended: false, _awaited: awaited }))
    }
}

/// Reads what the command writes until it ends; it may leave the pipe to processes that go on.
async fn follow(child: &mut Child, output: &Receiver, captured: &mut Captured) -> io::Result<ExitStatus> {
    let mut buffer = vec![0; BUFFER];
    let mut is_open = true;
    loop {
        tokio::select! {
            biased;
            status = child.wait() => return status,
            _ = output.readable(), if is_open => is_open = captured.read(output, &mut buffer).is_some(),
        }
    }
}

/// Whether a variable of this process's environment is not for others: what is secret by its name in the tables of
/// settings, here and in git-sync, and URLs that hold a password.
fn is_secret(name: &str, value: &str) -> bool {
    const SECRET: [&str; 7] = ["PASSWORD", "PASSPHRASE", "SECRET", "TOKEN", "CREDENTIAL", "PRIVATE_KEY", "WEBHOOK"];
    let is_ours = ["DAGSYNC_", "GITSYNC_", "GIT_SYNC_"].iter().any(|prefix| name.starts_with(prefix));
    let is_named_so = !name.ends_with("_FILE") && SECRET.iter().any(|word| name.contains(word));
    is_ours && (is_named_so || redact_url(value) != value)
}

/// A command and everything that it started, unless that left the group.
struct Group {
    leader: Pid,
    is_ended: bool,
    _awaited: Awaited,
}

impl Group {
    fn signal(&self, signal: Signal) {
        // An empty group is what is wanted.
        let _ = kill_process_group(self.leader, signal);
    }

    /// Kills what is left and waits until it is gone: as the first process of a container this one is the parent of
    /// all orphans.
    async fn end(mut self, child: &mut Child) {
        self.signal(Signal::KILL);
        let gone = async {
            let _ = child.wait().await;
            loop {
                while matches!(waitpgid(self.leader, WaitOptions::NOHANG), Ok(Some(_))) {}
                if test_kill_process_group(self.leader).is_err() {
                    return;
                }
                tokio::time::sleep(STEP).await;
            }
        };
        // What hangs in the kernel is left behind.
        let _ = tokio::time::timeout(GRACE, gone).await;
        // Its number may be another's from now on.
        self.is_ended = true;
    }
}

/// For a run that is dropped before its end.
impl Drop for Group {
    fn drop(&mut self) {
        if !self.is_ended {
            self.signal(Signal::KILL);
        }
    }
}

/// The beginning and the end of some output.
#[derive(Debug, Default)]
struct Captured {
    head: Vec<u8>,
    tail: VecDeque<u8>,
    left_out: u64,
}

impl Captured {
    /// Reads once; `None` when there will be nothing more.
    fn read(&mut self, output: &Receiver, buffer: &mut [u8]) -> Option<usize> {
        match output.try_read(buffer) {
            Ok(0) => None,
            Ok(n) => {
                self.add(&buffer[..n]);
                Some(n)
            }
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => Some(0),
            Err(_) => None,
        }
    }

    /// Reads what lies in the pipe. Not more than that: a process that left the group may go on writing.
    fn drain(&mut self, output: &Receiver) {
        const PIPE: usize = 64 * 1024;
        let mut buffer = vec![0; PIPE];
        let _ = self.read(output, &mut buffer);
    }

    fn add(&mut self, bytes: &[u8]) {
        let (first, rest) = bytes.split_at(bytes.len().min(KEPT - self.head.len()));
        self.head.extend(first);
        self.tail.extend(rest);
        let excess = self.tail.len().saturating_sub(KEPT);
        self.tail.drain(..excess);
        self.left_out += excess as u64;
    }

    fn text(self) -> String {
        let Self { head: mut bytes, tail, left_out } = self;
        if left_out > 0 {
            bytes.extend(format!("\n[{left_out} bytes left out]\n").as_bytes());
        }
        bytes.extend(tail);
        let mut text = String::with_capacity(bytes.len());
        for c in String::from_utf8_lossy(&bytes).trim_end().chars() {
            if c.is_control() && c != '\n' { text.extend(c.escape_default()) } else { text.push(c) }
        }
        text
    }
}

#[cfg(test)]
#[path = "command/tests.rs"]
pub(crate) mod tests;
