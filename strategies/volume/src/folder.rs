//! A plain folder as the source: read when it has been still, copied or hashed where it lies.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use dagsync_core::copy::Copy;
use dagsync_core::fs::Folder;
use dagsync_core::index::{Nanos, Same, StatIndex};
use dagsync_core::tree::{Reading, hash_listing};
use dagsync_core::walk::{Attributes, Walk};
use dagsync_core::{
    Digest, Error, ErrorKind, Expectation, HashedTree, InPlace, Interrupt, Result, Revision, Staging, SymlinkPolicy,
    SyncContext, Tree, TreePath, Warning, fs,
};

use crate::Source;
use crate::settings::{Layout, Mode};
use crate::store;
use crate::survey::{self, Survey};

/// Everything in it was still before it was read, so no stat is in doubt.
const SETTLED: Nanos = Nanos::MAX;

/// The layout `folder`.
#[derive(Debug)]
pub(crate) struct Folders {
    source: Arc<Source>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// What an earlier process knew was read.
    loaded: bool,
    /// This process has brought something.
    brought: bool,
    known: Option<Arc<Known>>,
    /// What was resolved, until it is brought.
    settled: Option<(Revision, Survey)>,
}

/// A state of the folder that was still, with its digests.
#[derive(Debug)]
struct Known {
    revision: Revision,
    /// `None` where an earlier process knew them.
    links: Option<BTreeMap<TreePath, Vec<u8>>>,
    index: StatIndex,
}

impl Known {
    fn is(&self, survey: &Survey) -> bool {
        let listing = &survey.listing;
        match &self.links {
            Some(links) => *links == listing.links && self.index.proves_all(&listing.files),
            None => survey.revision() == self.revision,
        }
    }
}

/// What a look at the folder found.
enum Found {
    /// The store of another dagsync, of which the files in it are no DAGs.
    Store,
    /// What was brought before, and its revision.
    Known(Survey, Revision),
    /// Something else.
    New(Survey),
}

impl Folders {
    pub(crate) fn new(source: Arc<Source>) -> Self {
        Self { source, state: Mutex::default() }
    }

    /// The state that the folder is in and was still in; `None` when it is a store.
    pub(crate) async fn resolve(&self, cx: &SyncContext) -> Result<Option<Revision>> {
        let known = self.known(cx).await?;
        let was_there = known.is_some();
        let polled = if self.source.settings.fresh { Attributes::Fresh } else { Attributes::Cached };
        let first = match self.survey(cx, polled, known).await {
            Ok(Found::Store) => return Ok(None),
            Ok(Found::Known(survey, revision)) => {
                let mut state = self.lock();
                // The first time it is brought next, which need not look again.
                if !state.brought && (polled == Attributes::Fresh || !survey.root.is_network()) {
                    state.settled = Some((revision.clone(), survey));
                }
                return Ok(Some(revision));
            }
            // What a client of a network file system remembers is no half of a proof.
            Ok(Found::New(first)) => {
                Some(first).filter(|first| polled == Attributes::Fresh || !first.root.is_network())
            }
            Err(error) if may_pass(&error, was_there) => None,
            Err(error) => return Err(error),
        };
        let Some(survey) = self.settle(cx, first).await? else { return Ok(None) };
        let revision = survey.revision();
        self.lock().settled = Some((revision.clone(), survey));
        Ok(Some(revision))
    }

    pub(crate) async fn materialize(&self, cx: &SyncContext, revision: &Revision, staging: &Staging) -> Result<Tree> {
        let known = self.known(cx).await?;
        let settled = self.lock().settled.take().filter(|(settled, _)| settled == revision);
        let survey = match settled {
            Some((_, survey)) => survey,
            None => self.find_again(cx, revision, known.clone()).await?,
        };
        let (source, revision, staging, context) = (self.source.clone(), revision.clone(), staging.clone(), cx.clone());
        let bring = move |interrupt: &Interrupt| {
            let unknown = StatIndex::default();
            let index = known.as_ref().filter(|_| !context.thorough).map_or(&unknown, |known| &known.index);
            let leftover = source.partial.find(&survey.listing.watched).leftover;
            let leftover =
                leftover.map(|path| format!("{path} looks like an upload that was never finished; remove it"));
            let (index, tree) = match source.settings.mode {
                Mode::Copy if leftover.is_none() && is_previous(&survey, index, &context, interrupt)? => {
                    (index.clone(), Tree::Unchanged)
                }
                Mode::Copy => {
                    leftover.into_iter().for_each(|text| staging.warn(Warning::Other(text)));
                    (copy(&survey, index, &staging, interrupt)?, Tree::Staged)
                }
                Mode::InPlace => {
                    leftover.into_iter().for_each(|text| tracing::warn!("{text}"));
                    serve(&source.path, &survey, index, &context, interrupt)?
                }
            };
            let known = Known { revision, links: Some(survey.listing.links), index };
            known.save(&context.cache, &source.path);
            Ok((known, tree))
        };
        let (known, tree) = cx.blocking("materialize", bring).await?;
        let mut state = self.lock();
        state.known = Some(Arc::new(known));
        state.brought = true;
        Ok(tree)
    }

