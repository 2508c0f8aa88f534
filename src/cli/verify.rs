//! `dagsync verify`: reads every file of a tree and compares it with what it should be.

use std::collections::BTreeSet;
use std::path::PathBuf;

use dagsync_core::{
    Change, ChangeKind, Error, ErrorKind, Filter, Interrupt, Manifest, Registry, Result, TreePath, Version,
};
#[cfg(feature = "image")]
use dagsync_strategy_image::registry::Access;
#[cfg(feature = "image")]
use dagsync_strategy_image::{Expect, Key, Sealed, Wanted};
use serde_json::{Value as Json, json};

use super::answer::{Answer, Exit, Style, files, warn};
#[cfg(feature = "image")]
use super::args::OnDrift;
use super::args::{Globs, Output, VerifyArgs};
use super::tree::{manifest_file, published, read_folder};
use crate::store::{Store, differences, is_git_sync};
#[cfg(feature = "image")]
use crate::{client::Client, config};

/// What a tree should be.
#[derive(Default)]
struct Expected {
    /// As somebody else says.
    version: Option<Version>,
    /// As its store, its seal or a file says.
    manifest: Option<Manifest>,
    /// Links that counted for nothing when it was sealed; `None` where nobody wrote them down.
    links: Option<BTreeSet<TreePath>>,
}

/// Where a tree lies, and under which rules it is read.
struct Place {
    dir: PathBuf,
    globs: Globs,
    in_store: bool,
    expected: Expected,
}

/// What was found.
struct Verdict {
    expected: Version,
    found: Version,
    files: usize,
    /// Seen from its manifest; `None` when that is not known.
    changes: Option<Vec<Change>>,
    is_fine: bool,
}

pub(super) async fn run(
    registry: &Registry,
    file: Option<PathBuf>,
    args: VerifyArgs,
    interrupt: Interrupt,
    style: Style,
) -> Result<Answer> {
    let place = match place(&args) {
        // A seal that is no good is no failure to look.
        Err(error) if matches!(error.kind(), ErrorKind::Mismatch | ErrorKind::Untrusted) => {
            return Ok(broken(&args, &error));
        }
        place => place?,
    };
    let mut expected = place.expected;
    if expected.version.is_none() {
        expected.version = asked(registry, file, &args, &place.globs, &interrupt).await?;
    }
    // Of a store everything that readers see counts: its globs were applied when it was published.
    let globs = if place.in_store { Globs::default() } else { place.globs.clone() };
    let tree = read_folder(&place.dir, &globs, None, &interrupt).await?;
    let filter = Filter::new(&place.globs.include, &place.globs.exclude)?;
    let Some(version) = expected.version.or(expected.manifest.as_ref().map(Manifest::version)) else {
        let message =
            format!("{} is no store and has no seal, so there is nothing to compare it with", args.dir.display());
        return Err(Error::new(ErrorKind::Config, "verify", message)
            .with_hint("give --expect or --manifest, or seal it with `dagsync seal`"));
    };
    let changes = expected.manifest.map(|manifest| match place.in_store {
        true => differences(&manifest, &tree, &filter, is_git_sync(&place.dir)),
        false => match &expected.links {
            Some(links) => tree.changes_since(&manifest, links),
            None => manifest.diff(&tree.manifest),
        },
    });
    let (found, files) = (tree.manifest.version(), tree.manifest.len());
    let is_as_said = expected.version.is_none_or(|version| version == found);
    let is_fine = is_as_said && changes.as_ref().is_none_or(Vec::is_empty);
    let verdict = Verdict { expected: version, found, files, changes, is_fine };
    let exit = exit(&args, verdict.is_fine);
    Ok(match args.output {
        Output::Json => Answer::json(exit, &machine(&verdict)),
        Output::Text => Answer::text(exit, human(&verdict, style)),
    })
}

/// Where the tree lies, and what it should be as far as this host knows.
fn place(args: &VerifyArgs) -> Result<Place> {
    let store = Store::find(&args.dir, args.link.as_deref());
    let own = if store.exists() { Some(published(&store)?) } else { None };
    let dir = own.as_ref().map_or_else(|| args.dir.clone(), |(folder, _)| store.folder_path(folder));
    let (in_store, mut globs) = (own.is_some(), args.globs.clone());
    let mut expected = Expected { version: args.expect, ..Expected::default() };
    expected.manifest = match (&args.manifest, own) {
        (Some(file), _) => Some(manifest_file(file)?),
        // Another version's manifest says nothing about the files of this one.
        (None, Some((_, manifest))) => {
            Some(manifest).filter(|m| args.expect.is_none_or(|version| version == m.version()))
        }
        (None, None) => {
            let (manifest, links) = sealed(args, &mut globs)?.unzip();
            expected.links = links;
            manifest
        }
    };
    Ok(Place { dir, globs, in_store, expected })
}

