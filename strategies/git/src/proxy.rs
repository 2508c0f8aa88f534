//! Explains failures of the proxy that libgit2 takes from the environment, and keeps its password out of messages.
//!
//! For https URLs that is `https_proxy`, for http URLs `http_proxy`, where these are not set the same in capitals, and
//! none for hosts that `no_proxy` (or `NO_PROXY`) lists. There is no `all_proxy`, and ssh uses no proxy.

use dagsync_core::{Error, ErrorKind};
use git2::ErrorCode;
use url::Url;

use crate::location::Location;

/// The variable of the environment or the key of `git.config` that names a proxy.
pub(crate) struct Proxy {
    variable: &'static str,
    /// May hold a password.
    value: String,
}

impl Proxy {
    /// The proxy for `location`, if there is one; `no_proxy` is not looked at.
    /// One that is `configured` counts before the environment's.
    pub(crate) fn of(
        location: &Location,
        configured: Option<&str>,
        variable: impl Fn(&str) -> Option<String>,
    ) -> Option<Self> {
        let names = match location.to_string().split_once("://")?.0 {
            "https" => ["https_proxy", "HTTPS_PROXY"],
            "http" => ["http_proxy", "HTTP_PROXY"],
            _ => return None,
        };
        let from_environment = || names.into_iter().find_map(|name| Some((name, variable(name)?)));
        let configured = configured.map(|value| ("http.proxy", value.to_owned()));
        let (variable, value) = configured.or_else(from_environment)?;
        (!value.is_empty()).then_some(Self { variable, value })
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
            (ErrorKind::Config, format!("write {variable} as http://host:port"))
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

    /// The scheme may be missing.
    fn url(&self) -> Option<Url> {
        let text = if self.value.contains("://") { self.value.clone() } else { format!("http://{}", self.value) };
        Url::parse(&text).ok()
    }
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
        assert_eq!(named("https://h/x", &["http_proxy", "all_proxy"]), None);
        assert_eq!(named("http://h/x", &["HTTP_PROXY"]), Some("HTTP_PROXY"));
        assert_eq!(named("ssh://h/x", &["https_proxy", "http_proxy"]), None);
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
