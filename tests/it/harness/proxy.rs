//! A proxy as companies have them: it opens a tunnel on `CONNECT`, or refuses to.

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use super::gate;

/// An HTTP proxy that lets nothing through but tunnels.
#[derive(Debug)]
pub(crate) struct Proxy {
    port: u16,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Proxy {
    /// A proxy that opens every tunnel.
    pub(crate) fn start() -> Self {
        Self::answering("200 Connection established")
    }

    /// A proxy that answers every request with `status`; only a tunnel with 200.
    pub(crate) fn answering(status: &'static str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let asked = Arc::new(Mutex::new(Vec::new()));
        let log = asked.clone();
        // The threads end with the test's process.
        std::thread::spawn(move || {
            for guest in listener.incoming().flatten() {
                let log = log.clone();
                std::thread::spawn(move || admit(guest, status, &log));
            }
        });
        Self { port, asked }
    }

    /// What stands in `https_proxy`.
    pub(crate) fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// The hosts and ports that tunnels were asked to.
    pub(crate) fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap().clone()
    }
}

fn admit(guest: TcpStream, status: &str, log: &Mutex<Vec<String>>) {
    let head = BufReader::new(guest.try_clone().unwrap()).lines().map_while(Result::ok);
    let head: Vec<String> = head.take_while(|line| !line.is_empty()).collect();
    let Some(target) = head.first().and_then(|line| line.strip_prefix("CONNECT ")?.split(' ').next()) else { return };
    log.lock().unwrap().push(target.to_owned());
    let port = target.rsplit_once(':').unwrap().1.parse().unwrap();
    let _ = write!(&guest, "HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n");
    if status.starts_with("200") {
        gate::pass(guest, port);
    }
}
