//! `dagsync hash`: the version of a folder.

use dagsync_core::tree::HashedTree;
use dagsync_core::{Filter, Interrupt, Result};
use serde_json::{Value as Json, json};

use super::answer::{Answer, Exit, warn};
use super::args::{HashArgs, Output};
use super::tree::read_folder;
use crate::store::Store;

pub(super) async fn run(args: HashArgs, interrupt: Interrupt) -> Result<Answer> {
    if Store::new(&args.dir, "current").exists() {
        warn(format!("{} is a store; its DAGs lie behind its link", args.dir.display()));
    }
    let tree = read_folder(&args.dir, &args.globs, args.index.clone(), &interrupt).await?;
    Ok(match (args.output, args.manifest) {
        (Output::Json, _) => Answer::json(Exit::Fine, &describe(&args, &tree)?),
        (Output::Text, false) => Answer::text(Exit::Fine, format!("{}\n", tree.manifest.version())),
        (Output::Text, true) => {
            let text = String::from_utf8_lossy(&tree.manifest.to_bytes()).into_owned();
            Answer::text(Exit::Fine, text)
        }
    })
}

fn describe(args: &HashArgs, tree: &HashedTree) -> Result<Json> {
    let filter = Filter::new(&args.globs.include, &args.globs.exclude)?;
    let mut json = json!({
        "version": tree.manifest.version(),
        "files": tree.manifest.len(),
        "bytes": tree.bytes,
        "files_read": tree.files_read,
        "filter_hash": filter.hash().to_string(),
        "skipped_links": tree.skipped,
    });
    if args.manifest {
        let entry = |e: &dagsync_core::Entry| json!({"path": e.path, "sha256": e.digest.to_string()});
        json["manifest"] = tree.manifest.entries().iter().map(entry).collect();
    }
    Ok(json)
}