/// What the seal of a folder says, which is read under the seal's globs.
#[cfg(feature = "image")]
fn sealed(args: &VerifyArgs, globs: &mut Globs) -> Result<Option<(Manifest, BTreeSet<TreePath>)>> {
    let key = args.image.key.as_deref().map(Key::read).transpose()?;
    let Some(sealed) = Sealed::read(&args.dir, key.as_ref())? else {
        return match key {
            None => Ok(None),
            Some(_) => {
                let message = format!("{} has no seal", args.dir.display());
                Err(Error::new(ErrorKind::Untrusted, "verify", message)
                    .with_hint("seal it with `dagsync seal --sign-key`"))
            }
        };
    };
    let links = sealed.links()?;
    *globs = Globs { include: sealed.seal.include, exclude: sealed.seal.exclude };
    Ok(Some((sealed.manifest, links)))
}

#[cfg(not(feature = "image"))]
fn sealed(_: &VerifyArgs, _: &mut Globs) -> Result<Option<(Manifest, BTreeSet<TreePath>)>> {
    Ok(None)
}

/// What another daemon or a registry says.
#[cfg(feature = "image")]
async fn asked(
    registry: &Registry,
    file: Option<PathBuf>,
    args: &VerifyArgs,
    globs: &Globs,
    interrupt: &Interrupt,
) -> Result<Option<Version>> {
    let image = &args.image;
    let (expect, wanted) = match (&image.expect_from, &image.expect_image) {
        (Some(url), _) => {
            let mut settings = config::client(registry, file)?;
            settings.ca_file = image.ca_file.clone().or(settings.ca_file);
            let client = Client::new(url, &settings)?;
            (config::redact_url(url), interrupt.guard("ask", wanted(&client)).await?)
        }
        (None, Some(name)) => {
            let access = Access {
                docker_config: image.docker_config.clone(),
                ca_file: image.ca_file.clone(),
                plain_http: image.plain_http,
                platform: image.platform.clone(),
            };
            let expect = Expect::Image(name.parse()?, access);
            (expect.to_string(), interrupt.guard("ask", expect.ask()).await?)
        }
        (None, None) => return Ok(None),
    };
    let own = Filter::new(&globs.include, &globs.exclude)?.hash().to_string();
    match wanted.filter_hash {
        Some(hash) if hash != own => {
            let message = format!("{expect} reads its tree under other globs, so the versions cannot be compared");
            Err(Error::new(ErrorKind::Config, "verify", message).with_hint("give the same --include and --exclude"))
        }
        _ => Ok(Some(wanted.version)),
    }
}

/// What a daemon says of itself.
#[cfg(feature = "image")]
async fn wanted(client: &Client) -> Result<Wanted> {
    let (version, filter_hash) = client.published().await?;
    Ok(Wanted { version, filter_hash })
}

#[cfg(not(feature = "image"))]
async fn asked(_: &Registry, _: Option<PathBuf>, _: &VerifyArgs, _: &Globs, _: &Interrupt) -> Result<Option<Version>> {
    Ok(None)
}

/// Drift is status 1, unless it is only to be said.
fn exit(args: &VerifyArgs, is_fine: bool) -> Exit {
    #[cfg(feature = "image")]
    if args.image.on_drift == OnDrift::Warn {
        return Exit::Fine;
    }
    let _ = args;
    if is_fine { Exit::Fine } else { Exit::Mismatch }
}

fn broken(args: &VerifyArgs, error: &Error) -> Answer {
    warn(error);
    let exit = exit(args, false);
    match args.output {
        Output::Json => Answer::json(exit, &json!({"ok": false, "error": error.to_string()})),
        Output::Text => Answer::text(exit, ""),
    }
}

/// What has become of a file that should be there.
const fn fate(change: ChangeKind) -> &'static str {
    match change {
        ChangeKind::Added => "added",
        ChangeKind::Removed => "missing",
        ChangeKind::Modified => "modified",
    }
}

fn machine(verdict: &Verdict) -> Json {
    let list = |changes: &Vec<Change>| -> Json {
        changes.iter().map(|c| json!({"path": c.path, "change": fate(c.change)})).collect()
    };
    json!({
        "ok": verdict.is_fine,
        "expected": verdict.expected,
        "version": verdict.found,
        "files": verdict.files,
        "changes": verdict.changes.as_ref().map(list),
    })
}

fn human(verdict: &Verdict, style: Style) -> String {
    if verdict.is_fine {
        return format!("{}  {}, {}\n", verdict.expected, style.green("verified"), files(verdict.files));
    }
    let mut out = String::new();
    let changes = verdict.changes.as_deref().unwrap_or_default();
    for Change { path, change } in changes {
        out.push_str(&style.change(*change, &format!("{:8}  {path}", fate(*change))));
        out.push('\n');
    }
    let mismatch = style.red("mismatch");
    out.push_str(&format!("{}  expected\n{}  found: {mismatch}", verdict.expected, verdict.found));
    if verdict.changes.is_some() {
        out.push_str(&format!(" in {}", files(changes.len())));
    }
    out.push('\n');
    out
}
