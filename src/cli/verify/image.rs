//! What a seal, another daemon and a registry say.

use std::path::PathBuf;
use std::sync::Arc;

use dagsync_core::fs::Folder;
use dagsync_core::links::Links;
use dagsync_core::tree::Reading;
use dagsync_core::{Error, ErrorKind, Filter, HashedTree, Interrupt, Registry, Result, Version};
use dagsync_strategy_image::registry::Access;
use dagsync_strategy_image::{DaemonAccess, Expect, Key, Links as Vouched, Sealed, read as read_tree};

use super::place::Place;
use crate::cli::args::{Globs, VerifyArgs};
use crate::config;

/// The seal of a folder, if it has a good one, and who vouches for its links.
#[derive(Clone)]
pub(super) struct Seal {
    sealed: Option<Arc<Sealed>>,
    links: Vouched,
}

impl Default for Seal {
    fn default() -> Self {
        Self { sealed: None, links: Vouched::AsSealed }
    }
}

impl Seal {
    /// The links that are known. Those that nobody vouches for are told as odd where the tree is read.
    pub(super) fn links(&self, tree: &HashedTree) -> Result<Links> {
        match &self.sealed {
            Some(sealed) if self.links == Vouched::AsSealed => sealed.links(),
            _ => Ok(tree.links.clone()),
        }
    }
}

/// Whether the folder is sealed, or should be.
pub(super) fn is_sealed(args: &VerifyArgs) -> bool {
    let image = &args.image;
    image.key.is_some() || image.expect_image.is_some() || dagsync_strategy_image::is_sealed(&args.dir)
}

/// Notes what the seal of the folder says.
pub(super) fn unseal(args: &VerifyArgs, place: &mut Place) -> Result<()> {
    let key = args.image.key.as_deref().map(Key::read).transpose()?;
    let is_anchored = args.expect.is_some() || args.image.expect_from.is_some() || args.image.expect_image.is_some();
    if is_anchored && key.is_none() {
        place.seal.links = Vouched::Unvouched;
    }
    let sealed = match Sealed::read(&args.dir, key.as_ref()) {
        Ok(Some(sealed)) => sealed,
        Ok(None) => return Ok(()),
        Err(error) if matches!(error.kind(), ErrorKind::Mismatch | ErrorKind::Untrusted) => {
            place.faults.push(error.to_string());
            return Ok(());
        }
        Err(error) => return Err(error),
    };
    let Globs { include, exclude } = &args.globs;
    let is_given = !include.is_empty() || !exclude.is_empty();
    if Filter::new(include, exclude)?.hash() != sealed.filter()?.hash() {
        // A seal that nobody signed must not say which files are left out of a comparison with what somebody else expects.
        if is_given || is_anchored && key.is_none() {
            place.faults.push(other_globs(&sealed, &args.globs));
        } else {
            place.globs = Globs { include: sealed.seal.include.clone(), exclude: sealed.seal.exclude.clone() };
        }
    }
    if args.expect.is_none() {
        place.version = Some(sealed.seal.version);
    }
    place.manifest = Some(sealed.manifest.clone());
    place.seal.sealed = Some(Arc::new(sealed));
    Ok(())
}

fn other_globs(sealed: &Sealed, own: &Globs) -> String {
    let text = |include: &[String], exclude: &[String]| {
        let flag = |name: &'static str| move |glob: &String| format!("--{name} {glob:?}");
        let flags: Vec<_> = include.iter().map(flag("include")).chain(exclude.iter().map(flag("exclude"))).collect();
        if flags.is_empty() { "no globs".to_owned() } else { flags.join(" ") }
    };
    let seal = text(&sealed.seal.include, &sealed.seal.exclude);
    let own = text(&own.include, &own.exclude);
    let message = format!("the seal says that the tree was sealed with {seal}, and it is read with {own}");
    Error::new(ErrorKind::Mismatch, "verify", message)
        .with_hint(format!("if the image was built so, give {seal}; else somebody edited the seal"))
        .to_string()
}

/// Reads a folder that may be tampered with.
pub(super) fn read(folder: &Folder, reading: &Reading<'_>, seal: &Seal) -> Result<HashedTree> {
    read_tree(folder, reading, seal.sealed.as_deref(), seal.links)
}

/// Who is to be asked what the tree should be.
pub(super) fn who(registry: &Registry, file: Option<PathBuf>, args: &VerifyArgs) -> Result<Option<Expect>> {
    let image = &args.image;
    match (&image.expect_from, &image.expect_image) {
        (Some(url), _) => {
            let client = config::client(registry, file)?;
            let (ca_file, token_file) = (image.ca_file.clone().or(client.ca_file), client.token_file);
            let certificate = client.cert_file.zip(client.key_file);
            Expect::daemon(url, DaemonAccess::new(ca_file, token_file, certificate)).map(Some)
        }
        (None, Some(name)) => {
            let access = Access {
                docker_config: image.docker_config.clone(),
                ca_file: image.ca_file.clone(),
                plain_http: image.plain_http,
                platform: image.platform.clone(),
            };
            Ok(Some(Expect::image(name.parse()?, access)))
        }
        (None, None) => Ok(None),
    }
}

/// What they say of a tree that is read under `globs`.
pub(super) async fn ask(expect: &Expect, globs: &Globs, interrupt: &Interrupt) -> Result<Version> {
    let wanted = expect.ask_again(interrupt).await?;
    let own = Filter::new(&globs.include, &globs.exclude)?.hash().to_string();
    match wanted.filter_hash {
        Some(hash) if hash != own => {
            let message = format!("{expect} reads its tree under other globs, so the versions cannot be compared");
            Err(Error::new(ErrorKind::Config, "verify", message).with_hint("give the same --include and --exclude"))
        }
        _ => Ok(wanted.version),
    }
}