    /// What was read before, by this process or an earlier one.
    async fn known(&self, cx: &SyncContext) -> Result<Option<Arc<Known>>> {
        if !self.lock().loaded {
            let (source, cache) = (self.source.clone(), cx.cache.clone());
            let known = cx.blocking("read index", move |_| Ok(Known::load(&cache, &source.path))).await?;
            let mut state = self.lock();
            state.loaded = true;
            state.known = known.map(Arc::new);
        }
        Ok(self.lock().known.clone())
    }

    /// Lists the folder.
    async fn survey(&self, cx: &SyncContext, attributes: Attributes, known: Option<Arc<Known>>) -> Result<Found> {
        let (source, context) = (self.source.clone(), cx.clone());
        let list = move |interrupt: &Interrupt| {
            source.check(&context.cache)?;
            let watch = |path: &str| source.partial.matches(path);
            let SyncContext { filter, limits, .. } = &context;
            let walk = Walk { attributes, watch: Some(&watch), ..Walk::new(filter, limits, interrupt) };
            let is_store = |root: &Folder| Ok(source.settings.layout == Layout::Auto && store::lies_in(root)?);
            let root = survey::open(&source.path)?;
            // Once more after the walk: somebody may be making one.
            if is_store(&root)? {
                return Ok(Found::Store);
            }
            let survey = Survey::of(root, &walk)?;
            if is_store(&survey.root)? {
                return Ok(Found::Store);
            }
            Ok(match known.filter(|known| known.is(&survey)) {
                Some(known) => Found::Known(survey, known.revision.clone()),
                None => Found::New(survey),
            })
        };
        cx.blocking("list", list).await
    }

    /// Looks until two looks in a row find the same; `None` when a store appears.
    async fn settle(&self, cx: &SyncContext, first: Option<Survey>) -> Result<Option<Survey>> {
        let mut before = first;
        let mut was_there = true;
        let mut moving = None;
        loop {
            // There is nothing to wait for before a first look.
            if before.is_some() || moving.is_some() {
                let tick = before.as_ref().map_or(Duration::ZERO, Survey::tick);
                let pause = self.source.settings.settle.max(tick);
                if cx.interrupt.remaining().is_some_and(|remaining| remaining <= pause) {
                    return Err(self.never_still(moving));
                }
                let wait = async {
                    tokio::time::sleep(pause).await;
                    Ok(())
                };
                cx.interrupt.guard("settle", wait).await?;
            }
            match self.survey(cx, Attributes::Fresh, None).await {
                Ok(Found::Store) => return Ok(None),
                Ok(Found::Known(survey, _) | Found::New(survey)) => {
                    moving = match &before {
                        Some(before) => survey.moved(before).or_else(|| self.unfinished(&survey)),
                        None => moving,
                    };
                    if before.is_some() && moving.is_none() {
                        return Ok(Some(survey));
                    }
                    (before, was_there) = (Some(survey), true);
                }
                Err(error) if may_pass(&error, was_there) => {
                    was_there = error.kind() != ErrorKind::NotFound;
                    moving = Some(error.to_string());
                    before = None;
                }
                Err(error) if error.kind() == ErrorKind::Timeout && moving.is_some() => {
                    return Err(self.never_still(moving));
                }
                Err(error) => return Err(error),
            }
        }
    }

    fn unfinished(&self, survey: &Survey) -> Option<String> {
        let path = self.source.partial.find(&survey.listing.watched).unfinished?;
        Some(format!("{path} looks like an upload that is not finished"))
    }

