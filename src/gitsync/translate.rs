//! From options to settings: those that were given are flags, git-sync's own defaults lie beneath everything.

use std::time::Duration;

use config::ValueKind;

use super::credential::Credential;
use super::given::Given;
use super::options::{self, Kind, Opt};
use super::{Refusal, credential, git_config, go};
use crate::config::Flag;

/// The origin of what nobody gave.
const DEFAULT: &str = "git-sync's default";
/// The shortest period that dagsync has.
const SHORTEST: Duration = Duration::from_millis(100);
/// The longest wait after a failure, unless the period is longer.
const LONGEST_WAIT: Duration = Duration::from_secs(60);
const COOKIES: &str = "/etc/git-secret/cookie_file";
/// What makes dagsync look like git-sync, and the listener that git-sync does not have by default. Its repository may be a
/// plain path.
const LOOKS: &[(&str, &str)] =
    &[("strategy", "git"), ("layout", "worktrees"), ("http.git_sync", "true"), ("http.bind", "")];

/// The settings that options stand for.
#[derive(Debug, Default)]
pub(super) struct Settings {
    /// git-sync's defaults: weaker than dagsync's own file and variables.
    pub(super) defaults: Vec<Flag>,
    /// What was given: stronger than those.
    pub(super) flags: Vec<Flag>,
}

/// Translates the options; [`super::rules::settle`] was called before.
///
/// # Errors
/// A list of git's configuration that cannot be read.
pub(super) fn settings(given: &Given) -> Result<Settings, Refusal> {
    let mut settings = Settings::default();
    for (name, value) in LOOKS {
        settings.defaults.push(flag(DEFAULT, name, *value));
    }
    let period = period(given);
    settings.defaults.push(flag(DEFAULT, "backoff.initial", written(period)));
    settings.defaults.push(flag(DEFAULT, "backoff.max", written(period.max(LONGEST_WAIT))));
    for option in options::all() {
        let Some(origin) = given.origin(option.name) else {
            if !option.default.is_empty() {
                settings.defaults.extend(meaning(option, given, DEFAULT));
            }
            continue;
        };
        settings.flags.extend(meaning(option, given, origin));
    }
    if given.text("link").is_empty() {
        settings.defaults.push(flag(DEFAULT, "link", leaf(given.text("repo"))));
    }
    if !given.text("pre-publish-exechook-command").is_empty() {
        settings.defaults.push(flag(DEFAULT, "gate.on_failure", "warn"));
    }
    let configuration = git_configuration(given)?;
    settings.flags.extend(credentials(given, &configuration));
    settings.flags.extend(configuration.flag(given));
    Ok(settings)
}

/// The settings that one option stands for, at most two.
fn meaning(option: &Opt, given: &Given, origin: &str) -> Vec<Flag> {
    let name = option.name;
    let text = given.text(name);
    let one = |value: ValueKind| vec![flag(origin, option.setting, value)];
    match name {
        // The deprecated ones have been put into the place of others; the rest has its own rules.
        "branch" | "rev" | "dest" | "max-sync-failures" | "password" | "sync-hook-command" | "timeout" | "v"
        | "wait" | "git-config" | "git-config-add" => Vec::new(),
        "link" | "sync-on-signal" | "init-period" if matches!(text, "" | "0" | "0s") => Vec::new(),
        "verbose" => level(given.integer(name)).map(|level| flag(origin, "log.level", level)).into_iter().collect(),
        "period" => one(written(period(given)).into()),
        "ssh-known-hosts" => one(if given.bool(name) { "strict" } else { "off" }.into()),
        "username" | "GITSYNC_PASSWORD" | "password-file" if is_listed(given) => Vec::new(),
        "cookie-file" => {
            if given.bool(name) {
                one(COOKIES.into())
            } else {
                Vec::new()
            }
        }
        "stale-worktree-timeout" => {
            let age = written(go::duration(given.nanoseconds(name)));
            vec![flag(origin, "keep.age", age), flag(origin, "keep.versions", "1")]
        }
        _ if option.setting.is_empty() || matches!(option.state, options::State::NotApplicable(_)) => Vec::new(),
        _ => match option.kind {
            Kind::Bool => one(given.bool(name).to_string().into()),
            Kind::Integer => one(given.integer(name).to_string().into()),
            Kind::Duration => one(written(go::duration(given.nanoseconds(name))).into()),
            Kind::List => one(given.texts(name).into()),
            // See `credentials`.
            Kind::Credentials => Vec::new(),
            Kind::Text | Kind::Float => one(text.into()),
        },
    }
}

