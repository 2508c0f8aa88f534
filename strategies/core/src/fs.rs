//! Every file operation of dagsync: the path is part of each error, nothing is followed that was not asked for, and
//! whatever must survive a crash is written beside and renamed.
#![allow(clippy::disallowed_methods, reason = "this is the module that they point to")]

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, FileType, Mode, OFlags, RawDir, ResolveFlags, StatxFlags};
use rustix::io::Errno;

use crate::error::{Error, ErrorKind, Result};
use crate::index::FileStat;
use crate::interrupt::Interrupt;

const FOLDER: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);
/// `NONBLOCK` so that a named pipe put in a file's place cannot hang the reader.
const READ: OFlags = OFlags::RDONLY.union(OFlags::CLOEXEC).union(OFlags::NOFOLLOW).union(OFlags::NONBLOCK);

/// `f_type` of file systems whose files lie on another host, or behind a process that may stop answering: NFS, SMB and
/// CIFS, Ceph, Lustre, AFS, 9P, OCFS2, GFS2, GPFS, BeeGFS, Coda, VirtualBox's and everything on FUSE (statfs(2),
/// linux/magic.h and the projects' own headers).
const NETWORK: &[u32] = &[
    0x6969,
    0x517b,
    0xff53_4d42,
    0xfe53_4d42,
    0x00c3_6400,
    0x0bd0_0bd0,
    0x5346_414f,
    0x6b41_4653,
    0x0102_1997,
    0x7461_636f,
    0x0116_1970,
    0x4750_4653,
    0x1983_0326,
    0x7375_7245,
    0x786f_4256,
    0x6573_5546,
];

/// Bytes of names that are asked for at once.
const NAMES_BUFFER: usize = 16 * 1024;

/// An open folder. Names are resolved below it and never through a symbolic link.
#[derive(Debug)]
pub struct Folder {
    fd: OwnedFd,
    path: PathBuf,
}

/// One name in a folder.
#[derive(Debug, Clone)]
pub struct Name {
    /// The name.
    pub name: OsString,
    /// What it is; [`FileType::Unknown`] where the file system does not tell.
    pub kind: FileType,
}

impl Folder {
    /// Opens a folder by a path that the user gave: links in it are followed.
    pub fn open(path: impl Into<PathBuf>) -> Result<Self> {
        let path = path.into();
        let fd = rustix::fs::open(&path, FOLDER, Mode::empty()).map_err(|e| Error::io("open folder", &path, e))?;
        Ok(Self { fd, path })
    }

    /// The path that the folder was opened by.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Opens a folder below this one.
    pub fn folder(&self, path: &str) -> Result<Self> {
        let fd = self.open_below(path, FOLDER | OFlags::NOFOLLOW).map_err(|e| self.error("open folder", path, e))?;
        Ok(Self { fd, path: self.path.join(path) })
    }

    /// Opens a regular file below this folder for reading.
    pub fn file(&self, path: &str) -> Result<File> {
        self.open_below(path, READ).map(File::from).map_err(|e| self.error("open", path, e))
    }

    /// The names in the folder itself.
    pub fn names(&self) -> Result<Vec<Name>> {
        let mut names = Vec::new();
        self.each_name(|name, kind| {
            names.push(Name { name: name.to_owned(), kind });
            Ok(())
        })?;
        Ok(names)
    }

    /// Calls `visit` with each name in the folder itself and its kind, [`FileType::Unknown`] where the file system does
    /// not tell; for folders whose names need not fit into memory.
    pub fn each_name(&self, mut visit: impl FnMut(&OsStr, FileType) -> Result<()>) -> Result<()> {
        let fail = |e| Error::io("list folder", &self.path, e);
        // A handle of its own, because reading moves its position.
        let fd = rustix::fs::openat(&self.fd, ".", FOLDER, Mode::empty()).map_err(fail)?;
        let mut buffer = Vec::with_capacity(NAMES_BUFFER);
        let mut entries = RawDir::new(fd, buffer.spare_capacity_mut());
        while let Some(entry) = entries.next() {
            let entry = entry.map_err(fail)?;
            let name = entry.file_name().to_bytes();
            if name != b"." && name != b".." {
                visit(OsStr::from_bytes(name), entry.file_type())?;
            }
        }
        Ok(())
    }

