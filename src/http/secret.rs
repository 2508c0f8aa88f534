//! Files with secrets, one a line, read at every use so that they rotate without a restart.

use std::path::Path;
use std::time::Duration;

use axum::http::StatusCode;
use dagsync_core::{Interrupt, blocking, fs, secret, worded};
use tokio::sync::Semaphore;

/// Reads at once: requests, however many, take few threads from the loop.
static READS: Semaphore = Semaphore::const_new(4);
/// The longest that a request waits for a file.
const WAIT: Duration = Duration::from_secs(10);

/// Why a request is not served, as the client is told. It holds no secret.
pub(super) type Refusal = (StatusCode, String);

/// The lines of `file`, which `setting` names: one at the least and `most` at the most.
pub(super) async fn lines(setting: &str, file: &Path, most: usize) -> Result<Vec<Vec<u8>>, Refusal> {
    let setting = worded(setting);
    let unusable = |what: &str| (StatusCode::INTERNAL_SERVER_ERROR, format!("{setting} {what}"));
    let late = |_| (StatusCode::SERVICE_UNAVAILABLE, format!("{setting} cannot be read now; ask again"));
    let content = tokio::time::timeout(WAIT, content(file)).await.map_err(late)?;
    let content = content.map_err(|error| {
        tracing::error!(%error, "{setting} cannot be read");
        unusable("cannot be read")
    })?;
    let content = content.ok_or_else(|| unusable("does not exist"))?;
    let secrets: Vec<Vec<u8>> = secret::lines(&content).map(<[u8]>::to_vec).collect();
    match secrets.len() {
        0 => Err(unusable("is empty")),
        count if count <= most => Ok(secrets),
        _ => Err(unusable(&format!(
            "holds more than {most} lines; it holds one secret a line, the old one too while they are rotated"
        ))),
    }
}

async fn content(file: &Path) -> dagsync_core::Result<Option<Vec<u8>>> {
    // The semaphore is never closed. The permit goes along: a file that hangs keeps it.
    let permit = READS.acquire().await;
    let file = file.to_owned();
    let read = move |_: &Interrupt| {
        let _permit = permit;
        fs::read(&file, secret::TOKENS_MAX)
    };
    blocking(&Interrupt::never(), "read secret", read).await
}
