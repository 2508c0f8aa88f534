//! The image strategy: DAGs that were baked into an image, sealed when it was built and verified where they run.
//!
//! Nothing is published. What is in the image is hashed, compared with its seal, and with what somebody else says that it
//! should be: a version, another daemon, the label of an image in a registry.
#![cfg_attr(test, allow(clippy::disallowed_methods, reason = "tests look at files with other means than the code"))]

mod expect;
mod http;
pub mod registry;
mod seal;
mod settings;
mod sign;

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use dagsync_core::fs::Folder;
use dagsync_core::index::{Nanos, StatIndex};
use dagsync_core::tree::Reading;
use dagsync_core::{
    Error, ErrorKind, Expectation, Factory, HashedTree, InPlace, Interrupt, Outcome, Result, Revision, SealState, Spec,
    Staging, Strategy, SymlinkPolicy, SyncContext, Tree, Version, Warning, async_trait, fs, hash_tree,
};

pub use expect::{Expect, LABEL, Wanted};
pub use seal::{FOLDER, Seal, Sealed};
use settings::Settings;
pub use sign::{Key, Signer};

/// The image strategy.
pub const FACTORY: Factory = Factory {
    name: "image",
    about: "DAGs baked into the image, verified where they lie",
    settings: settings::TABLE,
    infers: |source| source.starts_with(SCHEME),
    build,
};

const SCHEME: &str = "image:";
const UNSEALED: &str = "unsealed";
/// What to do about a tree that is not what was sealed.
const MEND: &str = "somebody changed what was built: replace the pod";

fn build(spec: &Spec<'_>) -> Result<Arc<dyn Strategy>> {
    let path = PathBuf::from(spec.source.strip_prefix(SCHEME).unwrap_or(spec.source));
    if !path.is_absolute() {
        return Err(Error::new(ErrorKind::Config, "read source", format!("{:?} is not an absolute path", spec.source))
            .with_hint("write it as image:/opt/airflow/dags"));
    }
    let settings = Settings::of(spec)?;
    let expect = settings.expect()?;
    Ok(Arc::new(Image { path, settings, expect, state: Arc::default() }))
}

struct Image {
    path: PathBuf,
    settings: Settings,
    expect: Option<Expect>,
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    /// What was read, for the next check.
    index: StatIndex,
    /// What somebody said last, and when.
    said: Option<(Wanted, Instant)>,
}

impl fmt::Display for Image {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{SCHEME}{}", dagsync_core::printable(&self.path))
    }
}

impl fmt::Debug for Image {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Image").field("path", &self.path).finish_non_exhaustive()
    }
}

#[async_trait]
impl Strategy for Image {
    async fn resolve(&self, cx: &SyncContext) -> Result<Revision> {
        let (path, key_file) = (self.path.clone(), self.settings.key_file.clone());
        let read = move |_: &Interrupt| Ok(Found::read(&path, key_file.as_deref())?.revision());
        cx.blocking("read seal", read).await
    }

    fn is_reread(&self) -> bool {
        true
    }

    fn is_in_place(&self) -> bool {
        true
    }

    async fn materialize(&self, cx: &SyncContext, revision: &Revision, _: &Staging) -> Result<Tree> {
        let (path, key_file) = (self.path.clone(), self.settings.key_file.clone());
        let (state, context, revision) = (self.state.clone(), cx.clone(), revision.clone());
        let check = move |interrupt: &Interrupt| {
            let found = Found::read(&path, key_file.as_deref())?;
            if found.revision() != revision {
                let message = format!("the seal of {} is another now", path.display());
                return Err(Error::new(ErrorKind::Changed, "read seal", message));
            }
            found.check_globs(&context)?;
            let mut tree = hash(&path, &lock(&state).index, &context, interrupt)?;
            lock(&state).index = std::mem::take(&mut tree.index);
            Ok((tree, found.state()?))
        };
        let (tree, seal) = cx.blocking("verify", check).await?;
        let (wanted, warnings) = self.wanted(cx).await?;
        let expectation = Expectation { seal, wanted, mend: MEND, warnings };
        Ok(Tree::InPlace(Box::new(InPlace { path: self.path.clone(), tree, expectation })))
    }
}

