//! Push events: a forge says that something was pushed, and the loop looks at once instead of at its next turn.
//!
//! An event is a hint and never truth: nothing of what it says is used. Who replays one achieves a poll.

mod proof;

use std::collections::VecDeque;
use std::hash::{BuildHasher, RandomState};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use axum::Extension;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use dagsync_core::worded;
use futures::StreamExt;
use serde_json::json;

use super::places::{Place, Places};
use super::secret::{self, Refusal};
use super::{Endpoints, Shared, problem};
use proof::Proof;

/// The most that GitHub sends.
const BODY_MAX: usize = 25 << 20;
/// The longest that one event may take; GitHub waits no longer.
const PATIENCE: Duration = Duration::from_secs(10);
/// Events that are read at once, each bit by bit. When there are more, the one that takes longest makes room.
const AT_ONCE: usize = 64;
/// Deliveries that are remembered.
const SEEN: usize = 4096;
/// The secret, and the one before or after it.
const SECRETS: usize = 2;
/// How much of a body is looked at for what a system hook is about, which GitLab says first.
const HEAD: usize = 512;

/// Who sends events, and so how they prove it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Sender {
    GitHub,
    GitLab,
    Generic,
}

impl Sender {
    fn named(name: &str) -> Option<Self> {
        [Self::GitHub, Self::GitLab, Self::Generic].into_iter().find(|sender| sender.as_str() == name)
    }

    const fn as_str(self) -> &'static str {
        match self {
            Self::GitHub => "github",
            Self::GitLab => "gitlab",
            Self::Generic => "generic",
        }
    }

    const fn setting(self) -> &'static str {
        match self {
            Self::GitHub => "http.hooks.github_secret_file",
            Self::GitLab => "http.hooks.gitlab_token_file",
            Self::Generic => "http.hooks.generic_secret_file",
        }
    }

    fn secret_file(self, endpoints: &Endpoints) -> Option<PathBuf> {
        match self {
            Self::GitHub => endpoints.hooks.github_secret_file.clone(),
            Self::GitLab => endpoints.hooks.gitlab_token_file.clone(),
            Self::Generic => endpoints.hooks.generic_secret_file.clone(),
        }
    }

    /// What tells a delivery from all others: of each group the first header that is there. GitHub signs no id, so its
    /// signature counts too; its payload has the time of the push, so no two pushes share one.
    const fn ids(self) -> &'static [&'static [&'static str]] {
        match self {
            Self::GitHub => &[&["x-github-delivery"], &["x-hub-signature-256"]],
            // The UUID comes last: events that follow from one another share it.
            Self::GitLab => &[&["webhook-id", "idempotency-key", "x-gitlab-event-uuid"]],
            Self::Generic => &[&["webhook-id", "x-gitea-delivery", "x-forgejo-delivery", "x-request-uuid"]],
        }
    }

    fn is_push(self, headers: &HeaderMap, head: &[u8]) -> bool {
        match (self, text(headers, if self == Self::GitHub { "x-github-event" } else { "x-gitlab-event" })) {
            (Self::GitHub, event) => event == "push",
            (Self::GitLab, "System Hook") => is_system_push(head),
            (Self::GitLab, event) => matches!(event, "Push Hook" | "Tag Push Hook"),
            (Self::Generic, _) => true,
        }
    }
}

