//! Accepts connections: bounded in number, and none is kept by a client that does not speak or does not listen.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::pin::pin;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use axum::Router;
use dagsync_core::{Error, ErrorKind, Result};
use hyper::service::{Service as _, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

use super::pace::Paced;
use super::places::{Place, Places};
use super::tls::Tls;
use crate::config::Bind;
use crate::metrics::Metrics;

/// Who waits to be accepted; the kernel has its own bound. Who finds no room there tries again only after a second.
const BACKLOG: u32 = 4096;
/// Connections that are accepted in a row before those that are there have their turn.
const BURST: u64 = 16;
/// What the kernel keeps of one connection in each direction, which counts as this pod's memory.
const BUFFER: u32 = 128 << 10;
const HEADER_TIMEOUT: Duration = Duration::from_secs(3);
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(5);
/// All headers of a request; each connection may hold so much.
const HEADERS: usize = 16 << 10;
/// The longest that one connection lives; Prometheus and the kubelet open a new one.
const LIFETIME: Duration = Duration::from_secs(300);
/// How long a request that is being answered then may still take.
const GRACE: Duration = Duration::from_secs(90);

/// A listener.
#[derive(Debug, Clone)]
pub struct Server {
    /// The setting that says where it listens.
    pub setting: &'static str,
    /// Connections at once.
    pub places: usize,
    /// Its certificate; without one it speaks plain HTTP.
    pub tls: Option<Tls>,
    /// Where it counts.
    pub metrics: Metrics,
}

impl Server {
    /// Listens on `bind` and serves until `token` is cancelled. Returns the address it listens on at once; the returned
    /// future serves.
    ///
    /// # Errors
    /// [`ErrorKind::Config`] when the address cannot be listened on.
    pub async fn serve(
        self,
        bind: &Bind,
        router: Router,
        token: CancellationToken,
    ) -> Result<(SocketAddr, impl Future<Output = ()> + use<>)> {
        let setting = self.setting;
        let fail = |e: std::io::Error| {
            Error::new(ErrorKind::Config, "listen", format!("cannot listen on {bind}"))
                .with_source(e)
                .with_hint(format!("choose another {setting}, or leave it empty for no listener"))
        };
        let listener = listen(bind).await.map_err(fail)?;
        let address = listener.local_addr().map_err(fail)?;
        Ok((address, self.accept(listener, router, token)))
    }

    async fn accept(self, listener: TcpListener, router: Router, token: CancellationToken) {
        let places = Places::new(self.places);
        let mut accepted: u64 = 0;
        loop {
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
            let (server, router, token, place) = (self.clone(), router.clone(), token.clone(), places.take());
            tokio::spawn(async move {
                tokio::select! {
                    () = server.welcome(stream, router, &place) => {}
                    () = place.lost() => server.metrics.refused("full"),
                    () = token.cancelled() => {}
                }
            });
            accepted += 1;
            if accepted.is_multiple_of(BURST) {
                // What was accepted is looked at before it may have to make room.
                tokio::task::yield_now().await;
            }
        }
    }

    async fn welcome(&self, stream: TcpStream, router: Router, place: &Place) {
        let stream = Paced::new(stream);
        let Some(tls) = &self.tls else {
            return converse(stream, router, place).await;
        };
        let handshake = TlsAcceptor::from(tls.config().await).accept(stream);
        match tokio::time::timeout(HANDSHAKE_TIMEOUT, handshake).await {
            Ok(Ok(stream)) => converse(stream, router, place).await,
            failed => {
                self.metrics.refused("handshake");
                let error = failed.map_or_else(
                    |late| late.to_string(),
                    |ended| ended.err().map_or_else(String::new, |e| e.to_string()),
                );
                tracing::debug!(error, "no TLS with a client");
            }
        }
    }
}

/// Without a host on every address, of both families where the host has both; a name is the first of its IPv4 addresses,
/// else of its others.
async fn listen(bind: &Bind) -> std::io::Result<TcpListener> {
    if bind.host.is_empty() {
        return match on((Ipv6Addr::UNSPECIFIED, bind.port).into()) {
            Err(e) if may_go_by_ipv4(&e) => on((Ipv4Addr::UNSPECIFIED, bind.port).into()),
            listening => listening,
        };
    }
    let mut addresses: Vec<_> = tokio::net::lookup_host((bind.host.as_str(), bind.port)).await?.collect();
    addresses.sort_by_key(SocketAddr::is_ipv6);
    let none = || std::io::Error::new(std::io::ErrorKind::NotFound, "the name has no address");
    on(*addresses.first().ok_or_else(none)?)
}

fn on(address: SocketAddr) -> std::io::Result<TcpListener> {
    let socket = if address.is_ipv6() { TcpSocket::new_v6()? } else { TcpSocket::new_v4()? };
    socket.set_reuseaddr(true)?;
    // Connections inherit these.
    socket.set_send_buffer_size(BUFFER)?;
    socket.set_recv_buffer_size(BUFFER)?;
    if address == (Ipv6Addr::UNSPECIFIED, address.port()).into() {
        rustix::net::sockopt::set_ipv6_v6only(&socket, false)?;
    }
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

/// Kernels and sandboxes without IPv6 say so in many ways; a port that is taken or forbidden is so in both families.
fn may_go_by_ipv4(error: &std::io::Error) -> bool {
    !matches!(error.kind(), std::io::ErrorKind::AddrInUse | std::io::ErrorKind::PermissionDenied)
}

async fn converse(stream: impl AsyncRead + AsyncWrite + Unpin, router: Router, place: &Place) {
    let (router, is_served) = (TowerToHyperService::new(router), place.is_served());
    let service = service_fn(move |request| {
        is_served.store(true, Relaxed);
        let (answer, is_served) = (router.call(request), is_served.clone());
        async move {
            let answer = answer.await;
            is_served.store(false, Relaxed);
            answer
        }
    });
    let connection = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIMEOUT)
        .max_buf_size(HEADERS)
        .serve_connection(TokioIo::new(stream), service);
    let mut connection = pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = tokio::time::sleep(LIFETIME) => {
            connection.as_mut().graceful_shutdown();
            tokio::time::timeout(GRACE, connection).await.unwrap_or(Ok(()))
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "a connection ended early");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sandbox_that_refuses_an_option_of_ipv6_is_listened_in_by_ipv4() {
        let may = |errno| may_go_by_ipv4(&std::io::Error::from_raw_os_error(errno));
        for errno in [libc::EAFNOSUPPORT, libc::EADDRNOTAVAIL, libc::ENOPROTOOPT, libc::EOPNOTSUPP, libc::EINVAL] {
            assert!(may(errno), "{errno}");
        }
        assert!(!may(libc::EADDRINUSE) && !may(libc::EACCES) && !may(libc::EPERM));
    }
}
