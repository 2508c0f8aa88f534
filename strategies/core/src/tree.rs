//! Hashes a folder on all cores: streaming, cancellable, with progress, and without reading what a stat index proves.

use std::fs::File;
use std::io::Read;

use sha2::{Digest as _, Sha256};

use crate::error::{Error, ErrorKind, Result};
use crate::filter::Filter;
use crate::fs::{self, Folder};
use crate::index::{FileStat, Nanos, Same, StatIndex};
use crate::interrupt::Interrupt;
use crate::limits::Limits;
use crate::links::{self, Links, SkippedLink};
use crate::manifest::{Change, ChangeKind, Digest, Entry, Manifest};
use crate::path::TreePath;
use crate::progress::Progress;
use crate::walk::{self, Listing, Odd, Walk, vanished};
use crate::workers;

/// Bytes read at once by each hashing thread.
pub const BUFFER: usize = 128 * 1024;

/// What to do with symbolic links that are no file.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SymlinkPolicy {
    /// Leave them out and warn.
    #[default]
    Skip,
    /// Refuse the tree.
    Refuse,
}

impl SymlinkPolicy {
    /// An error naming the first of `skipped` if the policy refuses it.
    pub fn check(self, skipped: &[SkippedLink]) -> Result<()> {
        match (self, skipped.first()) {
            (Self::Refuse, Some(link)) => {
                Err(Error::new(ErrorKind::Refused, "resolve links", format!("{link}, and symlinks = \"refuse\""))
                    .with_hint(
                        "mend the link in the source, leave it out with an exclude glob, or set symlinks = \"skip\"",
                    ))
            }
            _ => Ok(()),
        }
    }
}

/// How to read a tree.
#[derive(Debug, Clone)]
pub struct Reading<'a> {
    /// Which files belong to it.
    pub filter: &'a Filter,
    /// How large it may be.
    pub limits: &'a Limits,
    /// What to do with links that are no file.
    pub symlinks: SymlinkPolicy,
    /// What need not be read again; an empty index reads everything.
    pub index: &'a StatIndex,
    /// A moment before the reading on the clock of the tree's file system; `None` makes every file of the new index
    /// racy, so that the index proves nothing until it is renewed.
    pub now: Option<Nanos>,
    /// When to stop.
    pub interrupt: &'a Interrupt,
    /// Where to count.
    pub progress: &'a Progress,
}

/// A tree that was read.
#[derive(Debug, Clone, Default)]
pub struct HashedTree {
    /// Every file as a reader sees it.
    pub manifest: Manifest,
    /// The real files with their stats.
    pub index: StatIndex,
    /// Symbolic links that do not count.
    pub skipped: Vec<SkippedLink>,
    /// The links that lie there, whether they count or not.
    pub links: Links,
    /// What could not be read; empty unless [`hash_what_can_be`] made this.
    pub odd: Vec<Odd>,
    /// Bytes of the real files.
    pub bytes: u64,
    /// Files that had to be read; the others were proven by the index.
    pub files_read: u64,
}

impl HashedTree {
    /// How it differs from what it was, with `links` that counted for nothing then: any other such link was added, one with
    /// another target was modified. Whoever follows it finds a file that no manifest names.
    pub fn changes_since(&self, manifest: &Manifest, links: &Links) -> Vec<Change> {
        let mut changes = manifest.diff(&self.manifest);
        for (path, target) in self.idle_links() {
            match links.get(path) {
                Some(known) if known == target => {}
                Some(_) => mark(&mut changes, path, ChangeKind::Modified),
                None => mark(&mut changes, path, ChangeKind::Added),
            }
        }
        for path in links.keys().filter(|path| !self.links.contains_key(path.as_str())) {
            mark(&mut changes, path, ChangeKind::Removed);
        }
        for path in self.odd.iter().filter_map(|odd| odd.file.as_ref()) {
            mark(&mut changes, path, ChangeKind::Added);
        }
        changes
    }