impl Image {
    /// What the image should hold, and who says so. While nobody answers, what was said last counts.
    async fn wanted(&self, cx: &SyncContext) -> Result<(Option<(Version, String)>, Vec<Warning>)> {
        let Some(expect) = &self.expect else { return Ok((None, Vec::new())) };
        let known = lock(&self.state).said.clone();
        let is_fresh =
            |at: &Instant| matches!(expect, Expect::Image(..)) && at.elapsed() < self.settings.expect_interval;
        let mut warnings = Vec::new();
        let said = match known {
            Some((said, at)) if is_fresh(&at) => Some(said),
            known => match expect.ask(&cx.interrupt).await {
                Ok(said) => {
                    cx.tally.count("expect", Outcome::Success);
                    lock(&self.state).said = Some((said.clone(), Instant::now()));
                    Some(said)
                }
                Err(error) if error.kind() == ErrorKind::Cancelled => return Err(error),
                Err(error) => {
                    cx.tally.count("expect", Outcome::Error);
                    let stays = if known.is_some() { "what was said before counts" } else { "nothing is compared" };
                    warnings.push(Warning::Other(format!("what the image should hold is not known, {stays}: {error}")));
                    known.map(|(said, _)| said)
                }
            },
        };
        let Some(said) = said else { return Ok((None, warnings)) };
        if said.filter_hash.as_ref().is_some_and(|hash| *hash != cx.filter.hash().to_string()) {
            warnings.push(Warning::Other(format!("{expect} reads its tree under other globs, so it is not compared")));
            return Ok((None, warnings));
        }
        Ok((Some((said.version, expect.to_string())), warnings))
    }
}

/// The seal of a folder, as far as there is one.
enum Found {
    Sealed(Box<Sealed>),
    Unsealed,
    /// It is no good.
    Broken(Error),
}

impl Found {
    fn read(path: &Path, key_file: Option<&Path>) -> Result<Self> {
        let key = key_file.map(Key::read).transpose()?;
        if fs::resolve(path)?.is_none() {
            return Err(Error::new(ErrorKind::NotFound, "read seal", format!("{} is not there", path.display()))
                .with_hint("give the folder in the image that holds the DAGs, as image:/opt/airflow/dags"));
        }
        match Sealed::read(path, key.as_ref()) {
            Ok(Some(sealed)) => Ok(Self::Sealed(Box::new(sealed))),
            Ok(None) => Ok(Self::Unsealed),
            Err(error) if matches!(error.kind(), ErrorKind::Mismatch | ErrorKind::Untrusted) => Ok(Self::Broken(error)),
            Err(error) => Err(error),
        }
    }

    fn revision(&self) -> Revision {
        Revision::new(match self {
            Self::Sealed(sealed) => sealed.seal.revision.clone().unwrap_or_else(|| sealed.seal.version.to_string()),
            Self::Unsealed | Self::Broken(_) => UNSEALED.to_owned(),
        })
    }

    /// Other globs make another version of the same tree.
    fn check_globs(&self, cx: &SyncContext) -> Result<()> {
        let Self::Sealed(sealed) = self else { return Ok(()) };
        if sealed.filter()?.hash() == cx.filter.hash() {
            return Ok(());
        }
        let Seal { include, exclude, .. } = &sealed.seal;
        Err(Error::new(ErrorKind::Config, "verify", "the tree was sealed under other globs than this daemon's")
            .with_hint(format!("set include to {include:?} and exclude to {exclude:?}")))
    }

    fn state(self) -> Result<SealState> {
        Ok(match self {
            Self::Sealed(sealed) => {
                let links = sealed.links()?;
                SealState::Of(sealed.manifest, links)
            }
            Self::Unsealed => SealState::Missing,
            Self::Broken(error) => SealState::Broken(error.to_string()),
        })
    }
}

fn hash(path: &Path, known: &StatIndex, cx: &SyncContext, interrupt: &Interrupt) -> Result<HashedTree> {
    let unknown = StatIndex::default();
    let reading = Reading {
        filter: &cx.filter,
        limits: &cx.limits,
        symlinks: SymlinkPolicy::Skip,
        index: if cx.thorough { &unknown } else { known },
        now: a_moment_ago(),
        interrupt,
        progress: &cx.progress,
    };
    hash_tree(&Folder::open(path)?, &reading)
}

/// The file system of a container is of this host and stamps by this host's clock, in steps far below a second. It may be
/// read-only, so it cannot be asked by writing to it.
fn a_moment_ago() -> Option<Nanos> {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).ok()?;
    Nanos::try_from(now.saturating_sub(Duration::from_secs(1)).as_nanos()).ok()
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}
