//! The pods that Kubernetes knows, page by page. Of each pod only what says something about dagsync is kept.

use std::time::Duration;

use axum::http::StatusCode;
use axum::http::header::RETRY_AFTER;
use dagsync_core::{Error, ErrorKind, Interrupt, Result, blocking};
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use k8s_openapi::api::core::v1::Pod as CorePod;
use kube::api::ListParams;
use kube::client::Body;
use kube::config::{KubeConfigOptions, KubeconfigError};
use kube::core::{Request, Resource as _};
use kube::{Client, Config};
use serde::Deserialize;
use tokio::runtime::Handle;

use super::{Found, MAX_PEERS};
use crate::config::{Fleet, redact_url};

mod pod;

use pod::{Mapping, Pod};

const OPERATION: &str = "list pods";
/// The longest that the whole listing may take, with all waiting.
const TIME: Duration = Duration::from_secs(30);
/// The pods of a page: a few megabytes of JSON.
const PAGE: u32 = 250;
const MAX_PAGE: usize = 32 << 20;
/// What is read of the account of an error, and what is shown of it.
const MAX_ERROR: usize = 64 << 10;
const SHOWN: usize = 300;
/// How often a listing is begun whose place the API forgot.
const STARTS: u32 = 3;
/// How often a page is asked for of an API that has too much to do, and how long it is waited for at the most.
const TRIES: u32 = 5;
const PAUSE: Duration = Duration::from_secs(1);
const MAX_PAUSE: Duration = Duration::from_secs(10);

/// The pods that match `fleet.kubernetes.selector`.
pub(super) async fn find(fleet: &Fleet) -> Result<Vec<Found>> {
    if fleet.kubernetes.selector.is_empty() {
        return Ok(Vec::new());
    }
    let late = |_| {
        let message = format!("the Kubernetes API did not list them within {}s", TIME.as_secs());
        Err(Error::new(ErrorKind::Timeout, OPERATION, message))
    };
    tokio::time::timeout(TIME, list(fleet)).await.unwrap_or_else(late)
}

async fn list(fleet: &Fleet) -> Result<Vec<Found>> {
    let api = Api::new(fleet).await?;
    let pods = api.pods().await.map_err(|e| {
        let e = e.with_context("server", &api.server).with_context("namespace", &api.namespace);
        e.with_context("fleet.kubernetes.selector", &api.selector)
    })?;
    let mapping = Mapping::new(fleet);
    Ok(pods.into_iter().filter_map(|pod| mapping.found(pod)).collect())
}

/// Whom to ask, and for what.
struct Api {
    client: Client,
    server: String,
    namespace: String,
    selector: String,
}

#[derive(Deserialize)]
struct Page {
    kind: String,
    #[serde(default)]
    metadata: PageMetadata,
    items: Option<Vec<Pod>>,
}

#[derive(Default, Deserialize)]
struct PageMetadata {
    #[serde(rename = "continue", default)]
    next: Option<String>,
}

impl Api {
    async fn new(fleet: &Fleet) -> Result<Self> {
        let handle = Handle::current();
        // kube reads files here, and runs the log-in program of a kubeconfig.
        let (client, server) = blocking(&Interrupt::never(), OPERATION, move |_| handle.block_on(connect())).await?;
        let own = client.default_namespace().to_owned();
        let namespace = Some(fleet.kubernetes.namespace.clone()).filter(|name| !name.is_empty()).unwrap_or(own);
        Ok(Self { client, server, namespace, selector: fleet.kubernetes.selector.clone() })
    }

    async fn pods(&self) -> Result<Vec<Pod>> {
        for _ in 0..STARTS {
            match self.pages().await? {
                Some(pods) if pods.is_empty() => return Err(nobody()),
                Some(pods) => return Ok(pods),
                None => tracing::debug!("the Kubernetes API forgot where the list of pods was; it is begun anew"),
            }
        }
        let message = format!("the Kubernetes API forgot where the list was, {STARTS} times in a row");
        Err(Error::new(ErrorKind::Changed, OPERATION, message))
    }

