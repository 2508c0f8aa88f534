//! A store as the source, kept on the volume by another dagsync: its link is followed, and what lies behind it is compared
//! with its manifest, file by file.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Component, Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use dagsync_core::copy::Copy;
use dagsync_core::fs::{self, Folder};
use dagsync_core::index::{Same, StatIndex};
use dagsync_core::links::{self, Links};
use dagsync_core::tree::{Reading, hash_listing};
use dagsync_core::walk::{self, Listing, Walk};
use dagsync_core::{
    Digest, Error, ErrorKind, Expectation, Filter, InPlace, Interrupt, Limits, Manifest, Result, Revision, SealState,
    Staging, SymlinkPolicy, SyncContext, Tree, TreePath, Version,
};
use rustix::fs::FlockOperation;

use crate::Source;
use crate::settings::Mode;
use crate::survey;

/// Where a store keeps its manifests.
const MANIFESTS: &str = ".dagsync/manifests";
/// Where a store of layout `worktrees` keeps which version each of its folders holds.
const RECORDS: &str = ".dagsync/worktrees";
/// As much as the store itself reads.
const MANIFEST_MAX: u64 = 1 << 30;

/// Whether a store lies in a folder. The folder was opened just now, so a client of NFS asks for the name.
pub(crate) fn lies_in(folder: &Folder) -> Result<bool> {
    match folder.folder(MANIFESTS) {
        Ok(_) => Ok(true),
        Err(e) if e.is_not_found() || e.raw_os_error() == Some(rustix::io::Errno::NOTDIR.raw_os_error()) => Ok(false),
        // One that may not be looked into is one all the same.
        Err(e) => Err(walk::vanished(e)),
    }
}

/// What to do about a file that is not what it should be.
const EDITED: &str = "somebody edited the store; the dagsync that writes it publishes a fresh copy";

/// The layout `store`.
#[derive(Debug)]
pub(crate) struct Stores {
    source: Arc<Source>,
    /// The version that is served in place: nobody removes it while its manifest is locked.
    served: Arc<Mutex<Served>>,
}

#[derive(Debug, Default)]
struct Served {
    _lock: Option<File>,
    index: StatIndex,
}

/// A published version in the store.
struct Published {
    folder: Folder,
    manifest: Manifest,
    /// Held while its files are read, so that the store keeps them.
    lock: Option<File>,
}

impl Stores {
    pub(crate) fn new(source: Arc<Source>) -> Self {
        Self { source, served: Arc::default() }
    }

    pub(crate) async fn resolve(&self, cx: &SyncContext) -> Result<Revision> {
        let (source, cache) = (self.source.clone(), cx.cache.clone());
        let read = move |_: &Interrupt| {
            source.check(&cache)?;
            source.linked()
        };
        cx.blocking("read link", read).await
    }

    pub(crate) async fn materialize(&self, cx: &SyncContext, revision: &Revision, staging: &Staging) -> Result<Tree> {
        let (source, served, context) = (self.source.clone(), self.served.clone(), cx.clone());
        let (revision, staging) = (revision.clone(), staging.clone());
        let bring = move |interrupt: &Interrupt| {
            let below = Path::new(revision.as_str());
            let published = source.published(below)?;
            let brought = published.bring(&source, &served, &context, &staging, interrupt);
            // One that is being removed has not been touched by anybody else.
            brought.map_err(|e| match e.kind() {
                ErrorKind::Mismatch if !source.has(below) => gone(below, &source.path.join(below)).with_source(e),
                _ => e,
            })
        };
        cx.blocking("materialize", bring).await
    }
}

impl Source {
    /// What the store's link points to, below the store's folder.
    fn linked(&self) -> Result<Revision> {
        // Opening the folder makes a client of NFS ask for its names again.
        survey::open(&self.path)?;
        let link = self.path.join(&self.settings.link);
        let parent = link.parent().and_then(|parent| parent.strip_prefix(&self.path).ok()).unwrap_or(Path::new(""));
        let target = read_link(&link)?.ok_or_else(|| {
            let message = format!("{} is not there: the store has published nothing yet", link.display());
            Error::new(ErrorKind::NotFound, "read link", message)
                .with_hint("wait for the dagsync that writes it, or set volume.link to the name of its link")
                .retryable()
        })?;
        let below = normal(&parent.join(&target)).filter(|below| {
            let first = below.components().next();
            first == Some(Component::Normal("versions".as_ref()))
                || first == Some(Component::Normal(".worktrees".as_ref()))
        });
        match below.as_ref().and_then(|below| below.to_str()) {
            Some(below) => Ok(Revision::new(below)),
            None => {
                let message = format!("{} points to {}, which is no version", link.display(), target.display());
                Err(Error::new(ErrorKind::Refused, "read link", message)
                    .with_hint("the link must be one that dagsync made; set volume.layout = folder for a plain folder"))
            }
        }
    }

