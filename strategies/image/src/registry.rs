//! An OCI registry, asked for the labels of an image (OCI distribution spec 1.1, Docker's token authentication).
//!
//! Everything that comes from the network is bounded in size, time and redirects, and whatever has a digest is compared
//! with it.

mod answer;
mod auth;
mod challenge;
mod credentials;
mod denied;
mod memory;
mod platform;
mod reference;

use std::path::PathBuf;
use std::time::Duration;

use dagsync_core::{Digest, Error, ErrorKind, Interrupt, Result, blocking};
use reqwest::header::{ACCEPT, AUTHORIZATION, HeaderValue};
use reqwest::{Method, Response, StatusCode};
use serde::de::DeserializeOwned;
use url::Url;

use crate::http::{self, Proxy, Terms};

use answer::{CONFIG, Descriptor, ImageConfig, MANIFEST, Manifest, Part};
use credentials::Found;
pub use memory::Memory;
use platform::Target;
pub use reference::Reference;

/// How many indexes lead to an image: one, or one within another.
const INDEXES: usize = 2;

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
    /// Of an image for several platforms, which; empty: this one, such as `linux/arm64`. An image for one platform must be
    /// for it too.
    pub platform: String,
}

impl Access {
    async fn client(&self, redirects: usize) -> Result<reqwest::Client> {
        let (ca_file, plain, proxy) = (self.ca_file.clone(), self.plain_http, Proxy::FromEnvironment);
        Terms { ca_file, certificate: None, plain, proxy, redirects }.client().await
    }
}

/// What a registry says of an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Image {
    /// The digest that its reference led to.
    pub digest: String,
    /// The value of the label that was asked for.
    pub label: Option<String>,
}

/// The image's value of `label`. What is in `memory`, which is of this image, label and platform alone, is asked for no more:
/// nothing where the reference is a digest, and only the digest where it is a tag.
///
/// # Errors
/// What went wrong, with the reference and never with a secret.
pub async fn label(reference: &Reference, label: &str, access: &Access, memory: &Memory) -> Result<Image> {
    if let Some(image) = memory.image().filter(|image| image.digest == reference.identifier()) {
        return Ok(image);
    }
    let asked = async {
        memory.paused().map_or(Ok(()), |left| Err(paused(left)))?;
        Session::new(reference, access, memory).await?.label(label).await
    };
    let image = asked.await.map_err(|e| e.with_context("image", reference))?;
    memory.keep(image.clone());
    Ok(image)
}

struct Session<'a> {
    reference: &'a Reference,
    access: &'a Access,
    memory: &'a Memory,
    http: reqwest::Client,
    found: Found,
    authorization: Option<HeaderValue>,
}

impl<'a> Session<'a> {
    async fn new(reference: &'a Reference, access: &'a Access, memory: &'a Memory) -> Result<Self> {
        let (path, of) = (access.docker_config.clone(), reference.clone());
        let find = move |_: &_| path.map_or_else(|| Ok(Found::default()), |path| Found::read(&path, &of));
        let found = blocking(&Interrupt::never(), OPERATION, find).await?;
        let http = access.client(http::REDIRECTS).await?;
        Ok(Self { reference, access, memory, http, found, authorization: None })
    }

    async fn label(mut self, label: &str) -> Result<Image> {
        let known = self.memory.image();
        if let Some(image) = &known
            && self.digest().await?.is_some_and(|digest| digest == image.digest)
        {
            return Ok(image.clone());
        }
        let body = self.get(&MANIFEST, self.reference.identifier()).await?;
        let digest = format!("sha256:{}", Digest::of(&body));
        if self.reference.is_digest() && digest != self.reference.identifier() {
            return Err(corrupt("the manifest is not the one that its digest names"));
        }
        if let Some(image) = known.filter(|image| image.digest == digest) {
            return Ok(image);
        }
        let config = self.config(&body).await?;
        let label = config.config.unwrap_or_default().labels.unwrap_or_default().remove(label);
        Ok(Image { digest, label })
    }

