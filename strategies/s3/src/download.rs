//! A large object, written while it comes.

use bytes::Bytes;
use dagsync_core::{Digest, Error, ErrorKind, Interrupt, Result, StagedFile, Staging, SyncContext, TreePath};
use tokio::sync::mpsc;

use crate::errors::Failure;
use crate::requests::{FOREVER, Got, Requests, Wanted};

/// Chunks that wait to be written.
const CHUNKS: usize = 8;

/// What comes, for a thread that writes it.
pub(crate) struct Chunks(mpsc::Receiver<Option<Bytes>>);

impl Chunks {
    /// The next piece; `None` at the end.
    ///
    /// # Errors
    /// The body broke off: what was written of it must not count.
    pub(crate) fn next(&mut self) -> Result<Option<Bytes>> {
        self.0.blocking_recv().ok_or_else(|| Error::cancelled("stage"))
    }
}

/// Fetches an object of at most `max` bytes, of which `write` makes a file on a blocking thread; what `write` returned.
pub(crate) async fn streamed(
    requests: &Requests,
    cx: &SyncContext,
    wanted: Wanted<'_>,
    max: u64,
    write: impl Fn(&mut Chunks) -> Result<Digest> + Clone + Send + 'static,
) -> Result<(Got, Digest)> {
    let write = &write;
    let fetch = |client| async move {
        let (got, mut body) = requests.open(&client, wanted, max).await?;
        let (chunks, received) = mpsc::channel(CHUNKS);
        let mut received = Chunks(received);
        let read = async {
            let chunks = chunks;
            // That the thread has failed is told by the thread.
            let failed = |_| Error::cancelled("stage");
            while let Some(chunk) = body.next().await? {
                chunks.send(Some(chunk)).await.map_err(failed)?;
            }
            chunks.send(None).await.map_err(failed)?;
            Ok(())
        };
        let write = write.clone();
        let written = cx.blocking("stage", move |_: &Interrupt| write(&mut received));
        match tokio::join!(read, written) {
            (Err(error), _) if error.kind() != ErrorKind::Cancelled => Err(Failure::from(error)),
            (_, Err(error)) | (Err(error), _) => Err(error.into()),
            (Ok(()), Ok(digest)) => Ok((got, digest)),
        }
    };
    requests.attempt_within("get", FOREVER, fetch).await
}

/// The same, straight into staging.
pub(crate) async fn to_file(
    requests: &Requests,
    cx: &SyncContext,
    staging: &Staging,
    wanted: Wanted<'_>,
    path: TreePath,
) -> Result<Digest> {
    let staging = staging.clone();
    let write = move |chunks: &mut Chunks| fill(staging.create(&path, false)?, chunks)?.finish();
    streamed(requests, cx, wanted, cx.limits.file_bytes, write).await.map(|(_, digest)| digest)
}

/// Appends all that comes.
pub(crate) fn fill(mut file: StagedFile, chunks: &mut Chunks) -> Result<StagedFile> {
    while let Some(chunk) = chunks.next()? {
        file.append(&chunk)?;
    }
    Ok(file)
}
