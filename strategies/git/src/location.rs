//! Where a repository lies: reading, showing and joining the forms of URL that git takes.

use std::fmt;
use std::path::PathBuf;

use dagsync_core::{Digest, Error, ErrorKind, Result};
use url::Url;

/// How a repository is reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scheme {
    File,
    Http,
    Https,
    Ssh,
    /// `user@host:path`, which is ssh with a path relative to the user's home.
    Scp,
}

/// The URL of a repository, without any password.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Location {
    scheme: Scheme,
    /// The user in the URL. Of http(s) it may be a token, so it is never shown.
    user: Option<String>,
    host: String,
    port: Option<u16>,
    /// With a leading `/`, except in the scp form, where it may lack; as it was written (percent-encoded).
    path: String,
}

/// Whether a `source` is a git repository without being told.
pub(crate) fn is_git(source: &str) -> bool {
    ["https://", "http://", "ssh://", "file://"].iter().any(|scheme| source.starts_with(scheme))
        || scp_parts(source).is_some_and(|(user, ..)| user.is_some())
}

impl Location {
    /// Reads a URL, the scp form `user@host:path` or an absolute path.
    pub(crate) fn parse(text: &str) -> Result<Self> {
        if text.starts_with('/') {
            return Ok(Self::new(Scheme::File, None, "", text.to_owned()));
        }
        if !text.contains("://") {
            let (user, host, path) = scp_parts(text).ok_or_else(|| unreadable("it is no URL of a git repository"))?;
            return Ok(Self::new(Scheme::Scp, user.map(str::to_owned), host, path.to_owned()));
        }
        Self::from_url(&Url::parse(text).map_err(|e| unreadable(&e.to_string()))?)
    }

    fn from_url(url: &Url) -> Result<Self> {
        let scheme = match url.scheme() {
            "file" => Scheme::File,
            "http" => Scheme::Http,
            "https" => Scheme::Https,
            "ssh" => Scheme::Ssh,
            _ => return Err(unreadable("its scheme is not one of https, http, ssh and file")),
        };
        if url.password().is_some() {
            return Err(unreadable("it holds a password, which would end up in logs and process lists")
                .with_hint("put it into a file and name that in git.password_file or git.token_file"));
        }
        if url.query().is_some() || url.fragment().is_some() {
            return Err(unreadable("it has a query or a fragment")
                .with_hint("write # and ? in a path as %23 and %3F; name a branch in git.ref"));
        }
        let user = Some(url.username()).filter(|u| !u.is_empty()).map(str::to_owned);
        let host = url.host_str().unwrap_or_default();
        if scheme != Scheme::File && host.is_empty() {
            return Err(unreadable("it names no host"));
        }
        Ok(Self { port: url.port(), ..Self::new(scheme, user, host, url.path().to_owned()) })
    }

    fn new(scheme: Scheme, user: Option<String>, host: &str, path: String) -> Self {
        Self { scheme, user, host: host.to_owned(), port: None, path }
    }

    pub(crate) fn is_file(&self) -> bool {
        self.scheme == Scheme::File
    }

    pub(crate) fn is_ssh(&self) -> bool {
        matches!(self.scheme, Scheme::Ssh | Scheme::Scp)
    }

    pub(crate) fn is_http(&self) -> bool {
        self.scheme == Scheme::Http
    }

    pub(crate) fn is_https(&self) -> bool {
        self.scheme == Scheme::Https
    }

    pub(crate) fn path(&self) -> &str {
        &self.path
    }

    pub(crate) fn user(&self) -> Option<&str> {
        self.user.as_deref()
    }

    pub(crate) fn host(&self) -> &str {
        &self.host
    }

    /// The port, where the URL names one.
    pub(crate) fn port(&self) -> Option<u16> {
        self.port
    }

    /// The command that asks the server for its host keys.
    pub(crate) fn keyscan(&self) -> String {
        let port = self.port.map(|port| format!("-p {port} ")).unwrap_or_default();
        format!("ssh-keyscan {port}{}", self.host)
    }

    /// Whether a password for `self` may be sent to `url`, to which a server may have redirected: the same host and
    /// port by the same scheme. Never in the clear when it was meant to be encrypted.
    pub(crate) fn shares_secrets_with(&self, other: &Self) -> bool {
        (self.scheme, &self.host, self.port) == (other.scheme, &other.host, other.port)
            || (self.is_ssh() && other.is_ssh() && (&self.host, self.port) == (&other.host, other.port))
    }

    /// Whether what is set for `self` counts for `other`: the same host and, at a `/`, the same path or one above it.
    /// The more of the path it names, the more it says.
    pub(crate) fn covers(&self, other: &Self) -> Option<usize> {
        let path = self.path.trim_end_matches('/');
        let rest = other.path.strip_prefix(path).filter(|_| self.shares_secrets_with(other))?;
        (rest.is_empty() || rest.starts_with('/')).then_some(path.len())
    }

    /// The folder of a repository on this file system.
    pub(crate) fn folder(&self) -> Option<PathBuf> {
        let url = Url::parse(&format!("file://{}", self.path)).ok()?;
        self.is_file().then(|| url.to_file_path().ok()).flatten()
    }

    /// What libgit2 connects to. Of http(s) without a user: libgit2 would try it with an empty password.
    pub(crate) fn connect_url(&self) -> String {
        let user = if self.is_ssh() { self.user.as_deref() } else { None };
        self.render(user)
    }

    /// A name for the repository's cache.
    pub(crate) fn cache_name(&self) -> String {
        let mut name = Digest::of(self.connect_url()).to_string();
        name.truncate(16);
        name
    }

