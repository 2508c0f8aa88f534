//! A URL that is called and may be a secret, so no more of it than the host is ever shown.

use std::path::{Path, PathBuf};

use dagsync_core::{Error, ErrorKind, Interrupt, Result, blocking, fs};
use url::Url;

use crate::client;

const MAX_URL: u64 = 16 * 1024;

/// A URL, or the file that holds it.
#[derive(Clone)]
pub(crate) enum SecretUrl {
    Url(Url),
    /// Read at every call.
    File(PathBuf),
}

impl std::fmt::Debug for SecretUrl {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SecretUrl")
    }
}

impl SecretUrl {
    /// The URL that is configured, if any; the settings are called `names`.
    pub(crate) fn new(url: &str, file: Option<&Path>, names: [&str; 2]) -> Result<Option<Self>> {
        let wrong = |message: String| Error::new(ErrorKind::Config, "read settings", message);
        match (url, file) {
            ("", None) => Ok(None),
            ("", Some(file)) => Ok(Some(Self::File(file.to_owned()))),
            (url, None) => {
                let url = read_url(url).ok_or_else(|| wrong(format!("{} is no http or https URL", names[0])))?;
                Ok(Some(Self::Url(url)))
            }
            _ => Err(wrong(format!("only one of {} and {} may be set", names[0], names[1]))),
        }
    }

    /// The URL as it is now.
    pub(crate) async fn read(&self, operation: &'static str) -> Result<Url> {
        let file = match self {
            Self::Url(url) => return Ok(url.clone()),
            Self::File(file) => file.clone(),
        };
        blocking(&Interrupt::never(), operation, move |_| {
            let text = fs::read(&file, MAX_URL)?.unwrap_or_default();
            std::str::from_utf8(&text).ok().and_then(|text| read_url(text.trim())).ok_or_else(|| {
                let message = format!("{} holds no http or https URL", file.display());
                Error::new(ErrorKind::NotFound, operation, message).with_hint("write the URL into it, and nothing else")
            })
        })
        .await
    }
}

/// A client for one call, which is rare: certificates that changed count, and nothing is held meanwhile. A server to which
/// a redirect leads is not told where it came from.
pub(crate) async fn client(url: &Url, operation: &'static str) -> Result<reqwest::Client> {
    let (https, here) = (url.scheme() == "https", is_here(url));
    let build = move |_: &Interrupt| {
        let client = client::builder(if https { "https" } else { "http" }).referer(false);
        // A proxy comes from the environment, as for git; none of them knows this pod.
        let client = if here { client.no_proxy() } else { client };
        client.build().map_err(|e| {
            Error::new(ErrorKind::Unexpected, operation, "TLS cannot be set up")
                .with_source(e.without_url())
                .retryable()
        })
    };
    blocking(&Interrupt::never(), operation, build).await
}

/// Whether a URL leads to this pod.
fn is_here(url: &Url) -> bool {
    match url.host() {
        Some(url::Host::Domain(name)) => name == "localhost",
        Some(url::Host::Ipv4(address)) => address.is_loopback(),
        Some(url::Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    }
}

fn read_url(text: &str) -> Option<Url> {
    Url::parse(text).ok().filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host())
}