    /// All pages; `None` when the API forgot where the listing was.
    async fn pages(&self) -> Result<Option<Vec<Pod>>> {
        let (mut pods, mut token) = (Vec::new(), None);
        loop {
            let Some(page) = self.page(token).await? else { return Ok(None) };
            pods.extend(page.items.unwrap_or_default());
            if pods.len() > MAX_PEERS {
                let message = format!("there are more than {MAX_PEERS}");
                return Err(Error::new(ErrorKind::LimitExceeded, OPERATION, message)
                    .with_hint("narrow fleet.kubernetes.selector"));
            }
            token = page.metadata.next.filter(|token| !token.is_empty());
            if token.is_none() {
                return Ok(Some(pods));
            }
        }
    }

    async fn page(&self, token: Option<String>) -> Result<Option<Page>> {
        let params = ListParams { continue_token: token, ..ListParams::default().labels(&self.selector).limit(PAGE) };
        let bad = |e| Error::new(ErrorKind::Config, OPERATION, "fleet.kubernetes cannot be asked for").with_source(e);
        let path = CorePod::url_path(&(), Some(&self.namespace));
        for tried in 1.. {
            let request = Request::new(&path).list(&params).map_err(bad)?.map(Body::from);
            let response = self.client.send(request).await.map_err(unreachable)?;
            let status = response.status();
            let wait = retry_after(response.headers());
            match status {
                StatusCode::OK => return read(response.into_body()).await.map(Some),
                StatusCode::GONE => return Ok(None),
                StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE
                    if tried < TRIES && wait <= MAX_PAUSE =>
                {
                    tracing::debug!(%status, ?wait, "the Kubernetes API has too much to do");
                    tokio::time::sleep(wait).await;
                }
                _ => return Err(self.refused(status, wait, &said(response.into_body()).await)),
            }
        }
        Ok(None)
    }

    /// `said`: the API's own account.
    fn refused(&self, status: StatusCode, wait: Duration, said: &str) -> Error {
        let namespace = &self.namespace;
        let error = |kind, message: &str| Error::new(kind, OPERATION, format!("{message}: {status}{said}"));
        match status {
            StatusCode::UNAUTHORIZED => {
                error(ErrorKind::Unauthorized, "the Kubernetes API does not know who asks").permanent().with_hint(
                    "mount the ServiceAccount's token (automountServiceAccountToken), or log in to the cluster again",
                )
            }
            StatusCode::FORBIDDEN => {
                let message = format!("this account may not list pods in namespace {namespace:?}");
                error(ErrorKind::Unauthorized, &message).permanent().with_hint(format!(
                    "a Role in {namespace} with apiGroups [\"\"], resources [\"pods\"], verbs [\"list\"], bound to that \
                     account, allows it"
                ))
            }
            StatusCode::BAD_REQUEST => error(ErrorKind::Config, "the Kubernetes API does not understand the question")
                .permanent()
                .with_hint("check fleet.kubernetes.selector; `kubectl get pods -l` takes the same"),
            StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE => {
                let message = format!("the Kubernetes API has too much to do and asks to wait {}s", wait.as_secs());
                error(ErrorKind::Unreachable, &message)
            }
            _ => error(ErrorKind::Unreachable, "the Kubernetes API does not list them"),
        }
    }
}

/// From within a pod, or with the kubeconfig of somebody at a terminal; and where that leads.
async fn connect() -> Result<(Client, String)> {
    let is_pod = std::env::var_os("KUBERNETES_SERVICE_HOST").is_some() && std::env::var_os("KUBECONFIG").is_none();
    let mut config = match is_pod {
        true => Config::incluster().map_err(|e| no_account(&e))?,
        false => Config::from_kubeconfig(&KubeConfigOptions::default()).await.map_err(|e| no_kubeconfig(&e))?,
    };
    // How often and how long to try again is decided here, in one place.
    config.default_retry = false;
    let server = redact_url(&config.cluster_url.to_string());
    // Errors of a log-in program hold what it printed, which may be a token.
    let client = Client::try_from(config).map_err(|_| {
        Error::new(ErrorKind::Unauthorized, OPERATION, "the credentials for the Kubernetes API cannot be used")
            .with_hint("check with `kubectl get pods`")
            .with_context("server", &server)
    })?;
    Ok((client, server))
}

