//! From checked values to the typed configuration, and the rules that no single value's form can tell.

use std::ffi::OsStr;
use std::path::{Component, Path, PathBuf};
use std::time::Duration;

use dagsync_core::{Filter, Kind, Result, Setting, worded};
use serde_json::Value as Json;
use tracing_subscriber::filter::Targets;

use super::loaded::{Effective, nest};
use super::model::{Config, Layout};
use super::redact::{holds_path, holds_secret, is_called, item_holds_secret};
use super::{value, wrong};
use crate::fleet::Reference;

/// Shorter periods would only keep the source's server busy.
const MIN_PERIOD: Duration = Duration::from_millis(100);
/// A process may well be busy elsewhere for a quarter of less.
const MIN_LEASE: Duration = Duration::from_secs(1);
/// Longer ones are mistakes, and far longer ones no clock can add up.
const MAX_DURATION: Duration = Duration::from_secs(365 * 24 * 60 * 60);
/// Each needs a socket and memory for its answer.
const MAX_ASKED: usize = 1024;
/// Names in the store that are not free for the link.
const TAKEN: &[&str] = &[".", "..", ".dagsync", ".git", ".worktrees", "versions"];

/// The engine's settings as a [`Config`].
pub(super) fn typed(settings: &[Effective]) -> Result<Config> {
    let read = |culprit: Option<&Effective>| {
        // With a culprit to test, everything else has its default, which is known to be right.
        let pick = |e: &Effective| match culprit {
            Some(c) if c.setting.name != e.setting.name => default(e),
            _ => e.value.clone(),
        };
        let values: Vec<_> = settings.iter().map(|e| (e.setting.name.to_owned(), pick(e))).collect();
        serde_json::from_value::<Config>(nest(values.iter().map(|(n, v)| (n.clone(), v))))
    };
    read(None).map_err(|whole| match settings.iter().find_map(|e| Some((e, read(Some(e)).err()?))) {
        Some((e, error)) => bad(e, &error.to_string()),
        None => wrong("the configuration does not fit together").with_source(whole),
    })
}

fn default(e: &Effective) -> Json {
    value::from_default(e.setting.kind, e.setting.default).map_or(Json::Null, |v| value::to_json(&v))
}

fn bad(e: &Effective, why: &str) -> dagsync_core::Error {
    wrong(format!("{}: {} from {}: {why}", e.setting.name, e.shown(), e.origin))
}

/// Checks what the form of a value cannot tell.
pub(super) fn validate(config: &Config, settings: &[Effective]) -> Result<()> {
    let check = |name: &str, fine: bool, rule: &str| match settings.iter().find(|e| e.setting.name == name) {
        Some(e) if !fine => Err(bad(e, rule)),
        _ => Ok(()),
    };
    for e in settings.iter().filter(|e| e.setting.kind == Kind::Duration) {
        let duration = e.value.as_str().and_then(|text| humantime::parse_duration(text).ok());
        check(e.setting.name, duration.is_none_or(|d| d <= MAX_DURATION), "must be 365d or less")?;
    }
    check("lease", config.lease.is_zero() || config.lease >= MIN_LEASE, "must be 1s or more, or 0s for never")?;
    check("period", config.period >= MIN_PERIOD, "must be 100ms or more")?;
    check(
        "sync_on_signal",
        crate::signal::parse(&config.sync_on_signal).is_ok(),
        "must be a signal that is free, such as SIGHUP or SIGUSR1",
    )?;
    check("jitter", (0.0..=1.0).contains(&config.jitter), "must be from 0 to 1")?;
    check("timeout", !config.timeout.is_zero(), "must be more than 0s")?;
    check("keep.versions", config.keep.versions >= 1, "must be 1 or more")?;
    check("scrub.interval", is_interval(config.scrub.interval), "must be 100ms or more, or 0s for never")?;
    check("fleet.port", config.fleet.port != 0, "must be from 1 to 65535")?;
    if let Some(dags) = image(config) {
        let rule = "must not be 0s for an image, which would never be verified again";
        check("scrub.interval", !config.scrub.interval.is_zero(), rule)?;
        let rule = "must not lie in the folder that is verified; choose one of its own, such as /tmp/dagsync";
        check("root", !lexical(&config.root).starts_with(lexical(&dags)), rule)?;
    }
    limits(config, &check)?;
    commands(config, &check)?;
    drift(config, &check)?;
    super::access::validate(config, &check)?;
    check("root", !config.root.as_os_str().is_empty(), "must not be empty")?;
    let (fits, rule) = match config.layout {
        Layout::Versions => {
            (is_free_name(&config.link), "must be one name without `/` that the store does not use itself")
        }
        Layout::Worktrees => {
            (is_free_path(config), "must be a path that ends in a name and is not in what the store uses itself")
        }
    };
    check("link", fits, rule)?;
    check("backoff.initial", !config.backoff.initial.is_zero(), "must be more than 0s")?;
    check("backoff.max", config.backoff.max >= config.backoff.initial, "must not be less than backoff.initial")?;
    check("log.level", config.log.level.parse::<Targets>().is_ok(), "must be a level or a list of module=level")?;
    for name in ["include", "exclude"] {
        let globs = if name == "include" { &config.include } else { &config.exclude };
        if let Err(error) = Filter::new(&[], globs) {
            check(name, false, &format!("a glob cannot be read: {error}"))?;
        }
    }
    Ok(())
}

