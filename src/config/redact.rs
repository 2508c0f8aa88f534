//! URLs and settings of git without the secrets that people write into them.

use url::Url;

/// Hides the password of a URL, and over HTTP a lone user name too: it usually is a token.
pub fn redact_url(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else { return url.to_owned() };
    let Some((user_info, host)) = split_user_info(rest) else { return url.to_owned() };
    match user_info.split_once(':') {
        Some((user, _)) => format!("{scheme}://{user}:***@{host}"),
        None if is_http(scheme) => format!("{scheme}://***@{host}"),
        None => url.to_owned(),
    }
}

/// The same for one item of a list, which may be `key=value` of git's configuration: a header is a secret as a whole.
pub(super) fn redact_item(item: &str) -> String {
    header_key(item).map_or_else(|| redact_url(item), |key| format!("{key}=***"))
}

/// Settings with a URL that is called, of which the path and the query are a secret, too: a chat knows by them who may post.
const CALLED: [&str; 2] = ["drift.webhook_url", "webhook.url"];

/// Whether more of the URL than its origin may be a secret.
pub(super) fn is_called(setting: &str) -> bool {
    CALLED.contains(&setting)
}

/// Whether the URL's query may be a secret; its path says where metrics go.
pub(super) fn is_queried(setting: &str) -> bool {
    setting == "drift.pushgateway"
}

/// The same as [`redact_url`] without the query.
pub(super) fn redact_query(url: &str) -> String {
    let shown = redact_url(url);
    shown.split_once('?').map_or_else(|| shown.clone(), |(before, _)| format!("{before}?***"))
}

/// Where a URL that is called leads, and no more of it.
pub(super) fn origin_of(url: &str) -> String {
    match Url::parse(url) {
        Ok(parsed) if parsed.has_host() => match has_path(&parsed) {
            true => format!("{}/…", parsed.origin().ascii_serialization()),
            false => parsed.origin().ascii_serialization(),
        },
        _ if url.is_empty() => String::new(),
        _ => "***".to_owned(),
    }
}

/// Whether a URL that is called is more than its origin.
pub(super) fn holds_path(url: &str) -> bool {
    Url::parse(url).is_ok_and(|url| has_path(&url))
}

fn has_path(url: &Url) -> bool {
    !matches!(url.path(), "" | "/") || url.query().is_some()
}

/// Whether an item of a list holds a secret.
pub(super) fn item_holds_secret(item: &str) -> bool {
    header_key(item).is_some() || holds_secret(item)
}

fn header_key(item: &str) -> Option<&str> {
    let (key, value) = item.split_once('=')?;
    (key.trim_end().to_ascii_lowercase().ends_with(".extraheader") && !value.is_empty()).then_some(key)
}

/// Also where a key of git's configuration stands before it, as in `url.https`.
fn is_http(scheme: &str) -> bool {
    scheme.ends_with("http") || scheme.ends_with("https")
}

/// What the well-known providers of git begin their tokens with.
const TOKENS: &[&str] = &["ghp_", "gho_", "ghu_", "ghs_", "ghr_", "github_pat_", "glpat-", "ATBB"];
/// Names of people and robots are shorter.
const TOKEN_LENGTH: usize = 20;

/// Whether a URL holds a password, or over HTTP a lone user that looks like a token.
pub(crate) fn holds_secret(url: &str) -> bool {
    let Some((scheme, rest)) = url.split_once("://") else { return false };
    let Some((user, _)) = split_user_info(rest) else { return false };
    let is_token = || user.len() >= TOKEN_LENGTH || TOKENS.iter().any(|prefix| user.starts_with(prefix));
    user.contains(':') || is_http(scheme) && is_token()
}

