//! Whether a path lies on a mounted volume, and of which type: an empty mount point looks like a folder without DAGs.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

use dagsync_core::{Error, ErrorKind, Result, fs};

/// Every mount of a node: some thousands of lines at the most.
const MOUNTINFO_MAX: u64 = 16 << 20;
const MOUNTINFO: &str = "/proc/self/mountinfo";

/// Refuses `path` unless it lies on a mount of one of `types`; `any` is every mount but the root.
pub(crate) fn require(path: &Path, types: &[String]) -> Result<()> {
    if types.is_empty() {
        return Ok(());
    }
    let real = fs::resolve(path)?.unwrap_or_else(|| path.to_owned());
    let mounts = fs::read(Path::new(MOUNTINFO), MOUNTINFO_MAX)?.unwrap_or_default();
    let found = mount_of(&real, &mounts);
    if found.as_ref().is_some_and(|mount| types.iter().any(|wanted| mount.is(wanted))) {
        return Ok(());
    }
    let found = found.map_or_else(|| "no mount".to_owned(), |m| format!("{}, of type {}", m.point.display(), m.kind));
    let message = format!("{} is not on the volume that volume.require_mount asks for", path.display());
    Err(Error::new(ErrorKind::Unreachable, "check mount", message)
        .with_context("wanted", types.join(" or "))
        .with_context("found", found)
        .with_hint("mount it, or correct volume.require_mount; what is published stays"))
}

/// A line of mountinfo.
#[derive(Debug, PartialEq, Eq)]
struct Mount {
    point: PathBuf,
    kind: String,
}

impl Mount {
    fn is(&self, wanted: &str) -> bool {
        self.kind == wanted || wanted == "any" && self.point != Path::new("/")
    }
}

/// The mount that `path` lies on: the last one of the deepest mount point, for a later mount hides an earlier.
fn mount_of(path: &Path, mounts: &[u8]) -> Option<Mount> {
    let mounts = mounts.split(|&b| b == b'\n').filter_map(parse).filter(|mount| path.starts_with(&mount.point));
    mounts.max_by_key(|mount| mount.point.components().count())
}

/// proc_pid_mountinfo(5): `36 35 98:0 /mnt1 /mnt/parent rw,noatime master:1 - ext3 /dev/root rw`.
fn parse(line: &[u8]) -> Option<Mount> {
    let mut fields = line.split(|&b| b == b' ');
    let point = unescape(fields.nth(4)?);
    let kind = fields.skip_while(|field| *field != b"-").nth(1)?;
    Some(Mount { point, kind: String::from_utf8_lossy(kind).into_owned() })
}

/// Blanks, tabs, line ends and backslashes are written as three octal digits.
fn unescape(text: &[u8]) -> PathBuf {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((&byte, after)) = rest.split_first() {
        let octal = after.get(..3).and_then(|digits| std::str::from_utf8(digits).ok());
        match octal.filter(|_| byte == b'\\').and_then(|digits| u8::from_str_radix(digits, 8).ok()) {
            Some(escaped) => {
                out.push(escaped);
                rest = &after[3..];
            }
            None => {
                out.push(byte);
                rest = after;
            }
        }
    }
    OsString::from_vec(out).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOUNTS: &[u8] = b"22 1 254:1 / / rw - ext4 /dev/vda1 rw\n\
        30 22 0:40 / /mnt/efs rw,noatime shared:5 - nfs4 fs-1.efs.eu-west-1.amazonaws.com:/ rw,vers=4.1\n\
        31 22 0:41 / /mnt/my\\040dags ro - fuse.s3fs s3fs ro\n\
        32 30 0:42 / /mnt/efs rw - tmpfs over rw\n\
        malformed\n";

    #[test]
    fn the_deepest_and_latest_mount_counts() {
        let kind = |path: &str| mount_of(Path::new(path), MOUNTS).unwrap().kind;
        assert_eq!(kind("/mnt/efs/dags"), "tmpfs", "a later mount hides an earlier");
        assert_eq!(kind("/mnt/my dags/x"), "fuse.s3fs");
        assert_eq!(kind("/mnt/efsx"), "ext4");
    }

    #[test]
    fn a_folder_that_is_not_mounted_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        require(folder.path(), &[]).unwrap();
        let error = require(folder.path(), &["nfs4".to_owned()]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unreachable);
        assert!(error.to_string().contains("wanted nfs4, found /"), "{error}");
        require(Path::new("/proc/self"), &["any".to_owned()]).unwrap();
        require(Path::new("/proc/self"), &["nfs4".to_owned(), "proc".to_owned()]).unwrap();
    }
}
