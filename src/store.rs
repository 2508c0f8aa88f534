//! The store: published versions, the link that Airflow reads, and what is needed to replace one by the other safely.
//!
//! ```text
//! <root>/current -> versions/<folder>     swapped by rename
//! <root>/versions/<folder>/               complete, verified, read-only
//! <root>/.dagsync/manifests/<hex>         as sha256sum prints it
//! <root>/.dagsync/indexes/<folder>        stats of a version's files when they were last known to be good
//! <root>/.dagsync/staging/<unique>/tree   swept at start
//! <root>/.dagsync/cache/<strategy>/
//! <root>/.dagsync/state.json, lock
//! ```
//!
//! A folder is named after its version: 64 hex digits. A fresh copy of a version that already has a folder, because a
//! file in it was touched or because an older version comes back with new times, gets `.2`, `.3` and so on behind: a
//! folder that readers use is never written to.

mod lock;
mod prune;
mod publish;
mod scrub;
mod state;

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::SystemTime;

use dagsync_core::fs::{self, Folder};
use dagsync_core::index::StatIndex;
use dagsync_core::{Digest, Error, ErrorKind, Interrupt, Manifest, Result, Snapshot, Version};
use rustix::fs::FileType;

pub use lock::StoreLock;
pub use prune::KeepPolicy;
pub use publish::{Draft, Publication, Published};
pub(crate) use scrub::differences;
pub use scrub::{Scrub, ScrubMode, ScrubReport};
pub use state::{FolderState, State};

const VERSIONS: &str = "versions";
const PRIVATE: &str = ".dagsync";
/// The longest manifest that is read: 100,000 files with paths of 1 KiB take a tenth of it.
const MANIFEST_MAX: u64 = 1 << 30;

/// The name of a folder below `versions`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FolderName {
    version: Version,
    /// 1 for the first copy, which has no suffix.
    copy: u64,
}

impl FolderName {
    /// The version that the folder holds.
    pub const fn version(&self) -> Version {
        self.version
    }
}

impl fmt::Display for FolderName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.version.hex())?;
        if self.copy > 1 { write!(f, ".{}", self.copy) } else { Ok(()) }
    }
}

impl FromStr for FolderName {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self> {
        let bad = || Error::new(ErrorKind::Refused, "read store", format!("{name:?} is not the folder of a version"));
        let (hex, copy) = match name.split_once('.') {
            Some((hex, copy)) => (hex, copy.parse().ok().filter(|&n| n > 1).ok_or_else(bad)?),
            None => (name, 1),
        };
        let parsed = Self { version: Version::from(hex.parse::<Digest>().map_err(|_| bad())?), copy };
        if parsed.to_string() == name { Ok(parsed) } else { Err(bad()) }
    }
}

impl serde::Serialize for FolderName {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> serde::Deserialize<'de> for FolderName {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// One store. Reading needs no lock; whatever writes asks for the [`StoreLock`].
#[derive(Debug, Clone)]
pub struct Store {
    root: PathBuf,
    link: String,
}

impl Store {
    /// The store at `root`, whose link is called `link`. Touches nothing.
    pub fn new(root: impl Into<PathBuf>, link: impl Into<String>) -> Self {
        Self { root: root.into(), link: link.into() }
    }

    /// Where the store lies.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Whether a store, even an empty one, lies at the root.
    pub fn exists(&self) -> bool {
        self.private("manifests").is_dir()
    }

    /// Creates what is missing of an empty store.
    pub fn create(&self) -> Result<()> {
        for name in ["manifests", "indexes", "staging", "cache"] {
            make_folder(&self.private(name))?;
        }
        fs::create_folders(&self.root.join(VERSIONS))
    }

    /// The folder that belongs to the strategy called `name`.
    pub fn cache(&self, name: &str) -> Result<PathBuf> {
        let path = self.private("cache").join(name);
        make_folder(&path)?;
        Ok(path)
    }