    /// Another handle of the same folder.
    pub fn again(&self) -> Result<Self> {
        let fd = rustix::fs::openat(&self.fd, ".", FOLDER, Mode::empty())
            .map_err(|e| Error::io("open folder", &self.path, e))?;
        Ok(Self { fd, path: self.path.clone() })
    }

    /// How many threads to read the folder with: over a network most of the time is waiting.
    pub fn workers(&self) -> usize {
        const MOST: usize = 16;
        if self.is_network() { MOST } else { std::thread::available_parallelism().map_or(1, usize::from).min(MOST) }
    }

    /// As [`Folder::stat`], asking the server of a network file system where the client would answer from what it knows
    /// (`AT_STATX_FORCE_SYNC` of statx(2)): on NFS that may be a minute old.
    pub fn stat_fresh(&self, path: impl AsRef<OsStr>) -> Result<FileStat> {
        let path = path.as_ref();
        statx_fresh(&self.fd, path, AtFlags::SYMLINK_NOFOLLOW).map_err(|e| Error::io("stat", self.path.join(path), e))
    }

    /// The stat of what `path` is, not of what it points to.
    pub fn stat(&self, path: impl AsRef<OsStr>) -> Result<FileStat> {
        let path = path.as_ref();
        rustix::fs::statat(&self.fd, path, AtFlags::SYMLINK_NOFOLLOW)
            .map(|s| FileStat::from(&s))
            .map_err(|e| Error::io("stat", self.path.join(path), e))
    }

    /// Where the symbolic link `name` points.
    pub fn read_link(&self, name: &OsStr) -> Result<Vec<u8>> {
        rustix::fs::readlinkat(&self.fd, name, Vec::new())
            .map(std::ffi::CString::into_bytes)
            .map_err(|e| Error::io("read link", self.path.join(name), e))
    }

    /// Creates the folder `name` in this one unless it is there, and opens it.
    pub fn make_folder(&self, name: &str) -> Result<Self> {
        match rustix::fs::mkdirat(&self.fd, name, Mode::from_raw_mode(0o755)) {
            Ok(()) | Err(Errno::EXIST) => self.folder(name),
            Err(e) => Err(self.error("create folder", name, e)),
        }
    }

