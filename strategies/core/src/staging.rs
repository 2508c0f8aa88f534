//! The staging folder: where a strategy puts a tree before it is published.
//!
//! Nothing that a strategy passes in can leave the folder: names are checked, folders are opened one by one without
//! following links, files must not exist yet, and symbolic links are created only at the end, when they are known to
//! stay inside.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustix::fs::{Mode, Timespec, Timestamps};
use sha2::{Digest as _, Sha256};

use crate::error::{Error, ErrorKind, Result};
use crate::filter::Filter;
use crate::fs::{self, Folder};
use crate::index::{FileStat, StatIndex};
use crate::interrupt::Interrupt;
use crate::limits::Limits;
use crate::links;
use crate::manifest::{Digest, Entry, Manifest, Version};
use crate::open_folders::OpenFolders;
use crate::path::TreePath;
use crate::progress::Progress;
use crate::sorted::{self, InOrder};
use crate::tree::{self, SymlinkPolicy};
use crate::volume::Volume;
use crate::warning::Warning;

mod file;

pub use file::StagedFile;

const NANOS: i128 = 1_000_000_000;

/// A published tree, from which unchanged files are taken.
#[derive(Debug)]
pub struct Snapshot {
    /// Its folder.
    pub folder: Folder,
    /// Its version.
    pub version: Version,
    /// Its real files with their stats when they were last known to be good.
    pub index: StatIndex,
}

/// What the engine decides about every tree that is staged.
#[derive(Debug, Clone)]
pub struct StagingRules {
    /// Which files belong to the tree.
    pub filter: Arc<Filter>,
    /// How large it may be.
    pub limits: Limits,
    /// What to do with links that are no file.
    pub symlinks: SymlinkPolicy,
    /// Whether the group may write to what is staged.
    pub group_write: bool,
}

/// How much work staging took.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize)]
pub struct StagingCounts {
    /// Files written from the source.
    pub written: u64,
    /// Bytes of those.
    pub bytes_written: u64,
    /// Files hard-linked from the version before.
    pub linked: u64,
    /// Files copied from the version before, where linking failed.
    pub copied: u64,
}

/// A tree that is complete in its staging folder.
#[derive(Debug)]
pub struct StagedTree {
    /// Every file as a reader sees it.
    pub manifest: Manifest,
    /// The real files, links aside, sorted by path: the stat they had when their content was known, and its digest.
    pub files: Vec<(TreePath, (FileStat, Digest))>,
    /// Bytes of the real files.
    pub bytes: u64,
    /// What is odd but not wrong.
    pub warnings: Vec<Warning>,
    /// How much work it took.
    pub counts: StagingCounts,
}

/// A confined folder that a strategy fills. Cheap to clone; may be used from many threads.
#[derive(Debug, Clone)]
pub struct Staging(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    rules: StagingRules,
    previous: Option<Arc<Snapshot>>,
    interrupt: Interrupt,
    progress: Progress,
    folders: OpenFolders,
    previous_folders: Option<OpenFolders>,
    volume: Volume,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    files: Vec<(TreePath, (FileStat, Digest))>,
    links: BTreeMap<TreePath, Vec<u8>>,
    warnings: Vec<Warning>,
    counts: StagingCounts,
    bytes: u64,
}

impl Staging {
    /// A staging folder at `path`, which must exist and be empty.
    pub fn new(
        path: &Path,
        rules: StagingRules,
        previous: Option<Arc<Snapshot>>,
        interrupt: Interrupt,
        progress: Progress,
    ) -> Result<Self> {
        let folder = Folder::open(path)?;
        let volume = Volume::of(&folder);
        let folders = OpenFolders::new(folder, true);
        let previous_folders = match &previous {
            Some(snapshot) => Some(OpenFolders::new(Folder::open(snapshot.folder.path())?, false)),
            None => None,
        };
        let state = Mutex::default();
        Ok(Self(Arc::new(Inner { rules, previous, interrupt, progress, folders, previous_folders, volume, state })))
    }

    /// Whether the file or link at `path` belongs to the tree. What does not must not be staged; ask before fetching.
    pub fn wants(&self, path: &TreePath) -> bool {
        self.0.rules.filter.keeps(path.as_str())
    }

