//! A fleet of thousands, some of which hang, are dead or talk too much: the check ends, with bounded means.

use std::fmt::Write as _;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

use axum::Router;
use axum::extract::Path;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use dagsync_core::{Digest, Entry, Manifest, TreePath};
use serde_json::json;

use super::valid;
use crate::harness::dagsync;

const PODS: usize = 2_000;
const AT_ONCE: usize = 48;
/// Beside its connections a process has standard streams, a runtime and what it reads.
const OTHER_FILES: usize = 24;
/// Of a debug build; what one answer may take times how many there are at once is far below it.
const MEMORY_KIB: u64 = 200 << 10;

/// How many are being answered.
#[derive(Debug, Default)]
struct Load {
    now: AtomicUsize,
    most: AtomicUsize,
    manifests: AtomicUsize,
}

struct Place(Arc<Load>);

impl Place {
    fn take(load: &Arc<Load>) -> Self {
        load.most.fetch_max(load.now.fetch_add(1, SeqCst) + 1, SeqCst);
        Self(load.clone())
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.now.fetch_sub(1, SeqCst);
    }
}

/// One of three trees of 1,000 files that differ in one.
fn manifest(tree: usize) -> Manifest {
    let entry = |n: usize| {
        let content = if n == 7 { format!("{n} {tree}") } else { n.to_string() };
        Entry { path: TreePath::new(format!("team/dag_{n:04}.py")).unwrap(), digest: Digest::of(content) }
    };
    Manifest::new((0..1_000).map(entry).collect()).unwrap()
}

/// Of a hundred pods one hangs, one talks without end, one answers nonsense; of the others some are elsewhere.
async fn status(load: Arc<Load>, pod: usize) -> Response {
    let _place = Place::take(&load);
    let tree = match pod % 100 {
        0 => std::future::pending().await,
        1 => return " ".repeat(3 << 20).into_response(),
        2 => return "<html>".into_response(),
        3 => 1,
        4 => 2,
        _ => 0,
    };
    let long_ago = "2026-01-01T00:00:00Z";
    let warnings = vec!["a long warning that nobody needs ".repeat(8); 100];
    let history = json!([{"version": manifest(tree).version(), "at": long_ago}]);
    axum::Json(json!({
        "id": format!("{pod:016x}"), "pod": format!("pod-{pod:04}"), "component": "worker", "strategy": "git",
        "filter_hash": "f", "state": "converged", "version": manifest(tree).version(), "revision": format!("r{tree}"),
        "since": long_ago, "published_at": long_ago, "history": history, "warnings": warnings, "target": {"mode": "head"},
    }))
    .into_response()
}

async fn sent(load: Arc<Load>, version: String) -> Response {
    load.manifests.fetch_add(1, SeqCst);
    let found = (0..3).map(manifest).find(|manifest| manifest.version().hex() == version);
    found.map_or_else(|| StatusCode::NOT_FOUND.into_response(), |manifest| manifest.to_bytes().into_response())
}

/// Every pod behind one listener, by its path.
fn serve(load: &Arc<Load>) -> String {
    let (load, (sender, address)) = (load.clone(), std::sync::mpsc::channel());
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async move {
            let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
            sender.send(listener.local_addr().unwrap()).unwrap();
            let asked = load.clone();
            let router = Router::new()
                .route("/{pod}/v1/status", get(move |Path(pod): Path<usize>| status(asked.clone(), pod)))
                .route(
                    "/{pod}/v1/versions/{version}/manifest",
                    get(move |Path((_, version)): Path<(usize, String)>| sent(load.clone(), version)),
                );
            axum::serve(listener, router).await.unwrap();
        });
    });
    format!("http://{}", address.recv().unwrap())
}

/// The most open files and memory that a process had until it ended, as far as seen.
fn watch(child: &mut std::process::Child) -> (usize, u64) {
    let (proc, mut most) = (format!("/proc/{}", child.id()), (0, 0));
    while child.try_wait().unwrap().is_none() {
        let files = std::fs::read_dir(format!("{proc}/fd")).map_or(0, Iterator::count);
        let status = std::fs::read_to_string(format!("{proc}/status")).unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let kib = line.and_then(|line| line.trim().strip_suffix(" kB")?.parse().ok()).unwrap_or(0);
        most = (files.max(most.0), kib.max(most.1));
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    most
}

#[test]
fn two_thousand_pods_are_asked_with_bounded_means() {
    let (load, folder) = (Arc::new(Load::default()), tempfile::tempdir().unwrap());
    let url = serve(&load);
    let mut config = String::from("fleet:\n  peers:\n");
    for pod in 0..PODS {
        // One in a hundred is dead: nobody listens there.
        let at = if pod % 100 == 5 { "http://127.0.0.1:1" } else { &url };
        writeln!(config, "    - {at}/{pod}").unwrap();
    }
    let (file, out) = (folder.path().join("dagsync.yaml"), folder.path().join("out"));
    std::fs::write(&file, config).unwrap();
    let mut command = dagsync();
    command.args(["drift", "--output", "json", "--timeout", "2s", "--concurrency", &AT_ONCE.to_string(), "--config"]);
    command.arg(&file).stdin(Stdio::null()).stdout(std::fs::File::create(&out).unwrap());
    let start = std::time::Instant::now();
    let mut child = command.spawn().unwrap();
    let (files, memory) = watch(&mut child);
    let took = start.elapsed();
    // To be seen with --nocapture.
    #[allow(clippy::print_stdout, reason = "the measurement")]
    {
        let most = load.most.load(SeqCst);
        println!("{PODS} pods in {took:.1?}: {most} answered at once, {files} open files, VmHWM {memory} KiB");
    }
    assert_eq!(child.wait().unwrap().code(), Some(1));

    let report = valid(&std::fs::read_to_string(&out).unwrap());
    let counts = ["in-sync", "drifted", "unreachable"].map(|state| report["counts"][state].as_u64().unwrap());
    assert_eq!(counts, [1_880, 40, 80], "{}", report["counts"]);
    let versions = report["versions"].as_array().unwrap();
    assert_eq!(versions.len(), 3);
    for version in &versions[1..] {
        assert_eq!(version["differs"]["files"], json!([{"path": "team/dag_0007.py", "change": "modified"}]));
    }
    assert_eq!(load.manifests.load(SeqCst), 3, "one manifest for each version, not for each pod");
    assert!(load.most.load(SeqCst) <= AT_ONCE, "{load:?}");
    assert!(files <= AT_ONCE + OTHER_FILES, "{files} files were open");
    assert!(memory > 0 && memory <= MEMORY_KIB, "{memory} KiB");
}
