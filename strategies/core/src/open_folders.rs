//! Folders below a root that stay open for the next file, so that a deep path is not walked for each.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, PoisonError};

use crate::error::Result;
use crate::fs::Folder;

/// Open folders that are kept for the next file.
const OPEN_FOLDERS: usize = 64;

/// Folders below a root, opened part by part and kept open while they are likely to be asked for again.
#[derive(Debug)]
pub struct OpenFolders {
    root: Arc<Folder>,
    create: bool,
    open: Mutex<HashMap<String, Arc<Folder>>>,
    made: Mutex<BTreeSet<String>>,
}

impl OpenFolders {
    /// The folders below `root`, which stays open.
    pub fn reading(root: Folder) -> Self {
        Self::new(root, false)
    }

    pub(crate) fn new(root: Folder, create: bool) -> Self {
        Self { root: Arc::new(root), create, open: Mutex::default(), made: Mutex::default() }
    }

    /// The folder at `path`; the root where that is empty.
    pub fn get(&self, path: &str) -> Result<Arc<Folder>> {
        if path.is_empty() {
            return Ok(self.root.clone());
        }
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(folder) = open.get(path) {
            return Ok(folder.clone());
        }
        if !self.create {
            let folder = Arc::new(self.root.folder(path)?);
            Self::keep(&mut open, path, &folder);
            return Ok(folder);
        }
        let mut at = self.root.clone();
        for end in path.match_indices('/').map(|(i, _)| i).chain([path.len()]) {
            let part = &path[..end];
            at = match open.get(part) {
                Some(folder) => folder.clone(),
                None => {
                    let name = part.rsplit('/').next().unwrap_or(part);
                    let folder = Arc::new(at.make_folder(name)?);
                    self.made.lock().unwrap_or_else(PoisonError::into_inner).insert(part.to_owned());
                    Self::keep(&mut open, part, &folder);
                    folder
                }
            };
        }
        Ok(at)
    }

    fn keep(open: &mut HashMap<String, Arc<Folder>>, path: &str, folder: &Arc<Folder>) {
        if open.len() >= OPEN_FOLDERS {
            open.clear();
        }
        open.insert(path.to_owned(), folder.clone());
    }

    /// Gives every folder its final mode. The root's own comes later: it has yet to be renamed.
    pub(crate) fn finish(&self, group_write: bool) -> Result<()> {
        let made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        made.iter().rev().try_for_each(|path| {
            let folder = self.root.folder(path)?;
            if group_write { folder.share() } else { folder.chmod(0o555) }
        })
    }
}
