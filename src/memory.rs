//! Keeps an idle daemon small: what a sync needed goes back to the system.
//!
//! dagsync runs in every pod of a cluster and is idle nearly always. glibc gives every thread an arena of its own and
//! keeps what was freed in it; and the kernel maps far more of a program's code than it runs, most of it for the start
//! and the first sync only. Giving both back costs a few page faults later and saves megabytes a pod.
#![allow(unsafe_code, reason = "calls into the C library that have no safe wrapper")]

use std::path::Path;

use dagsync_core::fs;

const MAPS_MAX: u64 = 4 << 20;

/// To be called before other threads are started.
pub(crate) fn use_one_arena() {
    #[cfg(target_env = "gnu")]
    // SAFETY: plain integers; called while there is one thread. A refusal changes nothing.
    let _ = unsafe { libc::mallopt(libc::M_ARENA_MAX, 1) };
}

/// Gives freed memory back.
pub(crate) fn trim() {
    #[cfg(target_env = "gnu")]
    // SAFETY: may be called at any time from any thread.
    let _ = unsafe { libc::malloc_trim(0) };
}

/// Gives back the pages of the program's code; those that are needed again are found in the page cache.
pub(crate) fn forget_code() {
    let Ok(Some(maps)) = fs::read(Path::new("/proc/self/maps"), MAPS_MAX) else { return };
    let Ok(program) = std::env::current_exe() else { return };
    for (start, end) in code_of(&String::from_utf8_lossy(&maps), &program) {
        // SAFETY: a mapping of code is never written to, so what is dropped is read from its file again.
        let _ = unsafe { libc::madvise(start as *mut libc::c_void, end - start, libc::MADV_DONTNEED) };
    }
}

/// Where the code of `program` is mapped, by the lines of `/proc/self/maps`.
fn code_of(maps: &str, program: &Path) -> Vec<(usize, usize)> {
    let code = |line: &str| {
        let mut words = line.split_ascii_whitespace();
        let (range, permissions, file) = (words.next()?, words.next()?, words.nth(3)?);
        let (start, end) = range.split_once('-')?;
        let number = |text| usize::from_str_radix(text, 16).ok();
        let is_code = permissions == "r-xp" && Path::new(file) == program;
        if is_code { Some((number(start)?, number(end)?)) } else { None }
    };
    maps.lines().filter_map(code).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_program_s_own_code_is_found() {
        let maps = "55d0-55e0 r--p 00000000 fe:00 17 /bin/dagsync\n55e0-55f0 r-xp 00001000 fe:00 17 /bin/dagsync\n\
                    55f0-5600 rw-p 00002000 fe:00 17 /bin/dagsync\n7f00-7f10 r-xp 00000000 fe:00 18 /lib/libc.so.6\n\
                    7f20-7f30 rw-p 00000000 00:00 0\n";
        assert_eq!(code_of(maps, Path::new("/bin/dagsync")), [(0x55e0, 0x55f0)]);
    }

    #[test]
    fn the_program_runs_on_without_its_code_in_memory() {
        forget_code();
        assert_eq!(code_of("", Path::new("x")), []);
    }
}
