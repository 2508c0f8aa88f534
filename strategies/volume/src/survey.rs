//! What lies in a folder, and whether it has been still.
//!
//! A tree that is copied file by file is believed to be complete when two walks with a pause between them find the same
//! stats, from the server and not from a cache, and no name that an unfinished upload has. Each file's stat was then the
//! same all the time between the two, so the listing is what the whole folder was at one moment; and because its content is
//! read under that very stat, it is the content of that moment. No clock is asked, so none can be wrong: the pause is longer
//! than a clock tick of the server, within which a file could change without its times.

use std::path::Path;
use std::time::Duration;

use dagsync_core::fs::Folder;
use dagsync_core::walk::{self, Listing, Walk};
use dagsync_core::{Digest, Error, ErrorKind, Result, Revision};
use sha2::{Digest as _, Sha256};

const SCHEME: &str = "stats:";
/// Digits of a fingerprint that are shown.
const DIGITS: usize = 40;

/// The longest step of a file system's clock that stamps fractions of seconds, 10 ms at 100 Hz, with reserve.
const TICK: Duration = Duration::from_millis(15);
/// The same where all times are whole seconds; FAT counts in twos.
const COARSE_TICK: Duration = Duration::from_millis(2100);

/// A folder as it was found.
#[derive(Debug)]
pub(crate) struct Survey {
    pub(crate) root: Folder,
    pub(crate) listing: Listing,
}

impl Survey {
    /// Lists a folder.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] when it holds no name at all; [`ErrorKind::Changed`] when it changed while
    /// it was listed; a refused name, a limit, an I/O error.
    pub(crate) fn of(root: Folder, walk: &Walk<'_>) -> Result<Self> {
        let listing = walk::list(&root, walk)?;
        if listing.files.is_empty() && listing.links.is_empty() && root.names().map_err(walk::vanished)?.is_empty() {
            let message = format!("{} holds nothing at all", root.path().display());
            return Err(Error::new(ErrorKind::NotFound, "list", message).with_hint(
                "check that the volume is mounted there and that the path on it is right; where an empty tree is meant, \
                 set allow_empty and put an empty folder into it",
            ));
        }
        Ok(Self { root, listing })
    }

    /// The source's name for what was found.
    pub(crate) fn revision(&self) -> Revision {
        let mut hasher = Sha256::new();
        let mut text = |bytes: &[u8]| {
            hasher.update((bytes.len() as u64).to_le_bytes());
            hasher.update(bytes);
        };
        for (path, stat) in &self.listing.files {
            text(path.as_str().as_bytes());
            let (size, inode) = (stat.size.to_le_bytes(), stat.inode.to_le_bytes());
            text(&[&size[..], &inode, &stat.mtime.to_le_bytes(), &stat.ctime.to_le_bytes()].concat());
        }
        text(b"");
        for (path, target) in &self.listing.links {
            text(path.as_str().as_bytes());
            text(target);
        }
        Revision::new(format!("{SCHEME}{:.DIGITS$}", Digest::from(hasher).to_string()))
    }

    /// How long to wait at the least before a second look can tell that nothing changed.
    pub(crate) fn tick(&self) -> Duration {
        const SECOND: i128 = 1_000_000_000;
        let is_coarse = self.listing.files.iter().all(|(_, stat)| stat.ctime % SECOND == 0);
        if is_coarse && !self.listing.files.is_empty() { COARSE_TICK } else { TICK }
    }

    /// What is not as it was `before`; `None` when all is.
    pub(crate) fn moved(&self, before: &Self) -> Option<String> {
        let (files, links) = (&self.listing.files, &self.listing.links);
        if *files == before.listing.files && *links == before.listing.links {
            return None;
        }
        let first = files.iter().zip(&before.listing.files).find(|(now, then)| now != then);
        Some(match first {
            Some(((now, _), (then, _))) if now == then => format!("{now} changes"),
            Some(((now, _), (then, _))) if now < then => format!("{now} came"),
            Some((_, (then, _))) => format!("{then} went"),
            None => "files or links come or go".to_owned(),
        })
    }
}

/// Whether a revision names a state of a folder.
pub(crate) fn is_of_folder(revision: &Revision) -> bool {
    revision.as_str().starts_with(SCHEME)
}

/// Opens the source itself.
pub(crate) fn open(path: &Path) -> Result<Folder> {
    use rustix::io::Errno;
    Folder::open(path).map_err(|error| match error.raw_os_error().map(Errno::from_raw_os_error) {
        Some(Errno::NOENT) => {
            Error::new(ErrorKind::NotFound, "open volume", format!("{} is not there", path.display()))
                .with_hint("check the path and that its volume is mounted")
        }
        Some(Errno::NOTDIR) => {
            Error::new(ErrorKind::NotFound, "open volume", format!("{} is no folder", path.display()))
                .with_hint("give the folder that holds the DAGs, or a dagsync store")
        }
        // Another host removed or replaced it.
        Some(Errno::STALE) => {
            Error::new(ErrorKind::Changed, "open volume", format!("{} was replaced", path.display())).with_source(error)
        }
        _ => error,
    })
}

#[cfg(test)]
mod tests {
    use std::fs;

    use dagsync_core::{Filter, Interrupt, Limits};

    use super::*;

    fn survey(path: &Path) -> Result<Survey> {
        Survey::of(open(path)?, &Walk::new(&Filter::default(), &Limits::default(), &Interrupt::never()))
    }

    #[test]
    fn each_change_is_named_and_has_a_revision_of_its_own() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        fs::write(at("b.py"), "1").unwrap();
        let mut before = survey(folder.path()).unwrap();
        let same = survey(folder.path()).unwrap();
        assert_eq!((same.moved(&before), same.revision()), (None, before.revision()));
        let change = |edit: &dyn Fn(), named: &str, before: &Survey| {
            edit();
            let now = survey(folder.path()).unwrap();
            assert_eq!(now.moved(before).as_deref(), Some(named));
            assert_ne!(now.revision(), before.revision());
            now
        };
        before = change(&|| fs::write(at("a.py"), "1").unwrap(), "a.py came", &before);
        before = change(&|| fs::write(at("b.py"), "22").unwrap(), "b.py changes", &before);
        before = change(&|| fs::remove_file(at("a.py")).unwrap(), "a.py went", &before);
        before = change(&|| fs::write(at("c.py"), "1").unwrap(), "files or links come or go", &before);
        change(&|| std::os::unix::fs::symlink("b.py", at("d")).unwrap(), "files or links come or go", &before);
    }

    #[test]
    fn what_is_not_there_and_what_holds_nothing_is_not_found() {
        let folder = tempfile::tempdir().unwrap();
        for path in [folder.path().to_owned(), folder.path().join("absent")] {
            let error = survey(&path).unwrap_err();
            assert!(error.kind() == ErrorKind::NotFound && !error.is_retryable(), "{error}");
            assert!(error.to_string().contains("mounted"), "{error}");
        }
        fs::write(folder.path().join("a"), "").unwrap();
        assert!(survey(&folder.path().join("a")).unwrap_err().to_string().contains("is no folder"));
        fs::create_dir(folder.path().join("lost+found")).unwrap();
        fs::remove_file(folder.path().join("a")).unwrap();
        assert!(survey(folder.path()).unwrap().listing.files.is_empty(), "an empty volume is none");
    }
}
