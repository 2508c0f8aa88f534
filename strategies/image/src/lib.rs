//! The image strategy: DAGs that were baked into an image, sealed when it was built and verified where they run.
//!
//! Nothing is published. What is in the image is hashed, compared with its seal, and with what somebody else says that it
//! should be: a version, another daemon, the label of an image in a registry.
#![cfg_attr(test, allow(clippy::disallowed_methods, reason = "tests look at files with other means than the code"))]

mod expect;
mod found;
mod hidden;
mod http;
mod look;
pub mod registry;
mod seal;
mod settings;
mod sign;

use std::fmt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use dagsync_core::index::{Nanos, StatIndex};
use dagsync_core::{
    Error, ErrorKind, Expectation, Factory, InPlace, Outcome, Result, Revision, Spec, Staging, Strategy, SyncContext,
    Tree, Version, Warning, async_trait,
};

pub use expect::{DaemonAccess, Expect, LABEL, Wanted};
use found::Look;
pub use look::{Links, read};
pub use seal::{FOLDER, Seal, Sealed, is_sealed};
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
const UNKNOWN: &str = "unknown";
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
    /// It was found as it was sealed. What is missing since then was removed.
    was_sealed: bool,
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
        let look = self.look();
        cx.blocking("read seal", move |_| Ok(look.seal()?.revision())).await
    }

    fn is_reread(&self) -> bool {
        true
    }

    fn is_in_place(&self) -> bool {
        true
    }

    async fn materialize(&self, cx: &SyncContext, revision: &Revision, _: &Staging) -> Result<Tree> {
        let (look, context, revision) = (self.look(), cx.clone(), revision.clone());
        let (tree, seal) = cx.blocking("verify", move |interrupt| look.verify(&context, &revision, interrupt)).await?;
        let (wanted, warnings) = self.wanted(cx).await?;
        let expectation = Expectation { seal, wanted, mend: MEND, warnings };
        Ok(Tree::InPlace(Box::new(InPlace { path: self.path.clone(), tree, expectation })))
    }
}

impl Image {
    fn look(&self) -> Look {
        let key_file = self.settings.key_file.clone();
        // A version that is expected says nothing of links.
        let is_vouched = key_file.is_some() || self.expect.is_none();
        let links = if is_vouched { Links::AsSealed } else { Links::Unvouched };
        Look { path: self.path.clone(), key_file, links, state: self.state.clone() }
    }

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

/// The file system of a container is of this host and stamps by this host's clock, in steps far below a second. It may be
/// read-only, so it cannot be asked by writing to it.
fn a_moment_ago() -> Option<Nanos> {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).ok()?;
    Nanos::try_from(now.saturating_sub(Duration::from_secs(1)).as_nanos()).ok()
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}
