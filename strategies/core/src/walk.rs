//! Lists a folder: the real files with their stats, and the symbolic links, both without following anything.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::os::unix::ffi::OsStrExt;

use rustix::fs::FileType;

use crate::error::Result;
use crate::filter::Filter;
use crate::fs::{Folder, Name};
use crate::index::FileStat;
use crate::interrupt::Interrupt;
use crate::limits::Limits;
use crate::path::TreePath;

/// What really lies in a folder, filtered.
#[derive(Debug, Default)]
pub struct Listing {
    /// Regular files, sorted by path.
    pub files: Vec<(TreePath, FileStat)>,
    /// Symbolic links and where they point.
    pub links: BTreeMap<TreePath, Vec<u8>>,
}

/// Lists `root`.
///
/// # Errors
/// A refused name, an exceeded limit, a folder that cannot be read; all with the path.
pub fn list(root: &Folder, filter: &Filter, limits: &Limits, interrupt: &Interrupt) -> Result<Listing> {
    let mut walk = Walk { filter, limits, interrupt, path: Vec::new(), bytes: 0, listing: Listing::default() };
    walk.folder(root)?;
    let mut listing = walk.listing;
    listing.files.sort_unstable_by(|a, b| a.0.cmp(&b.0));
    Ok(listing)
}

struct Walk<'a> {
    filter: &'a Filter,
    limits: &'a Limits,
    interrupt: &'a Interrupt,
    /// Where the walk is.
    path: Vec<u8>,
    bytes: u64,
    listing: Listing,
}

impl Walk<'_> {
    fn folder(&mut self, folder: &Folder) -> Result<()> {
        self.interrupt.check("list folder")?;
        for entry in folder.names()? {
            let here = self.path.len();
            if here > 0 {
                self.path.push(b'/');
            }
            self.path.extend_from_slice(entry.name.as_bytes());
            self.entry(folder, &entry)?;
            self.path.truncate(here);
        }
        Ok(())
    }

    fn entry(&mut self, folder: &Folder, entry: &Name) -> Result<()> {
        let (kind, stat) = match entry.kind {
            FileType::RegularFile | FileType::Unknown => {
                let stat = folder.stat(&entry.name)?;
                (FileType::from_raw_mode(stat.mode), Some(stat))
            }
            kind => (kind, None),
        };
        match kind {
            FileType::Directory if self.filter.enters_here(&self.lossy()) => self.enter(folder, entry),
            FileType::RegularFile if self.filter.keeps_here(&self.lossy()) => self.file(stat),
            FileType::Symlink if self.filter.keeps_here(&self.lossy()) => self.link(folder.read_link(&entry.name)?),
            _ => Ok(()),
        }
    }

    /// A name that cannot be text is compared with the filter as text can be: what is left out is not refused.
    fn lossy(&self) -> Cow<'_, str> {
        String::from_utf8_lossy(&self.path)
    }

    fn path(&self) -> Result<TreePath> {
        let path = TreePath::new(&self.path)?;
        self.limits.check_path(&path)?;
        Ok(path)
    }

    fn enter(&mut self, parent: &Folder, entry: &Name) -> Result<()> {
        self.path()?;
        self.folder(&parent.folder(entry.name.to_str().unwrap_or_default())?)
    }

    fn file(&mut self, stat: Option<FileStat>) -> Result<()> {
        let Some(stat) = stat else { return Ok(()) };
        let path = self.path()?;
        self.limits.check_file(&path, stat.size)?;
        self.bytes += stat.size;
        self.listing.files.push((path, stat));
        self.check_total()
    }

    fn link(&mut self, target: Vec<u8>) -> Result<()> {
        let path = self.path()?;
        self.listing.links.insert(path, target);
        self.check_total()
    }

    fn check_total(&self) -> Result<()> {
        self.limits.check_total((self.listing.files.len() + self.listing.links.len()) as u64, self.bytes)
    }
}
