//! `git.config`: what of git's own configuration means something here.

use std::path::PathBuf;

use dagsync_core::{Error, ErrorKind, Result};

use crate::location::Location;
use crate::secret::Secret;

/// A value, and the URL whose repositories it is for; without one it is for all.
type Scoped<T> = (Option<Location>, T);

/// What libgit2 does not take; its error would show the value.
const TAKEN: [&str; 6] = ["User-Agent", "Host", "Accept", "Content-Type", "Transfer-Encoding", "Content-Length"];

/// The keys that are known, by what they mean.
#[derive(Debug, Default)]
pub(crate) struct GitConfig {
    pub(crate) ca_file: Option<PathBuf>,
    verify: Vec<Scoped<bool>>,
    proxies: Vec<Scoped<Secret>>,
    headers: Vec<Scoped<Secret>>,
    /// The beginning of a URL, and what stands in its place.
    rewrites: Vec<(String, String)>,
    /// Keys that are accepted and mean nothing here, with the reason.
    pub(crate) ignored: Vec<(String, &'static str)>,
}

impl GitConfig {
    /// Reads a list of `key=value`. The values are no part of an error: they may be secrets.
    pub(crate) fn parse(items: &[String]) -> Result<Self> {
        let mut config = Self::default();
        for item in items {
            let wrong = |why: &str| {
                let key = item.split_once('=').map_or("an item", |(key, _)| key);
                let key = if key.contains('@') { "a key" } else { key };
                Error::new(ErrorKind::Config, "read git.config", format!("{key}: {why}"))
            };
            let (key, value) = item.split_once('=').ok_or_else(|| wrong("it is not of the form key=value"))?;
            config.set(key.trim(), value).map_err(wrong)?;
        }
        Ok(config)
    }

    fn set(&mut self, key: &str, value: &str) -> Result<(), &'static str> {
        let (section, rest) = key.split_once('.').ok_or("a key has a section, as in http.proxy")?;
        let (scope, name) = rest.rsplit_once('.').map_or((None, rest), |(scope, name)| (Some(scope), name));
        match (section.to_ascii_lowercase().as_str(), name.to_ascii_lowercase().as_str(), scope) {
            ("http", "sslcainfo", _) => self.ca_file = Some(value.into()),
            ("http", "sslverify", _) => self.verify.push((url(scope)?, boolean(value)?)),
            ("http", "proxy", _) => self.proxies.push((url(scope)?, Secret::new(value))),
            ("http", "extraheader", _) => self.headers.push((url(scope)?, header(value)?)),
            ("url", "insteadof", Some(base)) => self.rewrites.push((value.to_owned(), base.to_owned())),
            (section, name, _) => self.ignored.push((key.to_owned(), reason(section, name))),
        }
        Ok(())
    }

    /// Whether the certificate of the server must be good.
    pub(crate) fn verifies(&self, location: &Location) -> bool {
        closest(&self.verify, location).copied().unwrap_or(true)
    }

    /// The proxy to use, with any password; empty: none.
    pub(crate) fn proxy(&self, location: &Location) -> Option<&str> {
        closest(&self.proxies, location).map(Secret::reveal)
    }

    /// The headers to send. One that is for no URL in particular goes to the host of the source alone.
    pub(crate) fn headers(&self, location: &Location, main: &Location) -> Vec<Secret> {
        let is_meant = |scope: &Option<Location>| match scope {
            Some(scope) => scope.covers(location).is_some(),
            None => main.shares_secrets_with(location),
        };
        let meant = self.headers.iter().filter(|(scope, _)| is_meant(scope)).map(|(_, value)| value);
        // As in git, an empty value forgets those before it.
        meant.fold(Vec::new(), |mut headers, value| {
            if value.is_empty() {
                headers.clear()
            } else {
                headers.push(value.clone())
            }
            headers
        })
    }

    /// The URL that stands in place of `url`: of all beginnings that fit, the longest counts.
    pub(crate) fn rewrite(&self, url: &str) -> String {
        let fitting = self.rewrites.iter().filter(|(from, _)| !from.is_empty() && url.starts_with(from.as_str()));
        match fitting.max_by_key(|(from, _)| from.len()) {
            Some((from, to)) => format!("{to}{}", &url[from.len()..]),
            None => url.to_owned(),
        }
    }
}

/// The value whose URL says most about `location`; of equals the last.
fn closest<'a, T>(values: &'a [Scoped<T>], location: &Location) -> Option<&'a T> {
    let rank = |scope: &Option<Location>| match scope {
        Some(scope) => scope.covers(location).map(|length| length + 1),
        None => Some(0),
    };
    let ranked = values.iter().filter_map(|(scope, value)| Some((rank(scope)?, value)));
    ranked.max_by_key(|(rank, _)| *rank).map(|(_, value)| value)
}

