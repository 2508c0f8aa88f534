//! Who one is, to registries that ask for it in their own ways.

use dagsync_core::{Error, ErrorKind};
use dagsync_strategy_image::LABEL;
use dagsync_strategy_image::registry::{Access, Image, Memory, label};
use serde_json::{Value, json};
use tempfile::NamedTempFile;

use crate::double::{Registry, plain};

const BY_TAG: &str = "/v2/team/dags/manifests/v1";
const SECRET: &str = "s3cret-of-the-registry";

/// A registry that wants what `challenges` say; a token `t0ken` opens it.
async fn guarded(challenges: &str) -> Registry {
    let registry = Registry::start().await;
    registry.image("good");
    let open = registry.answers.lock().unwrap()[BY_TAG].clone();
    registry.answers.lock().unwrap().insert(format!("{BY_TAG}#open"), open);
    let realm = format!("http://127.0.0.1:{}/token", registry.port);
    registry.answer(BY_TAG, "401 Unauthorized", &challenges.replace("REALM", &realm), "");
    registry
}

/// Asks with a Docker configuration whose entry for the registry is `entry`.
async fn ask(registry: &Registry, entry: Value, more: Value) -> Result<Image, Error> {
    let mut config = json!({"auths": {format!("127.0.0.1:{}", registry.port): entry}});
    config.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    let file = NamedTempFile::new().unwrap();
    std::fs::write(file.path(), config.to_string()).unwrap();
    let access = Access { docker_config: Some(file.path().to_owned()), ..plain() };
    let asked = label(&registry.reference(), LABEL, &access, &Memory::default()).await;
    if let Err(error) = &asked {
        assert!(!format!("{error:?}").contains(SECRET), "{error:?}");
    }
    asked
}

const BEARER: &str = "WWW-Authenticate: Bearer realm=\"REALM\",service=\"reg\"\r\n";

#[tokio::test]
async fn an_identity_token_is_exchanged_and_not_sent_as_a_password() {
    let registry = guarded(BEARER).await;
    registry.answer("/token", "200 OK", "", r#"{"access_token": "t0ken"}"#);
    let entry = json!({"auth": "dTo=", "identitytoken": SECRET});
    assert_eq!(ask(&registry, entry.clone(), json!({})).await.unwrap().label.as_deref(), Some("good"));
    assert!(registry.asked.lock().unwrap().iter().all(|request| !request.contains("Basic")));
    assert_eq!(registry.asked()[1], "POST /token");
    let form = registry.bodies.lock().unwrap().concat();
    for field in
        ["grant_type=refresh_token", SECRET, "service=reg", "scope=repository%3Ateam%2Fdags%3Apull", "client_id="]
    {
        assert!(form.contains(field), "{field} is not in {form}");
    }
    for status in ["400 Bad Request", "404 Not Found", "401 Unauthorized"] {
        registry.answer("/token", status, "", SECRET);
        let error = ask(&registry, entry.clone(), json!({})).await.unwrap_err();
        assert!(error.kind() == ErrorKind::Unauthorized && error.to_string().contains("refused"), "{error}");
    }
    let elsewhere = Registry::start().await;
    let away = format!("Location: http://127.0.0.1:{}/token\r\n", elsewhere.port);
    registry.answer("/token", "307 Temporary Redirect", &away, "");
    let error = ask(&registry, entry.clone(), json!({})).await.unwrap_err().to_string();
    assert!(error.contains("it redirects") && elsewhere.asked().is_empty(), "it was taken along: {error}");
    let registry = guarded("WWW-Authenticate: Basic realm=\"x\"\r\n").await;
    let error = ask(&registry, entry, json!({})).await.unwrap_err().to_string();
    assert!(error.contains("a user and a password, and docker_config holds only a token"), "{error}");
}

#[tokio::test]
async fn a_registry_token_is_given_as_it_is() {
    let registry = guarded(BEARER).await;
    assert!(ask(&registry, json!({"registrytoken": "t0ken"}), json!({})).await.is_ok());
    assert!(registry.asked().iter().all(|asked| !asked.contains("/token")));
}

/// The first of several headers is often one that no daemon can answer.
#[tokio::test]
async fn negotiate_before_another_challenge_keeps_nobody_out() {
    let one = "WWW-Authenticate: Negotiate, Bearer realm=\"REALM\",service=\"reg\"\r\n";
    for challenges in [one, &format!("WWW-Authenticate: Negotiate\r\n{BEARER}"), &format!("{BEARER}{one}")] {
        let registry = guarded(challenges).await;
        let token = "/token?service=reg&scope=repository%3Ateam%2Fdags%3Apull";
        registry.answer(token, "200 OK", "", r#"{"token": "", "access_token": "t0ken"}"#);
        let found = ask(&registry, json!({"username": "ada", "password": SECRET}), json!({})).await;
        assert_eq!(found.unwrap().label.as_deref(), Some("good"), "{challenges}");
    }
    let basic = "WWW-Authenticate: Negotiate\r\nWWW-Authenticate: Basic realm=\"x\"\r\n";
    let registry = guarded(basic).await;
    let error = ask(&registry, json!({"username": "ada", "password": SECRET}), json!({})).await.unwrap_err();
    assert!(error.to_string().contains("the credentials are refused"), "{error}");
    assert!(registry.asked.lock().unwrap()[1].contains("Basic "), "it was answered");
}

#[tokio::test]
async fn who_has_no_credentials_hears_where_they_are_missing() {
    let basic = "WWW-Authenticate: Basic realm=\"x\"\r\n";
    let said = async |more: Value| {
        let registry = guarded(basic).await;
        ask(&registry, json!({}), more).await.unwrap_err().to_string()
    };
    let none = said(json!({})).await;
    assert!(
        none.contains("it asks for credentials") && none.contains("docker_config holds none for 127.0.0.1:"),
        "{none}"
    );
    for helper in [json!({"credsStore": "desktop"}), json!({"credHelpers": null, "credsStore": "desktop"})] {
        let error = said(helper).await;
        assert!(error.contains("docker-credential-desktop, which is not run here"), "{error}");
    }
    let registry = Registry::start().await;
    registry.image("good");
    assert!(ask(&registry, json!({}), json!({"credsStore": "desktop"})).await.is_ok(), "an open one needs none");
}

#[tokio::test]
async fn a_403_without_credentials_is_no_question_for_them() {
    let registry = Registry::start().await;
    registry.answer(BY_TAG, "403 Forbidden", "", "");
    let error = registry.ask().await.unwrap_err().to_string();
    assert!(error.contains("it denies access without credentials") && error.contains("a firewall"), "{error}");
    let error =
        ask(&registry, json!({"username": "ada", "password": SECRET}), json!({})).await.unwrap_err().to_string();
    assert!(error.contains("they may not pull this image"), "{error}");
}
