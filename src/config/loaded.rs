//! The layers put together: each setting's effective value and where it came from.

use std::fmt;
use std::sync::Arc;

use config::{Source as _, Value, ValueKind};
use dagsync_core::{Factory, Kind, Registry, Result, Setting, Spec, Strategy};
use serde_json::Value as Json;

use super::model::Config;
use super::redact::{is_called, is_queried, origin_of, redact_item, redact_query, redact_url};
use super::table::Table;
use super::{value, wrong};

/// The effective configuration.
#[derive(Clone)]
pub struct Loaded {
    /// The engine's settings, typed.
    pub config: Config,
    /// Every setting of the engine and of all strategies.
    pub settings: Vec<Effective>,
    /// What is allowed but unwise, for the log.
    pub warnings: Vec<String>,
    pub(super) registry: Registry,
}

/// A setting's effective value.
#[derive(Clone)]
pub struct Effective {
    /// The setting.
    pub setting: &'static Setting,
    /// `default`, `file /path`, `environment VAR`, `flag --name` or `host name`.
    pub origin: String,
    pub(super) value: Json,
}

impl Effective {
    /// The value for people and JSON: secrets, passwords in URLs, the paths of webhooks and the query
    /// of the Pushgateway are hidden.
    pub fn shown(&self) -> Json {
        match &self.value {
            Json::String(text) if self.setting.kind == Kind::Secret && !text.is_empty() => "***".into(),
            Json::String(text) if is_called(self.setting.name) => origin_of(text).into(),
            Json::String(text) if is_queried(self.setting.name) => redact_query(text).into(),
            Json::String(text) => redact_url(text).into(),
            Json::Array(items) => {
                items.iter().map(|i| i.as_str().map_or_else(|| i.clone(), |t| redact_item(t).into())).collect()
            }
            other => other.clone(),
        }
    }

    /// Whether somebody set it.
    pub fn is_default(&self) -> bool {
        self.origin == "default"
    }
}

impl fmt::Debug for Effective {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} = {} ({})", self.setting.name, self.shown(), self.origin)
    }
}

impl fmt::Debug for Loaded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(&self.settings).finish()
    }
}

impl Loaded {
    /// The factory of the strategy that is set or that the source implies.
    ///
    /// # Errors
    /// [`dagsync_core::ErrorKind::Config`] when there is no source or no such strategy.
    pub fn factory(&self) -> Result<&Factory> {
        if self.config.source.is_empty() {
            return Err(wrong("source is not set")
                .with_hint("give --source URL, DAGSYNC_SOURCE, or source in the file of --config"));
        }
        self.registry.find(&self.config.strategy, &self.config.source)
    }

    /// Builds the strategy from its section.
    pub fn strategy(&self) -> Result<Arc<dyn Strategy>> {
        let factory = self.factory()?;
        let settings = self.section(factory.name);
        (factory.build)(&Spec { source: &self.config.source, settings: &settings })
    }

    /// The settings of one section, by the rest of their names; those without a value are left out.
    pub fn section(&self, name: &str) -> Json {
        let inside = |e: &Effective| e.setting.name.strip_prefix(name)?.strip_prefix('.').map(str::to_owned);
        nest(self.settings.iter().filter_map(|e| Some((inside(e)?, &e.value))))
    }
}

/// Lets the later layer win, setting by setting.
pub(super) fn merge(table: &Table, layers: Vec<(&'static Setting, Value)>) -> Result<Vec<Effective>> {
    let mut builder = config::Config::builder();
    for (setting, value) in layers {
        builder = builder.add_source(Layer(setting.name, value));
    }
    let merged = builder.build().and_then(|c| c.collect()).map_err(|e| wrong("cannot merge").with_source(e))?;
    Ok(table.iter().map(|setting| effective(setting, &merged)).collect())
}

fn effective(setting: &'static Setting, merged: &config::Map<String, Value>) -> Effective {
    let mut parts = setting.name.split('.');
    let mut found = parts.next().and_then(|part| merged.get(part));
    for part in parts {
        found = match found.map(|v| &v.kind) {
            Some(ValueKind::Table(inner)) => inner.get(part),
            _ => None,
        };
    }
    let origin = found.and_then(Value::origin).unwrap_or("default").to_owned();
    Effective { setting, origin, value: found.map_or(Json::Null, |v| value::to_json(&v.kind)) }
}

/// One setting of one layer, for the `config` crate.
#[derive(Clone)]
struct Layer(&'static str, Value);

impl fmt::Debug for Layer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

impl config::Source for Layer {
    fn clone_into_box(&self) -> Box<dyn config::Source + Send + Sync> {
        Box::new(self.clone())
    }

    fn collect(&self) -> Result<config::Map<String, Value>, config::ConfigError> {
        Ok([(self.0.to_owned(), self.1.clone())].into_iter().collect())
    }
}

/// Dotted names as nested objects; what has no value is left out.
pub(super) fn nest<'a>(values: impl Iterator<Item = (String, &'a Json)>) -> Json {
    let mut root = Json::Object(serde_json::Map::new());
    for (name, value) in values.filter(|(_, v)| !v.is_null()) {
        let mut at = &mut root;
        for part in name.split('.') {
            at = &mut at[part];
        }
        *at = value.clone();
    }
    root
}
