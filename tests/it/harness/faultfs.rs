//! A mount that fails or hangs as it is told, see tests/servers/faultfs.

use std::io::{BufRead, BufReader, Lines, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use super::process::{eventually, run};

/// A mounted FUSE file system over a real folder. It must outlive whoever may hang in it.
#[derive(Debug)]
pub(crate) struct FaultFs {
    mount: TempDir,
    /// Where the kernel says how many requests wait.
    control: TempDir,
    server: Server,
}

/// The process behind it.
#[derive(Debug)]
struct Server {
    folder: PathBuf,
    /// The kernel's number for its mount.
    device: u32,
    child: Child,
    answers: Lines<BufReader<ChildStdout>>,
}

impl Server {
    fn start(folder: &Path, mount: &Path) -> Self {
        // It dies with this thread, however that ends: a stopped one would hang for ever.
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL", "python3"]);
        command.arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/servers/faultfs")).arg(folder).arg(mount);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let mut answers = BufReader::new(child.stdout.take().unwrap()).lines();
        let ready = answers.next().unwrap_or_else(|| panic!("no {command:?}; tests/run installs what it needs"));
        assert_eq!(ready.unwrap(), "ready");
        let device = rustix::fs::minor(std::fs::metadata(mount).unwrap().dev());
        Self { folder: folder.to_owned(), device, child, answers }
    }
}

impl FaultFs {
    /// Shows `folder`. Needs root.
    pub(crate) fn over(folder: &Path) -> Self {
        let (mount, control) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let server = Server::start(folder, mount.path());
        run(Command::new("mount").args(["-t", "fusectl", "dagsync-test"]).arg(control.path()));
        Self { mount, control, server }
    }

    pub(crate) fn path(&self) -> &Path {
        self.mount.path()
    }

    /// From now on `operation` (`stat`, `open`, `read`, …) of `path` fails with `errno`; `*` is all of them.
    pub(crate) fn fail(&mut self, operation: &str, errno: &str, path: &str) {
        self.tell(&format!("fail {operation} {errno} {path}"));
    }

    /// Nothing fails any more.
    pub(crate) fn heal(&mut self) {
        self.tell("heal");
    }

    fn tell(&mut self, command: &str) {
        writeln!(self.server.child.stdin.as_mut().unwrap(), "{command}").unwrap();
        assert_eq!(self.server.answers.next().expect("it runs").unwrap(), "ok");
    }

    /// Answers nobody until the guard is dropped, whatever it is doing. Whose request it had taken already cannot be killed
    /// until then, so the guard must go before a pod does.
    pub(crate) fn hang_at_once(&self) -> Hang<'_> {
        self.signal(Signal::STOP);
        eventually("it is stopped", || self.is_stopped().then_some(()));
        Hang(self)
    }

    /// The same between two requests, so that whoever asks can be killed, as on NFS.
    pub(crate) fn hang(&self) -> Hang<'_> {
        eventually("it can be stopped between two requests", || {
            let hang = self.hang_at_once();
            (hang.waiting() == 0).then_some(hang)
        })
    }

    /// Ends as a server that crashes does: the mount stays, and is not connected any more.
    pub(crate) fn die(&mut self) {
        self.server.child.kill().unwrap();
        self.server.child.wait().unwrap();
    }

    /// Is mounted anew after it died.
    pub(crate) fn revive(&mut self) {
        run(Command::new("umount").arg("--lazy").arg(self.path()));
        self.server = Server::start(&self.server.folder, self.mount.path());
    }

    fn is_stopped(&self) -> bool {
        let tasks = std::fs::read_dir(format!("/proc/{}/task", self.server.child.id())).unwrap().flatten();
        let mut stats = tasks.filter_map(|task| std::fs::read_to_string(task.path().join("stat")).ok());
        stats.all(|stat| stat.rsplit_once(") ").unwrap().1.starts_with('T'))
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.server.child), signal).unwrap();
    }
}

impl Drop for FaultFs {
    fn drop(&mut self) {
        let _ = self.server.child.kill();
        let _ = self.server.child.wait();
        for mount in [&self.mount, &self.control] {
            let _ = Command::new("umount").arg("--lazy").arg(mount.path()).status();
        }
    }
}

/// While it lives, the mount answers nobody.
#[derive(Debug)]
#[must_use]
pub(crate) struct Hang<'a>(&'a FaultFs);

impl Hang<'_> {
    /// How many requests wait for an answer.
    pub(crate) fn waiting(&self) -> usize {
        let file = self.0.control.path().join(self.0.server.device.to_string()).join("waiting");
        std::fs::read_to_string(file).unwrap().trim().parse().unwrap()
    }
}

impl Drop for Hang<'_> {
    fn drop(&mut self) {
        self.0.signal(Signal::CONT);
    }
}
