use std::time::{Instant, SystemTime};

use axum::body::{Body, to_bytes};
use tower::ServiceExt;

use super::*;
use crate::config::Pod;
use crate::status::SyncState;

pub(super) struct Server {
    pub(super) home: tempfile::TempDir,
    pub(super) endpoints: Endpoints,
}

impl Server {
    pub(super) fn new() -> Self {
        let home = tempfile::tempdir().unwrap();
        let pod = Pod { name: "w-0".into(), namespace: "af".into(), node: "n".into(), component: "worker".into() };
        let filter = dagsync_core::Filter::default().hash();
        let board = StatusBoard::new(&pod, "git", "https://example.com/dags.git".into(), filter, SystemTime::now());
        let store = Store::new(home.path(), "current");
        store.create().unwrap();
        let (metrics, wake, patience) = (Metrics::default(), Wake::default(), Duration::from_secs(60));
        let hooks = PushHooks::default();
        let (access, git_sync, places, fleet) = (Access::default(), false, 256, FleetBoard::default());
        let endpoints = Endpoints { board, metrics, store, wake, access, hooks, git_sync, patience, places, fleet };
        Self { home, endpoints }
    }

    pub(super) async fn send(&self, request: Request) -> (StatusCode, String) {
        let response = router(self.endpoints.clone()).oneshot(request).await.unwrap();
        let status = response.status();
        let body = to_bytes(response.into_body(), 1 << 20).await.unwrap();
        (status, String::from_utf8(body.to_vec()).unwrap())
    }

    /// A listener without TLS.
    fn listener(&self) -> super::Server {
        super::Server { setting: "http.bind", places: 256, tls: None, metrics: self.endpoints.metrics.clone() }
    }

    async fn get(&self, path: &str) -> (StatusCode, String) {
        self.send(Request::get(path).body(Body::empty()).unwrap()).await
    }

    async fn sync(&self, authorization: Option<&str>) -> StatusCode {
        let mut request = Request::post("/v1/sync");
        if let Some(value) = authorization {
            request = request.header("authorization", value);
        }
        self.send(request.body(Body::empty()).unwrap()).await.0
    }
}

#[tokio::test]
async fn ready_once_a_version_is_verified_and_never_back() {
    let server = Server::new();
    assert_eq!(server.get("/readyz").await.0, StatusCode::SERVICE_UNAVAILABLE);
    let error = dagsync_core::Error::new(dagsync_core::ErrorKind::Unreachable, "resolve", "no route");
    server.endpoints.board.update(|s| s.fail(&error, 1, SystemTime::now()));
    let (status, body) = server.get("/readyz").await;
    assert!(status == StatusCode::SERVICE_UNAVAILABLE && body.contains("no route"), "{body}");
    server.endpoints.board.update(|s| {
        s.version = Some(dagsync_core::Manifest::default().version());
        s.succeed(SystemTime::now(), SyncState::Converged);
    });
    assert_eq!(server.get("/readyz").await.0, StatusCode::OK);
    server.endpoints.board.update(|s| s.fail(&error, 9, SystemTime::now()));
    assert_eq!(server.get("/readyz").await.0, StatusCode::OK);
    let (_, body) = server.get("/v1/status").await;
    let status: serde_json::Value = serde_json::from_str(&body).unwrap();
    assert_eq!((&status["state"], &status["last_error"]["attempts"]), (&"stale".into(), &9.into()));
    assert_eq!(
        (&status["pod"], &status["component"], &status["ready"]),
        (&"w-0".into(), &"worker".into(), &true.into())
    );
}

#[tokio::test]
async fn live_while_the_loop_turns() {
    let server = Server::new();
    assert_eq!(server.get("/livez").await.0, StatusCode::OK);
    let Some(long_ago) = Instant::now().checked_sub(Duration::from_secs(61)) else { return };
    server.endpoints.board.update(|s| s.beat = long_ago);
    let (status, body) = server.get("/livez").await;
    assert!(status == StatusCode::SERVICE_UNAVAILABLE && body.contains("not turned"), "{body}");
}

