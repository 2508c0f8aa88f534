//! Servers that do not answer, and processes that are told to stop.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::time::Duration;

use dagsync_core::{ErrorKind, Interrupt, Revision};

use crate::harness::{Origin, Target};

/// Accepts connections, reads, and says `greeting` again and again or nothing at all.
fn server(greeting: &'static [u8]) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        let mut open = Vec::new();
        for stream in listener.incoming().flatten() {
            let mut stream = stream;
            let _ = stream.set_read_timeout(Some(Duration::from_millis(50)));
            let _ = stream.read(&mut [0; 1024]);
            let _ = stream.write_all(greeting);
            open.push(stream);
        }
    });
    port
}

#[test]
fn a_server_that_says_nothing_ends_in_a_timeout() {
    for scheme in ["http", "https", "ssh"] {
        let mut target = Target::new(&format!("{scheme}://git@127.0.0.1:{}/x.git", server(b"")), &[]);
        target.timeout = Duration::from_millis(700);
        let error = target.resolve().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Timeout, "{error}");
        target.timeout = Duration::from_millis(700);
        assert_eq!(target.materialize(&Revision::new("1".repeat(40))).unwrap_err().kind(), ErrorKind::Timeout);
    }
}

#[test]
fn a_server_that_stops_in_the_middle_ends_in_a_timeout() {
    let greeting = b"HTTP/1.1 200 OK\r\nContent-Type: application/x-git-upload-pack-advertisement\r\n\
        Content-Length: 100000\r\n\r\n001e# service=git-upload-pack\n0000";
    for (scheme, greeting) in [("http", &greeting[..]), ("ssh", b"SSH-2.0-OpenSSH_9.9\r\n")] {
        let mut target = Target::new(&format!("{scheme}://git@127.0.0.1:{}/x.git", server(greeting)), &[]);
        target.timeout = Duration::from_millis(700);
        let error = target.resolve().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Timeout, "{scheme}: {error}");
    }
}

#[test]
fn a_server_that_is_not_there_is_unreachable() {
    for scheme in ["http", "ssh"] {
        let error = Target::new(&format!("{scheme}://git@127.0.0.1:1/x.git"), &[]).resolve().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unreachable, "{error}");
        assert!(error.is_retryable() && error.to_string().contains("127.0.0.1:1"), "{error}");
    }
}

#[test]
fn something_that_is_no_git_server_is_an_error_soon() {
    let port = server(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n");
    let error = Target::new(&format!("http://127.0.0.1:{port}/x.git"), &[]).resolve().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound, "{error}");
}

#[test]
fn work_that_was_cancelled_does_not_begin() {
    let origin = Origin::new();
    let revision = Revision::new(origin.write("a.py", "a").commit());
    let mut target = Target::new(&origin.url(), &[]);
    let interrupt = Interrupt::never();
    interrupt.token().cancel();
    target.interrupt = Some(interrupt);
    assert_eq!(target.resolve().unwrap_err().kind(), ErrorKind::Cancelled);
    assert_eq!(target.materialize(&revision).unwrap_err().kind(), ErrorKind::Cancelled);
}