    /// The version in the folder `below` the store.
    fn published(&self, below: &Path) -> Result<Published> {
        let version = self.version_of(below)?;
        let path = self.path.join(MANIFESTS).join(version.hex());
        let bytes = fs::read(&path, MANIFEST_MAX)?.ok_or_else(|| gone(below, &path))?;
        if Version::from(Digest::of(&bytes)) != version {
            let message = format!("{} is not the manifest of its version", path.display());
            return Err(Error::new(ErrorKind::Mismatch, "read manifest", message)
                .with_hint("it was edited or damaged; the dagsync that writes the store mends it")
                .retryable());
        }
        let folder = Folder::open(self.path.join(below))
            .map_err(|error| if error.is_not_found() { gone(below, &self.path.join(below)) } else { error })?;
        Ok(Published { folder, manifest: Manifest::parse(&bytes)?, lock: hold(&path) })
    }

    /// Whether that version is still there.
    fn has(&self, below: &Path) -> bool {
        let manifest = self.version_of(below).map(|version| self.path.join(MANIFESTS).join(version.hex()));
        [manifest.ok(), Some(self.path.join(below))]
            .iter()
            .flatten()
            .all(|path| matches!(fs::resolve(path), Ok(Some(_))))
    }

    fn version_of(&self, below: &Path) -> Result<Version> {
        let parse = |text: &str| text.parse::<Digest>().ok().map(Version::from);
        let name = below.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let version = if below.starts_with("versions") {
            parse(name.split_once('.').map_or(name, |(hex, _)| hex))
        } else {
            // `<commit>@<version>`, or `<commit>.2@<version>` for what lies in `.worktrees/copy-2`.
            let copy = below.iter().nth(1).and_then(|part| part.to_str()?.strip_prefix("copy-"));
            let wanted = copy.map_or_else(|| format!("{name}@"), |copy| format!("{name}.{copy}@"));
            let records = Folder::open(self.path.join(RECORDS))?.names()?;
            records.iter().find_map(|record| parse(record.name.to_str()?.strip_prefix(&wanted)?))
        };
        version.ok_or_else(|| {
            let message = format!("{} is no version that the store knows", self.path.join(below).display());
            Error::new(ErrorKind::Changed, "read store", message)
        })
    }
}

impl Published {
    fn bring(
        self,
        source: &Source,
        served: &Mutex<Served>,
        cx: &SyncContext,
        staging: &Staging,
        interrupt: &Interrupt,
    ) -> Result<Tree> {
        let listing = walk::list(&self.folder, &Walk::new(&cx.filter, &cx.limits, interrupt))?;
        let is_whole = cx.filter.hash() == Filter::default().hash();
        if source.settings.mode == Mode::InPlace {
            let mut served = served.lock().unwrap_or_else(PoisonError::into_inner);
            return self.serve(listing, is_whole, &mut served, cx, interrupt);
        }
        if is_whole {
            self.check_names(&listing, &cx.limits, interrupt)?;
        } else {
            // What this reader's globs leave out may be what a link leads to.
            let everything = walk::list(&self.folder, &Walk::new(&Filter::default(), &cx.limits, interrupt))?;
            self.check_names(&everything, &cx.limits, interrupt)?;
        }
        self.copy(&listing, staging, interrupt).map(|()| Tree::Staged)
    }

    /// The manifest names exactly what a reader of the folder sees.
    fn check_names(&self, listing: &Listing, limits: &Limits, interrupt: &Interrupt) -> Result<()> {
        let files = listing.files.iter().map(|(path, _)| path);
        let shown = links::resolve(files, &listing.links, &Filter::default(), limits, interrupt)?.files;
        let shown: BTreeMap<_, _> = shown.into_iter().collect();
        if let Some((path, _)) =
            shown.iter().find(|(path, origin)| self.digest(path).is_none() || self.digest(path) != self.digest(origin))
        {
            return Err(self.mismatch(path, "is there, but its manifest does not name it so"));
        }
        match self.manifest.entries().iter().find(|e| !shown.contains_key(&e.path)) {
            Some(entry) => Err(self.mismatch(&entry.path, "is missing")),
            None => Ok(()),
        }
    }

