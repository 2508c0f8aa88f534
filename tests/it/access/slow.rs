//! Clients that speak slowly, or do not listen: a thousand at once, and the loop syncs and probes are answered.

#![allow(clippy::print_stdout, reason = "what was measured is of interest when it is asked for")]

use std::io::Write;
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::{connect, guarded, is_published};
use crate::harness::{Authority, Pod, Repo};

/// A probe that waits for a slow client waits for longer than this; how long it really took is printed.
const PROBE: Duration = Duration::from_secs(20);
/// What a thousand connections may cost, of both the daemon and the first sync.
const MEMORY: u64 = 120 << 10;

/// The beginnings of requests that never end, and requests whose answers nobody reads.
fn beginnings() -> Vec<Vec<u8>> {
    let event = "POST /v1/hooks/github HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n";
    let signature = format!("X-Hub-Signature-256: sha256={}\r\n\r\n", "0".repeat(64));
    vec![
        b"GET /v1/status HTTP/1.1\r\nX-Slow: ".to_vec(),
        format!("{event}{signature}").into_bytes(),
        format!(
            "POST /v1/sync HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {}\r\nContent-Length: 1000\r\n\r\n",
            super::TOKEN
        )
        .into_bytes(),
        "GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n".repeat(500).into_bytes(),
        Vec::new(),
    ]
}

/// Keeps `count` such connections open: each says a byte a second, and one that was closed comes again.
struct Crowd {
    ends: Arc<AtomicBool>,
    thread: Option<JoinHandle<usize>>,
}

impl Crowd {
    fn of(count: usize, port: u16, kinds: Vec<Vec<u8>>) -> Self {
        let ends = Arc::new(AtomicBool::new(false));
        let until = ends.clone();
        let thread = std::thread::spawn(move || {
            let mut came = 0;
            let mut there: Vec<Option<TcpStream>> = (0..count).map(|_| None).collect();
            while !until.load(Relaxed) {
                for (index, guest) in there.iter_mut().enumerate() {
                    if guest.as_mut().is_none_or(|stream| {
                        stream.write(b"y").is_err_and(|e| e.kind() != std::io::ErrorKind::WouldBlock)
                    }) {
                        *guest = TcpStream::connect(("127.0.0.1", port)).ok();
                        came += 1;
                        let Some(stream) = guest else { continue };
                        let _ = stream.set_nonblocking(true);
                        let _ = stream.write(&kinds[index % kinds.len()]);
                    }
                }
                std::thread::sleep(Duration::from_secs(1));
            }
            came
        });
        Self { ends, thread: Some(thread) }
    }

    /// How many connections there were in all.
    fn end(mut self) -> usize {
        self.ends.store(true, Relaxed);
        self.thread.take().unwrap().join().unwrap()
    }
}

fn peak_kib(pod: &Pod) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", pod.id())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

fn connections(pod: &Pod) -> usize {
    std::fs::read_dir(format!("/proc/{}/fd", pod.id())).unwrap().count()
}

/// Probes and commits, while whoever is there is there.
fn serves(pod: &Pod, repo: &Repo, rounds: usize, probe: impl Fn() -> bool) -> Duration {
    let mut slowest = Duration::ZERO;
    for round in 0..rounds {
        repo.write("dags/a.py", &format!("round {round}"));
        repo.commit("next");
        is_published(pod, repo);
        for _ in 0..10 {
            let started = Instant::now();
            assert!(probe(), "a probe fails");
            slowest = slowest.max(started.elapsed());
        }
        std::thread::sleep(Duration::from_millis(500));
    }
    slowest
}

#[test]
fn a_thousand_slow_clients_hold_up_nothing() {
    let (repo, folder, pod) = guarded("commands");
    let secret = folder.path().join("secret");
    std::fs::write(&secret, "secret").unwrap();
    let mut pod = pod.set("http.hooks.github_secret_file", &secret).set("log.level", "info");
    pod.start();
    is_published(&pod, &repo);
    let before = peak_kib(&pod);
    let crowd = Crowd::of(1000, pod.port(), beginnings());
    // Of those who send an event slowly most are sent away, and come again.
    crate::harness::eventually("they are there", || (connections(&pod) > 600).then_some(()));
    let slowest = serves(&pod, &repo, 15, || pod.get("/livez").is_some_and(|(status, _)| status == 200));
    let (peak, there) = (peak_kib(&pod), connections(&pod));
    let came = crowd.end();
    println!("{came} connections came, {there} files are open; peak {before} -> {peak} KiB; slowest probe {slowest:?}");
    assert!(slowest < PROBE, "a probe took {slowest:?}");
    assert!(peak < MEMORY, "{before} -> {peak} KiB");
    crate::harness::eventually("they are let go", || (connections(&pod) < 100).then_some(()));
}

#[test]
fn when_all_places_are_taken_the_newest_is_served() {
    let (repo, _folder, pod) = guarded("commands");
    let mut pod = pod.files(256).set("log.level", "info");
    pod.start();
    is_published(&pod, &repo);
    let crowd = Crowd::of(1000, pod.port(), vec![Vec::new(), beginnings().swap_remove(0)]);
    // A follower waits for an answer: it goes only after those who ask for nothing.
    let version = repo.version();
    let poll = format!("GET /v1/target?after={version}&wait=2s HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    let mut follower = connect(pod.port());
    follower.write_all(poll.as_bytes()).unwrap();
    let slowest = serves(&pod, &repo, 5, || pod.get("/livez").is_some_and(|(status, _)| status == 200));
    let said = super::answer(&mut follower);
    assert!(said.contains("sha256:"), "a follower is answered: {said}");
    println!("{} connections came, slowest probe {slowest:?}", crowd.end());
    assert!(pod.metric("dagsync_http_refused_total{reason=\"full\"}") > 100.0);
    assert!(slowest < PROBE, "a probe took {slowest:?}");
    assert!(!pod.log().contains("cannot accept"), "it never ran out of files");
}

#[test]
fn slow_handshakes_hold_up_nothing_either() {
    let authority = Authority::new();
    let secret = authority.secret("dagsync");
    let (repo, _folder, pod) = guarded("commands");
    let probes = crate::harness::free_port();
    let mut pod = pod
        .set("http.tls.cert_file", secret.certificate())
        .set("http.tls.key_file", secret.key())
        .set("http.probe_bind", format!("127.0.0.1:{probes}"))
        .set("log.level", "info");
    pod.start();
    is_published(&pod, &repo);
    let crowd = Crowd::of(1000, pod.port(), beginnings());
    let probe = || crate::harness::http(probes, "GET", "/livez", "").is_some_and(|(status, _)| status == 200);
    let slowest = serves(&pod, &repo, 10, probe);
    println!("{} connections came; peak {} KiB; slowest probe {slowest:?}", crowd.end(), peak_kib(&pod));
    assert!(slowest < PROBE && peak_kib(&pod) < MEMORY);
}
