//! What was given: the variables and, above them, the flags, as git-sync reads both.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};

use super::credential::{self, Credential};
use super::options::{self, FORGOTTEN, Kind, Opt};
use super::{Refusal, go};
use crate::config::is_service_link;

/// How alike two names must be for one to be suggested, 0 to 1.
const ALIKE: f64 = 0.55;
/// What all variables of git-sync start with, but for a few old ones.
const PREFIXES: &[&str] = &["GITSYNC_", "GIT_SYNC_"];

/// The value of one option, where it came from, and the pieces that it was given in.
#[derive(Clone)]
struct Value {
    origin: String,
    texts: Vec<String>,
}

/// The options that were given. Every value has the form that its option's kind asks for.
#[derive(Clone, Default)]
pub(super) struct Given {
    values: BTreeMap<&'static str, Value>,
    /// What is accepted, but odd.
    pub(super) warnings: Vec<String>,
}

/// Whether `name` is a variable of git-sync, known or not, and not one that Kubernetes adds for a service.
pub(super) fn is_variable(name: &OsStr, value: &OsStr) -> bool {
    let Some(name) = name.to_str() else { return false };
    PREFIXES.iter().any(|p| name.starts_with(p)) && !is_service_link(name, &value.to_string_lossy())
}

impl Given {
    /// Reads the variables.
    ///
    /// # Errors
    /// A value that does not have the form of its option.
    pub(super) fn environment(env: &[(OsString, OsString)]) -> Result<Self, Refusal> {
        let mut given = Self::default();
        options::all().try_for_each(|option| given.variable(option, env))?;
        given.deprecated(env);
        for (name, _) in env.iter().filter(|(n, v)| is_variable(n, v)) {
            let name = name.to_string_lossy();
            if !options::all().any(|o| o.variables.contains(&&*name)) && !FORGOTTEN.contains(&&*name) {
                let advice = nearest(&name, options::all().flat_map(|o| o.variables).copied());
                given.warnings.push(format!("there is no variable {name}, so it has no effect{advice}"));
            }
        }
        Ok(given)
    }

    /// One option from its variables: the last of them that is set counts, also if it is empty.
    fn variable(&mut self, option: &'static Opt, env: &[(OsString, OsString)]) -> Result<(), Refusal> {
        let find = |name: &&str| env.iter().find(|(n, _)| n == name).map(|(_, value)| (name.to_string(), value));
        let set: Vec<_> = option.variables.iter().filter_map(find).collect();
        let Some((variable, value)) = set.last() else { return Ok(()) };
        let origin = format!("environment {variable}");
        let Some(text) = value.to_str() else { return Err(Refusal::new(format!("{origin} is not UTF-8"))) };
        for (other, _) in set.iter().filter(|(_, v)| v != value) {
            self.warnings.push(format!("{variable} is set too and wins over {other}"));
        }
        check(option, text).map_err(|why| Refusal::new(format!("{variable} {why}")))?;
        let texts = match option.kind {
            Kind::List => text.split(':').map(str::to_owned).collect(),
            _ => vec![text.to_owned()],
        };
        self.values.insert(option.name, Value { origin, texts });
        Ok(())
    }

    /// One line about old names that stand alone; where both generations are set, as the chart does, there is no news.
    fn deprecated(&mut self, env: &[(OsString, OsString)]) {
        let is_set = |name: &&&str| env.iter().any(|(n, _)| n == **name);
        let renamed = options::all().filter(|o| o.variables.first().is_some_and(|first| !is_set(&first)));
        let old: Vec<_> = renamed
            .filter_map(|o| Some(format!("{} (now {})", o.variables.iter().skip(1).find(is_set)?, o.variables[0])))
            .collect();
        if !old.is_empty() {
            self.warnings.push(format!("deprecated variables are set: {}", old.join(", ")));
        }
    }

    /// Puts a flag over what its variable says. What may be repeated is added up.
    pub(super) fn flag(&mut self, option: &'static Opt, text: &str) -> Result<(), Refusal> {
        check(option, text).map_err(|why| Refusal::usage(format!("{} {why}", option.written())))?;
        let origin = format!("flag {}", option.written());
        let earlier = self.values.remove(option.name);
        let mut texts = match (option.kind, earlier) {
            // Credentials add to those of the variable; a list's first flag replaces it.
            (Kind::Credentials, Some(earlier)) => earlier.texts,
            (Kind::List, Some(earlier)) if earlier.origin == origin => earlier.texts,
            _ => Vec::new(),
        };
        texts.push(text.to_owned());
        self.values.insert(option.name, Value { origin, texts });
        Ok(())
    }

