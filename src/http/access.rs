//! Who may ask for what: the token, before a handler is reached.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use dagsync_core::secret::{COMMENTED, TOKEN_MIN, is_comment};
use dagsync_core::{Digest, worded};
use subtle::{Choice, ConstantTimeEq};

use super::secret::{self, Refusal};
use super::{Endpoints, problem};
use crate::config::HttpAuth;

const TOKEN_FILE: &str = "http.token_file";
/// More clients than this share their tokens.
const TOKENS: usize = 16;

/// Who may use a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Guard {
    /// Everybody, always: probes. The kubelet has no token.
    Open,
    /// Everybody, unless `http.auth` is `all`.
    Read,
    /// Who has a token.
    Command,
    /// Who sends an event that proves itself: a forge signs it and sends no token of ours.
    Event,
}

/// What is asked of clients.
#[derive(Debug, Clone, Default)]
pub struct Access {
    /// What the token is asked for.
    pub auth: HttpAuth,
    /// The file with the bearer tokens.
    pub token_file: Option<PathBuf>,
}

impl Access {
    const fn needs_token(&self, guard: Guard) -> bool {
        match guard {
            Guard::Open | Guard::Event => false,
            Guard::Read => matches!(self.auth, HttpAuth::All),
            Guard::Command => true,
        }
    }

    /// Says in the log what is wrong with the file, before somebody is refused or guesses a token.
    pub async fn inspect(&self) {
        let Some(file) = &self.token_file else { return };
        match tokens(file).await {
            Ok(tokens) if tokens.iter().any(|token| token.len() < TOKEN_MIN) => {
                let name = worded(TOKEN_FILE);
                tracing::warn!("{name} has a token of less than {TOKEN_MIN} characters, which can be guessed");
            }
            Ok(_) => {}
            Err((_, message)) => tracing::warn!("nobody can give commands: {message}"),
        }
    }

    async fn check(&self, guard: Guard, headers: &HeaderMap) -> Result<(), Refusal> {
        let Some(file) = &self.token_file else {
            return Err((StatusCode::FORBIDDEN, "commands are off: http.token_file is not set".to_owned()));
        };
        let unknown = || (StatusCode::UNAUTHORIZED, "a bearer token is needed, one of http.token_file".to_owned());
        // Browsers send a password by themselves, also when another site makes them: enough to look, not to command.
        let basic = if guard == Guard::Read { password(headers) } else { None };
        let given = bearer(headers).map(<[u8]>::to_vec).or(basic).ok_or_else(unknown)?;
        let tokens = tokens(file).await?;
        let same = tokens.iter().fold(Choice::from(0), |same, token| same | is_same(&given, token));
        if bool::from(same) { Ok(()) } else { Err(unknown()) }
    }
}

/// The tokens as they are now.
async fn tokens(file: &Path) -> Result<Vec<Vec<u8>>, Refusal> {
    let tokens = secret::lines(TOKEN_FILE, file, TOKENS).await?;
    if tokens.iter().any(|token| is_comment(token)) {
        return Err((StatusCode::INTERNAL_SERVER_ERROR, format!("{} {COMMENTED}", worded(TOKEN_FILE))));
    }
    Ok(tokens)
}

/// Lets a request pass to its handler, or answers it.
pub(super) async fn admit(
    State((endpoints, guard)): State<(Arc<Endpoints>, Guard)>,
    request: Request,
    next: Next,
) -> Response {
    match refusal(&endpoints, guard, request.headers()).await {
        Some(refused) => refused,
        None => next.run(request).await,
    }
}

/// The answer to whoever may not use a path.
pub(super) async fn refusal(endpoints: &Endpoints, guard: Guard, headers: &HeaderMap) -> Option<Response> {
    if !endpoints.access.needs_token(guard) {
        return None;
    }
    let (status, message) = endpoints.access.check(guard, headers).await.err()?;
    // Who shows nothing guesses nothing: clients ask without a token first, and browsers without a password.
    if headers.contains_key(header::AUTHORIZATION) {
        endpoints.metrics.refused("token");
    }
    let mut response = problem(status, &message);
    if status == StatusCode::UNAUTHORIZED {
        let challenges = response.headers_mut();
        challenges.append(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        if guard == Guard::Read {
            challenges.append(header::WWW_AUTHENTICATE, HeaderValue::from_static("Basic realm=\"dagsync\""));
        }
    }
    Some(response.into_response())
}

/// Whether the bearer token of `headers` is `secret`, which is not empty.
pub(super) fn is_shown(headers: &HeaderMap, secret: &[u8]) -> bool {
    !secret.is_empty() && bearer(headers).is_some_and(|given| is_same(given, secret).into())
}

/// Equal digests take equal time, whatever the lengths.
fn is_same(given: &[u8], secret: &[u8]) -> Choice {
    Digest::of(given).as_bytes().ct_eq(Digest::of(secret).as_bytes())
}

fn bearer(headers: &HeaderMap) -> Option<&[u8]> {
    credentials(headers, b"Bearer ")
}

/// The password of basic authentication, whatever the user's name.
fn password(headers: &HeaderMap) -> Option<Vec<u8>> {
    let decoded = STANDARD.decode(credentials(headers, b"Basic ")?).ok()?;
    let colon = decoded.iter().position(|&byte| byte == b':')?;
    Some(decoded[colon + 1..].to_vec()).filter(|password| !password.is_empty())
}

fn credentials<'a>(headers: &'a HeaderMap, scheme: &[u8]) -> Option<&'a [u8]> {
    let value = headers.get(header::AUTHORIZATION)?.as_bytes();
    let (given, rest) = value.split_at_checked(scheme.len())?;
    let rest = rest.trim_ascii();
    (given.eq_ignore_ascii_case(scheme) && !rest.is_empty()).then_some(rest)
}
