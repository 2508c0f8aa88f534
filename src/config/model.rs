//! The effective configuration, typed.

use std::path::PathBuf;
use std::time::Duration;

use bytesize::ByteSize;
use dagsync_core::{Limits, SymlinkPolicy};
use serde::Deserialize;
use serde::de::IntoDeserializer as _;

use super::{Bind, ClientSettings, Drift, Fleet, Http};

/// Everything that `run` and `once` need to know. The table in `settings.rs` documents each field.
#[derive(Debug, Clone, Deserialize)]
pub struct Config {
    /// Where DAGs come from.
    pub source: Source,
    /// The strategy's name; empty: implied by `source`.
    pub strategy: String,
    /// The store's folder.
    pub root: PathBuf,
    /// The name of the link in the store that Airflow reads.
    pub link: String,
    /// How the store is laid out.
    pub layout: Layout,
    /// Let the group write to what is published.
    pub group_write: bool,
    /// How long the process that writes to the store may be silent before another takes over; zero: for ever.
    #[serde(with = "humantime_serde")]
    pub lease: Duration,
    /// Time between two syncs.
    #[serde(with = "humantime_serde")]
    pub period: Duration,
    /// Time between two attempts until the first sync is done; zero: as after any other failure.
    #[serde(with = "humantime_serde")]
    pub init_period: Duration,
    /// The signal that asks for a sync; empty: none.
    pub sync_on_signal: String,
    /// Part of the period by which each sync is moved at random, 0 to 1.
    pub jitter: f64,
    /// The longest that one sync may take.
    #[serde(with = "humantime_serde")]
    pub timeout: Duration,
    /// Exit after so many failures in a row; negative: never; 0 and 1: at the first.
    pub max_failures: i64,
    /// The same until the first sync is done.
    #[serde(default)]
    pub init_max_failures: Option<i64>,
    /// Publish an empty tree over one that is not.
    pub allow_empty: bool,
    /// Globs of files that belong to the tree; empty: all.
    pub include: Vec<String>,
    /// Globs of files that do not.
    pub exclude: Vec<String>,
    /// What to do with symbolic links that are no file.
    pub symlinks: SymlinkPolicy,
    /// Waiting after a failure.
    pub backoff: Backoff,
    /// Upper bounds on a tree.
    pub limits: LimitSettings,
    /// Which old versions stay.
    pub keep: Keep,
    /// The check of what was published.
    pub scrub: Scrub,
    /// Where this pod should be.
    pub target: Target,
    /// The version that this pod must be on, whatever its target.
    #[serde(deserialize_with = "maybe")]
    pub pin_version: Option<dagsync_core::Version>,
    /// What the source calls it, or another state without a check of its version.
    #[serde(deserialize_with = "maybe")]
    pub pin_revision: Option<dagsync_core::Revision>,
    /// How other daemons are asked.
    pub client: ClientSettings,
    /// Who else there is.
    pub fleet: Fleet,
    /// How they are compared.
    pub drift: Drift,
    /// The HTTP listener.
    pub http: Http,
    /// Touched after a sync that changed something.
    #[serde(deserialize_with = "empty_is_none")]
    pub touch_file: Option<PathBuf>,
    /// Holds the last error while syncs fail.
    #[serde(deserialize_with = "empty_is_none")]
    pub error_file: Option<PathBuf>,
    /// What may refuse a tree before it is published.
    pub gate: Gate,
    /// A command after a publish.
    pub exechook: Exechook,
    /// A call after a publish.
    pub webhook: Webhook,
    /// Logging.
    pub log: Log,
    /// Who this is.
    pub pod: Pod,
}

/// Where DAGs come from, as the user wrote it. Shown without a password; as a `str` it is complete.
#[derive(Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub struct Source(String);

impl std::ops::Deref for Source {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Display for Source {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(&super::redact_url(&self.0))
    }
}

impl std::fmt::Debug for Source {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:?}", super::redact_url(&self.0))
    }
}

/// Waiting after a failure: `initial`, doubled each time up to `max`, with the jitter of the period.
#[derive(Debug, Clone, Deserialize)]
#[allow(missing_docs)]
pub struct Backoff {
    #[serde(with = "humantime_serde")]
    pub initial: Duration,
    #[serde(with = "humantime_serde")]
    pub max: Duration,
}

/// [`Limits`] as they are written.
#[derive(Debug, Clone, Deserialize)]
#[allow(missing_docs)]
pub struct LimitSettings {
    pub files: u64,
    pub bytes: ByteSize,
    pub file_bytes: ByteSize,
    pub path_bytes: usize,
    pub depth: usize,
}

impl From<&LimitSettings> for Limits {
    fn from(s: &LimitSettings) -> Self {
        let LimitSettings { files, bytes, file_bytes, path_bytes, depth } = *s;
        Self { files, bytes: bytes.as_u64(), file_bytes: file_bytes.as_u64(), path_bytes, depth }
    }
}

