//! Saying who one is: Basic, and the tokens of a token server (Docker's token authentication, with OAuth2 for identity
//! tokens).

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use dagsync_core::{Error, ErrorKind, Result};
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, HeaderValue, WWW_AUTHENTICATE};
use reqwest::{RequestBuilder, Response, StatusCode};
use serde::Deserialize;
use url::Url;
use url::form_urlencoded::Serializer;

use super::challenge::{Challenge, challenges};
use super::credentials::Credentials;
use super::{OPERATION, Session, corrupt, parse};
use crate::http;

const TOKEN_MAX: usize = 1 << 20;
const RENEW: &str = "renew the Secret after `docker login`, or let it hold a user and a password";

impl Session<'_> {
    /// Answers the registry's challenge.
    pub(super) async fn authorize(&self, refusal: &Response) -> Result<HeaderValue> {
        let headers = refusal.headers().get_all(WWW_AUTHENTICATE).iter().filter_map(|value| value.to_str().ok());
        let offered = challenges(headers);
        let of = |scheme: &str| offered.iter().find(|challenge| challenge.scheme == scheme);
        match (of("bearer"), of("basic")) {
            (Some(bearer), _) => self.bearer(bearer).await,
            (None, Some(_)) => match &self.found.credentials {
                Some(Credentials::Password { user, password }) => secret(basic(user, password)),
                Some(Credentials::Identity(_) | Credentials::Registry(_)) => {
                    let message = "it asks for a user and a password, and docker_config holds only a token for it";
                    Err(Error::new(ErrorKind::Unauthorized, OPERATION, message).with_hint(RENEW))
                }
                None => Err(self.refused(refusal)),
            },
            (None, None) => Err(corrupt("it asks for another authentication than Basic and Bearer")),
        }
    }

    async fn bearer(&self, challenge: &Challenge) -> Result<HeaderValue> {
        if let Some(Credentials::Registry(token)) = &self.found.credentials {
            return secret(format!("Bearer {token}"));
        }
        let realm = challenge.parameters.get("realm").and_then(|realm| Url::parse(realm).ok());
        let realm = realm.ok_or_else(|| corrupt("its challenge names no realm"))?;
        if realm.scheme() != "https" && !self.access.plain_http {
            return Err(corrupt("its challenge leads to plain HTTP, where no credentials are sent"));
        }
        let token = self.token(realm, challenge.parameters.get("service").map(String::as_str)).await?;
        secret(format!("Bearer {token}"))
    }

    async fn token(&self, realm: Url, service: Option<&str>) -> Result<String> {
        #[derive(Deserialize)]
        struct Token {
            token: Option<String>,
            access_token: Option<String>,
        }
        let response = self.ask_for_token(realm, service).await?.send().await.map_err(|e| self.unreachable(e))?;
        let is_identity = matches!(self.found.credentials, Some(Credentials::Identity(_)));
        match response.status() {
            StatusCode::OK => {}
            // An OAuth2 server says 400 of a token that it does not know (RFC 6749, section 5.2); others know no POST.
            status @ (StatusCode::BAD_REQUEST | StatusCode::NOT_FOUND | StatusCode::METHOD_NOT_ALLOWED)
                if is_identity =>
            {
                return Err(Error::new(ErrorKind::Unauthorized, OPERATION, "the identity token is refused")
                    .with_context("answer", status)
                    .with_hint(RENEW));
            }
            _ => return Err(self.refused(&response)),
        }
        let token: Token = parse(&http::read(OPERATION, response, TOKEN_MAX).await?, "token")?;
        let token = [token.token, token.access_token].into_iter().flatten().find(|token| !token.is_empty());
        token.ok_or_else(|| corrupt("its token server gave no token"))
    }

    async fn ask_for_token(&self, mut realm: Url, service: Option<&str>) -> Result<RequestBuilder> {
        let scope = format!("repository:{}:pull", self.reference.repository());
        let service = service.map(|service| ("service", service));
        if let Some(Credentials::Identity(token)) = &self.found.credentials {
            // A redirect would take the token along.
            let client = self.access.client(0).await?;
            let mut form = Serializer::new(String::new());
            form.extend_pairs(service).extend_pairs([
                ("scope", scope.as_str()),
                ("client_id", "dagsync"),
                ("grant_type", "refresh_token"),
                ("refresh_token", token),
            ]);
            let request = client.post(realm).header(CONTENT_TYPE, "application/x-www-form-urlencoded");
            return Ok(request.body(form.finish()));
        }
        realm.query_pairs_mut().extend_pairs(service).append_pair("scope", &scope);
        let request = self.http.get(realm);
        Ok(match &self.found.credentials {
            Some(Credentials::Password { user, password }) => {
                request.header(AUTHORIZATION, secret(basic(user, password))?)
            }
            _ => request,
        })
    }
}

fn secret(value: String) -> Result<HeaderValue> {
    let mut value = HeaderValue::from_str(&value).map_err(|_| corrupt("its token holds odd characters"))?;
    value.set_sensitive(true);
    Ok(value)
}

fn basic(user: &str, password: &str) -> String {
    format!("Basic {}", STANDARD.encode(format!("{user}:{password}")))
}