/// GitLab's system hooks report everything that happens to an instance under one name.
fn is_system_push(head: &[u8]) -> bool {
    let head: String = String::from_utf8_lossy(head).split_whitespace().collect();
    ["push", "tag_push", "repository_update"].iter().any(|event| head.contains(&format!(r#""event_name":"{event}""#)))
}

/// What all events share: room for a few at once, and the deliveries that were seen.
#[derive(Debug, Clone)]
pub(super) struct Inbox {
    places: Places,
    seen: Arc<Mutex<VecDeque<u64>>>,
    hasher: RandomState,
}

impl Inbox {
    pub(super) fn new() -> Self {
        Self { places: Places::new(AT_ONCE), seen: Arc::default(), hasher: RandomState::new() }
    }

    /// Whether none of `ids` was seen; they are from now on. An event without an id is always new.
    fn is_new(&self, sender: Sender, headers: &HeaderMap) -> bool {
        let first = |group: &&[&str]| group.iter().find_map(|name| headers.get(*name));
        let ids = sender.ids().iter().filter_map(first).map(|id| self.hasher.hash_one((sender, id.as_bytes())));
        let ids: Vec<u64> = ids.collect();
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let is_new = !ids.iter().any(|id| seen.contains(id));
        if is_new {
            seen.extend(ids);
            let surplus = seen.len().saturating_sub(SEEN);
            seen.drain(..surplus);
        }
        is_new
    }
}

/// What became of an event that is genuine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    Accepted,
    Ping,
    Ignored,
    Replayed,
}

/// `POST /v1/hooks/{sender}`.
pub(super) async fn receive(
    State(endpoints): Shared,
    Extension(inbox): Extension<Inbox>,
    Path(sender): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Response {
    let Some(sender) = Sender::named(&sender) else {
        return problem(StatusCode::NOT_FOUND, "events come from github, gitlab or generic");
    };
    let judged = in_time(&inbox.places.take(), judge(&endpoints, &inbox, sender, &headers, body)).await;
    let result = match &judged {
        Ok(Verdict::Accepted) => "accepted",
        Ok(Verdict::Ping | Verdict::Ignored) => "ignored",
        Ok(Verdict::Replayed) => "replayed",
        Err(_) => "refused",
    };
    endpoints.metrics.push_event(sender.as_str(), result);
    tracing::debug!(sender = sender.as_str(), result, "push event");
    match judged {
        Ok(verdict) => verdict.into_response(),
        Err((status, message)) => problem(status, &message),
    }
}

impl IntoResponse for Verdict {
    fn into_response(self) -> Response {
        let (status, message) = match self {
            Self::Accepted => (StatusCode::ACCEPTED, "syncing"),
            Self::Ping => (StatusCode::OK, "pong"),
            Self::Ignored => (StatusCode::ACCEPTED, "ignored: not a push"),
            Self::Replayed => (StatusCode::OK, "already seen"),
        };
        (status, axum::Json(json!({ "accepted": self == Self::Accepted, "message": message }))).into_response()
    }
}

/// A verdict, unless it takes too long, alone or while others wait.
async fn in_time(place: &Place, verdict: impl Future<Output = Result<Verdict, Refusal>>) -> Result<Verdict, Refusal> {
    tokio::select! {
        verdict = verdict => verdict,
        () = place.lost() => Err((StatusCode::SERVICE_UNAVAILABLE, "others send faster; send it again".to_owned())),
        () = tokio::time::sleep(PATIENCE) => {
            let message = format!("the event did not arrive within {} s", PATIENCE.as_secs());
            Err((StatusCode::REQUEST_TIMEOUT, message))
        }
    }
}

async fn judge(
    endpoints: &Endpoints,
    inbox: &Inbox,
    sender: Sender,
    headers: &HeaderMap,
    body: Body,
) -> Result<Verdict, Refusal> {
    let setting = sender.setting();
    let Some(file) = sender.secret_file(endpoints) else {
        return Err((StatusCode::FORBIDDEN, format!("these events are off: {} is not set", worded(setting))));
    };
    let secrets = secret::lines(setting, &file, SECRETS).await?;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let mut proof = Proof::claimed(sender, headers, &secrets, now);
    let head = if proof.is_absent() { Vec::new() } else { read(body, &mut proof).await? };
    if !proof.holds() {
        let message = format!("no valid signature or token; compare the sender's secret with {}", worded(setting));
        return Err((StatusCode::UNAUTHORIZED, message));
    }
    if sender == Sender::GitHub && text(headers, "x-github-event") == "ping" {
        return Ok(Verdict::Ping);
    }
    if !sender.is_push(headers, &head) {
        return Ok(Verdict::Ignored);
    }
    if !inbox.is_new(sender, headers) {
        return Ok(Verdict::Replayed);
    }
    endpoints.wake.expect_news();
    Ok(Verdict::Accepted)
}

/// Shows the body to `proof` and keeps its beginning alone.
async fn read(body: Body, proof: &mut Proof) -> Result<Vec<u8>, Refusal> {
    let (mut body, mut head, mut bytes) = (body.into_data_stream(), Vec::new(), 0);
    while let Some(part) = body.next().await {
        let part = part.map_err(|_| (StatusCode::BAD_REQUEST, "the event broke off".to_owned()))?;
        bytes += part.len();
        if bytes > BODY_MAX {
            return Err((StatusCode::PAYLOAD_TOO_LARGE, format!("an event has at most {BODY_MAX} bytes")));
        }
        head.extend(part.iter().take(HEAD - head.len()));
        proof.update(&part);
    }
    Ok(head)
}

/// A header as text; empty when it is absent or no text.
fn text<'a>(headers: &'a HeaderMap, name: &str) -> &'a str {
    headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
}

#[cfg(test)]
#[path = "hooks/tests.rs"]
mod tests;
