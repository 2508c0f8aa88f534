//! The layers as they are written: the pod's identity, the file, the environment, the flags.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use config::{Source as _, Value, ValueKind};
use dagsync_core::{ErrorKind, Kind, Result, Setting, fs, worded};

use super::redact::redact_url;
use super::table::Table;
use super::value;
use super::wrong;
use crate::command::TOLD;

/// The most bytes of a configuration file.
const MAX_FILE: u64 = 1 << 20;
const PREFIX: &str = "DAGSYNC_";
/// Has our prefix and is no setting.
const FILE_VARIABLE: &str = "DAGSYNC_CONFIG";
/// What the downward API conventionally provides; weaker than a setting in the file.
const IDENTITY: &[(&str, &str)] =
    &[("pod.name", "POD_NAME"), ("pod.namespace", "POD_NAMESPACE"), ("pod.node", "NODE_NAME")];

/// What the layers are read from.
#[derive(Clone, Default)]
pub struct Inputs {
    /// The file named by a flag; otherwise `DAGSYNC_CONFIG` may name one.
    pub file: Option<PathBuf>,
    /// The environment.
    pub env: Vec<(OsString, OsString)>,
    /// Other defaults than the table's.
    pub defaults: Vec<Flag>,
    /// The flags that stand for settings.
    pub flags: Vec<Flag>,
}

// The environment holds other programs' secrets too.
impl std::fmt::Debug for Inputs {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Inputs").field("file", &self.file).finish_non_exhaustive()
    }
}

/// One setting, mostly from the command line.
#[derive(Clone)]
pub struct Flag {
    /// Where it was given: `flag --root`.
    pub origin: String,
    /// The setting it stands for.
    pub name: String,
    /// Its value, or its values where the flag may be repeated.
    pub value: ValueKind,
    /// Others cannot read it where it was given, so it may be a secret.
    pub is_private: bool,
}

// What was given may be a secret at the wrong place.
impl std::fmt::Debug for Flag {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.origin)
    }
}

impl Inputs {
    /// The environment of this process.
    pub fn from_process(file: Option<PathBuf>, flags: Vec<Flag>) -> Self {
        Self { file, env: std::env::vars_os().collect(), defaults: Vec::new(), flags }
    }

    fn var(&self, name: &str) -> Option<&str> {
        self.env.iter().find(|(n, _)| n == name).and_then(|(_, v)| v.to_str()).filter(|v| !v.is_empty())
    }
}

/// Values by setting, weakest layer first.
#[derive(Default)]
pub(super) struct Layers {
    pub(super) values: Vec<(&'static Setting, Value)>,
    pub(super) warnings: Vec<String>,
}

/// Reads every layer.
pub(super) fn read(table: &Table, inputs: &Inputs) -> Result<Layers> {
    let mut layers = Layers::default();
    layers.defaults(table)?;
    inputs.defaults.iter().try_for_each(|flag| layers.flag(table, flag))?;
    layers.identity(table, inputs);
    if let Some(path) = inputs.file.clone().or_else(|| inputs.var(FILE_VARIABLE).map(PathBuf::from)) {
        layers.file(table, &path)?;
    }
    layers.environment(table, &inputs.env)?;
    inputs.flags.iter().try_for_each(|flag| layers.flag(table, flag))?;
    Ok(layers)
}

impl Layers {
    fn add(
        &mut self,
        setting: &'static Setting,
        origin: &str,
        given: &ValueKind,
        read: Option<ValueKind>,
    ) -> Result<()> {
        let Some(kind) = read else { return Err(malformed(setting, given, origin)) };
        self.values.push((setting, Value::new(Some(&origin.to_owned()), kind)));
        Ok(())
    }

    fn defaults(&mut self, table: &Table) -> Result<()> {
        table.iter().try_for_each(|setting| {
            self.add(setting, "default", &setting.default.into(), value::from_default(setting.kind, setting.default))
        })
    }

    fn identity(&mut self, table: &Table, inputs: &Inputs) {
        let mut found = vec![("pod.name", "host name".to_owned(), host_name())];
        for (name, var) in IDENTITY {
            found.extend(inputs.var(var).map(|v| (*name, format!("environment {var}"), v.to_owned())));
        }
        for (name, origin, text) in found {
            self.values.extend(table.get(name).map(|s| (s, Value::new(Some(&origin), text))));
        }
    }

    fn file(&mut self, table: &Table, path: &Path) -> Result<()> {
        let origin = format!("file {}", path.display());
        for (name, given) in flatten(parse_file(path)?) {
            if given == ValueKind::Nil && table.has_section(&name) {
                continue;
            }
            let setting = known(table, &name, &origin)?;
            refuse_secret(setting, &origin)?;
            if given != ValueKind::Nil {
                self.add(setting, &origin, &given, value::from_file(setting.kind, &given))?;
            }
        }
        Ok(())
    }

