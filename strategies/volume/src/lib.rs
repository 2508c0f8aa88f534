//! The volume strategy: a folder on a shared volume (EFS, NFS, any mount) as the source, or the store that another dagsync
//! keeps there.
//!
//! A folder that people and tools copy into is read only when it has been still, see `survey`. A store is followed by its
//! link, and every file of it is compared with its manifest.
#![cfg_attr(test, allow(clippy::disallowed_methods, reason = "tests look at files with other means than the code"))]

mod folder;
mod mount;
mod partial;
mod settings;
mod store;
mod survey;

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use dagsync_core::{
    Error, ErrorKind, Factory, Result, Revision, Spec, Staging, Strategy, SyncContext, Tree, async_trait, fs,
};

use crate::folder::Folders;
use crate::partial::Partial;
use crate::settings::{Layout, Mode, Settings};
use crate::store::Stores;

/// The volume strategy.
pub const FACTORY: Factory = Factory {
    name: "volume",
    about: "a folder on a shared volume, or a dagsync store there",
    settings: settings::TABLE,
    infers: is_path,
    build,
};

const SCHEME: &str = "volume:";

fn is_path(source: &str) -> bool {
    source.starts_with(SCHEME) || ["/", "./", "../"].iter().any(|start| source.starts_with(start)) || source == "."
}

fn build(spec: &Spec<'_>) -> Result<Arc<dyn Strategy>> {
    let settings = Settings::of(spec)?;
    let partial = Partial::new(&settings.partial, settings.partial_age)?;
    let path = std::path::absolute(spec.source.strip_prefix(SCHEME).unwrap_or(spec.source)).map_err(|e| {
        Error::new(ErrorKind::Config, "read source", format!("{:?} is no path", spec.source)).with_source(e)
    })?;
    let source = Arc::new(Source { path, settings, partial });
    let (folders, stores) = (Folders::new(source.clone()), Stores::new(source.clone()));
    Ok(Arc::new(Volume { source, folders, stores, was_store: AtomicBool::new(false) }))
}

/// What is read, and how.
#[derive(Debug)]
struct Source {
    path: PathBuf,
    settings: Settings,
    partial: Partial,
}

impl Source {
    /// What must hold before anything is read: the volume is there, and what dagsync writes is not below it.
    fn check(&self, cache: &Path) -> Result<()> {
        mount::require(&self.path, &self.settings.require_mount)?;
        let real = fs::resolve(&self.path)?;
        if let (Some(source), Some(cache)) = (real, fs::resolve(cache)?)
            && cache.starts_with(&source)
        {
            let message = format!("the store's folder lies in its own source, {}", self.path.display());
            return Err(Error::new(ErrorKind::Config, "check volume", message)
                .with_hint("set root to a folder outside of it; what dagsync writes must not become a DAG"));
        }
        Ok(())
    }
}

struct Volume {
    source: Arc<Source>,
    folders: Folders,
    stores: Stores,
    /// Of the layout `auto`: a store was there, so what lies beside it are no DAGs.
    was_store: AtomicBool,
}

impl fmt::Display for Volume {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&dagsync_core::printable(&self.source.path))
    }
}

impl fmt::Debug for Volume {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Volume").field("source", &self.source.path).finish_non_exhaustive()
    }
}

#[async_trait]
impl Strategy for Volume {
    async fn resolve(&self, cx: &SyncContext) -> Result<Revision> {
        let layout = self.source.settings.layout;
        if layout != Layout::Store && !self.was_store.load(Relaxed) {
            if let Some(revision) = self.folders.resolve(cx).await? {
                return Ok(revision);
            }
            self.was_store.store(true, Relaxed);
        }
        self.stores.resolve(cx).await
    }

    fn is_reread(&self) -> bool {
        true
    }

    fn is_in_place(&self) -> bool {
        self.source.settings.mode == Mode::InPlace
    }

    async fn materialize(&self, cx: &SyncContext, revision: &Revision, staging: &Staging) -> Result<Tree> {
        if survey::is_of_folder(revision) {
            self.folders.materialize(cx, revision, staging).await
        } else {
            self.stores.materialize(cx, revision, staging).await
        }
    }
}

#[cfg(test)]
mod tests {
    use super::is_path;

    #[test]
    fn a_path_implies_this_strategy_and_a_url_does_not() {
        for path in ["/mnt/efs/dags", "./dags", "../dags", ".", "volume:/mnt/efs", "volume:dags"] {
            assert!(is_path(path), "{path}");
        }
        for other in ["s3://b/p", "https://h/x.git", "git@h:p", "file:///x", "dags", "image:/x", ""] {
            assert!(!is_path(other), "{other}");
        }
    }
}
