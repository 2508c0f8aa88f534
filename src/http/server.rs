//! Accepts connections: bounded in number, and none is kept by a client that does not speak.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use dagsync_core::{Error, ErrorKind, Result};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

const CONNECTIONS: usize = 256;
const HEADER_TIMEOUT: Duration = Duration::from_secs(3);
/// The longest that one connection lives; Prometheus and the kubelet open a new one.
const LIFETIME: Duration = Duration::from_secs(300);

/// Listens on `bind` and serves until `token` is cancelled. Returns the address it listens on at once; the returned
/// future serves.
///
/// # Errors
/// [`ErrorKind::Config`] when the address cannot be listened on.
pub async fn serve(
    bind: SocketAddr,
    router: Router,
    token: CancellationToken,
) -> Result<(SocketAddr, impl Future<Output = ()>)> {
    let fail = |e: std::io::Error| {
        Error::new(ErrorKind::Config, "listen", format!("cannot listen on {bind}"))
            .with_source(e)
            .with_hint("choose another http.bind, or leave it empty for no listener")
    };
    let listener = TcpListener::bind(bind).await.map_err(fail)?;
    let address = listener.local_addr().map_err(fail)?;
    Ok((address, accept(listener, router, token)))
}

async fn accept(listener: TcpListener, router: Router, token: CancellationToken) {
    let places = Arc::new(Semaphore::new(CONNECTIONS));
    loop {
        let Ok(place) = places.clone().acquire_owned().await else { return };
        let stream = tokio::select! {
            () = token.cancelled() => return,
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => stream,
                Err(error) => {
                    // Out of descriptors, most likely: wait for some to be closed.
                    tracing::warn!(%error, "cannot accept a connection");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                    continue;
                }
            },
        };
        let (router, token) = (router.clone(), token.clone());
        tokio::spawn(async move {
            let _place = place;
            let served = tokio::time::timeout(LIFETIME, converse(stream, router));
            tokio::select! {
                _ = served => {}
                () = token.cancelled() => {}
            }
        });
    }
}

async fn converse(stream: TcpStream, router: Router) {
    let connection = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIMEOUT)
        .max_buf_size(32 * 1024)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router));
    if let Err(error) = connection.await {
        tracing::debug!(%error, "a connection ended early");
    }
}
