//! The layout `prefix`: whatever lies below the prefix is the tree.
//!
//! A state counts only if a listing before the first byte and one after the last are equal, and each object was read
//! under the ETag that was listed.

use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};

use dagsync_core::{
    Digest, Error, ErrorKind, Interrupt, Result, Revision, Staging, SyncContext, TreePath, blocking, fs,
};
use futures::{StreamExt as _, TryStreamExt as _, stream};

use crate::download::{self, Chunks};
use crate::history;
use crate::listing::{Listing, Object, Pages};
use crate::objects::Objects;
use crate::requests::{Requests, Wanted};
use crate::writers::Writers;

/// Objects up to this size are held in memory until they are written.
const SMALL: u64 = 256 << 10;
const SCHEME: &str = "listing:";

#[derive(Default)]
pub(crate) struct Prefix {
    /// What a poll with news leaves for the sync that follows, so that it need not list again.
    found: Mutex<Option<(Revision, Listing)>>,
    brought: Mutex<Option<Revision>>,
    /// What the listing before leaves for the next.
    pages: Mutex<Pages>,
}

impl Prefix {
    pub(crate) async fn resolve(&self, requests: &Requests, cx: &SyncContext) -> Result<Revision> {
        let (revision, listing) = self.list(requests, cx).await?;
        refuse_published(requests, &listing)?;
        let is_news = lock(&self.brought).as_ref() != Some(&revision);
        *lock(&self.found) = is_news.then(|| (revision.clone(), listing));
        Ok(revision)
    }

    pub(crate) async fn materialize(
        &self,
        requests: &Requests,
        cx: &SyncContext,
        wanted: &Revision,
        staging: &Staging,
    ) -> Result<()> {
        let known = lock(&self.found).take();
        let known = match known {
            Some(known) if known.0 == *wanted => known,
            _ => self.list(requests, cx).await?,
        };
        let (revision, listing) = known;
        if revision != *wanted {
            return Err(changed(requests, "it no longer holds that state"));
        }
        let digests = Sync { requests, cx, staging }.stage(&listing).await?;
        if self.list(requests, cx).await?.0 != *wanted {
            return Err(changed(requests, "it was written to while it was read"));
        }
        remember(requests, cx, listing, digests).await?;
        *lock(&self.brought) = Some(revision);
        Ok(())
    }

    async fn list(&self, requests: &Requests, cx: &SyncContext) -> Result<(Revision, Listing)> {
        let listing = match requests.bucket.settings.at {
            Some(at) => history::listing(requests, at.into(), &cx.filter, &cx.limits).await?,
            None => {
                let before = lock(&self.pages).clone();
                let (listing, pages) = Listing::now(requests, &cx.filter, &cx.limits, &before).await?;
                *lock(&self.pages) = pages;
                listing
            }
        };
        if listing.listed == 0 {
            let message = format!("{} holds no object", requests.location());
            return Err(Error::new(ErrorKind::NotFound, "list", message).with_hint(
                "check bucket and prefix; where an empty tree is meant, set allow_empty and create the folder itself, \
                 an empty object whose key ends in a slash",
            ));
        }
        let name = move |_: &Interrupt| Ok((Revision::new(format!("{SCHEME}{}", listing.fingerprint())), listing));
        cx.blocking("list", name).await
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Whether a revision names a state of this layout.
pub(crate) fn is_listing(revision: &Revision) -> bool {
    revision.as_str().starts_with(SCHEME)
}

fn changed(requests: &Requests, how: &str) -> Error {
    Error::new(ErrorKind::Changed, "materialize", format!("{}: {how}", requests.location()))
}

/// Without its pointer a published layout looks like a folder of files with strange names, which are no DAGs. The first
/// publish may be on its way, or have been killed: any of its parts may be the only one.
fn refuse_published(requests: &Requests, listing: &Listing) -> Result<()> {
    match &listing.part {
        None => Ok(()),
        Some(part) => {
            let message = format!("{} looks published, but has no pointer ({part})", requests.location());
            Err(Error::new(ErrorKind::Refused, "resolve", message)
                .with_hint("move the pointer with `dagsync publish --version`, or name another prefix"))
        }
    }
}

async fn remember(requests: &Requests, cx: &SyncContext, listing: Listing, digests: Vec<Option<Digest>>) -> Result<()> {
    let (file, place) = (index_file(cx), requests.location().to_string());
    let save = move |_: &Interrupt| {
        if let Err(error) = Objects::of(&listing.objects, &digests).save(&file, &place) {
            tracing::warn!(%error, "cannot remember the digests of objects; the next sync fetches them all again");
        }
        Ok(())
    };
    blocking(&cx.interrupt, "remember", save).await
}

fn index_file(cx: &SyncContext) -> PathBuf {
    cx.cache.join("objects")
}

fn spool_folder(cx: &SyncContext) -> PathBuf {
    cx.cache.join("spool")
}

/// One tree on its way into staging.
struct Sync<'a> {
    requests: &'a Requests,
    cx: &'a SyncContext,
    staging: &'a Staging,
}

impl Sync<'_> {
    /// Stages every object; its digest.
    async fn stage(&self, listing: &Listing) -> Result<Vec<Option<Digest>>> {
        let objects = &listing.objects;
        self.cx.progress.start("stage", objects.len() as u64);
        let mut digests = self.reuse(objects).await?;
        let missing: Vec<usize> = (0..objects.len()).filter(|&at| digests[at].is_none()).collect();
        let (small, large): (Vec<_>, Vec<_>) = missing.into_iter().partition(|&at| objects[at].size <= SMALL);
        for (at, digest) in self.small(objects, &small).await? {
            digests[at] = Some(digest);
        }
        let concurrency = self.requests.bucket.settings.concurrency;
        let fetch = |at: usize| async move { Ok::<_, Error>((at, self.large(&objects[at]).await?)) };
        let fetched = stream::iter(large).map(fetch).buffer_unordered(concurrency).try_collect::<Vec<_>>().await?;
        for (at, digest) in fetched {
            digests[at] = Some(digest);
        }
        Ok(digests)
    }

