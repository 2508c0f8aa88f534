//! The few calls over HTTP that are not git's: bounded in time and size, without redirects.

use std::path::Path;
use std::time::Duration;

use dagsync_core::{Error, ErrorKind, Interrupt, Result, fs};
use reqwest::{Client, RequestBuilder, StatusCode, redirect};
use tokio::runtime::Handle;
use url::{Host, Url};

const TIMEOUT: Duration = Duration::from_secs(5);
const MAX_BODY: usize = 64 << 10;
const MAX_CA_BYTES: u64 = 16 << 20;

/// An endpoint that a setting names.
pub(crate) struct Endpoint<'a> {
    /// What is being done, for errors.
    pub(crate) operation: &'static str,
    /// The setting that names the URL.
    pub(crate) setting: &'static str,
    pub(crate) url: Url,
    pub(crate) ca_file: Option<&'a Path>,
}

impl Endpoint<'_> {
    /// Sends the request that `prepare` makes. To be called on a blocking thread of the runtime.
    pub(crate) fn call(
        &self,
        interrupt: &Interrupt,
        prepare: impl FnOnce(Client, Url) -> RequestBuilder,
    ) -> Result<(StatusCode, Vec<u8>)> {
        let request = prepare(self.client()?, self.url.clone());
        let failed = |e: reqwest::Error| {
            let kind = if e.is_timeout() { ErrorKind::Timeout } else { ErrorKind::Unreachable };
            self.error(kind, "no complete answer").with_source(e.without_url())
        };
        let call = async {
            let mut response = request.send().await.map_err(failed)?;
            let mut body = Vec::new();
            while let Some(chunk) = response.chunk().await.map_err(failed)? {
                if body.len() + chunk.len() > MAX_BODY {
                    let message = format!("the answer is larger than {MAX_BODY} bytes");
                    return Err(self.error(ErrorKind::LimitExceeded, message));
                }
                body.extend_from_slice(&chunk);
            }
            Ok((response.status(), body))
        };
        Handle::current().block_on(interrupt.guard(self.operation, call))
    }

    fn client(&self) -> Result<Client> {
        // Whoever embeds the strategy may have chosen one already.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let bad =
            |e: reqwest::Error| self.error(ErrorKind::Config, "TLS cannot be set up").with_source(e.without_url());
        let mut builder = Client::builder().timeout(TIMEOUT).redirect(redirect::Policy::none());
        builder = builder.user_agent(concat!("dagsync/", env!("CARGO_PKG_VERSION")));
        if is_loopback(&self.url) {
            builder = builder.no_proxy();
        }
        if self.url.scheme() == "http" {
            // Plain HTTP must work in an image without certificates, where the system's could not be loaded.
            builder = builder.tls_certs_only([]);
        } else if let Some(file) = self.ca_file {
            let pem = fs::read(file, MAX_CA_BYTES)?.unwrap_or_default();
            builder = builder.tls_certs_merge(reqwest::Certificate::from_pem_bundle(&pem).map_err(bad)?);
        }
        builder.build().map_err(bad)
    }

    /// An error that names the endpoint without any user and password in its URL.
    pub(crate) fn error(&self, kind: ErrorKind, message: impl Into<String>) -> Error {
        let mut shown = self.url.clone();
        // They fail for URLs that can have no user, and thus show none.
        let _ = shown.set_username("").and_then(|()| shown.set_password(None));
        shown.set_query(None);
        Error::new(kind, self.operation, message).with_context(self.setting, shown)
    }

    /// The answer was not the wanted one.
    pub(crate) fn refused(&self, status: StatusCode) -> Error {
        let kind = match status {
            StatusCode::NOT_FOUND => ErrorKind::NotFound,
            _ if status.is_client_error() => ErrorKind::Unauthorized,
            _ if status.is_redirection() => ErrorKind::Config,
            _ => ErrorKind::Unreachable,
        };
        self.error(kind, format!("the answer is {status}"))
    }
}

/// Reads a URL of http or https. Its text is no part of the error: it may hold a secret.
pub(crate) fn parse(setting: &'static str, text: &str) -> Result<Url> {
    let bad = || Error::new(ErrorKind::Config, "read settings", format!("{setting} is no URL of http or https"));
    let url = Url::parse(text).map_err(|e| bad().with_source(e))?;
    if !matches!(url.scheme(), "http" | "https") || !url.has_host() {
        return Err(bad());
    }
    Ok(url)
}

/// Whether the URL leads to this host itself, by whatever proxy the environment names.
pub(crate) fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Domain(name)) => name == "localhost",
        Some(Host::Ipv4(ip)) => ip.is_loopback(),
        Some(Host::Ipv6(ip)) => ip.is_loopback(),
        None => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_shows_neither_user_nor_password_nor_query() {
        let url = parse("git.askpass_url", "http://ada:s3cret@localhost:1/x?token=s3cret").unwrap();
        let endpoint = Endpoint { operation: "ask", setting: "git.askpass_url", url, ca_file: None };
        let error = endpoint.error(ErrorKind::Unreachable, "no").to_string();
        assert!(
            error.contains("http://localhost:1/x") && !error.contains("s3cret") && !error.contains("ada"),
            "{error}"
        );
    }

    #[test]
    fn what_is_no_url_is_not_repeated() {
        for bad in ["s3cret", "ftp://h/s3cret", "http://:s3cret@"] {
            let error = parse("git.askpass_url", bad).unwrap_err().to_string();
            assert!(error.contains("git.askpass_url") && !error.contains("s3cret"), "{error}");
        }
    }
}
