//! What is called after a publish, in the background: the newest news win, and it is called until it succeeds.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use dagsync_core::{ErrorKind, Outcome, Result, Revision, Tally, Version};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::exechook::Exechook;
use super::webhook::Webhook;

/// Part of the backoff that is added at random, so that pods do not call all at once.
const JITTER: f64 = 0.1;

/// What became current.
#[derive(Debug, Clone)]
pub(super) struct News {
    pub(super) revision: Revision,
    pub(super) version: Version,
    /// Where it lies.
    pub(super) folder: PathBuf,
}

#[derive(Debug)]
pub(super) enum Call {
    Command(Exechook),
    Web(Webhook),
}

/// A call and the news that it is for.
#[derive(Debug)]
pub(super) struct Hook {
    call: Call,
    backoff: Duration,
    tally: Tally,
    news: watch::Sender<Option<News>>,
}

impl Hook {
    pub(super) fn new(call: Call, backoff: Duration, tally: Tally) -> Self {
        Self { call, backoff, tally, news: watch::Sender::new(None) }
    }

    /// Replaces the news.
    pub(super) fn tell(&self, news: News) {
        self.news.send_replace(Some(news));
    }

    /// Calls with the newest news until `token` is cancelled; not twice for a revision for which it succeeded.
    pub(super) async fn run(self: Arc<Self>, token: CancellationToken) {
        let mut news = self.news.subscribe();
        let mut done: Option<Revision> = None;
        loop {
            let is_new = |news: &Option<News>| news.as_ref().is_some_and(|n| Some(&n.revision) != done.as_ref());
            let latest = tokio::select! {
                () = token.cancelled() => return,
                found = news.wait_for(is_new) => found.ok().and_then(|news| news.clone()),
            };
            let Some(latest) = latest else { return };
            match self.once(&latest, &token).await {
                Ok(()) => done = Some(latest.revision),
                Err(_) => tokio::select! {
                    () = token.cancelled() => return,
                    () = tokio::time::sleep(self.backoff.mul_f64(1.0 + JITTER * fastrand::f64())) => {}
                },
            }
        }
    }

    /// One call with the newest news, if there are any.
    pub(super) async fn latest(&self, token: &CancellationToken) -> Result<()> {
        let latest = self.news.borrow().clone();
        match latest {
            Some(news) => self.once(&news, token).await,
            None => Ok(()),
        }
    }

    async fn once(&self, news: &News, token: &CancellationToken) -> Result<()> {
        let (hook, revision) = (self.name(), &news.revision);
        tracing::info!(hook, %revision, "calling");
        let called = match &self.call {
            Call::Command(exechook) => exechook.call(news, token).await,
            Call::Web(webhook) => webhook.call(news, token).await,
        };
        match &called {
            Ok(()) => tracing::info!(hook, %revision, "called"),
            Err(error) if error.kind() == ErrorKind::Cancelled => return called,
            Err(error) => tracing::error!(hook, %revision, %error, "a hook failed"),
        }
        self.tally.count(hook, Outcome::of(&called));
        called
    }

    fn name(&self) -> &'static str {
        match self.call {
            Call::Command(_) => Exechook::NAME,
            Call::Web(_) => Webhook::NAME,
        }
    }
}
