//! Where to listen: `host:port`, without a host everywhere.

use std::fmt;
use std::str::FromStr;

/// An address to listen on. The host is an IP address or a name; without one it is every address of the pod.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bind {
    /// The host; empty: every address, of IPv6 and IPv4.
    pub host: String,
    /// The port; 0: any that is free.
    pub port: u16,
}

impl Bind {
    /// The same as an address that can be asked on this host: one to listen on everywhere is none to ask.
    #[must_use]
    pub fn to_ask(&self) -> Self {
        let host = match self.host.as_str() {
            "" | "0.0.0.0" => "127.0.0.1",
            "::" => "::1",
            host => host,
        };
        Self { host: host.to_owned(), port: self.port }
    }
}

impl FromStr for Bind {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        const RULE: &str = "must be a host and a port, such as :8466, 127.0.0.1:8466, [::1]:8466 or localhost:8466";
        let (host, port) = text.rsplit_once(':').ok_or(RULE)?;
        let is_name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
        let host = match host.strip_prefix('[').and_then(|h| h.strip_suffix(']')) {
            Some(inside) if inside.parse::<std::net::Ipv6Addr>().is_ok() => inside,
            None if host.chars().all(is_name) => host,
            _ => return Err(RULE),
        };
        let port = Some(port).filter(|p| p.bytes().all(|b| b.is_ascii_digit())).and_then(|p| p.parse().ok());
        Ok(Self { host: host.to_owned(), port: port.ok_or(RULE)? })
    }
}

impl fmt::Display for Bind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            return write!(f, "[{}]:{}", self.host, self.port);
        }
        write!(f, "{}:{}", self.host, self.port)
    }
}

#[cfg(test)]
mod tests {
    use super::Bind;

    #[test]
    fn hosts_ports_and_what_is_asked() {
        for (text, asked) in [
            (":1234", "127.0.0.1:1234"),
            ("0.0.0.0:1", "127.0.0.1:1"),
            ("[::]:1", "[::1]:1"),
            ("10.0.0.7:1", "10.0.0.7:1"),
            ("localhost:8466", "localhost:8466"),
        ] {
            let bind: Bind = text.parse().unwrap();
            assert_eq!((bind.to_string(), bind.to_ask().to_string()), (text.to_owned(), asked.to_owned()));
        }
        for text in ["", "1234", ":", "::1:80", "h:http", ":65536", ":+1", "[h]:1", "a b:1", "http://h:1", "[::1:1"] {
            assert!(text.parse::<Bind>().is_err(), "{text}");
        }
    }
}
