//! Who may ask a daemon for what, and what it bears: tokens, TLS, and clients that mean no good.

mod bounds;
mod clients;
mod paths;
mod routes;
mod slow;
mod tls;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::time::Duration;

use dagsync::http::Route;

use crate::harness::{Pod, Repo};

const TOKEN: &str = "right-horse-4471";
const NEXT: &str = "next-battery-9026";

/// A repository and a pod that reads it, with a token for commands; the folder has the file.
fn guarded(auth: &str) -> (Repo, tempfile::TempDir, Pod) {
    let (repo, folder) = (Repo::with(&[("dags/a.py", "1")]), tempfile::tempdir().unwrap());
    let file = folder.path().join("token");
    std::fs::write(&file, format!("{TOKEN}\n")).unwrap();
    let pod = Pod::new(&repo.file_url()).set("http.token_file", &file).set("http.auth", auth);
    (repo, folder, pod.set("log.level", "trace"))
}

/// Waits until what is published is the repository's, without asking the daemon.
#[track_caller]
fn is_published(pod: &Pod, repo: &Repo) {
    let wanted = repo.version();
    let hex = wanted.trim_start_matches("sha256:").to_owned();
    crate::harness::eventually(&format!("{wanted} is published; the log:\n{}", pod.log()), || {
        pod.current().filter(|folder| folder.ends_with(&hex))
    });
}

/// The path of a route with something at the place of what varies.
fn path(route: &Route, filling: &str) -> String {
    route.path.split('/').map(|part| if part.starts_with('{') { filling } else { part }).collect::<Vec<_>>().join("/")
}

/// A connection whose reads and writes end at some time.
fn connect(port: u16) -> TcpStream {
    let stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    stream.set_write_timeout(Some(Duration::from_secs(30))).unwrap();
    stream
}

/// Sends these bytes; what comes back until the end, or as much as there is before the connection breaks.
fn raw(port: u16, request: &[u8]) -> String {
    let mut stream = connect(port);
    let _ = stream.write_all(request);
    answer(&mut stream)
}

fn answer(stream: &mut TcpStream) -> String {
    let (mut bytes, mut part) = (Vec::new(), [0; 4096]);
    while let Ok(read @ 1..) = stream.read(&mut part) {
        bytes.extend_from_slice(&part[..read]);
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// The status of an answer.
fn status(answer: &str) -> Option<u16> {
    answer.split(' ').nth(1)?.parse().ok()
}

/// No secret stands in the log, which says much.
#[track_caller]
fn says_no_secret(pod: &Pod, secrets: &[&str]) {
    let log = pod.log();
    assert!(log.len() > 500, "it says much: {log}");
    for secret in secrets {
        assert!(!log.contains(secret), "{secret} stands in the log");
    }
}

fn write(file: &Path, content: &str) {
    dagsync_core::fs::write_atomic(file, content.as_bytes()).unwrap();
}
