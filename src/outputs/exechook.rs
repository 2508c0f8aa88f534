//! The command that is run after a publish.

use std::path::PathBuf;
use std::time::Duration;

use dagsync_core::{Error, ErrorKind, Result, printable};
use tokio_util::sync::CancellationToken;

use super::hook::News;
use crate::command::Command;

/// A command, and what it is told besides the news.
#[derive(Debug)]
pub(super) struct Exechook {
    pub(super) command: PathBuf,
    pub(super) timeout: Duration,
    pub(super) root: PathBuf,
    /// As it is set, so that the command may run dagsync: a name in the root.
    pub(super) link: String,
}

impl Exechook {
    pub(super) const NAME: &str = "exechook";

    pub(super) async fn call(&self, news: &News, token: &CancellationToken) -> Result<()> {
        let (revision, version) = (news.revision.to_string(), news.version.to_string());
        let command = Command {
            operation: Self::NAME,
            program: self.command.clone(),
            folder: news.folder.clone(),
            environment: vec![
                ("GITSYNC_HASH", revision.clone().into()),
                ("DAGSYNC_REVISION", revision.into()),
                ("DAGSYNC_VERSION", version.into()),
                ("DAGSYNC_ROOT", self.root.clone().into()),
                ("DAGSYNC_LINK", self.link.clone().into()),
            ],
            input: None,
            timeout: self.timeout,
        };
        let ended = command.run(token).await?;
        if ended.is_success() {
            tracing::debug!(output = %ended.last_words(), "the command succeeded");
            return Ok(());
        }
        let message = format!("{} failed: {}", printable(&self.command), ended.how);
        Err(Error::new(ErrorKind::Unexpected, Self::NAME, message)
            .with_context("output", ended.last_words())
            .with_hint("mend the command, or raise exechook.timeout")
            .retryable())
    }
}
