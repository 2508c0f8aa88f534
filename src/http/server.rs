//! Accepts connections: bounded in number, and none is kept by a client that does not speak.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use dagsync_core::{Error, ErrorKind, Result};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use crate::config::Bind;

const CONNECTIONS: usize = 256;
const BACKLOG: u32 = 1024;
const HEADER_TIMEOUT: Duration = Duration::from_secs(3);
/// The longest that one connection lives; Prometheus and the kubelet open a new one.
const LIFETIME: Duration = Duration::from_secs(300);

/// Listens on `bind` and serves until `token` is cancelled. Returns the address it listens on at once; the returned
/// future serves.
///
/// # Errors
/// [`ErrorKind::Config`] when the address cannot be listened on.
pub async fn serve(
    bind: &Bind,
    router: Router,
    token: CancellationToken,
) -> Result<(SocketAddr, impl Future<Output = ()> + use<>)> {
    let fail = |e: std::io::Error| {
        Error::new(ErrorKind::Config, "listen", format!("cannot listen on {bind}"))
            .with_source(e)
            .with_hint("choose another http.bind, or leave it empty for no listener")
    };
    let listener = listen(bind).await.map_err(fail)?;
    let address = listener.local_addr().map_err(fail)?;
    Ok((address, accept(listener, router, token)))
}

/// Without a host on every address, of both families where the host has both; a name is the first of its IPv4 addresses,
/// else of its others.
async fn listen(bind: &Bind) -> std::io::Result<TcpListener> {
    if bind.host.is_empty() {
        return match everywhere(bind.port) {
            Err(e) if is_without_ipv6(&e) => TcpListener::bind((Ipv4Addr::UNSPECIFIED, bind.port)).await,
            listening => listening,
        };
    }
    let mut addresses: Vec<_> = tokio::net::lookup_host((bind.host.as_str(), bind.port)).await?.collect();
    addresses.sort_by_key(SocketAddr::is_ipv6);
    let none = || std::io::Error::new(std::io::ErrorKind::NotFound, "the name has no address");
    TcpListener::bind(addresses.first().ok_or_else(none)?).await
}

fn everywhere(port: u16) -> std::io::Result<TcpListener> {
    let socket = TcpSocket::new_v6()?;
    socket.set_reuseaddr(true)?;
    rustix::net::sockopt::set_ipv6_v6only(&socket, false)?;
    socket.bind((Ipv6Addr::UNSPECIFIED, port).into())?;
    socket.listen(BACKLOG)
}

fn is_without_ipv6(error: &std::io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EAFNOSUPPORT | libc::EADDRNOTAVAIL | libc::EPROTONOSUPPORT))
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
