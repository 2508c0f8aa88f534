//! Every option of git-sync v4.7, and of its source since, in one table: its flag, its variables, what it takes, and what becomes of it here.

mod auth;
mod deprecated;
mod general;
mod hooks;

/// What values an option takes, as Go reads them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Any text.
    Text,
    /// `true`, `T`, `1`, …
    Bool,
    /// A whole number, also with a prefix for its base.
    Integer,
    /// A number with a fraction.
    Float,
    /// `1h2m3.5s`, `100ms`, …
    Duration,
    /// Texts: the flag may be repeated, the variable separates them by `:`.
    List,
    /// A JSON object or a list of them; the flag may be repeated and adds to the variable.
    Credentials,
}

impl Kind {
    /// The word for tables and help.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::Bool => "bool",
            Self::Integer => "integer",
            Self::Float => "number",
            Self::Duration => "duration",
            Self::List => "list",
            Self::Credentials => "JSON",
        }
    }
}

/// What becomes of an option.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// It does what it does in git-sync.
    Same,
    /// The same, but for this.
    Note(&'static str),
    /// Accepted and without effect, for this reason.
    NotApplicable(&'static str),
}

/// One option.
#[derive(Debug, Clone, Copy)]
pub struct Opt {
    /// The flag without its dashes; in capitals a variable that has no flag.
    pub name: &'static str,
    /// The flag's short form.
    pub short: Option<char>,
    /// The variables, the current one first; of those that are set the last one counts.
    pub variables: &'static [&'static str],
    /// What it takes.
    pub kind: Kind,
    /// What it is when it is not given; empty: nothing.
    pub default: &'static str,
    /// What it does.
    pub about: &'static str,
    /// What becomes of it.
    pub state: State,
    /// The setting that it stands for; empty: none.
    pub setting: &'static str,
    /// Its value is never shown.
    pub is_secret: bool,
    /// It is in git-sync's source, but not in its release 4.7.1.
    pub is_unreleased: bool,
}

impl Opt {
    const fn new(name: &'static str, kind: Kind, about: &'static str) -> Self {
        let state = State::Same;
        let (is_secret, is_unreleased) = (false, false);
        Self {
            name,
            short: None,
            variables: &[],
            kind,
            default: "",
            about,
            state,
            setting: "",
            is_secret,
            is_unreleased,
        }
    }

    const fn short(mut self, short: char) -> Self {
        self.short = Some(short);
        self
    }

    const fn env(mut self, variables: &'static [&'static str]) -> Self {
        self.variables = variables;
        self
    }

    const fn or(mut self, default: &'static str) -> Self {
        self.default = default;
        self
    }

    const fn sets(mut self, setting: &'static str) -> Self {
        self.setting = setting;
        self
    }

    const fn note(mut self, note: &'static str) -> Self {
        self.state = State::Note(note);
        self
    }

    const fn without_effect(mut self, reason: &'static str) -> Self {
        self.state = State::NotApplicable(reason);
        self
    }

    const fn secret(mut self) -> Self {
        self.is_secret = true;
        self
    }

    const fn after_4_7(mut self) -> Self {
        self.is_unreleased = true;
        self
    }

    /// Whether there is a flag for it.
    pub fn is_flag(&self) -> bool {
        !self.name.starts_with(|c: char| c.is_ascii_uppercase())
    }

    /// The option as it is written: `--repo` or `GITSYNC_PASSWORD`.
    pub fn written(&self) -> String {
        if self.is_flag() { format!("--{}", self.name) } else { self.name.to_owned() }
    }
}

/// All options, grouped as `--help` shows them.
pub const OPTIONS: &[&[Opt]] = &[general::OPTIONS, hooks::OPTIONS, auth::OPTIONS, deprecated::OPTIONS];

/// Variables that v3 read and v4 does not, which the Airflow chart still sends: no reason to warn.
pub(super) const FORGOTTEN: &[&str] = &["GIT_SYNC_SSH", "GITSYNC_SSH", "GITSYNC_KNOWN_HOSTS"];

/// The options that are not deprecated.
pub(super) fn current() -> impl Iterator<Item = &'static Opt> {
    [general::OPTIONS, hooks::OPTIONS, auth::OPTIONS].into_iter().flatten()
}

/// Every option.
pub fn all() -> impl Iterator<Item = &'static Opt> {
    OPTIONS.iter().copied().flatten()
}

/// The option called `name`.
pub(super) fn named(name: &str) -> Option<&'static Opt> {
    all().find(|o| o.name == name)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_name_and_variable_stands_once() {
        let names: Vec<_> = all().map(|o| o.name).chain(all().flat_map(|o| o.variables).copied()).collect();
        let alone = names.iter().filter(|n| !all().any(|o| o.name == **n && o.variables.contains(n)));
        assert_eq!(alone.clone().count(), alone.collect::<BTreeSet<_>>().len());
        assert_eq!(all().count(), 68);
        assert!(all().all(|o| o.is_flag() || o.variables[0] == o.name));
    }

    #[test]
    fn a_reason_or_note_is_a_sentence_without_an_end() {
        for o in all() {
            assert!(o.about.ends_with('.') && !o.about.contains('|'), "{}", o.name);
            if let State::Note(text) | State::NotApplicable(text) = o.state {
                assert!(!text.is_empty() && !text.ends_with('.') && !text.contains('|'), "{}", o.name);
            }
        }
    }
}
