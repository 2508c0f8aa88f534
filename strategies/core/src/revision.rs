//! A source's own name for one of its states.

use std::fmt;

/// A source's own name for one of its states: a commit id, a listing's fingerprint, an image digest.
///
/// Two equal revisions of one source mean equal content; different revisions may hold equal content too.
#[derive(Debug, Clone, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(transparent)]
pub struct Revision(String);

impl Revision {
    /// A revision as the source names it. Never a secret: it is logged and served.
    pub fn new(name: impl Into<String>) -> Self {
        Self(name.into())
    }

    /// The revision as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Revision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}
