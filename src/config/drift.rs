//! The settings of `dagsync drift`.

use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;

use super::model::{Source, empty_is_none};

/// How the fleet is compared.
#[derive(Debug, Clone, Deserialize)]
pub struct Drift {
    /// Where everybody should be, as it is written; empty: the leader where there is one, else the majority.
    pub reference: String,
    /// For how long two pods may be on different versions.
    #[serde(with = "humantime_serde")]
    pub grace: Duration,
    /// The longest that one daemon is waited for.
    #[serde(with = "humantime_serde")]
    pub timeout: Duration,
    /// Daemons that are asked at once.
    pub concurrency: usize,
    /// Time between two checks of `--watch`.
    #[serde(with = "humantime_serde")]
    pub interval: Duration,
    /// Where findings are posted.
    pub webhook_url: Source,
    /// The file with that URL.
    #[serde(deserialize_with = "empty_is_none")]
    pub webhook_url_file: Option<PathBuf>,
    /// A Pushgateway.
    pub pushgateway: Source,
    /// Metrics for node_exporter.
    #[serde(deserialize_with = "empty_is_none")]
    pub prometheus_file: Option<PathBuf>,
    /// Markdown.
    #[serde(deserialize_with = "empty_is_none")]
    pub summary_file: Option<PathBuf>,
}