    /// Creates the file `name` in this folder, which must not be there.
    pub fn create(&self, name: &str, mode: u32) -> Result<File> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        rustix::fs::openat(&self.fd, name, flags, Mode::from_raw_mode(mode))
            .map(File::from)
            .map_err(|e| self.error("create", name, e))
    }

    /// Creates a symbolic link in this folder.
    pub fn symlink(&self, target: &[u8], name: &str) -> Result<()> {
        rustix::fs::symlinkat(OsStr::from_bytes(target), &self.fd, name).map_err(|e| self.error("create link", name, e))
    }

    /// Hard-links `name` of `from` into this folder; the plain error, for a caller that copies instead.
    pub fn hard_link(&self, from: &Self, name: &str) -> Result<(), Errno> {
        rustix::fs::linkat(&from.fd, name, &self.fd, name, AtFlags::empty())
    }

    /// Removes one name that is not a folder.
    pub fn unlink(&self, name: impl AsRef<OsStr>) -> Result<()> {
        let name = name.as_ref();
        rustix::fs::unlinkat(&self.fd, name, AtFlags::empty()).map_err(|e| Error::io("remove", self.path.join(name), e))
    }

    /// Sets the permissions of the folder itself.
    pub fn chmod(&self, mode: u32) -> Result<()> {
        rustix::fs::fchmod(&self.fd, Mode::from_raw_mode(mode)).map_err(|e| Error::io("chmod", &self.path, e))
    }

    /// The same where the volume carries permissions and the folder belongs to this user; elsewhere nothing happens:
    /// for permissions that protect what would be right without them.
    pub fn chmod_where_possible(&self, mode: u32) -> Result<()> {
        match rustix::fs::fchmod(&self.fd, Mode::from_raw_mode(mode)) {
            Ok(()) => Ok(()),
            Err(e) if is_not_carried(e) => Ok(()),
            Err(e) => Err(Error::io("chmod", &self.path, e)),
        }
    }

    /// Lets the group write to the folder itself and leaves a setgid bit, which gives what is made in it to the group.
    pub fn share(&self) -> Result<()> {
        self.chmod_where_possible(self.stat(".")?.mode & 0o2000 | 0o775)
    }

    /// Whether the folder lies on a network file system. There a full volume shows only when a file is flushed, readers
    /// may follow a link that was replaced a minute ago, and a call may wait for a server without end. A file system
    /// that does not say what it is counts as local.
    pub fn is_network(&self) -> bool {
        is_network(&self.fd)
    }

    /// Waits until everything written to the folder's file system is on disk.
    pub fn sync_file_system(&self) -> Result<()> {
        rustix::fs::syncfs(&self.fd).map_err(|e| Error::io("syncfs", &self.path, e))
    }

    /// Waits until the names in the folder are on disk.
    pub fn sync(&self) -> Result<()> {
        rustix::fs::fsync(&self.fd).map_err(|e| Error::io("fsync", &self.path, e))
    }

    fn error(&self, operation: &'static str, path: &str, errno: Errno) -> Error {
        Error::io(operation, self.path.join(path), errno)
    }

    /// `openat2` confines in one call; where a sandbox or an old kernel refuses it, folder by folder does.
    fn open_below(&self, path: &str, flags: OFlags) -> Result<OwnedFd, Errno> {
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
        if path.contains('/') {
            match rustix::fs::openat2(&self.fd, path, flags, Mode::empty(), resolve) {
                Err(Errno::NOSYS | Errno::PERM) => {}
                done => return done,
            }
        }
        self.open_by_parts(path, flags)
    }

    fn open_by_parts(&self, path: &str, flags: OFlags) -> Result<OwnedFd, Errno> {
        if path.starts_with('/') || path.split('/').any(|part| part == "..") {
            return Err(Errno::XDEV);
        }
        let (folders, name) = path.rsplit_once('/').unwrap_or(("", path));
        let mut at: Option<OwnedFd> = None;
        let below = |at: &Option<OwnedFd>, name, flags| {
            let parent = at.as_ref().map_or(self.fd.as_fd(), AsFd::as_fd);
            rustix::fs::openat(parent, name, flags | OFlags::NOFOLLOW, Mode::empty())
        };
        for part in folders.split('/').filter(|part| !part.is_empty()) {
            at = Some(below(&at, part, FOLDER)?);
        }
        below(&at, name, flags)
    }
}

/// As [`Folder::is_network`], of an open file.
pub fn is_network(fd: impl AsFd) -> bool {
    // The type's width and sign differ between targets; the magic numbers have 32 bits.
    rustix::fs::fstatfs(fd).is_ok_and(|found| NETWORK.contains(&(found.f_type as u32)))
}

/// The stat of an open file; the server of a network file system is asked, see [`Folder::stat_fresh`].
pub fn stat_fresh(file: &File) -> std::io::Result<FileStat> {
    Ok(statx_fresh(file, OsStr::new(""), AtFlags::EMPTY_PATH)?)
}

/// Where statx(2) is missing or forbidden, what the client knows must do.
fn statx_fresh(fd: impl AsFd, path: &OsStr, flags: AtFlags) -> Result<FileStat, Errno> {
    match rustix::fs::statx(&fd, path, flags | AtFlags::STATX_FORCE_SYNC, StatxFlags::BASIC_STATS) {
        Ok(found) => Ok(FileStat::from(&found)),
        Err(Errno::NOSYS | Errno::PERM) => rustix::fs::statat(&fd, path, flags).map(|found| FileStat::from(&found)),
        Err(e) => Err(e),
    }
}

/// Whether permissions cannot be set because of where the file lies (SMB, FUSE) or whose it is (a volume that maps users).
pub(crate) fn is_not_carried(errno: Errno) -> bool {
    matches!(errno, Errno::PERM | Errno::ACCESS | Errno::NOSYS | Errno::OPNOTSUPP)
}

