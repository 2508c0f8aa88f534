//! Lists of credentials: what `--credential` and `GITSYNC_CREDENTIAL` hold.

use serde::{Deserialize, Serialize};

/// A user for the URLs below one URL, with a password or a file that holds it.
#[derive(Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct Credential {
    #[serde(default)]
    pub(super) url: String,
    #[serde(default)]
    pub(super) username: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(super) password: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(super) password_file: String,
}

/// The credentials in one JSON object or a list of them.
///
/// # Errors
/// What is wrong, without what was found: it may be a secret.
pub(super) fn parse(text: &str) -> Result<Vec<Credential>, String> {
    let place = |e: serde_json::Error| format!("is no JSON of credentials, at column {}", e.column());
    match text.trim_start().chars().next() {
        None => Ok(Vec::new()),
        Some('{') => serde_json::from_str(text).map(|one| vec![one]).map_err(place),
        Some('[') => serde_json::from_str(text).map_err(place),
        Some(_) => Err("is neither a JSON object nor a list of them".to_owned()),
    }
}

/// The credentials as one JSON list.
pub(super) fn list(credentials: &[Credential]) -> String {
    serde_json::to_string(credentials).unwrap_or_default()
}
