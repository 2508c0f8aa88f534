//! The store: published versions, the link that Airflow reads, and what is needed to replace one by the other safely.
//!
//! ```text
//! <root>/current -> versions/<folder>     swapped by rename
//! <root>/versions/<folder>/               complete, verified, read-only
//! <root>/.dagsync/manifests/<hex>         as sha256sum prints it
//! <root>/.dagsync/indexes/<name>          stats of a version's files when they were last known to be good
//! <root>/.dagsync/worktrees/<name>        empty: its name says which version a folder holds that does not say so
//! <root>/.dagsync/staging/<unique>/tree   swept at start
//! <root>/.dagsync/cache/<strategy>/
//! <root>/.dagsync/state.json, lock
//! ```
//!
//! A folder is named after its version: 64 hex digits. A fresh copy of a version that already has a folder, because a
//! file in it was touched or because an older version comes back with new times, gets `.2`, `.3` and so on behind: a
//! folder that readers use is never written to.
//!
//! In layout `worktrees` a folder is named after its commit, as git-sync does it: `.worktrees/<commit>`, further copies
//! `.worktrees/copy-2/<commit>`, so that the last part of what the link points to is the commit. The layout decides
//! only what the next folder is called: those of the other one are read, verified and pruned all the same.

mod access;
mod adopt;
mod beat;
mod lock;
mod moment;
mod names;
mod prune;
mod publish;
mod restore;
mod scrub;
mod state;
mod sweep;
mod vigil;

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use dagsync_core::fs::{self, Folder, Name};
use dagsync_core::index::{StatIndex, file_system_now};
use dagsync_core::{Digest, Error, ErrorKind, Interrupt, Manifest, Result, Snapshot, Version};
use rustix::io::Errno;

use crate::config::{Config, Layout};
use adopt::Behind;
use names::{VERSIONS, WORKTREES};

pub(crate) use adopt::is_git_sync;
pub use lock::StoreLock;
pub use names::FolderName;
pub use prune::KeepPolicy;
pub use publish::{Draft, Publication, Published};
pub(crate) use scrub::differences;
pub use scrub::{Scrub, ScrubMode, ScrubReport};
pub use state::{FolderState, State};
pub use vigil::Vigil;

const PRIVATE: &str = ".dagsync";
/// The longest manifest that is read: 100,000 files with paths of 1 KiB take a tenth of it.
const MANIFEST_MAX: u64 = 1 << 30;

/// One store. Reading needs no lock; whatever writes asks for the [`StoreLock`].
#[derive(Debug, Clone)]
pub struct Store {
    root: PathBuf,
    /// Relative to the root, or absolute.
    link: PathBuf,
    layout: Layout,
    group_write: bool,
    /// How long a holder of the lock may be silent.
    lease: Duration,
}

impl From<&Config> for Store {
    fn from(config: &Config) -> Self {
        let Config { layout, group_write, lease, .. } = *config;
        Self { layout, group_write, lease, ..Self::new(&config.root, &config.link) }
    }
}

impl Store {
    /// The store at `root` with its link at `link`, for reading either layout. Touches nothing.
    pub fn new(root: impl Into<PathBuf>, link: impl Into<PathBuf>) -> Self {
        let (root, link, layout) = (root.into(), link.into(), Layout::Versions);
        Self { root, link, layout, group_write: false, lease: Duration::ZERO }
    }

    /// The store that lies at `root`; without a `link`, with the one that it was written with last.
    pub fn find(root: impl Into<PathBuf>, link: Option<&str>) -> Self {
        let store = Self::new(root, link.unwrap_or("current"));
        match store.state().map(|state| state.link) {
            Some(known) if link.is_none() && !known.as_os_str().is_empty() => Self { link: known, ..store },
            _ => store,
        }
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
        let trees = self.root.join(if self.layout == Layout::Versions { VERSIONS } else { WORKTREES });
        for path in [&trees, self.link_path().parent().unwrap_or(&self.root)] {
            fs::create_folders(path)?;
        }
        for name in ["manifests", "indexes", "worktrees", "staging", "cache"] {
            make_folder(&self.private(name))?;
        }
        if self.group_write { self.share(&trees) } else { Ok(()) }
    }

