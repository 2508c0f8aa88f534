//! Where a tree's manifest can be had: a folder, a store, a manifest file, a daemon.

use std::path::{Path, PathBuf};

use dagsync_core::fs::{self, Folder};
use dagsync_core::index::StatIndex;
use dagsync_core::tree::{HashedTree, Reading};
use dagsync_core::{
    Error, ErrorKind, Filter, Interrupt, Limits, Manifest, Progress, Result, SymlinkPolicy, Version, blocking,
    hash_tree,
};

use super::answer::warn;
use super::args::Globs;
use super::progress::Bar;
use crate::client::Client;
use crate::config::ClientSettings;
use crate::store::Store;

/// A look at a tree copies nothing, so it may be larger than what is published by default.
const LIMITS: Limits = Limits { files: 10_000_000, bytes: 1 << 50, file_bytes: 1 << 50, path_bytes: 4096, depth: 1024 };
const MAX_MANIFEST: u64 = 1 << 30;

/// Reads every file of `dir` that `index` does not prove, with a progress line.
pub(super) async fn read_folder(
    dir: &Path,
    globs: &Globs,
    index: Option<PathBuf>,
    interrupt: &Interrupt,
) -> Result<HashedTree> {
    let tree = read_with(dir, globs, index, interrupt, hash_tree).await?;
    tree.skipped.iter().for_each(warn);
    Ok(tree)
}

/// The same with a way to read of the caller's, and no word of links that do not count.
pub(super) async fn read_with(
    dir: &Path,
    globs: &Globs,
    index: Option<PathBuf>,
    interrupt: &Interrupt,
    read: impl FnOnce(&Folder, &Reading<'_>) -> Result<HashedTree> + Send + 'static,
) -> Result<HashedTree> {
    let filter = Filter::new(&globs.include, &globs.exclude)?;
    let dir = dir.to_owned();
    let work = move |interrupt: &Interrupt| {
        let progress = Progress::default();
        let _bar = Bar::of(&progress);
        let folder = Folder::open(dir)?;
        let known = index.as_deref().map(StatIndex::load).unwrap_or_default();
        let now = index.as_deref().map(|path| clock(path, &folder)).transpose()?.flatten();
        let symlinks = SymlinkPolicy::Skip;
        let reading =
            Reading { filter: &filter, limits: &LIMITS, symlinks, index: &known, now, interrupt, progress: &progress };
        let tree = read(&folder, &reading)?;
        if let Some(path) = index.filter(|_| tree.files_read > 0) {
            tree.index.save(&path)?;
        }
        Ok(tree)
    };
    blocking(interrupt, "hash", work).await
}

/// The time on the file system that holds the tree, asked for beside the index: the tree itself is never written to.
fn clock(index: &Path, tree: &Folder) -> Result<Option<dagsync_core::index::Nanos>> {
    let beside = index.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    if Folder::open(beside)?.stat(".")?.device != tree.stat(".")?.device {
        warn(format!("{} lies on another file system than the folder, so it proves nothing", index.display()));
        return Ok(None);
    }
    dagsync_core::index::file_system_now(beside).map(Some)
}

/// One tree, however it was named.
#[derive(Debug)]
pub(super) struct Named {
    /// As the user wrote it, without secrets.
    pub(super) name: String,
    pub(super) manifest: Manifest,
    /// Where it is known.
    pub(super) filter_hash: Option<String>,
}

impl Named {
    /// The manifest of what `name` names.
    pub(super) async fn read(
        name: &str,
        globs: &Globs,
        link: Option<&str>,
        client: &ClientSettings,
        interrupt: &Interrupt,
    ) -> Result<Self> {
        if is_url(name) {
            return interrupt.guard("ask", Self::daemon(name, client)).await;
        }
        let path = Path::new(name);
        let store = Store::find(path, link);
        let (manifest, filter_hash) = if store.exists() {
            let (_, manifest) = published(&store)?;
            (manifest, store.state().map(|s| s.filter_hash))
        } else if is_folder(path)? {
            let filter = Filter::new(&globs.include, &globs.exclude)?;
            (read_folder(path, globs, None, interrupt).await?.manifest, Some(filter.hash().to_string()))
        } else {
            (manifest_file(path)?, None)
        };
        Ok(Self { name: name.to_owned(), manifest, filter_hash: filter_hash.filter(|hash| !hash.is_empty()) })
    }

    async fn daemon(url: &str, client: &ClientSettings) -> Result<Self> {
        let client = Client::new(url, client)?;
        let (version, filter_hash) = client.published().await?;
        let manifest = client.manifest(&version).await?;
        Ok(Self { name: crate::config::redact_url(url), manifest, filter_hash })
    }
}

/// Whether `name` is a daemon's address.
pub(super) fn is_url(name: &str) -> bool {
    name.starts_with("http://") || name.starts_with("https://")
}

/// The version that a store's link names, and its manifest.
pub(super) fn published(store: &Store) -> Result<(crate::store::FolderName, Manifest)> {
    let folder = store.current()?.ok_or_else(|| nothing(&store.root().display().to_string()))?;
    let manifest = store.manifest(&folder.version())?.ok_or_else(|| missing_manifest(&folder.version()))?;
    Ok((folder, manifest))
}

/// The manifest in a file, as `dagsync hash --manifest` or a sorted `sha256sum` writes it.
pub(super) fn manifest_file(path: &Path) -> Result<Manifest> {
    let absent = || Error::new(ErrorKind::NotFound, "read manifest", format!("there is no {}", path.display()));
    let bytes = fs::read_given(path, MAX_MANIFEST)?.ok_or_else(absent)?;
    Manifest::parse(&bytes)
        .map_err(|e| e.with_context("file", path.display()).with_hint("make it with `dagsync hash DIR --manifest`"))
}

fn is_folder(path: &Path) -> Result<bool> {
    match Folder::open(path) {
        Ok(_) => Ok(true),
        Err(e) if e.raw_os_error() == Some(rustix::io::Errno::NOTDIR.raw_os_error()) => Ok(false),
        Err(e) => Err(e),
    }
}

pub(super) fn nothing(place: &str) -> Error {
    let place = crate::config::redact_url(place);
    Error::new(ErrorKind::NotFound, "read version", format!("{place} has no published version yet")).with_hint(
        "run a sync there, or check --link; of DAGs that are served in their place, ask the daemon by its URL",
    )
}

fn missing_manifest(version: &Version) -> Error {
    Error::new(ErrorKind::Corrupt, "read manifest", format!("the store has no manifest of {version}"))
        .with_hint("the next sync writes it anew")
}
