//! `dagsync diff`: the files that differ between two trees.

use std::path::PathBuf;

use dagsync_core::{Change, Interrupt, Registry, Result};
use serde_json::json;

use super::answer::{Answer, Exit, Style, columns, files, warn};
use super::args::{DiffArgs, Output};
use super::tree::{Named, is_url};
use crate::config::{self, ClientSettings};

pub(super) async fn run(
    registry: &Registry,
    file: Option<PathBuf>,
    args: DiffArgs,
    interrupt: Interrupt,
    style: Style,
) -> Result<Answer> {
    let asks = is_url(&args.a) || is_url(&args.b);
    let client = if asks { config::client(registry, file)? } else { ClientSettings::default() };
    let a = Named::read(&args.a, &args.globs, args.link.as_deref(), &client, &interrupt).await?;
    let b = Named::read(&args.b, &args.globs, args.link.as_deref(), &client, &interrupt).await?;
    if a.filter_hash.is_some() && b.filter_hash.is_some() && a.filter_hash != b.filter_hash {
        warn("the two were read with different include and exclude globs, so they are not comparable");
    }
    let changes = a.manifest.diff(&b.manifest);
    let exit = if changes.is_empty() { Exit::Fine } else { Exit::Mismatch };
    Ok(match args.output {
        Output::Json => {
            let side =
                |n: &Named| json!({"name": n.name, "version": n.manifest.version(), "filter_hash": n.filter_hash});
            let json = json!({"equal": changes.is_empty(), "a": side(&a), "b": side(&b), "changes": changes});
            Answer::json(exit, &json)
        }
        Output::Text => Answer::text(exit, describe(&a, &b, &changes, style)),
    })
}

fn describe(a: &Named, b: &Named, changes: &[Change], style: Style) -> String {
    let (from, to) = (a.manifest.version(), b.manifest.version());
    if changes.is_empty() {
        return format!("{from}  equal, {}\n", files(a.manifest.len()));
    }
    let mut out = String::new();
    for Change { path, change } in changes {
        out.push_str(&style.change(*change, &format!("{change:8}  {path}")));
        out.push('\n');
    }
    out.push_str(&columns(&[[from.to_string(), a.name.clone()], [to.to_string(), b.name.clone()]]));
    let differ = if changes.len() == 1 { "differs" } else { "differ" };
    out.push_str(&format!("{} {differ}\n", files(changes.len())));
    out
}
