//! The list of git's configuration as git-sync writes it: `section.name:value,"section.sub.name":"value"`.

use std::iter::Peekable;
use std::str::Chars;

type Rest<'a> = Peekable<Chars<'a>>;

/// The entries of a list, as pairs. Where a key or value is not quoted, it ends at the next `:` or `,`.
///
/// # Errors
/// What is wrong, without any value: it may be a secret.
pub(super) fn parse(text: &str) -> Result<Vec<(String, String)>, String> {
    let mut rest = text.chars().peekable();
    let mut entries = Vec::new();
    while rest.peek().is_some() {
        let key = key(&mut rest)?;
        let value = value(&mut rest).map_err(|why| format!("the value of {key:?} {why}"))?;
        entries.push((key, value));
    }
    Ok(entries)
}

fn key(rest: &mut Rest<'_>) -> Result<String, String> {
    if rest.next_if_eq(&'"').is_some() {
        let key = quoted(rest).map_err(|why| format!("a key {why}"))?;
        return match rest.next() {
            Some(':') => Ok(key),
            _ => Err(format!("after the key {key:?} there is no `:`")),
        };
    }
    let mut key = String::new();
    for c in rest {
        if c == ':' {
            return Ok(key);
        }
        key.push(c);
    }
    Err("an entry has no `:` between key and value".to_owned())
}

fn value(rest: &mut Rest<'_>) -> Result<String, String> {
    if rest.next_if_eq(&'"').is_some() {
        let value = quoted(rest)?;
        return match rest.next() {
            None | Some(',') => Ok(value),
            Some(_) => Err("goes on behind its closing quote".to_owned()),
        };
    }
    if rest.peek().is_none() {
        return Err("is missing".to_owned());
    }
    let mut value = String::new();
    while let Some(c) = rest.next() {
        match c {
            ',' => break,
            '\\' => value.push(escaped(rest)?),
            c => value.push(c),
        }
    }
    Ok(value)
}

/// What follows an opening quote, up to the closing one.
fn quoted(rest: &mut Rest<'_>) -> Result<String, String> {
    let mut text = String::new();
    while let Some(c) = rest.next() {
        match c {
            '"' => return Ok(text),
            '\\' => text.push(escaped(rest)?),
            c => text.push(c),
        }
    }
    Err("has no closing quote".to_owned())
}

fn escaped(rest: &mut Rest<'_>) -> Result<char, String> {
    match rest.next() {
        Some('n') => Ok('\n'),
        Some('t') => Ok('\t'),
        Some(c @ ('"' | ',' | '\\')) => Ok(c),
        Some(c) => Err(format!("has the escape \\{c}; there are \\n, \\t, \\\", \\, and \\\\")),
        None => Err("ends with a backslash".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_are_read_as_git_sync_writes_them() {
        for (text, expected) in [
            ("", &[][..]),
            ("http.proxy:http://p:3128", &[("http.proxy", "http://p:3128")]),
            (r#""k":"v",a.b:c d,"#, &[("k", "v"), ("a.b", "c d")]),
            (r#""http.https://h:8443/.proxy":"p""#, &[("http.https://h:8443/.proxy", "p")]),
            (r"k.a\tb:v", &[(r"k.a\tb", "v")]),
            (r#""a\t\n\\b,c":v"#, &[("a\t\n\\b,c", "v")]),
            (r#"k:v\n\t\\\"\,1,l:w"#, &[("k", "v\n\t\\\",1"), ("l", "w")]),
            (r#"k:"v,1",l:" w ""#, &[("k", "v,1"), ("l", " w ")]),
        ] {
            let found = parse(text).unwrap();
            assert!(found.iter().map(|(k, v)| (k.as_str(), v.as_str())).eq(expected.iter().copied()), "{found:?}");
        }
    }

    #[test]
    fn what_is_no_list_is_refused_without_its_values() {
        for (text, part) in [
            ("abc", "no `:`"),
            (r#""k"x:v"#, "there is no `:`"),
            (r#""k\xk":v"#, r"the escape \x"),
            ("k:", "is missing"),
            (r#"k:"pa55"x"#, "behind its closing quote"),
            (r#"k:"pa55"#, "no closing quote"),
            (r#""k:v"#, "no closing quote"),
            (r"k:pa55\", "backslash"),
        ] {
            let error = parse(text).unwrap_err();
            assert!(error.contains(part) && !error.contains("pa55"), "{text}: {error}");
        }
    }
}
