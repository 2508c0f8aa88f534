//! What an image should hold, and who says so: a version, another daemon, a registry.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};

use dagsync_core::{Error, ErrorKind, Interrupt, Result, Version, blocking, secret};
use reqwest::{Response, StatusCode};
use serde::Deserialize;
use url::Url;

use crate::http::{self, Terms};
use crate::registry::{self, Access, Memory, Reference};

/// The label that `dagsync seal` prints the value of.
pub const LABEL: &str = "io.dagsync.version";

const STATUS_MAX: usize = 1 << 20;
const ASK: &str = "ask";
const OPERATION: &str = "ask daemon";
const HINT: &str = "check that it is the URL of a daemon, and no proxy's";
/// The longest that asking may take, however many answers it takes.
const PATIENCE: Duration = Duration::from_secs(45);
/// For how long somebody who does not answer is asked again, and the waits between.
const AGAIN: Duration = Duration::from_secs(15);
const FIRST_WAIT: Duration = Duration::from_millis(500);
const LONGEST_WAIT: Duration = Duration::from_secs(4);

/// How another daemon is asked.
#[derive(Debug, Clone, Default)]
pub struct DaemonAccess {
    /// The authorities that its certificate may be of, besides the system's.
    pub ca_file: Option<PathBuf>,
    /// The file with the bearer token; read at every use.
    pub token_file: Option<PathBuf>,
    /// The files with the certificate that is shown to it, and with its key.
    pub certificate: Option<(PathBuf, PathBuf)>,
    /// It has asked for the token, which is sent to nobody who does not.
    wants_token: Arc<AtomicBool>,
}

impl DaemonAccess {
    /// Access with these files.
    pub fn new(ca_file: Option<PathBuf>, token_file: Option<PathBuf>, certificate: Option<(PathBuf, PathBuf)>) -> Self {
        Self { ca_file, token_file, certificate, wants_token: Arc::default() }
    }

    async fn get(&self, url: Url) -> Result<Response> {
        let (ca_file, certificate, plain) = (self.ca_file.clone(), self.certificate.clone(), url.scheme() == "http");
        let terms = Terms { ca_file, certificate, plain, proxy: http::Proxy::None, redirects: http::REDIRECTS };
        let request = terms.client().await?.get(url);
        let unanswered = |e| http::unanswered(OPERATION, e);
        let (Some(file), Some(again)) = (self.token_file.clone(), request.try_clone()) else {
            return request.send().await.map_err(unanswered);
        };
        if !self.wants_token.load(Relaxed) {
            let response = request.send().await.map_err(unanswered)?;
            if response.status() != StatusCode::UNAUTHORIZED {
                return Ok(response);
            }
            self.wants_token.store(true, Relaxed);
        }
        let read = move |_: &Interrupt| secret::token("the token's file", &file);
        let token = blocking(&Interrupt::never(), "read token", read).await?;
        again.bearer_auth(token).send().await.map_err(unanswered)
    }
}

/// Who says what the tree should be.
#[derive(Debug, Clone)]
pub enum Expect {
    /// The user.
    Version(Version),
    /// Another daemon, whose certificate may be of the authorities in a file.
    Daemon(Url, DaemonAccess),
    /// The label of an image, and what is known of it.
    Image(Reference, Access, Arc<Memory>),
}

/// What was said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    /// The version.
    pub version: Version,
    /// The globs' hash, where it is told: other globs make another version of the same tree.
    pub filter_hash: Option<String>,
}

impl Expect {
    /// The version of the daemon at `url`.
    ///
    /// # Errors
    /// [`ErrorKind::Config`] when it is no URL of http or https, or holds a user.
    pub fn daemon(url: &str, access: DaemonAccess) -> Result<Self> {
        let bad = || {
            Error::new(ErrorKind::Config, "read URL", "it is no URL of a daemon")
                .with_hint("write it as http://host:8466")
        };
        let url = Url::parse(url).map_err(|e| bad().with_source(e))?;
        let is_plain = url.username().is_empty() && url.password().is_none();
        if is_plain && matches!(url.scheme(), "http" | "https") && url.has_host() {
            return Ok(Self::Daemon(url, access));
        }
        Err(bad())
    }

    /// The label of the image of that name.
    pub fn image(name: Reference, access: Access) -> Self {
        Self::Image(name, access, Arc::default())
    }

    /// Asks, for no more than half of the time that is left: what was found out before has to be noted too.
    ///
    /// # Errors
    /// Nobody answers in time, or the answer names no version; with who was asked.
    pub async fn ask(&self, interrupt: &Interrupt) -> Result<Wanted> {
        self.in_time(interrupt, self.answer()).await
    }

    /// As [`Expect::ask`], for who asks but once: what may pass is given some seconds to do so, such as a name that cannot be
    /// resolved yet when a pod starts.
    ///
    /// # Errors
    /// As of [`Expect::ask`].
    pub async fn ask_again(&self, interrupt: &Interrupt) -> Result<Wanted> {
        self.in_time(interrupt, self.answer_in_the_end()).await
    }

