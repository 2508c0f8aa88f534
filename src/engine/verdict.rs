//! How a tree stands that is served from where it lies.

use dagsync_core::{Change, ChangeKind, Error, ErrorKind, Expectation, HashedTree, SealState, Version};

use crate::status::SyncState;

/// Files that a message names.
const NAMED: usize = 3;

/// What came of comparing such a tree with what it should be.
#[derive(Debug)]
pub(super) enum Verdict {
    /// It is as it should be, or nobody says how that is.
    Fine,
    /// It has no seal.
    Unsealed,
    /// Its seal was touched; how.
    Broken(String),
    /// It is not what its manifest says; and what to do.
    Tampered(Vec<Change>, &'static str),
    /// It is what it was, but should be another by now.
    Stale { wanted: Version, by: String },
}

impl Verdict {
    pub(super) fn of(tree: &HashedTree, expectation: &Expectation) -> Self {
        let changes = match &expectation.seal {
            SealState::None => Vec::new(),
            SealState::Missing => return Self::Unsealed,
            SealState::Broken(how) => return Self::Broken(how.clone()),
            SealState::Of(manifest, links) => tree.changes_since(manifest, links),
        };
        match &expectation.wanted {
            _ if !changes.is_empty() => Self::Tampered(changes, expectation.mend),
            Some((wanted, by)) if *wanted != tree.manifest.version() => Self::Stale { wanted: *wanted, by: by.clone() },
            _ => Self::Fine,
        }
    }

    pub(super) const fn state(&self) -> SyncState {
        match self {
            Self::Fine => SyncState::Converged,
            Self::Unsealed => SyncState::Unsealed,
            Self::Broken(_) | Self::Tampered(..) => SyncState::Tampered,
            Self::Stale { .. } => SyncState::Stale,
        }
    }

    /// The files that were touched.
    pub(super) fn changes(&self) -> &[Change] {
        if let Self::Tampered(changes, _) = self { changes } else { &[] }
    }

    /// What is wrong with a tree of version `found`; `None` when it is fine.
    pub(super) fn error(&self, found: &Version) -> Option<Error> {
        let error = |message: String| Error::new(ErrorKind::Mismatch, "verify", message);
        Some(match self {
            Self::Fine => return None,
            Self::Unsealed => error("the tree has no seal, so nobody can say whether it was touched".to_owned())
                .with_hint("run `dagsync seal DIR` when the image is built"),
            Self::Broken(how) => error(how.clone()),
            Self::Tampered(changes, mend) => {
                error(format!("the tree is not what its manifest says: {}", listed(changes))).with_hint(*mend)
            }
            Self::Stale { wanted, by } => error("the image holds another version than it should".to_owned())
                .with_context("holds", found)
                .with_context("should hold", wanted)
                .with_context("as said by", by)
                .with_hint(
                    "roll the pod out again with the image that holds it; a tag may have moved since it was pulled",
                ),
        })
    }
}

fn listed(changes: &[Change]) -> String {
    let how = |change: ChangeKind| match change {
        ChangeKind::Added => "added",
        ChangeKind::Removed => "missing",
        ChangeKind::Modified => "modified",
    };
    let named: Vec<_> = changes.iter().take(NAMED).map(|c| format!("{} is {}", c.path, how(c.change))).collect();
    match changes.len().saturating_sub(NAMED) {
        0 => named.join(", "),
        more => format!("{}, and {more} more", named.join(", ")),
    }
}
