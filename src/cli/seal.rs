//! `dagsync seal`: writes down what a tree is, when its image is built.

use std::path::Path;

use dagsync_core::{Error, ErrorKind, HashedTree, Interrupt, Result, blocking};
use dagsync_strategy_image::{LABEL, Links, Sealed, Signer, read};
use serde_json::json;

use super::answer::{Answer, Exit, warn};
use super::args::{Output, SealArgs};
use super::tree::read_with;
use crate::store::Store;

pub(super) async fn run(args: SealArgs, interrupt: Interrupt) -> Result<Answer> {
    // Before the tree is read: a key that is no good must not cost a minute.
    let key = args.sign_key.clone();
    let signer = blocking(&interrupt, "read key", move |_| key.as_deref().map(Signer::read).transpose()).await?;
    check_place(&args.dir)?;
    let tree = read_with(&args.dir, &args.globs, None, &interrupt, |folder, reading| {
        read(folder, reading, None, Links::AsSealed)
    })
    .await?;
    tree.skipped.iter().for_each(warn);
    check_tree(&tree)?;
    let sealed = Sealed::new(&tree, &args.globs.include, &args.globs.exclude, args.revision.clone())?;
    let (dir, seal, is_signed) = (args.dir.clone(), sealed.seal.clone(), signer.is_some());
    let write = move |_: &Interrupt| sealed.write(&dir, signer.as_ref());
    if blocking(&interrupt, "write seal", write).await? {
        warn("the seal was signed before and is not any longer; give --sign-key to sign it");
    }
    Ok(match args.output {
        Output::Text => Answer::text(Exit::Fine, format!("{}\n", seal.version)),
        Output::Json => {
            let label = json!({LABEL: seal.version});
            Answer::json(Exit::Fine, &json!({"seal": seal, "signed": is_signed, "labels": label}))
        }
    })
}

/// What a store published is proven by its manifest, and nothing writes to it.
fn check_place(dir: &Path) -> Result<()> {
    let is_store = |dir: Option<&Path>| dir.is_some_and(|dir| Store::find(dir, None).exists());
    let folder = dagsync_core::fs::resolve(dir)?.unwrap_or_else(|| dir.to_owned());
    let is_published = |parent: &Path| parent.ends_with("versions") || parent.ends_with(".worktrees");
    if is_store(Some(&folder)) || is_store(folder.parent().filter(|p| is_published(p)).and_then(Path::parent)) {
        let message = format!("{} belongs to a store, which is verified without a seal", dir.display());
        return Err(
            Error::new(ErrorKind::Refused, "seal", message).with_hint("seal the folder that an image is built from")
        );
    }
    Ok(())
}

/// What would never be verified must not be sealed.
fn check_tree(tree: &HashedTree) -> Result<()> {
    const NAMED: usize = 5;
    if tree.manifest.is_empty() {
        return Err(Error::new(ErrorKind::Refused, "seal", "there is no file to seal")
            .with_hint("check the folder and the globs"));
    }
    if tree.odd.is_empty() {
        return Ok(());
    }
    let mut what: Vec<&str> = tree.odd.iter().take(NAMED).map(|odd| odd.why.as_str()).collect();
    let more = format!("{} more", tree.odd.len().saturating_sub(NAMED));
    if tree.odd.len() > NAMED {
        what.push(&more);
    }
    Err(Error::new(
        ErrorKind::Refused,
        "seal",
        format!("the tree holds what no seal can vouch for: {}", what.join("; ")),
    )
    .with_hint("remove it from the image"))
}
