//! An OCI registry, asked for the labels of an image (OCI distribution spec 1.1, Docker's token authentication).
//!
//! Everything that comes from the network is bounded in size, time and redirects, and whatever has a digest is compared
//! with it.

mod answer;
mod credentials;
mod reference;

use std::path::PathBuf;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use dagsync_core::{Digest, Error, ErrorKind, Interrupt, Result, blocking};
use reqwest::header::{ACCEPT, AUTHORIZATION, HeaderValue, WWW_AUTHENTICATE};
use reqwest::{Response, StatusCode};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use url::Url;

use crate::http::{self, Proxy};

use answer::{Descriptor, ImageConfig, Manifest};
use credentials::Credentials;
pub use reference::Reference;

/// The spec lets a registry refuse larger manifests.
const MANIFEST_MAX: usize = 4 << 20;
/// Configurations are some kilobytes.
const CONFIG_MAX: usize = 8 << 20;
const TOKEN_MAX: usize = 1 << 20;

const OPERATION: &str = "ask registry";

/// How to reach a registry.
#[derive(Debug, Clone, Default)]
pub struct Access {
    /// A Docker configuration, as in a Secret of type `kubernetes.io/dockerconfigjson`; read at every use.
    pub docker_config: Option<PathBuf>,
    /// Authorities to trust besides the system's, in PEM.
    pub ca_file: Option<PathBuf>,
    /// Whether plain HTTP may be spoken.
    pub plain_http: bool,
    /// Of an image for several platforms, which; empty: this one, such as `linux/arm64`.
    pub platform: String,
}

/// What a registry says of an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Image {
    /// The digest that its reference led to.
    pub digest: String,
    /// The value of the label that was asked for.
    pub label: Option<String>,
}

/// The image's value of `label`.
///
/// # Errors
/// What went wrong, with the reference and never with a secret.
pub async fn label(reference: &Reference, label: &str, access: &Access) -> Result<Image> {
    let asked = async { Session::new(reference, access).await?.label(label).await };
    asked.await.map_err(|e| e.with_context("image", reference))
}

struct Session<'a> {
    reference: &'a Reference,
    access: &'a Access,
    http: reqwest::Client,
    credentials: Option<Credentials>,
    authorization: Option<HeaderValue>,
}

impl<'a> Session<'a> {
    async fn new(reference: &'a Reference, access: &'a Access) -> Result<Self> {
        let (path, registry) = (access.docker_config.clone(), reference.registry().to_owned());
        let find = move |_: &_| path.map_or(Ok(None), |path| Credentials::find(&path, &registry));
        let credentials = blocking(&Interrupt::never(), OPERATION, find).await?;
        let http = http::client(access.ca_file.clone(), access.plain_http, Proxy::FromEnvironment).await?;
        Ok(Self { reference, access, http, credentials, authorization: None })
    }

    async fn label(mut self, label: &str) -> Result<Image> {
        let (body, digest) = self.manifest(self.reference.identifier()).await?;
        let mut manifest: Manifest = parse(&body, "manifest")?;
        if !manifest.manifests.is_empty() {
            let platform = answer::platform(&self.access.platform);
            let child = manifest.of_platform(&platform)?.digest.clone();
            manifest = parse(&self.manifest(&child).await?.0, "manifest")?;
        }
        let config = manifest.config.ok_or_else(|| {
            Error::new(ErrorKind::Refused, OPERATION, "the image's manifest names no configuration")
                .with_hint("it is an artifact, or an image of a format from before 2016; push it anew")
        })?;
        let config: ImageConfig = parse(&self.blob(&config).await?, "configuration")?;
        let label = config.config.unwrap_or_default().labels.unwrap_or_default().remove(label);
        Ok(Image { digest, label })
    }

    /// A manifest and its digest, which is what was asked for, if that was a digest.
    async fn manifest(&mut self, identifier: &str) -> Result<(Vec<u8>, String)> {
        let body = self.get(&format!("manifests/{identifier}"), answer::MANIFESTS, MANIFEST_MAX).await?;
        let digest = format!("sha256:{}", Digest::of(&body));
        if identifier.starts_with("sha256:") && identifier != digest {
            return Err(corrupt("the manifest is not the one that its digest names"));
        }
        Ok((body, digest))
    }

    async fn blob(&mut self, descriptor: &Descriptor) -> Result<Vec<u8>> {
        let body = self.get(&format!("blobs/{}", descriptor.digest), "*/*", CONFIG_MAX).await?;
        if descriptor.digest != format!("sha256:{}", Digest::of(&body)) {
            return Err(corrupt("the configuration is not the one that its digest names"));
        }
        Ok(body)
    }

    async fn get(&mut self, path: &str, accept: &str, max: usize) -> Result<Vec<u8>> {
        let (host, repository) = (self.reference.host(), self.reference.repository());
        let scheme = if self.access.plain_http { "http" } else { "https" };
        let url = Url::parse(&format!("{scheme}://{host}/v2/{repository}/{path}"))
            .map_err(|e| Error::new(ErrorKind::Config, OPERATION, "the reference makes no URL").with_source(e))?;
        let mut response = self.send(&url, accept).await?;
        if response.status() == StatusCode::UNAUTHORIZED && self.authorization.is_none() {
            self.authorization = Some(self.authorize(&response).await?);
            response = self.send(&url, accept).await?;
        }
        match response.status() {
            StatusCode::OK => http::read(OPERATION, response, max).await,
            status => Err(self.refused(status)),
        }
    }

