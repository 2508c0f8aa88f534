//! Lists a folder: the real files with their stats, and the symbolic links, both without following anything.
//!
//! Many threads do it, because over a network each stat is a round trip. What waits to be listed or asked for is bounded
//! by the limits, also in a folder of a million names.

mod queue;

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use rustix::fs::FileType;

use crate::error::{Error, ErrorKind, Result};
use crate::filter::Filter;
use crate::fs::Folder;
use crate::index::FileStat;
use crate::interrupt::Interrupt;
use crate::limits::Limits;
use crate::path::{TreePath, printable};
use queue::{Ending, Queue, Task, Work};

/// Files of one folder that one thread asks for in a row.
const BATCH: usize = 64;

/// What really lies in a folder, filtered.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Listing {
    /// Regular files, sorted by path.
    pub files: Vec<(TreePath, FileStat)>,
    /// Symbolic links and where they point.
    pub links: BTreeMap<TreePath, Vec<u8>>,
    /// Files with names that were watched for, whether they belong to the tree or not; sorted by path.
    pub watched: Vec<(String, FileStat)>,
    /// What [`Walk::leave_out`] left out.
    pub odd: Vec<Odd>,
}

/// Something that belongs to no version: it has a name that none holds, is too large, or may not be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Odd {
    /// Its path if it is a file whose name is fine.
    pub file: Option<TreePath>,
    /// What is wrong with it, with its path.
    pub why: String,
}

impl Odd {
    pub(crate) fn file(path: TreePath, error: &Error) -> Self {
        Self { file: Some(path), why: error.to_string() }
    }
}

/// Where attributes come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Attributes {
    /// From wherever a stat takes them: a client of a network file system may know them for a while.
    Cached,
    /// From the server, always.
    Fresh,
}

/// How to list a folder.
#[derive(Clone, Copy)]
pub struct Walk<'a> {
    /// Which files belong to it.
    pub filter: &'a Filter,
    /// How large it may be.
    pub limits: &'a Limits,
    /// When to stop.
    pub interrupt: &'a Interrupt,
    /// Where attributes come from.
    pub attributes: Attributes,
    /// Names to tell of besides, by their paths, also those of files that the filter leaves out.
    pub watch: Option<&'a (dyn Fn(&str) -> bool + Sync)>,
    /// Leave out single things that are no part of any version, and tell of them, rather than fail.
    pub leave_out: bool,
}

impl<'a> Walk<'a> {
    /// With attributes from wherever, and no names to watch.
    pub fn new(filter: &'a Filter, limits: &'a Limits, interrupt: &'a Interrupt) -> Self {
        Self { filter, limits, interrupt, attributes: Attributes::Cached, watch: None, leave_out: false }
    }
}

impl std::fmt::Debug for Walk<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Walk").field("attributes", &self.attributes).finish_non_exhaustive()
    }
}

/// Lists `root`.
///
/// # Errors
/// [`ErrorKind::Changed`] when something vanished while it was listed; a refused name, an exceeded limit, a folder that
/// cannot be read; all with the path.
pub fn list(root: &Folder, walk: &Walk<'_>) -> Result<Listing> {
    let first = Task { parent: Arc::new(root.again().map_err(vanished)?), path: Vec::new(), work: Work::List };
    let queue = Queue::new(first);
    let walk = Walking { how: *walk, queue, files: 0.into(), folders: 0.into(), bytes: 0.into() };
    let parts: Result<Vec<Listing>> = std::thread::scope(|scope| {
        let others: Vec<_> = (1..root.workers()).map(|_| scope.spawn(|| walk.work())).collect();
        let own = walk.work();
        let others = others.into_iter().map(|other| other.join().unwrap_or_else(|e| std::panic::resume_unwind(e)));
        std::iter::once(own).chain(others.collect::<Vec<_>>()).collect()
    });
    let mut listing = Listing::default();
    for mut part in parts.map_err(vanished)? {
        listing.files.append(&mut part.files);
        listing.links.append(&mut part.links);
        listing.watched.append(&mut part.watched);
        listing.odd.append(&mut part.odd);
    }
    listing.odd.sort_unstable_by(|a, b| a.why.cmp(&b.why));
    listing.watched.sort_unstable_by(|a, b| a.0.cmp(&b.0));
    listing.files.sort_unstable_by(|a, b| a.0.cmp(&b.0));
    Ok(listing)
}

