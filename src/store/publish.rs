//! Staging a tree and making it the current one, atomically.

use std::path::{Path, PathBuf};
use std::time::SystemTime;

use dagsync_core::fs::{self, Folder};
use dagsync_core::index::{StatIndex, file_system_tick};
use dagsync_core::{Error, ErrorKind, Filter, Interrupt, Result, Revision, StagedTree};

use super::access::share_folder;
use super::names::relative;
use super::{FolderName, State, Store, StoreLock};

/// A staging folder that is removed unless its tree is published.
#[derive(Debug)]
pub struct Draft {
    path: PathBuf,
}

impl Draft {
    /// Where the tree is staged.
    pub fn tree(&self) -> PathBuf {
        self.path.join("tree")
    }
}

impl Draft {
    /// Removes what is staged.
    pub fn discard(&self) {
        if let Err(error) = fs::remove_tree(&self.path, &Interrupt::never()) {
            tracing::warn!(%error, "a staging folder stays until the next start");
        }
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        self.discard();
    }
}

/// What a tree is published as.
#[derive(Debug)]
pub struct Publication<'a> {
    /// The source's name for it.
    pub revision: &'a Revision,
    /// The strategy that brought it.
    pub strategy: &'a str,
    /// The source, without secrets.
    pub source: String,
    /// The filter under which it was brought.
    pub filter: &'a Filter,
    /// Publish an empty tree over one that is not.
    pub allow_empty: bool,
    /// Publish a fresh copy although the version is current already, because that copy was touched.
    pub fresh: bool,
    /// The time.
    pub now: SystemTime,
}

/// What came of publishing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Published {
    /// The link stays: the content is that of the current version, and its folder need not name the new revision.
    Unchanged(FolderName),
    /// The link points to this new folder now.
    New(FolderName),
}

impl Published {
    /// The folder that is current now.
    pub const fn folder(&self) -> &FolderName {
        match self {
            Self::Unchanged(folder) | Self::New(folder) => folder,
        }
    }
}

impl Store {
    /// A new, empty staging folder.
    pub fn draft(&self, _lock: &StoreLock) -> Result<Draft> {
        let draft = Draft { path: self.new_staging_path() };
        fs::create_folders(&draft.tree())?;
        Ok(draft)
    }

    /// Makes a complete staged tree the current version. At every moment the link is the old one or the new one, and
    /// what it points to is complete on disk.
    ///
    /// # Errors
    /// [`ErrorKind::Refused`] for an empty tree over one that is not; [`ErrorKind::Locked`] when the lock was lost.
    pub fn publish(
        &self,
        lock: &StoreLock,
        state: &mut State,
        draft: &Draft,
        tree: &StagedTree,
        publication: &Publication<'_>,
    ) -> Result<Published> {
        let version = tree.manifest.version();
        let current = self.current()?;
        let wanted = FolderName::new(self.layout, version, publication.revision)?;
        let unchanged = current.as_ref().filter(|name| name.is_like(&wanted) && !publication.fresh).cloned();
        let published = match unchanged {
            Some(name) => Published::Unchanged(name),
            None => {
                self.refuse_empty(tree, current.as_ref(), publication)?;
                let name = self.free_name(&wanted)?;
                self.move_into_place(lock, draft, tree, &name)?;
                state.make_current(Some(name.clone()), publication.now);
                Published::New(name)
            }
        };
        record(state, published.folder(), publication);
        self.save_state(state);
        Ok(published)
    }

    /// Notes that the current version is what `publication` names too.
    ///
    /// # Errors
    /// There is no current version, or the layout calls for another folder.
    pub fn keep(&self, _lock: &StoreLock, state: &mut State, publication: &Publication<'_>) -> Result<FolderName> {
        let gone = || Error::new(ErrorKind::Changed, "publish", "the version that was to be kept is no longer current");
        let current = self.current()?.ok_or_else(gone)?;
        let wanted = FolderName::new(self.layout, current.version(), publication.revision)?;
        if !current.is_like(&wanted) {
            return Err(gone());
        }
        record(state, &current, publication);
        self.save_state(state);
        Ok(current)
    }

