//! Signals by name or number.

use tokio::signal::unix::SignalKind;

/// The names without `SIG`, by number, as on every 64-bit Linux that Rust knows but for MIPS and SPARC.
const NAMES: &[(&str, i32)] = &[
    ("HUP", libc::SIGHUP),
    ("INT", libc::SIGINT),
    ("QUIT", libc::SIGQUIT),
    ("ILL", libc::SIGILL),
    ("TRAP", libc::SIGTRAP),
    ("ABRT", libc::SIGABRT),
    ("IOT", libc::SIGABRT),
    ("BUS", libc::SIGBUS),
    ("FPE", libc::SIGFPE),
    ("KILL", libc::SIGKILL),
    ("USR1", libc::SIGUSR1),
    ("SEGV", libc::SIGSEGV),
    ("USR2", libc::SIGUSR2),
    ("PIPE", libc::SIGPIPE),
    ("ALRM", libc::SIGALRM),
    ("TERM", libc::SIGTERM),
    ("CHLD", libc::SIGCHLD),
    ("CONT", libc::SIGCONT),
    ("STOP", libc::SIGSTOP),
    ("TSTP", libc::SIGTSTP),
    ("TTIN", libc::SIGTTIN),
    ("TTOU", libc::SIGTTOU),
    ("URG", libc::SIGURG),
    ("XCPU", libc::SIGXCPU),
    ("XFSZ", libc::SIGXFSZ),
    ("VTALRM", libc::SIGVTALRM),
    ("PROF", libc::SIGPROF),
    ("WINCH", libc::SIGWINCH),
    ("IO", libc::SIGIO),
    ("POLL", libc::SIGIO),
    ("PWR", libc::SIGPWR),
    ("SYS", libc::SIGSYS),
];

/// They end or stop the process, mean that it is broken, or come whenever a hook ends.
const NOT_FREE: &[i32] = &[
    libc::SIGINT,
    libc::SIGILL,
    libc::SIGFPE,
    libc::SIGKILL,
    libc::SIGSEGV,
    libc::SIGBUS,
    libc::SIGTERM,
    libc::SIGCHLD,
    libc::SIGSTOP,
];

/// The signal called `SIGHUP`, `HUP`, `hup` or `1`; none if `text` is empty.
///
/// # Errors
/// Why a sync cannot be asked for by it.
pub(crate) fn parse(text: &str) -> Result<Option<SignalKind>, &'static str> {
    if text.is_empty() {
        return Ok(None);
    }
    let upper = text.to_ascii_uppercase();
    let name = upper.strip_prefix("SIG").unwrap_or(&upper);
    let by_name = NAMES.iter().find(|(n, _)| *n == name).map(|(_, number)| *number);
    let is_there = |n: &i32| NAMES.iter().any(|(_, number)| number == n) || is_real_time(*n);
    let number = by_name.or_else(|| text.parse().ok().filter(is_there)).ok_or("is no signal's name or number")?;
    if NOT_FREE.contains(&number) {
        return Err("is not free to ask for a sync: choose another, such as SIGHUP or SIGUSR1");
    }
    Ok(Some(SignalKind::from_raw(number)))
}

fn is_real_time(number: i32) -> bool {
    (libc::SIGRTMIN()..=libc::SIGRTMAX()).contains(&number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn by_name_or_number() {
        for text in ["SIGHUP", "HUP", "hup", "1"] {
            assert_eq!(parse(text), Ok(Some(SignalKind::hangup())), "{text}");
        }
        assert_eq!(parse("SIGUSR2"), Ok(Some(SignalKind::user_defined2())));
        assert_eq!(parse("40"), Ok(Some(SignalKind::from_raw(40))));
        assert_eq!(parse(""), Ok(None));
    }

    #[test]
    fn what_ends_a_process_or_is_none_is_refused() {
        for text in ["TERM", "SIGKILL", "STOP", "9", "INT", "CHLD"] {
            assert!(parse(text).unwrap_err().contains("not free"), "{text}");
        }
        for text in ["SIGSYNC", "0", "-1", "33", "99", "SIG"] {
            assert!(parse(text).unwrap_err().contains("no signal"), "{text}");
        }
    }
}