/// kube's errors name their causes themselves, so they are no sources here: each would be said twice.
fn no_account(error: &impl std::fmt::Display) -> Error {
    let message = format!("this pod has no way to the Kubernetes API: {error}");
    Error::new(ErrorKind::Config, OPERATION, message).with_hint(
        "mount the ServiceAccount's token (automountServiceAccountToken), or empty fleet.kubernetes.selector",
    )
}

/// Quotes nothing of the file: it holds credentials.
fn no_kubeconfig(error: &KubeconfigError) -> Error {
    use KubeconfigError as E;
    let why = match error {
        E::ReadConfig(..) | E::CurrentContextNotSet | E::LoadContext(_) | E::LoadClusterOfContext(_) => {
            error.to_string()
        }
        E::FindPath | E::MissingClusterUrl => error.to_string(),
        _ => "it cannot be parsed".to_owned(),
    };
    Error::new(ErrorKind::Config, OPERATION, format!("no kubeconfig can be used: {why}"))
        .with_hint("outside of a cluster, KUBECONFIG names one; in a pod, do not set KUBECONFIG")
}

fn retry_after(headers: &axum::http::HeaderMap) -> Duration {
    let seconds = headers.get(RETRY_AFTER).and_then(|value| value.to_str().ok()?.trim().parse().ok());
    seconds.map_or(PAUSE, Duration::from_secs)
}

async fn read(body: Body) -> Result<Page> {
    let bytes = Limited::new(body, MAX_PAGE).collect().await.map_err(|e| {
        if e.is::<LengthLimitError>() {
            let message = format!("{PAGE} pods are more than {MAX_PAGE} bytes");
            return Error::new(ErrorKind::LimitExceeded, OPERATION, message);
        }
        Error::new(ErrorKind::Unreachable, OPERATION, "the answer broke off").with_source(e)
    })?;
    let bad = || Error::new(ErrorKind::Corrupt, OPERATION, "the answer is no list of pods");
    let page: Page = serde_json::from_slice(&bytes.to_bytes()).map_err(|e| bad().with_source(e))?;
    if page.kind == "PodList" { Ok(page) } else { Err(bad().with_context("kind", format!("{:?}", page.kind))) }
}

/// The message of a `Status`, as `": message"`; nothing when there is none.
async fn said(body: Body) -> String {
    #[derive(Deserialize)]
    struct Status {
        message: String,
    }
    let Ok(bytes) = Limited::new(body, MAX_ERROR).collect().await else { return String::new() };
    let status: Option<Status> = serde_json::from_slice(&bytes.to_bytes()).ok();
    let shown = |status: Status| status.message.chars().filter(|c| !c.is_control()).take(SHOWN).collect();
    status.map(shown).map_or_else(String::new, |message: String| format!(": {message}"))
}

fn nobody() -> Error {
    Error::new(ErrorKind::NotFound, OPERATION, "no pod matches").retryable().with_hint(
        "check fleet.kubernetes.selector and fleet.kubernetes.namespace; `kubectl get pods -n … -l …` takes the same",
    )
}

fn unreachable(error: kube::Error) -> Error {
    const MESSAGE: &str = "the Kubernetes API gives no answer";
    let failed = |message: &str| Error::new(ErrorKind::Unreachable, OPERATION, message);
    match error {
        kube::Error::Service(cause) => failed(MESSAGE).with_source(cause),
        // Errors of a log-in program hold what it printed, which may be a token.
        kube::Error::Auth(_) => failed(MESSAGE).with_hint("check the credentials with `kubectl get pods`"),
        other => failed(&format!("{MESSAGE}: {other}")),
    }
}
