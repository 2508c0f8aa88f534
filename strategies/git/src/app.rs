//! Tokens of a GitHub App: made from its private key when one is needed, kept in memory, renewed before they end.

use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use dagsync_core::{Error, ErrorKind, Interrupt, Result};
use openssl::hash::MessageDigest;
use openssl::pkey::{Id, PKey, Private};
use openssl::sign::Signer;
use reqwest::StatusCode;
use serde::Deserialize;
use serde_json::json;

use crate::hosts::base64;
use crate::secret::Secret;
use crate::settings::GithubApp;
use crate::web::{self, Endpoint};

/// GitHub refuses what begins in its future and what lives for more than ten minutes; clocks differ.
const BACKDATED: u64 = 60;
const JWT_LIFE: u64 = 9 * 60;
/// A token is renewed so long before it ends, or a tenth of its life if that is less.
const RENEW_BEFORE: Duration = Duration::from_secs(5 * 60);
const MAX_MESSAGE: usize = 200;
const KEY: &str = "git.github_app.private_key_file";

/// The token that is in use.
#[derive(Debug, Default)]
pub(crate) struct Tokens(Mutex<Option<Token>>);

#[derive(Debug, Clone)]
struct Token {
    secret: Secret,
    renew_at: SystemTime,
}

/// The answer of the token endpoint.
#[derive(Deserialize)]
struct Granted {
    token: Secret,
    expires_at: String,
}

impl Tokens {
    /// The token in use, if it is good for a while yet.
    pub(crate) fn current(&self) -> Option<Secret> {
        let token = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        token.as_ref().filter(|t| SystemTime::now() < t.renew_at).map(|t| t.secret.clone())
    }

    /// Asks for another token.
    pub(crate) fn renew(&self, app: &GithubApp, ca_file: Option<&Path>, interrupt: &Interrupt) -> Result<Secret> {
        let token = request(app, ca_file, interrupt)?;
        let secret = token.secret.clone();
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(token);
        Ok(secret)
    }
}

fn request(app: &GithubApp, ca_file: Option<&Path>, interrupt: &Interrupt) -> Result<Token> {
    let endpoint = endpoint(app, ca_file)?;
    let now = SystemTime::now();
    let jwt = sign(app, now)?;
    let (status, body) = endpoint.call(interrupt, |client, url| {
        client.post(url).bearer_auth(jwt.reveal()).header("accept", "application/vnd.github+json")
    })?;
    if status != StatusCode::CREATED {
        let said = endpoint.refused(status).with_context("message", message(&body));
        let id = if app.application_id.is_some() { "application_id" } else { "client_id" };
        return Err(said.with_hint(format!(
            "check that {}, git.github_app.{id} and git.github_app.installation_id belong together, that the app is still \
             installed, and that the clock is right",
            key_setting(app)
        )));
    }
    let unreadable = || endpoint.error(ErrorKind::Unreachable, "the answer holds no token with its end");
    let granted: Granted = serde_json::from_slice(&body).map_err(|_| unreadable())?;
    let ends = humantime::parse_rfc3339(&granted.expires_at).map_err(|_| unreadable())?;
    let life = ends.duration_since(now).unwrap_or_default();
    Ok(Token { secret: granted.token, renew_at: now + life - RENEW_BEFORE.min(life / 10) })
}

fn endpoint<'a>(app: &GithubApp, ca_file: Option<&'a Path>) -> Result<Endpoint<'a>> {
    const SETTING: &str = "git.github_app.base_url";
    let mut url = web::parse(SETTING, &app.base_url)?;
    let path = format!(
        "{}/app/installations/{}/access_tokens",
        url.path().trim_end_matches('/'),
        app.installation_id.unwrap_or_default()
    );
    url.set_path(&path);
    Ok(Endpoint { operation: "ask for GitHub App token", setting: SETTING, url, ca_file })
}

/// What GitHub gives as its reason: bounded and printable.
fn message(body: &[u8]) -> String {
    let json: serde_json::Value = serde_json::from_slice(body).unwrap_or_default();
    let text = json["message"].as_str().unwrap_or("none");
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(MAX_MESSAGE).collect()
}

