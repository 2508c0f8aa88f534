//! The stat index: what was hashed, with the stat it had, so that an unchanged file need not be read again.
//!
//! The rule for racy timestamps is git's (Documentation/technical/racy-git.txt), on ctime, which no program can set: a
//! file that is not older than the moment the index was taken may have been written in the same clock tick after it
//! was hashed, so its stat proves nothing and it is read again. The moment is taken from the clock of the file system
//! that holds the tree, never from the clock of this host.

use std::io::Write as _;
use std::path::Path;
use std::time::Duration;

use crate::error::{Error, ErrorKind, Result};
use crate::fs;
use crate::interrupt::Interrupt;
use crate::manifest::Digest;
use crate::open_folders::OpenFolders;
use crate::path::TreePath;
use crate::sorted::{self, InOrder};
use crate::workers;

/// Nanoseconds since 1970 on a file system's clock.
pub type Nanos = i128;

/// The parts of a file's stat that change whenever its content does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FileStat {
    /// Bytes.
    pub size: u64,
    /// Last change of content.
    pub mtime: Nanos,
    /// Last change of content, permissions, owner or link count.
    pub ctime: Nanos,
    /// Inode number.
    pub inode: u64,
    /// Device number; changes over remounts, so it is not part of the index.
    pub device: u64,
    /// File type and permissions, as `st_mode`.
    pub mode: u32,
}

impl From<&rustix::fs::Stat> for FileStat {
    fn from(s: &rustix::fs::Stat) -> Self {
        let nanos = |sec: i64, nsec: u64| Nanos::from(sec) * 1_000_000_000 + Nanos::from(nsec);
        #[allow(clippy::unnecessary_cast, reason = "these types differ between targets")]
        Self {
            size: s.st_size as u64,
            mtime: nanos(s.st_mtime as i64, s.st_mtime_nsec as u64),
            ctime: nanos(s.st_ctime as i64, s.st_ctime_nsec as u64),
            inode: s.st_ino as u64,
            device: s.st_dev as u64,
            mode: s.st_mode as u32,
        }
    }
}

impl From<&rustix::fs::Statx> for FileStat {
    fn from(s: &rustix::fs::Statx) -> Self {
        let nanos = |t: rustix::fs::StatxTimestamp| Nanos::from(t.tv_sec) * 1_000_000_000 + Nanos::from(t.tv_nsec);
        Self {
            size: s.stx_size,
            mtime: nanos(s.stx_mtime),
            ctime: nanos(s.stx_ctime),
            inode: s.stx_ino,
            device: rustix::fs::makedev(s.stx_dev_major, s.stx_dev_minor),
            mode: s.stx_mode.into(),
        }
    }
}

/// What must be equal in two stats of a file that did not change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Same {
    /// All but ctime, which moves when somebody links the file: versions in a store share theirs.
    Content,
    /// ctime too: mtime can be set back, as `cp -p` does.
    Everything,
}

impl FileStat {
    /// Whether a file with this stat and one with `other` are the same, unchanged.
    pub fn is(&self, other: &Self, same: Same) -> bool {
        match same {
            Same::Content => self.same_content_stat(other),
            Same::Everything => self.same(other),
        }
    }

    /// Whether content cannot have changed between two stats, leaving ctime aside: linking a file moves it.
    pub fn same_content_stat(&self, other: &Self) -> bool {
        (self.size, self.mtime, self.inode) == (other.size, other.mtime, other.inode)
    }

    fn same(&self, other: &Self) -> bool {
        self.same_content_stat(other) && self.ctime == other.ctime
    }

    /// Whether it is a regular file.
    pub fn is_file(&self) -> bool {
        rustix::fs::FileType::from_raw_mode(self.mode).is_file()
    }

    /// Whether anybody may execute it.
    pub fn is_executable(&self) -> bool {
        self.mode & 0o111 != 0
    }
}

/// The digests of real files (not of links) by path, each with the stat it had.
#[derive(Debug, Clone, Default)]
pub struct StatIndex {
    taken_at: Nanos,
    /// Sorted by path.
    entries: Vec<(TreePath, (FileStat, Digest))>,
}

const HEADER: &str = "dagsync-stat-index 1";

impl StatIndex {
    /// An index of files that were hashed; their stats must have been read after `taken_at` was.
    pub fn new(taken_at: Nanos, mut entries: Vec<(TreePath, (FileStat, Digest))>) -> Self {
        entries.sort_unstable_by(|a, b| a.0.cmp(&b.0));
        Self { taken_at, entries }
    }

