//! Paths that lead elsewhere, in the place of every path: nothing but names and hashes is served, and no guard is passed.

use dagsync::http::{Guard, routes};

use super::{guarded, is_published, path, raw, status};
use crate::harness::Pod;

const CONTENT: &str = "content-of-a-dag-5150";

/// What might be taken for another path than it is.
fn tricks() -> Vec<String> {
    let up =
        ["../", "%2e%2e%2f", "%2e%2e/", "..%2f", "..%5c", "..\\", "%252e%252e%252f", "..;/", ".%00./", "%c0%ae%c0%ae/"];
    let to = ["etc/passwd", ".dagsync/state.json", "current/dags/a.py", "v1/sync"];
    let mut tricks: Vec<String> =
        up.iter().flat_map(|up| to.iter().map(move |to| format!("{}{to}", up.repeat(8)))).collect();
    tricks.extend(["%00", "%", "%zz", "%2f", "\u{7f}", ".", "..", "", "*", "?", "#", ";"].map(str::to_owned));
    tricks.push("a".repeat(16 << 10));
    tricks.push("%41".repeat(30 << 10));
    tricks
}

fn requests(method: &str, base: &str, trick: &str) -> Vec<String> {
    let targets = [
        format!("{base}/{trick}"),
        format!("/{trick}"),
        format!("{base}{trick}"),
        format!("http://elsewhere{base}/{trick}"),
        format!("/livez/{trick}"),
        format!("//{base}/{trick}"),
    ];
    targets.iter().map(|target| format!("{method} {target} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")).collect()
}

#[track_caller]
fn is_harmless(pod: &Pod, request: &[u8]) {
    let said = raw(pod.port(), request);
    let shown = String::from_utf8_lossy(&request[..request.len().min(200)]).into_owned();
    assert!(!said.contains("root:") && !said.contains(CONTENT) && !said.contains("\"current\""), "{shown}: {said}");
    assert_ne!(status(&said), Some(202), "{shown}: a command was taken");
    assert_ne!(status(&said), Some(500), "{shown}: {said}");
}

fn in_mode(auth: &str) {
    let (repo, _folder, mut pod) = guarded(auth);
    repo.write("dags/a.py", CONTENT);
    repo.commit("second");
    pod.start();
    is_published(&pod, &repo);
    for route in routes(64, false) {
        for trick in tricks() {
            for request in requests(route.method.as_str(), &path(&route, &trick), &trick) {
                is_harmless(&pod, request.as_bytes());
            }
        }
        let base = path(&route, "x");
        for bad in [&b"\0"[..], b"\xff\xfe", b" ", b"\r", b"\n", b"\x1b[2J"] {
            let request =
                [route.method.as_str().as_bytes(), b" ", base.as_bytes(), bad, b" HTTP/1.1\r\nHost: x\r\n\r\n"];
            is_harmless(&pod, &request.concat());
        }
        // However it is written, a path that is guarded stays so.
        if route.guard == Guard::Command || (auth == "all" && route.guard == Guard::Read) {
            let origin =
                format!("{} http://elsewhere{base} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", route.method);
            assert_eq!(status(&raw(pod.port(), origin.as_bytes())), Some(401), "{origin}");
        }
    }
    repo.write("dags/a.py", "next");
    repo.commit("third");
    is_published(&pod, &repo);
}

#[test]
fn no_path_leads_out() {
    in_mode("commands");
}

#[test]
fn no_path_leads_out_with_auth_all() {
    in_mode("all");
}
