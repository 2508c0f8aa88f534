//! What a sync is to bring: the source's newest, or one certain version from wherever it can still be had.

use dagsync_core::{Error, ErrorKind, Expectation, Interrupt, Result, Revision, SyncContext, Tree, Version};

use super::Engine;
use super::writer::{StagedDraft, Writer};
use crate::target::{Aim, Goal};

/// What a sync is to bring.
#[derive(Debug, Clone)]
pub(super) struct Wanted {
    /// What the source calls it.
    pub(super) revision: Revision,
    /// What it has to be; `None` for whatever the source offers.
    goal: Option<Goal>,
    /// The store still has it.
    pub(super) kept: bool,
}

impl From<Revision> for Wanted {
    fn from(revision: Revision) -> Self {
        Self { revision, goal: None, kept: false }
    }
}

impl Wanted {
    pub(super) fn version(&self) -> Option<Version> {
        self.goal.as_ref()?.version
    }

    /// Whether `found` is what it has to be.
    pub(super) fn check(&self, found: &Version) -> Result<()> {
        match &self.goal {
            Some(Goal { version: Some(version), .. }) if self.kept && version != found => {
                Err(Error::new(ErrorKind::Mismatch, "restore", "the store's copy is not what was published")
                    .retryable()
                    .with_context("version", version)
                    .with_hint("somebody touched it; the source is asked for that version"))
            }
            Some(goal) if goal.version.is_some_and(|version| version != *found) => Err(self.miss(goal, found)),
            _ => Ok(()),
        }
    }

    fn miss(&self, goal: &Goal, found: &Version) -> Error {
        let wanted = goal.version.map(|version| version.to_string()).unwrap_or_default();
        Error::new(ErrorKind::Mismatch, "sync", "the source holds another version than this pod should be on")
            .retryable()
            .with_context("revision", &self.revision)
            .with_context("holds", found)
            .with_context("should hold", wanted)
            .with_context("as said by", &goal.by)
            .with_hint(
                "what is published stays; the source may lag behind, or no longer have that version, or be another one, \
                 with another subpath or other globs",
            )
    }

    /// Has a tree that is served from where it lies compared with it, unless its strategy knows better.
    pub(super) fn expect(&self, expectation: &mut Expectation) {
        if let Some(Goal { version: Some(version), by, .. }) = &self.goal {
            expectation.wanted.get_or_insert_with(|| (*version, by.clone()));
        }
    }
}

impl Engine {
    /// What to bring. While nobody says, a touched version is repaired from what the strategy still has; then the error
    /// comes along, for it is still one.
    pub(super) async fn wanted(&mut self, cx: SyncContext, writer: &Writer) -> Result<(Wanted, Option<Error>)> {
        match (self.ask(cx, writer).await, self.known_good()) {
            (Ok(wanted), _) => Ok((wanted, None)),
            (Err(error), Some(good)) if self.tampered && error.kind() != ErrorKind::Cancelled => {
                tracing::warn!(%error, revision = %good.revision, "nobody says what to bring; repairing without that");
                Ok((good, Some(error)))
            }
            (Err(error), _) => Err(error),
        }
    }

    /// What is published, as it was before somebody touched it: brought by this process, or by one before.
    fn known_good(&self) -> Option<Wanted> {
        if let Some(revision) = &self.materialized {
            return Some(Wanted::from(revision.clone()));
        }
        let status = self.parts.board.read();
        let goal = Goal { version: Some(status.version?), revision: None, by: "the store".to_owned() };
        Some(Wanted { revision: status.revision.clone()?, goal: Some(goal), kept: false })
    }

    async fn ask(&self, cx: SyncContext, writer: &Writer) -> Result<Wanted> {
        let aimed = self.parts.target.aim(&cx.interrupt).await;
        self.parts.target.show(&aimed, &self.parts.board);
        let goal = match aimed? {
            Aim::Newest => {
                let revision = self.resolve(cx).await?;
                self.parts.board.update(|status| {
                    if status.target.revision.as_ref() != Some(&revision) {
                        status.target.version = None;
                        status.target.revision = Some(revision.clone());
                    }
                });
                return Ok(Wanted::from(revision));
            }
            Aim::Exactly(goal) => goal,
        };
        if self.parts.strategy.is_in_place() {
            let revision = self.resolve(cx).await?;
            if let (None, Some(pinned)) = (goal.version, goal.revision.as_ref().filter(|pinned| **pinned != revision)) {
                return Err(Error::new(ErrorKind::Mismatch, "find", "what lies there is not the pinned revision")
                    .with_context("holds", revision)
                    .with_context("should hold", pinned));
            }
            return Ok(Wanted { revision, goal: Some(goal), kept: false });
        }
        let status = self.parts.board.read();
        if goal.version.is_some() && status.version == goal.version && status.ready && !self.tampered {
            // What a leader calls it proves nothing.
            let revision = status.revision.clone().unwrap_or_else(|| Revision::new(goal.by.clone()));
            return Ok(Wanted { revision, goal: Some(goal), kept: false });
        }
        if let Some(kept) = self.kept(&cx.interrupt, &goal, writer).await? {
            return Ok(Wanted { revision: kept, goal: Some(goal), kept: true });
        }
        self.find(cx, goal).await
    }

