//! The git strategy: a branch, a tag or a commit of a git repository as the source.
//!
//! `resolve` asks the server for its references and nothing else. `materialize` keeps a bare repository for each URL
//! in its cache, fetches the commit into it (shallow) and stages the commit's tree straight from the object database:
//! there is no checkout, and a blob whose SHA-256 is known and that the version before holds is neither inflated nor
//! hashed.

mod app;
mod askpass;
mod attributes;
mod auth;
mod blobs;
mod cache;
mod cookies;
mod credentials;
mod environment;
mod errors;
mod gitconfig;
mod hosts;
mod libgit;
mod location;
mod materialize;
mod plan;
mod proxy;
mod refs;
mod remote;
mod secret;
mod settings;
mod sparse;
mod submodules;
mod verify;
mod web;

use std::collections::HashMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use dagsync_core::{
    Error, ErrorKind, Factory, Interrupt, Result, Revision, Spec, Staging, Strategy, SyncContext, Tree, Version,
    async_trait, worded,
};
use git2::Oid;

use crate::app::Tokens;
use crate::cache::Cache;
use crate::gitconfig::GitConfig;
use crate::location::Location;
use crate::remote::Network;
use crate::settings::{ServerCheck, Settings};

/// The git strategy.
pub const FACTORY: Factory =
    Factory { name: "git", about: "a git repository", settings: settings::TABLE, infers: location::is_git, build };

fn build(spec: &Spec<'_>) -> Result<Arc<dyn Strategy>> {
    let source = Source::new(spec.source, spec.settings()?)?;
    for (key, reason) in &source.config.ignored {
        tracing::warn!(key, reason = %worded(reason), "{}", worded("this key of git.config means nothing here"));
    }
    if !source.location.is_file() {
        for sentence in environment::unread(&source.settings, |name| std::env::var(name).ok()) {
            tracing::warn!("{sentence}");
        }
    }
    if !source.verifies(&source.location) {
        tracing::warn!(
            "the certificate of the git server is not checked: whoever can answer in its place decides what Airflow runs"
        );
    }
    Ok(Arc::new(Git(Arc::new(source))))
}

/// What is synced, and how.
struct Source {
    location: Location,
    settings: Settings,
    /// What `git.config` says.
    config: GitConfig,
    /// Those of the GitHub App.
    tokens: Tokens,
    /// The keys for ssh that were let in, by the name of the repository's cache.
    keys: Mutex<HashMap<String, PathBuf>>,
}

impl Source {
    fn new(source: &str, settings: Settings) -> Result<Self> {
        settings.check()?;
        let config = GitConfig::parse(&settings.config)?;
        let location = Location::parse(&config.rewrite(source))?;
        Ok(Self { location, settings, config, tokens: Tokens::default(), keys: Mutex::default() })
    }

    /// Whether the certificate of the server must be good.
    fn verifies(&self, location: &Location) -> bool {
        self.settings.tls_check == ServerCheck::Strict && self.config.verifies(location)
    }

    fn ca_file(&self) -> Option<&Path> {
        self.settings.ca_file.as_deref().or(self.config.ca_file.as_deref())
    }

    /// The proxy that is configured for what lies there.
    fn proxy(&self, location: &Location) -> Option<&str> {
        self.config.proxy(location).filter(|_| location.is_http() || location.is_https())
    }
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

    fn resolve_ahead(&self, cx: &SyncContext, interrupt: &Interrupt) -> Result<Oid> {
        let network = Network { source: self, cx, interrupt };
        // A cache that cannot be used is for `materialize` to mend.
        match Cache::new(&materialize::repositories(cx), &self.location).fill(&network, &self.location) {
            Some(chosen) => chosen,
            None => self.resolve(cx, interrupt),
        }
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

    async fn resolve_ahead(&self, cx: &SyncContext) -> Result<Revision> {
        if self.0.location.is_file() || refs::commit_id(&self.0.settings.reference)?.is_some() {
            return self.resolve(cx).await;
        }
        let (source, context) = (self.0.clone(), cx.clone());
        let commit = cx.blocking("resolve", move |interrupt| source.resolve_ahead(&context, interrupt)).await?;
        Ok(Revision::new(commit.to_string()))
    }

    async fn find(
        &self,
        _: &SyncContext,
        version: Option<&Version>,
        revision: Option<&Revision>,
    ) -> Result<Option<Revision>> {
        let Some(revision) = revision else { return Ok(None) };
        match refs::commit_id(revision.as_str()) {
            Ok(Some(commit)) => Ok(Some(Revision::new(commit.to_string()))),
            // What another strategy calls that version.
            _ if version.is_some() => Ok(None),
            _ => Err(Error::new(ErrorKind::Config, "find", format!("{revision} is not a full commit id"))
                .with_hint("give all of its digits; a branch or a tag belongs in git.ref")),
        }
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