    /// An index of `files` as they lie below `root` now. One whose content may have changed since its stat in `files`
    /// was read is left out; its ctime may have moved, by linking it.
    pub fn of(
        root: fs::Folder,
        taken_at: Nanos,
        files: &[(TreePath, (FileStat, Digest))],
        interrupt: &Interrupt,
    ) -> Result<Self> {
        let (threads, folders) = (root.workers(), OpenFolders::reading(root));
        let entries = workers::for_each(files, threads, |(path, (known, digest)), _| {
            interrupt.check("index")?;
            let (folder, name) = path.split();
            let stat = folders.get(folder).and_then(|folder| folder.stat(name)).ok();
            let stat = stat.filter(|stat| stat.is_file() && stat.same_content_stat(known));
            Ok(stat.map(|stat| (path.clone(), (stat, *digest))))
        })?;
        let entries = entries.into_iter().flatten().collect();
        Ok(Self::new(taken_at, entries))
    }

    /// The digest of the file at `path` if its stat proves that it did not change since.
    pub fn proven(&self, path: &str, stat: &FileStat) -> Option<Digest> {
        self.proves(self.get(path)?, stat)
    }

    /// As [`StatIndex::proven`], with what [`StatIndex::get`] found.
    pub fn proves(&self, (known, digest): &(FileStat, Digest), stat: &FileStat) -> Option<Digest> {
        let racy = known.ctime >= self.taken_at;
        (known.same(stat) && !racy).then_some(*digest)
    }

    /// The recorded stat and digest of the file at `path`.
    pub fn get(&self, path: &str) -> Option<&(FileStat, Digest)> {
        sorted::position(&self.entries, path).map(|at| &self.entries[at].1)
    }

    /// For looking up many files in the order of their paths.
    pub(crate) fn in_order(&self) -> InOrder<'_, (FileStat, Digest)> {
        InOrder::new(&self.entries)
    }

    /// What it knows of `files`, for versions in a store: an unchanged file is linked into the next one, which moves its
    /// ctime.
    pub fn for_files(&self, files: &[(TreePath, FileStat)]) -> Self {
        let mut known = self.in_order();
        let same = |(path, stat): &(TreePath, FileStat)| {
            let (_, digest) = known.get(path).filter(|(before, _)| before.same_content_stat(stat))?;
            Some((path.clone(), (*stat, *digest)))
        };
        Self { taken_at: self.taken_at, entries: files.iter().filter_map(same).collect() }
    }

    /// Whether `files`, sorted by path, are the files that it knows, and their stats prove all of them.
    pub fn proves_all(&self, files: &[(TreePath, FileStat)]) -> bool {
        let proven = |((path, entry), (listed, stat)): (&(TreePath, _), &(TreePath, _))| {
            path == listed && self.proves(entry, stat).is_some()
        };
        self.entries.len() == files.len() && self.entries.iter().zip(files).all(proven)
    }

    /// How many files it knows.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether it knows nothing.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Writes the index to a file in one step.
    pub fn save(&self, path: &Path) -> Result<()> {
        let mut text = Vec::with_capacity(self.entries.iter().map(|(path, _)| path.as_str().len() + 150).sum());
        let _ = writeln!(text, "{HEADER} {}", self.taken_at);
        for (path, (s, digest)) in &self.entries {
            let (size, mtime, ctime, inode) = (s.size, s.mtime, s.ctime, s.inode);
            text.extend_from_slice(&digest.hex());
            let _ = writeln!(text, " {size} {mtime} {ctime} {inode} {path}");
        }
        let checksum = Digest::of(&text);
        let _ = writeln!(text, "{checksum}");
        fs::write_atomic(path, &text)
    }

    /// Reads an index. An absent, damaged or newer one is empty: everything is read again.
    pub fn load(path: &Path) -> Self {
        const MAX: u64 = 1 << 30;
        let Ok(Some(bytes)) = fs::read(path, MAX) else { return Self::default() };
        Self::parse(&bytes).unwrap_or_else(|error| {
            tracing::warn!(index = %path.display(), %error, "ignoring a damaged stat index; every file is read again");
            Self::default()
        })
    }

    fn parse(bytes: &[u8]) -> Result<Self> {
        let bad = |what: &str| Error::new(ErrorKind::Corrupt, "read stat index", what);
        let text = std::str::from_utf8(bytes).map_err(|_| bad("it is not text"))?;
        let (body, checksum) =
            text.split_at_checked(text.len().saturating_sub(65)).ok_or_else(|| bad("it is cut off"))?;
        if checksum.strip_suffix('\n') != Some(&Digest::of(body).to_string()) {
            return Err(bad("its checksum does not match"));
        }
        let mut lines = body.lines();
        let taken_at = lines.next().and_then(|l| l.strip_prefix(HEADER)).and_then(|t| t.trim().parse().ok());
        let entries =
            lines.map(|line| parse_line(line).ok_or_else(|| bad("a line is malformed"))).collect::<Result<_>>()?;
        Ok(Self::new(taken_at.ok_or_else(|| bad("its header is unknown"))?, entries))
    }
}