    /// Writes everything that `source` yields, hashing while writing.
    pub fn write(&self, path: &TreePath, executable: bool, source: &mut dyn Read) -> Result<Digest> {
        let mut file = self.create(path, executable)?;
        let mut buffer = vec![0; tree::BUFFER];
        loop {
            match source.read(&mut buffer) {
                Ok(0) => return file.finish(),
                Ok(n) => file.append(&buffer[..n])?,
                Err(e) if e.kind() == std::io::ErrorKind::Interrupted => {}
                Err(e) => {
                    let error = Error::new(ErrorKind::Unreachable, "read source", format!("cannot read {path}"));
                    return Err(error.with_source(e));
                }
            }
        }
    }

    /// Writes a file whose content is in memory.
    pub fn write_bytes(&self, path: &TreePath, executable: bool, content: &[u8]) -> Result<Digest> {
        let mut file = self.create(path, executable)?;
        file.append(content)?;
        file.finish()
    }

    /// As [`Staging::write_bytes`], unless the version before has this content at `path`, which is then reused: for a
    /// strategy that does not know the digest of what it has fetched.
    pub fn reuse_or_write(&self, path: &TreePath, executable: bool, content: &[u8]) -> Result<Digest> {
        if self.replaces(path, content.len() as u64) {
            let digest = Digest::of(content);
            if self.reuse(path, executable, &digest)? {
                return Ok(digest);
            }
        }
        self.write_bytes(path, executable, content)
    }

    /// Whether the version before has a file of this size at `path`, so that it may be the same.
    pub fn replaces(&self, path: &TreePath, size: u64) -> bool {
        let before = self.0.previous.as_ref().and_then(|snapshot| snapshot.index.get(path.as_str()));
        before.is_some_and(|(stat, _)| stat.size == size)
    }

    /// Starts a file that is written piece by piece; it counts once [`StagedFile::finish`] returned.
    pub fn create(&self, path: &TreePath, executable: bool) -> Result<StagedFile> {
        self.0.interrupt.check("stage")?;
        self.admit(path)?;
        let (folder, name) = path.split();
        let folder = self.0.folders.get(folder).map_err(|e| occupied(e, path))?;
        let file = self.new_file(&folder, name, executable).map_err(|e| occupied(e, path))?;
        let hasher = Sha256::new();
        Ok(StagedFile { staging: self.clone(), folder, file, path: path.clone(), hasher, bytes: 0, finished: false })
    }

    /// Takes the file at `path` from the version before, if it is there, has this content and the mode that a new file
    /// would get, and was not touched since; keeps its mtime. `false` means that the strategy must write it.
    pub fn reuse(&self, path: &TreePath, executable: bool, digest: &Digest) -> Result<bool> {
        let (Some(snapshot), Some(folders)) = (&self.0.previous, &self.0.previous_folders) else { return Ok(false) };
        let Some(indexed) = snapshot.index.get(path.as_str()) else { return Ok(false) };
        let (known, known_digest) = indexed;
        if known_digest != digest {
            return Ok(false);
        }
        self.0.interrupt.check("stage")?;
        self.admit(path)?;
        let (folder, name) = path.split();
        // Whatever is wrong with the old file, writing it anew is right.
        let Ok(from) = folders.get(folder) else { return Ok(false) };
        let Ok(stat) = from.stat(name) else { return Ok(false) };
        self.0.rules.limits.check_file(path, stat.size)?;
        if !stat.is_file() || !stat.same_content_stat(known) {
            return Ok(false);
        }
        let permissions = stat.mode & 0o7777;
        let wanted = if permissions == self.mode(executable) { permissions } else { self.mode_here(executable) };
        if (permissions & 0o111 == 0) != (wanted & 0o111 == 0) {
            return Ok(false);
        }
        if snapshot.index.proves(indexed, &stat).is_none() && !self.rehash(&from, name, digest) {
            return Ok(false);
        }
        let to = self.0.folders.get(folder).map_err(|e| occupied(e, path))?;
        // One of other permissions, such as those of a tree that was adopted, is copied.
        if permissions == wanted && to.hard_link(&from, name).is_ok() {
            return self.record(path.clone(), stat, *digest, |counts| counts.linked += 1).map(|()| true);
        }
        match self.copy(&from, &to, name, (&stat, executable), digest).map_err(|e| occupied(e, path))? {
            Some(stat) => self.record(path.clone(), stat, *digest, |counts| counts.copied += 1).map(|()| true),
            None => Ok(false),
        }
    }

