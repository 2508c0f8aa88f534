//! From an invocation to a running daemon.

use std::ffi::OsString;
use std::io::Write;
use std::path::Path;
use std::process::ExitCode;

use dagsync_core::{Error, Registry, Result};

use super::given::Given;
use super::options::{self, State};
use super::{Invocation, Refusal, conceal, flags, git_env, manual, rules, translate, user, words};
use crate::cli;
use crate::config::{self, Inputs, Loaded};
use crate::daemon::{self, Until};
use crate::logging::{self, Logging};
use crate::outputs;

/// Runs git-sync's command line. Prints its own errors, which end with git-sync's exit status.
pub(crate) fn main(registry: &Registry, invocation: &Invocation) -> ExitCode {
    let mut given = Given::default();
    let refusal = match begin(registry, invocation, &mut given) {
        Ok(code) => return code,
        Err(refusal) => refusal,
    };
    let mut text: String = given.warnings.iter().map(|warning| format!("warning: {warning}\n")).collect();
    text.push_str(&format!("error: {}\n", refusal.message));
    let _ = writeln!(std::io::stderr(), "{text}{}", manual::usage());
    if refusal.exit == 1 {
        write_error_file(&given, &refusal.message);
    }
    refusal.exit.into()
}

fn begin(registry: &Registry, invocation: &Invocation, given: &mut Given) -> Result<ExitCode, Refusal> {
    *given = Given::environment(&invocation.env)?;
    flags::read(given, &invocation.args)?;
    if let Some(text) = asked(given) {
        let _ = std::io::stdout().write_all(text.as_bytes());
        return Ok(ExitCode::SUCCESS);
    }
    conceal::restart(invocation, given)?;
    rules::settle(given)?;
    let loaded = load(registry, given, invocation.env.clone())?;
    for warning in given.warnings.drain(..).chain(loaded.warnings.iter().cloned()) {
        tracing::warn!("{warning}");
    }
    say_what_has_no_effect(given);
    add_user(given);
    let until = if given.bool("one-time") { Until::FirstSync } else { Until::Stopped };
    Ok(match run(&loaded, until) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!(%error, "git-sync ends");
            ExitCode::FAILURE
        }
    })
}

/// What is printed in place of a sync.
fn asked(given: &Given) -> Option<String> {
    if given.bool("version") {
        return Some(format!("dagsync {}\n", env!("CARGO_PKG_VERSION")));
    }
    if given.bool("help") {
        return Some(manual::help());
    }
    given.bool("man").then(manual::page)
}

fn load(registry: &Registry, given: &Given, env: Vec<(OsString, OsString)>) -> Result<Loaded, Refusal> {
    dagsync_core::call_settings(words::names(registry, given, &env));
    let translate::Settings { mut defaults, flags } = translate::settings(given)?;
    defaults.extend(git_env::defaults(&env));
    let refused = |error: Error| Refusal::new(error.to_string().replace('\n', " "));
    let loaded = config::load(registry, &Inputs { file: None, env, defaults, flags }).map_err(refused)?;
    // What is wrong with the strategy's own settings is found before anything starts.
    loaded.strategy().map_err(refused)?;
    let log = &loaded.config.log;
    logging::start(&Logging { level: log.level.clone(), format: log.format, color: false }).map_err(refused)?;
    Ok(loaded)
}

fn run(loaded: &Loaded, until: Until) -> Result<()> {
    let (name, strategy) = (loaded.factory()?.name, loaded.strategy()?);
    cli::block_on(daemon::run(&loaded.config, name, strategy, until))
}

fn say_what_has_no_effect(given: &Given) {
    for option in options::all() {
        if let State::NotApplicable(reason) = option.state
            && given.is_set(option.name)
            && given.text(option.name) != option.default
        {
            tracing::info!(origin = given.origin(option.name), "{} has no effect: {reason}", option.written());
        }
    }
}

fn add_user(given: &Given) {
    if !given.bool("add-user") {
        return;
    }
    let home = std::env::var("HOME").unwrap_or_default();
    match user::add(Path::new("/etc/passwd"), &home) {
        Ok(true) => tracing::info!("the user of this process is in /etc/passwd now"),
        Ok(false) => {}
        Err(error) => tracing::warn!(%error, "the user is not added to /etc/passwd; only hooks may need it"),
    }
}

/// Where `--error-file` and `--root` are known, the message goes there too, as plain text.
fn write_error_file(given: &Given, message: &str) {
    let (root, file) = (given.text("root"), given.text("error-file"));
    if root.is_empty() || file.is_empty() {
        return;
    }
    if let Err(error) = outputs::export_error(Path::new(root), Path::new(file), message) {
        let _ = writeln!(std::io::stderr(), "error: {error}");
    }
}