    /// What the source may still have.
    async fn find(&self, cx: SyncContext, mut goal: Goal) -> Result<Wanted> {
        goal.revision = self.parts.target.name_of(&goal, &cx.interrupt).await;
        if goal.version.is_some() && self.misleading == goal.revision {
            goal.revision = None;
        }
        let (strategy, interrupt) = (self.parts.strategy.clone(), cx.interrupt.clone());
        let (context, asked) = (cx.clone(), goal.clone());
        let call = async move { strategy.find(&context, asked.version.as_ref(), asked.revision.as_ref()).await };
        let revision = match self.source.run(&interrupt, "find", call).await? {
            Some(revision) => revision,
            None if goal.version.is_none() => {
                let message = format!("the strategy {} cannot be asked for a revision", self.parts.name);
                return Err(Error::new(ErrorKind::Config, "find", message)
                    .with_context("revision", goal.revision.map(|revision| revision.to_string()).unwrap_or_default())
                    .with_hint("set pin_version, which all strategies know"));
            }
            None => self.resolve(cx).await?,
        };
        let wanted = Wanted { revision, goal: Some(goal), kept: false };
        match &self.missed {
            // It was brought already and was another one. A revision that proves less may hold the right one by now.
            Some((revision, version)) if *revision == wanted.revision && !self.parts.strategy.is_reread() => {
                wanted.check(version).map(|()| wanted)
            }
            _ => Ok(wanted),
        }
    }

    async fn resolve(&self, cx: SyncContext) -> Result<Revision> {
        let (strategy, interrupt) = (self.parts.strategy.clone(), cx.interrupt.clone());
        let is_first = self.materialized.is_none();
        let call =
            async move { if is_first { strategy.resolve_ahead(&cx).await } else { strategy.resolve(&cx).await } };
        self.source.run(&interrupt, "resolve", call).await
    }

    /// What the store calls the version that it should be on, if it still has it.
    async fn kept(&self, interrupt: &Interrupt, goal: &Goal, writer: &Writer) -> Result<Option<Revision>> {
        let is_touched = |version| self.tampered && self.parts.board.read().version == Some(version);
        let is_good = |version: &Version| self.spoiled != Some(*version) && !is_touched(*version);
        let Some(version) = goal.version.filter(is_good) else { return Ok(None) };
        let writer = writer.clone();
        let kept = self.in_store(interrupt, "read store", move |_| Ok(writer.kept(&version))).await?;
        Ok(kept.map(|revision| goal.revision.clone().unwrap_or(revision)))
    }

    /// Stages a version that the store still has.
    pub(super) async fn restore(
        &mut self,
        interrupt: &Interrupt,
        writer: &Writer,
        wanted: &Wanted,
        draft: &StagedDraft,
    ) -> Result<Tree> {
        let Some(version) = wanted.version() else {
            return Err(Error::new(ErrorKind::Unexpected, "restore", "no version"));
        };
        let (writer, staging, rules) = (writer.clone(), draft.staging.clone(), self.rules.clone());
        let restore = move |interrupt: &Interrupt| writer.restore(&version, &staging, &rules, interrupt);
        let restored = self.in_store(interrupt, "restore", restore).await;
        if let Err(error) = &restored
            && matches!(error.kind(), ErrorKind::Mismatch | ErrorKind::Changed | ErrorKind::Corrupt)
        {
            tracing::warn!(%error, %version, "the store's copy is no good; the source is asked");
            self.spoiled = Some(version);
        }
        restored.map(|()| Tree::Staged)
    }

    /// The name of a version that is known by its content is only a hint: without it the source's newest is tried.
    pub(super) fn doubt(&mut self, wanted: &Wanted, error: Error) -> Error {
        let Some(Goal { version: Some(_), revision: Some(hint), .. }) = &wanted.goal else { return error };
        let is_of_hint = matches!(error.kind(), ErrorKind::NotFound | ErrorKind::Changed | ErrorKind::Config);
        if wanted.kept || *hint != wanted.revision || !is_of_hint {
            return error;
        }
        self.misleading = Some(hint.clone());
        error.retryable()
    }

    /// What did not change must be what is wanted.
    pub(super) fn check_unchanged(&self, wanted: &Wanted, tree: Tree) -> Result<Tree> {
        match (&tree, self.parts.board.read().version) {
            (Tree::Unchanged, Some(version)) => wanted.check(&version).map(|()| tree),
            _ => Ok(tree),
        }
    }

    /// Whether what is wanted is current, and nobody touched it.
    pub(super) fn is_on(&mut self, wanted: &Wanted) -> bool {
        match wanted.version() {
            Some(version) if !self.parts.strategy.is_in_place() => {
                let status = self.parts.board.read();
                let is_on = !self.tampered && status.ready && status.version == Some(version);
                // Whatever the source holds by now, this is the version that counts.
                self.recheck = self.recheck.filter(|_| !is_on);
                is_on
            }
            version => {
                let is_right = version.is_none() || self.parts.board.read().version == version;
                !self.tampered
                    && self.recheck.is_none()
                    && is_right
                    && self.materialized.as_ref() == Some(&wanted.revision)
            }
        }
    }

    /// Whether the target says that it is time to end.
    pub(super) fn gives_up(&self) -> bool {
        self.parts.target.gives_up()
    }
}
