//! Lists of credentials: what `--credential` and `GITSYNC_CREDENTIAL` hold.

use serde::{Deserialize, Serialize};
use url::Url;

/// A user for the URLs below one URL, with a password or a file that holds it.
#[derive(Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct Credential {
    #[serde(default)]
    pub(super) url: String,
    #[serde(default)]
    pub(super) username: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(super) password: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(super) password_file: String,
}

/// The credentials in one JSON object or a list of them.
///
/// # Errors
/// What is wrong, without what was found: it may be a secret.
pub(super) fn parse(text: &str) -> Result<Vec<Credential>, String> {
    let place = |e: serde_json::Error| format!("is no JSON of credentials, at column {}", e.column());
    match text.trim_start().chars().next() {
        None => Ok(Vec::new()),
        Some('{') => serde_json::from_str(text).map(|one| vec![one]).map_err(place),
        Some('[') => serde_json::from_str(text).map_err(place),
        Some(_) => Err("is neither a JSON object nor a list of them".to_owned()),
    }
}

/// The credentials in the order and with the URLs by which git, as git-sync runs it, finds them: by scheme, host and
/// port, unless it `minds_paths`. There the first one wins, and a later password of the same user takes the place of the
/// earlier one; here of equals the last wins.
pub(super) fn as_git_finds(credentials: Vec<Credential>, minds_paths: bool) -> Vec<Credential> {
    let mut found: Vec<Credential> = Vec::new();
    for mut credential in credentials {
        if let Ok(mut url) = Url::parse(&credential.url) {
            // Fails for URLs that have no user.
            let _ = url.set_username("").and_then(|()| url.set_password(None));
            if !minds_paths {
                url.set_path("");
            }
            credential.url = url.to_string();
        }
        match found.iter_mut().find(|c| (&c.url, &c.username) == (&credential.url, &credential.username)) {
            Some(same) => *same = credential,
            None => found.push(credential),
        }
    }
    found.reverse();
    found
}

/// The credentials as one JSON list.
pub(super) fn list(credentials: &[Credential]) -> String {
    serde_json::to_string(credentials).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(list: &str, minds_paths: bool) -> Vec<String> {
        let found = as_git_finds(parse(list).unwrap(), minds_paths);
        found.into_iter().map(|c| format!("{} {} {}", c.url, c.username, c.password)).collect()
    }

    /// Looked up with git 2.47: `git credential approve` for each, then `git credential fill` with the helper `cache`.
    #[test]
    fn the_first_of_a_host_stands_last_with_the_last_password_of_its_user() {
        let list = r#"[{"url": "https://h/a.git", "username": "A", "password": "1"},
            {"url": "https://u:x@h/b", "username": "B", "password": "2"},
            {"url": "https://h", "username": "A", "password": "3"},
            {"url": "https://h:8443/a", "username": "A", "password": "4"}]"#;
        assert_eq!(found(list, false), ["https://h:8443/ A 4", "https://h/ B 2", "https://h/ A 3"]);
        let kept = ["https://h:8443/a A 4", "https://h/ A 3", "https://h/b B 2", "https://h/a.git A 1"];
        assert_eq!(found(list, true), kept);
    }

    #[test]
    fn what_is_no_url_is_left_to_who_refuses_it() {
        assert_eq!(found(r#"{"url": "h/x", "username": "A", "password": "1"}"#, false), ["h/x A 1"]);
    }
}
