//! `/v1/versions/{version}/manifest`: the names and digests of a version's files.

use std::sync::Arc;
use std::time::Duration;

use axum::Extension;
use axum::body::{Body, Bytes};
use axum::extract::{Path, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use dagsync_core::{Interrupt, Version, blocking};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::{Shared, problem};

/// Manifests that are in memory at once: one of 100,000 files has about 10 MB.
pub(super) const MANIFESTS: usize = 4;
/// The longest that a client waits for its turn to get one.
const MANIFEST_WAIT: Duration = Duration::from_secs(10);
/// The longest that a client waits for the store.
const STORE_WAIT: Duration = Duration::from_secs(10);

pub(super) async fn answer(
    State(endpoints): Shared,
    Extension(turns): Extension<Turns>,
    Path(version): Path<String>,
) -> Response {
    let Ok(version) = version.parse::<Version>() else {
        return problem(StatusCode::BAD_REQUEST, "a version is 64 lower-case hex digits");
    };
    let Some(turn) = turns.take().await else {
        return problem(StatusCode::SERVICE_UNAVAILABLE, "too many manifests are being read; ask again");
    };
    let store = endpoints.store.clone();
    // The turn goes along: it is taken for as long as the volume hangs, so that threads do not pile up.
    let read = move |_: &Interrupt| Ok(store.manifest_bytes(&version)?.map(|bytes| Sending { bytes, _turn: turn }));
    match tokio::time::timeout(STORE_WAIT, blocking(&Interrupt::never(), "read manifest", read)).await {
        Ok(Ok(Some(manifest))) => {
            let body = Body::from(Bytes::from_owner(manifest));
            ([(header::CONTENT_TYPE, "text/plain; charset=utf-8")], body).into_response()
        }
        Ok(Ok(None)) => problem(StatusCode::NOT_FOUND, "this store does not have that version"),
        Ok(Err(error)) => problem(StatusCode::INTERNAL_SERVER_ERROR, &error.to_string()),
        Err(_) => {
            let (root, wait) = (endpoints.store.root().display(), STORE_WAIT.as_secs());
            problem(StatusCode::SERVICE_UNAVAILABLE, &format!("{root} has not answered for {wait} s; ask again"))
        }
    }
}

/// The right to hold a manifest in memory.
#[derive(Debug, Clone)]
pub(super) struct Turns(Arc<Semaphore>);

impl Turns {
    pub(super) fn new() -> Self {
        Self(Arc::new(Semaphore::new(MANIFESTS)))
    }

    async fn take(&self) -> Option<OwnedSemaphorePermit> {
        tokio::time::timeout(MANIFEST_WAIT, self.0.clone().acquire_owned()).await.ok()?.ok()
    }
}

/// A manifest on its way to a client; the turn ends when the last byte was sent or the client is gone.
struct Sending {
    bytes: Vec<u8>,
    _turn: OwnedSemaphorePermit,
}

impl AsRef<[u8]> for Sending {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}
