//! Standing by: another process writes to the store. What it publishes is followed and checked, nothing is written.

use std::time::{Instant, SystemTime};

use dagsync_core::{Error, Interrupt, Result, Revision, StagingCounts};
use tokio_util::sync::CancellationToken;

use super::{Engine, SyncReport};
use crate::store::{FolderName, ScrubMode};

impl Engine {
    /// One turn of a pod that was refused the lock: notes who has it and looks where the link leads. `None` when no good
    /// version is published.
    ///
    /// # Errors
    /// The store cannot be read.
    pub(super) async fn follow(&mut self, token: &CancellationToken) -> Result<Option<SyncReport>> {
        let start = Instant::now();
        self.note_holder();
        let interrupt = Interrupt::new(token.clone(), None);
        let before = self.parts.board.read().folder.clone();
        let (store, expected) = (self.store.clone(), before.clone());
        let look = move |_: &Interrupt| match store.current()? {
            Some(found) => Ok(Ok(found)),
            None => Ok(Err(store.check_link(expected.as_ref()).err())),
        };
        match self.in_store(&interrupt, "read store", look).await? {
            Ok(found) if Some(&found) != before.as_ref() || !(self.parts.board.read().ready || self.tampered) => {
                // What somebody did to it is the writer's to mend.
                let examined = self.examine(token, ScrubMode::Stat).await;
                examined.map(drop).or_else(|error| if self.tampered { Ok(()) } else { Err(error) })?;
            }
            Err(Some(gone)) if !self.tampered => self.note_lost_link(&gone),
            _ => {}
        }
        Ok(self.found(before.as_ref(), start))
    }

    fn found(&self, before: Option<&FolderName>, start: Instant) -> Option<SyncReport> {
        if self.tampered || !self.parts.board.read().ready {
            return None;
        }
        self.parts.board.update(|status| status.stand_by(SystemTime::now()));
        self.parts.metrics.followed();
        let status = self.parts.board.read();
        let (version, folder) = (status.version?, status.folder.clone()?);
        let revision = status.revision.clone().unwrap_or_else(|| Revision::new(version.to_string()));
        let (files, counts, took) = (status.files, StagingCounts::default(), start.elapsed());
        let changed = before != Some(&folder);
        Some(SyncReport { revision, version, published: false, changed, in_place: None, files, counts, took })
    }

    fn note_holder(&mut self) {
        let holder = self.vigil().holder().unwrap_or_else(|| "unknown".to_owned());
        let status = self.parts.board.read();
        if !self.standing || status.holder.as_ref() != Some(&holder) {
            tracing::info!(%holder, "standing by: another process has the store's lock and writes to it");
        }
        self.standing = true;
        self.parts.board.update(|status| (status.writer, status.holder) = (false, Some(holder)));
    }

    /// Whether another process writes to the store.
    pub(super) fn stands_by(&self) -> bool {
        self.standing
    }

    /// What `error` says, for who cannot wait for the other process any more.
    pub(super) fn no_version(&self, error: Error) -> Error {
        error.with_hint("it has not published a good version yet; its log says why")
    }
}
