use std::sync::{Arc, Mutex};

use axum::Router;
use axum::http::{HeaderMap, StatusCode, header};
use axum::routing::get;
use dagsync_core::{Digest, Entry, TreePath};

use super::*;

fn manifest() -> Manifest {
    Manifest::new(vec![Entry { path: TreePath::new("a.py").unwrap(), digest: Digest::of("x") }]).unwrap()
}

async fn serve(router: Router) -> Client {
    crate::install_crypto();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, router).await });
    Client::new(&url, &ClientSettings::default()).unwrap()
}

#[tokio::test]
async fn status_and_manifest() {
    let version = manifest().version();
    let client = serve(
        Router::new()
            .route("/v1/status", get(|| async { r#"{"state":"converged"}"# }))
            .route(&format!("/v1/versions/{}/manifest", version.hex()), get(|| async { manifest().to_bytes() })),
    )
    .await;
    assert_eq!(client.status().await.unwrap()["state"], "converged");
    assert_eq!(client.manifest(&version).await.unwrap(), manifest());
    let other = Version::from(Digest::of("other"));
    assert_eq!(client.manifest(&other).await.unwrap_err().kind(), ErrorKind::NotFound);
}

#[tokio::test]
async fn a_wrong_manifest_is_not_believed() {
    let client = serve(Router::new().fallback(|| async { manifest().to_bytes() })).await;
    let other = Version::from(Digest::of("other"));
    assert_eq!(client.manifest(&other).await.unwrap_err().kind(), ErrorKind::Mismatch);
    assert_eq!(client.status().await.unwrap_err().kind(), ErrorKind::Corrupt);
}

#[tokio::test]
async fn an_answer_is_bounded_and_redirects_end() {
    let client = serve(Router::new().fallback(|| async { vec![b' '; MAX_STATUS + 1] })).await;
    assert_eq!(client.status().await.unwrap_err().kind(), ErrorKind::LimitExceeded);
    let round = || async { (StatusCode::FOUND, [(header::LOCATION, "/v1/status")]) };
    let client = serve(Router::new().fallback(round)).await;
    let error = client.status().await.unwrap_err();
    assert!(error.to_string().contains("redirect"), "{error}");
}

#[tokio::test]
async fn a_daemon_that_is_not_there_is_named_without_its_password() {
    crate::install_crypto();
    let error =
        Client::new("http://me:pa55@127.0.0.1:1", &ClientSettings::default()).unwrap().status().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unreachable);
    assert!(error.to_string().contains("127.0.0.1:1") && !error.to_string().contains("pa55"), "{error}");
    for bad in ["10.0.0.7:8466", "ftp://x", "http://"] {
        assert_eq!(Client::new(bad, &ClientSettings::default()).unwrap_err().kind(), ErrorKind::Config, "{bad}");
    }
}

/// What a daemon was shown, one request after the other.
type Shown = Arc<Mutex<Vec<Option<String>>>>;

/// A daemon that wants a token, or does not.
async fn daemon(wants: bool) -> (u16, Shown) {
    crate::install_crypto();
    let shown = Shown::default();
    let noted = shown.clone();
    let answer = move |headers: HeaderMap| async move {
        let given = headers.get(header::AUTHORIZATION).map(|value| value.to_str().unwrap().to_owned());
        noted.lock().unwrap().push(given.clone());
        let is_admitted = !wants || given.as_deref() == Some("Bearer the-token-of-all-pods");
        (if is_admitted { StatusCode::OK } else { StatusCode::UNAUTHORIZED }, "{}")
    };
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move { axum::serve(listener, Router::new().fallback(answer)).await });
    (port, shown)
}

fn with_token(named: &[String]) -> (ClientSettings, tempfile::NamedTempFile) {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), "the-token-of-all-pods\n").unwrap();
    let named = named.iter().map(|url| Url::parse(url).unwrap()).collect();
    (ClientSettings { token_file: Some(file.path().to_owned()), named, ..ClientSettings::default() }, file)
}

/// An address that leads to this host and is not of the loopback interface, as far as its name tells.
fn elsewhere(port: u16) -> String {
    format!("http://0.0.0.0:{port}")
}

