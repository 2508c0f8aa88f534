//! Who is sent the token. It commands every pod of the fleet, so it goes to nobody who does not want it, and never in the
//! open to an address that DNS or Kubernetes came up with: whoever can answer there would have it.

use std::collections::HashSet;
use std::path::Path;
use std::sync::{LazyLock, Mutex, MutexGuard, PoisonError};

use dagsync_core::{Error, ErrorKind, Interrupt, Result, blocking, secret};
use reqwest::header::HeaderValue;
use url::{Host, Origin, Url};

/// Who has asked for a token; they get it at once from then on, so that a poll is one request.
static WANTED: LazyLock<Mutex<HashSet<Origin>>> = LazyLock::new(Mutex::default);
/// Pods come and go, each with an address of its own.
const WANTED_MOST: usize = 20_000;

/// Whether the token may be sent to `url`: nobody reads it on its way, or the user wrote down that he is asked.
pub(super) fn may_go_to(url: &Url, named: &[Url]) -> bool {
    let is_loopback = match url.host() {
        Some(Host::Domain(name)) => name == "localhost",
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    };
    url.scheme() == "https" || is_loopback || named.iter().any(|known| known.origin() == url.origin())
}

pub(super) fn is_wanted_by(url: &Url) -> bool {
    wanted().contains(&url.origin())
}

pub(super) fn note_wanted_by(url: &Url) {
    let mut wanted = wanted();
    if wanted.len() >= WANTED_MOST {
        wanted.clear();
    }
    wanted.insert(url.origin());
}

fn wanted() -> MutexGuard<'static, HashSet<Origin>> {
    WANTED.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The header with the token as it is now.
pub(super) async fn bearer(file: &Path) -> Result<HeaderValue> {
    const NAME: &str = "client.token_file";
    let file = file.to_owned();
    let token = blocking(&Interrupt::never(), "read token", move |_| secret::token(NAME, &file)).await?;
    let unfit = |_| Error::new(ErrorKind::Config, "read token", "client.token_file holds what cannot be a token");
    let mut value = HeaderValue::try_from(format!("Bearer {token}")).map_err(unfit)?;
    value.set_sensitive(true);
    Ok(value)
}
