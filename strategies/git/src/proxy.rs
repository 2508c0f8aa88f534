//! Explains failures of the proxy that libgit2 takes from the environment, and keeps its password out of messages.
//!
//! For https URLs that is `https_proxy`, for http URLs `http_proxy`, where these are not set the same in capitals, and
//! none for hosts that `no_proxy` (or `NO_PROXY`) lists. `all_proxy`, which stands for both where they are not set, is not
//! known to libgit2 and therefore given to it. ssh uses no proxy.

use dagsync_core::{Error, ErrorKind};
use git2::{ErrorCode, ProxyOptions};
use url::Url;

use crate::location::Location;

/// The variable of the environment or the key of `git.config` that names a proxy.
pub(crate) struct Proxy {
    variable: &'static str,
    /// May hold a password.
    value: String,
}

/// What libgit2 is told: the proxy that is `configured` (empty: none), or to look into the environment.
pub(crate) fn options(location: &Location, configured: Option<&str>) -> ProxyOptions<'static> {
    let mut options = ProxyOptions::new();
    let all = || Proxy::of_all(location, |name| std::env::var(name).ok());
    match configured.map(str::to_owned).or_else(all).as_deref() {
        Some("") => {}
        Some(url) => drop(options.url(url)),
        None => drop(options.auto()),
    }
    options
}

impl Proxy {
    /// The proxy for `location`, if there is one; `no_proxy` is not looked at.
    /// One that is `configured` counts before the environment's.
    pub(crate) fn of(
        location: &Location,
        configured: Option<&str>,
        variable: impl Fn(&str) -> Option<String>,
    ) -> Option<Self> {
        let names = names(location)?;
        let set = |name| variable(name).filter(|value| !value.is_empty());
        let from_environment = || names.into_iter().find_map(|name| Some((name, set(name)?)));
        let configured = configured.map(|value| ("http.proxy", value.to_owned()));
        let (variable, value) = configured.or_else(from_environment)?;
        (!value.is_empty()).then_some(Self { variable, value })
    }

    /// The URL of the proxy that `all_proxy` names, if that counts for `location`.
    pub(crate) fn of_all(location: &Location, variable: impl Fn(&str) -> Option<String>) -> Option<String> {
        let set = |name: &str| variable(name).filter(|value| !value.is_empty());
        let [own, own_in_capitals, all, all_in_capitals] = names(location)?;
        let value = set(all).or_else(|| set(all_in_capitals))?;
        if set(own).or_else(|| set(own_in_capitals)).is_some() {
            return None;
        }
        let direct = variable("no_proxy").or_else(|| variable("NO_PROXY")).unwrap_or_default();
        (!is_direct(location, &direct)).then(|| with_scheme(&value))
    }

    /// What `e` means, when it is about the proxy.
    pub(crate) fn explain(&self, operation: &'static str, e: &git2::Error, location: &Location) -> Option<Error> {
        let text = e.message().trim().replace(&self.value, self.variable);
        let url = self.url();
        let host = url.as_ref().and_then(Url::host_str).filter(|host| *host != location.host());
        let is_unusable = text.contains(self.variable)
            || text.starts_with("unknown http scheme")
            || (url.is_none() && text.starts_with("invalid url"));
        if !is_unusable && !text.contains("proxy") && !host.is_some_and(|host| text.contains(host)) {
            return None;
        }
        let variable = self.variable;
        let (kind, hint) = if is_unusable {
            (ErrorKind::Config, format!("write {variable} as http://host:port; there is no SOCKS"))
        } else if e.code() == ErrorCode::Auth {
            (ErrorKind::Unauthorized, format!("write {variable} as http://user:password@host:port"))
        } else {
            let hint = format!("check the proxy that {variable} names, or list {} in no_proxy", location.host());
            (ErrorKind::Unreachable, hint)
        };
        let shown = url.as_ref().and_then(|url| Some(format!("{}:{}", url.host_str()?, url.port_or_known_default()?)));
        let error = Error::new(kind, operation, text).with_context("url", location);
        Some(error.with_context("proxy", shown.as_deref().unwrap_or(variable)).with_hint(hint))
    }

    fn url(&self) -> Option<Url> {
        Url::parse(&with_scheme(&self.value)).ok()
    }
}

/// The variables that count for `location`, the strongest first.
fn names(location: &Location) -> Option<[&'static str; 4]> {
    match location {
        _ if location.is_https() => Some(["https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"]),
        _ if location.is_http() => Some(["http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"]),
        _ => None,
    }
}

/// The scheme may be missing.
fn with_scheme(value: &str) -> String {
    if value.contains("://") { value.to_owned() } else { format!("http://{value}") }
}