/// Values come from where others do not see them: a secret in a flag has been moved before this process was started.
pub(super) fn flag(origin: &str, name: &str, value: impl Into<ValueKind>) -> Flag {
    Flag { origin: origin.to_owned(), name: name.to_owned(), value: value.into(), is_private: true }
}

/// Whether user and password are one of several credentials. git-sync hands all of them to git, this one first.
pub(super) fn is_listed(given: &Given) -> bool {
    let has = |name: &str| !given.text(name).is_empty();
    let is_web = ["http://", "https://"].iter().any(|scheme| given.text("repo").starts_with(scheme));
    let is_whole = has("username") && (has("GITSYNC_PASSWORD") || has("password-file"));
    is_web && is_whole && (has("askpass-url") || !given.credentials().is_empty())
}

fn credentials(given: &Given, configuration: &GitConfiguration) -> Option<Flag> {
    let text = |name: &str| given.text(name).to_owned();
    let first = is_listed(given).then(|| Credential {
        url: text("repo"),
        username: text("username"),
        password: text("GITSYNC_PASSWORD"),
        password_file: text("password-file"),
    });
    let all: Vec<_> = first.into_iter().chain(given.credentials()).collect();
    let origin = given.origin("credential").or(given.origin("username"))?;
    let found = credential::as_git_finds(all, configuration.minds_paths);
    (!found.is_empty()).then(|| flag(origin, "git.credentials", credential::list(&found)))
}

/// `--git-config`, then each `--git-config-add`.
struct GitConfiguration {
    entries: Vec<String>,
    /// Whether credentials are found by the path of their URL too.
    minds_paths: bool,
}

fn git_configuration(given: &Given) -> Result<GitConfiguration, Refusal> {
    let entries = git_config::parse(&given.git_configuration())
        .map_err(|why| Refusal::new(format!("--git-config and --git-config-add cannot be read: {why}")))?;
    let is_of_paths = |(key, _): &(String, String)| {
        let key = key.to_ascii_lowercase();
        key.starts_with("credential.") && key.ends_with(".usehttppath")
    };
    let (of_paths, others): (Vec<_>, Vec<_>) = entries.into_iter().partition(is_of_paths);
    let minds_paths =
        of_paths.iter().any(|(_, value)| !matches!(&*value.to_ascii_lowercase(), "false" | "no" | "off" | "0"));
    let entries = others.into_iter().map(|(key, value)| format!("{key}={value}")).collect();
    Ok(GitConfiguration { entries, minds_paths })
}

impl GitConfiguration {
    fn flag(self, given: &Given) -> Option<Flag> {
        let origin = given.origin("git-config").or(given.origin("git-config-add"))?;
        (!self.entries.is_empty()).then(|| flag(origin, "git.config", self.entries))
    }
}

fn period(given: &Given) -> Duration {
    go::duration(given.nanoseconds("period")).max(SHORTEST)
}

fn written(duration: Duration) -> String {
    humantime::format_duration(duration).to_string()
}

/// The last part of a repository's URL, which is what git-sync calls its link.
fn leaf(repo: &str) -> &str {
    repo.trim_matches('/').rsplit('/').next().unwrap_or_default()
}

/// How much is logged; `None` leaves it to `log.level`.
fn level(verbose: i64) -> Option<&'static str> {
    match verbose {
        ..=0 => None,
        1..=5 => Some("info,dagsync=debug"),
        6.. => Some("info,dagsync=trace"),
    }
}
