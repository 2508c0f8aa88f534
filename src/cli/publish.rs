//! `dagsync publish`: a folder becomes a version in a bucket; and what was published, chosen and removed.

use std::path::PathBuf;

use bytesize::ByteSize;
use dagsync_core::{Error, ErrorKind, Interrupt, Limits, Progress, Registry, Result, Spec, Version};
use dagsync_strategy_s3::{Keep, Local, Outcome, Publisher, Release, Swept};
use serde_json::json;

use super::answer::{Answer, Exit, columns, files, tell, warn};
use super::args::{Global, Globs, Output, PublishArgs};
use super::progress::Bar;
use super::tree::read_folder;
use crate::config::{self, Inputs, Loaded};

/// What is asked for.
enum Task {
    Publish(PathBuf),
    Select(Version),
    List,
    Prune,
}

pub(super) async fn run(
    registry: &Registry,
    global: &Global,
    args: PublishArgs,
    interrupt: Interrupt,
) -> Result<Answer> {
    let (task, target) = task(&args)?;
    let loaded = config::load(registry, &Inputs::from_process(global.config.clone(), args.flags(&target)))?;
    loaded.warnings.iter().for_each(warn);
    let progress = Progress::default();
    let publisher = publisher(&loaded, &interrupt, &progress)?;
    let done = match task {
        Task::List => return publisher.list().await.map(|releases| listed(&releases, args.output)),
        Task::Prune => {
            let _bar = Bar::of(&progress);
            let keep = Keep { versions: args.keep as usize, age: args.keep_age };
            return publisher.prune(keep, args.dry_run).await.map(|swept| pruned(&swept, &args));
        }
        Task::Select(version) => publisher.select(&version, args.dry_run).await,
        Task::Publish(folder) => {
            let globs = Globs { include: loaded.config.include.clone(), exclude: loaded.config.exclude.clone() };
            let tree = read_folder(&folder, &globs, None, &interrupt).await?;
            let _bar = Bar::of(&progress);
            publisher.publish(Local { folder, tree, revision: args.revision.clone() }, args.dry_run).await
        }
    };
    match done {
        Err(error) if error.kind() == ErrorKind::Mismatch => {
            warn(&error);
            let json = json!({"published": false, "conflict": error.to_string()});
            Ok(answer(args.output, Exit::Mismatch, &json, String::new()))
        }
        done => done.map(|outcome| published(&outcome, &target, &args)),
    }
}

/// What to do, and where.
fn task(args: &PublishArgs) -> Result<(Task, String)> {
    let wrong = |form: &str| {
        Err(Error::new(ErrorKind::Config, "read arguments", "it does not say what to publish where")
            .with_hint(format!("write dagsync publish {form}")))
    };
    let task = match (args.list, args.prune, args.version) {
        (true, ..) => Some((Task::List, "--list s3://bucket/prefix")),
        (_, true, _) => Some((Task::Prune, "--prune s3://bucket/prefix")),
        (.., Some(version)) => Some((Task::Select(version), "--version VERSION s3://bucket/prefix")),
        _ => None,
    };
    match (task, args.places.as_slice()) {
        (Some((task, _)), [target]) if is_target(target) => Ok((task, target.clone())),
        (Some((_, form)), _) => wrong(form),
        (None, [folder, target]) if is_target(target) => Ok((Task::Publish(folder.into()), target.clone())),
        (None, _) => wrong("DIR s3://bucket/prefix"),
    }
}

fn is_target(text: &str) -> bool {
    text.starts_with("s3://")
}

fn publisher(loaded: &Loaded, interrupt: &Interrupt, progress: &Progress) -> Result<Publisher> {
    let (settings, limits) = (loaded.section("s3"), Limits::from(&loaded.config.limits));
    let spec = Spec { source: &loaded.config.source, settings: &settings };
    let publisher = Publisher::new(&spec, limits, interrupt.clone(), progress.clone())?;
    Ok(publisher.allow_empty(loaded.config.allow_empty))
}

fn answer(output: Output, exit: Exit, json: &serde_json::Value, text: String) -> Answer {
    match output {
        Output::Json => Answer::json(exit, json),
        Output::Text => Answer::text(exit, text),
    }
}

/// The version alone on standard output, for scripts; the rest is said beside it.
fn published(outcome: &Outcome, target: &str, args: &PublishArgs) -> Answer {
    if args.output == Output::Text {
        tell(account(outcome, target));
    }
    let mut json = json!(outcome);
    json["dry_run"] = args.dry_run.into();
    answer(args.output, Exit::Fine, &json, format!("{}\n", outcome.version))
}

fn account(outcome: &Outcome, target: &str) -> String {
    let Outcome { version, previous, .. } = outcome;
    let is_current = *previous == Some(*version);
    let (becomes, uploads) = match (is_current, outcome.published) {
        // A part of it was gone.
        (true, true) => ("is whole again", "uploaded"),
        (true, false) if outcome.uploaded_objects > 0 => ("would be whole again", "would upload"),
        (true, false) => return format!("{version} is current already in {target}"),
        (false, true) => ("is current now", "uploaded"),
        (false, false) => ("would become current", "would upload"),
    };
    let before = previous.map_or_else(|| "nothing".to_owned(), |version| version.to_string());
    let (count, size) = (files(outcome.files as usize), ByteSize(outcome.bytes));
    let (objects, bytes) = (counted(outcome.uploaded_objects, "object"), ByteSize(outcome.uploaded_bytes));
    format!("{version} {becomes} in {target}, after {before}; {count}, {size}; {uploads} {objects}, {bytes}")
}

/// `1 object`, `2 objects`.
fn counted(count: u64, what: &str) -> String {
    format!("{count} {what}{}", if count == 1 { "" } else { "s" })
}

fn listed(releases: &[Release], output: Output) -> Answer {
    let row = |release: &Release| {
        let record = &release.record;
        let mark = if release.is_current { "*" } else { " " };
        let revision = dagsync_core::printable(record.revision.as_deref().unwrap_or_default());
        [
            format!("{mark} {}", record.version),
            dagsync_core::printable(&record.created_at),
            files(record.files as usize),
            ByteSize(record.bytes).to_string(),
            revision,
        ]
    };
    let rows: Vec<_> = releases.iter().map(row).collect();
    answer(output, Exit::Fine, &json!(releases), columns(&rows))
}

fn pruned(swept: &Swept, args: &PublishArgs) -> Answer {
    let verb = if args.dry_run { "would remove" } else { "removed" };
    let mut text: String = swept.versions.iter().map(|version| format!("{version}\n")).collect();
    let (versions, objects) = (counted(swept.versions.len() as u64, "version"), counted(swept.objects, "object"));
    text.push_str(&format!("{verb} {versions}, {objects}, {}\n", ByteSize(swept.bytes)));
    let mut json = json!(swept);
    json["dry_run"] = args.dry_run.into();
    answer(args.output, Exit::Fine, &json, text)
}
