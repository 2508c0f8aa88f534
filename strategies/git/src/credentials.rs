//! Users and passwords for several hosts: a JSON list, as git-sync takes it.
//!
//! Which one is used follows gitcredentials(7): scheme, host and port must be equal, a user in the repository's URL must
//! be the same, and a path in the entry's URL must be the repository's or lead to it. The longest path wins, then the
//! entry that stands last.

use std::path::PathBuf;

use dagsync_core::{Error, ErrorKind, Result};
use serde::Deserialize;
use serde_json::Value;

use crate::location::Location;
use crate::secret::Secret;
use crate::settings::Settings;

const MAX_ENTRIES: usize = 1000;

/// One entry as it is written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    url: String,
    username: String,
    #[serde(default)]
    password: Secret,
    #[serde(default, rename = "password-file")]
    password_file: Option<PathBuf>,
}

/// The user and password for the repository at `asked`, if the settings name one.
pub(crate) fn find(settings: &Settings, asked: &Location) -> Result<Option<(String, Secret)>> {
    let mut found: Option<(usize, Entry)> = None;
    for entry in all(settings)? {
        let location = Location::parse(&entry.url)?;
        let is_user = asked.user().is_none_or(|user| user == entry.username);
        if let Some(length) = location.covers(asked).filter(|_| is_user)
            && found.as_ref().is_none_or(|(longest, _)| length >= *longest)
        {
            found = Some((length, entry));
        }
    }
    let Some((_, entry)) = found else { return Ok(None) };
    let password = match &entry.password_file {
        Some(file) => Secret::read_line("password-file", file)?,
        None => entry.password,
    };
    Ok(Some((entry.username, password)))
}

/// Finds what is wrong with the entries that do not come from a file.
pub(crate) fn check(settings: &Settings) -> Result<()> {
    parse("git.credentials", &settings.credentials).map(drop)
}

fn all(settings: &Settings) -> Result<Vec<Entry>> {
    let mut entries = match &settings.credentials_file {
        Some(file) => parse("git.credentials_file", &Secret::read("git.credentials_file", file)?)?,
        None => Vec::new(),
    };
    entries.extend(parse("git.credentials", &settings.credentials)?);
    Ok(entries)
}

fn parse(setting: &'static str, text: &Secret) -> Result<Vec<Entry>> {
    if text.is_empty() {
        return Ok(Vec::new());
    }
    let wrong = |at: usize, why: &str| {
        let message = format!("{setting}, entry {}: {why}", at + 1);
        Error::new(ErrorKind::Config, "read credentials", message).with_hint(
            "write an object or a list of them: {\"url\": …, \"username\": …, \"password-file\": …} or with \"password\"",
        )
    };
    // What serde says of values may quote them; positions and the names of fields do not.
    let values = match serde_json::from_str(text.reveal()) {
        Ok(Value::Array(values)) if values.len() <= MAX_ENTRIES => values,
        Ok(Value::Array(_)) => return Err(wrong(MAX_ENTRIES, "there are too many")),
        Ok(value) => vec![value],
        Err(_) => return Err(wrong(0, "it is no JSON")),
    };
    values.into_iter().enumerate().map(|(at, value)| entry(value).map_err(|why| wrong(at, why))).collect()
}

fn entry(value: Value) -> Result<Entry, &'static str> {
    const FIELDS: [&str; 4] = ["url", "username", "password", "password-file"];
    let object = value.as_object().ok_or("it is no object")?;
    if object.keys().any(|key| !FIELDS.contains(&key.as_str())) {
        return Err("it has a field that is none of url, username, password and password-file");
    }
    let entry: Entry =
        serde_json::from_value(value).map_err(|_| "url or username is missing, or a value is no text")?;
    if entry.username.is_empty() || entry.username.contains(char::is_control) {
        return Err("username is empty");
    }
    if entry.password.is_empty() == entry.password_file.is_none() {
        return Err("it needs either password or password-file");
    }
    let location = Location::parse(&entry.url).map_err(|_| "url cannot be read; it must hold no password")?;
    if !location.is_http() && !location.is_https() {
        return Err("url is not one of https or http");
    }
    Ok(entry)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::tests::settings;

    fn found(list: &str, url: &str) -> Option<String> {
        let settings = settings(&[("credentials", list)]);
        let found = find(&settings, &Location::parse(url).unwrap()).unwrap();
        found.map(|(user, password)| format!("{user}:{}", password.reveal()))
    }

    #[test]
    fn the_longest_url_that_leads_to_the_repository_wins() {
        let list = r#"[
            {"url": "https://h", "username": "host", "password": "1"},
            {"url": "https://h/org/", "username": "org", "password": "2"},
            {"url": "https://h/org/dags.git", "username": "repo", "password": "3"},
            {"url": "https://h:8443", "username": "port", "password": "4"},
            {"url": "https://same", "username": "first", "password": "5"},
            {"url": "https://same", "username": "last", "password": "6"}]"#;
        for (url, expected) in [
            ("https://h/x.git", Some("host:1")),
            ("https://h/org/x.git", Some("org:2")),
            ("https://H:443/org/dags.git", Some("repo:3")),
            ("https://h/organisation/x.git", Some("host:1")),
            ("https://h:8443/org/dags.git", Some("port:4")),
            ("https://host@h/org/dags.git", Some("host:1")),
            ("https://stranger@h/org/dags.git", None),
            ("https://same/x", Some("last:6")),
            ("http://h/org/dags.git", None),
            ("https://h.evil/org/dags.git", None),
            ("https://evil/h/org/dags.git", None),
        ] {
            assert_eq!(found(list, url).as_deref(), expected, "{url}");
        }
    }

    #[test]
    fn one_object_is_a_list_of_one_and_files_are_read_at_every_use() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("password");
        let list = format!(r#"{{"url": "http://h", "username": "u", "password-file": "{}"}}"#, file.display());
        for password in ["one", "two"] {
            dagsync_core::fs::write_atomic(&file, password.as_bytes()).unwrap();
            assert_eq!(found(&list, "http://h/x"), Some(format!("u:{password}")));
        }
    }

    #[test]
    fn what_is_wrong_is_named_without_the_secret() {
        for (list, why) in [
            ("[{s3cret", "no JSON"),
            (r#""s3cret""#, "no object"),
            (r#"{"url": "https://h", "username": "u", "passwd": "s3cret"}"#, "a field that is none of"),
            (r#"{"username": "u", "password": "s3cret"}"#, "url or username is missing"),
            (r#"{"url": "https://h", "username": "u"}"#, "either password or password-file"),
            (
                r#"{"url": "https://h", "username": "u", "password": "s3cret", "password-file": "/x"}"#,
                "either password",
            ),
            (r#"{"url": "https://u:s3cret@h", "username": "u", "password": "s3cret"}"#, "must hold no password"),
            (r#"{"url": "ssh://h/x", "username": "u", "password": "s3cret"}"#, "https or http"),
            (r#"[{"url": "https://h", "username": "u", "password": "s3cret"}, 3]"#, "entry 2"),
        ] {
            let error = check(&settings(&[("credentials", list)])).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Config);
            let text = error.to_string();
            assert!(text.contains(why) && text.contains("git.credentials") && !text.contains("s3cret"), "{text}");
        }
    }
}
