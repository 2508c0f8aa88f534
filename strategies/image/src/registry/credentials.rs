//! Credentials in a Docker configuration (`config.json`, or a Secret of type `kubernetes.io/dockerconfigjson`).

mod key;

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use dagsync_core::{Error, ErrorKind, Result, fs};
use serde::Deserialize;

use super::Reference;
use crate::http::shortened;
use key::Key;

const CONFIG_MAX: u64 = 1 << 20;

/// What says who one is.
pub(super) enum Credentials {
    /// Of a user.
    Password { user: String, password: String },
    /// Of `docker login`: a token server gives tokens for it (OAuth2).
    Identity(String),
    /// For the registry itself.
    Registry(String),
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Credentials(***)")
    }
}

/// What a configuration has for an image.
#[derive(Debug, Default)]
pub(super) struct Found {
    pub(super) credentials: Option<Credentials>,
    /// The program that would know them, `docker-credential-…`, which a pod does not have.
    pub(super) helper: Option<String>,
}

#[derive(Deserialize)]
struct Config {
    auths: Option<BTreeMap<String, Option<Entry>>>,
    #[serde(rename = "credsStore")]
    store: Option<String>,
    #[serde(rename = "credHelpers")]
    helpers: Option<BTreeMap<String, String>>,
}

#[derive(Default, Deserialize)]
struct Entry {
    auth: Option<String>,
    username: Option<String>,
    password: Option<String>,
    identitytoken: Option<String>,
    registrytoken: Option<String>,
}

impl Found {
    /// Those for `image` in the file, by the entry with the longest path, and of these one that names the host in full.
    pub(super) fn read(path: &Path, image: &Reference) -> Result<Self> {
        let bad = |what: &str| {
            Error::new(ErrorKind::Unauthorized, "read docker_config", format!("{} {what}", path.display()))
                .with_hint("it is a Docker config.json, the value of .dockerconfigjson in the Secret")
        };
        let bytes = fs::read(path, CONFIG_MAX)?.ok_or_else(|| bad("is not there"))?;
        // What is wrong with it is not told: the cause might quote it.
        let config: Config = serde_json::from_slice(&bytes).map_err(|_| bad("is no Docker configuration"))?;
        let auths = config.auths.unwrap_or_default();
        let entries = auths.into_iter().filter_map(|(name, entry)| Some((name, entry.filter(Entry::holds_something)?)));
        let found =
            entries.filter(|(name, _)| Key::of(name).is_for(image)).max_by_key(|(name, _)| Key::of(name).rank()).map(
                |(_, entry)| entry.credentials().ok_or_else(|| bad("has an auth that is not user:password in base64")),
            );
        let of_host = config.helpers.unwrap_or_default().into_iter().find(|(host, _)| Key::of(host).is_for(image));
        let helper = of_host.map(|(_, helper)| helper).or(config.store).filter(|helper| !helper.is_empty());
        Ok(Self { credentials: found.transpose()?, helper: helper.map(|helper| shortened(&helper)) })
    }
}

impl Entry {
    /// `docker` leaves empty entries behind where another program keeps the credentials.
    fn holds_something(&self) -> bool {
        [&self.auth, &self.username, &self.identitytoken, &self.registrytoken]
            .into_iter()
            .flatten()
            .any(|value| !value.is_empty())
    }

    /// `None` when they cannot be read.
    fn credentials(self) -> Option<Credentials> {
        let given = |value: Option<String>| value.filter(|value| !value.is_empty());
        if let Some(token) = given(self.registrytoken) {
            return Some(Credentials::Registry(token));
        }
        if let Some(token) = given(self.identitytoken) {
            return Some(Credentials::Identity(token));
        }
        let Some(auth) = given(self.auth) else {
            return Some(Credentials::Password { user: self.username?, password: self.password.unwrap_or_default() });
        };
        let decoded = String::from_utf8(STANDARD.decode(auth.trim()).ok()?).ok()?;
        let (user, password) = decoded.split_once(':')?;
        let password = password.trim_end_matches('\0').to_owned();
        Some(Credentials::Password { user: user.to_owned(), password })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str, image: &str) -> Result<Found> {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        Found::read(file.path(), &image.parse().unwrap())
    }