/// Opens a file for reading by a path that the user gave: links in it are followed, and a named pipe does not hang.
/// `None` when it is not there.
pub fn open(path: &Path) -> Result<Option<File>> {
    let open = || Ok(rustix::fs::open(path, READ.difference(OFlags::NOFOLLOW), Mode::empty())?);
    unless_stale(open).map(|fd| Some(fd.into())).or_else(|error| match Errno::from_io_error(&error) {
        Some(Errno::NOENT | Errno::NOTDIR) => Ok(None),
        _ => Err(Error::io("open", path, error)),
    })
}

/// As [`read`], of a file that the user names on the command line or in a setting: one that is a pipe is waited for, as the
/// shell's `<(…)` is one.
pub fn read_given(path: &Path, max: u64) -> Result<Option<Vec<u8>>> {
    let Some(file) = open(path)? else { return Ok(None) };
    let wait = rustix::fs::fcntl_getfl(&file)
        .and_then(|flags| rustix::fs::fcntl_setfl(&file, flags.difference(OFlags::NONBLOCK)));
    wait.map_err(|e| Error::io("open", path, e))?;
    read_whole(file, path, max).map(Some)
}

/// Reads a whole file of at most `max` bytes; `None` when it is not there.
pub fn read(path: &Path, max: u64) -> Result<Option<Vec<u8>>> {
    let Some(file) = open(path)? else { return Ok(None) };
    read_whole(file, path, max).map(Some)
}

fn read_whole(file: File, path: &Path, max: u64) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    file.take(max + 1).read_to_end(&mut bytes).map_err(|e| Error::io("read", path, e))?;
    if bytes.len() as u64 > max {
        let message = format!("{} is larger than {max} bytes", path.display());
        return Err(Error::new(ErrorKind::LimitExceeded, "read", message));
    }
    Ok(bytes)
}

/// Replaces a file in one step: whoever opens it reads the old bytes or the new, also after a power cut. Where that fails,
/// nothing is left beside it.
pub fn write_atomic(path: &Path, bytes: &[u8]) -> Result<()> {
    let beside = with_suffix(path, ".tmp");
    let write = || -> std::io::Result<()> {
        let mut file = File::create(&beside)?;
        file.write_all(bytes)?;
        file.sync_data()
    };
    let written = write().map_err(|e| Error::io("write", &beside, e)).and_then(|()| rename(&beside, path));
    written.inspect_err(|_| drop(remove_file(&beside)))
}

/// Adds to the end of a file, which need not exist.
pub fn append(path: &Path, bytes: &[u8]) -> Result<()> {
    let file = File::options().append(true).create(true).open(path);
    file.and_then(|mut file| file.write_all(bytes)).map_err(|e| Error::io("write", path, e))
}

/// Writes a file that must not be there; it is complete on disk, or refused by it, when this returns.
pub fn write_new(path: &Path, bytes: &[u8]) -> Result<()> {
    let write = || -> std::io::Result<()> {
        let mut file = File::create_new(path)?;
        file.write_all(bytes)?;
        file.sync_data()
    };
    write().map_err(|e| Error::io("write", path, e))
}

/// `path` with `suffix` appended to its last part.
pub fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

/// Creates a folder and its parents unless they are there.
pub fn create_folders(path: &Path) -> Result<()> {
    std::fs::create_dir_all(path).map_err(|e| Error::io("create folder", path, e))
}

/// Renames a file, a link or a folder, replacing what can be replaced.
pub fn rename(from: &Path, to: &Path) -> Result<()> {
    std::fs::rename(from, to).map_err(|e| Error::io("rename", to, e))
}

/// Removes a file or link; it may be gone already.
pub fn remove_file(path: &Path) -> Result<()> {
    match std::fs::remove_file(path) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(Error::io("remove", path, e)),
        _ => Ok(()),
    }
}

/// What [`replace_link`] appends to the link's name for the link that is renamed over it.
pub const BESIDE_LINK: &str = ".dagsync-new";