#[tokio::test]
async fn manifests_are_served_by_version_and_nothing_else_is() {
    let server = Server::new();
    let content = format!("{}  a.py\n", dagsync_core::Digest::of("1"));
    let hex = dagsync_core::Digest::of(&content).to_string();
    let folder = server.home.path().join(".dagsync/manifests");
    std::fs::write(folder.join(&hex), &content).unwrap();
    assert_eq!(server.get(&format!("/v1/versions/{hex}/manifest")).await, (StatusCode::OK, content));
    let absent = dagsync_core::Digest::of("absent");
    assert_eq!(server.get(&format!("/v1/versions/{absent}/manifest")).await.0, StatusCode::NOT_FOUND);
    for path in ["/v1/versions/x/manifest", "/v1/versions/..%2f..%2fstate.json/manifest"] {
        assert_eq!(server.get(path).await.0, StatusCode::BAD_REQUEST, "{path}");
    }
    for path in ["/v1/versions/../../etc/passwd", "/.dagsync/state.json", "/v1", "//"] {
        assert_eq!(server.get(path).await.0, StatusCode::NOT_FOUND, "{path}");
    }
    std::fs::write(folder.join(&hex), "").unwrap();
    assert_eq!(server.get(&format!("/v1/versions/{hex}/manifest")).await.0, StatusCode::INTERNAL_SERVER_ERROR);
}

/// Writes a manifest of so many bytes, and gives its version.
fn written(server: &Server, letter: &str) -> String {
    let content = letter.repeat(1 << 20);
    let hex = dagsync_core::Digest::of(&content).to_string();
    std::fs::write(server.home.path().join(".dagsync/manifests").join(&hex), &content).unwrap();
    hex
}

#[tokio::test]
async fn slow_readers_of_manifests_hold_up_nobody() {
    let server = Server::new();
    let versions: Vec<String> = ["a", "b", "c", "d", "e", "f"].iter().map(|letter| written(&server, letter)).collect();
    let router = router(server.endpoints.clone());
    let ask = |hex: &String| {
        let request = Request::get(format!("/v1/versions/{hex}/manifest")).body(Body::empty()).unwrap();
        router.clone().oneshot(request)
    };
    let mut slow = Vec::new();
    for hex in versions.iter().flat_map(|hex| std::iter::repeat_n(hex, 20)) {
        slow.push(ask(hex).await.unwrap());
        assert_eq!(slow.last().unwrap().status(), StatusCode::OK, "its lines are not read");
    }
    let next = ask(&versions[0]).await.unwrap();
    assert_eq!(next.headers()[header::CONTENT_LENGTH], (1 << 20).to_string());
    let body = to_bytes(next.into_body(), 2 << 20).await.unwrap();
    assert!(body.len() == 1 << 20 && body.iter().all(|&byte| byte == b'a'));
    assert!(to_bytes(slow.remove(0).into_body(), 2 << 20).await.is_err(), "its manifest has made room");
    let last = to_bytes(slow.pop().unwrap().into_body(), 2 << 20).await.unwrap();
    assert!(last.len() == 1 << 20 && last.iter().all(|&byte| byte == b'f'));
}

#[tokio::test]
async fn a_manifest_is_in_memory_once_and_as_long_as_somebody_reads_it() {
    let server = Server::new();
    let hex = written(&server, "a");
    let (shelf, version) = (manifest::Shelf::new(), format!("sha256:{hex}").parse().unwrap());
    let first = shelf.reader(&server.endpoints.store, version).await.unwrap().unwrap();
    std::fs::remove_file(server.home.path().join(".dagsync/manifests").join(&hex)).unwrap();
    let second = shelf.reader(&server.endpoints.store, version).await.unwrap();
    assert!(second.is_some(), "it is not read again");
    drop(first);
    assert!(shelf.reader(&server.endpoints.store, version).await.unwrap().is_some());
    drop(second);
    assert!(shelf.reader(&server.endpoints.store, version).await.unwrap().is_none(), "nobody reads it any more");
}

#[tokio::test]
async fn commands_need_the_token_and_it_rotates() {
    let mut server = Server::new();
    assert_eq!(server.sync(Some("Bearer x")).await, StatusCode::FORBIDDEN);
    let file = server.home.path().join("token");
    server.endpoints.access.token_file = Some(file.clone());
    assert_eq!(server.sync(Some("Bearer x")).await, StatusCode::INTERNAL_SERVER_ERROR);
    std::fs::write(&file, "\n").unwrap();
    assert_eq!(server.sync(Some("Bearer ")).await, StatusCode::UNAUTHORIZED, "an empty token authorizes nobody");
    std::fs::write(&file, "one\n").unwrap();
    for wrong in [None, Some("Bearer on"), Some("Bearer one2"), Some("Basic one"), Some("one"), Some("Bearer")] {
        assert_eq!(server.sync(wrong).await, StatusCode::UNAUTHORIZED, "{wrong:?}");
    }
    assert_eq!(server.sync(Some("Bearer one")).await, StatusCode::ACCEPTED);
    std::fs::write(&file, "two").unwrap();
    assert_eq!(server.sync(Some("Bearer one")).await, StatusCode::UNAUTHORIZED);
    assert_eq!(server.sync(Some("bearer two")).await, StatusCode::ACCEPTED);
    assert_eq!(server.get("/v1/sync").await.0, StatusCode::METHOD_NOT_ALLOWED);
}