fn parse_line(line: &str) -> Option<(TreePath, (FileStat, Digest))> {
    let mut fields = line.splitn(6, ' ');
    let digest = fields.next()?.parse().ok()?;
    let size = fields.next()?.parse().ok()?;
    let mtime = parse_nanos(fields.next()?)?;
    let ctime = parse_nanos(fields.next()?)?;
    let inode = fields.next()?.parse().ok()?;
    let path = TreePath::new(fields.next()?).ok()?;
    Some((path, (FileStat { size, mtime, ctime, inode, device: 0, mode: 0 }, digest)))
}

/// Times before the year 2262 fit into 64 bits, which are read much faster.
fn parse_nanos(text: &str) -> Option<Nanos> {
    text.parse::<i64>().map(Nanos::from).or_else(|_| text.parse()).ok()
}

/// What time it is on the clock of the file system that holds the writable folder `path`.
pub fn file_system_now(path: &Path) -> Result<Nanos> {
    let name = format!("clock-{}", std::process::id());
    let folder = fs::Folder::open(path)?;
    fs::remove_file(&path.join(&name))?;
    drop(folder.create(&name, 0o600)?);
    let now = folder.stat(&name).map(|s| s.ctime);
    folder.unlink(&name)?;
    now
}

/// Waits until that clock has moved on, so that whatever was written before is older than the moment returned.
///
/// Gives up after 50 ms, where a clock moves in larger steps: then the youngest files stay racy.
pub fn file_system_tick(path: &Path) -> Result<Nanos> {
    const STEP: Duration = Duration::from_millis(2);
    let start = file_system_now(path)?;
    for _ in 0..25 {
        std::thread::sleep(STEP);
        let now = file_system_now(path)?;
        if now > start {
            return Ok(now);
        }
    }
    Ok(start)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stat(mtime: Nanos, ctime: Nanos) -> FileStat {
        FileStat { size: 3, mtime, ctime, inode: 7, device: 0, mode: 0 }
    }

    fn index(stat: FileStat, taken_at: Nanos) -> StatIndex {
        let entries = [(TreePath::new("a").unwrap(), (stat, Digest::of("abc")))].into();
        StatIndex::new(taken_at, entries)
    }

    #[test]
    fn an_unchanged_old_stat_is_proof() {
        let old = stat(100, 100);
        assert_eq!(index(old, 101).proven("a", &old), Some(Digest::of("abc")));
        for changed in [stat(101, 100), stat(100, 101), FileStat { size: 4, ..old }, FileStat { inode: 8, ..old }] {
            assert_eq!(index(old, 200).proven("a", &changed), None);
        }
        assert_eq!(index(old, 101).proven("b", &old), None);
    }

    #[test]
    fn all_files_are_proven_or_not_all() {
        let (old, path) = (stat(100, 100), |name| TreePath::new(name).unwrap());
        let index = index(old, 101);
        assert!(index.proves_all(&[(path("a"), old)]));
        for files in [
            vec![],
            vec![(path("b"), old)],
            vec![(path("a"), stat(101, 101))],
            vec![(path("a"), old), (path("b"), old)],
        ] {
            assert!(!index.proves_all(&files), "{files:?}");
        }
    }

    #[test]
    fn a_file_written_in_the_tick_of_the_index_is_racy() {
        assert_eq!(index(stat(100, 100), 100).proven("a", &stat(100, 100)), None);
        assert_eq!(index(stat(90, 100), 100).proven("a", &stat(90, 100)), None);
        assert!(index(stat(300, 90), 100).proven("a", &stat(300, 90)).is_some(), "an mtime can be set, a ctime cannot");
    }

    #[test]
    fn a_damaged_index_is_ignored() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("index");
        index(stat(100, 100), 101).save(&path).unwrap();
        assert_eq!(StatIndex::load(&path).len(), 1);
        let good = fs::read(&path, 1 << 20).unwrap().unwrap();
        for at in 0..good.len() {
            let mut bad = good.clone();
            bad[at] ^= 1;
            assert!(StatIndex::parse(&bad).is_err(), "flipped byte {at}");
            assert!(StatIndex::parse(&good[..at]).is_err(), "cut at {at}");
        }
        assert!(StatIndex::load(&folder.path().join("absent")).is_empty());
    }
}
