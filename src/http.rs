//! The HTTP endpoints of a daemon. They only read what the loop has written down, so they answer while the source hangs.

mod hooks;
mod server;
mod target;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::{Path, Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::middleware::{Next, from_fn};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Extension, Router};
use dagsync_core::{Interrupt, Version, blocking, fs, worded};
use serde_json::json;
use subtle::ConstantTimeEq;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::config::PushHooks;
use crate::engine::Wake;
use crate::metrics::{self, Metrics};
use crate::status::StatusBoard;
use crate::store::Store;

pub use server::serve;

const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
const PLAIN: &str = "text/plain; version=0.0.4; charset=utf-8";
const TOKEN_MAX: u64 = 4096;
/// Manifests that are in memory at once: one of 100,000 files has about 10 MB.
const MANIFESTS: usize = 4;
/// The longest that a client waits for its turn to get one.
const MANIFEST_WAIT: Duration = Duration::from_secs(10);

/// The longest that a client waits for the store.
const STORE_WAIT: Duration = Duration::from_secs(10);

/// What the endpoints answer from.
#[derive(Debug, Clone)]
pub struct Endpoints {
    /// The daemon's status.
    pub board: StatusBoard,
    /// Its counters.
    pub metrics: Metrics,
    /// The store whose manifests are served.
    pub store: Store,
    /// Asks the loop for a sync.
    pub wake: Wake,
    /// The file with the bearer token for commands.
    pub token_file: Option<PathBuf>,
    /// The files with the secrets of push events.
    pub hooks: PushHooks,
    /// Answer every other path as git-sync does.
    pub git_sync: bool,
    /// The loop is taken for dead when it did not turn for so long.
    pub patience: Duration,
}

/// The routes of DESIGN: probes, metrics, status, manifests, commands.
pub fn router(endpoints: Endpoints) -> Router {
    Router::new()
        .route("/livez", get(livez))
        .route("/readyz", get(readyz))
        .route("/metrics", get(metrics))
        .route("/v1/status", get(status))
        .route("/v1/target", get(target::answer).layer(Extension(target::Waiting::new())))
        .route("/v1/versions/{version}", get(target::known))
        .route("/v1/versions/{version}/manifest", get(manifest).layer(Extension(Turns::new())))
        .route("/v1/sync", post(sync))
        .route("/v1/hooks/{sender}", post(hooks::receive).layer(Extension(hooks::Inbox::new())))
        .fallback(other)
        .layer(from_fn(harden))
        .with_state(Arc::new(endpoints))
}

type Shared = State<Arc<Endpoints>>;

/// `/` and every path that is none of ours: git-sync's probe, or nothing.
async fn other(State(endpoints): Shared) -> Response {
    let status = endpoints.board.read();
    match (endpoints.git_sync, status.ready && status.version.is_some()) {
        (false, _) => problem(StatusCode::NOT_FOUND, "no such path"),
        (true, false) => (StatusCode::SERVICE_UNAVAILABLE, "repo is not ready\n").into_response(),
        (true, true) => StatusCode::OK.into_response(),
    }
}

async fn livez(State(endpoints): Shared) -> Response {
    let silence = endpoints.board.read().beat.elapsed();
    if silence > endpoints.patience {
        let message = format!("the sync loop has not turned for {} s", silence.as_secs());
        return (StatusCode::SERVICE_UNAVAILABLE, message).into_response();
    }
    "ok\n".into_response()
}

async fn readyz(State(endpoints): Shared) -> Response {
    let status = endpoints.board.read();
    match (&status.version, &status.last_error) {
        (Some(version), _) if status.ready => format!("{version}\n").into_response(),
        (_, Some(error)) => {
            (StatusCode::SERVICE_UNAVAILABLE, format!("no verified version yet: {}\n", error.message)).into_response()
        }
        (_, None) => (StatusCode::SERVICE_UNAVAILABLE, "no verified version yet\n").into_response(),
    }
}

/// OpenMetrics for who asks for it, as Prometheus does, and the older text format for everybody else.
async fn metrics(State(endpoints): Shared, headers: HeaderMap) -> Response {
    let text = endpoints.metrics.encode(&endpoints.board.read());
    let accept = headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok());
    if accept.into_iter().any(|value| value.contains("application/openmetrics-text")) {
        return ([(header::CONTENT_TYPE, OPENMETRICS)], text).into_response();
    }
    ([(header::CONTENT_TYPE, PLAIN)], metrics::as_plain_text(&text)).into_response()
}

async fn status(State(endpoints): Shared) -> Response {
    axum::Json(&*endpoints.board.read()).into_response()
}

async fn manifest(
    State(endpoints): Shared,
    Extension(turns): Extension<Turns>,
    Path(version): Path<String>,
) -> Response {
    let Ok(version) = version.parse::<Version>() else {
        return no_version();
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
struct Turns(Arc<Semaphore>);

impl Turns {
    fn new() -> Self {
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

async fn sync(State(endpoints): Shared, headers: HeaderMap) -> Response {
    let Some(file) = endpoints.token_file.clone() else {
        return problem(StatusCode::FORBIDDEN, "commands are off: http.token_file is not set");
    };
    let token = blocking(&Interrupt::never(), "read token", move |_| fs::read(&file, TOKEN_MAX)).await;
    let token = match token {
        Ok(Some(token)) => token,
        Ok(None) => return problem(StatusCode::INTERNAL_SERVER_ERROR, "http.token_file does not exist"),
        Err(error) => {
            tracing::error!(%error, "{}", worded("http.token_file cannot be read"));
            return problem(StatusCode::INTERNAL_SERVER_ERROR, "http.token_file cannot be read");
        }
    };
    if !is_authorized(&headers, token.trim_ascii()) {
        let challenge = [(header::WWW_AUTHENTICATE, "Bearer")];
        return (challenge, problem(StatusCode::UNAUTHORIZED, "a bearer token is needed")).into_response();
    }
    endpoints.wake.wake();
    (StatusCode::ACCEPTED, axum::Json(json!({ "accepted": true }))).into_response()
}

/// An empty token file authorizes nobody.
fn is_authorized(headers: &HeaderMap, token: &[u8]) -> bool {
    let given = headers.get(header::AUTHORIZATION).map(header::HeaderValue::as_bytes).unwrap_or_default();
    let (scheme, given) = given.split_at_checked(7).unwrap_or_default();
    !token.is_empty() && scheme.eq_ignore_ascii_case(b"Bearer ") && bool::from(given.trim_ascii().ct_eq(token))
}

async fn harden(request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    let headers = response.headers_mut();
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, header::HeaderValue::from_static("nosniff"));
    headers.insert(header::CACHE_CONTROL, header::HeaderValue::from_static("no-store"));
    response
}

fn no_version() -> Response {
    problem(StatusCode::BAD_REQUEST, "a version is 64 lower-case hex digits")
}

fn problem(status: StatusCode, message: &str) -> Response {
    (status, axum::Json(json!({ "error": worded(message) }))).into_response()
}

#[cfg(test)]
#[path = "http/tests.rs"]
mod tests;
