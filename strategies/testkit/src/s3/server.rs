//! The server itself: connections, requests, and the faults on their way.

use std::error::Error;
use std::fmt;
use std::future::{pending, poll_fn};
use std::net::TcpListener;
use std::pin::Pin;

use hyper::body::{Body, Bytes, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;

use super::S3Double;
use super::call::Call;
use super::reply::{Refusal, Reply};
use super::rule::Action;
use super::wire::{Cut, Outgoing, Socket, response};

/// The reason that a connection is reset.
#[derive(Debug)]
struct Reset;

impl fmt::Display for Reset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("reset by a test")
    }
}

impl Error for Reset {}

/// Serves until `stop`, then drops every connection.
pub(super) fn run(s3: &S3Double, listener: TcpListener, stop: &CancellationToken) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.expect("a test can have a runtime").block_on(async {
        listener.set_nonblocking(true).expect("a socket can be made non-blocking");
        let listener = tokio::net::TcpListener::from_std(listener).expect("the socket listens");
        let accept = async {
            loop {
                // Accepting fails when a client is gone already.
                if let Ok((stream, _)) = listener.accept().await {
                    tokio::spawn(connection(s3.clone(), stream));
                }
            }
        };
        stop.run_until_cancelled(accept).await;
    });
}

async fn connection(s3: S3Double, stream: TcpStream) {
    let _ = stream.set_nodelay(true);
    let cut = Cut::default();
    let socket = TokioIo::new(Socket { stream, cut: cut.clone() });
    let service = service_fn(move |request| Box::pin(serve(s3.clone(), request, cut.clone())));
    let mut http = http1::Builder::new().serve_connection(socket, service);
    let end = poll_fn(|cx| http.poll_without_shutdown(cx)).await;
    if end.is_err_and(|error| error.source().is_some_and(|source| source.is::<Reset>())) {
        // Closed with no time to linger, the socket sends RST instead of FIN.
        let _ = http.into_parts().io.into_inner().stream.set_zero_linger();
    }
}

async fn serve(s3: S3Double, request: Request<Incoming>, cut: Cut) -> Result<Response<Outgoing>, Reset> {
    let (parts, body) = request.into_parts();
    let mut call = Call::new(parts);
    let number = s3.state().journal.arrived(&call);
    call.body = whole(body).await.map_err(|_| Reset)?;
    let action = s3.state().rules.take(&call);
    let reply = answer(&s3, &call, action.as_ref()).await?;
    s3.state().journal.answered(number, reply.status);
    Ok(response(reply, action.as_ref(), cut))
}

async fn answer(s3: &S3Double, call: &Call, action: Option<&Action>) -> Result<Reply, Reset> {
    match action {
        Some(Action::Status { status, code, headers }) => {
            let refusal = Refusal::new(*status, code.clone(), "Injected by a test").with_all(headers.clone());
            return Ok(refusal.reply(call));
        }
        Some(Action::Garbage) => {
            let page = "<!DOCTYPE html><html><body><h1>Welcome to the hotel</h1><p>Please log in.</body></html>";
            return Ok(Reply::new(200).with("content-type", "text/html").body(page));
        }
        Some(Action::Reset) => return Err(Reset),
        Some(Action::Hang) => pending().await,
        Some(Action::Delay(time)) => tokio::time::sleep(*time).await,
        // Not under the lock, because it calls the server's methods.
        Some(Action::Run(test)) => test(s3),
        Some(Action::Lost | Action::Truncate(_) | Action::Overlong(_) | Action::Stall(_)) | None => {}
    }
    let reply = s3.state().perform(call);
    if matches!(action, Some(Action::Lost)) { Err(Reset) } else { Ok(reply) }
}

/// The whole body of a request.
async fn whole(mut body: Incoming) -> hyper::Result<Bytes> {
    let mut bytes = Vec::new();
    while let Some(frame) = poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await {
        if let Ok(data) = frame?.into_data() {
            bytes.extend_from_slice(&data);
        }
    }
    Ok(bytes.into())
}
