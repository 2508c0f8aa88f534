//! The manifest of a tree by findutils and coreutils, so that what is checked takes no part in checking it.
#![allow(clippy::disallowed_methods, reason = "the file module is part of what is checked")]

use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use crate::source::{Files, Item};

const PIPELINE: &str = r"find -L . \
    \( -name .git -o -name '*.pyc' -o -name '*.pyo' -o -name '.nfs*' \
    -o -type d \( -name __pycache__ -o -name .dagsync -o -name lost+found \) \) -prune \
    -o -type f -printf '%P\0' | LC_ALL=C sort -z | xargs -0 -r sha256sum --";

/// What `find | sort | sha256sum` prints in `folder`.
pub fn manifest(folder: &Path) -> io::Result<String> {
    let output = Command::new("sh").arg("-c").arg(PIPELINE).current_dir(folder).output()?;
    if !output.stderr.is_empty() {
        return Err(io::Error::other(String::from_utf8_lossy(&output.stderr).into_owned()));
    }
    String::from_utf8(output.stdout).map_err(io::Error::other)
}

/// The manifest that a tree of `files` must have. All links in it must stay inside.
pub fn expected(files: &Files) -> io::Result<String> {
    let folder = tempfile::tempdir()?;
    lay_out(files, folder.path())?;
    manifest(folder.path())
}

/// Writes `files` below `root`.
pub fn lay_out(files: &Files, root: &Path) -> io::Result<()> {
    for (path, item) in files {
        let path = root.join(path);
        std::fs::create_dir_all(path.parent().unwrap_or(root))?;
        match item {
            Item::Link(target) => std::os::unix::fs::symlink(target, path)?,
            Item::File { content, executable } => {
                std::fs::write(&path, content)?;
                let mode = if *executable { 0o755 } else { 0o644 };
                std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode))?;
            }
        }
    }
    Ok(())
}

/// Everything below `root` with type, size, times and inode: equal only if nobody wrote there.
pub fn footprint(root: &Path) -> io::Result<String> {
    let format = "%P %y %s %T@ %i %m %l\n";
    let output = Command::new("find").args([root.as_os_str(), "-printf".as_ref(), format.as_ref()]).output()?;
    let mut lines: Vec<&[u8]> = output.stdout.split(|&b| b == b'\n').collect();
    lines.sort_unstable();
    Ok(String::from_utf8_lossy(&lines.join(&b'\n')).into_owned())
}
