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
    /// It is not what its manifest says: the files, what else is odd, and what to do.
    Tampered(Vec<Change>, Vec<String>, &'static str),
    /// It should be another by now; and whether it is what it was.
    Stale { wanted: Version, by: String, is_sealed: bool },
}

impl Verdict {
    pub(super) fn of(tree: &HashedTree, expectation: &Expectation) -> Self {
        let Expectation { seal, wanted, mend, .. } = expectation;
        let wanted = wanted.as_ref().filter(|(wanted, _)| *wanted != tree.manifest.version());
        let changes = match seal {
            SealState::Of(manifest, links) => tree.changes_since(manifest, links),
            // Of itself it differs in what no version holds.
            SealState::None | SealState::Missing => tree.changes_since(&tree.manifest, &tree.links),
            SealState::Broken(how) => {
                let also = wanted.map(|(wanted, by)| format!("; and {by} says {wanted}")).unwrap_or_default();
                return Self::Broken(format!("{how}{also}"));
            }
        };
        let is_sealed = !matches!(seal, SealState::Missing);
        match wanted {
            _ if !changes.is_empty() || !tree.odd.is_empty() => {
                let odd = tree.odd.iter().map(|odd| odd.why.clone()).collect();
                Self::Tampered(changes, odd, mend)
            }
            Some((wanted, by)) => Self::Stale { wanted: *wanted, by: by.clone(), is_sealed },
            None if is_sealed => Self::Fine,
            None => Self::Unsealed,
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
        if let Self::Tampered(changes, ..) = self { changes } else { &[] }
    }

    /// Whether it is what it was when it was made, so that it may be served.
    pub(super) const fn is_verified(&self) -> bool {
        matches!(self, Self::Fine | Self::Stale { is_sealed: true, .. })
    }

    /// How a check that came to this ended, for metrics.
    pub(super) const fn result(&self) -> &'static str {
        match self {
            Self::Broken(_) | Self::Tampered(..) => "tampered",
            _ if self.is_verified() => "clean",
            _ => "failed",
        }
    }

    /// What is wrong with a tree of version `found`; `None` when it is fine.
    pub(super) fn error(&self, found: &Version) -> Option<Error> {
        let error = |message: String| Error::new(ErrorKind::Mismatch, "verify", message);
        Some(match self {
            Self::Fine => return None,
            Self::Unsealed => error("the tree has no seal, so nobody can say whether it was touched".to_owned())
                .with_hint("run `dagsync seal DIR` when the image is built"),
            Self::Broken(how) => error(how.clone()),
            Self::Tampered(changes, odd, mend) => {
                let what = [listed(changes), odd.iter().take(NAMED).cloned().collect::<Vec<_>>().join("; ")];
                let what = what.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join("; ");
                error(format!("the tree is not what its manifest says: {what}")).with_hint(*mend)
            }
            Self::Stale { wanted, by, is_sealed } => error(stale(*is_sealed).to_owned())
                .with_context("holds", found)
                .with_context("should hold", wanted)
                .with_context("as said by", by)
                .with_hint(
                    "roll the pod out again with the image that holds it; a tag may have moved since it was pulled",
                ),
        })
    }
}

const fn stale(is_sealed: bool) -> &'static str {
    match is_sealed {
        true => "the image holds another version than it should",
        false => "the image has no seal and holds another version than it should",
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
