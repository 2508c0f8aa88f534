//! The way out: a body that can end too early, never, or too late, and a socket that can be cut behind it.

use std::convert::Infallible;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::task::{Context, Poll, ready};

use hyper::Response;
use hyper::body::{Body, Bytes, Frame};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use super::reply::Reply;
use super::rule::Action;

/// Tells a [`Socket`] to fail as soon as everything before is sent.
pub(super) type Cut = Arc<AtomicBool>;

/// The body of an answer.
#[derive(Debug)]
pub(super) struct Outgoing {
    data: Bytes,
    then: Then,
}

/// What comes after the bytes.
#[derive(Debug)]
enum Then {
    End,
    Cut(Cut),
    Nothing,
}

/// The reply as HTTP, with what `action` does to it on the way.
pub(super) fn response(reply: Reply, action: Option<&Action>, cut: Cut) -> Response<Outgoing> {
    let mut response = Response::builder().status(reply.status);
    response = response.header("server", "AmazonS3").header("x-amz-request-id", format!("{:016X}", fastrand::u64(..)));
    if reply.has_body() && !matches!(action, Some(Action::Overlong(_))) {
        response = response.header("content-length", reply.body.len());
    }
    response = reply.headers.iter().fold(response, |response, (name, value)| response.header(name, value));
    response.body(Outgoing::new(reply.body, action, cut)).expect("a test gives header fields that HTTP can carry")
}

impl Outgoing {
    fn new(data: Bytes, action: Option<&Action>, cut: Cut) -> Self {
        match action {
            Some(Action::Truncate(bytes)) => Self { data: first(&data, *bytes), then: Then::Cut(cut) },
            Some(Action::Stall(bytes)) => Self { data: first(&data, *bytes), then: Then::Nothing },
            Some(Action::Overlong(bytes)) => Self { data: longer(&data, *bytes), then: Then::End },
            _ => Self { data, then: Then::End },
        }
    }
}

fn first(data: &Bytes, bytes: usize) -> Bytes {
    data.slice(..bytes.min(data.len()))
}

fn longer(data: &Bytes, bytes: usize) -> Bytes {
    [data, vec![b'+'; bytes].as_slice()].concat().into()
}

impl Body for Outgoing {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if !self.data.is_empty() {
            return Poll::Ready(Some(Ok(Frame::data(std::mem::take(&mut self.data)))));
        }
        match &self.then {
            Then::End => Poll::Ready(None),
            Then::Cut(cut) => {
                cut.store(true, Relaxed);
                Poll::Pending
            }
            Then::Nothing => Poll::Pending,
        }
    }

    fn is_end_stream(&self) -> bool {
        self.data.is_empty() && matches!(self.then, Then::End)
    }
}

/// A connection that fails once it is told to and has nothing more to send.
///
/// A body that fails would not do: hyper then drops what it has not sent yet, so that a client would get fewer bytes
/// than the test says. But it flushes the socket only after it wrote everything to it.
#[derive(Debug)]
pub(super) struct Socket {
    pub(super) stream: TcpStream,
    pub(super) cut: Cut,
}

impl AsyncRead for Socket {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Socket {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(Pin::new(&mut self.stream).poll_flush(cx))?;
        if self.cut.load(Relaxed) {
            return Poll::Ready(Err(io::ErrorKind::ConnectionAborted.into()));
        }
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
