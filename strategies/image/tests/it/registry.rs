//! A registry that is right, and others that are down, slow, endless, lost or lie.

use std::time::Duration;

use dagsync_core::ErrorKind;
use dagsync_strategy_image::LABEL;
use dagsync_strategy_image::registry::{Access, Memory, label};
use serde_json::json;

use crate::double::{Registry, digest, plain};
use crate::scene::{Image, look};

#[tokio::test]
async fn the_label_of_an_image_is_found_by_tag_and_by_digest() {
    let registry = Registry::start().await;
    registry.image("sha256:x");
    let found = registry.ask().await.unwrap();
    assert_eq!(found.label.as_deref(), Some("sha256:x"));
    let by_digest = registry.by_digest(&found.digest);
    assert_eq!(label(&by_digest, LABEL, &plain(), &Memory::default()).await.unwrap(), found);
    let unknown = registry.by_digest(&digest("another"));
    let error = label(&unknown, LABEL, &plain(), &Memory::default()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound, "{error}");
}

#[tokio::test]
async fn a_registry_that_lies_is_found_out() {
    let registry = Registry::start().await;
    registry.image("sha256:x");
    let blob = registry.answers.lock().unwrap().keys().find(|path| path.contains("blobs")).cloned().unwrap();
    registry.answer(&blob, "200 OK", "", r#"{"config": {"Labels": {}}}"#);
    let error = registry.ask().await.unwrap_err();
    assert!(
        error.kind() == ErrorKind::Corrupt && error.to_string().contains("is not the one that its digest names"),
        "{error}"
    );
}

#[tokio::test]
async fn what_a_registry_does_wrong_is_told_and_bounded() {
    let registry = Registry::start().await;
    let path = "/v2/team/dags/manifests/v1";
    let home = format!("http://127.0.0.1:{}", registry.port);
    for (status, headers, body, kind, told) in [
        ("404 Not Found", "", "", ErrorKind::NotFound, "there is no such image"),
        ("400 Bad Request", "", "", ErrorKind::Unreachable, "take plain_http away"),
        ("403 Forbidden", "", "", ErrorKind::Unauthorized, "it denies access without credentials"),
        (
            "401 Unauthorized",
            "WWW-Authenticate: Basic realm=\"x\"\r\n",
            "",
            ErrorKind::Unauthorized,
            "it asks for credentials",
        ),
        ("401 Unauthorized", "", "", ErrorKind::Corrupt, "another authentication"),
        ("429 Too Many Requests", "", "", ErrorKind::Unreachable, "no more requests"),
        ("500 Oops", "", "", ErrorKind::Unreachable, "does not serve"),
        ("200 OK", "", "<html>", ErrorKind::Corrupt, "its manifest cannot be read"),
        ("200 OK", "", "{}", ErrorKind::Refused, "names no configuration"),
        ("200 OK", "X: endless\r\n", "", ErrorKind::LimitExceeded, "larger than 4194304 bytes"),
        ("302 Found", &format!("Location: {home}{path}\r\n"), "", ErrorKind::Unreachable, "redirects too often"),
    ] {
        registry.answer(path, status, headers, body);
        let error = registry.ask().await.unwrap_err();
        assert!(error.kind() == kind && error.to_string().contains(told), "{status}: {error:?}");
        assert!(error.to_string().contains("team/dags:v1"), "{error}");
    }
    assert!(registry.asked.lock().unwrap().len() < 30, "redirects are bounded");
}

#[tokio::test]
async fn a_private_registry_is_asked_with_a_token_and_nothing_secret_is_told() {
    let registry = Registry::start().await;
    registry.image("sha256:x");
    let path = "/v2/team/dags/manifests/v1";
    let open = registry.answers.lock().unwrap()[path].clone().unwrap();
    registry.answers.lock().unwrap().insert(format!("{path}#open"), Some(open));
    let realm = format!("http://127.0.0.1:{}/token", registry.port);
    let challenge = format!("WWW-Authenticate: Bearer realm=\"{realm}\",service=\"reg\"\r\n");
    registry.answer(path, "401 Unauthorized", &challenge, "");
    let token = "/token?service=reg&scope=repository%3Ateam%2Fdags%3Apull";
    registry.answer(token, "200 OK", "", r#"{"token": "t0ken"}"#);
    let config = tempfile::NamedTempFile::new().unwrap();
    let host = format!("127.0.0.1:{}", registry.port);
    std::fs::write(config.path(), json!({"auths": {host: {"username": "ada", "password": "s3cret"}}}).to_string())
        .unwrap();
    let access = Access { plain_http: true, docker_config: Some(config.path().to_owned()), ..Access::default() };
    let found = label(&registry.reference(), LABEL, &access, &Memory::default()).await.unwrap();
    assert_eq!(found.label.as_deref(), Some("sha256:x"));
    let asked = registry.asked.lock().unwrap().clone();
    let basic: Vec<_> = asked.iter().filter(|request| request.contains("Basic ")).collect();
    assert!(basic.len() == 1 && basic[0].starts_with("GET /token"), "the password goes to the token server alone");
    registry.answer(token, "403 Forbidden", "", "s3cret t0ken");
    let error = label(&registry.reference(), LABEL, &access, &Memory::default()).await.unwrap_err();
    assert!(
        error.kind() == ErrorKind::Unauthorized && error.to_string().contains("the credentials are refused"),
        "{error}"
    );
    for secret in ["s3cret", "t0ken", "YWRhOnMzY3JldA"] {
        assert!(!format!("{error:?}").contains(secret), "{error:?}");
    }
}

#[tokio::test]
async fn https_is_spoken_unless_plain_http_is_allowed() {
    let registry = Registry::start().await;
    registry.image("sha256:x");
    let error = label(&registry.reference(), LABEL, &Access::default(), &Memory::default()).await.unwrap_err();
    assert!(
        error.kind() == ErrorKind::Unreachable && error.to_string().contains("plain HTTP has to be allowed"),
        "{error}"
    );
    assert!(registry.asked.lock().unwrap().is_empty());
    // Whatever came before the first question, it says about which image.
    let access = Access { docker_config: Some("/nonexistent/docker.json".into()), ..Access::default() };
    let error = label(&registry.reference(), LABEL, &access, &Memory::default()).await.unwrap_err();
    assert!(error.to_string().contains(&registry.reference().to_string()), "{error}");
}

/// While nobody answers, what was said last counts; and what was never said is compared with nothing, but told.
#[tokio::test]
async fn an_image_keeps_its_verdict_while_the_registry_is_away() {
    let image = Image::with(&[("a.py", "1")]);
    let registry = Registry::start().await;
    let wanted = format!("sha256:{}", "1".repeat(64));
    registry.image(&wanted);
    let name = registry.reference().to_string();
    let strategy = image.strategy(&[("expect_image", &name), ("plain_http", "true"), ("expect_interval", "0s")]);
    let (expectation, _) = look(&*strategy).await;
    assert_eq!(expectation.wanted.as_ref().unwrap().0.to_string(), wanted);
    registry.answer("/v2/team/dags/manifests/v1", "503 Service Unavailable", "", "");
    let (expectation, _) = look(&*strategy).await;
    assert_eq!(expectation.wanted.as_ref().unwrap().0.to_string(), wanted);
    assert!(expectation.warnings[0].to_string().contains("what was said before counts"), "{expectation:?}");
    let fresh = image.strategy(&[("expect_image", &name), ("plain_http", "true")]);
    let (expectation, _) = look(&*fresh).await;
    assert!(expectation.wanted.is_none() && expectation.warnings[0].to_string().contains("nothing is compared"));
    registry.image("no version");
    assert!(look(&*fresh).await.0.warnings[0].to_string().contains("holds no version"));
}

/// What hangs is given up by the context's deadline.
#[tokio::test]
async fn a_registry_that_hangs_holds_up_nothing_but_its_answer() {
    let image = Image::with(&[("a.py", "1")]);
    let registry = Registry::start().await;
    registry.hang("/v2/team/dags/manifests/v1");
    let name = registry.reference().to_string();
    let strategy = image.strategy(&[("expect_image", &name), ("plain_http", "true")]);
    let mut harness = dagsync_testkit::Harness::new();
    harness.interrupt =
        dagsync_core::Interrupt::new(Default::default(), Some(std::time::Instant::now() + Duration::from_millis(500)));
    let synced = harness.sync(&*strategy).await.unwrap();
    assert_eq!(synced.manifest.len(), 1, "the seal is checked all the same");
    assert!(synced.warnings.is_empty() || synced.warnings[0].to_string().contains("not known"));
}
