//! What a daemon tells the rest of the pod after a sync: files that are touched or written, commands and calls.

mod exechook;
mod files;
mod hook;
mod webhook;

use std::path::PathBuf;
use std::sync::Arc;

use dagsync_core::{Error, ErrorKind, Result, Tally};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::config::Config;
use crate::engine::SyncReport;
use exechook::Exechook;
use files::Files;
use hook::{Call, Hook, News};
use webhook::Webhook;

pub use files::export_error;

/// Where the outcomes of syncs go, besides status, metrics and log.
#[derive(Debug)]
pub struct Outputs {
    files: Files,
    hooks: Vec<Arc<Hook>>,
    root: PathBuf,
    link: PathBuf,
    tasks: TaskTracker,
    token: CancellationToken,
}

impl Outputs {
    /// The outputs that are configured; what they call is counted in `tally`.
    ///
    /// # Errors
    /// A setting that cannot work.
    pub fn new(config: &Config, tally: &Tally) -> Result<Self> {
        let root = std::path::absolute(&config.root).map_err(|e| Error::io("read settings", &config.root, e))?;
        let (timeout, link) = (config.exechook.timeout, config.link.clone());
        let exechook = config.exechook.command.clone().map(|command| {
            let exechook = Exechook { command, timeout, root: root.clone(), link };
            Hook::new(Call::Command(exechook), config.exechook.backoff, tally.clone())
        });
        let webhook = Webhook::new(&config.webhook)?
            .map(|webhook| Hook::new(Call::Web(webhook), config.webhook.backoff, tally.clone()));
        let hooks = exechook.into_iter().chain(webhook).map(Arc::new).collect();
        let (tasks, token) = Default::default();
        Ok(Self { files: Files::new(config)?, hooks, link: root.join(&config.link), root, tasks, token })
    }

    /// Starts to run commands and make calls in the background, for a process that goes on.
    pub fn start(&self) {
        for hook in &self.hooks {
            self.tasks.spawn(hook.clone().run(self.token.clone()));
        }
    }

    /// Whether this process only stands by. Its commands and calls are made all the same, for they tell what this pod's
    /// Airflow finds; files below the root are left to the process that writes there.
    pub fn stand_by(&self, stands_by: bool) {
        self.files.stand_by(stands_by);
    }

    /// After every sync that succeeded, and every look of a pod that stands by; `is_news` though nothing changed, as
    /// the first of a process is. Never waits for a command or a call.
    pub async fn succeeded(&self, report: &SyncReport, is_news: bool) {
        self.files.recover().await;
        if !report.changed && !is_news {
            return;
        }
        self.files.touch().await;
        if !self.hooks.is_empty() {
            let (revision, version) = (report.revision.clone(), report.version);
            let folder = match &report.in_place {
                Some(path) => path.clone(),
                None => self.published().await,
            };
            let news = News { revision, version, folder };
            self.hooks.iter().for_each(|hook| hook.tell(news.clone()));
        }
    }

    /// After every sync that failed, `failures` in a row by now.
    pub async fn failed(&self, error: &Error, failures: u64) {
        self.files.fail("sync failed", error, failures).await;
    }

    /// Runs every command and makes every call once, for a process that ends after one sync.
    ///
    /// # Errors
    /// What failed first; all that failed is in the log.
    pub async fn finish(&self, token: &CancellationToken) -> Result<()> {
        let calls = self.hooks.iter().map(|hook| hook.latest(token));
        let called: Result<()> = futures::future::join_all(calls).await.into_iter().collect();
        if let Err(error) = &called
            && error.kind() != ErrorKind::Cancelled
        {
            self.files.fail("hook failed", error, 1).await;
        }
        called
    }

    /// Ends what runs in the background.
    pub async fn stop(&self) {
        self.token.cancel();
        self.tasks.close();
        self.tasks.wait().await;
    }

    /// The folder behind the link.
    async fn published(&self) -> PathBuf {
        let (link, root) = (self.link.clone(), self.root.clone());
        let resolve = move || Ok(std::fs::canonicalize(link).unwrap_or(root));
        self.files.on_volume("read link", resolve).await.unwrap_or_else(|_| self.root.clone())
    }
}

impl Drop for Outputs {
    fn drop(&mut self) {
        self.token.cancel();
    }
}

#[cfg(test)]
#[path = "outputs/tests.rs"]
mod tests;
