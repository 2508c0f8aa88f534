//! User and password from a URL, as git-sync asks for them.

use std::path::Path;

use dagsync_core::{ErrorKind, Interrupt, Result};
use reqwest::StatusCode;

use crate::secret::Secret;
use crate::web::{self, Endpoint};

const SETTING: &str = "git.askpass_url";

/// Asks `url`, which answers with lines `username=…` and `password=…`.
pub(crate) fn ask(url: &str, ca_file: Option<&Path>, interrupt: &Interrupt) -> Result<(String, Secret)> {
    let url = web::parse(SETTING, url)?;
    let endpoint = Endpoint { operation: "ask for credentials", setting: SETTING, url, ca_file };
    let (status, body) = endpoint.call(interrupt, |client, url| client.get(url))?;
    if status != StatusCode::OK {
        return Err(endpoint.refused(status).with_hint("only an answer with status 200 holds credentials"));
    }
    // The body is no part of any error: it may hold the secret.
    read(&String::from_utf8_lossy(&body)).ok_or_else(|| {
        endpoint
            .error(ErrorKind::Unauthorized, "the answer holds no password")
            .with_hint("it must have the lines username=… and password=…")
    })
}

fn read(body: &str) -> Option<(String, Secret)> {
    let value = |key: &str| body.lines().rev().find_map(|line| line.strip_prefix(key)?.strip_prefix('='));
    Some((value("username").unwrap_or_default().to_owned(), Secret::new(value("password").filter(|p| !p.is_empty())?)))
}

#[cfg(test)]
mod tests {
    use super::read;

    #[test]
    fn lines_are_read_in_any_order_and_others_are_passed_over() {
        let (user, password) = read("host=h\r\npassword=a=b c \r\nusername=ada\r\n").unwrap();
        assert_eq!((user.as_str(), password.reveal()), ("ada", "a=b c "));
        for none in ["", "username=ada\n", "password=\n", "passwords=x", "<html>password=x</html>"] {
            assert!(read(none).is_none(), "{none}");
        }
    }
}
