//! Checking what is published: whether readers still find it, and whether it still is what was published.

use std::cmp::Ordering::{Equal, Greater, Less};
use std::path::Path;
use std::time::SystemTime;

use dagsync_core::{Change, ChangeKind, Error, ErrorKind, Interrupt, Result, StagingRules, Version};
use tokio_util::sync::CancellationToken;

use super::writer::Writer;
use super::{Engine, LOGGED};
use crate::status::SyncState;
use crate::store::{Scrub, ScrubMode, ScrubReport, State};

impl Engine {
    /// Checks the published version. What is wrong with it is reported with its paths and counted; the next sync
    /// publishes a fresh copy. `None` when nothing is published or the store is not open; a tree that is served from where it
    /// lies is brought again at the next sync.
    pub async fn scrub(&mut self, token: &CancellationToken, mode: ScrubMode) -> Result<Option<ScrubReport>> {
        let is_in_place = self.parts.strategy.is_in_place();
        if is_in_place || mode == ScrubMode::Full && self.parts.strategy.is_reread() {
            // A thorough one that is due is not forgotten for another.
            self.recheck = self.recheck.filter(|due| *due == ScrubMode::Full).or(Some(mode));
        }
        if is_in_place {
            return Ok(None);
        }
        let Some(writer) = self.writer.clone() else {
            return if self.stands_by() { self.examine(token, mode).await } else { Ok(None) };
        };
        let interrupt = Interrupt::new(token.clone(), None);
        let (rules, progress) = (self.rules.clone(), self.parts.progress.clone());
        let scrub = move |interrupt: &Interrupt| writer.scrub(mode, &rules, interrupt, &progress);
        let result = self.in_store(&interrupt, "scrub", scrub).await;
        if self.let_go_if_lost(&result) {
            return result;
        }
        match &result {
            Ok(None) => {}
            Ok(Some(report)) => self.note_report(mode, report),
            Err(error) => self.note_no_report(mode, error),
        }
        result
    }

    /// Checks what an earlier process left, without writing: the disk may be full, and the lock may be another's.
    pub(super) async fn check_found(&mut self, token: &CancellationToken) {
        let status = self.parts.board.read();
        if status.ready && !self.tampered || self.parts.strategy.is_in_place() {
            return;
        }
        // Errors are logged and counted where they happen.
        let _ = self.examine(token, ScrubMode::Stat).await;
    }

    /// Checks what the link leads to, whoever published it, without writing.
    pub(super) async fn examine(&mut self, token: &CancellationToken, mode: ScrubMode) -> Result<Option<ScrubReport>> {
        let interrupt = Interrupt::new(token.clone(), None);
        let (store, rules, progress) = (self.store.clone(), self.rules.clone(), self.parts.progress.clone());
        let check = move |interrupt: &Interrupt| {
            let StagingRules { filter, limits, .. } = &rules;
            let scrub = Scrub { mode, renew_index: None, filter, limits, interrupt, progress: &progress };
            let Some(report) = store.scrub_current(&scrub)? else { return Ok(None) };
            Ok(Some((report, store.state())))
        };
        match self.in_store(&interrupt, "check store", check).await {
            Ok(None) => Ok(None),
            Ok(Some((report, state))) => {
                let known = self.parts.board.read();
                self.note_report(mode, &report);
                if report.changes.is_empty() {
                    let is_news = !known.ready || self.tampered || known.folder.as_ref() != Some(&report.folder);
                    self.note_found(&report, state, is_news);
                }
                Ok(Some(report))
            }
            Err(error) => {
                self.note_no_report(mode, &error);
                Err(error)
            }
        }
    }

    fn note_found(&mut self, report: &ScrubReport, state: Option<State>, is_news: bool) {
        if is_news {
            tracing::info!(version = %report.folder.version(), files = report.files, "the published version is good");
        }
        let stands = if self.stands_by() { SyncState::Standby } else { SyncState::Converged };
        self.tampered = false;
        let state = state.filter(|state| state.current.as_ref() == Some(&report.folder));
        if let Some(state) = state.as_ref().filter(|_| self.stands_by()) {
            self.note_writers_settings(state);
        }
        let published_at = state.as_ref().and_then(|s| s.folders.get(&report.folder)).map(|f| f.published_at);
        let revision = state.and_then(|state| state.revision).or_else(|| report.folder.revision());
        self.parts.board.update(|status| {
            status.ready = true;
            status.revision = revision;
            status.published_at = published_at;
            status.tampered.clear();
            status.enter(stands, SystemTime::now());
        });
    }