    /// The folder that the link points to; `None` when there is no link or nothing behind it.
    ///
    /// # Errors
    /// [`ErrorKind::Refused`] when the link's name is taken by something that dagsync did not make.
    pub fn current(&self) -> Result<Option<FolderName>> {
        let link = self.link_path();
        let Some(target) = fs::read_link(&link)? else { return Ok(None) };
        if !fs::exists(&link)? {
            return Ok(None);
        }
        let name = target.strip_prefix(VERSIONS).ok().and_then(Path::to_str).and_then(|n| n.parse().ok());
        name.map(Some).ok_or_else(|| {
            let message = format!("{} points to {}, which dagsync did not make", link.display(), target.display());
            Error::new(ErrorKind::Refused, "read store", message).with_hint("move it away or choose another link name")
        })
    }

    /// The current folder, which should be `expected`.
    ///
    /// # Errors
    /// [`ErrorKind::Mismatch`] when the link or the folder behind it is gone, or the link points to another folder.
    pub fn check_link(&self, expected: Option<&FolderName>) -> Result<Option<FolderName>> {
        let found = self.current()?;
        let Some(expected) = expected.filter(|expected| Some(*expected) != found.as_ref()) else { return Ok(found) };
        let link = self.link_path();
        let message = match found {
            Some(found) => format!("{} points to {found}, not to {expected}", link.display()),
            None => format!("{} or what it pointed to is gone; it was {expected}", link.display()),
        };
        Err(Error::new(ErrorKind::Mismatch, "read store", message)
            .with_hint("something else than dagsync writes there; the next sync publishes a fresh copy"))
    }

    /// The manifest of `version`; `None` when the store does not have it.
    ///
    /// # Errors
    /// [`ErrorKind::Corrupt`] when the file is not the manifest of that version.
    pub fn manifest(&self, version: &Version) -> Result<Option<Manifest>> {
        self.manifest_bytes(version)?.map(|bytes| Manifest::parse(&bytes)).transpose()
    }

    /// The same as it lies in the store: its digest is checked, its lines are not read.
    ///
    /// # Errors
    /// As [`Store::manifest`].
    pub fn manifest_bytes(&self, version: &Version) -> Result<Option<Vec<u8>>> {
        let path = self.manifest_path(version);
        let Some(bytes) = fs::read(&path, MANIFEST_MAX)? else { return Ok(None) };
        if Version::from(Digest::of(&bytes)) != *version {
            let message = format!("{} is not the manifest of its version", path.display());
            return Err(Error::new(ErrorKind::Corrupt, "read manifest", message)
                .with_hint("it was edited or damaged; the next sync writes it anew"));
        }
        Ok(Some(bytes))
    }

    /// What the store remembers of revisions and times, without changing anything; `None` when it is lost.
    pub fn state(&self) -> Option<State> {
        State::load(&self.state_path())
    }

    /// The current version, for reuse of its files.
    pub fn snapshot(&self) -> Result<Option<Snapshot>> {
        let Some(name) = self.current()? else { return Ok(None) };
        let folder = Folder::open(self.folder_path(&name))?;
        Ok(Some(Snapshot { folder, version: name.version, index: StatIndex::load(&self.index_path(&name)) }))
    }

    /// Brings the store into order after whatever happened to the process before: sweeps staging, forgets what was
    /// never published, rebuilds the state where it is missing or damaged.
    pub fn recover(&self, _lock: &StoreLock, now: SystemTime, interrupt: &Interrupt) -> Result<State> {
        self.create()?;
        let staging = self.private("staging");
        for entry in Folder::open(&staging)?.names()? {
            // Somebody else's file may be in it, which only a person can remove.
            warn_of(fs::remove_tree(&staging.join(entry.name), interrupt), "a staging folder stays");
        }
        fs::remove_file(&fs::with_suffix(&self.link_path(), fs::BESIDE_LINK))?;
        let current = self.current()?;
        let state = match State::load(&self.state_path()) {
            Some(mut state) => {
                self.forget_unpublished(&mut state, current.as_ref(), interrupt)?;
                state.adopt(current, now);
                state
            }
            None => State::rebuilt(self.folders()?, current, now),
        };
        self.save_state(&state);
        Ok(state)
    }

