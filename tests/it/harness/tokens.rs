//! The token server of a registry, as Docker's token authentication has it: who knows the password gets a token for what
//! they ask, and the registry believes whom the CA believes.

use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use base64::prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD, Engine};
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair};
use serde_json::{Value, json};
use url::Url;

use super::nginx::{PASSWORD, USER};
use super::web::{Asked, Reply, Web};

/// What the registry and the server call each other.
pub(super) const SERVICE: &str = "images";
pub(super) const ISSUER: &str = "tokens";

/// A server that signs with `server.key` in `folder`.
pub(super) fn serve(folder: &Path) -> Web {
    let pem = |name: &str| BASE64_STANDARD.decode(body(&std::fs::read_to_string(folder.join(name)).unwrap())).unwrap();
    let (key, certificate) = (pem("server.key"), pem("server.pem"));
    let random = SystemRandom::new();
    let key = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &key, &random).unwrap();
    let header = json!({ "typ": "JWT", "alg": "ES256", "x5c": [BASE64_STANDARD.encode(certificate)] });
    let basic = format!("Basic {}", BASE64_STANDARD.encode(format!("{USER}:{PASSWORD}")));
    Web::answering(move |asked: &Asked| {
        if asked.header("authorization") != Some(&basic) {
            return Reply::from((401, "who are you?".to_owned()));
        }
        let signed =
            [&header, &claims(&asked.path)].map(|part| BASE64_URL_SAFE_NO_PAD.encode(part.to_string())).join(".");
        let signature = key.sign(&random, signed.as_bytes()).unwrap();
        let token = format!("{signed}.{}", BASE64_URL_SAFE_NO_PAD.encode(signature));
        Reply::from((200, json!({ "token": token }).to_string()))
    })
}

/// What lies between the lines of a PEM file.
fn body(pem: &str) -> String {
    pem.lines().filter(|line| !line.starts_with("-----")).collect()
}

/// Everything that is asked for, for a minute.
fn claims(path: &str) -> Value {
    let url = Url::parse("http://tokens").unwrap().join(path).unwrap();
    let scopes = url.query_pairs().filter(|(name, _)| name == "scope").map(|(_, scope)| scope.into_owned());
    let access: Vec<Value> = scopes
        .filter_map(|scope| {
            let [kind, name, actions] = scope.splitn(3, ':').collect::<Vec<_>>().try_into().ok()?;
            Some(json!({ "type": kind, "name": name, "actions": actions.split(',').collect::<Vec<_>>() }))
        })
        .collect();
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let (start, end) = (now - 60, now + 60);
    json!({ "iss": ISSUER, "sub": USER, "aud": SERVICE, "nbf": start, "iat": start, "exp": end, "access": access })
}
