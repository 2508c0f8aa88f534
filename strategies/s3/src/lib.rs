//! The S3 strategy: a folder of a bucket as the source, and the publisher that makes a version in it atomic.
//!
//! Two layouts: `prefix`, where the objects below the prefix are the DAGs, and `published`, which `dagsync publish`
//! writes. Both are polled with one kind of request; an object's ETag is opaque, and content counts by our own SHA-256.

mod body;
mod client;
mod credentials;
mod download;
mod errors;
mod events;
#[cfg(test)]
mod fixture;
mod history;
mod listing;
mod location;
mod objects;
mod pack;
mod prefix;
mod publish;
mod published;
mod record;
mod requests;
mod settings;
mod spool;
mod sse;
mod throttle;
mod writers;

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use dagsync_core::{
    ErrorKind, Factory, Interrupt, Result, Revision, Spec, Staging, Strategy, SyncContext, Tree, Version, async_trait,
};

use crate::events::Queue;
use crate::location::Location;
use crate::prefix::Prefix;
use crate::published::Published;
use crate::requests::{Bucket, Requests};
use crate::settings::{Layout, Settings};

pub use publish::{Keep, Local, Outcome, Publisher, Release, Swept};
pub use record::Record;

/// The S3 strategy.
pub const FACTORY: Factory = Factory {
    name: "s3",
    about: "a folder of an S3 bucket",
    settings: settings::TABLE,
    infers: location::is_s3,
    build,
};

fn build(spec: &Spec<'_>) -> Result<Arc<dyn Strategy>> {
    let settings = Settings::of(spec)?;
    let queue = settings.queue_url.clone().map(Queue::new);
    let bucket = Arc::new(Bucket::new(Location::parse(spec.source)?, settings));
    let (prefix, published) = (Prefix::default(), Published::default());
    Ok(Arc::new(S3 { bucket, prefix, published, was_prefix: AtomicBool::new(false), queue }))
}

struct S3 {
    bucket: Arc<Bucket>,
    prefix: Prefix,
    published: Published,
    /// Of the layout `auto`: no pointer was there.
    was_prefix: AtomicBool,
    queue: Option<Queue>,
}

impl fmt::Display for S3 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.bucket.location.fmt(f)
    }
}

impl fmt::Debug for S3 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("S3").field("source", &self.bucket.location).finish_non_exhaustive()
    }
}

impl S3 {
    /// Published where the pointer is, else the prefix. A pointer that was there once is not forgotten: what lies beside
    /// it are no DAGs.
    async fn find_layout(&self, requests: &Requests, cx: &SyncContext) -> Result<Revision> {
        let mut forbidden = None;
        if !self.was_prefix.load(Relaxed) {
            match self.published.resolve(requests).await {
                // Without leave to list, S3 does not tell what is missing from what is forbidden.
                Err(e)
                    if matches!(e.kind(), ErrorKind::NotFound | ErrorKind::Unauthorized)
                        && !self.published.is_known() =>
                {
                    forbidden = Some(e).filter(|e| e.kind() == ErrorKind::Unauthorized);
                }
                resolved => return resolved,
            }
        }
        let listed = self.prefix.resolve(requests, cx).await;
        // Somebody may have published since.
        self.was_prefix.store(listed.is_ok(), Relaxed);
        match (listed, forbidden) {
            (Err(e), Some(forbidden)) if e.kind() == ErrorKind::Refused => Err(forbidden),
            (listed, _) => listed,
        }
    }
}

#[async_trait]
impl Strategy for S3 {
    async fn resolve(&self, cx: &SyncContext) -> Result<Revision> {
        let requests = Requests::new(self.bucket.clone(), cx);
        let settings = &self.bucket.settings;
        match settings.layout {
            Layout::Prefix => self.prefix.resolve(&requests, cx).await,
            Layout::Published => self.published.resolve(&requests).await,
            Layout::Auto if settings.version.is_some() => self.published.resolve(&requests).await,
            Layout::Auto => self.find_layout(&requests, cx).await,
        }
    }

    /// What is published is called by its version; of a prefix only what it holds now can be had.
    async fn find(
        &self,
        cx: &SyncContext,
        version: Option<&Version>,
        revision: Option<&Revision>,
    ) -> Result<Option<Revision>> {
        let is_prefix = match self.bucket.settings.layout {
            Layout::Prefix => true,
            Layout::Published => false,
            Layout::Auto => {
                if !self.published.is_known() && !self.was_prefix.load(Relaxed) {
                    self.find_layout(&Requests::new(self.bucket.clone(), cx), cx).await?;
                }
                !self.published.is_known()
            }
        };
        let named = version.map(|version| Revision::new(version.to_string()));
        Ok(if is_prefix { None } else { named.or_else(|| revision.cloned()) })
    }

    async fn materialize(&self, cx: &SyncContext, revision: &Revision, staging: &Staging) -> Result<Tree> {
        let requests = Requests::new(self.bucket.clone(), cx);
        match prefix::is_listing(revision) {
            true => self.prefix.materialize(&requests, cx, revision, staging).await?,
            false => self.published.materialize(&requests, cx, revision, staging).await?,
        }
        Ok(Tree::Staged)
    }

    async fn changed(&self, interrupt: &Interrupt) -> Result<()> {
        match &self.queue {
            Some(queue) => interrupt.guard("wait for events", queue.changed(&self.bucket)).await,
            None => std::future::pending().await,
        }
    }
}
