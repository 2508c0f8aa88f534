//! A client whose answers are bounded in size, time and redirects.

use std::path::{Path, PathBuf};
use std::time::Duration;

use dagsync_core::{Error, ErrorKind, Interrupt, Result, blocking, secret};
use reqwest::{Response, redirect};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// The longest that one answer may take.
const TIMEOUT: Duration = Duration::from_secs(20);
/// Redirects that are followed where a question holds no secret but in its headers, which are not taken to another host.
pub(crate) const REDIRECTS: usize = 5;
/// What to do about who does not answer, and about who answers oddly.
pub(crate) const REACH: &str = "check its name and port, that it runs, and that it may be reached from here";
const ADDRESS: &str = "check that its name and port are right";

/// Whether the environment's proxy is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Proxy {
    /// For the world outside.
    FromEnvironment,
    /// Pods are asked directly: a proxy does not know them.
    None,
}

/// Who is trusted, what is shown to him, and how far he may send one.
pub(crate) struct Terms {
    /// Authorities besides the system's.
    pub(crate) ca_file: Option<PathBuf>,
    /// The files with the certificate that is shown, and with its key.
    pub(crate) certificate: Option<(PathBuf, PathBuf)>,
    /// Over plain HTTP no authority is needed and nothing is shown.
    pub(crate) plain: bool,
    pub(crate) proxy: Proxy,
    pub(crate) redirects: usize,
}

impl Terms {
    /// A client on these terms. Certificates are read anew for each.
    pub(crate) async fn client(self) -> Result<reqwest::Client> {
        blocking(&Interrupt::never(), "read certificates", move |_| self.build()).await
    }

    fn build(self) -> Result<reqwest::Client> {
        let Self { plain, redirects, .. } = self;
        let follow = redirect::Policy::custom(move |attempt| match attempt.previous().len() {
            count if count >= redirects => attempt.error("too many redirects"),
            _ if !plain && attempt.url().scheme() != "https" => attempt.error("a redirect to plain HTTP"),
            _ => attempt.follow(),
        });
        let mut builder = reqwest::Client::builder()
            .user_agent(concat!("dagsync/", env!("CARGO_PKG_VERSION")))
            .connect_timeout(CONNECT_TIMEOUT)
            .timeout(TIMEOUT)
            .referer(false)
            .redirect(follow);
        if self.proxy == Proxy::None {
            builder = builder.no_proxy();
        }
        if let Some(path) = &self.ca_file {
            builder = builder.tls_certs_merge(authorities(path)?);
        } else if plain {
            // It must work in an image without certificates, where the system's could not be loaded.
            builder = builder.tls_certs_only([]);
        }
        if let Some((certificate, key)) = self.certificate.filter(|_| !plain) {
            builder = builder.identity(identity(&certificate, &key)?);
        }
        let failed = |e: reqwest::Error| {
            Error::new(ErrorKind::Untrusted, "start HTTP client", "TLS cannot be set up")
                .with_hint(
                    "name a bundle of certificate authorities in ca_file, or install the system's (ca-certificates)",
                )
                .with_source(e.without_url())
        };
        builder.build().map_err(failed)
    }
}

fn authorities(file: &Path) -> Result<Vec<reqwest::Certificate>> {
    const HINT: &str = "name a bundle of certificates in PEM in ca_file";
    let name = file.display().to_string();
    let pem = secret::pem(&name, file).map_err(|e| e.with_hint(HINT))?;
    let certificates = reqwest::Certificate::from_pem_bundle(&pem).unwrap_or_default();
    if certificates.is_empty() {
        let message = format!("{name} holds no certificate in PEM");
        return Err(Error::new(ErrorKind::Config, "read certificates", message).with_hint(HINT));
    }
    Ok(certificates)
}

/// What a client proves itself with. What is wrong with a key is not quoted.
fn identity(certificate: &Path, key: &Path) -> Result<reqwest::Identity> {
    let names = [certificate, key].map(|path| path.display().to_string());
    let pem = secret::identity((&names[0], certificate), (&names[1], key))?;
    let message = format!("{} and its key are no certificate and key in PEM", names[0]);
    let unfit = |_| Error::new(ErrorKind::Config, "read certificates", message);
    reqwest::Identity::from_pem(&pem).map_err(unfit)
}

/// The whole answer, of at most `max` bytes.
pub(crate) async fn read(operation: &'static str, mut response: Response, max: usize) -> Result<Vec<u8>> {
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(|e| unanswered(operation, e))? {
        if body.len() + chunk.len() > max {
            let message = format!("the answer is larger than {max} bytes");
            return Err(Error::new(ErrorKind::LimitExceeded, operation, message).with_hint(ADDRESS).retryable());
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

/// Why there is no answer, or only part of one. Never with the URL, which may hold a token.
pub(crate) fn unanswered(operation: &'static str, e: reqwest::Error) -> Error {
    let e = e.without_url();
    let cause = cause(&e);
    let (kind, message, hint) = match () {
        () if e.is_timeout() => (ErrorKind::Timeout, "no answer in time", REACH),
        () if e.is_redirect() => (ErrorKind::Unreachable, "it redirects too often, or to plain HTTP", ADDRESS),
        () if cause.contains("invalid peer certificate") => {
            let (message, hint) = mistrust(&cause);
            (ErrorKind::Untrusted, message, hint)
        }
        () if cause.contains("received fatal alert") || cause.contains("peer is incompatible") => (
            ErrorKind::Untrusted,
            "it agrees to no TLS with this client",
            "check its port, and that it speaks TLS 1.2 or 1.3 and asks for no certificate",
        ),
        () if cause.contains("InvalidContentType") => (ErrorKind::Unreachable, "it does not speak TLS", ADDRESS),
        () => (ErrorKind::Unreachable, "no complete answer", REACH),
    };
    let error = Error::new(kind, operation, message).with_hint(hint).with_source(e);
    // Who redirects, or speaks another protocol, will do so again.
    if kind == ErrorKind::Unreachable && hint == ADDRESS { error.permanent() } else { error }
}

/// What is wrong with a certificate, and what to do about it.
fn mistrust(cause: &str) -> (&'static str, &'static str) {
    // It is told either in words or by the name of the error alone.
    let cause = cause.to_lowercase().replace(' ', "");
    match () {
        () if cause.contains("notvalidforname") => {
            ("its certificate is for another name", "ask it by a name that its certificate holds")
        }
        () if cause.contains("expired") => ("its certificate has expired", "renew it, or check this host's clock"),
        () if cause.contains("notvalidyet") => ("its certificate is not valid yet", "check this host's clock"),
        () => ("its certificate is not trusted", "name the authority that signed it in ca_file"),
    }
}

/// What somebody else wrote, as far as a message has room for it.
pub(crate) fn shortened(text: &str) -> String {
    const LENGTH: usize = 80;
    let start: String = text.chars().take(LENGTH).collect();
    let rest = if start.len() < text.len() { "…" } else { "" };
    format!("{}{rest}", dagsync_core::printable(start))
}

/// The innermost cause. TLS wraps its errors so that only their text can be looked at.
fn cause(e: &reqwest::Error) -> String {
    let first: &dyn std::error::Error = e;
    std::iter::successors(Some(first), |e| e.source()).last().map(ToString::to_string).unwrap_or_default()
}
