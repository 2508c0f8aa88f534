//! Cookies from a file in Netscape's format, as curl and git's `http.cookieFile` read it.

use crate::location::Location;

/// One line of the file.
struct Cookie<'a> {
    domain: &'a str,
    subdomains: bool,
    path: &'a str,
    secure: bool,
    /// Seconds since 1970; 0: until the session ends, which never comes here.
    expires: u64,
    pair: (&'a str, &'a str),
}

/// The value of the header `Cookie` for `location`; `None` when the file has no cookie for it.
pub(crate) fn header(file: &str, location: &Location, now: u64) -> Option<String> {
    let mut cookies: Vec<Cookie<'_>> = file.lines().filter_map(parse).filter(|c| c.is_for(location, now)).collect();
    // As RFC 6265 asks for it, the more specific first.
    cookies.sort_by_key(|c| std::cmp::Reverse(c.path.len()));
    let pairs: Vec<String> =
        cookies.iter().map(|Cookie { pair: (name, value), .. }| format!("{name}={value}")).collect();
    (!pairs.is_empty()).then(|| pairs.join("; "))
}

fn parse(line: &str) -> Option<Cookie<'_>> {
    let line = line.strip_prefix("#HttpOnly_").or(Some(line).filter(|l| !l.starts_with('#')))?;
    let mut fields = line.splitn(7, '\t');
    let mut next = || fields.next();
    let (domain, subdomains, path, secure) = (next()?, next()?, next()?, next()?);
    let (expires, name, value) = (next()?.trim().parse().ok()?, next()?, next().unwrap_or_default().trim_end());
    let clean = |text: &str| !text.contains(|c: char| c.is_control() || c == ';');
    (!name.is_empty() && clean(name) && clean(value)).then_some(Cookie {
        domain: domain.trim_start_matches('.'),
        subdomains: subdomains.eq_ignore_ascii_case("true"),
        path,
        secure: secure.eq_ignore_ascii_case("true"),
        expires,
        pair: (name, value),
    })
}

impl Cookie<'_> {
    fn is_for(&self, location: &Location, now: u64) -> bool {
        let host = location.host().to_ascii_lowercase();
        let domain = self.domain.to_ascii_lowercase();
        let below = || host.strip_suffix(&domain).is_some_and(|rest| rest.ends_with('.'));
        let is_address = host.parse::<std::net::Ipv4Addr>().is_ok() || host.starts_with('[');
        let is_host = !domain.is_empty() && (host == domain || self.subdomains && !is_address && below());
        // What git asks for lies below the repository.
        let asked = format!("{}/info/refs", location.path().trim_end_matches('/'));
        let path = self.path.trim_end_matches('/');
        let is_path = asked.strip_prefix(path).is_some_and(|rest| rest.starts_with('/'));
        let is_current = self.expires == 0 || self.expires > now;
        let is_safe = location.is_https() || location.is_http() && !self.secure;
        is_host && is_path && is_current && is_safe
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = "# Netscape HTTP Cookie File\n\
        .git.local\tTRUE\t/\tTRUE\t0\to\tgit-ada=1//x=\n\
        #HttpOnly_git.local\tFALSE\t/org/\tFALSE\t200\thttp\tonly\n\
        git.local\tFALSE\t/org/dags.git\tFALSE\t50\told\tx\n\
        other.local\tTRUE\t/\tFALSE\t0\tother\tx\n\
        10.0.0.1\tTRUE\t/\tFALSE\t0\tip\tx\n\
        a broken line\n\
        git.local\tFALSE\t/\tFALSE\t0\tbad\ta;b\n";

    fn cookies(url: &str) -> Option<String> {
        header(FILE, &Location::parse(url).unwrap(), 100)
    }

    #[test]
    fn only_what_is_meant_for_host_path_and_scheme_is_sent() {
        assert_eq!(cookies("https://git.local/org/dags.git").as_deref(), Some("http=only; o=git-ada=1//x="));
        assert_eq!(cookies("https://git.local/organ/x").as_deref(), Some("o=git-ada=1//x="));
        assert_eq!(cookies("https://eu.git.local/org/x").as_deref(), Some("o=git-ada=1//x="), "a subdomain");
        assert_eq!(cookies("http://git.local/org/x").as_deref(), Some("http=only"), "nothing secure in the clear");
        assert_eq!(cookies("http://10.0.0.1/x").as_deref(), Some("ip=x"));
        for none in ["https://evilgit.local/org/x", "http://git.local/x", "https://local/x", "ssh://git.local/org/x"] {
            assert_eq!(cookies(none), None, "{none}");
        }
        assert_eq!(cookies("http://1.10.0.0.1.local/x"), None);
    }
}
