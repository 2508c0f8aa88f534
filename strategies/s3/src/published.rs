//! The layout `published`: one pointer says which version counts, so that a version is atomic and a poll is one request.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use dagsync_core::{
    Digest, Error, ErrorKind, Interrupt, Limits, Manifest, Result, Revision, Staging, SyncContext, TreePath, Version,
    blocking, fs,
};
use futures::{StreamExt as _, TryStreamExt as _, stream};

use crate::history;
use crate::pack::{Header, Run};
use crate::record::{BLOBS, MAX_RECORD, PACKS, POINTER, Pack, REMOVE, Record};
use crate::requests::{Got, Requests, Wanted};
use crate::writers::Writers;

/// Bytes of a pack that are read at once.
const RUN: u64 = 4 << 20;
/// Bytes that nobody wants and that are read all the same, because another request costs more.
const GAP: u64 = 64 << 10;
/// Runs of packs that are in memory at once.
const RUNS: usize = 4;
const BLOBS_AT_ONCE: usize = 8;
const SHA256_LINE: u64 = 67;

/// The pointer as it was read last.
#[derive(Debug, Default)]
pub(crate) struct Published(Mutex<Option<Seen>>);

#[derive(Debug, Clone)]
struct Seen {
    etag: String,
    record: Arc<Record>,
}

impl Published {
    /// The version that counts.
    pub(crate) async fn resolve(&self, requests: &Requests) -> Result<Revision> {
        let version = match requests.bucket.settings.version {
            Some(version) => version,
            None => self.pointer(requests).await?.version,
        };
        Ok(Revision::new(version.to_string()))
    }

    /// Reads the pointer, unless it is as it was.
    async fn pointer(&self, requests: &Requests) -> Result<Arc<Record>> {
        let seen = self.seen();
        let key = requests.location().key(POINTER);
        let version = match (requests.bucket.settings.at, &seen) {
            (None, _) => None,
            // The past does not change.
            (Some(_), Some(seen)) => return Ok(seen.record.clone()),
            (Some(at), None) => match history::version_of(requests, &key, at.into()).await? {
                Some(version) => Some(version),
                None => return Err(nothing(requests, "nothing was published there by s3.at")),
            },
        };
        let if_none_match = seen.as_ref().map(|seen| seen.etag.as_str());
        let wanted = Wanted { key: &key, if_none_match, version: version.as_deref(), ..Wanted::default() };
        let got = match (requests.get(wanted, MAX_RECORD).await, seen) {
            (Ok(got), _) => got,
            // 304: the condition does not hold, which is no failure here.
            (Err(error), Some(seen)) if error.kind() == ErrorKind::Changed => return Ok(seen.record),
            (Err(error), _) if error.kind() == ErrorKind::NotFound => {
                return Err(nothing(requests, "nothing is published there").with_source(error));
            }
            (Err(error), _) => return Err(error),
        };
        let record = Arc::new(Record::parse(&got.body, &requests.show(&key))?);
        let seen = Seen { etag: got.etag, record: record.clone() };
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(seen);
        Ok(record)
    }

    /// Whether a pointer was there.
    pub(crate) fn is_known(&self) -> bool {
        self.seen().is_some()
    }

    fn seen(&self) -> Option<Seen> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) async fn materialize(
        &self,
        requests: &Requests,
        cx: &SyncContext,
        revision: &Revision,
        staging: &Staging,
    ) -> Result<()> {
        let version: Version = revision.as_str().parse().map_err(|e: Error| {
            Error::new(ErrorKind::Changed, "materialize", format!("{revision} is no published version")).with_source(e)
        })?;
        let at_hand = self.seen().map(|seen| seen.record).filter(|record| record.version == version);
        let record = match at_hand {
            Some(record) => record,
            None => Arc::new(record(requests, &version).await?),
        };
        Sync { requests, cx, staging, record: &record }.stage().await
    }
}

fn nothing(requests: &Requests, what: &str) -> Error {
    Error::new(ErrorKind::NotFound, "resolve", format!("{}: {what}", requests.location()))
        .with_hint("publish a first version with `dagsync publish DIR s3://…`, or check source and s3.layout")
}