/// The app's proof of who it is, as RFC 7519 and GitHub's documentation ask for it.
fn sign(app: &GithubApp, now: SystemTime) -> Result<Secret> {
    let fail =
        |why: &str| Error::new(ErrorKind::Unauthorized, "sign for GitHub App", format!("{}: {why}", key_setting(app)));
    let key = key(app)?;
    let now = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs();
    let issuer = match app.application_id {
        Some(id) => id.to_string(),
        None => app.client_id.clone(),
    };
    let header = json!({"alg": "RS256", "typ": "JWT"});
    let claims = json!({"iat": now.saturating_sub(BACKDATED), "exp": now + JWT_LIFE, "iss": issuer});
    let signed = format!("{}.{}", base64url(header.to_string().as_bytes()), base64url(claims.to_string().as_bytes()));
    let signature =
        Signer::new(MessageDigest::sha256(), &key).and_then(|mut s| s.sign_oneshot_to_vec(signed.as_bytes()));
    let signature = signature.map_err(|e| fail("the key cannot sign").with_source(e))?;
    Ok(Secret::new(format!("{signed}.{}", base64url(&signature))))
}

fn key(app: &GithubApp) -> Result<PKey<Private>> {
    let pem = match &app.private_key_file {
        Some(file) => Secret::read(KEY, file)?,
        None => app.private_key.clone(),
    };
    // Without an answer for the passphrase, OpenSSL would ask on the terminal.
    let key = PKey::private_key_from_pem_callback(pem.reveal().as_bytes(), |_| Ok(0));
    key.ok().filter(|key| key.id() == Id::RSA).ok_or_else(|| {
        let message = format!("{} is no private RSA key in PEM form", key_setting(app));
        let error = Error::new(ErrorKind::Unauthorized, "read credentials", message);
        let error = match &app.private_key_file {
            Some(file) => error.with_context("file", file.display()),
            None => error,
        };
        error.with_hint("use the file that GitHub generated for the app, without a passphrase")
    })
}

/// The setting that the key is from.
fn key_setting(app: &GithubApp) -> &'static str {
    if app.private_key_file.is_some() { KEY } else { "git.github_app.private_key" }
}

fn base64url(bytes: &[u8]) -> String {
    base64(bytes).replace('+', "-").replace('/', "_")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn app(key: &str) -> GithubApp {
        GithubApp {
            private_key: Secret::new(key),
            application_id: Some(7),
            base_url: "https://api.github.com/".to_owned(),
            installation_id: Some(42),
            ..GithubApp::default()
        }
    }

    #[test]
    fn what_is_no_rsa_key_is_named_and_not_shown() {
        let ec = openssl::ec::EcGroup::from_curve_name(openssl::nid::Nid::X9_62_PRIME256V1).unwrap();
        let ec = PKey::from_ec_key(openssl::ec::EcKey::generate(&ec).unwrap()).unwrap();
        let rsa = openssl::rsa::Rsa::generate(2048).unwrap();
        let locked = rsa.private_key_to_pem_passphrase(openssl::symm::Cipher::aes_128_cbc(), b"s3cret").unwrap();
        for bad in ["s3cret".into(), ec.private_key_to_pem_pkcs8().unwrap(), locked] {
            let bad = String::from_utf8(bad).unwrap();
            let error = sign(&app(&bad), SystemTime::now()).unwrap_err().to_string();
            assert!(
                error.contains("git.github_app.private_key is no private RSA key")
                    && !error.contains(bad.lines().last().unwrap()),
                "{error}"
            );
        }
        for good in
            [rsa.private_key_to_pem().unwrap(), PKey::from_rsa(rsa).unwrap().private_key_to_pem_pkcs8().unwrap()]
        {
            sign(&app(std::str::from_utf8(&good).unwrap()), SystemTime::now()).unwrap();
        }
    }

    #[test]
    fn the_endpoint_is_the_one_of_the_installation() {
        let url =
            |base: &str| endpoint(&GithubApp { base_url: base.to_owned(), ..app("") }, None).unwrap().url.to_string();
        assert_eq!(url("https://api.github.com/"), "https://api.github.com/app/installations/42/access_tokens");
        assert_eq!(url("https://ghe/api/v3"), "https://ghe/api/v3/app/installations/42/access_tokens");
    }

    #[test]
    fn the_reason_is_bounded_and_printable() {
        let body = format!(r#"{{"message": "a\u001bb{}"}}"#, "x".repeat(1000));
        let message = message(body.as_bytes());
        assert!(message.starts_with("a bxxx") && message.len() == MAX_MESSAGE);
        assert_eq!(super::message(b"<html>"), "none");
    }
}
