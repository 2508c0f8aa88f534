//! Credentials in a Docker configuration (`config.json`, or a Secret of type `kubernetes.io/dockerconfigjson`).

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use dagsync_core::{Error, ErrorKind, Result, fs};
use serde::Deserialize;

const CONFIG_MAX: u64 = 1 << 20;

/// A user and a password.
pub(super) struct Credentials {
    user: String,
    password: String,
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Credentials(***)")
    }
}

#[derive(Deserialize)]
struct Config {
    #[serde(default)]
    auths: BTreeMap<String, Entry>,
}

#[derive(Deserialize)]
struct Entry {
    #[serde(default)]
    auth: String,
    #[serde(default)]
    username: String,
    #[serde(default)]
    password: String,
}

impl Credentials {
    /// Those for `registry` in the file; `None` when it holds none.
    pub(super) fn find(path: &Path, registry: &str) -> Result<Option<Self>> {
        let bad = |what: &str| {
            Error::new(ErrorKind::Unauthorized, "read docker_config", format!("{} {what}", path.display()))
                .with_hint("it is a Docker config.json, the value of .dockerconfigjson in the Secret")
        };
        let bytes = fs::read(path, CONFIG_MAX)?.ok_or_else(|| bad("is not there"))?;
        // What is wrong with it is not told: the cause might quote it.
        let config: Config = serde_json::from_slice(&bytes).map_err(|_| bad("is no Docker configuration"))?;
        let entry = config.auths.into_iter().find(|(name, _)| host_of(name) == registry);
        let Some((_, entry)) = entry else { return Ok(None) };
        let Entry { auth, username, password } = entry;
        if auth.is_empty() {
            return Ok((!username.is_empty()).then_some(Self { user: username, password }));
        }
        let decoded = STANDARD.decode(auth.trim()).ok().and_then(|bytes| String::from_utf8(bytes).ok());
        let (user, password) = decoded
            .as_deref()
            .and_then(|decoded| decoded.split_once(':'))
            .ok_or_else(|| bad("has an auth that is not user:password in base64"))?;
        Ok(Some(Self { user: user.to_owned(), password: password.trim_end_matches('\0').to_owned() }))
    }

    pub(super) fn basic(&self) -> String {
        super::basic(&self.user, &self.password)
    }
}

/// Keys are hosts or, of old, URLs: `https://index.docker.io/v1/`.
fn host_of(key: &str) -> &str {
    let key = key.strip_prefix("https://").or_else(|| key.strip_prefix("http://")).unwrap_or(key);
    match key.split('/').next().unwrap_or(key) {
        "index.docker.io" | "registry-1.docker.io" => "docker.io",
        host => host,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn find(text: &str, registry: &str) -> Result<Option<(String, String)>> {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        let found = Credentials::find(file.path(), registry)?;
        Ok(found.map(|c| (c.user, c.password)))
    }

    #[test]
    fn credentials_are_found_by_host_in_either_form() {
        let text = format!(
            r#"{{"auths": {{"https://index.docker.io/v1/": {{"auth": "{}"}}, "h:5000": {{"username": "u", "password": "p"}},
                "empty": {{}}}}, "credHelpers": {{"x": "y"}}}}"#,
            STANDARD.encode("ada:a:b")
        );
        let pair = |user: &str, password: &str| Some((user.to_owned(), password.to_owned()));
        assert_eq!(find(&text, "docker.io").unwrap(), pair("ada", "a:b"));
        assert_eq!(find(&text, "h:5000").unwrap(), pair("u", "p"));
        assert_eq!(find(&text, "h").unwrap(), None);
        assert_eq!(find(&text, "empty").unwrap(), None);
    }

    #[test]
    fn what_cannot_be_read_is_not_shown() {
        for text in ["s3cret", r#"{"auths": {"h": {"auth": "s3cret"}}}"#, r#"{"auths": {"h": "s3cret"}}"#] {
            let error = find(text, "h").unwrap_err();
            assert!(error.kind() == ErrorKind::Unauthorized && !error.to_string().contains("s3cret"), "{error}");
        }
    }
}
