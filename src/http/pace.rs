//! A connection whose client must take what it is sent at some pace.

use std::io::{Error, ErrorKind};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep};

/// How long a client may take nothing.
const PATIENCE: Duration = Duration::from_secs(10);
/// The least that it takes in a second, over longer times than that.
const BYTES_A_SECOND: f64 = 32.0 * 1024.0;

/// A stream that fails with `TimedOut` when what is written to it is not taken.
#[derive(Debug)]
pub(super) struct Paced<S> {
    stream: S,
    /// While something waits to be written: until when that must go on.
    deadline: Option<Pin<Box<Sleep>>>,
}

impl<S: AsyncWrite + Unpin> Paced<S> {
    pub(super) const fn new(stream: S) -> Self {
        Self { stream, deadline: None }
    }

    fn timed(
        &mut self,
        cx: &mut Context<'_>,
        write: impl FnOnce(Pin<&mut S>, &mut Context<'_>) -> Poll<Result<usize, Error>>,
    ) -> Poll<Result<usize, Error>> {
        match write(Pin::new(&mut self.stream), cx) {
            Poll::Ready(Ok(bytes)) => {
                self.credit(bytes);
                Poll::Ready(Ok(bytes))
            }
            Poll::Ready(error) => Poll::Ready(error),
            Poll::Pending => {
                let deadline = self.deadline.get_or_insert_with(|| Box::pin(tokio::time::sleep(PATIENCE)));
                ready!(deadline.as_mut().poll(cx));
                Poll::Ready(Err(Error::new(ErrorKind::TimedOut, "the client does not read")))
            }
        }
    }

    /// What was taken buys time; whoever has all of its time again is not late any more.
    fn credit(&mut self, bytes: usize) {
        let Some(deadline) = &mut self.deadline else { return };
        let later = deadline.deadline() + Duration::from_secs_f64(bytes as f64 / BYTES_A_SECOND);
        if later >= Instant::now() + PATIENCE {
            self.deadline = None;
        } else {
            deadline.as_mut().reset(later);
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Paced<S> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<Result<(), Error>> {
        Pin::new(&mut self.get_mut().stream).poll_read(cx, buf)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Paced<S> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<Result<usize, Error>> {
        self.get_mut().timed(cx, |stream, cx| stream.poll_write(cx, buf))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[std::io::IoSlice<'_>],
    ) -> Poll<Result<usize, Error>> {
        self.get_mut().timed(cx, |stream, cx| stream.poll_write_vectored(cx, bufs))
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn who_does_not_read_is_left() {
        let (_client, server) = duplex(1024);
        let error = Paced::new(server).write_all(&[0; 4096]).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::TimedOut);
    }

    #[tokio::test(start_paused = true)]
    async fn who_reads_drop_by_drop_is_left_and_who_reads_at_a_pace_is_not() {
        for (bytes, is_served) in [(1024, false), (64 << 10, true)] {
            let (mut client, server) = duplex(64 << 10);
            let reader = tokio::spawn(async move {
                let mut buffer = vec![0; bytes];
                while client.read(&mut buffer).await.is_ok_and(|read| read > 0) {
                    tokio::time::sleep(Duration::from_secs(1)).await;
                }
            });
            let written = Paced::new(server).write_all(&vec![0; 4 << 20]).await;
            assert_eq!(written.is_ok(), is_served, "{bytes} bytes a second");
            reader.abort();
        }
    }
}
