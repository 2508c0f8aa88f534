//! Reading a tree that somebody may have tampered with: whatever is wrong with a part of it, the rest is told too.

use dagsync_core::fs::Folder;
use dagsync_core::tree::{Reading, hash_what_can_be};
use dagsync_core::walk::Odd;
use dagsync_core::{Error, ErrorKind, HashedTree, Result};

use crate::hidden;
use crate::seal::Sealed;

/// Who says which links may lead out of the tree.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Links {
    /// The seal: it is signed, or nothing else says anything.
    AsSealed,
    /// Nobody: a version that somebody else expects says nothing of them, and an unsigned seal can be edited.
    Unvouched,
}

/// Reads the tree in `folder`. What cannot be read, code where no version looks, and links that nobody vouches for are in
/// [`HashedTree::odd`].
///
/// # Errors
/// [`ErrorKind::Mismatch`] when the tree is `sealed` and cannot be read as a whole; else as
/// [`hash_tree`](dagsync_core::hash_tree).
pub fn read(folder: &Folder, reading: &Reading<'_>, sealed: Option<&Sealed>, links: Links) -> Result<HashedTree> {
    let read = || {
        let mut tree = hash_what_can_be(folder, reading)?;
        tree.odd.extend(hidden::find(folder, reading)?);
        if links == Links::Unvouched {
            let odd = unvouched(folder, &tree);
            tree.odd.extend(odd);
        }
        Ok(tree)
    };
    read().map_err(|error: Error| match sealed {
        Some(sealed) if sealed.seal.files <= reading.limits.files => touched(folder, error),
        _ => error,
    })
}

/// What was sealed could be read, and no image changes by itself.
fn touched(folder: &Folder, error: Error) -> Error {
    match error.kind() {
        ErrorKind::Refused | ErrorKind::LimitExceeded | ErrorKind::Changed => {
            let message =
                format!("{} cannot be read as a whole, so it is not what was sealed", folder.path().display());
            Error::new(ErrorKind::Mismatch, "verify", message).with_source(error)
        }
        _ => error,
    }
}

/// The links that lead to something beside the tree, or that are called as Python files are.
fn unvouched(folder: &Folder, tree: &HashedTree) -> Vec<Odd> {
    let is_one = |path: &str| path.ends_with(".py") || dagsync_core::fs::leads_somewhere(&folder.path().join(path));
    let links = tree.skipped.iter().filter(|link| tree.links.contains_key(&link.path) && is_one(link.path.as_str()));
    let odd = |link: &dagsync_core::links::SkippedLink| Odd {
        file: Some(link.path.clone()),
        why: format!("{link}, and only a signed seal can vouch for that"),
    };
    links.map(odd).collect()
}
