//! The strategies that a binary was built with, by name.

use std::fmt;
use std::sync::Arc;

use serde::de::DeserializeOwned;

use crate::error::{Error, ErrorKind, Result};
use crate::setting::Setting;
use crate::strategy::Strategy;

/// What a strategy is built from.
#[derive(Debug, Clone)]
pub struct Spec<'a> {
    /// The setting `source` as the user wrote it.
    pub source: &'a str,
    /// The section of the configuration that has the strategy's name, completed with the defaults.
    pub settings: &'a serde_json::Value,
}

impl Spec<'_> {
    /// The settings as the strategy's own type.
    pub fn settings<T: DeserializeOwned>(&self) -> Result<T> {
        serde_json::from_value(self.settings.clone())
            .map_err(|e| Error::new(ErrorKind::Config, "read settings", e.to_string()))
    }
}

/// How one strategy comes to be.
#[derive(Clone, Copy)]
pub struct Factory {
    /// Its name, which is also the name of its section in the configuration.
    pub name: &'static str,
    /// One line for `--help`.
    pub about: &'static str,
    /// The settings of its section; their names start with the section's, as in `git.ref`.
    pub settings: &'static [Setting],
    /// Whether a `source` implies this strategy.
    pub infers: fn(source: &str) -> bool,
    /// Builds it; reads no network.
    pub build: fn(spec: &Spec<'_>) -> Result<Arc<dyn Strategy>>,
}

impl fmt::Debug for Factory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Factory").field("name", &self.name).finish_non_exhaustive()
    }
}

/// The strategies that are compiled in.
#[derive(Debug, Clone, Default)]
pub struct Registry(Vec<Factory>);

impl Registry {
    /// An empty registry.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a strategy; one of the same name replaces the earlier.
    #[must_use]
    pub fn with(mut self, factory: Factory) -> Self {
        self.0.retain(|f| f.name != factory.name);
        self.0.push(factory);
        self
    }

    /// The strategies in the order they were added.
    pub fn factories(&self) -> &[Factory] {
        &self.0
    }

    /// The strategy called `name` or, where that is empty, the one that `source` implies.
    ///
    /// # Errors
    /// [`ErrorKind::Config`] that lists what is compiled in.
    pub fn find(&self, name: &str, source: &str) -> Result<&Factory> {
        let names = || self.0.iter().map(|f| f.name).collect::<Vec<_>>().join(", ");
        if name.is_empty() {
            return self.0.iter().find(|f| (f.infers)(source)).ok_or_else(|| {
                Error::new(ErrorKind::Config, "choose strategy", "the source does not imply a strategy")
                    .with_hint(format!("set strategy to one of those compiled in: {}", names()))
            });
        }
        self.0.iter().find(|f| f.name == name).ok_or_else(|| {
            Error::new(ErrorKind::Config, "choose strategy", format!("there is no strategy {name:?}"))
                .with_hint(format!("compiled in: {}", names()))
        })
    }
}