    fn digest(&self, path: &TreePath) -> Option<&Digest> {
        self.manifest.get(path.as_str())
    }

    fn copy(&self, listing: &Listing, staging: &Staging, interrupt: &Interrupt) -> Result<()> {
        let copy = Copy { root: &self.folder, same: Same::Content, staging, interrupt };
        for (path, (_, digest)) in copy.stage(listing, |path, _| self.digest(path).copied())? {
            if self.digest(&path) != Some(&digest) {
                return Err(self.mismatch(&path, "is not what its manifest says"));
            }
        }
        Ok(())
    }

    /// Hashes what is new of a version that is read where it lies. The engine compares it with the manifest, unless this
    /// reader's globs make it another tree.
    fn serve(
        mut self,
        listing: Listing,
        is_whole: bool,
        served: &mut Served,
        cx: &SyncContext,
        interrupt: &Interrupt,
    ) -> Result<Tree> {
        let known = if cx.thorough { StatIndex::default() } else { served.index.for_files(&listing.files) };
        let reading = Reading {
            filter: &cx.filter,
            limits: &cx.limits,
            symlinks: SymlinkPolicy::Skip,
            index: &known,
            // Nobody writes to a version after it was published, so its stats are older than any reading of it.
            now: Some(i128::MAX),
            interrupt,
            progress: &cx.progress,
        };
        let mut tree = hash_listing(&self.folder, listing, Same::Content, &reading)?;
        if !is_whole
            && let Some(entry) = tree.manifest.entries().iter().find(|e| self.digest(&e.path) != Some(&e.digest))
        {
            return Err(self.mismatch(&entry.path, "is not what its manifest says"));
        }
        *served = Served { _lock: self.lock.take(), index: std::mem::take(&mut tree.index) };
        // git-sync's trees, which a store may have taken over, keep links that count for nothing; dagsync's own have none.
        let is_git_syncs = self.folder.stat(".git").is_ok();
        let links = if is_git_syncs { tree.links.clone() } else { Links::new() };
        let seal = if is_whole { SealState::Of(self.manifest, links) } else { SealState::None };
        let (path, expectation) =
            (self.folder.path().to_owned(), Expectation { seal, mend: EDITED, ..Expectation::default() });
        Ok(Tree::InPlace(Box::new(InPlace { path, tree, expectation })))
    }

    fn mismatch(&self, path: &TreePath, how: &str) -> Error {
        let path = self.folder.path().join(path.as_path());
        Error::new(ErrorKind::Mismatch, "verify", format!("{} {how}", path.display())).with_hint(EDITED).retryable()
    }
}

/// A version that was removed while it was looked for: a newer one is current.
fn gone(below: &Path, path: &Path) -> Error {
    Error::new(ErrorKind::Changed, "read store", format!("{} is gone", path.display()))
        .with_context("version", below.display())
}

/// A name that another client of NFS has just replaced may be stale for a moment.
fn read_link(link: &Path) -> Result<Option<PathBuf>> {
    const TRIES: usize = 5;
    let mut tries = 1;
    loop {
        match fs::read_link(link) {
            Err(error) if error.raw_os_error() == Some(rustix::io::Errno::STALE.raw_os_error()) && tries < TRIES => {
                tries += 1;
                std::thread::sleep(std::time::Duration::from_millis(20));
            }
            done => return done,
        }
    }
}

/// Takes the shared lock that keeps a version from being removed. Where that cannot be had, the store's `keep.age` must do.
fn hold(manifest: &Path) -> Option<File> {
    let file = fs::open(manifest).ok().flatten()?;
    rustix::fs::flock(&file, FlockOperation::NonBlockingLockShared).is_ok().then_some(file)
}

/// A relative path without `.` and `..`; `None` when it leaves where it starts.
fn normal(path: &Path) -> Option<PathBuf> {
    let mut parts = PathBuf::new();
    for part in path.components() {
        match part {
            Component::Normal(name) => parts.push(name),
            Component::CurDir => {}
            Component::ParentDir if parts.pop() => {}
            _ => return None,
        }
    }
    Some(parts)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_is_read_from_where_the_link_lies() {
        let read = |path: &str| normal(Path::new(path)).map(|path| path.display().to_string());
        assert_eq!(read("versions/abc"), Some("versions/abc".into()));
        assert_eq!(read("a/b/../../.worktrees/c"), Some(".worktrees/c".into()));
        assert_eq!(read("../x"), None);
        assert_eq!(read("/x"), None);
    }
}
