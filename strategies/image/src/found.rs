//! One look at an image: its seal, its tree, and whether the one is of the other.

use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use dagsync_core::fs::{self, Folder};
use dagsync_core::index::StatIndex;
use dagsync_core::tree::Reading;
use dagsync_core::{Error, ErrorKind, HashedTree, Interrupt, Result, Revision, SealState, SymlinkPolicy, SyncContext};

use crate::look::{self, Links};
use crate::seal::{Seal, Sealed};
use crate::sign::Key;
use crate::{State, UNKNOWN, UNSEALED, a_moment_ago, lock};

/// What is looked at, and what is known of it from before.
pub(crate) struct Look {
    pub(crate) path: PathBuf,
    pub(crate) key_file: Option<PathBuf>,
    pub(crate) links: Links,
    pub(crate) state: Arc<Mutex<State>>,
}

impl Look {
    /// The seal as far as there is one. What was sealed once and is not any longer was tampered with.
    pub(crate) fn seal(&self) -> Result<Found> {
        let key = self.key_file.as_deref().map(Key::read).transpose()?;
        let was_sealed = lock(&self.state).was_sealed;
        let read = || {
            if fs::resolve(&self.path)?.is_none() {
                let message = format!("{} is not there", self.path.display());
                return Err(Error::new(ErrorKind::NotFound, "read seal", message)
                    .with_hint("give the folder in the image that holds the DAGs, as image:/opt/airflow/dags"));
            }
            Sealed::read(&self.path, key.as_ref())
        };
        match read() {
            Ok(Some(sealed)) => Ok(Found::Sealed(Box::new(sealed))),
            Ok(None) if was_sealed => Ok(Found::Broken(removed(format!("the seal of {}", self.path.display())))),
            Ok(None) => Ok(Found::Unsealed),
            Err(error) if matches!(error.kind(), ErrorKind::Mismatch | ErrorKind::Untrusted) => {
                Ok(Found::Broken(error))
            }
            Err(error) if was_sealed && matches!(error.kind(), ErrorKind::NotFound | ErrorKind::Io) => {
                Ok(Found::Broken(removed(self.path.display().to_string()).with_source(error)))
            }
            Err(error) => Err(error),
        }
    }

    /// Reads the tree, whose seal should still be `revision`.
    pub(crate) fn verify(
        &self,
        cx: &SyncContext,
        revision: &Revision,
        interrupt: &Interrupt,
    ) -> Result<(HashedTree, SealState)> {
        let found = self.seal()?;
        if found.revision() != *revision {
            let message = format!("the seal of {} is another now", self.path.display());
            return Err(Error::new(ErrorKind::Changed, "read seal", message));
        }
        let found = found.under(cx, self.key_file.is_some())?;
        let tree = self.read(&found, cx, interrupt);
        match (tree, found) {
            (Ok(tree), Found::Sealed(sealed)) => {
                let links = if self.links == Links::AsSealed { sealed.links()? } else { tree.links.clone() };
                lock(&self.state).was_sealed = true;
                Ok((tree, SealState::Of(sealed.manifest, links)))
            }
            (Ok(tree), Found::Unsealed) => Ok((tree, SealState::Missing)),
            (Ok(tree), Found::Broken(error)) => Ok((tree, SealState::Broken(error.to_string()))),
            // Nothing can be said of what is there, so it counts as nothing.
            (Err(error), _) if error.kind() == ErrorKind::Mismatch => {
                Ok((nothing(), SealState::Broken(error.to_string())))
            }
            (Err(error), Found::Broken(seal)) if error.kind() != ErrorKind::Cancelled => {
                Ok((nothing(), SealState::Broken(format!("{seal}; and {error}"))))
            }
            (Err(error), _) => Err(error),
        }
    }

    fn read(&self, found: &Found, cx: &SyncContext, interrupt: &Interrupt) -> Result<HashedTree> {
        let unknown = StatIndex::default();
        let mut state = lock(&self.state);
        let reading = Reading {
            filter: &cx.filter,
            limits: &cx.limits,
            symlinks: SymlinkPolicy::Skip,
            index: if cx.thorough { &unknown } else { &state.index },
            now: a_moment_ago(),
            interrupt,
            progress: &cx.progress,
        };
        let sealed = if let Found::Sealed(sealed) = found { Some(&**sealed) } else { None };
        let mut tree = look::read(&Folder::open(&self.path)?, &reading, sealed, self.links)?;
        state.index = std::mem::take(&mut tree.index);
        Ok(tree)
    }
}

/// The seal of a folder, as far as there is one.
pub(crate) enum Found {
    Sealed(Box<Sealed>),
    Unsealed,
    /// It is no good.
    Broken(Error),
}

impl Found {
    pub(crate) fn revision(&self) -> Revision {
        Revision::new(match self {
            Self::Sealed(sealed) => sealed.seal.revision.clone().unwrap_or_else(|| sealed.seal.version.to_string()),
            Self::Unsealed => UNSEALED.to_owned(),
            Self::Broken(_) => UNKNOWN.to_owned(),
        })
    }

    /// Other globs than the daemon's make another version of the same tree. If the seal is signed, the daemon's settings are
    /// wrong; otherwise the seal may be.
    fn under(self, cx: &SyncContext, is_signed: bool) -> Result<Self> {
        let Self::Sealed(sealed) = &self else { return Ok(self) };
        if sealed.filter()?.hash() == cx.filter.hash() {
            return Ok(self);
        }
        let Seal { include, exclude, .. } = &sealed.seal;
        let kind = if is_signed { ErrorKind::Config } else { ErrorKind::Mismatch };
        let message = "the seal says that the tree was sealed under other globs than this daemon's";
        let error = Error::new(kind, "verify", message).with_hint(format!(
            "if the image was built so, set include to {include:?} and exclude to {exclude:?}; else somebody edited the seal"
        ));
        if is_signed { Err(error) } else { Ok(Self::Broken(error)) }
    }
}

fn removed(what: String) -> Error {
    Error::new(ErrorKind::Mismatch, "verify", format!("{what} was there before and is not there any longer"))
        .with_hint(crate::MEND)
}

fn nothing() -> HashedTree {
    HashedTree::default()
}
