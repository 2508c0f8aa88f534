//! Standing by: another process writes to the store. What it publishes is followed and checked, nothing is written.

use std::time::{Instant, SystemTime};

use dagsync_core::{Error, ErrorKind, Interrupt, Result, Revision, StagingCounts};
use tokio_util::sync::CancellationToken;

use super::{Engine, Parts, SyncReport};
use crate::status::{Flip, Target};
use crate::store::{FolderName, ScrubMode, State};
use crate::target::{Aim, Goal};

impl Engine {
    /// One turn of a pod that was refused the lock: notes who has it and looks where the link leads. `None` when no good
    /// version is published.
    ///
    /// # Errors
    /// The store cannot be read.
    pub(super) async fn follow(&mut self, token: &CancellationToken) -> Result<Option<SyncReport>> {
        let (start, is_first) = (Instant::now(), !self.standing);
        self.note_holder();
        if self.parts.strategy.is_in_place() {
            let holder = self.vigil().holder().unwrap_or_default();
            return Err(Error::new(ErrorKind::Config, "open store", "another process has this root")
                .with_context("holder", holder)
                .with_hint(
                    "what is served in its place is checked by each pod for itself: give each a root of its own",
                ));
        }
        let interrupt = Interrupt::new(token.clone(), None);
        let before = self.parts.board.read().folder.clone();
        let (store, expected) = (self.store.clone(), before.clone());
        let look = move |_: &Interrupt| match store.current()? {
            Some(found) => Ok(Ok(found)),
            None => Ok(Err(store.check_link(expected.as_ref()).err().or_else(|| store.other_link()))),
        };
        match self.in_store(&interrupt, "read store", look).await? {
            // The first time also for what the writer's settings are.
            Ok(found)
                if is_first || Some(&found) != before.as_ref() || !(self.parts.board.read().ready || self.tampered) =>
            {
                // What somebody did to it is the writer's to mend.
                let examined = self.examine(token, ScrubMode::Stat).await;
                examined.map(drop).or_else(|error| if self.tampered { Ok(()) } else { Err(error) })?;
            }
            Err(Some(other)) if other.kind() == ErrorKind::Config => return Err(other),
            Err(Some(gone)) if !self.tampered => self.note_lost_link(&gone),
            _ => {}
        }
        let found = self.found(before.as_ref(), start);
        match &found {
            Some(report) => self.compare(report, &interrupt).await.map(|()| found),
            None => Ok(None),
        }
    }

    /// What the writer brings is not what this pod should be on, where a pin or a leader says so.
    async fn compare(&self, found: &SyncReport, interrupt: &Interrupt) -> Result<()> {
        let aim = self.parts.target.aim(interrupt).await;
        self.parts.target.show(&aim, &self.parts.board);
        match aim {
            Ok(Aim::Exactly(Goal { version: Some(version), by, .. })) if version != found.version => Err(Error::new(
                ErrorKind::Mismatch,
                "follow",
                "the process that writes to the store brings another version",
            )
            .retryable()
            .with_context("holds", found.version)
            .with_context("should hold", version)
            .with_context("as said by", by)
            .with_hint("pods that share a store share a target: give this one the writer's, or a root of its own")),
            _ => Ok(()),
        }
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
        if changed {
            let flip = Flip { version, revision: Some(revision.clone()), at: SystemTime::now() };
            self.parts.board.update(|status| status.flip(flip));
        }
        Some(SyncReport { revision, version, published: false, changed, in_place: None, files, counts, took })
    }

    fn note_holder(&mut self) {
        let holder = self.vigil().holder().unwrap_or_else(|| "unknown".to_owned());
        let status = self.parts.board.read();
        if !self.standing || status.holder.as_ref() != Some(&holder) {
            tracing::info!(%holder, "standing by: another process has the store's lock and writes to it");
        }
        let is_first = !std::mem::replace(&mut self.standing, true);
        self.parts.board.update(|status| {
            (status.writer, status.holder) = (false, Some(holder));
            if is_first {
                // What was said of the source as this process saw it.
                (status.target, status.gate) = (Target::new(status.target.mode), None);
                status.warnings.clear();
            }
        });
    }

    /// What is served is what the writer brings, by its settings. Pods that are being replaced may differ for a while, and
    /// two that share a store by mistake do so for ever.
    pub(super) fn note_writers_settings(&self, state: &State) {
        let Parts { name, strategy, board, .. } = &self.parts;
        let (source, filter) = (strategy.to_string(), self.rules.filter.hash().to_string());
        let own = [("strategy", name), ("source", &source), ("filter_hash", &filter)];
        let writers = [&state.strategy, &state.source, &state.filter_hash];
        let differ = own.into_iter().zip(writers).filter(|((_, own), writers)| own != writers);
        let differ: Vec<_> = differ.map(|((what, own), writers)| format!("{what} {writers}, here {own}")).collect();
        let warning = format!(
            "the process that writes to the store has other settings ({}): it is being replaced, or this pod needs a root of \
             its own",
            differ.join("; ")
        );
        if !differ.is_empty() && !board.read().warnings.contains(&warning) {
            tracing::warn!("{warning}");
        }
        board.update(|status| {
            status.filter_hash.clone_from(&state.filter_hash);
            status.warnings = if differ.is_empty() { Vec::new() } else { vec![warning] };
        });
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
