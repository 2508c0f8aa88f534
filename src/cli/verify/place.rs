//! Where a tree lies, under which globs it is read, and what this host knows of what it should be.

use std::path::{Path, PathBuf};

use dagsync_core::fs::Folder;
use dagsync_core::{Manifest, Result, Version};

use super::image::{self, Seal};
use crate::cli::args::{Globs, VerifyArgs};
use crate::cli::tree::{manifest_file, published};
use crate::store::Store;

pub(super) struct Place {
    pub(super) dir: PathBuf,
    pub(super) globs: Globs,
    /// The root of the store that it lies in.
    pub(super) store: Option<PathBuf>,
    /// As its store, its seal or a file says.
    pub(super) manifest: Option<Manifest>,
    /// As its seal says.
    pub(super) version: Option<Version>,
    /// What is wrong with its seal.
    pub(super) faults: Vec<String>,
    pub(super) seal: Seal,
}

/// Blocks.
pub(super) fn find(args: &VerifyArgs) -> Result<Place> {
    let store = Store::find(&args.dir, args.link.as_deref());
    // A folder that is sealed or should be is no store, whatever else somebody put into it.
    if !image::is_sealed(args) && store.exists() {
        return in_store(args, &store);
    }
    let mut place = Place {
        dir: args.dir.clone(),
        globs: args.globs.clone(),
        store: None,
        manifest: args.manifest.as_deref().map(manifest_file).transpose()?,
        version: None,
        faults: Vec::new(),
        seal: Seal::default(),
    };
    if place.manifest.is_none() {
        image::unseal(args, &mut place)?;
    }
    Ok(place)
}

fn in_store(args: &VerifyArgs, store: &Store) -> Result<Place> {
    let (folder, own) = published(store)?;
    let manifest = match &args.manifest {
        Some(file) => Some(manifest_file(file)?),
        // Another version's manifest says nothing about the files of this one.
        None => Some(own).filter(|m| args.expect.is_none_or(|version| version == m.version())),
    };
    Ok(Place {
        dir: store.folder_path(&folder),
        globs: args.globs.clone(),
        store: Some(args.dir.clone()),
        manifest,
        version: None,
        faults: Vec::new(),
        seal: Seal::default(),
    })
}

/// What lies beside the link of a store at `root` and looks like DAGs, which nobody reads there, unless the folder is not the
/// store that it looks like.
pub(super) fn beside(root: &Path) -> Option<String> {
    let names = Folder::open(root).and_then(|folder| folder.names()).unwrap_or_default();
    let dag = names.iter().find(|entry| entry.name.as_encoded_bytes().ends_with(b".py"))?;
    let name = dagsync_core::printable(&dag.name);
    Some(format!("{} is a store, so what lies beside its link is not verified, such as {name}", root.display()))
}
