//! A proxy for https: it answers CONNECT, and lets through whom it knows.

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

use super::gate::pass;

/// A running proxy.
#[derive(Debug)]
pub(crate) struct Proxy {
    pub(crate) port: u16,
    passed: Arc<AtomicUsize>,
}

impl Proxy {
    /// Lets everybody through who shows `authorization`; everybody when it is empty. Others are told `refusal`.
    pub(crate) fn start(authorization: &'static str, refusal: &'static str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let passed = Arc::new(AtomicUsize::new(0));
        let count = passed.clone();
        // The thread ends with the test's process.
        std::thread::spawn(move || {
            for guest in listener.incoming().flatten() {
                let count = count.clone();
                std::thread::spawn(move || serve(guest, authorization, refusal, &count));
            }
        });
        Self { port, passed }
    }

    /// How many connections it let through.
    pub(crate) fn passed(&self) -> usize {
        self.passed.load(SeqCst)
    }
}

/// Answers requests until one is let through.
fn serve(guest: TcpStream, authorization: &str, refusal: &str, passed: &AtomicUsize) {
    let mut lines = BufReader::new(guest.try_clone().unwrap()).lines().map_while(Result::ok);
    loop {
        let head: Vec<String> = lines.by_ref().take_while(|line| !line.is_empty()).collect();
        let Some(request) = head.first() else { return };
        let shown = head.iter().any(|line| line.ends_with(authorization) && line.starts_with("Proxy-Authorization:"));
        if authorization.is_empty() || shown {
            let port = request.split([':', ' ']).nth(2).unwrap().parse().unwrap();
            passed.fetch_add(1, SeqCst);
            write!(&guest, "HTTP/1.1 200 Connection established\r\n\r\n").unwrap();
            return pass(guest, port);
        }
        write!(&guest, "HTTP/1.1 {refusal}\r\nContent-Length: 0\r\n\r\n").unwrap();
    }
}