fn limits(config: &Config, check: &impl Fn(&str, bool, &str) -> Result<()>) -> Result<()> {
    let limits = dagsync_core::Limits::from(&config.limits);
    for (name, value) in [
        ("limits.files", limits.files),
        ("limits.bytes", limits.bytes),
        ("limits.file_bytes", limits.file_bytes),
        ("limits.path_bytes", limits.path_bytes as u64),
        ("limits.depth", limits.depth as u64),
    ] {
        check(name, value >= 1, "must be 1 or more")?;
    }
    Ok(())
}

fn commands(config: &Config, check: &impl Fn(&str, bool, &str) -> Result<()>) -> Result<()> {
    let Config { gate, exechook, webhook, .. } = config;
    check("gate.timeout", !gate.timeout.is_zero(), "must be more than 0s")?;
    check("exechook.timeout", !exechook.timeout.is_zero(), "must be more than 0s")?;
    check("webhook.timeout", !webhook.timeout.is_zero(), "must be more than 0s")?;
    check("exechook.backoff", exechook.backoff >= MIN_PERIOD, "must be 100ms or more")?;
    check("webhook.backoff", webhook.backoff >= MIN_PERIOD, "must be 100ms or more")
}

fn drift(config: &Config, check: &impl Fn(&str, bool, &str) -> Result<()>) -> Result<()> {
    let drift = &config.drift;
    let rule = "must be leader, head, majority or a version, as `dagsync hash` prints it";
    check("drift.reference", drift.reference.parse::<Reference>().is_ok(), rule)?;
    check("drift.timeout", !drift.timeout.is_zero(), "must be more than 0s")?;
    check("drift.concurrency", (1..=MAX_ASKED).contains(&drift.concurrency), "must be from 1 to 1024")?;
    check("drift.interval", drift.interval >= MIN_PERIOD, "must be 100ms or more")
}

/// The folder of baked DAGs, if that is the source.
fn image(config: &Config) -> Option<PathBuf> {
    let path = config.source.strip_prefix("image:");
    path.or((config.strategy == "image").then_some(&*config.source)).map(PathBuf::from)
}

fn is_interval(interval: Duration) -> bool {
    interval.is_zero() || interval >= MIN_PERIOD
}

fn is_free_name(link: &str) -> bool {
    !link.is_empty()
        && link.len() <= 200
        && !TAKEN.contains(&link)
        && !link.contains(|c: char| c == '/' || c.is_control())
}

fn is_free_path(config: &Config) -> bool {
    let path = lexical(&config.root.join(&config.link));
    let first = path.strip_prefix(lexical(&config.root)).map(|below| below.iter().next());
    let is_taken = |name: &OsStr| TAKEN.iter().any(|taken| name == *taken);
    // The root itself has no first part below it.
    let is_free = first.is_err() || first.is_ok_and(|name| name.is_some_and(|name| !is_taken(name)));
    let ends_in_a_name =
        Path::new(&config.link).file_name().is_some() && !config.link.ends_with('/') && !config.link.ends_with("/.");
    ends_in_a_name && is_free && config.link.len() <= 2000 && !config.link.contains(char::is_control)
}

/// Without `.` and `..`, as far as can be told without looking.
fn lexical(path: &Path) -> PathBuf {
    path.components().fold(PathBuf::new(), |mut out, part| {
        match part {
            Component::CurDir => {}
            Component::ParentDir => drop(out.pop()),
            part => out.push(part),
        }
        out
    })
}

/// Secrets in the URLs of what is no secret setting: refused from a file or a flag, which others read; warned of from
/// the environment.
pub(super) fn secrets(settings: &[Effective]) -> Result<Vec<String>> {
    let in_value = |value: &Json| match value {
        Json::Array(items) => items.iter().filter_map(Json::as_str).any(item_holds_secret),
        other => other.as_str().is_some_and(holds_secret),
    };
    let has_secret = |e: &&Effective| e.setting.kind != Kind::Secret && in_value(&e.value);
    let judge = |e: &Effective| {
        if e.origin.starts_with("environment") {
            return Ok(format!(
                "{} from {} holds a password or token; prefer a file",
                worded(e.setting.name),
                e.origin
            ));
        }
        Err(bad(e, "holds a password or token, which others can read there").with_hint(instead(e.setting)))
    };
    let warnings: Result<Vec<_>> = settings.iter().filter(has_secret).map(judge).collect();
    Ok(warnings?.into_iter().chain(settings.iter().filter_map(open_webhook)).collect())
}

/// Where a password belongs that stands in the URL of a setting.
fn instead(setting: &Setting) -> String {
    match setting.name {
        "fleet.peers" | "target.leader" => {
            "leave it out: daemons are asked with the token in the file of client.token_file".to_owned()
        }
        "drift.pushgateway" => format!("leave it out here, and set the whole URL in {}, from a Secret", setting.env()),
        name if is_called(name) => format!("put the whole URL into a file and name that in {name}_file"),
        _ => "put it into a file and name that in git.token_file or git.password_file".to_owned(),
    }
}

/// A webhook on the command line, which every process on the host can read.
fn open_webhook(e: &Effective) -> Option<String> {
    let is_open =
        is_called(e.setting.name) && e.origin.starts_with("flag ") && e.value.as_str().is_some_and(holds_path);
    let instead =
        if e.origin == "flag --webhook" { "--webhook-file".to_owned() } else { format!("{}_file", e.setting.name) };
    is_open.then(|| {
        format!(
            "the URL of {} may be a secret, and {} shows it to every process on this host; prefer {instead}",
            e.setting.name, e.origin
        )
    })
}