    async fn in_time(&self, interrupt: &Interrupt, answer: impl Future<Output = Result<Wanted>>) -> Result<Wanted> {
        let patience = interrupt.remaining().map_or(PATIENCE, |left| PATIENCE.min(left / 2));
        let asking = Interrupt::new(interrupt.token().clone(), Some(Instant::now() + patience));
        let asked = asking.guard(ASK, answer).await;
        asked.map_err(|error| match error.kind() {
            ErrorKind::Timeout if error.operation() == ASK => Error::new(ErrorKind::Timeout, ASK, "no answer in time")
                .with_context("asked", self)
                .with_hint(http::REACH)
                .retryable(),
            _ => error,
        })
    }

    async fn answer_in_the_end(&self) -> Result<Wanted> {
        let (start, mut wait) = (Instant::now(), FIRST_WAIT);
        loop {
            let error = match self.answer().await {
                Err(error) if may_pass(&error) => error,
                answer => return answer,
            };
            let pause = wait.mul_f64(0.75 + fastrand::f64() / 2.0).max(self.paused());
            if start.elapsed() + pause > AGAIN {
                return Err(error);
            }
            tracing::warn!(%error, "asking again in {:.1} seconds", pause.as_secs_f64());
            tokio::time::sleep(pause).await;
            wait = LONGEST_WAIT.min(wait * 2);
        }
    }

    /// How long who is asked wants to be left alone.
    fn paused(&self) -> Duration {
        match self {
            Self::Image(_, _, memory) => memory.paused().unwrap_or_default(),
            Self::Version(_) | Self::Daemon(..) => Duration::ZERO,
        }
    }

    async fn answer(&self) -> Result<Wanted> {
        match self {
            Self::Version(version) => Ok(Wanted { version: *version, filter_hash: None }),
            Self::Daemon(url, access) => {
                let asked = ask_daemon(url, access).await;
                asked.map_err(|e| e.with_context("url", shown(url)))
            }
            Self::Image(reference, access, memory) => ask_registry(reference, access, memory).await,
        }
    }
}

impl fmt::Display for Expect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Version(_) => f.write_str("the given version"),
            Self::Daemon(url, _) => f.write_str(&shown(url)),
            Self::Image(reference, ..) => write!(f, "image {reference}"),
        }
    }
}

/// Answers that are wrong stay wrong; no answer, or none yet, is another thing.
fn may_pass(error: &Error) -> bool {
    matches!(error.kind(), ErrorKind::Unreachable | ErrorKind::Timeout | ErrorKind::NotFound) && error.is_retryable()
}

/// Without what follows a `?`, which may be a secret.
fn shown(url: &Url) -> String {
    let mut shown = url.clone();
    shown.set_query(url.query().map(|_| "***"));
    shown.set_fragment(None);
    shown.into()
}

async fn ask_registry(reference: &Reference, access: &Access, memory: &Memory) -> Result<Wanted> {
    let image = registry::label(reference, LABEL, access, memory).await?;
    let label = image.label.ok_or_else(|| {
        Error::new(ErrorKind::NotFound, "read label", format!("the image has no label {LABEL}"))
            .with_context("image", reference)
            .with_hint(format!("build it with `--label {LABEL}=$(dagsync seal DIR)`"))
    })?;
    let version = label.parse().map_err(|_| {
        Error::new(ErrorKind::Corrupt, "read label", format!("the label {LABEL} holds no version"))
            .with_context("image", reference)
            .with_context("it holds", format!("{:?}", http::shortened(&label)))
            .with_hint("a version is sha256: and 64 lower-case hex digits, as `dagsync seal` prints it")
    })?;
    Ok(Wanted { version, filter_hash: None })
}

/// The part of a daemon's status that counts.
#[derive(Deserialize)]
struct Status {
    state: Option<String>,
    version: Option<Version>,
    filter_hash: Option<String>,
}

async fn ask_daemon(url: &Url, access: &DaemonAccess) -> Result<Wanted> {
    let mut status = url.clone();
    status.set_path(&format!("{}/v1/status", url.path().trim_end_matches('/')));
    let response = access.get(status).await?;
    if !response.status().is_success() {
        let message = format!("the answer is {}", response.status());
        let error = Error::new(ErrorKind::Unreachable, OPERATION, message).with_hint(HINT);
        let may_pass = response.status().is_server_error() || response.status() == StatusCode::TOO_MANY_REQUESTS;
        return Err(if may_pass { error } else { error.permanent() });
    }
    let body = http::read(OPERATION, response, STATUS_MAX).await?;
    let status: Status = serde_json::from_slice(&body)
        .map_err(|_| Error::new(ErrorKind::Corrupt, OPERATION, "the answer is no status of dagsync").with_hint(HINT))?;
    let version = status.version.ok_or_else(|| {
        Error::new(ErrorKind::NotFound, OPERATION, "it has no version yet")
            .retryable()
            .with_hint("wait for its first sync")
    })?;
    match status.state.as_deref() {
        Some(state @ ("tampered" | "unsealed" | "starting")) => {
            let message = format!("it is {state}, so nothing can be measured by its version");
            Err(Error::new(ErrorKind::Refused, OPERATION, message).retryable().with_hint("ask one that is converged"))
        }
        _ => Ok(Wanted { version, filter_hash: status.filter_hash }),
    }
}