    /// Records a symbolic link; whether it becomes one is decided when the tree is complete.
    pub fn link(&self, path: &TreePath, target: &[u8]) -> Result<()> {
        self.admit(path)?;
        let target = &target[..target.len().min(links::MAX_TARGET + 1)];
        let mut state = self.state();
        if state.links.insert(path.clone(), target.to_vec()).is_some() {
            return Err(twice(path));
        }
        self.0.rules.limits.check_total((state.files.len() + state.links.len()) as u64, state.bytes)
    }

    /// Reports something odd that does not stop the tree from being published.
    pub fn warn(&self, warning: Warning) {
        self.state().warnings.push(warning);
    }

    /// Where to count progress.
    pub fn progress(&self) -> &Progress {
        &self.0.progress
    }

    /// Completes the tree: creates the links that stay inside, gives folders their mode, builds the manifest.
    ///
    /// # Errors
    /// A refused link, an exceeded limit, an I/O error.
    pub fn finish(self) -> Result<StagedTree> {
        let StagingRules { filter, limits, symlinks, group_write } = &self.0.rules;
        let State { mut files, links, mut warnings, counts, bytes } = std::mem::take(&mut *self.state());
        files.sort_unstable_by(|a, b| a.0.cmp(&b.0));
        let resolved = links::resolve(files.iter().map(|(path, _)| path), &links, filter, limits, &self.0.interrupt)?;
        symlinks.check(&resolved.skipped)?;
        for (path, target) in &resolved.links {
            let (folder, name) = path.split();
            self.0.folders.get(folder)?.symlink(target, name)?;
        }
        for (shown, origin) in resolved.files.iter().filter(|(shown, origin)| shown != origin) {
            self.outlive_retargeted(shown, origin, &mut files)?;
        }
        self.0.folders.finish(*group_write)?;
        limits.check_total(resolved.files.len() as u64, 0)?;
        let mut staged = InOrder::new(&files);
        let entry = |(path, origin): (TreePath, TreePath)| {
            let &(_, digest) = staged.get(&origin).expect("a reader sees only what was staged");
            Entry { path, digest }
        };
        let manifest = Manifest::new(resolved.files.into_iter().map(entry).collect())?;
        warnings.extend(resolved.skipped.into_iter().map(Warning::SkippedLink));
        Ok(StagedTree { manifest, files, bytes, warnings, counts })
    }

    fn admit(&self, path: &TreePath) -> Result<()> {
        self.0.rules.limits.check_path(path)?;
        if self.wants(path) {
            return Ok(());
        }
        Err(Error::new(
            ErrorKind::Unexpected,
            "stage",
            format!("the strategy staged {path}, which the filter leaves out"),
        ))
    }

    fn record(
        &self,
        path: TreePath,
        stat: FileStat,
        digest: Digest,
        count: impl FnOnce(&mut StagingCounts),
    ) -> Result<()> {
        let limits = &self.0.rules.limits;
        let mut state = self.state();
        state.bytes += stat.size;
        limits.check_total((state.files.len() + state.links.len() + 1) as u64, state.bytes)?;
        count(&mut state.counts);
        state.files.push((path, (stat, digest)));
        drop(state);
        self.0.progress.add(1, stat.size);
        Ok(())
    }

    fn rehash(&self, folder: &Folder, name: &str, expected: &Digest) -> bool {
        let Ok(mut file) = folder.file(name) else { return false };
        let hashed = tree::hash_stream(&mut file, &mut vec![0; tree::BUFFER], &self.0.interrupt);
        hashed.is_ok_and(|(digest, _)| digest == *expected)
    }

    /// Copies where linking fails: too many links, another file system, a file of another owner.
    fn copy(
        &self,
        from: &Folder,
        to: &Folder,
        name: &str,
        (stat, executable): (&FileStat, bool),
        expected: &Digest,
    ) -> Result<Option<FileStat>> {
        let path = to.path().join(name);
        let Ok(mut source) = from.file(name) else { return Ok(None) };
        let mut copy = self.new_file(to, name, executable)?;
        std::io::copy(&mut source, &mut copy).map_err(|e| Error::io("copy", &path, e))?;
        self.settle(&copy, &path)?;
        set_mtime(&copy, stat.mtime).map_err(|e| Error::io("set time", &path, e))?;
        if self.rehash(to, name, expected) {
            return to.stat(name).map(Some);
        }
        to.unlink(name)?;
        Ok(None)
    }