    async fn send(&self, url: &Url, accept: &str) -> Result<Response> {
        let request = self.http.get(url.clone()).header(ACCEPT, accept);
        let request = self.authorization.iter().fold(request, |request, value| request.header(AUTHORIZATION, value));
        request.send().await.map_err(|e| self.unreachable(e))
    }

    /// Answers the registry's challenge.
    async fn authorize(&self, challenge: &Response) -> Result<HeaderValue> {
        let header =
            challenge.headers().get(WWW_AUTHENTICATE).and_then(|value| value.to_str().ok()).unwrap_or_default();
        let (scheme, parameters) = answer::challenge(header);
        match scheme.as_str() {
            "basic" => match &self.credentials {
                Some(credentials) => secret(format!("Basic {}", credentials.basic())),
                None => Err(self.refused(StatusCode::UNAUTHORIZED)),
            },
            "bearer" => {
                let realm = parameters.get("realm").and_then(|realm| Url::parse(realm).ok());
                let realm = realm.ok_or_else(|| corrupt("its challenge names no realm"))?;
                if realm.scheme() != "https" && !self.access.plain_http {
                    return Err(corrupt("its challenge leads to plain HTTP, where no credentials are sent"));
                }
                let token = self.token(realm, parameters.get("service").map(String::as_str)).await?;
                secret(format!("Bearer {token}"))
            }
            _ => Err(corrupt("it asks for another authentication than Basic and Bearer")),
        }
    }

    async fn token(&self, mut realm: Url, service: Option<&str>) -> Result<String> {
        #[derive(Deserialize)]
        struct Token {
            token: Option<String>,
            access_token: Option<String>,
        }
        let scope = format!("repository:{}:pull", self.reference.repository());
        realm.query_pairs_mut().extend_pairs(service.map(|service| ("service", service))).append_pair("scope", &scope);
        let request = self.http.get(realm);
        let request = match &self.credentials {
            Some(credentials) => request.header(AUTHORIZATION, secret(format!("Basic {}", credentials.basic()))?),
            None => request,
        };
        let response = request.send().await.map_err(|e| self.unreachable(e))?;
        match response.status() {
            StatusCode::OK => {}
            status => return Err(self.refused(status)),
        }
        let token: Token = parse(&http::read(OPERATION, response, TOKEN_MAX).await?, "token")?;
        token.token.or(token.access_token).ok_or_else(|| corrupt("its token server gave no token"))
    }

    fn refused(&self, status: StatusCode) -> Error {
        let error = |kind, message: &str| Error::new(kind, OPERATION, message).with_context("answer", status);
        match status {
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
                let how =
                    if self.credentials.is_some() { "the credentials are refused" } else { "it asks for credentials" };
                error(ErrorKind::Unauthorized, how).with_hint(
                    "mount the Secret of type kubernetes.io/dockerconfigjson and name its file in docker_config; it must \
                     hold credentials for this registry that may pull",
                )
            }
            StatusCode::NOT_FOUND => {
                error(ErrorKind::NotFound, "there is no such image").with_hint("check its name and tag")
            }
            StatusCode::TOO_MANY_REQUESTS => error(ErrorKind::Unreachable, "it allows no more requests for now")
                .with_hint("ask less often, by expect_interval, or with credentials"),
            StatusCode::BAD_REQUEST if self.access.plain_http => {
                error(ErrorKind::Unreachable, "it does not answer plain HTTP")
                    .with_hint("if it speaks TLS, take plain_http away")
            }
            _ => error(ErrorKind::Unreachable, "it does not serve the image")
                .with_hint("check that this is a registry and that it is well"),
        }
    }

    fn unreachable(&self, e: reqwest::Error) -> Error {
        let no_connection = e.is_connect();
        let error = http::unanswered(OPERATION, e);
        if self.access.plain_http || !no_connection || error.kind() == ErrorKind::Untrusted {
            return error;
        }
        error.with_hint("check its name and port; plain HTTP has to be allowed, by plain_http")
    }
}

fn parse<T: DeserializeOwned>(body: &[u8], what: &str) -> Result<T> {
    serde_json::from_slice(body).map_err(|e| {
        // The parser would quote what it read, which may be a token.
        corrupt(&format!("its {what} cannot be read (line {}, column {})", e.line(), e.column()))
    })
}

fn corrupt(message: &str) -> Error {
    Error::new(ErrorKind::Corrupt, OPERATION, message).with_hint("check that this is a registry, and no proxy's page")
}

fn secret(value: String) -> Result<HeaderValue> {
    let mut value = HeaderValue::from_str(&value).map_err(|_| corrupt("its token holds odd characters"))?;
    value.set_sensitive(true);
    Ok(value)
}

fn basic(user: &str, password: &str) -> String {
    STANDARD.encode(format!("{user}:{password}"))
}
