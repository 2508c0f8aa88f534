//! A proxy as companies have them: it opens a tunnel on `CONNECT` and passes plain requests on, or refuses to.

use std::io::{BufRead, BufReader, Write, copy};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use super::gate;

const LET_THROUGH: &str = "200 Connection established";

/// An HTTP proxy.
#[derive(Debug)]
pub(crate) struct Proxy {
    port: u16,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Proxy {
    /// A proxy that lets everything through.
    pub(crate) fn start() -> Self {
        Self::answering(LET_THROUGH)
    }

    /// A proxy that takes every name for that of the server at this port.
    pub(crate) fn to(port: u16) -> Self {
        Self::with(LET_THROUGH, Some(port))
    }

    /// A proxy that answers every request with `status`, and lets through only with 200.
    pub(crate) fn answering(status: &'static str) -> Self {
        Self::with(status, None)
    }

    fn with(status: &'static str, to: Option<u16>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let asked = Arc::new(Mutex::new(Vec::new()));
        let log = asked.clone();
        // The threads end with the test's process.
        std::thread::spawn(move || {
            for guest in listener.incoming().flatten() {
                let log = log.clone();
                std::thread::spawn(move || admit(guest, status, to, &log));
            }
        });
        Self { port, asked }
    }

    /// What stands in `http_proxy` and `https_proxy`.
    pub(crate) fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// The hosts and ports that were asked for.
    pub(crate) fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap().clone()
    }
}

fn admit(guest: TcpStream, status: &str, to: Option<u16>, log: &Mutex<Vec<String>>) {
    let head = BufReader::new(guest.try_clone().unwrap()).lines().map_while(Result::ok);
    let head: Vec<String> = head.take_while(|line| !line.is_empty()).collect();
    let words: Vec<&str> = head.first().map(|line| line.split(' ').collect()).unwrap_or_default();
    let [method, target, _] = words[..] else { return };
    let (host, path) = match target.strip_prefix("http://").and_then(|target| target.split_once('/')) {
        Some((host, path)) => (host.to_owned(), Some(path)),
        None => (target.to_owned(), None),
    };
    log.lock().unwrap().push(host.clone());
    let port = to.unwrap_or_else(|| host.rsplit_once(':').unwrap().1.parse().unwrap());
    match (status.starts_with("200"), path) {
        (true, Some(path)) => forward(&guest, port, &format!("{method} /{path} HTTP/1.1"), &head[1..]),
        (true, None) => {
            let _ = write!(&guest, "HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n");
            gate::pass(guest, port);
        }
        (false, _) => {
            let _ = write!(&guest, "HTTP/1.1 {status}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
        }
    }
}

/// Passes on one request without a body, and its answer.
fn forward(mut guest: &TcpStream, port: u16, first: &str, headers: &[String]) {
    let Ok(mut host) = TcpStream::connect(("127.0.0.1", port)) else { return };
    let _ = host.write_all(format!("{first}\r\n{}\r\nConnection: close\r\n\r\n", headers.join("\r\n")).as_bytes());
    let _ = copy(&mut host, &mut guest);
}