    /// Takes over what is known and that the version before still has; the digests of that.
    async fn reuse(&self, objects: &[Object]) -> Result<Vec<Option<Digest>>> {
        let (file, place) = (index_file(self.cx), self.requests.location().to_string());
        let (staging, spool) = (self.staging.clone(), spool_folder(self.cx));
        // The paths are cheap to clone, the rest of an object is not needed.
        let objects = objects.to_vec();
        let work = move |interrupt: &Interrupt| {
            fs::remove_tree(&spool, interrupt)?;
            let known = Objects::load(&file, &place);
            let reuse = |object: &Object| {
                let Some(digest) = known.get(object) else { return Ok(None) };
                Ok(staging.reuse(&object.path, false, &digest)?.then_some(digest))
            };
            objects.iter().map(reuse).collect()
        };
        self.cx.blocking("stage", work).await
    }

    /// Fetches small objects into memory, many at once, while threads write them.
    async fn small(&self, objects: &[Object], wanted: &[usize]) -> Result<Vec<(usize, Digest)>> {
        if wanted.is_empty() {
            return Ok(Vec::new());
        }
        let writers = Writers::start(self.staging, wanted.len());
        let queue = &writers;
        let concurrency = self.requests.bucket.settings.concurrency;
        let fetch = |at: usize| async move {
            let object = &objects[at];
            let key = self.key(object);
            let got = self.requests.get(wanted_of(object, &key), object.size).await.map_err(gone)?;
            self.expect_size(object, got.body.len() as u64)?;
            let path = object.path.clone();
            let job = move |staging: &Staging| {
                let digest = staging.reuse_or_write(&path, false, &got.body)?;
                check_stored(&path, digest, got.stored)?;
                Ok((at, digest))
            };
            queue.send(job).await
        };
        let sent = stream::iter(wanted.to_vec()).map(fetch).buffer_unordered(concurrency).try_collect::<()>().await;
        writers.finish(sent).await
    }

    /// Fetches a large object piece by piece.
    async fn large(&self, object: &Object) -> Result<Digest> {
        let key = self.key(object);
        let wanted = wanted_of(object, &key);
        let may_be_same = self.staging.replaces(&object.path, object.size);
        if may_be_same && object.has_sha256 {
            let stored = self.requests.head(wanted).await.map_err(gone)?.stored;
            if let Some(digest) = stored
                && self.reuse_one(object, digest).await?
            {
                return Ok(digest);
            }
        }
        let (staging, path, size) = (self.staging.clone(), object.path.clone(), object.size);
        let spool = may_be_same.then(|| spool_folder(self.cx));
        let write = move |chunks: &mut Chunks| match &spool {
            // Beside first: where the version before has the same file, that is to be kept.
            Some(spool) => crate::spool::reuse_or_write(spool, &staging, &path, size, chunks),
            None => {
                let file = download::fill(staging.create(&path, false)?, chunks)?;
                whole(&path, file.bytes(), size)?;
                file.finish()
            }
        };
        let fetched = download::streamed(self.requests, self.cx, wanted, object.size, write).await;
        let (got, digest) = fetched.map_err(gone)?;
        check_stored(&object.path, digest, got.stored)?;
        Ok(digest)
    }

    async fn reuse_one(&self, object: &Object, digest: Digest) -> Result<bool> {
        let (staging, path) = (self.staging.clone(), object.path.clone());
        self.cx.blocking("stage", move |_| staging.reuse(&path, false, &digest)).await
    }

    fn expect_size(&self, object: &Object, size: u64) -> Result<()> {
        whole(&object.path, size, object.size).map_err(|e| e.with_context("source", self.requests.location()))
    }

    fn key(&self, object: &Object) -> String {
        self.requests.location().key(object.path.as_str())
    }
}

/// Exactly what was listed, or nothing.
fn wanted_of<'a>(object: &'a Object, key: &'a str) -> Wanted<'a> {
    let (if_match, version) = match &object.version {
        Some(version) => (None, Some(&**version)),
        None => (Some(&*object.etag), None),
    };
    Wanted { key, if_match, version, checksum: object.has_sha256, ..Wanted::default() }
}

/// What was listed a moment ago and is not there any more, or is longer, has changed.
fn gone(error: Error) -> Error {
    match error.kind() {
        ErrorKind::LimitExceeded => {
            Error::new(ErrorKind::Changed, "materialize", "an object is longer than it was listed").with_source(error)
        }
        ErrorKind::NotFound => {
            Error::new(ErrorKind::Changed, "materialize", "an object went away while the prefix was read")
                .with_source(error)
        }
        _ => error,
    }
}

pub(crate) fn whole(path: &TreePath, size: u64, listed: u64) -> Result<()> {
    if size == listed {
        return Ok(());
    }
    let message = format!("{path} has {size} bytes and is listed with {listed}");
    Err(Error::new(ErrorKind::Changed, "materialize", message))
}

fn check_stored(path: &TreePath, digest: Digest, stored: Option<Digest>) -> Result<()> {
    if stored.is_none_or(|stored| stored == digest) {
        return Ok(());
    }
    let message = format!("{path} is not what its stored SHA-256 says");
    Err(Error::new(ErrorKind::Corrupt, "materialize", message).with_hint("it was damaged on its way or in the bucket"))
}
