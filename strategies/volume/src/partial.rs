//! Names that an unfinished upload has.

use std::time::{Duration, SystemTime};

use dagsync_core::index::{FileStat, Nanos};
use dagsync_core::{Error, ErrorKind, Result};
use globset::{Glob, GlobSet, GlobSetBuilder};

/// Folders that rsync keeps what it has not finished in: `--partial-dir` as everybody calls it, `--delay-updates`.
const FOLDERS: [&str; 2] = [".rsync-partial", ".~tmp~"];

/// Tells files that somebody still writes by their names.
#[derive(Debug)]
pub(crate) struct Partial {
    globs: GlobSet,
    age: Duration,
}

impl Partial {
    pub(crate) fn new(globs: &[String], age: Duration) -> Result<Self> {
        let bad = |glob: &str, e: globset::Error| {
            let message = format!("volume.partial glob {glob:?} cannot be read");
            Error::new(ErrorKind::Config, "read settings", message).with_source(e)
        };
        let mut set = GlobSetBuilder::new();
        for glob in globs {
            set.add(Glob::new(glob).map_err(|e| bad(glob, e))?);
        }
        Ok(Self { globs: set.build().map_err(|e| bad(&globs.join(" "), e))?, age })
    }

    /// Whether a file at `path` looks unfinished.
    pub(crate) fn matches(&self, path: &str) -> bool {
        let (folder, name) = path.rsplit_once('/').unwrap_or(("", path));
        is_of_rsync(name) || self.globs.is_match(name) || folder.split('/').any(|part| FOLDERS.contains(&part))
    }

    /// Of `files` that do, the first that may still grow, and the first that is old enough to be a leftover.
    ///
    /// The clocks of this host and of the server are compared here, and only here: what goes wrong when they differ by
    /// more than the age is that a leftover counts for unfinished for longer, or the other way round.
    pub(crate) fn find<'a>(&self, files: &'a [(String, FileStat)]) -> Found<'a> {
        let now = SystemTime::now();
        let (leftovers, unfinished): (Vec<_>, Vec<_>) =
            files.iter().partition(|(_, stat)| is_older(stat.ctime, self.age, now));
        let first = |files: Vec<&'a (String, FileStat)>| files.first().map(|(path, _)| path.as_str());
        Found { unfinished: first(unfinished), leftover: first(leftovers) }
    }
}

/// Files with the names of unfinished uploads.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Found<'a> {
    /// One that may still grow.
    pub(crate) unfinished: Option<&'a str>,
    /// One that nobody seems to write any more.
    pub(crate) leftover: Option<&'a str>,
}

/// rsync writes `x.py` as `.x.py.AbC123` first: mkstemp(3)'s six letters and digits. One in two hundred of those has small
/// letters alone, as `.env.sample` has; that one is left to the time that the folder must be still for.
fn is_of_rsync(name: &str) -> bool {
    let Some((stem, suffix)) = name.rsplit_once('.') else { return false };
    stem.len() > 1
        && stem.starts_with('.')
        && suffix.len() == 6
        && suffix.bytes().all(|b| b.is_ascii_alphanumeric())
        && suffix.bytes().any(|b| !b.is_ascii_lowercase())
}

fn is_older(time: Nanos, age: Duration, now: SystemTime) -> bool {
    let now = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_nanos() as Nanos;
    now - time > age.as_nanos() as Nanos
}

#[cfg(test)]
mod tests {
    use super::*;

    fn partial() -> Partial {
        Partial::new(&["*.filepart".to_owned()], Duration::from_secs(600)).unwrap()
    }

    fn file(path: &str, age: Duration) -> (String, FileStat) {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_nanos() as Nanos;
        let ctime = now - age.as_nanos() as Nanos;
        (path.to_owned(), FileStat { size: 1, mtime: 0, ctime, inode: 1, device: 0, mode: 0 })
    }

    #[test]
    fn unfinished_uploads_are_told_by_their_names() {
        for name in ["a.py.filepart", "x/.dag.py.Ab12cD", ".dag.py.123456", "x/.~tmp~/dag.py", ".rsync-partial/dag.py"]
        {
            assert!(partial().matches(name), "{name}");
        }
        for name in ["a.py", ".airflowignore", ".env.sample", ".a.py.Ab12c", "a.py.Ab12cD", ".Ab12cD", ".x.py.Ab12c_"] {
            assert!(!partial().matches(name), "{name}");
        }
    }

    #[test]
    fn one_that_nobody_writes_any_more_is_a_leftover() {
        let files = [file("a.filepart", Duration::from_secs(601)), file("b.filepart", Duration::from_secs(599))];
        let Found { unfinished, leftover } = partial().find(&files);
        assert_eq!((unfinished, leftover), (Some("b.filepart"), Some("a.filepart")));
        let Found { unfinished, leftover } = partial().find(&files[..1]);
        assert!(unfinished.is_none() && leftover.is_some());
    }

    #[test]
    fn a_glob_that_cannot_be_read_is_named() {
        let error = Partial::new(&["a[".to_owned()], Duration::ZERO).unwrap_err();
        assert!(error.to_string().contains("\"a[\""), "{error}");
    }
}