/// Makes `link` point to `target` in one step: a reader finds the old target or the new, never nothing.
pub fn replace_link(target: &Path, link: &Path) -> Result<()> {
    let beside = with_suffix(link, BESIDE_LINK);
    remove_file(&beside)?;
    create_link(target, &beside)?;
    rename(&beside, link)
}

/// Creates the symbolic link `link`, which must not be there.
pub fn create_link(target: &Path, link: &Path) -> Result<()> {
    std::os::unix::fs::symlink(target, link).map_err(|e| Error::io("create link", link, e))
}

/// Where the symbolic link `path` points; `None` when nothing is there.
pub fn read_link(path: &Path) -> Result<Option<PathBuf>> {
    match unless_stale(|| std::fs::read_link(path)) {
        Ok(target) => Ok(Some(target)),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(e) if e.kind() == std::io::ErrorKind::InvalidInput => {
            Err(Error::new(ErrorKind::Refused, "read link", format!("{} is not a symbolic link", path.display()))
                .with_hint("dagsync never replaces what it did not make: move it away or choose another link name"))
        }
        Err(e) => Err(Error::io("read link", path, e)),
    }
}

/// Where `path` leads, links followed; `None` when nothing is there. What cannot be asked is an error, not an absence.
pub fn resolve(path: &Path) -> Result<Option<PathBuf>> {
    unless_stale(|| std::fs::canonicalize(path)).map(Some).or_else(|error| match Errno::from_io_error(&error) {
        Some(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => Ok(None),
        _ => Err(Error::io("resolve", path, error)),
    })
}

/// Whether anything is where `path` leads, links followed; what cannot be asked may be.
pub fn leads_somewhere(path: &Path) -> bool {
    !matches!(rustix::fs::stat(path), Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP | Errno::NAMETOOLONG))
}

/// A name that another NFS client has just replaced may be stale for a moment.
fn unless_stale<T>(mut call: impl FnMut() -> std::io::Result<T>) -> std::io::Result<T> {
    const TRIES: usize = 4;
    for _ in 0..TRIES {
        match call() {
            Err(error) if Errno::from_io_error(&error) == Some(Errno::STALE) => {
                std::thread::sleep(std::time::Duration::from_millis(20));
            }
            done => return done,
        }
    }
    call()
}

/// Removes a folder with everything in it, also where its folders are read-only; it may be gone already.
pub fn remove_tree(path: &Path, interrupt: &Interrupt) -> Result<()> {
    let Some((parent, name)) = path.parent().zip(path.file_name()) else { return Ok(()) };
    match Folder::open(parent) {
        Ok(parent) => remove_below(&parent, name, interrupt),
        Err(e) if e.raw_os_error() == Some(Errno::NOENT.raw_os_error()) => Ok(()),
        Err(e) => Err(e),
    }
}

fn remove_below(parent: &Folder, name: &OsStr, interrupt: &Interrupt) -> Result<()> {
    interrupt.check("remove")?;
    let path = parent.path.join(name);
    let fd = match rustix::fs::openat(&parent.fd, name, FOLDER | OFlags::NOFOLLOW, Mode::empty()) {
        Ok(fd) => fd,
        Err(Errno::NOENT) => return Ok(()),
        Err(Errno::NOTDIR | Errno::LOOP) => return parent.unlink(name),
        Err(e) => return Err(Error::io("remove", path, e)),
    };
    let folder = Folder { fd, path };
    // Not fatal: where the folder is ours it works, elsewhere the removal below says what is wrong.
    let _ = folder.chmod(0o755);
    for entry in folder.names()? {
        interrupt.check("remove")?;
        match entry.kind {
            FileType::Directory | FileType::Unknown => remove_below(&folder, &entry.name, interrupt)?,
            _ => folder.unlink(&entry.name)?,
        }
    }
    rustix::fs::unlinkat(&parent.fd, name, AtFlags::REMOVEDIR).map_err(|e| Error::io("remove folder", folder.path, e))
}

impl AsFd for Folder {
    fn as_fd(&self) -> std::os::fd::BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

#[cfg(test)]
#[path = "fs_tests.rs"]
mod tests;
