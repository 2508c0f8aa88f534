//! Configuration: defaults, file, environment and flags in that order, each value with its origin.

mod access;
mod bind;
mod check;
mod drift;
mod fleet;
mod layers;
mod loaded;
mod model;
mod redact;
mod table;
mod value;

pub use access::*;
pub use bind::Bind;
pub use drift::Drift;
pub use fleet::{Fleet, KubernetesFleet, Scheme};
pub(crate) use layers::is_service_link;
pub use layers::{Flag, Inputs};
pub use loaded::{Effective, Loaded};
pub use model::*;
pub(crate) use redact::holds_secret;
pub use redact::redact_url;
pub use table::Table;

use std::path::PathBuf;

use dagsync_core::{Error, ErrorKind, Registry, Result};

/// Puts the layers on top of each other, checks every value and says where each came from.
///
/// # Errors
/// [`ErrorKind::Config`] that names the setting, its value (unless secret) and its origin.
pub fn load(registry: &Registry, inputs: &Inputs) -> Result<Loaded> {
    let table = Table::new(registry);
    let layers = layers::read(&table, inputs)?;
    let settings = loaded::merge(&table, layers.values)?;
    let mut config = check::typed(&settings)?;
    check::validate(&config, &settings)?;
    config.client.named = access::named(&config);
    let mut warnings = layers.warnings;
    warnings.extend(check::secrets(&settings)?);
    Ok(Loaded { config, settings, warnings, registry: registry.clone() })
}

/// How other daemons are asked, as the file and the environment say.
///
/// # Errors
/// As [`load`].
pub fn client(registry: &Registry, file: Option<PathBuf>) -> Result<ClientSettings> {
    Ok(load(registry, &Inputs::from_process(file, Vec::new()))?.config.client)
}

/// A configuration error; the message says what is wrong with what.
fn wrong(message: impl Into<String>) -> Error {
    Error::new(ErrorKind::Config, "read settings", message)
}

#[cfg(test)]
mod tests;