/// The record of a version that need not be current.
pub(crate) async fn record(requests: &Requests, version: &Version) -> Result<Record> {
    let key = requests.location().key(&Record::key_of(version));
    let got = get(requests, Wanted { key: &key, ..Wanted::default() }, MAX_RECORD).await.map_err(|error| {
        if error.kind() != ErrorKind::NotFound {
            return error;
        }
        let kind = if requests.bucket.settings.version.is_some() { ErrorKind::NotFound } else { ErrorKind::Changed };
        Error::new(kind, "materialize", format!("{}: it has no version {version}", requests.location()))
            .with_source(error)
            .with_hint("it may have been pruned; `dagsync publish --list` shows what there is")
    })?;
    let record = Record::parse(&got.body, &requests.show(&key))?;
    if record.version != *version {
        let message = format!("{} is the record of {}", requests.show(&key), record.version);
        return Err(Error::new(ErrorKind::Corrupt, "read record", message));
    }
    Ok(record)
}

/// The manifest of a version, which proves itself.
pub(crate) async fn manifest(requests: &Requests, version: &Version, limits: &Limits) -> Result<Manifest> {
    let key = requests.location().key(&Record::manifest_key(version));
    let max = limits.files.saturating_mul(limits.path_bytes as u64 + SHA256_LINE).min(1 << 30);
    let Got { body, .. } =
        get(requests, Wanted { key: &key, ..Wanted::default() }, max).await.map_err(|e| lost(requests, e))?;
    let (version, shown) = (*version, requests.show(&key));
    let parse = move |_: &Interrupt| {
        if Version::from(Digest::of(&body)) == version {
            return Manifest::parse(&body);
        }
        let message = format!("{shown} is not the manifest of its version");
        Err(Error::new(ErrorKind::Corrupt, "read manifest", message).with_hint(REMOVE))
    };
    blocking(&requests.interrupt, "read manifest", parse).await
}

/// Reads a part of a version, which may have been pruned since `s3.at`: a bucket with versions still has it.
async fn get(requests: &Requests, wanted: Wanted<'_>, max: u64) -> Result<Got> {
    let found = requests.get(wanted, max).await;
    match (found, requests.bucket.settings.at) {
        (Err(error), Some(at)) if error.kind() == ErrorKind::NotFound => {
            let version = history::version_of(requests, wanted.key, at.into()).await?.ok_or(error)?;
            requests.get(Wanted { version: Some(&version), ..wanted }, max).await
        }
        (found, _) => found,
    }
}

/// A part of a version that is not there.
fn lost(requests: &Requests, error: Error) -> Error {
    match error.kind() {
        ErrorKind::NotFound => Error::new(
            ErrorKind::Changed,
            "materialize",
            format!("{}: a part of the version is gone", requests.location()),
        )
        .with_source(error)
        .with_hint("if it stays so, publish the version again"),
        _ => error,
    }
}

/// The same of a pack, of which exactly so many bytes were asked for.
fn lost_range(requests: &Requests, key: &str, error: Error) -> Error {
    match error.kind() {
        ErrorKind::LimitExceeded => {
            let message = format!("{}: more came than was asked for", requests.show(key));
            Error::new(ErrorKind::Changed, "read pack", message)
                .with_source(error)
                .with_hint("check that the server, and any proxy before it, answers requests with Range")
        }
        _ => lost(requests, error),
    }
}

/// The header of a pack, out of the cache where it is there: it proves itself.
pub(crate) async fn header(requests: &Requests, cached: Option<PathBuf>, pack: &Pack) -> Result<Header> {
    let (id, most, path) = (pack.id.0, pack.header_bytes, cached.clone());
    let load = move |_: &Interrupt| {
        let bytes = path.and_then(|path| fs::read(&path, most).ok().flatten());
        Ok(bytes.and_then(|bytes| Header::parse(&bytes, &id).ok()))
    };
    if let Some(header) = blocking(&requests.interrupt, "read pack", load).await? {
        return Ok(header);
    }
    let key = requests.location().key(&format!("{PACKS}{id}"));
    let range = Some((0, most.saturating_sub(1)));
    let got = get(requests, Wanted { key: &key, range, ..Wanted::default() }, most).await;
    let body = got.map_err(|e| lost_range(requests, &key, e))?.body;
    let parse = move |_: &Interrupt| {
        let header = Header::parse(&body, &id)?;
        if let Some(path) = cached
            && let Err(error) = keep(&path, &header)
        {
            tracing::debug!(%error, "the header of a pack is not kept");
        }
        Ok(header)
    };
    blocking(&requests.interrupt, "read pack", parse).await
}

