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
    use super::redact_url;

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