/// Which old versions stay: the newest, the young, and those named.
#[derive(Debug, Clone, Deserialize)]
pub struct Keep {
    /// The newest so many, the current one included.
    pub versions: usize,
    /// All that were current within this time.
    #[serde(with = "humantime_serde")]
    pub age: Duration,
    /// Versions that are never removed.
    pub pinned: Vec<dagsync_core::Version>,
}

/// The check of what was published.
#[derive(Debug, Clone, Deserialize)]
pub struct Scrub {
    /// Time between two checks; zero: never.
    #[serde(with = "humantime_serde")]
    pub interval: Duration,
    /// Every so many checks every file is read, whatever its stat says; 0: never.
    pub full_every: u64,
}

/// Where a pod should be.
#[derive(Debug, Clone, Deserialize)]
pub struct Target {
    /// Who says so.
    pub mode: TargetMode,
    /// The URLs of the daemons that do, in mode `leader`.
    pub leader: Vec<Source>,
    /// What to do when none of them has answered for [`Target::fallback_after`].
    pub fallback: Fallback,
    /// How long what they said last counts.
    #[serde(with = "humantime_serde")]
    pub fallback_after: Duration,
}

impl Target {
    /// The URLs of the leaders, with whatever they hold.
    pub fn leaders(&self) -> Vec<String> {
        self.leader.iter().map(|url| String::from(&**url)).collect()
    }
}

/// Who says where a pod should be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum TargetMode {
    /// The source: its newest.
    Head,
    /// The user: one version or revision.
    Pin,
    /// Another daemon.
    Leader,
}

impl TargetMode {
    /// The name used in JSON and metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Head => "head",
            Self::Pin => "pin",
            Self::Leader => "leader",
        }
    }
}

/// What to do when no leader answers for long.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Fallback {
    /// Keep the last good version.
    Hold,
    /// Follow the source.
    Head,
    /// End the process.
    Fail,
}

/// How the store is laid out.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Layout {
    /// `versions/<version>`.
    #[default]
    Versions,
    /// `.worktrees/<commit>`, as git-sync does.
    Worktrees,
}

/// What may refuse a tree before it is published.
#[derive(Debug, Clone, Deserialize)]
pub struct Gate {
    /// The command; none: everything passes.
    #[serde(deserialize_with = "empty_is_none")]
    pub command: Option<PathBuf>,
    /// The longest that it may take.
    #[serde(with = "humantime_serde")]
    pub timeout: Duration,
    /// What its failure does.
    pub on_failure: GateFailure,
}

/// What a gate's failure does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum GateFailure {
    /// The version before stays.
    Refuse,
    /// The tree is published, with a warning.
    Warn,
}

/// A command after a publish.
#[derive(Debug, Clone, Deserialize)]
#[allow(missing_docs)]
pub struct Exechook {
    #[serde(deserialize_with = "empty_is_none")]
    pub command: Option<PathBuf>,
    #[serde(with = "humantime_serde")]
    pub timeout: Duration,
    #[serde(with = "humantime_serde")]
    pub backoff: Duration,
}

/// A call after a publish.
#[derive(Debug, Clone, Deserialize)]
#[allow(missing_docs)]
pub struct Webhook {
    pub url: Source,
    #[serde(deserialize_with = "empty_is_none")]
    pub url_file: Option<PathBuf>,
    pub method: String,
    /// 0: any.
    pub success_status: u16,
    #[serde(with = "humantime_serde")]
    pub timeout: Duration,
    #[serde(with = "humantime_serde")]
    pub backoff: Duration,
}

/// Logging.
#[derive(Debug, Clone, Deserialize)]
pub struct Log {
    /// `error`, `warn`, `info`, `debug`, `trace`, also per module: `info,dagsync_strategy_git=debug`.
    pub level: String,
    /// How lines look.
    pub format: LogFormat,
}

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum LogFormat {
    /// Text on a terminal, JSON elsewhere.
    Auto,
    /// One line of text.
    Text,
    /// One JSON object a line.
    Json,
}

/// Who this is, for reports.
#[derive(Debug, Clone, Deserialize)]
#[allow(missing_docs)]
pub struct Pod {
    pub name: String,
    pub namespace: String,
    pub node: String,
    pub component: String,
}

pub(super) fn empty_is_none<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<PathBuf>, D::Error> {
    let path = PathBuf::deserialize(deserializer)?;
    Ok(Some(path).filter(|path| !path.as_os_str().is_empty()))
}

fn maybe<'de, D: serde::Deserializer<'de>, T: Deserialize<'de>>(deserializer: D) -> Result<Option<T>, D::Error> {
    let text = String::deserialize(deserializer)?;
    if text.is_empty() { Ok(None) } else { T::deserialize(text.into_deserializer()).map(Some) }
}

pub(super) fn address<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<Bind>, D::Error> {
    let text = String::deserialize(deserializer)?;
    if text.is_empty() { Ok(None) } else { text.parse().map(Some).map_err(serde::de::Error::custom) }
}
