//! One setting, described once: the table that defaults, environment, `dagsync config` and the README are made from.

/// What values a setting takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Kind {
    /// Any text.
    Text,
    /// `true` or `false`.
    Bool,
    /// A whole number.
    Integer,
    /// A number with a fraction.
    Float,
    /// A duration such as `30s` or `1h30m`.
    Duration,
    /// A size such as `512MiB`.
    Size,
    /// A list of texts; in the environment separated by commas.
    List,
    /// A path in the file system of the process.
    Path,
    /// A secret: accepted from the environment only, never shown.
    Secret,
    /// One of these words.
    Choice(&'static [&'static str]),
}

/// One setting.
#[derive(Debug, Clone, Copy)]
pub struct Setting {
    /// Its full name, with dots between levels.
    pub name: &'static str,
    /// What values it takes.
    pub kind: Kind,
    /// Its default as one would write it in TOML without quotes; empty for none.
    pub default: &'static str,
    /// What it does, in one sentence for the table.
    pub about: &'static str,
}

impl Setting {
    /// A setting of a table.
    pub const fn new(name: &'static str, kind: Kind, default: &'static str, about: &'static str) -> Self {
        Self { name, kind, default, about }
    }

    /// The environment variable that sets it: `git.ref` is `DAGSYNC_GIT__REF`.
    pub fn env(&self) -> String {
        format!("DAGSYNC_{}", self.name.to_uppercase().replace('.', "__"))
    }
}
