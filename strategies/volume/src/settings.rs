//! The settings of the section `volume`: the table and the typed form.

use std::time::Duration;

use dagsync_core::{Error, ErrorKind, Kind, Result, Setting, Spec};
use serde::Deserialize;

/// The settings, for defaults, environment and documentation.
pub(crate) const TABLE: &[Setting] = &[
    Setting::new(
        "volume.mode",
        Kind::Choice(&["copy", "in-place"]),
        "copy",
        "`copy`: publish a local copy; `in-place`: Airflow reads the volume itself, dagsync hashes and reports what is there.",
    ),
    Setting::new(
        "volume.layout",
        Kind::Choice(&["auto", "folder", "store"]),
        "auto",
        "`folder`: the files in the folder are the DAGs; `store`: another dagsync's `root` lies there, whose link is followed; `auto`: a store where one is.",
    ),
    Setting::new("volume.link", Kind::Text, "current", "The link of that store, as its `link`."),
    Setting::new(
        "volume.settle",
        Kind::Duration,
        "2s",
        "How long nothing in the folder may have changed before it is believed to be complete; longer than a writer pauses between two files.",
    ),
    Setting::new(
        "volume.partial",
        Kind::List,
        "*.filepart, *.part, *.partial, *.crdownload, *.duckpart",
        "Globs of names that an unfinished upload has; the temporary names of rsync are known besides. While there is one, nothing is published.",
    ),
    Setting::new(
        "volume.partial_age",
        Kind::Duration,
        "10m",
        "An unfinished upload that has not grown for this long is a leftover: it no longer holds anything back, and is a file like any other.",
    ),
    Setting::new(
        "volume.require_mount",
        Kind::List,
        "",
        "File system types of which the volume must be, such as `nfs4`, or `any` for some mount; else nothing is read. Empty: not checked.",
    ),
    Setting::new(
        "volume.fresh",
        Kind::Bool,
        "false",
        "Of a folder: ask the server for every file's attributes at each poll instead of believing the client's cache, which may be a minute old; what is published is always asked for.",
    ),
];

/// What becomes of the tree.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Mode {
    Copy,
    InPlace,
}

/// What lies in the folder.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Layout {
    Auto,
    Folder,
    Store,
}

/// The section `volume`.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Settings {
    pub(crate) mode: Mode,
    pub(crate) layout: Layout,
    pub(crate) link: String,
    #[serde(with = "humantime_serde")]
    pub(crate) settle: Duration,
    pub(crate) partial: Vec<String>,
    #[serde(with = "humantime_serde")]
    pub(crate) partial_age: Duration,
    pub(crate) require_mount: Vec<String>,
    pub(crate) fresh: bool,
}

impl Settings {
    pub(crate) fn of(spec: &Spec<'_>) -> Result<Self> {
        let settings: Self = spec.settings()?;
        let is_name = |part: &str| !part.is_empty() && part != "." && part != "..";
        if !settings.link.split('/').all(is_name) {
            let message = "volume.link must be a path below the store's folder, such as `current`";
            return Err(Error::new(ErrorKind::Config, "read settings", message));
        }
        Ok(settings)
    }
}
