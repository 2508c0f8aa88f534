//! Code in the places that are never part of a version. Airflow lists every folder, so a `.py` file or a zip there is a
//! DAG file to it. Bytecode in `__pycache__` is left alone: whether it is of its source nobody can tell.

use std::fs::File;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileExt;

use dagsync_core::fs::{Folder, Name};
use dagsync_core::tree::Reading;
use dagsync_core::walk::Odd;
use dagsync_core::{Error, Filter, Result, TreePath, printable};
use rustix::fs::FileType;
use rustix::io::Errno;

use crate::seal::{FOLDER, PARTS};

/// Names that are met for each file that is allowed.
const SEEN_PER_FILE: u64 = 4;

/// What lies below `root` where no version looks, and may be loaded all the same.
///
/// # Errors
/// [`LimitExceeded`](dagsync_core::ErrorKind::LimitExceeded) when there is more than a tree may hold; an I/O error.
pub(crate) fn find(root: &Folder, reading: &Reading<'_>) -> Result<Vec<Odd>> {
    let mut search = Search { root, reading, seen: 0, found: Vec::new() };
    let mut folders = vec![String::new()];
    while let Some(path) = folders.pop() {
        reading.interrupt.check("look for code")?;
        search.folder(&path, &mut folders)?;
    }
    search.found.sort_unstable_by(|a, b| a.why.cmp(&b.why));
    Ok(search.found)
}

struct Search<'a> {
    root: &'a Folder,
    reading: &'a Reading<'a>,
    seen: u64,
    found: Vec<Odd>,
}

impl Search<'_> {
    fn folder(&mut self, path: &str, folders: &mut Vec<String>) -> Result<()> {
        let folder = if path.is_empty() { self.root.again() } else { self.root.folder(path) };
        let folder = match folder {
            Ok(folder) => folder,
            // What counts and cannot be read is told by who reads it; what is gone is no harm.
            Err(error) => return self.unreadable(path, error, Filter::always_leaves_out(&format!("{path}/x"))),
        };
        let mut names = Vec::new();
        folder.each_name(|name, kind| {
            self.seen += 1;
            self.reading.limits.check_total(self.seen / SEEN_PER_FILE, 0)?;
            let could_hide = Filter::always_leaves_out(&join(path, &name.to_string_lossy()));
            if could_hide || matches!(kind, FileType::Directory | FileType::Unknown) {
                names.push(Name { name: name.to_owned(), kind });
            }
            Ok(())
        })?;
        for Name { name, kind } in names {
            let kind = match kind {
                FileType::Unknown => folder.stat(&name).map_or(kind, |stat| FileType::from_raw_mode(stat.mode)),
                kind => kind,
            };
            let Some(text) = name.to_str() else {
                self.unnamed(path, name.as_bytes());
                continue;
            };
            let at = join(path, text);
            match kind {
                FileType::Directory if path == FOLDER => self.tell(&at, "lies beside the seal"),
                FileType::Directory if !self.reading.filter.excludes(&at) => folders.push(at),
                FileType::RegularFile | FileType::Symlink => self.leaf(&folder, &at, text, kind)?,
                _ => {}
            }
        }
        Ok(())
    }

    fn leaf(&mut self, folder: &Folder, at: &str, name: &str, kind: FileType) -> Result<()> {
        self.reading.interrupt.check("look for code")?;
        if !Filter::always_leaves_out(at) || !self.reading.filter.chooses(at) {
            return Ok(());
        }
        let is_link = kind == FileType::Symlink;
        if at.rsplit_once('/').is_some_and(|(folder, _)| folder == FOLDER) {
            if is_link || !PARTS.contains(&name) {
                self.tell(at, "lies beside the seal");
            }
        } else if is_link {
            self.tell(at, "is a symbolic link in a place that no version looks at");
        } else if name.ends_with(".py") {
            self.tell(at, "is a Python file in a place that no version looks at");
        } else if is_sourceless(folder, at, name) {
            self.tell(at, "is bytecode without its source");
        } else {
            match folder.file(name).and_then(|file| is_zip(&file).map_err(|e| Error::io("read", at, e))) {
                Ok(false) => {}
                Ok(true) => self.tell(at, "is a zip in a place that no version looks at"),
                Err(error) => self.unreadable(at, error, true)?,
            }
        }
        Ok(())
    }

    fn tell(&mut self, path: &str, why: &str) {
        let why = format!("{} {why}, and Airflow may load it", printable(path));
        self.found.push(Odd { file: TreePath::new(path).ok(), why });
    }

    /// A folder with such a name cannot be looked into.
    fn unnamed(&mut self, folder: &str, name: &[u8]) {
        let path = [folder.as_bytes(), b"/", name].concat();
        if Filter::always_leaves_out(&String::from_utf8_lossy(&path)) {
            let path = printable(std::ffi::OsStr::from_bytes(&path));
            self.found.push(Odd { file: None, why: format!("{path} has a name that is not UTF-8") });
        }
    }

    fn unreadable(&mut self, path: &str, error: Error, hides: bool) -> Result<()> {
        match error.raw_os_error().map(Errno::from_raw_os_error) {
            Some(Errno::ACCESS) if hides && path != "lost+found" => {
                self.found.push(Odd { file: None, why: format!("{error}: nobody can say what it holds") });
                Ok(())
            }
            Some(Errno::ACCESS | Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => Ok(()),
            _ => Err(error),
        }
    }
}

/// Python imports it where there is no source beside it.
fn is_sourceless(folder: &Folder, at: &str, name: &str) -> bool {
    let is_cache = at.split('/').any(|part| part == "__pycache__");
    let source = name.strip_suffix("pyc").map(|stem| format!("{stem}py"));
    source.is_some_and(|source| !is_cache && folder.stat(source).is_err())
}

fn join(folder: &str, name: &str) -> String {
    if folder.is_empty() { name.to_owned() } else { format!("{folder}/{name}") }
}

/// Whether Python finds entries of a zip in the file, whatever lies before and behind them.
fn is_zip(file: &File) -> std::io::Result<bool> {
    const END: usize = 22;
    const COMMENT_MAX: u64 = 65535;
    let length = file.metadata()?.len();
    let start = length.saturating_sub(END as u64 + COMMENT_MAX);
    let mut tail = vec![0; (length - start) as usize];
    let mut read = 0;
    while let n @ 1.. = file.read_at(&mut tail[read..], start + read as u64)? {
        read += n;
    }
    let ends = tail[..read].windows(END).enumerate().filter(|(_, end)| end.starts_with(b"PK\x05\x06"));
    for (at, end) in ends {
        // Of a zip with 64-bit offsets the size stands elsewhere.
        let is_large = at >= 20 && tail[at - 20..].starts_with(b"PK\x06\x07");
        let size = u32::from_le_bytes([end[12], end[13], end[14], end[15]]);
        let mut magic = [0; 4];
        let directory = (start + at as u64).checked_sub(size.into());
        let is_there =
            directory.is_some_and(|at| file.read_exact_at(&mut magic, at).is_ok() && magic == *b"PK\x01\x02");
        if is_large || is_there {
            return Ok(true);
        }
    }
    Ok(false)
}

#[cfg(test)]
#[path = "hidden_tests.rs"]
mod tests;
