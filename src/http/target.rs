//! `/v1/target`: where this pod is, for those who follow it. A long poll, so that they move right after it.

use std::sync::Arc;
use std::time::Duration;

use axum::Extension;
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use dagsync_core::{Revision, Version};
use serde::Deserialize;
use serde_json::json;
use tokio::sync::Semaphore;

use super::{Shared, no_version, problem};
use crate::client::Lead;
use crate::status::{Status, SyncState};

const WAIT_MAX: Duration = Duration::from_secs(60);

/// The places of those who wait.
#[derive(Debug, Clone)]
pub(super) struct Waiting(Arc<Semaphore>);

impl Waiting {
    /// Three of four connections may wait; a request of one more is answered at once.
    pub(super) fn new(places: usize) -> Self {
        Self(Arc::new(Semaphore::new(places / 4 * 3)))
    }
}

#[derive(Debug, Deserialize)]
pub(super) struct Question {
    /// The version that the asker knows.
    after: Option<Version>,
    /// How long to wait for another one.
    #[serde(with = "humantime_serde", default)]
    wait: Duration,
}

pub(super) async fn answer(
    State(endpoints): Shared,
    Extension(waiting): Extension<Waiting>,
    question: Result<Query<Question>, axum::extract::rejection::QueryRejection>,
) -> Response {
    let Ok(Query(Question { after, wait })) = question else {
        return problem(
            StatusCode::BAD_REQUEST,
            "after is a version and wait a duration, such as after=sha256:…&wait=30s",
        );
    };
    if let (Some(after), Ok(_place)) = (after, waiting.0.try_acquire()) {
        let moved = endpoints.board.wait_for(|status| led(status).is_some_and(|lead| lead.version != after));
        let _ = tokio::time::timeout(wait.min(WAIT_MAX), moved).await;
    }
    let status = endpoints.board.read();
    match led(&status) {
        Some(lead) => axum::Json(lead).into_response(),
        None => {
            // With its name, so that who follows itself finds out.
            let body = json!({ "error": "no verified version is here; see /v1/status", "id": status.id });
            (StatusCode::SERVICE_UNAVAILABLE, axum::Json(body)).into_response()
        }
    }
}

/// What the source called a version that was published here not long ago, for who is pinned to it.
pub(super) async fn known(State(endpoints): Shared, Path(version): Path<String>) -> Response {
    let Ok(version) = version.parse::<Version>() else { return no_version() };
    let status = endpoints.board.read();
    match status.history.iter().find(|flip| flip.version == version) {
        Some(flip) => axum::Json(lead(&status, version, flip.revision.clone())).into_response(),
        None => problem(StatusCode::NOT_FOUND, "this daemon does not remember that version"),
    }
}

/// Where those who follow should be; nothing is said before a version is verified. What is served from where it lies is
/// no version of anybody's when somebody touched it.
fn led(status: &Status) -> Option<Lead> {
    if status.folder.is_none() && matches!(status.state, SyncState::Tampered | SyncState::Unsealed) {
        return None;
    }
    Some(lead(status, status.version.filter(|_| status.ready)?, status.revision.clone()))
}

fn lead(status: &Status, version: Version, revision: Option<Revision>) -> Lead {
    let via = [status.id.clone()].into_iter().chain(status.target.via.iter().cloned()).collect();
    Lead { version, revision, strategy: status.strategy.clone(), filter_hash: status.filter_hash.clone(), via }
}