    /// The links that lie there and count for nothing.
    pub fn idle_links(&self) -> impl Iterator<Item = (&TreePath, &Vec<u8>)> {
        self.skipped.iter().filter_map(|link| self.links.get_key_value(&link.path))
    }
}

/// Notes a change that no manifest tells; what takes the place of a file, or a file that of something else, is one change.
fn mark(changes: &mut Vec<Change>, path: &TreePath, change: ChangeKind) {
    match changes.binary_search_by(|change| change.path.cmp(path)) {
        Ok(at) => changes[at].change = ChangeKind::Modified,
        Err(at) => changes.insert(at, Change { path: path.clone(), change }),
    }
}

/// Hashes the tree below `root`. Blocks: call it on a blocking thread.
///
/// # Errors
/// [`ErrorKind::Changed`] when a file changed while it was read; a refused name, a limit, an I/O error.
pub fn hash_tree(root: &Folder, reading: &Reading<'_>) -> Result<HashedTree> {
    let listing = walk::list(root, &Walk::new(reading.filter, reading.limits, reading.interrupt))?;
    hash_listing(root, listing, Same::Content, reading)
}

/// As [`hash_tree`], for a tree that somebody may have tampered with: what has a name that no version holds, is too large or
/// may not be read is left out and told in [`HashedTree::odd`], so that the rest is read all the same.
///
/// # Errors
/// As [`hash_tree`], of what concerns the whole tree.
pub fn hash_what_can_be(root: &Folder, reading: &Reading<'_>) -> Result<HashedTree> {
    let walk = Walk { leave_out: true, ..Walk::new(reading.filter, reading.limits, reading.interrupt) };
    let listing = walk::list(root, &walk)?;
    hash_listed(root, listing, Same::Content, reading, true)
}

/// As [`hash_tree`], for a caller that has listed the folder: a file that is not the `same` as it was listed is an error.
///
/// # Errors
/// As [`hash_tree`].
pub fn hash_listing(root: &Folder, listing: Listing, same: Same, reading: &Reading<'_>) -> Result<HashedTree> {
    hash_listed(root, listing, same, reading, false)
}

fn hash_listed(
    root: &Folder,
    mut listing: Listing,
    same: Same,
    reading: &Reading<'_>,
    leave_out: bool,
) -> Result<HashedTree> {
    let mut odd = std::mem::take(&mut listing.odd);
    if leave_out {
        let is_known = |path: &TreePath, stat: &FileStat| {
            reading.index.get(path.as_str()).is_some_and(|entry| reading.index.proves(entry, stat).is_some())
        };
        listing.files.retain(|(path, stat)| {
            let error = if is_known(path, stat) { None } else { root.file(path.as_str()).err() };
            let forbidden = error.filter(walk::is_forbidden);
            odd.extend(forbidden.iter().map(|error| Odd::file(path.clone(), error)));
            forbidden.is_none()
        });
    }
    let Reading { filter, limits, interrupt, .. } = *reading;
    let resolved =
        links::resolve(listing.files.iter().map(|(path, _)| path), &listing.links, filter, limits, interrupt)?;
    reading.symlinks.check(&resolved.skipped)?;

    let mut indexed = reading.index.in_order();
    let mut known: Hashed = Vec::with_capacity(listing.files.len());
    let mut unknown: Vec<(TreePath, FileStat)> = Vec::new();
    let bytes = listing.files.iter().map(|(_, stat)| stat.size).sum();
    for (path, stat) in listing.files {
        match indexed.get(&path).and_then(|entry| reading.index.proves(entry, &stat)) {
            Some(digest) => known.push((path, (stat, digest))),
            None => unknown.push((path, stat)),
        }
    }
    reading.progress.start("hash", unknown.len() as u64);
    let files_read = unknown.len() as u64;
    known.extend(hash_files(root, &unknown, same, reading)?);
    let index = StatIndex::new(reading.now.unwrap_or(Nanos::MIN), known);

    let mut hashed = index.in_order();
    let entry = |(path, origin): (TreePath, TreePath)| {
        let &(_, digest) = hashed.get(&origin).expect("a reader sees only files that were hashed");
        Entry { path, digest }
    };
    let entries: Vec<Entry> = resolved.files.into_iter().map(entry).collect();
    reading.limits.check_total(entries.len() as u64, bytes)?;
    let (manifest, skipped, links) = (Manifest::new(entries)?, resolved.skipped, listing.links);
    Ok(HashedTree { manifest, index, skipped, links, odd, bytes, files_read })
}