#[tokio::test]
async fn a_discovered_pod_is_not_sent_the_token_by_plain_http() {
    let (port, shown) = daemon(true).await;
    let (settings, _file) = with_token(&[]);
    let client = Client::of_many(&elsewhere(port), &settings).unwrap();
    for error in [client.status().await.map(drop), client.sync().await] {
        let error = error.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unauthorized);
        let says = "client.token_file is not sent by plain HTTP to a discovered pod: set fleet.scheme https";
        assert!(error.to_string().contains(says), "{error}");
    }
    let named = Client::new("http://leader.invalid:8466", &settings).unwrap();
    assert!(named.beside(&elsewhere(port)).unwrap().status().await.is_err(), "a name is no pass for others");
    assert!(shown.lock().unwrap().iter().all(Option::is_none), "{shown:?}");
}

#[tokio::test]
async fn who_wants_no_token_is_sent_none() {
    let (port, shown) = daemon(false).await;
    let (settings, _file) = with_token(&[elsewhere(port)]);
    for client in [Client::new(&elsewhere(port), &settings), Client::of_many(&elsewhere(port), &settings)] {
        client.unwrap().status().await.unwrap();
    }
    assert_eq!(*shown.lock().unwrap(), [None, None]);
}

#[tokio::test]
async fn who_wants_the_token_and_was_named_is_sent_it_and_remembered() {
    for how in 0..3 {
        let (port, shown) = daemon(true).await;
        let url = if how == 2 { format!("http://127.0.0.1:{port}") } else { elsewhere(port) };
        let (settings, _file) = with_token(if how == 1 { std::slice::from_ref(&url) } else { &[] });
        let client = if how == 0 { Client::new(&url, &settings) } else { Client::of_many(&url, &settings) };
        let client = client.unwrap();
        client.status().await.unwrap();
        client.status().await.unwrap();
        let shown: Vec<bool> = shown.lock().unwrap().iter().map(Option::is_some).collect();
        assert_eq!(shown, [false, true, true], "{how}: it is asked without once");
    }
}

#[test]
fn by_tls_the_token_may_go_to_whoever_was_found() {
    let may_go_to = |url: &str, named: &[&str]| {
        let named: Vec<_> = named.iter().map(|url| Url::parse(url).unwrap()).collect();
        token::may_go_to(&Url::parse(url).unwrap(), &named)
    };
    for url in ["https://10.0.0.7:8466", "http://localhost:1", "http://[::1]:1", "http://127.8.0.1"] {
        assert!(may_go_to(url, &[]), "{url}");
    }
    for url in ["http://10.0.0.7:8466", "http://localhost.evil:1", "http://[fd00::7]:8466"] {
        assert!(!may_go_to(url, &["http://10.0.0.7:8467", "https://10.0.0.7:8466", "http://fd00:8466"]), "{url}");
    }
    assert!(may_go_to("http://leader:8466", &["http://LEADER:8466/prefix"]), "an origin, not a path");
}

#[tokio::test]
async fn a_user_in_a_url_does_not_make_two_headers_of_the_token() {
    let shown = Arc::new(Mutex::new(Vec::new()));
    let noted = shown.clone();
    let answer = move |headers: HeaderMap| async move {
        let given: Vec<_> =
            headers.get_all(header::AUTHORIZATION).iter().map(|v| v.to_str().unwrap().to_owned()).collect();
        noted.lock().unwrap().push(given.clone());
        let is_admitted = given == ["Bearer the-token-of-all-pods"];
        (if is_admitted { StatusCode::OK } else { StatusCode::UNAUTHORIZED }, "{}")
    };
    let client = serve(Router::new().fallback(answer)).await;
    let mut url = client.base.clone();
    url.set_username("user").unwrap();
    url.set_password(Some("pw")).unwrap();
    let (settings, _file) = with_token(&[]);
    Client::new(url.as_str(), &settings).unwrap().status().await.unwrap();
    let shown = shown.lock().unwrap();
    assert_eq!((shown[0].len(), &shown[1]), (1, &vec!["Bearer the-token-of-all-pods".to_owned()]), "{shown:?}");
}

#[tokio::test]
async fn a_pod_that_follows_itself_before_it_has_a_version_is_told_so() {
    for (id, kind, says) in [
        (crate::status::id(), ErrorKind::Config, "the leader is this very pod"),
        ("another", ErrorKind::Unreachable, "503"),
    ] {
        let body = serde_json::json!({"error": "no verified version is here", "id": id}).to_string();
        let answer = move || async move { (StatusCode::SERVICE_UNAVAILABLE, body) };
        let error = serve(Router::new().fallback(answer)).await.lead(None, Duration::ZERO).await.unwrap_err();
        assert_eq!(error.kind(), kind);
        assert!(error.to_string().contains(says), "{error}");
    }
}