    /// The digest that the reference leads to now: unlike a manifest, it counts as no pull. `None` when the registry does
    /// not tell it.
    async fn digest(&mut self) -> Result<Option<String>> {
        let response = self.request(Method::HEAD, &MANIFEST, self.reference.identifier()).await?;
        match response.status() {
            StatusCode::OK => {
                let digest = response.headers().get("docker-content-digest");
                Ok(digest.and_then(|digest| digest.to_str().ok()).map(str::to_owned))
            }
            StatusCode::METHOD_NOT_ALLOWED | StatusCode::NOT_IMPLEMENTED => Ok(None),
            _ => Err(self.refused(&response)),
        }
    }

    /// The configuration of the image of the platform, which the manifest is of or leads to.
    async fn config(&mut self, body: &[u8]) -> Result<ImageConfig> {
        let target = Target::new(&self.access.platform);
        let (mut manifest, mut is_named): (Manifest, _) = (parse(body, "manifest")?, false);
        for _ in 0..INDEXES {
            let Some(index) = manifest.index()? else { break };
            let child = target.choose(index)?;
            is_named |= child.platform.is_some();
            manifest = parse(&self.content(&MANIFEST, child).await?, "manifest")?;
        }
        if manifest.index()?.is_some() {
            return Err(Error::new(ErrorKind::Refused, OPERATION, "its index leads to indexes within indexes")
                .with_hint("push an index that names the image of each platform"));
        }
        let config = manifest.config.ok_or_else(|| {
            Error::new(ErrorKind::Refused, OPERATION, "the image's manifest names no configuration")
                .with_hint("it is an artifact, or an image of a format from before 2016; push it anew")
        })?;
        let config: ImageConfig = parse(&self.content(&CONFIG, &config).await?, "configuration")?;
        if !is_named {
            target.check(&config.platform)?;
        }
        Ok(config)
    }

    async fn content(&mut self, part: &Part, descriptor: &Descriptor) -> Result<Vec<u8>> {
        let body = self.get(part, descriptor.sha256()?).await?;
        descriptor.check(part, &body)?;
        Ok(body)
    }

    async fn get(&mut self, part: &Part, name: &str) -> Result<Vec<u8>> {
        let response = self.request(Method::GET, part, name).await?;
        match response.status() {
            StatusCode::OK => http::read(OPERATION, response, part.max).await,
            _ => Err(self.refused(&response)),
        }
    }

    async fn request(&mut self, method: Method, part: &Part, name: &str) -> Result<Response> {
        let (host, repository) = (self.reference.host(), self.reference.repository());
        let scheme = if self.access.plain_http { "http" } else { "https" };
        let url = Url::parse(&format!("{scheme}://{host}/v2/{repository}/{}/{name}", part.path))
            .map_err(|e| Error::new(ErrorKind::Config, OPERATION, "the reference makes no URL").with_source(e))?;
        let response = self.send(&method, &url, part).await?;
        if response.status() != StatusCode::UNAUTHORIZED || self.authorization.is_some() {
            return Ok(response);
        }
        self.authorization = Some(self.authorize(&response).await?);
        self.send(&method, &url, part).await
    }

    async fn send(&self, method: &Method, url: &Url, part: &Part) -> Result<Response> {
        let request = self.http.request(method.clone(), url.clone()).header(ACCEPT, part.accept);
        let request = self.authorization.iter().fold(request, |request, value| request.header(AUTHORIZATION, value));
        request.send().await.map_err(|e| self.unreachable(e))
    }

    fn unreachable(&self, e: reqwest::Error) -> Error {
        let no_connection = e.is_connect();
        let error = http::unanswered(OPERATION, e);
        let said = error.to_string();
        let is_nobody = said.contains("dns error") || said.contains("Connection refused");
        if self.access.plain_http || !no_connection || is_nobody || error.kind() == ErrorKind::Untrusted {
            return error;
        }
        error.with_hint("check its name and port; plain HTTP has to be allowed, by plain_http")
    }
}

fn paused(left: Duration) -> Error {
    let message = format!("it wants to be asked again in {} seconds", left.as_secs() + 1);
    Error::new(ErrorKind::Unreachable, OPERATION, message)
        .with_hint("ask less often, by expect_interval, or with credentials")
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