type Hashed = Vec<(TreePath, (FileStat, Digest))>;

fn hash_files(root: &Folder, files: &[(TreePath, FileStat)], same: Same, reading: &Reading<'_>) -> Result<Hashed> {
    workers::for_each(files, root.workers(), |(path, stat), buffer| {
        let digest = hash_file(root, path, (stat, same), buffer, reading)?;
        Ok((path.clone(), (*stat, digest)))
    })
}

fn hash_file(
    root: &Folder,
    path: &TreePath,
    (listed, same): (&FileStat, Same),
    buffer: &mut [u8],
    reading: &Reading<'_>,
) -> Result<Digest> {
    let mut file = open_unchanged(root, path, listed, same)?;
    let (digest, bytes) =
        hash_stream(&mut file, buffer, reading.interrupt).map_err(|e| e.with_context("file", path))?;
    check_unchanged(&file, path, listed, same, bytes)?;
    reading.progress.add(1, bytes);
    Ok(digest)
}

/// Opens a file that was listed with the stat `listed` and should still have it; over a network, opening asks the server.
///
/// # Errors
/// [`ErrorKind::Changed`] when it has another, or is gone.
fn open_unchanged(root: &Folder, path: &TreePath, listed: &FileStat, same: Same) -> Result<File> {
    let file = root.file(path.as_str()).map_err(vanished)?;
    let stat = stat_of(&file, path)?;
    if stat.is_file() && stat.is(listed, same) { Ok(file) } else { Err(changed(path)) }
}

/// Checks, after all of its content was read, that such a file was not written to meanwhile. The server is asked: its
/// client may answer with what it learned when the file was opened.
///
/// # Errors
/// [`ErrorKind::Changed`] when it was.
pub fn check_unchanged(file: &File, path: &TreePath, listed: &FileStat, same: Same, bytes_read: u64) -> Result<()> {
    let stat = fs::stat_fresh(file).map_err(|e| Error::io("stat", path.as_path(), e)).map_err(vanished)?;
    if bytes_read == listed.size && stat.is(listed, same) { Ok(()) } else { Err(changed(path)) }
}

/// Hashes everything that `source` yields; its digest and length.
pub fn hash_stream(source: &mut impl Read, buffer: &mut [u8], interrupt: &Interrupt) -> Result<(Digest, u64)> {
    let mut hasher = Sha256::new();
    let mut bytes = 0;
    loop {
        interrupt.check("hash")?;
        match source.read(buffer) {
            Ok(0) => return Ok((hasher.into(), bytes)),
            Ok(n) => {
                hasher.update(&buffer[..n]);
                bytes += n as u64;
            }
            Err(e) if e.kind() == std::io::ErrorKind::Interrupted => {}
            Err(e) => return Err(Error::new(ErrorKind::Io, "hash", "cannot read").with_source(e)),
        }
    }
}

pub(crate) fn stat_of(file: &File, path: &TreePath) -> Result<FileStat> {
    rustix::fs::fstat(file).map(|s| FileStat::from(&s)).map_err(|e| Error::io("stat", path.as_path(), e))
}

fn changed(path: &TreePath) -> Error {
    Error::new(ErrorKind::Changed, "read tree", format!("{path} changed while it was read"))
}

#[cfg(test)]
#[path = "tree_tests.rs"]
mod tests;