#[tokio::test]
async fn who_asks_without_a_token_first_is_not_counted_as_a_guess() {
    let mut server = Server::new();
    let file = server.home.path().join("token");
    std::fs::write(&file, "correct-horse-battery").unwrap();
    server.endpoints.access.token_file = Some(file);
    let refused = |server: &Server| {
        let text = server.endpoints.metrics.encode(&server.endpoints.board.read());
        let name = "dagsync_http_refused_total{reason=\"token\"} ";
        text.lines().find_map(|line| line.strip_prefix(name)).unwrap().parse::<u64>().unwrap()
    };
    assert_eq!((server.sync(None).await, refused(&server)), (StatusCode::UNAUTHORIZED, 0));
    assert_eq!((server.sync(Some("Bearer guess")).await, refused(&server)), (StatusCode::UNAUTHORIZED, 1));
    assert_eq!((server.sync(Some("Basic eDp5")).await, refused(&server)), (StatusCode::UNAUTHORIZED, 2));
}

#[tokio::test]
async fn a_comment_in_the_token_file_is_no_token() {
    let mut server = Server::new();
    let file = server.home.path().join("token");
    server.endpoints.access.token_file = Some(file.clone());
    std::fs::write(&file, "# of the CronJob\nsome-long-secret-token\n").unwrap();
    for given in ["Bearer # of the CronJob", "Bearer some-long-secret-token"] {
        let request = Request::post("/v1/sync").header("authorization", given).body(Body::empty()).unwrap();
        let (status, body) = server.send(request).await;
        assert_eq!(status, StatusCode::INTERNAL_SERVER_ERROR, "{given}");
        assert!(body.contains("http.token_file has a line that begins with `#`"), "{body}");
    }
}

#[tokio::test]
async fn a_client_that_does_not_speak_is_dropped_and_others_are_served() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let server = Server::new();
    let token = tokio_util::sync::CancellationToken::new();
    let bind = "127.0.0.1:0".parse().unwrap();
    let (address, serving) =
        server.listener().serve(&bind, router(server.endpoints.clone()), token.clone()).await.unwrap();
    let serving = tokio::spawn(serving);
    let _silent: Vec<_> = futures::future::join_all((0..50).map(|_| tokio::net::TcpStream::connect(address))).await;
    let mut client = tokio::net::TcpStream::connect(address).await.unwrap();
    client.write_all(b"GET /livez HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").await.unwrap();
    let mut answer = String::new();
    client.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 OK") && answer.contains("x-content-type-options: nosniff"), "{answer}");
    token.cancel();
    serving.await.unwrap();
}

#[tokio::test]
async fn in_the_place_of_git_sync_every_other_path_is_its_probe() {
    let mut server = Server::new();
    assert_eq!(server.get("/any/path").await.0, StatusCode::NOT_FOUND);
    server.endpoints.git_sync = true;
    for path in ["/", "/any/path"] {
        assert_eq!(server.get(path).await, (StatusCode::SERVICE_UNAVAILABLE, "repo is not ready\n".to_owned()));
    }
    server.endpoints.board.update(|s| {
        s.version = Some(dagsync_core::Manifest::default().version());
        s.succeed(SystemTime::now(), SyncState::Converged);
    });
    for path in ["/", "/any/path"] {
        assert_eq!(server.get(path).await, (StatusCode::OK, String::new()));
    }
    assert_eq!(server.get("/livez").await.1, "ok\n", "our own paths stay");
}

#[tokio::test]
async fn without_a_host_both_families_are_listened_on() {
    let server = Server::new();
    let token = tokio_util::sync::CancellationToken::new();
    let bind = ":0".parse().unwrap();
    let (address, serving) =
        server.listener().serve(&bind, router(server.endpoints.clone()), token.clone()).await.unwrap();
    let serving = tokio::spawn(serving);
    tokio::net::TcpStream::connect(("127.0.0.1", address.port())).await.unwrap();
    if address.is_ipv6() {
        tokio::net::TcpStream::connect(("::1", address.port())).await.unwrap();
    }
    token.cancel();
    serving.await.unwrap();
    let error = server
        .listener()
        .serve(&"no-such-host.invalid:0".parse().unwrap(), router(server.endpoints.clone()), token)
        .await;
    assert!(error.map(drop).unwrap_err().to_string().contains("cannot listen on no-such-host.invalid:0"));
}
