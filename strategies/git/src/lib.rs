//! The git strategy: a branch, a tag or a commit of a git repository as the source.
//!
//! `resolve` asks the server for its references and nothing else. `materialize` keeps a bare repository for each URL
//! in its cache, fetches the commit into it (shallow) and stages the commit's tree straight from the object database:
//! there is no checkout, and a blob whose SHA-256 is known and that the version before holds is neither inflated nor
//! hashed.

mod auth;
mod blobs;
mod cache;
mod errors;
mod libgit;
mod location;
mod materialize;
mod plan;
mod proxy;
mod refs;
mod remote;
mod settings;
mod submodules;
mod verify;

use std::fmt;
use std::sync::Arc;

use dagsync_core::{
    Error, ErrorKind, Factory, Interrupt, Result, Revision, Spec, Staging, Strategy, SyncContext, Tree, async_trait,
};
use git2::Oid;

use crate::location::Location;
use crate::remote::Network;
use crate::settings::Settings;

/// The git strategy.
pub const FACTORY: Factory =
    Factory { name: "git", about: "a git repository", settings: settings::TABLE, infers: location::is_git, build };

fn build(spec: &Spec<'_>) -> Result<Arc<dyn Strategy>> {
    let settings: Settings = spec.settings()?;
    settings.check()?;
    let location = Location::parse(spec.source)?;
    Ok(Arc::new(Git(Arc::new(Source { location, settings }))))
}

/// What is synced, and how.
struct Source {
    location: Location,
    settings: Settings,
}

#[derive(Clone)]
struct Git(Arc<Source>);

impl fmt::Display for Git {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0.location)?;
        match self.0.settings.subpath() {
            "" => Ok(()),
            subpath => write!(f, " (subpath {subpath})"),
        }
    }
}

impl fmt::Debug for Git {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Git").field("source", &self.0.location).field("ref", &self.0.settings.reference).finish()
    }
}

impl Source {
    fn resolve(&self, cx: &SyncContext, interrupt: &Interrupt) -> Result<Oid> {
        let heads = Network { source: self, cx, interrupt }.heads(&self.location)?;
        refs::choose(&heads, &self.settings.reference, &self.location)
    }
}

#[async_trait]
impl Strategy for Git {
    async fn resolve(&self, cx: &SyncContext) -> Result<Revision> {
        if let Some(commit) = refs::commit_id(&self.0.settings.reference)? {
            return Ok(Revision::new(commit.to_string()));
        }
        let (source, context) = (self.0.clone(), cx.clone());
        let commit = cx.blocking("resolve", move |interrupt| source.resolve(&context, interrupt)).await?;
        Ok(Revision::new(commit.to_string()))
    }

    async fn materialize(&self, cx: &SyncContext, revision: &Revision, staging: &Staging) -> Result<Tree> {
        let commit = refs::commit_id(revision.as_str())?.ok_or_else(|| {
            Error::new(ErrorKind::NotFound, "materialize", format!("{revision} is not a full commit id"))
        })?;
        let (source, context, staging) = (self.0.clone(), cx.clone(), staging.clone());
        let work =
            move |interrupt: &Interrupt| materialize::materialize(&source, &context, interrupt, commit, &staging);
        cx.blocking("materialize", work).await?;
        Ok(Tree::Staged)
    }
}
