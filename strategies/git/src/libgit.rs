//! What libgit2 keeps once a process: its options, and the lock around their use.
//!
//! libgit2 knows timeouts, certificate authorities and the home folder (where its ssh looks for `known_hosts`) only as
//! globals. They are set before each connection, under a lock that is held until the connection is closed, so two
//! sources in one process take turns on the network. A certificate authority, once added, is trusted by the process
//! until it ends.
#![allow(unsafe_code, reason = "libgit2's options are C globals; they are written under `GATE` or once before any use")]

use std::ffi::CString;
use std::os::fd::{BorrowedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::{Mutex, MutexGuard, Once, TryLockError};
use std::time::Duration;

use dagsync_core::{Digest, Error, ErrorKind, Interrupt, Result, fs};
use git2::{ConfigLevel, opts};

/// How long a server may be silent. libgit2 waits for a socket without looking at anything else, so this is also the
/// longest that a cancellation may have to wait. Not less: git's servers send a keep-alive every 5 s only while they
/// make a pack; before that, a busy server or one with very many references takes its time and says nothing.
const SILENCE: Duration = Duration::from_secs(15);
const POLL: Duration = Duration::from_millis(10);
const MAX_CA_BYTES: u64 = 16 << 20;
/// Small enough for an idle daemon, large enough for the trees of one walk.
const CACHED_BYTES: isize = 4 << 20;
const MAPPED_WINDOW: usize = 8 << 20;
const MAPPED_LIMIT: usize = 64 << 20;

static GATE: Mutex<Option<Digest>> = Mutex::new(None);
static START: Once = Once::new();

/// Sets what never changes; to be called before any other use of libgit2.
pub(crate) fn start() {
    START.call_once(|| {
        // SAFETY: `Once` runs this before this crate's first use of libgit2, and every other use waits for it. The
        // results are ignored because none of these can fail with these arguments.
        unsafe {
            // The user's configuration must not redirect (`url.insteadOf`) or run anything.
            for level in [ConfigLevel::System, ConfigLevel::Global, ConfigLevel::XDG, ConfigLevel::ProgramData] {
                let _ = opts::set_search_path(level, "");
            }
            // The check protects who runs hooks and configured commands of a foreign repository. Here only objects are
            // read, and a mounted repository often belongs to another user.
            let _ = opts::set_verify_owner_validation(false);
            let _ = opts::set_cache_max_size(CACHED_BYTES);
            let _ = opts::set_mwindow_size(MAPPED_WINDOW);
            let _ = opts::set_mwindow_mapped_limit(MAPPED_LIMIT);
        }
        // References are only written to commits that were just fetched.
        opts::strict_object_creation(false);
    });
}

/// The right to use the network, with the options set for one connection.
pub(crate) struct Turn(#[allow(dead_code, reason = "held until dropped")] MutexGuard<'static, Option<Digest>>);

/// What a connection needs of the globals.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Globals<'a> {
    /// The folder that libgit2 takes for the user's home; ssh reads `.ssh/known_hosts` in it.
    pub(crate) home: &'a Path,
    /// More certificate authorities.
    pub(crate) ca_file: Option<&'a Path>,
}

/// Waits for the network and sets the options.
pub(crate) fn take_turn(globals: Globals<'_>, interrupt: &Interrupt) -> Result<Turn> {
    start();
    let mut gate = loop {
        interrupt.check("connect")?;
        match GATE.try_lock() {
            Ok(gate) => break gate,
            Err(TryLockError::Poisoned(gate)) => break gate.into_inner(),
            Err(TryLockError::WouldBlock) => std::thread::sleep(POLL),
        }
    };
    set_timeouts(interrupt.remaining().map_or(SILENCE, |left| left.min(SILENCE)));
    set_home(globals.home)?;
    if let Some(file) = globals.ca_file {
        add_authorities(file, &mut gate)?;
    }
    Ok(Turn(gate))
}

fn set_timeouts(silence: Duration) {
    // Zero would mean to wait for ever.
    let millis = silence.as_millis().clamp(1, SILENCE.as_millis()) as i32;
    // SAFETY: plain integers, written while the gate is held.
    unsafe {
        let _ = opts::set_server_connect_timeout_in_milliseconds(millis);
        let _ = opts::set_server_timeout_in_milliseconds(millis);
    }
}

fn set_home(home: &Path) -> Result<()> {
    let bad = |e: &dyn std::fmt::Display| {
        Error::new(ErrorKind::Config, "set home folder", format!("{}: {e}", home.display()))
    };
    let path = CString::new(home.as_os_str().as_bytes()).map_err(|e| bad(&e))?;
    // SAFETY: libgit2 copies the text; git2 has no wrapper for this option. The gate is held.
    let code = unsafe { libgit2_sys::git_libgit2_opts(libgit2_sys::GIT_OPT_SET_HOMEDIR as _, path.as_ptr()) };
    if code < 0 { Err(bad(&git2::Error::last_error(code))) } else { Ok(()) }
}

/// Lets small messages go out at once on the connection that was just made.
///
/// libgit2 writes the head and the body of a request separately and never sets `TCP_NODELAY`, so the body waits for the
/// server to acknowledge the head: 40 ms a request even on one host, and there are two requests before the first pack.
/// Nothing of git2 or libgit2 leads to the socket, so every socket of this process is set.
pub(crate) fn send_at_once() {
    let Ok(open) = std::fs::read_dir("/proc/self/fd") else { return };
    let numbers: Vec<RawFd> = open.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect();
    for number in numbers {
        // SAFETY: the number was open a moment ago and is used for this one call. If it was closed or taken anew in the
        // meantime, the call fails or is as harmless there: what is no TCP socket refuses it, a TCP socket stays right.
        let socket = unsafe { BorrowedFd::borrow_raw(number) };
        let _ = rustix::net::sockopt::set_tcp_nodelay(socket, true);
    }
}

/// Adding the same file again costs time and memory, so it is done only when its content changed.
fn add_authorities(file: &Path, added: &mut Option<Digest>) -> Result<()> {
    let fail = |message: &str| {
        Error::new(ErrorKind::Config, "read git.ca_file", format!("{}: {message}", file.display()))
            .with_hint("it must be a PEM file that the process may read")
    };
    let content = fs::read(file, MAX_CA_BYTES)?.ok_or_else(|| fail("is not there"))?;
    let digest = Digest::of(content);
    if *added != Some(digest) {
        // SAFETY: the gate is held, so no connection uses OpenSSL's context now.
        unsafe { opts::set_ssl_cert_file(file) }.map_err(|e| fail(e.message()))?;
        *added = Some(digest);
    }
    Ok(())
}