    fn refuse_empty(
        &self,
        tree: &StagedTree,
        current: Option<&FolderName>,
        publication: &Publication<'_>,
    ) -> Result<()> {
        let Some(current) = current else { return Ok(()) };
        let is_repair = current.version() == tree.manifest.version();
        if !tree.manifest.is_empty() || publication.allow_empty || is_repair {
            return Ok(());
        }
        let message = format!("revision {} of {} holds no file", publication.revision, publication.source);
        Err(Error::new(ErrorKind::Refused, "publish", message)
            .with_context("version that stays", current.version())
            .with_hint("check the subpath and the globs; set allow_empty to publish an empty tree"))
    }

    /// The first copy's name that is free: nothing lies there, whoever made it, and nothing is recorded.
    fn free_name(&self, first: &FolderName) -> Result<FolderName> {
        let recorded = self.records()?;
        let is_free = |name: &FolderName| {
            let is_recorded = recorded.iter().any(|other| other.path() == name.path());
            !is_recorded && std::fs::symlink_metadata(self.folder_path(name)).is_err()
        };
        Ok((1..).map(|copy| first.with_copy(copy)).find(is_free).expect("numbers do not end"))
    }

    fn move_into_place(&self, lock: &StoreLock, draft: &Draft, tree: &StagedTree, name: &FolderName) -> Result<()> {
        let manifest = draft.path.join("manifest");
        fs::write_atomic(&manifest, &tree.manifest.to_bytes())?;
        let path = self.folder_path(name);
        let home = path.parent().unwrap_or(&self.root);
        fs::create_folders(home)?;
        let home = Folder::open(home)?;
        if self.group_write {
            share_folder(home.path())?;
        }
        home.sync_file_system()?;
        lock.check()?;
        fs::rename(&manifest, &self.manifest_path(&name.version()))?;
        if name.is_worktree() {
            self.record(name)?;
        }
        fs::rename(&draft.tree(), &path)?;
        let folder = Folder::open(&path)?;
        if self.group_write { folder.share() } else { folder.chmod(0o555) }?;
        home.sync()?;
        Folder::open(self.private("manifests"))?.sync()?;
        // Again: what came before may have waited long for a network.
        if let Err(error) = lock.check() {
            let _ = self.remove_folder(name, &Interrupt::never());
            return Err(error);
        }
        self.flip(&path)
    }

    /// The target is relative to where the link really lies, so that both may be mounted somewhere else.
    fn flip(&self, tree: &Path) -> Result<()> {
        let link = self.link_path();
        let gone = |path: &Path| Error::new(ErrorKind::Changed, "publish", format!("{} is gone", path.display()));
        let resolve = |path: &Path| fs::resolve(path)?.ok_or_else(|| gone(path));
        let parent = link.parent().unwrap_or(&self.root);
        fs::replace_link(&relative(&resolve(parent)?, &resolve(tree)?), &link)?;
        Folder::open(parent)?.sync()
    }

    /// Records the stats of a version that was just published, so that the next check need not read it.
    ///
    /// Called after pruning: removing a version moves the ctime of the files it shared with this one. A file whose
    /// stat is not what was staged is left out, so the next check reads it.
    pub fn index(&self, name: &FolderName, tree: &StagedTree, interrupt: &Interrupt) -> Result<()> {
        let now = file_system_tick(&self.private("staging"))?;
        let folder = Folder::open(self.folder_path(name))?;
        StatIndex::of(folder, now, &tree.files, interrupt)?.save(&self.index_path(name))
    }
}

fn record(state: &mut State, name: &FolderName, publication: &Publication<'_>) {
    state.revision = Some(publication.revision.clone());
    state.strategy = publication.strategy.to_owned();
    state.source.clone_from(&publication.source);
    state.filter_hash = publication.filter.hash().to_string();
    if let Some(folder) = state.folders.get_mut(name) {
        folder.revision.get_or_insert_with(|| publication.revision.clone());
    }
}
