//! What a daemon tells the rest of the pod after a sync: files that are touched or written, commands and calls.

use dagsync_core::{Error, Result};

use crate::config::Config;
use crate::engine::SyncReport;

/// Where the outcomes of syncs go, besides status, metrics and log.
#[derive(Debug)]
pub struct Outputs {}

impl Outputs {
    /// The outputs that are configured.
    ///
    /// # Errors
    /// A setting that cannot work.
    pub fn new(_config: &Config) -> Result<Self> {
        Ok(Self {})
    }

    /// After every sync that succeeded; `first` is the first of this process, which counts as news. Never waits for a
    /// command or a call.
    pub async fn succeeded(&self, _report: &SyncReport, _first: bool) {}

    /// After every sync that failed, `failures` in a row by now.
    pub async fn failed(&self, _error: &Error, _failures: u64) {}

    /// Waits until every command and call was made once, for a process that ends after one sync.
    ///
    /// # Errors
    /// What failed.
    pub async fn finish(&self) -> Result<()> {
        Ok(())
    }
}
