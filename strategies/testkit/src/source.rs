//! How a test changes a source, whatever kind it is.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use dagsync_core::{Strategy, async_trait};

/// One thing that a source holds at a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Item {
    /// A regular file.
    File {
        /// Its bytes.
        content: Vec<u8>,
        /// Whether it may be executed.
        executable: bool,
    },
    /// A symbolic link and where it points.
    Link(String),
}

/// Everything that a source holds, by path.
pub type Files = BTreeMap<String, Item>;

/// One change of a source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Edit {
    /// Creates or replaces what is at a path. Folders come and go with what is in them.
    Put(String, Item),
    /// Removes what is at a path; it is there.
    Delete(String),
}

impl Edit {
    /// Makes the change in `files`.
    pub fn apply(&self, files: &mut Files) {
        match self {
            Self::Put(path, item) => drop(files.insert(path.clone(), item.clone())),
            Self::Delete(path) => drop(files.remove(path)),
        }
    }
}

/// Puts a file.
pub fn file(path: impl Into<String>, content: impl AsRef<[u8]>) -> Edit {
    Edit::Put(path.into(), Item::File { content: content.as_ref().to_vec(), executable: false })
}

/// Puts an executable file.
pub fn script(path: impl Into<String>, content: impl AsRef<[u8]>) -> Edit {
    Edit::Put(path.into(), Item::File { content: content.as_ref().to_vec(), executable: true })
}

/// Puts a symbolic link.
pub fn link(path: impl Into<String>, target: impl Into<String>) -> Edit {
    Edit::Put(path.into(), Item::Link(target.into()))
}

/// Removes what is at a path.
pub fn delete(path: impl Into<String>) -> Edit {
    Edit::Delete(path.into())
}

/// What a kind of source can hold. A clause about what it cannot hold is left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Capabilities {
    /// Symbolic links.
    pub symlinks: bool,
    /// Executable bits.
    pub executable: bool,
    /// No files at all.
    pub empty: bool,
    /// Names with a backslash, which every strategy must refuse.
    pub refused_names: bool,
}

impl Capabilities {
    /// A source that can hold everything that a file system can.
    pub const ALL: Self = Self { symlinks: true, executable: true, empty: true, refused_names: true };
}

/// A source under test, with the strategy that reads it. It starts empty.
#[async_trait]
pub trait Source: Send {
    /// What it can hold.
    fn capabilities(&self) -> Capabilities {
        Capabilities::ALL
    }

    /// Makes all `edits` as one new state, as one commit would.
    async fn apply(&mut self, edits: &[Edit]);

    /// Takes the source away as a whole: the repository, the bucket, the file.
    async fn remove(&mut self);

    /// A new strategy that reads this source, as after a restart.
    fn strategy(&self) -> Arc<dyn Strategy>;

    /// What no log may show: the password or token that the strategy was given.
    fn secrets(&self) -> Vec<String> {
        Vec::new()
    }

    /// Where the source lies, if that is in a local file or folder: no sync may write there.
    fn local(&self) -> Option<PathBuf> {
        None
    }
}
