//! URLs without the secrets that people write into them.

/// Hides the password of a URL, and over HTTP a lone user name too: it usually is a token.
pub fn redact_url(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else { return url.to_owned() };
    let Some((user_info, host)) = split_user_info(rest) else { return url.to_owned() };
    match user_info.split_once(':') {
        Some((user, _)) => format!("{scheme}://{user}:***@{host}"),
        None if scheme.starts_with("http") => format!("{scheme}://***@{host}"),
        None => url.to_owned(),
    }
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
    user.contains(':') || scheme.starts_with("http") && is_token()
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
    use super::{holds_secret, redact_url};

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
