//! `/v1/versions/{version}/manifest`: the names and digests of a version's files.

use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use axum::Extension;
use axum::body::{Body, Bytes};
use axum::extract::{Path, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use dagsync_core::{Interrupt, Result, Version, blocking};
use futures::stream;
use tokio::sync::Semaphore;

use super::{Shared, no_version, problem};
use crate::store::Store;

/// Manifests that are in memory at once: one of 100,000 files has about 10 MB.
const MANIFESTS: usize = 4;
/// What one reader holds of it.
const PART: usize = 64 << 10;
/// The longest that a client waits for the store.
const STORE_WAIT: Duration = Duration::from_secs(10);

pub(super) async fn answer(
    State(endpoints): Shared,
    Extension(shelf): Extension<Shelf>,
    Path(version): Path<String>,
) -> Response {
    let Ok(version) = version.parse::<Version>() else { return no_version() };
    match tokio::time::timeout(STORE_WAIT, shelf.reader(&endpoints.store, version)).await {
        Ok(Ok(Some(reader))) => {
            let headers = [
                (header::CONTENT_TYPE, "text/plain; charset=utf-8".to_owned()),
                (header::CONTENT_LENGTH, reader.length()),
            ];
            (headers, reader.body()).into_response()
        }
        Ok(Ok(None)) => problem(StatusCode::NOT_FOUND, "this store does not have that version"),
        Ok(Err(error)) => problem(StatusCode::INTERNAL_SERVER_ERROR, &error.to_string()),
        Err(_) => {
            let (root, wait) = (endpoints.store.root().display(), STORE_WAIT.as_secs());
            problem(StatusCode::SERVICE_UNAVAILABLE, &format!("{root} has not answered for {wait} s; ask again"))
        }
    }
}

type Held = Vec<(Version, Arc<Vec<u8>>)>;

/// The manifests that are being sent, each in memory once however many read it, and for as long as somebody does. When
/// another one is asked for and there is no room, the one that nobody has taken a part of for longest goes, and its readers
/// with it: so slow ones hold up nobody.
#[derive(Debug, Clone)]
pub(super) struct Shelf {
    /// Those that were read last come last.
    held: Arc<Mutex<Held>>,
    /// The right to read from the store.
    turn: Arc<Semaphore>,
}

impl Shelf {
    pub(super) fn new() -> Self {
        Self { held: Arc::default(), turn: Arc::new(Semaphore::new(1)) }
    }

    pub(super) async fn reader(&self, store: &Store, version: Version) -> Result<Option<Reader>> {
        if let Some(reader) = self.find(version) {
            return Ok(Some(reader));
        }
        // The semaphore is never closed.
        let turn = self.turn.clone().acquire_owned().await;
        if let Some(reader) = self.find(version) {
            return Ok(Some(reader));
        }
        let (store, shelf) = (store.clone(), self.clone());
        // The turn goes along: it is taken for as long as the volume hangs, so that threads do not pile up.
        let read = move |_: &Interrupt| {
            let _turn = turn;
            Ok(store.manifest_bytes(&version)?.map(|bytes| shelf.put(version, bytes)))
        };
        blocking(&Interrupt::never(), "read manifest", read).await
    }

    fn held(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn find(&self, version: Version) -> Option<Reader> {
        let held = self.held();
        let (_, bytes) = held.iter().find(|(known, _)| *known == version)?;
        Some(Reader::of(self, version, bytes))
    }

    fn put(&self, version: Version, bytes: Vec<u8>) -> Reader {
        let (mut held, bytes) = (self.held(), Arc::new(bytes));
        if held.len() >= MANIFESTS {
            held.remove(0);
        }
        let reader = Reader::of(self, version, &bytes);
        held.push((version, bytes));
        reader
    }
}

/// Who is being sent a manifest.
pub(super) struct Reader {
    shelf: Shelf,
    version: Version,
    bytes: Weak<Vec<u8>>,
    length: usize,
    sent: usize,
}

impl Reader {
    /// Made while the shelf is locked: who puts a manifest away counts its readers.
    fn of(shelf: &Shelf, version: Version, bytes: &Arc<Vec<u8>>) -> Self {
        Self { shelf: shelf.clone(), version, bytes: Arc::downgrade(bytes), length: bytes.len(), sent: 0 }
    }

    fn length(&self) -> String {
        self.length.to_string()
    }

    fn body(self) -> Body {
        Body::from_stream(stream::try_unfold(self, |mut reader| async move {
            let part = reader.part()?;
            io::Result::Ok(part.map(|part| (part, reader)))
        }))
    }

    /// What comes next; an error when the manifest had to make room for another one.
    fn part(&mut self) -> io::Result<Option<Bytes>> {
        if self.sent == self.length {
            return Ok(None);
        }
        let bytes = self.bytes.upgrade().ok_or_else(|| io::Error::other("others read faster; ask again"))?;
        self.touch();
        let end = self.length.min(self.sent + PART);
        let part = Bytes::copy_from_slice(&bytes[self.sent..end]);
        self.sent = end;
        Ok(Some(part))
    }

    fn touch(&self) {
        let mut held = self.shelf.held();
        if let Some(at) = held.iter().position(|(version, _)| *version == self.version) {
            held[at..].rotate_left(1);
        }
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        let is_last = |bytes: &Arc<Vec<u8>>| Arc::as_ptr(bytes) == self.bytes.as_ptr() && Arc::weak_count(bytes) == 1;
        self.shelf.held().retain(|(_, bytes)| !is_last(bytes));
    }
}
