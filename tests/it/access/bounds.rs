//! Requests that are too large: refused, and the daemon is as it was.

use std::io::Write;
use std::time::Instant;

use dagsync::http::routes;

use super::{answer, connect, guarded, is_published, path, raw, status};
use crate::harness::{PATIENCE, Pod, Repo};

/// A pod that takes push events too, so that their bodies are read.
fn receiving() -> (Repo, tempfile::TempDir, Pod) {
    let (repo, folder, pod) = guarded("commands");
    let secret = folder.path().join("secret");
    std::fs::write(&secret, "secret").unwrap();
    let mut pod = pod.set("http.hooks.github_secret_file", &secret);
    pod.start();
    is_published(&pod, &repo);
    (repo, folder, pod)
}

/// The heads of requests for every path, signed so that an event's body has to be read.
fn heads(length: &str) -> Vec<String> {
    let signature = "0".repeat(64);
    let head = |route: &dagsync::http::Route| {
        format!(
            "{} {} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {}\r\nX-Hub-Signature-256: sha256={signature}\r\n{length}\r\n\r\n",
            route.method,
            path(route, "github"),
            super::TOKEN,
        )
    };
    routes(64, false).iter().map(head).collect()
}

fn goes_on(pod: &Pod, repo: &Repo) {
    repo.write("dags/a.py", &format!("{:?}", Instant::now()));
    repo.commit("next");
    is_published(pod, repo);
    assert_eq!(pod.get("/livez").unwrap().0, 200);
}

#[test]
fn a_body_that_says_it_is_huge_is_not_waited_for() {
    let (repo, _folder, pod) = receiving();
    for head in heads("Content-Length: 99999999999999") {
        let started = Instant::now();
        let mut stream = connect(pod.port());
        stream.write_all(head.as_bytes()).unwrap();
        let _ = stream.write_all(&[b'x'; 4096]);
        let is_event = head.contains("/v1/hooks/");
        let _ = (!is_event).then(|| stream.shutdown(std::net::Shutdown::Write));
        let said = answer(&mut stream);
        // An event's body is waited for as long as one event may take.
        assert_eq!(status(&said), Some(if is_event { 408 } else { 413 }), "{head}{said}");
        assert!(started.elapsed() < PATIENCE / 4, "{head}");
    }
    for wrong in
        ["Content-Length: -1", "Content-Length: 1\r\nContent-Length: 2", "Content-Length: 18446744073709551616"]
    {
        for head in heads(wrong) {
            assert_eq!(status(&raw(pod.port(), head.as_bytes())), Some(400), "{head}");
        }
    }
    goes_on(&pod, &repo);
}

#[test]
fn a_body_without_end_comes_to_an_end() {
    let (repo, _folder, pod) = receiving();
    let chunk = [b"10000\r\n".to_vec(), vec![b'x'; 0x10000], b"\r\n".to_vec()].concat();
    for head in heads("Transfer-Encoding: chunked") {
        let mut stream = connect(pod.port());
        stream.write_all(head.as_bytes()).unwrap();
        let sent = (0..16_384).take_while(|_| stream.write_all(&chunk).is_ok()).count() * 0x10000;
        assert!(sent < 64 << 20, "{sent} bytes were taken of {head}");
    }
    goes_on(&pod, &repo);
}

#[test]
fn headers_are_bounded_in_size_and_number() {
    let (repo, _folder, pod) = receiving();
    let long = format!("X-Long: {}", "y".repeat(64 << 10));
    let many = vec!["X-Many: 1"; 200].join("\r\n");
    let endless = vec!["X-Endless: 1"; 100_000].join("\r\n");
    for headers in [&long, &many, &endless] {
        for head in heads(headers) {
            let said = raw(pod.port(), head.as_bytes());
            // A client that has not yet sent everything may find its connection reset before it reads the answer.
            assert!(matches!(status(&said), Some(431) | None), "{said}");
        }
    }
    goes_on(&pod, &repo);
}
