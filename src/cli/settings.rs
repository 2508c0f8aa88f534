//! `dagsync config`: every setting, its value and its origin. And the completion scripts.

use dagsync_core::{Kind, Registry, Result, printable};
use serde_json::{Value as Json, json};

use super::answer::{Answer, Exit, Style, columns, warn};
use super::args::{ConfigArgs, Global, Output, Stream};
use crate::config::{self, Effective, Inputs, Loaded, Table};

pub(super) fn run(registry: &Registry, global: Global, args: &ConfigArgs) -> Result<Answer> {
    if args.markdown {
        return Ok(Answer::text(Exit::Fine, Table::new(registry).markdown()));
    }
    let flags = args.sync.flags(&global);
    let style = global.style(Stream::Out);
    let loaded = config::load(registry, &Inputs::from_process(global.config, flags))?;
    loaded.warnings.iter().for_each(warn);
    Ok(match args.output {
        Output::Json => Answer::json(Exit::Fine, &machine(&loaded)),
        Output::Text => Answer::text(Exit::Fine, human(registry, &loaded, style)),
    })
}

/// A completion script for `shell`.
pub(super) fn completions(mut command: clap::Command, shell: clap_complete::Shell) -> Answer {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut command, "dagsync", &mut script);
    Answer::text(Exit::Fine, String::from_utf8_lossy(&script))
}

fn machine(loaded: &Loaded) -> Json {
    let setting = |e: &Effective| json!({"name": e.setting.name, "value": e.shown(), "origin": e.origin});
    let settings: Vec<_> = loaded.settings.iter().map(setting).collect();
    json!({"strategy": loaded.factory().ok().map(|f| f.name), "settings": settings, "warnings": loaded.warnings})
}

/// What belongs to strategies that are not chosen is left out unless somebody set it.
fn human(registry: &Registry, loaded: &Loaded, style: Style) -> String {
    let chosen = loaded.factory().ok().map(|f| f.name);
    let concerns = |e: &&Effective| {
        let section =
            registry.factories().iter().map(|f| f.name).find(|n| e.setting.name.starts_with(&format!("{n}.")));
        section.is_none() || chosen.is_none() || section == chosen || !e.is_default()
    };
    let row = |e: &Effective| {
        let shown = text(e);
        let shown = if e.is_default() { shown } else { style.bold(&shown) };
        [e.setting.name.to_owned(), e.origin.clone(), shown]
    };
    let rows: Vec<_> = loaded.settings.iter().filter(concerns).map(row).collect();
    columns(&rows)
}

fn text(e: &Effective) -> String {
    match e.shown() {
        Json::Null => String::new(),
        Json::String(text) if e.setting.kind == Kind::Secret => text,
        Json::String(text) => printable(&text),
        Json::Array(items) => items.iter().filter_map(Json::as_str).map(printable).collect::<Vec<_>>().join(", "),
        other => other.to_string(),
    }
}