/// Whether the list of `no_proxy` names the host: itself or a domain above it, with or without its port.
fn is_direct(location: &Location, no_proxy: &str) -> bool {
    let host = location.host().trim_matches(['[', ']']).to_ascii_lowercase();
    let port = location.port().unwrap_or(if location.is_https() { 443 } else { 80 });
    no_proxy.split([',', ' ']).filter(|entry| !entry.is_empty()).any(|entry| {
        let entry = entry.to_ascii_lowercase();
        let (name, at) = match entry.rsplit_once(':') {
            Some((name, at)) if at.parse::<u16>().is_ok() && !name.contains(':') => (name, at.parse::<u16>().ok()),
            _ => (entry.as_str(), None),
        };
        let name = name.trim_start_matches("*.").trim_start_matches('.').trim_matches(['[', ']']);
        let is_host = host == name || host.strip_suffix(name).is_some_and(|above| above.ends_with('.'));
        entry == "*" || is_host && at.is_none_or(|at| at == port)
    })
}

#[cfg(test)]
mod tests {
    use git2::ErrorClass;

    use super::*;

    fn explained(value: &str, code: ErrorCode, text: &str) -> Option<Error> {
        let location = Location::parse("https://git.local/x").unwrap();
        let proxy = Proxy::of(&location, None, |name| (name == "HTTPS_PROXY").then(|| value.to_owned()))?;
        proxy.explain("resolve", &git2::Error::new(code, ErrorClass::Http, text), &location)
    }

    #[test]
    fn only_the_variables_that_libgit2_knows_count() {
        let named = |url: &str, set: &[&str]| {
            let location = Location::parse(url).unwrap();
            Proxy::of(&location, None, |name| set.contains(&name).then(|| "http://p".into()))
                .map(|proxy| proxy.variable)
        };
        assert_eq!(named("https://h/x", &["HTTPS_PROXY", "https_proxy"]), Some("https_proxy"));
        assert_eq!(named("https://h/x", &["http_proxy"]), None);
        assert_eq!(named("https://h/x", &["ALL_PROXY", "HTTPS_PROXY"]), Some("HTTPS_PROXY"));
        assert_eq!(named("http://h/x", &["ALL_PROXY", "all_proxy"]), Some("all_proxy"));
        assert_eq!(named("http://h/x", &["HTTP_PROXY"]), Some("HTTP_PROXY"));
        assert_eq!(named("ssh://h/x", &["https_proxy", "http_proxy"]), None);
    }

    #[test]
    fn all_proxy_stands_in_for_the_others() {
        let all = |url: &str, env: &[(&str, &str)]| {
            let value = |name: &str| env.iter().find(|(n, _)| *n == name).map(|(_, v)| (*v).to_owned());
            Proxy::of_all(&Location::parse(url).unwrap(), value)
        };
        let proxy = ("all_proxy", "p:3128");
        for (url, more, expected) in [
            ("https://h/x", &[][..], true),
            ("http://h/x", &[("https_proxy", "http://q")], true),
            ("https://h/x", &[("https_proxy", "")], true),
            ("https://h/x", &[("HTTPS_PROXY", "http://q")], false),
            ("ssh://h/x", &[], false),
            ("https://git.corp/x", &[("no_proxy", "localhost, .corp")], false),
            ("https://git.corp/x", &[("NO_PROXY", "GIT.corp:443")], false),
            ("https://git.corp:8443/x", &[("no_proxy", "git.corp:443")], true),
            ("https://mygit.corp/x", &[("no_proxy", "git.corp,h")], true),
            ("https://[::1]:8443/x", &[("no_proxy", "::1")], false),
            ("https://h/x", &[("no_proxy", "*")], false),
        ] {
            let found = all(url, &[&[proxy], more].concat());
            assert_eq!(found.as_deref(), expected.then_some("http://p:3128"), "{url} {more:?}");
        }
    }

    #[test]
    fn a_failure_of_the_proxy_names_the_variable_and_never_its_password() {
        let secret = "http://ada:s3cret@proxy.corp:3128";
        let generic = ErrorCode::GenericError;
        for (value, code, text, kind) in [
            (secret, generic, "proxy returned unexpected status: 403", ErrorKind::Unreachable),
            (secret, generic, "failed to connect to proxy.corp: Connection refused", ErrorKind::Unreachable),
            (secret, ErrorCode::Auth, "proxy authentication required but no callback set", ErrorKind::Unauthorized),
            ("socks5://p:1080", generic, "unknown http scheme 'socks5'", ErrorKind::Config),
            ("http://a:s3cret@", generic, "invalid URL: 'http://a:s3cret@'", ErrorKind::Config),
            ("http://a:s3cret@:x", generic, "invalid url: malformed hostname", ErrorKind::Config),
        ] {
            let error = explained(value, code, text).unwrap();
            assert_eq!(error.kind(), kind, "{error}");
            assert!(error.to_string().contains("HTTPS_PROXY") && !error.to_string().contains("s3cret"), "{error}");
        }
        assert!(explained(secret, generic, "unexpected http status code: 404").is_none());
    }
}
