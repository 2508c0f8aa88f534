//! The HTTP endpoints of a daemon. They only read what the loop has written down, so they answer while the source hangs.

mod access;
mod hooks;
mod manifest;
mod pace;
mod places;
mod secret;
mod server;
mod target;
mod tls;

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use axum::middleware::{Next, from_fn, from_fn_with_state};
use axum::response::{Html, IntoResponse, Response};
use axum::routing::{self, MethodRouter};
use axum::{Extension, Router};
use dagsync_core::worded;
use serde_json::json;

use crate::config::{HttpAuth, PushHooks};
use crate::engine::Wake;
use crate::metrics::{self, Metrics};
use crate::page::{self, FleetBoard};
use crate::status::StatusBoard;
use crate::store::Store;

pub use access::{Access, Guard};
pub use places::room;
pub use server::Server;
pub use tls::Tls;

const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
const PLAIN: &str = "text/plain; version=0.0.4; charset=utf-8";
/// Nothing but push events has a body that is read.
const BODY_MAX: u64 = 64 << 10;
/// The path of push events, which bound themselves.
const EVENTS: &str = "/v1/hooks/";
/// The longest that any answer takes; a long poll waits less.
const ANSWER_MAX: Duration = Duration::from_secs(80);
/// What every answer says to browsers and caches.
const HARDENED: [(HeaderName, &str); 4] = [
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::CACHE_CONTROL, "no-store"),
    (header::X_FRAME_OPTIONS, "DENY"),
    (header::REFERRER_POLICY, "no-referrer"),
];

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
    /// What is asked of clients.
    pub access: Access,
    /// The files with the secrets of push events.
    pub hooks: PushHooks,
    /// Answer every other path as git-sync does.
    pub git_sync: bool,
    /// The loop is taken for dead when it did not turn for so long.
    pub patience: Duration,
    /// Connections at once.
    pub places: usize,
    /// What is known of the other pods, for the page.
    pub fleet: FleetBoard,
}

/// A path, what may be done with it and by whom.
#[derive(Debug)]
pub struct Route {
    /// The only method.
    pub method: Method,
    /// The path, with `{name}` for what varies.
    pub path: &'static str,
    /// Who may.
    pub guard: Guard,
    handler: MethodRouter<Arc<Endpoints>>,
}

/// Every path that is answered; in the place of git-sync `/` is left to its probe.
pub fn routes(places: usize, git_sync: bool) -> Vec<Route> {
    let get = |path, guard, handler| Route { method: Method::GET, path, guard, handler };
    let post = |path, guard, handler| Route { method: Method::POST, path, guard, handler };
    let target = routing::get(target::answer).layer(Extension(target::Waiting::new(places)));
    let manifest = routing::get(manifest::answer).layer(Extension(manifest::Shelf::new()));
    let event = routing::post(hooks::receive).layer(Extension(hooks::Inbox::new()));
    let mut routes = vec![
        get("/livez", Guard::Open, routing::get(livez)),
        get("/readyz", Guard::Open, routing::get(readyz)),
        get("/metrics", Guard::Read, routing::get(metrics)),
        get("/v1/status", Guard::Read, routing::get(status)),
        get("/v1/target", Guard::Read, target),
        get("/v1/versions/{version}", Guard::Read, routing::get(target::known)),
        get("/v1/versions/{version}/manifest", Guard::Read, manifest),
        post("/v1/sync", Guard::Command, routing::post(sync)),
        post("/v1/hooks/{sender}", Guard::Event, event),
        get("/ui", Guard::Read, routing::get(page)),
    ];
    if !git_sync {
        routes.push(get("/", Guard::Read, routing::get(page)));
    }
    routes
}

/// Answers every path.
pub fn router(endpoints: Endpoints) -> Router {
    let routes = routes(endpoints.places, endpoints.git_sync);
    build(endpoints, routes)
}

/// Answers probes alone.
pub fn probes(endpoints: Endpoints) -> Router {
    let routes =
        routes(endpoints.places, endpoints.git_sync).into_iter().filter(|route| route.guard == Guard::Open).collect();
    build(endpoints, routes)
}

fn build(endpoints: Endpoints, routes: Vec<Route>) -> Router {
    let endpoints = Arc::new(endpoints);
    let add = |router: Router<Arc<Endpoints>>, route: Route| {
        let guard = from_fn_with_state((endpoints.clone(), route.guard), access::admit);
        router.route(route.path, route.handler.route_layer(guard))
    };
    let router = routes.into_iter().fold(Router::new(), add);
    router.fallback(other).layer(from_fn(bound)).with_state(endpoints)
}

type Shared = State<Arc<Endpoints>>;

/// Every path that is none of ours: git-sync's probe, or nothing.
async fn other(State(endpoints): Shared, headers: HeaderMap) -> Response {
    let guard = if endpoints.git_sync { Guard::Open } else { Guard::Read };
    if let Some(refused) = access::refusal(&endpoints, guard, &headers).await {
        return refused;
    }
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
        // Probes need no token, so where all else does they tell nothing of the source.
        (_, Some(error)) if endpoints.access.auth != HttpAuth::All => {
            (StatusCode::SERVICE_UNAVAILABLE, format!("no verified version yet: {}\n", error.message)).into_response()
        }
        _ => (StatusCode::SERVICE_UNAVAILABLE, "no verified version yet\n").into_response(),
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

async fn sync(State(endpoints): Shared) -> Response {
    endpoints.wake.wake();
    (StatusCode::ACCEPTED, axum::Json(json!({ "accepted": true }))).into_response()
}

async fn page(State(endpoints): Shared) -> Response {
    let look = endpoints.fleet.look().await;
    let status = endpoints.board.read();
    let page = page::render(&status, look.as_ref(), SystemTime::now());
    ([(header::CONTENT_SECURITY_POLICY, page::POLICY.as_str())], Html(page)).into_response()
}

/// Bounds a request in size and time, and an answer in what browsers may make of it.
async fn bound(request: Request, next: Next) -> Response {
    let declared = request.headers().get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse().ok());
    let is_event = request.uri().path().starts_with(EVENTS);
    let mut response = if declared.is_some_and(|bytes: u64| bytes > BODY_MAX) && !is_event {
        problem(StatusCode::PAYLOAD_TOO_LARGE, &format!("a request has at most {BODY_MAX} bytes"))
    } else {
        let late = |_| problem(StatusCode::SERVICE_UNAVAILABLE, "the answer took too long; ask again");
        tokio::time::timeout(ANSWER_MAX, next.run(request)).await.unwrap_or_else(late)
    };
    let headers = response.headers_mut();
    for (name, value) in HARDENED {
        headers.insert(name, HeaderValue::from_static(value));
    }
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
