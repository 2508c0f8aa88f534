//! A kernel that refuses some calls: what a file system refuses that no test has.

use std::ffi::c_long;
use std::io::Write;
use std::os::fd::AsRawFd;
use std::os::unix::process::CommandExt;
use std::process::Command;

use rustix::io::Errno;

/// `command` where each of `calls`, by their numbers, fails with `errno`.
pub(crate) fn refusing(command: &Command, calls: &[c_long], errno: Errno) -> Command {
    let mut bwrap = Command::new("bwrap");
    let filter = tempfile::tempfile().unwrap();
    (&filter).write_all(&program(calls, errno)).unwrap();
    rustix::fs::seek(&filter, rustix::fs::SeekFrom::Start(0)).unwrap();
    rustix::io::fcntl_setfd(&filter, rustix::io::FdFlags::empty()).unwrap();
    bwrap.args(["--die-with-parent", "--dev-bind", "/", "/", "--seccomp", &filter.as_raw_fd().to_string()]);
    bwrap.arg(command.get_program()).args(command.get_args()).env_clear();
    bwrap.envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
    // The file has to outlive the start of the child.
    std::mem::forget(filter);
    bwrap.process_group(0);
    bwrap
}

/// A filter in classic BPF (seccomp(2)): load the call's number, compare it with each, refuse or allow.
fn program(calls: &[c_long], errno: Errno) -> Vec<u8> {
    const LOAD: u16 = 0x20;
    const EQUAL: u16 = 0x15;
    const RETURN: u16 = 0x06;
    const REFUSE: u32 = 0x0005_0000;
    const ALLOW: u32 = 0x7fff_0000;
    let refuse = REFUSE | u32::try_from(errno.raw_os_error()).unwrap();
    let mut code = vec![(LOAD, 0, 0, 0)];
    for call in calls {
        code.extend([(EQUAL, 0, 1, u32::try_from(*call).unwrap()), (RETURN, 0, 0, refuse)]);
    }
    code.push((RETURN, 0, 0, ALLOW));
    let bytes = |(code, yes, no, k): (u16, u8, u8, u32)| {
        let mut line = code.to_ne_bytes().to_vec();
        line.extend([yes, no]);
        line.extend(k.to_ne_bytes());
        line
    };
    code.into_iter().flat_map(bytes).collect()
}
