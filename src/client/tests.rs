use axum::Router;
use axum::http::{StatusCode, header};
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