    /// The user, or what kind of token there is.
    fn found(text: &str, image: &str) -> Option<String> {
        read(text, image).unwrap().credentials.map(|credentials| match credentials {
            Credentials::Password { user, password } => format!("{user}:{password}"),
            Credentials::Identity(token) => format!("identity {token}"),
            Credentials::Registry(token) => format!("registry {token}"),
        })
    }

    #[test]
    fn credentials_are_found_by_host_in_either_form() {
        let text = format!(
            r#"{{"auths": {{"https://index.docker.io/v1/": {{"auth": "{}"}}, "h:5000": {{"username": "u", "password": "p"}},
                "empty.io": {{}}, "null.io": null, "id.io": {{"auth": "dTo=", "identitytoken": "t"}},
                "reg.io": {{"registrytoken": "t"}}}}}}"#,
            STANDARD.encode("ada:a:b")
        );
        for (image, expected) in [
            ("airflow", Some("ada:a:b")),
            ("docker.io/acme/x", Some("ada:a:b")),
            ("h:5000/x", Some("u:p")),
            ("h.io/x", None),
            ("empty.io/x", None),
            ("null.io/x", None),
            ("id.io/x", Some("identity t")),
            ("reg.io/x", Some("registry t")),
        ] {
            assert_eq!(found(&text, image).as_deref(), expected, "{image}");
        }
        for none in ["{}", r#"{"auths": null}"#, r#"{"auths": {}, "credHelpers": null}"#] {
            assert_eq!(found(none, "h.io/x"), None);
        }
    }

    #[test]
    fn an_empty_entry_hides_no_other_one() {
        let text = r#"{"auths": {"h.io": {"auth": ""}, "https://h.io": {"username": "u", "password": "p"}}}"#;
        assert_eq!(found(text, "h.io/x").as_deref(), Some("u:p"));
    }

    #[test]
    fn the_longest_path_wins() {
        let users = ["h.io", "h.io/team", "h.io/team/a", "h.io/team-b", "*.io", "*.io/team/a/b"];
        let auths: BTreeMap<_, _> =
            users.iter().map(|key| (key, serde_json::json!({"username": key, "password": "p"}))).collect();
        let text = serde_json::json!({ "auths": auths }).to_string();
        for (image, key) in [
            ("h.io/x", "h.io"),
            ("h.io/team/x", "h.io/team"),
            ("h.io/team/a:v1", "h.io/team/a"),
            ("h.io/team/ab", "h.io/team"),
            ("h.io/team-b/x", "h.io/team-b"),
            ("h.io/team-c/x", "h.io"),
            ("h.io/team/a/b", "*.io/team/a/b"),
            ("g.io/x", "*.io"),
        ] {
            assert_eq!(found(&text, image), Some(format!("{key}:p")), "{image}");
        }
    }

    #[test]
    fn programs_that_would_know_are_named() {
        let text = r#"{"credsStore": "desktop", "credHelpers": {"h.io": "ecr-login"}}"#;
        assert_eq!(read(text, "h.io/x").unwrap().helper.as_deref(), Some("ecr-login"));
        assert_eq!(read(text, "g.io/x").unwrap().helper.as_deref(), Some("desktop"));
        assert_eq!(read(r#"{"credsStore": ""}"#, "g.io/x").unwrap().helper, None);
    }

    #[test]
    fn what_cannot_be_read_is_not_shown() {
        for text in ["s3cret", r#"{"auths": {"h.io": {"auth": "s3cret"}}}"#, r#"{"auths": {"h.io": "s3cret"}}"#] {
            let error = read(text, "h.io/x").unwrap_err();
            assert!(error.kind() == ErrorKind::Unauthorized && !error.to_string().contains("s3cret"), "{error}");
        }
    }
}