    /// The folder that belongs to the strategy called `name`.
    pub fn cache(&self, name: &str) -> Result<PathBuf> {
        let path = self.private("cache").join(name);
        make_folder(&path)?;
        Ok(path)
    }

    /// The published tree that the link points to; `None` when there is no link, nothing behind it, or a tree that
    /// [`Store::adopt`] has yet to make one.
    ///
    /// # Errors
    /// [`ErrorKind::Refused`] when the link's name is taken by something that dagsync did not make.
    pub fn current(&self) -> Result<Option<FolderName>> {
        match self.behind_link()? {
            Behind::Ours(name) => Ok(Some(name)),
            Behind::Nothing | Behind::Unrecorded(_) | Behind::Old(_) => Ok(None),
        }
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
            None => format!("{} no longer points to a published tree; it was {expected}", link.display()),
        };
        Err(Error::new(ErrorKind::Mismatch, "read store", message)
            .with_hint("something else than dagsync writes there; the next sync publishes a fresh copy"))
    }

    /// What is wrong when another process keeps another link than this one's, which then leads nowhere.
    pub fn other_link(&self) -> Option<Error> {
        let kept = self.state().filter(|state| state.current.is_some() && !state.link.as_os_str().is_empty())?.link;
        let own = self.link_path();
        if self.root.join(&kept) == own {
            return None;
        }
        let message =
            format!("{} is not there: the process that writes to the store keeps {}", own.display(), kept.display());
        Some(
            Error::new(ErrorKind::Config, "read store", message)
                .with_hint("end the processes that keep the other link first, or set the same link in all"),
        )
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

    /// Keeps the manifest of a tree that lies elsewhere; one of an earlier such tree goes.
    pub fn keep_manifest(&self, lock: &StoreLock, manifest: &Manifest) -> Result<Version> {
        let version = manifest.version();
        self.replace(lock, &self.manifest_path(&version), &manifest.to_bytes())?;
        let folders = self.folders()?;
        for entry in self.names_of(Path::new(PRIVATE).join("manifests"))? {
            let digest: Option<Digest> = entry.name.to_str().and_then(|name| name.parse().ok());
            let kept = digest.map(Version::from);
            if kept.is_some_and(|kept| kept != version && !folders.iter().any(|folder| folder.version() == kept)) {
                fs::remove_file(&self.private("manifests").join(&entry.name))?;
            }
        }
        Ok(version)
    }

    /// What the store remembers of revisions and times, without changing anything; `None` when it is lost.
    pub fn state(&self) -> Option<State> {
        State::load(&self.state_path())
    }

    /// The current version, for reuse of its files.
    pub fn snapshot(&self) -> Result<Option<Snapshot>> {
        let Some(name) = self.current()? else { return Ok(None) };
        let folder = Folder::open(self.folder_path(&name))?;
        Ok(Some(Snapshot { folder, version: name.version(), index: StatIndex::load(&self.index_path(&name)) }))
    }

    /// Brings the store into order after whatever happened to the process before: forgets what was never published, rebuilds the state where it is missing or damaged.
    pub fn recover(&self, lock: &StoreLock, now: SystemTime, interrupt: &Interrupt) -> Result<State> {
        self.create()?;
        for name in self.records()?.iter().filter(|name| !self.has_folder(name)) {
            warn_of(self.remove_folder(lock, name, interrupt), "the record of a folder that is gone stays");
        }
        let behind = self.behind_link()?;
        let current = self.current()?;
        let mut state = match State::load(&self.state_path()) {
            Some(mut state) => {
                self.forget_unpublished(lock, &mut state, current.as_ref(), now, interrupt)?;
                state.adopt(current, now);
                state
            }
            None => State::rebuilt(self.folders()?, current, now),
        };
        if self.layout == Layout::Worktrees {
            self.note_git_sync(&mut state, &behind, now)?;
        }
        state.link = self.link_path().strip_prefix(&self.root).map_or_else(|_| self.link_path(), Path::to_owned);
        self.save_state(lock, &state);
        Ok(state)
    }

    /// Everything in it can be rebuilt: a full disk must not keep a good version from being served, nor make a version
    /// that is live, or one that is gone, look otherwise.
    fn save_state(&self, lock: &StoreLock, state: &State) {
        let saved = self.replace(lock, &self.state_path(), &state.to_json());
        warn_of(saved, "the state is not saved; the next start rebuilds it");
    }

    /// Writes a file of the store's own in one step.
    fn replace(&self, lock: &StoreLock, path: &Path, bytes: &[u8]) -> Result<()> {
        let draft = self.new_staging_path();
        lock.moments.pass();
        fs::write_new(&draft, bytes)
            .and_then(|()| lock.put(&draft, path))
            .inspect_err(|_| drop(fs::remove_file(&draft)))
    }

    /// The folders of published trees, of either layout.
    fn folders(&self) -> Result<Vec<FolderName>> {
        let versions = self.names_of(VERSIONS)?.into_iter().filter_map(|entry| entry.name.to_str()?.parse().ok());
        let versions = versions.filter(|name: &FolderName| !name.is_worktree());
        Ok(versions.chain(self.records()?).filter(|name| self.has_folder(name)).collect())
    }

    /// What folders in [`WORKTREES`] hold that dagsync published or adopted. A record comes before its folder and goes
    /// after it.
    fn records(&self) -> Result<Vec<FolderName>> {
        let names = self.names_of(Path::new(PRIVATE).join("worktrees"))?;
        let names = names.into_iter().filter_map(|entry| entry.name.to_str()?.parse().ok());
        Ok(names.filter(FolderName::is_worktree).collect())
    }

    fn record(&self, lock: &StoreLock, name: &FolderName) -> Result<()> {
        self.replace(lock, &self.record_path(name), b"")?;
        Folder::open(self.private("worktrees"))?.sync()
    }

    fn has_folder(&self, name: &FolderName) -> bool {
        std::fs::symlink_metadata(self.folder_path(name)).is_ok_and(|found| found.is_dir())
    }

    /// The names in a folder of the root, which may be missing or something else.
    fn names_of(&self, below: impl AsRef<Path>) -> Result<Vec<Name>> {
        match Folder::open(self.root.join(below)) {
            Err(e) if e.is_not_found() || e.raw_os_error() == Some(Errno::NOTDIR.raw_os_error()) => Ok(Vec::new()),
            folder => folder?.names(),
        }
    }

    fn new_staging_path(&self) -> PathBuf {
        self.private("staging").join(format!("{}-{:016x}", std::process::id(), fastrand::u64(..)))
    }

    /// The time that is noted of a version. Where other hosts write too, that of the volume, which is one for all of them.
    pub fn now(&self) -> SystemTime {
        let own = SystemTime::now();
        if !self.is_network() {
            return own;
        }
        let nanos = file_system_now(&self.private("staging")).ok().and_then(|nanos| u64::try_from(nanos).ok());
        nanos.map_or(own, |nanos| SystemTime::UNIX_EPOCH + Duration::from_nanos(nanos))
    }

    /// Whether readers may be on other hosts.
    pub fn is_network(&self) -> bool {
        Folder::open(&self.root).is_ok_and(|root| root.is_network())
    }

    fn private(&self, name: &str) -> PathBuf {
        self.root.join(PRIVATE).join(name)
    }

    fn link_path(&self) -> PathBuf {
        self.root.join(&self.link)
    }

    /// Where the folder called `name` lies.
    pub fn folder_path(&self, name: &FolderName) -> PathBuf {
        self.root.join(name.path())
    }

    fn manifest_path(&self, version: &Version) -> PathBuf {
        self.private("manifests").join(version.hex())
    }

    fn index_path(&self, name: &FolderName) -> PathBuf {
        self.private("indexes").join(name.to_string())
    }

    fn record_path(&self, name: &FolderName) -> PathBuf {
        self.private("worktrees").join(name.to_string())
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
#[cfg(test)]
#[path = "store/worktree_tests.rs"]
mod worktree_tests;