    /// The mode of the next periodic check: every `full_every`th reads everything.
    pub fn next_scrub_mode(&mut self, full_every: u64) -> ScrubMode {
        self.checks += 1;
        if full_every > 0 && self.checks.is_multiple_of(full_every) { ScrubMode::Full } else { ScrubMode::Stat }
    }

    /// Whether the published copy is known to be touched.
    pub const fn is_tampered(&self) -> bool {
        self.tampered
    }

    /// Whether what is served lies where it was found.
    pub fn is_in_place(&self) -> bool {
        self.parts.strategy.is_in_place()
    }

    /// A link that was removed or turned elsewhere is noticed at every sync, not only at the next check.
    pub(super) async fn notice_a_lost_link(&mut self, interrupt: &Interrupt, writer: &Writer) -> Result<()> {
        let (writer, is_in_place) = (writer.clone(), self.parts.strategy.is_in_place());
        let found = self.in_store(interrupt, "read store", move |_| writer.check_link(is_in_place)).await;
        match found {
            Err(error) if error.kind() == ErrorKind::Mismatch => {
                if !self.tampered {
                    self.note_lost_link(&error);
                }
                Ok(())
            }
            other => other,
        }
    }

    pub(super) fn note_lost_link(&mut self, error: &Error) {
        self.distrust_unseen(ScrubMode::Stat, error, ChangeKind::Removed);
    }

    fn note_report(&mut self, mode: ScrubMode, report: &ScrubReport) {
        let version = report.folder.version();
        self.parts.board.update(|status| {
            status.version = Some(version);
            status.folder = Some(report.folder.clone());
            (status.files, status.bytes) = (report.files, report.bytes);
        });
        self.parts.metrics.scrubbed(mode, if report.changes.is_empty() { "clean" } else { "tampered" });
        if !report.changes.is_empty() {
            self.tampered = true;
            self.note_changes(&version, &report.path, &report.changes);
        }
    }

    /// Logs, counts and shows the files that were touched.
    pub(super) fn note_changes(&self, version: &Version, root: &Path, changes: &[Change]) {
        for (n, change) in changes.iter().enumerate() {
            self.parts.metrics.tampered(change.change);
            let path = root.join(change.path.as_path());
            match n.cmp(&LOGGED) {
                Less => tracing::error!(%version, path = %path.display(), change = change.change.as_str(), "tampered"),
                Equal => tracing::error!(%version, "tampered: and {} more", changes.len() - LOGGED),
                Greater => {}
            }
        }
        if !changes.is_empty() {
            self.parts.board.update(|status| status.tamper(changes, SystemTime::now()));
        }
    }

    fn note_no_report(&mut self, mode: ScrubMode, error: &Error) {
        match blame(error) {
            Some(change) => self.distrust_unseen(mode, error, change),
            None if error.kind() == ErrorKind::Cancelled => {}
            None => {
                self.parts.metrics.scrubbed(mode, "failed");
                tracing::error!(mode = mode.as_str(), %error, "the published version could not be checked");
            }
        }
    }

    /// Something is wrong with the tree that has no path of its own, or one that cannot be published.
    fn distrust_unseen(&mut self, mode: ScrubMode, error: &Error, change: ChangeKind) {
        self.parts.metrics.scrubbed(mode, "tampered");
        self.parts.metrics.tampered(change);
        tracing::error!(mode = mode.as_str(), change = change.as_str(), %error, "tampered");
        self.tampered = true;
        self.parts.board.update(|status| {
            status.tamper(&[], SystemTime::now());
            status.fail(error, 1, SystemTime::now());
        });
    }
}

/// What was done to the store when a check fails because of what lies there; `None` when something else is the cause.
/// A fresh copy mends all of these.
fn blame(error: &Error) -> Option<ChangeKind> {
    let is_unreadable = error.raw_os_error() == Some(rustix::io::Errno::ACCESS.raw_os_error());
    match error.kind() {
        // A name that cannot be published, or more than the limits allow.
        ErrorKind::Refused | ErrorKind::LimitExceeded => Some(ChangeKind::Added),
        // The link or what it pointed to.
        ErrorKind::Mismatch => Some(ChangeKind::Removed),
        // The manifest, or a file that is being written.
        ErrorKind::Corrupt | ErrorKind::Changed => Some(ChangeKind::Modified),
        _ if is_unreadable => Some(ChangeKind::Modified),
        _ => None,
    }
}