    /// Whether an option was given, if only as nothing.
    pub(super) fn is_set(&self, name: &str) -> bool {
        self.values.contains_key(name)
    }

    /// Whether the command line has flags.
    pub(super) fn has_flags(&self) -> bool {
        self.values.values().any(|v| v.origin.starts_with("flag"))
    }

    /// Where an option's value came from, if it was given.
    pub(super) fn origin(&self, name: &str) -> Option<&str> {
        self.values.get(name).map(|v| v.origin.as_str())
    }

    /// An option's text; its default when it was not given.
    pub(super) fn text(&self, name: &str) -> &str {
        let default = || options::named(name).map_or("", |o| o.default);
        self.values.get(name).and_then(|v| v.texts.last()).map_or_else(default, String::as_str)
    }

    /// All texts of an option that may be repeated.
    pub(super) fn texts(&self, name: &str) -> Vec<&str> {
        let default = || Some(self.text(name)).filter(|t| !t.is_empty()).into_iter().collect();
        self.values.get(name).map_or_else(default, |v| v.texts.iter().map(String::as_str).collect())
    }

    /// An option that is true or false.
    pub(super) fn bool(&self, name: &str) -> bool {
        go::bool(self.text(name)).unwrap_or_default()
    }

    /// An option that is a whole number.
    pub(super) fn integer(&self, name: &str) -> i64 {
        go::integer(self.text(name)).unwrap_or_default()
    }

    /// An option that is a number.
    pub(super) fn float(&self, name: &str) -> f64 {
        go::float(self.text(name)).unwrap_or_default()
    }

    /// An option that is a duration, in nanoseconds.
    pub(super) fn nanoseconds(&self, name: &str) -> i64 {
        go::nanoseconds(self.text(name)).unwrap_or_default()
    }

    /// The credentials of the variable, then those of the flags.
    pub(super) fn credentials(&self) -> Vec<Credential> {
        self.texts("credential").into_iter().flat_map(|text| credential::parse(text).unwrap_or_default()).collect()
    }

    /// Lets `name` have `text`, with the origin of the option `from`, which stands for it.
    pub(super) fn replace(&mut self, name: &'static str, from: &str, text: String) {
        let origin = self.origin(from).unwrap_or(from).to_owned();
        self.values.insert(name, Value { origin, texts: vec![text] });
    }

    /// `--git-config` and each `--git-config-add` as one list.
    pub(super) fn git_configuration(&self) -> String {
        let mut lists = [self.texts("git-config"), self.texts("git-config-add")].concat();
        lists.retain(|list| !list.is_empty());
        lists.join(",")
    }

    /// What was given by flags, as flags.
    pub(super) fn written(&self) -> Vec<String> {
        let flags = self.values.iter().filter(|(_, v)| v.origin.starts_with("flag"));
        flags.flat_map(|(name, v)| v.texts.iter().map(move |text| format!("--{name}={text}"))).collect()
    }

    /// Takes an option away if it was given by a flag: its texts.
    pub(super) fn take_flag(&mut self, name: &str) -> Option<Vec<String>> {
        let is_flag = self.origin(name)?.starts_with("flag");
        is_flag.then(|| self.values.remove(name).map(|v| v.texts)).flatten()
    }
}

/// Checks a value's form.
fn check(option: &Opt, text: &str) -> Result<(), String> {
    let expected = match option.kind {
        Kind::Bool if go::bool(text).is_none() => "is not true or false",
        Kind::Integer if go::integer(text).is_none() => "is not a whole number",
        Kind::Float if go::float(text).is_none() => "is not a number",
        Kind::Duration if go::nanoseconds(text).is_none() => "is not a duration such as 30s or 1h2m3.5s",
        Kind::Credentials => return credential::parse(text).map(|_| ()),
        _ => return Ok(()),
    };
    Err(format!("is {text:?}, which {expected}"))
}

/// `; did you mean …?`, where some name is alike.
pub(super) fn nearest<'a>(name: &str, names: impl Iterator<Item = &'a str>) -> String {
    let alike = |other: &&str| strsim::normalized_damerau_levenshtein(name, other);
    match names.max_by(|a, b| alike(a).total_cmp(&alike(b))) {
        Some(best) if alike(&best) >= ALIKE => format!("; did you mean {best}?"),
        _ => String::new(),
    }
}