fn url(scope: Option<&str>) -> Result<Option<Location>, &'static str> {
    scope.map(|text| Location::parse(text).map_err(|_| "its URL cannot be read")).transpose()
}

fn boolean(value: &str) -> Result<bool, &'static str> {
    match value.trim().to_ascii_lowercase().as_str() {
        "true" | "yes" | "on" | "1" => Ok(true),
        "false" | "no" | "off" | "0" | "" => Ok(false),
        _ => Err("it must be true or false"),
    }
}

fn header(value: &str) -> Result<Secret, &'static str> {
    let name = value.split_once(':').map(|(name, _)| name);
    let is_name =
        |name: &str| !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_');
    if !value.is_empty() && !name.is_some_and(is_name) || value.contains(char::is_control) {
        return Err("it is no header of the form Name: value");
    }
    if name.is_some_and(|name| TAKEN.iter().any(|taken| taken.starts_with(name))) {
        return Err("this header is always set already");
    }
    Ok(Secret::new(value))
}

fn reason(section: &str, name: &str) -> &'static str {
    match (section, name) {
        ("url", "pushinsteadof") => "nothing is pushed",
        ("core", "sshcommand") => "no ssh command is run; see git.ssh_key_file and git.known_hosts_file",
        ("credential", _) => "no credential helper is run; see git.credentials",
        ("http", "cookiefile") => "see git.cookie_file",
        ("safe", _) => "repositories of any owner are read",
        _ => "no git is run that could read it",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(items: &[&str]) -> GitConfig {
        GitConfig::parse(&items.iter().map(|&item| item.to_owned()).collect::<Vec<_>>()).unwrap()
    }

    fn at(url: &str) -> Location {
        Location::parse(url).unwrap()
    }

    #[test]
    fn the_closest_url_decides() {
        let config = config(&[
            "http.sslVerify=false",
            "http.https://h.SSLverify=true",
            "http.https://h/lax.sslverify=off",
            "http.proxy=http://all",
            "http.https://h.proxy=",
        ]);
        assert!(!config.verifies(&at("https://other/x")) && config.verifies(&at("https://h/x")));
        assert!(!config.verifies(&at("https://h/lax/x")) && config.verifies(&at("https://h/laxative")));
        assert_eq!(
            (config.proxy(&at("https://o/x")), config.proxy(&at("https://h/x"))),
            (Some("http://all"), Some(""))
        );
        assert!(GitConfig::default().verifies(&at("https://h/x")));
    }

    #[test]
    fn a_header_for_all_goes_to_the_host_of_the_source_only() {
        let config = config(&["http.extraHeader=X: all", "http.https://lib.extraHeader=X: lib"]);
        let main = at("https://h/dags");
        let sent = |url: &str| -> Vec<String> {
            config.headers(&at(url), &main).iter().map(|h| h.reveal().to_owned()).collect()
        };
        assert_eq!(sent("https://h/dags"), ["X: all"]);
        assert_eq!(sent("https://lib/x"), ["X: lib"]);
        assert!(sent("https://evil/x").is_empty() && sent("http://h/dags").is_empty());
    }

    #[test]
    fn urls_are_rewritten_as_git_does() {
        let config = config(&[
            "url.https://github.com/.insteadOf=git@github.com:",
            "url.https://mirror/acme/.insteadOf=git@github.com:acme/",
            "url.ssh://x/.pushInsteadOf=https://",
        ]);
        assert_eq!(config.rewrite("git@github.com:org/x.git"), "https://github.com/org/x.git");
        assert_eq!(config.rewrite("git@github.com:acme/x.git"), "https://mirror/acme/x.git");
        assert_eq!(config.rewrite("https://github.com/x"), "https://github.com/x");
        assert_eq!(config.ignored[0].1, "nothing is pushed");
    }

    #[test]
    fn other_keys_are_kept_with_a_reason_and_mistakes_are_named_without_values() {
        let known = config(&["gc.auto=0", "http.sslCAInfo=/ca.pem", "core.sshCommand=ssh -i /x"]);
        assert_eq!(known.ca_file.unwrap().to_str(), Some("/ca.pem"));
        assert_eq!(
            known.ignored.iter().map(|(key, _)| key.as_str()).collect::<Vec<_>>(),
            ["gc.auto", "core.sshCommand"]
        );
        for bad in [
            "s3cret",
            "http.extraHeader=s3cret",
            "http.extraHeader=Host: s3cret",
            "http.sslVerify=s3cret",
            "key=s3cret",
            "http.h.proxy=s3cret",
        ] {
            let error = GitConfig::parse(&[bad.to_owned()]).unwrap_err();
            assert!(error.kind() == ErrorKind::Config && !error.to_string().contains("s3cret"), "{error}");
        }
    }
}