    fn render(&self, user: Option<&str>) -> String {
        let user = user.map(|u| format!("{u}@")).unwrap_or_default();
        let port = self.port.map(|p| format!(":{p}")).unwrap_or_default();
        let Self { host, path, .. } = self;
        match self.scheme {
            Scheme::File => format!("file://{path}"),
            Scheme::Http => format!("http://{user}{host}{port}{path}"),
            Scheme::Https => format!("https://{user}{host}{port}{path}"),
            Scheme::Ssh => format!("ssh://{user}{host}{port}{path}"),
            Scheme::Scp => format!("{user}{host}:{path}"),
        }
    }

    /// The URL of a submodule as `.gitmodules` gives it; `./` and `../` start from this repository, as in git.
    pub(crate) fn join(&self, url: &str) -> Result<Self> {
        if !url.starts_with("./") && !url.starts_with("../") {
            return Self::parse(url);
        }
        let mut path = self.path.trim_end_matches('/');
        let mut rest = url;
        loop {
            if let Some(next) = rest.strip_prefix("./") {
                rest = next;
            } else if let Some(next) = rest.strip_prefix("../") {
                path =
                    parent(path).ok_or_else(|| unreadable("the relative URL of a submodule climbs above the host"))?;
                rest = next;
            } else {
                break;
            }
        }
        let rest = rest.trim_end_matches('/');
        let path =
            if path.is_empty() && self.scheme == Scheme::Scp { rest.to_owned() } else { format!("{path}/{rest}") };
        Ok(Self { path, ..self.clone() })
    }
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.connect_url())
    }
}

impl fmt::Debug for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

fn parent(path: &str) -> Option<&str> {
    if path.is_empty() { None } else { Some(path.rsplit_once('/').map_or("", |(parent, _)| parent)) }
}

/// User, host and path of `user@host:path`, told from a local path as git does it: no `/` before the first colon.
fn scp_parts(text: &str) -> Option<(Option<&str>, &str, &str)> {
    let (authority, path) = text.split_once(':')?;
    let (user, host) = authority.rsplit_once('@').map_or((None, authority), |(u, h)| (Some(u), h));
    let plain = |s: &str| !s.is_empty() && !s.starts_with('-') && !s.contains(|c: char| "/@:".contains(c) || c <= ' ');
    (plain(host) && user.is_none_or(plain) && !path.is_empty() && !path.starts_with("//")).then_some((user, host, path))
}

/// The URL itself is not part of the message: it may hold a secret.
fn unreadable(why: &str) -> Error {
    Error::new(ErrorKind::Config, "read git URL", why)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str) -> String {
        Location::parse(text).unwrap().to_string()
    }

    #[test]
    fn every_form_is_read_and_shown() {
        for same in [
            "https://github.com/org/dags.git",
            "http://git.local:8080/dags",
            "ssh://git@host:2222/srv/dags.git",
            "git@github.com:org/dags.git",
            "host:/srv/dags.git",
            "file:///srv/dags.git",
        ] {
            assert_eq!(shown(same), same);
        }
        assert_eq!(shown("/srv/dags.git"), "file:///srv/dags.git");
        assert_eq!(Location::parse("file:///a%20b").unwrap().folder().unwrap().to_str(), Some("/a b"));
    }

    #[test]
    fn a_secret_in_the_url_is_never_shown() {
        let token = Location::parse("https://ghp_secret@github.com/org/dags").unwrap();
        assert_eq!(token.to_string(), "https://github.com/org/dags");
        assert!(!format!("{token:?}").contains("ghp_"));
        assert_eq!(token.user(), Some("ghp_secret"));
        for refused in
            ["https://u:s3cret@h/x", "ssh://u:s3cret@h/x", "https://h/x?private_token=s3cret", "ftp://u:s3cret@h"]
        {
            let error = Location::parse(refused).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Config);
            assert!(!error.to_string().contains("s3cret"), "{error}");
        }
    }

    #[test]
    fn sources_that_are_git_are_told_from_others() {
        for git in ["https://h/x.git", "https://github.com/o/r", "ssh://h/x", "git@h:x", "file:///x"] {
            assert!(is_git(git), "{git}");
        }
        for other in ["s3://b/p", "/dags", "image:/dags", "./x", "git://h/x", "c:/x", "host:/x", "a b@h:x"] {
            assert!(!is_git(other), "{other}");
        }
    }

    #[test]
    fn relative_submodule_urls_are_joined_as_git_does() {
        let join = |base: &str, url: &str| Location::parse(base).unwrap().join(url).unwrap().to_string();
        assert_eq!(join("https://h/org/dags.git", "../lib.git"), "https://h/org/lib.git");
        assert_eq!(join("https://h/org/dags.git/", "../../x/lib.git"), "https://h/x/lib.git");
        assert_eq!(join("git@h:org/dags.git", "../lib.git"), "git@h:org/lib.git");
        assert_eq!(join("git@h:dags.git", "../lib.git"), "git@h:lib.git");
        assert_eq!(join("ssh://git@h:22/a/dags", "./sub"), "ssh://git@h:22/a/dags/sub");
        assert_eq!(join("file:///srv/dags", "../lib"), "file:///srv/lib");
        assert_eq!(join("https://h/a", "git@other:lib"), "git@other:lib");
        assert!(Location::parse("https://h/a").unwrap().join("../../../b").is_err());
    }

    #[test]
    fn secrets_stay_with_scheme_host_and_port() {
        let main = Location::parse("https://h/dags").unwrap();
        let shares = |url: &str| main.shares_secrets_with(&Location::parse(url).unwrap());
        assert!(shares("https://h/other") && shares("https://x@h:443/other"));
        assert!(!shares("http://h/dags") && !shares("https://h.evil/dags") && !shares("https://h:8443/dags"));
    }
}