    fn environment(&mut self, table: &Table, env: &[(OsString, OsString)]) -> Result<()> {
        for (var, text) in env {
            let Some(var) = var.to_str().filter(|v| v.starts_with(PREFIX)) else { continue };
            let origin = format!("environment {var}");
            let not_text = || wrong(format!("the value from {origin} is not UTF-8"));
            let text = text.to_str().ok_or_else(not_text)?;
            match table.by_env(var) {
                Some(setting) => {
                    self.warn_of_secret(setting, &origin, text);
                    self.add(setting, &origin, &text.into(), value::from_text(setting.kind, text))?;
                }
                None if var == FILE_VARIABLE || TOLD.contains(&var) || is_service_link(var, text) => {}
                None => {
                    let name = var[PREFIX.len()..].to_lowercase().replace("__", ".");
                    let advice = table.advice(&name, |s| format!("{} ({})", s.env(), s.name));
                    return Err(wrong(format!("there is no setting {name:?} ({origin})")).with_hint(advice));
                }
            }
        }
        Ok(())
    }

    fn flag(&mut self, table: &Table, flag: &Flag) -> Result<()> {
        let Flag { origin, is_private, .. } = flag;
        let setting = known(table, &flag.name, origin)?;
        if !is_private {
            refuse_secret(setting, origin)?;
        }
        let read = match &flag.value {
            ValueKind::String(text) => value::from_text(setting.kind, text),
            given => value::from_file(setting.kind, given),
        };
        self.add(setting, origin, &flag.value, read)
    }

    fn warn_of_secret(&mut self, setting: &Setting, origin: &str, text: &str) {
        if setting.kind == Kind::Secret && !text.is_empty() {
            let name = worded(setting.name);
            self.warnings.push(format!(
                "{name} comes from {origin}, which other processes may read and which cannot rotate; prefer a file"
            ));
        }
    }
}

/// Kubernetes gives every pod such variables for each service of its namespace, so also for one called `dagsync`.
pub(crate) fn is_service_link(var: &str, text: &str) -> bool {
    let protocol = |of: &str| ["TCP", "UDP", "SCTP"].iter().any(|p| of.contains(p));
    let port = var.ends_with("_PORT") && protocol(&text.to_uppercase()) && text.contains("://");
    !var.contains("__")
        && (port
            || var.ends_with("_SERVICE_HOST")
            || var.contains("_SERVICE_PORT")
            || var.split_once("_PORT_").is_some_and(|(_, rest)| protocol(rest)))
}

fn known(table: &Table, name: &str, origin: &str) -> Result<&'static Setting> {
    table.get(name).ok_or_else(|| {
        let advice = table.advice(name, |s| s.name.to_owned());
        wrong(format!("there is no setting {name:?} ({origin})")).with_hint(advice)
    })
}

fn refuse_secret(setting: &Setting, origin: &str) -> Result<()> {
    if setting.kind != Kind::Secret {
        return Ok(());
    }
    let message = format!("{} is a secret and must not come from {origin}", setting.name);
    Err(wrong(message).with_hint(format!("use its _file setting, or the environment variable {}", setting.env())))
}

fn malformed(setting: &Setting, given: &ValueKind, origin: &str) -> dagsync_core::Error {
    let shown = match given {
        _ if setting.kind == Kind::Secret => "the value".to_owned(),
        ValueKind::String(text) => format!("{:?}", redact_url(text)),
        ValueKind::Array(_) => "a list".to_owned(),
        ValueKind::Table(_) => "a section".to_owned(),
        other => other.to_string(),
    };
    wrong(format!("{}: {shown} from {origin} is not {}", setting.name, value::expected(setting.kind)))
}

fn host_name() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

fn parse_file(path: &Path) -> Result<config::Map<String, Value>> {
    let shown = path.display();
    let format = match path.extension().and_then(|e| e.to_str()) {
        Some("toml") => config::FileFormat::Toml,
        Some("yaml" | "yml") => config::FileFormat::Yaml,
        _ => {
            let message = format!("{shown} does not say what it is written in");
            return Err(wrong(message).with_hint("call it .toml, .yaml or .yml"));
        }
    };
    let absent = || wrong(format!("there is no file {shown}")).with_hint("check --config and DAGSYNC_CONFIG");
    let bytes = fs::read(path, MAX_FILE).map_err(config_kind)?.ok_or_else(absent)?;
    let text = String::from_utf8(bytes).map_err(|_| wrong(format!("file {shown} is not UTF-8")))?;
    let parsed = config::File::from_str(&text, format).collect();
    parsed.map_err(|e| wrong(format!("file {shown} cannot be read: {}", one_line(&e.to_string()))))
}

/// A file that cannot be read is as wrong a configuration as one that is not there.
fn config_kind(error: dagsync_core::Error) -> dagsync_core::Error {
    dagsync_core::Error::new(ErrorKind::Config, "read settings", "the configuration file cannot be read")
        .with_source(error)
}

/// The parser's message without the quoted line, which may hold what must not be shown.
fn one_line(text: &str) -> String {
    text.lines().filter(|line| !line.contains('|')).flat_map(str::split_whitespace).collect::<Vec<_>>().join(" ")
}

/// The leaves of nested sections, by full name; an empty section has none.
fn flatten(map: config::Map<String, Value>) -> Vec<(String, ValueKind)> {
    let mut leaves = Vec::new();
    let mut sections = vec![(String::new(), map)];
    while let Some((prefix, map)) = sections.pop() {
        for (key, given) in map {
            let name = format!("{prefix}{key}");
            match given.kind {
                ValueKind::Table(inner) => sections.push((format!("{name}."), inner)),
                kind => leaves.push((name, kind)),
            }
        }
    }
    leaves.sort_by(|a, b| a.0.cmp(&b.0));
    leaves
}
