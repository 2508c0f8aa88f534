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

/// Gives back the pages of the program's code and constants; those that are needed again are found in the page cache.
pub(crate) fn forget_code() {
    let Ok(Some(maps)) = fs::read(Path::new("/proc/self/smaps"), MAPS_MAX) else { return };
    let Ok(program) = std::env::current_exe() else { return };
    for (start, end) in clean_mappings(&String::from_utf8_lossy(&maps), &program) {
        // SAFETY: nothing was written to these pages and nothing can be, so what is dropped is read from the file again.
        let _ = unsafe { libc::madvise(start as *mut libc::c_void, end - start, libc::MADV_DONTNEED) };
    }
}

/// Where `program` is mapped read-only and as it lies in its file, by `/proc/self/smaps`. What the loader wrote to
/// before it made it read-only (relocations) is not.
fn clean_mappings(smaps: &str, program: &Path) -> Vec<(usize, usize)> {
    let mut clean = Vec::new();
    let mut candidate = None;
    for line in smaps.lines() {
        match line.split_once(char::is_whitespace) {
            Some((range, rest)) if !range.ends_with(':') => candidate = read_only(range, rest, program),
            Some(("Anonymous:", size)) if size.trim() == "0 kB" => clean.extend(candidate.take()),
            _ => {}
        }
    }
    clean
}

fn read_only(range: &str, rest: &str, program: &Path) -> Option<(usize, usize)> {
    let mut words = rest.split_ascii_whitespace();
    let (permissions, file) = (words.next()?, words.nth(3)?);
    let (start, end) = range.split_once('-')?;
    let number = |text| usize::from_str_radix(text, 16).ok();
    let is_read_only = permissions.starts_with("r-") && Path::new(file) == program;
    if is_read_only { Some((number(start)?, number(end)?)) } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_lies_in_the_program_s_file_as_it_is_is_found() {
        let smaps = "55d0-55e0 r--p 00000000 fe:00 17 /bin/dagsync\nRss: 4 kB\nAnonymous:             0 kB\n\
                     55e0-55f0 r-xp 00001000 fe:00 17 /bin/dagsync\nAnonymous:             0 kB\nVmFlags: rd ex\n\
                     55f0-5600 r--p 00002000 fe:00 17 /bin/dagsync\nAnonymous:             8 kB\n\
                     5600-5610 rw-p 00003000 fe:00 17 /bin/dagsync\nAnonymous:             0 kB\n\
                     7f00-7f10 r-xp 00000000 fe:00 18 /lib/libc.so.6\nAnonymous:             0 kB\n\
                     7f20-7f30 r--p 00000000 00:00 0\nAnonymous:             0 kB\n";
        assert_eq!(clean_mappings(smaps, Path::new("/bin/dagsync")), [(0x55d0, 0x55e0), (0x55e0, 0x55f0)]);
    }

    #[test]
    fn the_program_runs_on_without_its_code_in_memory() {
        forget_code();
        assert_eq!(clean_mappings("", Path::new("x")), []);
    }
}
