//! Lists a folder: the real files with their stats, and the symbolic links, both without following anything.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;

use rustix::fs::FileType;

use crate::error::Result;
use crate::filter::Filter;
use crate::fs::Folder;
use crate::index::FileStat;
use crate::interrupt::Interrupt;
use crate::limits::Limits;
use crate::path::TreePath;

/// What really lies in a folder, filtered.
#[derive(Debug, Default)]
pub struct Listing {
    /// Regular files.
    pub files: BTreeMap<TreePath, FileStat>,
    /// Symbolic links and where they point.
    pub links: BTreeMap<TreePath, Vec<u8>>,
}

/// Lists `root`.
///
/// # Errors
/// A refused name, an exceeded limit, a folder that cannot be read; all with the path.
pub fn list(root: &Folder, filter: &Filter, limits: &Limits, interrupt: &Interrupt) -> Result<Listing> {
    let mut walk = Walk { filter, limits, interrupt, bytes: 0, listing: Listing::default() };
    walk.folder(root, "")?;
    Ok(walk.listing)
}

struct Walk<'a> {
    filter: &'a Filter,
    limits: &'a Limits,
    interrupt: &'a Interrupt,
    bytes: u64,
    listing: Listing,
}

impl Walk<'_> {
    fn folder(&mut self, folder: &Folder, shown: &str) -> Result<()> {
        self.interrupt.check("list folder")?;
        for entry in folder.names()? {
            let mut bytes = shown.as_bytes().to_vec();
            if !shown.is_empty() {
                bytes.push(b'/');
            }
            bytes.extend_from_slice(entry.name.as_bytes());
            let (kind, stat) = match entry.kind {
                FileType::RegularFile | FileType::Unknown => {
                    let stat = folder.stat(&entry.name)?;
                    (FileType::from_raw_mode(stat.mode), Some(stat))
                }
                kind => (kind, None),
            };
            // A name that cannot be text is compared with the filter as text can be: what is left out is not refused.
            let lossy = String::from_utf8_lossy(&bytes);
            match kind {
                FileType::Directory if self.filter.enters(&lossy) => self.enter(folder, &bytes, &entry.name)?,
                FileType::RegularFile if self.filter.keeps(&lossy) => self.file(TreePath::new(&bytes)?, stat)?,
                FileType::Symlink if self.filter.keeps(&lossy) => {
                    self.link(TreePath::new(&bytes)?, folder.read_link(&entry.name)?)?;
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn enter(&mut self, parent: &Folder, path: &[u8], name: &OsString) -> Result<()> {
        let path = TreePath::new(path)?;
        self.limits.check_path(&path)?;
        self.folder(&parent.folder(name.to_str().unwrap_or_default())?, path.as_str())
    }

    fn file(&mut self, path: TreePath, stat: Option<FileStat>) -> Result<()> {
        let Some(stat) = stat else { return Ok(()) };
        self.limits.check_path(&path)?;
        self.limits.check_file(&path, stat.size)?;
        self.bytes += stat.size;
        self.listing.files.insert(path, stat);
        self.check_total()
    }

    fn link(&mut self, path: TreePath, target: Vec<u8>) -> Result<()> {
        self.limits.check_path(&path)?;
        self.listing.links.insert(path, target);
        self.check_total()
    }

    fn check_total(&self) -> Result<()> {
        self.limits.check_total((self.listing.files.len() + self.listing.links.len()) as u64, self.bytes)
    }
}