fn keep(path: &Path, header: &Header) -> Result<()> {
    path.parent().map_or(Ok(()), fs::create_folders)?;
    fs::write_atomic(path, header.as_bytes())
}

/// Where each content that is needed has to be written.
type Needed = HashMap<Digest, Vec<TreePath>>;

/// One version on its way into staging.
struct Sync<'a> {
    requests: &'a Requests,
    cx: &'a SyncContext,
    staging: &'a Staging,
    record: &'a Record,
}

impl Sync<'_> {
    async fn stage(&self) -> Result<()> {
        let manifest = manifest(self.requests, &self.record.version, &self.cx.limits).await?;
        self.cx.progress.start("stage", manifest.len() as u64);
        let needed = Arc::new(Mutex::new(self.reuse(manifest).await?));
        let is_done = || self::lock(&needed).is_empty();
        if is_done() {
            return Ok(());
        }
        let packs = &self.record.packs;
        let read = |pack: Pack| async move {
            header(self.requests, Some(self.cached(&pack)), &pack).await.map(|header| (pack, header))
        };
        let headers: Vec<(Pack, Header)> = stream::iter(packs.clone()).map(read).buffered(RUNS).try_collect().await?;
        self.forget_other_headers().await?;
        self.packs(&headers, &needed).await?;
        self.blobs(&needed).await?;
        if is_done() {
            return Ok(());
        }
        let missing = self::lock(&needed).values().flatten().next().map(ToString::to_string).unwrap_or_default();
        let message = format!("{}: the content of {missing} is in no pack and no blob", self.requests.location());
        let hint = format!("remove {} there and publish the version again", Record::key_of(&self.record.version));
        Err(Error::new(ErrorKind::Corrupt, "materialize", message).with_hint(hint))
    }

    /// Takes over what the version before has; the rest is needed.
    async fn reuse(&self, manifest: Manifest) -> Result<Needed> {
        let (staging, limits) = (self.staging.clone(), self.cx.limits);
        let work = move |interrupt: &Interrupt| {
            let mut needed = Needed::new();
            limits.check_total(manifest.entries().iter().filter(|e| staging.wants(&e.path)).count() as u64, 0)?;
            for entry in manifest.entries().iter().filter(|entry| staging.wants(&entry.path)) {
                interrupt.check("stage")?;
                limits.check_path(&entry.path)?;
                if !staging.reuse(&entry.path, false, &entry.digest)? {
                    needed.entry(entry.digest).or_default().push(entry.path.clone());
                }
            }
            Ok(needed)
        };
        self.cx.blocking("stage", work).await
    }

    async fn packs(&self, headers: &[(Pack, Header)], needed: &Arc<Mutex<Needed>>) -> Result<()> {
        let mut wanted: HashSet<Digest> = lock(needed).keys().copied().collect();
        let mut runs: Vec<(Digest, Run)> = Vec::new();
        for (pack, header) in headers {
            for run in header.runs(&wanted, GAP, RUN) {
                // What two packs hold is read once.
                for slice in &run.slices {
                    wanted.remove(&slice.digest);
                }
                runs.push((pack.id.0, run));
            }
        }
        let files = runs.iter().map(|(_, run)| run.slices.len()).sum();
        let writers = Writers::start(self.staging, files);
        let queue = &writers;
        let fetch = |(pack, run): (Digest, Run)| async move {
            let key = self.requests.location().key(&format!("{PACKS}{pack}"));
            let body = self.range(&key, run.start, run.end).await?;
            for slice in run.slices {
                let at = (slice.start - run.start) as usize;
                let content = body.slice(at..at + slice.size as usize);
                let paths = lock(needed).remove(&slice.digest).unwrap_or_default();
                let what = self.requests.show(&key);
                queue.send(move |staging| write(staging, &paths, &slice.digest, &content, &what)).await?;
            }
            Ok::<_, Error>(())
        };
        let sent = stream::iter(runs).map(fetch).buffer_unordered(RUNS).try_collect::<()>().await;
        writers.finish(sent).await.map(drop)
    }

    async fn range(&self, key: &str, start: u64, end: u64) -> Result<Bytes> {
        if start == end {
            return Ok(Bytes::new());
        }
        let range = Some((start, end - 1));
        let got = get(self.requests, Wanted { key, range, ..Wanted::default() }, end - start).await;
        let body = got.map_err(|e| lost_range(self.requests, key, e))?.body;
        if body.len() as u64 == end - start {
            return Ok(body);
        }
        let message = format!("{} is shorter than its record says", self.requests.show(key));
        Err(Error::new(ErrorKind::Corrupt, "read pack", message).with_hint(REMOVE))
    }

    async fn blobs(&self, needed: &Arc<Mutex<Needed>>) -> Result<()> {
        let there: HashSet<Digest> = self.record.blobs.iter().map(|hex| hex.0).collect();
        let take = |digest: &Digest| lock(needed).remove(digest).map(|paths| (*digest, paths));
        let wanted: Vec<_> = there.iter().filter_map(take).collect();
        let fetch = |(digest, paths): (Digest, Vec<TreePath>)| async move {
            for path in paths {
                self.blob(&digest, path).await?;
            }
            Ok::<_, Error>(())
        };
        stream::iter(wanted).map(fetch).buffer_unordered(BLOBS_AT_ONCE).try_collect::<()>().await
    }

    async fn blob(&self, digest: &Digest, path: TreePath) -> Result<()> {
        let key = self.requests.location().key(&format!("{BLOBS}{digest}"));
        let version = match self.requests.bucket.settings.at {
            Some(at) => history::version_of(self.requests, &key, at.into()).await?,
            None => None,
        };
        let wanted = Wanted { key: &key, version: version.as_deref(), ..Wanted::default() };
        let found = crate::download::to_file(self.requests, self.cx, self.staging, wanted, path);
        let found = found.await.map_err(|e| lost(self.requests, e))?;
        expect(&found, digest, &self.requests.show(&key))
    }

    fn cached(&self, pack: &Pack) -> PathBuf {
        self.cx.cache.join("packs").join(pack.id.0.to_string())
    }

    async fn forget_other_headers(&self) -> Result<()> {
        let folder = self.cx.cache.join("packs");
        let used: HashSet<String> = self.record.packs.iter().map(|pack| pack.id.0.to_string()).collect();
        let work = move |_: &Interrupt| {
            for name in fs::Folder::open(&folder)?.names()? {
                if !name.name.to_str().is_some_and(|name| used.contains(name)) {
                    fs::remove_tree(&folder.join(&name.name), &Interrupt::never())?;
                }
            }
            Ok(())
        };
        // Without any pack there is no folder; a cache that cannot be tidied is only larger.
        let _ = self.cx.blocking("tidy up", work).await;
        Ok(())
    }
}

fn lock(needed: &Mutex<Needed>) -> std::sync::MutexGuard<'_, Needed> {
    needed.lock().unwrap_or_else(PoisonError::into_inner)
}

fn write(staging: &Staging, paths: &[TreePath], digest: &Digest, content: &[u8], what: &str) -> Result<()> {
    paths.iter().try_for_each(|path| expect(&staging.write_bytes(path, false, content)?, digest, what))
}

/// What was read of the object `what` must be what it is called after.
fn expect(found: &Digest, digest: &Digest, what: &str) -> Result<()> {
    if found == digest {
        return Ok(());
    }
    let message = format!("{what} is damaged: what should be {digest} is {found}");
    Err(Error::new(ErrorKind::Corrupt, "materialize", message).with_hint(REMOVE))
}
