//! How a registry asks who one is: the challenges of `WWW-Authenticate` (RFC 9110, section 11.6.1).

use std::collections::BTreeMap;

/// One way to say who one is.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Challenge {
    /// In small letters.
    pub(super) scheme: String,
    /// Their names in small letters.
    pub(super) parameters: BTreeMap<String, String>,
}

/// Those of all headers: there may be several headers, and several challenges in one.
pub(super) fn challenges<'a>(headers: impl Iterator<Item = &'a str>) -> Vec<Challenge> {
    let mut found: Vec<Challenge> = Vec::new();
    for item in headers.flat_map(items) {
        let (first, rest) = item.split_once([' ', '\t']).unwrap_or((item, ""));
        let is_scheme = !first.contains('=') && !rest.trim_start().starts_with('=');
        if is_scheme {
            found.push(Challenge { scheme: first.to_ascii_lowercase(), parameters: BTreeMap::new() });
        }
        let parameter = if is_scheme { rest } else { item };
        if let (Some(challenge), Some((name, value))) = (found.last_mut(), parameter.split_once('=')) {
            challenge.parameters.insert(name.trim().to_ascii_lowercase(), unquoted(value.trim()));
        }
    }
    found
}

/// What lies between commas outside of quotes.
fn items(header: &str) -> Vec<&str> {
    let (mut is_quoted, mut is_escaped) = (false, false);
    let items = header.split(|c| {
        let is_end = c == ',' && !is_quoted;
        is_quoted ^= c == '"' && !is_escaped;
        is_escaped = c == '\\' && is_quoted && !is_escaped;
        is_end
    });
    items.map(str::trim).filter(|item| !item.is_empty()).collect()
}

fn unquoted(value: &str) -> String {
    let Some(quoted) = value.strip_prefix('"') else { return value.to_owned() };
    let mut is_escaped = false;
    let inner = quoted.strip_suffix('"').unwrap_or(quoted).chars().filter(|c| {
        is_escaped = *c == '\\' && !is_escaped;
        !is_escaped
    });
    inner.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_challenge_is_read_with_commas_inside_its_quotes() {
        let header = "Bearer realm=\"https://auth.h/token\",service=\"reg, \\\"is\\\\try\", scope=\"a,b\" ,error=x";
        let found = challenges([header].into_iter());
        let of = |name: &str| found[0].parameters.get(name).map(String::as_str);
        assert_eq!((found.len(), found[0].scheme.as_str()), (1, "bearer"));
        assert_eq!(
            (of("realm"), of("service"), of("scope"), of("error")),
            (Some("https://auth.h/token"), Some("reg, \"is\\try"), Some("a,b"), Some("x"))
        );
        for odd in ["", "Basic", "Bearer realm", "Bearer realm=\"x", "=,=,=", "a=b", ",\"\\", "Bearer =", "\u{e4}, \""]
        {
            challenges([odd].into_iter());
        }
    }

    #[test]
    fn several_challenges_are_told_apart() {
        let schemes = |headers: &[&str]| {
            let found = challenges(headers.iter().copied());
            found.into_iter().map(|c| (c.scheme, c.parameters.get("realm").cloned())).collect::<Vec<_>>()
        };
        let both = vec![("negotiate".to_owned(), None), ("basic".to_owned(), Some("x, y".to_owned()))];
        assert_eq!(schemes(&["Negotiate", "Basic realm=\"x, y\""]), both);
        assert_eq!(schemes(&["Negotiate, Basic realm=\"x, y\", charset=\"UTF-8\""]), both);
        assert_eq!(schemes(&["Negotiate YWJj==,BASIC\tRealm = \"x, y\""]), both);
    }
}
