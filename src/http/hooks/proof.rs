//! How a sender proves that it knows the secret: by showing it, or by signing the body with it.

use axum::http::HeaderMap;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use dagsync_core::Digest;
use ring::hmac;
use subtle::ConstantTimeEq;

use super::{Sender, text};
use crate::http::access::is_shown;

/// How far the clock of a sender of signed times may be off, in seconds, as Standard Webhooks wants it.
const TOLERANCE: u64 = 300;
/// What marks a secret as base64.
const BASE64: &str = "whsec_";
/// Where forges put the hex HMAC-SHA256 of the body: as GitHub does, Bitbucket, Gitea and Forgejo.
const HUB: &[&str] = &["x-hub-signature-256", "x-hub-signature", "x-gitea-signature", "x-forgejo-signature"];

type Tag = [u8; 32];

/// What the headers of an event claim, to be compared with its body.
#[derive(Default)]
pub(super) struct Proof {
    /// The secret itself was shown.
    shown: bool,
    /// What the body has to give, and with which key.
    signed: Vec<(hmac::Context, Vec<Tag>)>,
}

impl Proof {
    /// The claims of `headers` under each of `secrets`; `now` is in seconds since 1970.
    pub(super) fn claimed(sender: Sender, headers: &HeaderMap, secrets: &[Vec<u8>], now: u64) -> Self {
        let mut proof = Self::default();
        for secret in secrets {
            match sender {
                Sender::GitHub => proof.hub(headers, &HUB[..1], secret),
                Sender::GitLab => {
                    let given = headers.get("x-gitlab-token").map(|token| token.as_bytes()).unwrap_or_default();
                    proof.shown |= bool::from(given.ct_eq(secret));
                    proof.standard(headers, secret, now);
                }
                Sender::Generic => {
                    proof.shown |= is_shown(headers, secret);
                    proof.standard(headers, secret, now);
                    proof.hub(headers, HUB, secret);
                }
            }
        }
        proof
    }

    /// Whether nothing is claimed, so that the body need not be read.
    pub(super) fn is_absent(&self) -> bool {
        !self.shown && self.signed.is_empty()
    }

    /// The next part of the body.
    pub(super) fn update(&mut self, part: &[u8]) {
        self.signed.iter_mut().for_each(|(context, _)| context.update(part));
    }

    /// Whether the secret was shown or has signed the body.
    pub(super) fn holds(self) -> bool {
        self.signed.into_iter().fold(self.shown, |holds, (context, claimed)| {
            let tag = context.sign();
            claimed.iter().fold(holds, |holds, claim| holds | bool::from(tag.as_ref().ct_eq(claim)))
        })
    }

    /// `sha256=<hex>` or plain hex of the body alone. Bitbucket names SHA-256 in a header where others have SHA-1.
    fn hub(&mut self, headers: &HeaderMap, names: &[&str], secret: &[u8]) {
        let values = names.iter().flat_map(|name| headers.get_all(*name)).filter_map(|value| value.to_str().ok());
        let hex = values.map(|value| value.strip_prefix("sha256=").unwrap_or(value));
        self.expect(secret, &[], hex.filter_map(|hex| hex.parse::<Digest>().ok()).map(|d| *d.as_bytes()).collect());
    }

    /// Standard Webhooks: `v1,<base64>` of `id.timestamp.body`, several with spaces between them.
    fn standard(&mut self, headers: &HeaderMap, secret: &[u8], now: u64) {
        let (id, timestamp) = (text(headers, "webhook-id"), text(headers, "webhook-timestamp"));
        let is_recent = timestamp.parse().is_ok_and(|time: u64| time.abs_diff(now) <= TOLERANCE);
        if id.is_empty() || !is_recent {
            return;
        }
        let decode = |signature: &str| STANDARD.decode(signature.strip_prefix("v1,")?).ok()?.try_into().ok();
        let claimed: Vec<Tag> = text(headers, "webhook-signature").split(' ').filter_map(decode).collect();
        let prefix = format!("{id}.{timestamp}.");
        let marked = secret.strip_prefix(BASE64.as_bytes());
        if let Ok(key) = STANDARD.decode(marked.unwrap_or(secret)) {
            self.expect(&key, prefix.as_bytes(), claimed.clone());
        }
        // Without the mark it may be meant either way.
        if marked.is_none() {
            self.expect(secret, prefix.as_bytes(), claimed);
        }
    }

    fn expect(&mut self, key: &[u8], prefix: &[u8], claimed: Vec<Tag>) {
        // Whoever knows no secret knows the empty key.
        if !claimed.is_empty() && !key.is_empty() {
            let mut context = hmac::Context::with_key(&hmac::Key::new(hmac::HMAC_SHA256, key));
            context.update(prefix);
            self.signed.push((context, claimed));
        }
    }
}
