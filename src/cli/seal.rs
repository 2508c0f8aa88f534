//! `dagsync seal`: writes down what a tree is, when its image is built.

use dagsync_core::{Interrupt, Result, blocking};
use dagsync_strategy_image::{LABEL, Sealed, Signer};
use serde_json::json;

use super::answer::{Answer, Exit};
use super::args::{Output, SealArgs};
use super::tree::read_folder;

pub(super) async fn run(args: SealArgs, interrupt: Interrupt) -> Result<Answer> {
    // Before the tree is read: a key that is no good must not cost a minute.
    let signer = args.sign_key.as_deref().map(Signer::read).transpose()?;
    let tree = read_folder(&args.dir, &args.globs, None, &interrupt).await?;
    let sealed = Sealed::new(&tree, &args.globs.include, &args.globs.exclude, args.revision.clone());
    let (dir, seal, is_signed) = (args.dir.clone(), sealed.seal.clone(), signer.is_some());
    blocking(&interrupt, "write seal", move |_| sealed.write(&dir, signer.as_ref())).await?;
    Ok(match args.output {
        Output::Text => Answer::text(Exit::Fine, format!("{}\n", seal.version)),
        Output::Json => {
            let label = json!({LABEL: seal.version});
            Answer::json(Exit::Fine, &json!({"seal": seal, "signed": is_signed, "labels": label}))
        }
    })
}