/// The part before the `@`, also when a password holds a `/` that should have been escaped.
fn split_user_info(rest: &str) -> Option<(&str, &str)> {
    let authority = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    if let Some(at) = rest[..authority].rfind('@') {
        return Some((&rest[..at], &rest[at + 1..]));
    }
    let (_, port) = rest[..authority].rsplit_once(':')?;
    let is_port = port.bytes().all(|b| b.is_ascii_digit()) || rest.starts_with('[');
    if is_port { None } else { rest.rsplit_once('@') }
}

#[cfg(test)]
mod tests {
    use super::{holds_path, holds_secret, item_holds_secret, origin_of, redact_item, redact_query, redact_url};

    #[test]
    fn of_a_url_that_is_called_the_origin_alone_is_shown() {
        for (url, shown) in [
            ("https://hooks.slack.com/services/T0/B0/s3cret", "https://hooks.slack.com/…"),
            ("https://u:s3cret@chat:8443/?token=s3cret", "https://chat:8443/…"),
            ("https://chat", "https://chat"),
            ("/services/s3cret", "***"),
            ("mailto:s3cret", "***"),
            ("", ""),
        ] {
            assert_eq!(origin_of(url), shown);
        }
        assert!(holds_path("https://chat/s3cret") && holds_path("https://chat?s3cret") && !holds_path("https://chat/"));
    }

    #[test]
    fn a_token_in_the_query_of_a_pushgateway_is_hidden() {
        for (url, shown) in [
            ("https://u:s3cret@push/metrics/job/x?token=s3cret", "https://u:***@push/metrics/job/x?***"),
            ("http://push:9091", "http://push:9091"),
        ] {
            assert_eq!(redact_query(url), shown);
        }
    }

    #[test]
    fn a_token_is_told_from_a_user() {
        for url in ["https://ghp_x@h/x", "https://glpat-x@h/x", "http://0123456789abcdefghij@h/x", "ssh://git:pw@h/x"] {
            assert!(holds_secret(url), "{url}");
        }
        for url in ["https://ada@h/x", "https://h/x@y", "ssh://a-user-with-a-long-name@h/x", "git@h:x", "/srv/a:b@c"] {
            assert!(!holds_secret(url), "{url}");
        }
    }

    #[test]
    fn secrets_in_gits_configuration_are_hidden() {
        for (item, shown) in [
            ("http.extraHeader=Authorization: Bearer pa55", "http.extraHeader=***"),
            ("http.https://h/x.EXTRAHEADER=X: pa55", "http.https://h/x.EXTRAHEADER=***"),
            ("url.https://ghp_pa55@h/.insteadOf=git@h:", "url.https://***@h/.insteadOf=git@h:"),
            ("http.proxy=http://u:pa55@h:3128", "http.proxy=http://u:***@h:3128"),
        ] {
            assert_eq!(redact_item(item), shown);
            assert!(item_holds_secret(item), "{item}");
        }
        for item in ["http.proxy=http://h:3128", "url.https://h/.insteadOf=git@h:", "http.extraHeader=", "*.py"] {
            assert_eq!(redact_item(item), item);
            assert!(!item_holds_secret(item), "{item}");
        }
    }

    #[test]
    fn passwords_and_tokens_are_hidden() {
        for (url, shown) in [
            ("https://user:pa55@host/x.git", "https://user:***@host/x.git"),
            ("https://user:p@55@host/x.git", "https://user:***@host/x.git"),
            ("https://user:pa/55@host/x.git", "https://user:***@host/x.git"),
            ("https://ghp_token@host/x.git", "https://***@host/x.git"),
            ("ssh://git:pa55@host:22/x", "ssh://git:***@host:22/x"),
        ] {
            assert_eq!(redact_url(url), shown);
        }
    }

    #[test]
    fn other_sources_stay_as_they_are() {
        for url in [
            "https://host:8443/a@b",
            "https://host/a@b.git",
            "ssh://git@host/x",
            "git@host:team/x.git",
            "http://[::1]:80/a@b",
            "/srv/dags",
            "",
        ] {
            assert_eq!(redact_url(url), url);
        }
    }
}