    fn never_still(&self, moving: Option<String>) -> Error {
        let settle = humantime::format_duration(self.source.settings.settle);
        let message = format!("{} has not been still for {settle}", self.source.path.display());
        let error = Error::new(ErrorKind::Timeout, "settle", message);
        match moving {
            Some(what) => error.with_context("last", what).with_hint(
                "what is published stays; leave files that change all the time out with an exclude glob, remove what is \
                 left of an upload, or raise timeout",
            ),
            None => error.with_hint("there was no time to look twice: timeout must be longer than volume.settle"),
        }
    }

    /// The folder in the state `revision`, if it still or again is in it.
    async fn find_again(&self, cx: &SyncContext, revision: &Revision, known: Option<Arc<Known>>) -> Result<Survey> {
        let known = known.filter(|known| known.revision == *revision);
        let survey = match self.survey(cx, Attributes::Fresh, known).await? {
            Found::Known(survey, _) => Some(survey),
            Found::New(survey) => self.settle(cx, Some(survey)).await?,
            Found::Store => None,
        };
        if let Some(survey) = survey.filter(|survey| survey.revision() == *revision) {
            return Ok(survey);
        }
        let message = format!("{} is no longer in the state that was asked for", self.source.path.display());
        Err(Error::new(ErrorKind::Changed, "materialize", message).with_context("wanted", revision))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether it is what somebody does who replaces the folder: a tree that was there may be gone between two steps.
fn may_pass(error: &Error, was_there: bool) -> bool {
    error.kind() == ErrorKind::Changed || was_there && error.kind() == ErrorKind::NotFound
}

fn copy(survey: &Survey, known: &StatIndex, staging: &Staging, interrupt: &Interrupt) -> Result<StatIndex> {
    let copy = Copy { root: &survey.root, same: Same::Everything, staging, interrupt };
    let hashed = copy.stage(&survey.listing, |path, stat| known.proven(path.as_str(), stat))?;
    Ok(StatIndex::new(SETTLED, hashed))
}

/// Whether all that was found is known, and is the version before.
fn is_previous(survey: &Survey, known: &StatIndex, cx: &SyncContext, interrupt: &Interrupt) -> Result<bool> {
    let Some(previous) = &cx.previous else { return Ok(false) };
    if !known.proves_all(&survey.listing.files) {
        return Ok(false);
    }
    let tree = hash(survey, known, cx, interrupt)?;
    // Links that do not count are a matter of settings.
    Ok(tree.skipped.is_empty() && tree.manifest.version() == previous.version)
}

fn serve(
    path: &Path,
    survey: &Survey,
    known: &StatIndex,
    cx: &SyncContext,
    interrupt: &Interrupt,
) -> Result<(StatIndex, Tree)> {
    let mut tree = hash(survey, known, cx, interrupt)?;
    let index = std::mem::take(&mut tree.index);
    let found = InPlace { path: path.to_owned(), tree, expectation: Expectation::default() };
    Ok((index, Tree::InPlace(Box::new(found))))
}

fn hash(survey: &Survey, known: &StatIndex, cx: &SyncContext, interrupt: &Interrupt) -> Result<HashedTree> {
    let reading = Reading {
        filter: &cx.filter,
        limits: &cx.limits,
        symlinks: SymlinkPolicy::Skip,
        index: known,
        now: Some(SETTLED),
        interrupt,
        progress: &cx.progress,
    };
    hash_listing(&survey.root, survey.listing.clone(), Same::Everything, &reading)
}

impl Known {
    /// The files in the cache: digests with stats, and the revision that was read. Each source has its own.
    fn paths(cache: &Path, source: &Path) -> (PathBuf, PathBuf) {
        let name = Digest::of(source.as_os_str().as_encoded_bytes()).to_string();
        (cache.join(format!("index-{name:.16}")), cache.join(format!("revision-{name:.16}")))
    }

    fn load(cache: &Path, source: &Path) -> Option<Self> {
        const REVISION_MAX: u64 = 1024;
        let (index, revision) = Self::paths(cache, source);
        let index = StatIndex::load(&index);
        let revision = fs::read(&revision, REVISION_MAX).ok().flatten().unwrap_or_default();
        let revision = Revision::new(String::from_utf8(revision).unwrap_or_default());
        (!index.is_empty()).then_some(Self { revision, links: None, index })
    }

    /// The index goes before the revision that says that it is whole.
    fn save(&self, cache: &Path, source: &Path) {
        let (index, revision) = Self::paths(cache, source);
        let saved =
            self.index.save(&index).and_then(|()| fs::write_atomic(&revision, self.revision.as_str().as_bytes()));
        if let Err(error) = saved {
            tracing::warn!(%error, "after a restart every file is read again");
        }
    }
}
