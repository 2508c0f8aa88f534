//! Trees on disk and readings of them, for the tests of this crate.

use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use proptest::prelude::*;

use crate::filter::Filter;
use crate::fs::Folder;
use crate::index::{Nanos, StatIndex};
use crate::interrupt::Interrupt;
use crate::limits::Limits;
use crate::path::TreePath;
use crate::progress::Progress;
use crate::tree::{HashedTree, Reading, SymlinkPolicy, hash_tree};

pub(crate) fn path(text: &str) -> TreePath {
    TreePath::new(text).unwrap()
}

pub(crate) fn put(root: &Path, path: &str, content: impl AsRef<[u8]>) {
    let path = root.join(path);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, content).unwrap();
}

pub(crate) fn put_folder(root: &Path, path: &str) {
    std::fs::create_dir_all(root.join(path)).unwrap();
}

pub(crate) fn put_link(root: &Path, path: &str, target: impl AsRef<[u8]>) {
    let path = root.join(path);
    put_folder(path.parent().unwrap(), "");
    std::os::unix::fs::symlink(std::ffi::OsStr::from_bytes(target.as_ref()), path).unwrap();
}

/// Everything that a reading needs, with defaults that a test changes.
#[derive(Default)]
pub(crate) struct Given {
    pub(crate) filter: Filter,
    pub(crate) limits: Limits,
    pub(crate) symlinks: SymlinkPolicy,
    pub(crate) index: StatIndex,
    pub(crate) now: Option<Nanos>,
    pub(crate) interrupt: Option<Interrupt>,
    pub(crate) progress: Progress,
}

impl Given {
    pub(crate) fn hash(&self, root: &Path) -> crate::Result<HashedTree> {
        let interrupt = self.interrupt.clone().unwrap_or_else(Interrupt::never);
        let Self { filter, limits, symlinks, index, now, progress, .. } = self;
        let (symlinks, now) = (*symlinks, *now);
        let reading = Reading { filter, limits, symlinks, index, now, interrupt: &interrupt, progress };
        hash_tree(&Folder::open(root)?, &reading)
    }
}

/// The tree below `root`, read with defaults.
pub(crate) fn hash(root: &Path) -> HashedTree {
    Given::default().hash(root).unwrap()
}

/// Names that a source may hold, odd ones among them.
pub(crate) fn name() -> impl Strategy<Value = String> {
    prop_oneof![
        4 => "[a-c]",
        1 => "[a-zA-Z0-9 _.*$'~#äß日🚀\u{301}-]{1,6}".prop_filter("not a name", |n| TreePath::new(n).is_ok() && n != "-"),
    ]
}

/// Paths of one to three names.
pub(crate) fn tree_path() -> impl Strategy<Value = String> {
    proptest::collection::vec(name(), 1..4).prop_map(|parts| parts.join("/"))
}