    /// Everything in it can be rebuilt: a full disk must not keep a good version from being served, nor make a version
    /// that is live, or one that is gone, look otherwise.
    fn save_state(&self, state: &State) {
        warn_of(state.save(&self.state_path()), "the state is not saved; the next start rebuilds it");
    }

    /// A folder that the state does not know and the link does not name was complete but never current: nobody reads it.
    fn forget_unpublished(&self, state: &mut State, current: Option<&FolderName>, interrupt: &Interrupt) -> Result<()> {
        let on_disk = self.folders()?;
        for name in on_disk.iter().filter(|name| Some(*name) != current && !state.folders.contains_key(*name)) {
            warn_of(self.remove_folder(name, interrupt), "a version that was never current stays");
        }
        state.folders.retain(|name, _| on_disk.contains(name));
        Ok(())
    }

    /// The folders below `versions` that are dagsync's.
    fn folders(&self) -> Result<Vec<FolderName>> {
        let names = Folder::open(self.root.join(VERSIONS))?.names()?;
        let is_folder = |kind: FileType| kind.is_dir() || kind == FileType::Unknown;
        let folders = names.iter().filter(|entry| is_folder(entry.kind));
        Ok(folders.filter_map(|entry| entry.name.to_str()?.parse().ok()).collect())
    }

    /// Takes the folder out of sight first, so that a reader sees all of it or nothing. What cannot be removed then
    /// lies in staging until the next start; for the store it is gone.
    fn remove_folder(&self, name: &FolderName, interrupt: &Interrupt) -> Result<()> {
        let doomed = self.new_staging_path();
        fs::create_folders(&doomed)?;
        let moved = Folder::open(self.root.join(VERSIONS))?.folder(&name.to_string()).and_then(|folder| {
            folder.chmod(0o755)?;
            fs::rename(&self.folder_path(name), &doomed.join("tree"))
        });
        match moved {
            Err(error) if !error.is_not_found() => {
                warn_of(fs::remove_tree(&doomed, interrupt), "a staging folder stays");
                return Err(error);
            }
            _ => {}
        }
        fs::remove_file(&self.index_path(name))?;
        if !self.folders()?.iter().any(|other| other.version == name.version) {
            fs::remove_file(&self.manifest_path(&name.version))?;
        }
        warn_of(fs::remove_tree(&doomed, interrupt), "a removed version stays in staging until the next start");
        Ok(())
    }

    fn new_staging_path(&self) -> PathBuf {
        self.private("staging").join(format!("{}-{:016x}", std::process::id(), fastrand::u64(..)))
    }

    fn private(&self, name: &str) -> PathBuf {
        self.root.join(PRIVATE).join(name)
    }

    fn link_path(&self) -> PathBuf {
        self.root.join(&self.link)
    }

    /// Where the folder called `name` lies.
    pub fn folder_path(&self, name: &FolderName) -> PathBuf {
        self.root.join(VERSIONS).join(name.to_string())
    }

    fn manifest_path(&self, version: &Version) -> PathBuf {
        self.private("manifests").join(version.hex())
    }

    fn index_path(&self, name: &FolderName) -> PathBuf {
        self.private("indexes").join(name.to_string())
    }

    fn state_path(&self) -> PathBuf {
        self.private("state.json")
    }
}

/// For what the store can live with.
fn warn_of(result: Result<()>, consequence: &'static str) {
    if let Err(error) = result {
        tracing::warn!(%error, "{consequence}");
    }
}

/// Creates a folder of dagsync's own; whatever else has its name is a leftover.
fn make_folder(path: &Path) -> Result<()> {
    if std::fs::symlink_metadata(path).is_ok_and(|found| !found.is_dir()) {
        fs::remove_file(path)?;
    }
    fs::create_folders(path)
}

#[cfg(test)]
#[path = "store/model_tests.rs"]
mod model_tests;
#[cfg(test)]
#[path = "store/tests.rs"]
mod tests;
