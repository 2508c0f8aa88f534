//! `--add-user`: a line in /etc/passwd for a user that has none. dagsync itself needs none; a hook may.

use std::io::Write;
use std::path::Path;

use dagsync_core::{Error, Result, fs};

const MAX: u64 = 1 << 20;

/// Adds the user of this process to the file at `passwd`, unless it is there; whether that was so.
///
/// # Errors
/// The file cannot be read or written.
pub(super) fn add(passwd: &Path, home: &str) -> Result<bool> {
    let (user, group) = (rustix::process::getuid().as_raw(), rustix::process::getgid().as_raw());
    let text = fs::read(passwd, MAX)?.unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    if text.lines().any(|line| line.split(':').nth(2) == Some(&user.to_string())) {
        return Ok(false);
    }
    let home = if home.is_empty() || home.contains([':', '\n']) { "/" } else { home };
    let before = if text.is_empty() || text.ends_with('\n') { "" } else { "\n" };
    let line = format!("{before}git-sync:x:{user}:{group}::{home}:/sbin/nologin\n");
    let write = || std::fs::File::options().append(true).open(passwd)?.write_all(line.as_bytes());
    write().map_err(|e| Error::io("add user", passwd, e))?;
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_is_added_once_on_a_line_of_its_own() {
        let folder = tempfile::tempdir().unwrap();
        let passwd = folder.path().join("passwd");
        std::fs::write(&passwd, "ada:x:4294967294:0::/:/bin/sh").unwrap();
        assert!(add(&passwd, "/tmp").unwrap() && !add(&passwd, "/tmp").unwrap());
        let text = std::fs::read_to_string(&passwd).unwrap();
        let (user, group) = (rustix::process::getuid().as_raw(), rustix::process::getgid().as_raw());
        assert_eq!(text, format!("ada:x:4294967294:0::/:/bin/sh\ngit-sync:x:{user}:{group}::/tmp:/sbin/nologin\n"));
    }

    #[test]
    fn a_file_that_is_not_there_is_an_error_with_its_path() {
        let error = add(Path::new("/nowhere/passwd"), "/").unwrap_err().to_string();
        assert!(error.contains("/nowhere/passwd"), "{error}");
    }
}