    /// A link that leads to another file than before changes what readers find at its path, though neither file
    /// changed: the file behind it must be younger than what was found there, as any changed file is.
    fn outlive_retargeted(
        &self,
        shown: &TreePath,
        origin: &TreePath,
        files: &mut [(TreePath, (FileStat, Digest))],
    ) -> Result<()> {
        let Some(snapshot) = &self.0.previous else { return Ok(()) };
        // The version before is dagsync's own: its links stay inside.
        let Ok(before) = rustix::fs::stat(snapshot.folder.path().join(shown.as_path())) else { return Ok(()) };
        let Some(at) = sorted::position(files, origin.as_str()) else { return Ok(()) };
        let (before, (stat, digest)) = (FileStat::from(&before), files[at].1);
        if before.inode == stat.inode || second(stat.mtime) > second(before.mtime) {
            return Ok(());
        }
        let (folder, name) = origin.split();
        let folder = self.0.folders.get(folder)?;
        // The file may be linked into older versions, so it is replaced and not touched.
        let mut source = folder.file(name)?;
        folder.unlink(name)?;
        let mut copy = self.new_file(&folder, name, stat.is_executable())?;
        let fail = |e| Error::io("copy", folder.path().join(name), e);
        std::io::copy(&mut source, &mut copy).map_err(fail)?;
        self.settle(&copy, &folder.path().join(name))?;
        set_mtime(&copy, (second(before.mtime) + 1) * NANOS).map_err(fail)?;
        files[at].1 = (tree::stat_of(&copy, origin)?, digest);
        Ok(())
    }

    fn mode(&self, executable: bool) -> u32 {
        match (self.0.rules.group_write, executable) {
            (false, false) => 0o444,
            (false, true) => 0o555,
            (true, false) => 0o664,
            (true, true) => 0o775,
        }
    }

    fn new_file(&self, folder: &Folder, name: &str, executable: bool) -> Result<File> {
        let mode = self.mode(executable);
        let file = folder.create(name, mode)?;
        if self.0.rules.group_write {
            // The process's umask may have taken what the group needs.
            match rustix::fs::fchmod(&file, Mode::from_raw_mode(mode)) {
                Err(e) if !fs::is_not_carried(e) => return Err(Error::io("chmod", folder.path().join(name), e)),
                _ => {}
            }
        }
        Ok(file)
    }

    /// The permissions that a new file gets on this volume.
    fn mode_here(&self, executable: bool) -> u32 {
        let ask = |executable| {
            let name = format!(".dagsync-mode-{}", std::process::id());
            let made = self.0.folders.get("").and_then(|folder| {
                drop(self.new_file(&folder, &name, executable)?);
                let stat = folder.stat(&name);
                folder.unlink(&name)?;
                stat
            });
            made.map_or_else(|_| self.mode(executable), |stat| stat.mode & 0o7777)
        };
        self.0.volume.mode_of_new(executable, ask)
    }

    /// Every file that counts went through here.
    fn settle(&self, file: &File, path: &Path) -> Result<()> {
        self.0.volume.settle(file).map_err(|e| Error::io("fsync", path, e))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn twice(path: &TreePath) -> Error {
    Error::new(ErrorKind::Refused, "stage", format!("two things in the tree are at {path}"))
        .with_hint("remove or rename one of them in the source")
}

/// The folder starts empty, so what is in the way was staged.
fn occupied(error: Error, path: &TreePath) -> Error {
    use rustix::io::Errno;
    match error.raw_os_error().map(Errno::from_raw_os_error) {
        Some(Errno::EXIST | Errno::NOTDIR | Errno::LOOP) => twice(path).with_source(error),
        _ => error,
    }
}

const fn second(mtime: i128) -> i128 {
    mtime.div_euclid(NANOS)
}

fn set_mtime(file: &File, mtime: i128) -> std::io::Result<()> {
    let time = Timespec { tv_sec: mtime.div_euclid(NANOS) as i64, tv_nsec: mtime.rem_euclid(NANOS) as _ };
    Ok(rustix::fs::futimens(file, &Timestamps { last_access: time, last_modification: time })?)
}

#[cfg(test)]
#[path = "staging_tests.rs"]
mod tests;
