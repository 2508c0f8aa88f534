//! As the first process of a container, dagsync is the parent of every process that lost its own, such as one that a hook
//! left in a session of its own. Those that ended stay in the process table until their parent asks for their status.
#![allow(unsafe_code, reason = "no safe wrapper tells which child has ended without taking its status away")]

use std::collections::BTreeSet;
use std::io;
use std::process;
use std::sync::{Mutex, PoisonError, TryLockError};
use std::time::Duration;

use dagsync_core::{Error, ErrorKind, Result};
use rustix::process::{Pid, WaitOptions, waitpid};
use tokio::process::Child;
use tokio::signal::unix::{SignalKind, signal};

/// Time until another look, when what has ended is somebody's to wait for, or is just being started.
const STEP: Duration = Duration::from_millis(100);

/// Children whose status somebody waits for. Held while one is started, so that none ends before it is known.
static AWAITED: Mutex<BTreeSet<u32>> = Mutex::new(BTreeSet::new());

/// A child whose status is left to who waits for it, until this is dropped.
#[derive(Debug)]
pub(crate) struct Awaited(u32);

impl Drop for Awaited {
    fn drop(&mut self) {
        AWAITED.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.0);
    }
}

/// Starts a child that is waited for.
pub(crate) fn start_awaited(spawn: impl FnOnce() -> io::Result<Child>) -> io::Result<(Child, Awaited)> {
    let mut awaited = AWAITED.lock().unwrap_or_else(PoisonError::into_inner);
    let child = spawn()?;
    let id = child.id().ok_or_else(|| io::Error::other("it has no process id"))?;
    awaited.insert(id);
    Ok((child, Awaited(id)))
}

/// As the first process, reaps what nobody waits for from now on; as any other, does nothing.
pub(crate) fn reap_if_first() -> Result<()> {
    if process::id() != 1 {
        return Ok(());
    }
    let mut ended = signal(SignalKind::child())
        .map_err(|e| Error::new(ErrorKind::Unexpected, "start", "cannot watch processes").with_source(e))?;
    tokio::spawn(async move {
        loop {
            let again = reap();
            tokio::select! {
                _ = ended.recv() => {}
                () = tokio::time::sleep(STEP), if again => {}
            }
        }
    });
    Ok(())
}

/// Whether there is something left to look at again.
fn reap() -> bool {
    let awaited = match AWAITED.try_lock() {
        Ok(awaited) => awaited,
        Err(TryLockError::Poisoned(awaited)) => awaited.into_inner(),
        // A start may take its time, for a program on a slow volume.
        Err(TryLockError::WouldBlock) => return true,
    };
    while let Some(pid) = ended_child() {
        // The system names one at a time: those behind it have to wait until its own waiter has come.
        if awaited.contains(&pid.as_raw_nonzero().get().unsigned_abs()) {
            return true;
        }
        if waitpid(Some(pid), WaitOptions::NOHANG).is_err() {
            return true;
        }
    }
    false
}

/// A child that has ended; its status stays.
fn ended_child() -> Option<Pid> {
    let flags = libc::WEXITED | libc::WNOHANG | libc::WNOWAIT;
    // SAFETY: all zeros are a valid value of this plain C struct.
    let mut info: libc::siginfo_t = unsafe { std::mem::zeroed() };
    // SAFETY: the pointer is to a value that outlives the call.
    let code = unsafe { libc::waitid(libc::P_ALL, 0, &raw mut info, flags) };
    // SAFETY: the field is valid after a successful call, and zero where no child had ended.
    let pid = if code == 0 { unsafe { info.si_pid() } } else { 0 };
    Pid::from_raw(pid)
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};

    use super::*;

    const ALONE: &str = "DAGSYNC_TEST_ALONE";

    /// In a process of its own, because the children of other tests are none of its business.
    #[test]
    fn a_child_that_is_awaited_keeps_its_status_and_another_is_reaped() {
        if std::env::var_os(ALONE).is_some() {
            return alone();
        }
        let name = "orphans::tests::a_child_that_is_awaited_keeps_its_status_and_another_is_reaped";
        let mut again = Command::new(std::env::current_exe().unwrap());
        let ended = again.args(["--exact", name, "--nocapture"]).env(ALONE, "1").output().unwrap();
        assert!(ended.status.success(), "{}", String::from_utf8_lossy(&ended.stderr));
    }

    #[tokio::main(flavor = "current_thread")]
    async fn alone() {
        let shell = |script: &str| {
            let mut command = tokio::process::Command::new("sh");
            command.args(["-c", script]).stdin(Stdio::null());
            command
        };
        let (mut child, awaited) = start_awaited(|| shell("exit 7").spawn()).unwrap();
        while ended_child().is_none() {
            std::thread::sleep(Duration::from_millis(1));
        }
        assert!(reap(), "it has ended and is left alone");
        assert_eq!(child.wait().await.unwrap().code(), Some(7));
        drop(awaited);
        let mut orphan = Command::new("sh").args(["-c", "exit 3"]).spawn().unwrap();
        while ended_child().is_none() {
            std::thread::sleep(Duration::from_millis(1));
        }
        assert!(!reap());
        assert_eq!(orphan.wait().unwrap_err().raw_os_error(), Some(libc::ECHILD));
    }
}