/// Whether an error is that permissions do not allow it.
pub(crate) fn is_forbidden(error: &Error) -> bool {
    error.raw_os_error() == Some(rustix::io::Errno::ACCESS.raw_os_error())
}

/// What was listed a moment ago and is no longer there, or is something else now, changed while it was read.
pub fn vanished(error: Error) -> Error {
    use rustix::io::Errno;
    let number = error.raw_os_error().map(Errno::from_raw_os_error);
    match number {
        Some(Errno::NOENT | Errno::NOTDIR | Errno::LOOP | Errno::INVAL | Errno::NXIO | Errno::STALE) => {
            Error::new(ErrorKind::Changed, "read tree", "the tree changed while it was read").with_source(error)
        }
        _ => error,
    }
}

struct Walking<'a> {
    how: Walk<'a>,
    queue: Queue,
    /// Links included.
    files: AtomicU64,
    folders: AtomicU64,
    bytes: AtomicU64,
}

impl Walking<'_> {
    fn work(&self) -> Result<Listing> {
        let mut part = Listing::default();
        while let Some(task) = self.queue.next() {
            let mut ending = Ending(&self.queue, true);
            self.run(task, &mut part)?;
            ending.1 = false;
        }
        Ok(part)
    }

    fn run(&self, task: Task, part: &mut Listing) -> Result<()> {
        self.how.interrupt.check("list folder")?;
        let Task { parent, path, work } = task;
        match work {
            Work::List => self.list(&parent, path, part),
            Work::Enter(name) => match parent.folder(name.to_str().unwrap_or_default()) {
                Err(error) if is_forbidden(&error) => self.leave_out(error, part),
                folder => self.list(&Arc::new(folder?), path, part),
            },
            Work::Stat(names) => self.stat_all(&parent, path, &names, part),
        }
    }

    fn list(&self, folder: &Arc<Folder>, path: Vec<u8>, part: &mut Listing) -> Result<()> {
        if self.how.attributes == Attributes::Fresh {
            folder.stat_fresh(".")?;
        }
        let mut here = Here::new(path);
        let mut names = Vec::new();
        folder.each_name(|name, kind| {
            here.at(name, |path| match kind {
                FileType::Directory if self.how.filter.enters_here(&lossy(path)) => {
                    self.enter(folder, path, name).or_else(|error| self.leave_out(error, part))
                }
                FileType::Symlink if self.how.filter.keeps_here(&lossy(path)) => self.link(folder, path, name, part),
                FileType::RegularFile | FileType::Unknown if self.may_count(path, kind) => {
                    names.push(name.to_owned());
                    Ok(())
                }
                _ => Ok(()),
            })?;
            if names.len() < BATCH {
                return Ok(());
            }
            self.how.interrupt.check("list folder")?;
            let (path, names) = (here.folder().to_vec(), std::mem::take(&mut names));
            if self.queue.is_full() {
                return self.stat_all(folder, path, &names, part);
            }
            self.queue.push(Task { parent: folder.clone(), path, work: Work::Stat(names) });
            Ok(())
        })?;
        self.stat_all(folder, here.into_folder(), &names, part)
    }

    fn stat_all(&self, folder: &Arc<Folder>, path: Vec<u8>, names: &[OsString], part: &mut Listing) -> Result<()> {
        let mut here = Here::new(path);
        names.iter().try_for_each(|name| here.at(name, |path| self.stat(folder, path, name, part)))
    }

    fn stat(&self, folder: &Arc<Folder>, path: &[u8], name: &OsStr, part: &mut Listing) -> Result<()> {
        let stat = match self.how.attributes {
            Attributes::Cached => folder.stat(name)?,
            Attributes::Fresh => folder.stat_fresh(name)?,
        };
        let kind = FileType::from_raw_mode(stat.mode);
        if kind == FileType::RegularFile && self.watches(path) {
            part.watched.push((printable(OsStr::from_bytes(path)), stat));
        }
        match kind {
            FileType::RegularFile if self.how.filter.keeps_here(&lossy(path)) => self.file(path, stat, part),
            FileType::Symlink if self.how.filter.keeps_here(&lossy(path)) => self.link(folder, path, name, part),
            FileType::Directory if self.how.filter.enters_here(&lossy(path)) => {
                self.enter(folder, path, name).or_else(|error| self.leave_out(error, part))
            }
            _ => Ok(()),
        }
    }

    /// Tells of something that is left out, if that is what to do with it.
    fn leave_out(&self, error: Error, part: &mut Listing) -> Result<()> {
        let is_single = matches!(error.kind(), ErrorKind::Refused | ErrorKind::LimitExceeded) || is_forbidden(&error);
        if !self.how.leave_out || !is_single {
            return Err(error);
        }
        self.count_file()?;
        part.odd.push(Odd { file: None, why: error.to_string() });
        Ok(())
    }

    /// Whether a name may belong to the tree, or is watched for.
    fn may_count(&self, path: &[u8], kind: FileType) -> bool {
        let (filter, text) = (self.how.filter, lossy(path));
        filter.keeps_here(&text) || kind == FileType::Unknown && filter.enters_here(&text) || self.watches(path)
    }

    fn watches(&self, path: &[u8]) -> bool {
        self.how.watch.is_some_and(|watch| watch(&lossy(path)))
    }

    fn file(&self, path: &[u8], stat: FileStat, part: &mut Listing) -> Result<()> {
        let path = match self.path(path) {
            Ok(path) => path,
            Err(error) => return self.leave_out(error, part),
        };
        self.count_file()?;
        if let Err(error) = self.how.limits.check_file(&path, stat.size) {
            self.leave_out(error, part)?;
            part.odd.last_mut().expect("it was left out").file = Some(path);
            return Ok(());
        }
        let bytes = self.bytes.fetch_add(stat.size, Relaxed) + stat.size;
        self.how.limits.check_total(0, bytes)?;
        part.files.push((path, stat));
        Ok(())
    }

    fn enter(&self, parent: &Arc<Folder>, path: &[u8], name: &OsStr) -> Result<()> {
        self.path(path)?;
        // Folders do not count, but a source of nothing but folders must end too.
        self.how.limits.check_total(self.folders.fetch_add(1, Relaxed), 0)?;
        self.queue.push(Task { parent: parent.clone(), path: path.to_vec(), work: Work::Enter(name.to_owned()) });
        Ok(())
    }

    fn link(&self, folder: &Folder, path: &[u8], name: &OsStr, part: &mut Listing) -> Result<()> {
        let path = match self.path(path) {
            Ok(path) => path,
            Err(error) => return self.leave_out(error, part),
        };
        self.count_file()?;
        part.links.insert(path, folder.read_link(name)?);
        Ok(())
    }

    fn count_file(&self) -> Result<()> {
        self.how.limits.check_total(self.files.fetch_add(1, Relaxed) + 1, 0)
    }

    fn path(&self, path: &[u8]) -> Result<TreePath> {
        let path = TreePath::new(path)?;
        self.how.limits.check_path(&path)?;
        Ok(path)
    }
}

/// The path of a folder, to which one name at a time is appended.
struct Here {
    path: Vec<u8>,
    folder: usize,
}

impl Here {
    fn new(path: Vec<u8>) -> Self {
        Self { folder: path.len(), path }
    }

    fn folder(&self) -> &[u8] {
        &self.path[..self.folder]
    }

    fn into_folder(self) -> Vec<u8> {
        self.path
    }

    fn at<T>(&mut self, name: &OsStr, visit: impl FnOnce(&[u8]) -> Result<T>) -> Result<T> {
        if self.folder > 0 {
            self.path.push(b'/');
        }
        self.path.extend_from_slice(name.as_bytes());
        let visited = visit(&self.path);
        self.path.truncate(self.folder);
        visited
    }
}

/// A name that cannot be text is compared with the filter as text can be: what is left out is not refused.
fn lossy(path: &[u8]) -> Cow<'_, str> {
    String::from_utf8_lossy(path)
}
