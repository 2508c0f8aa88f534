//! Files that hold tokens, certificates and keys: bounded, read at every use so that they rotate, and never quoted.

use std::path::Path;

use crate::{Error, ErrorKind, Result, fs};

/// The most that a file with tokens holds, one a line.
pub const TOKENS_MAX: u64 = 16 << 10;
/// A shorter token can be guessed.
pub const TOKEN_MIN: usize = 16;
const PEM_MAX: u64 = 4 << 20;

/// What is wrong with a file with this line, which its author took for a comment; whoever sends it gets in.
pub const COMMENTED: &str = "has a line that begins with `#`: every line is a token, and there are no comments";

/// The secrets in a file, one a line.
pub fn lines(content: &[u8]) -> impl Iterator<Item = &[u8]> {
    content.split(|&byte| byte == b'\n').map(<[u8]>::trim_ascii).filter(|line| !line.is_empty())
}

/// Whether a line was meant as a comment.
pub fn is_comment(line: &[u8]) -> bool {
    line.starts_with(b"#")
}

/// The token to ask with: the first in `file`. While it rotates, further lines hold the next one or the one before.
/// `name` is what messages call the file, such as its setting.
///
/// # Errors
/// [`ErrorKind::Config`] when there is none, or something else.
pub fn token(name: &str, file: &Path) -> Result<String> {
    let bad = |what: &str| Error::new(ErrorKind::Config, "read token", format!("{name} {what}"));
    let content = fs::read(file, TOKENS_MAX)?.ok_or_else(|| bad("does not exist"))?;
    if lines(&content).any(is_comment) {
        return Err(bad(COMMENTED));
    }
    let token = lines(&content).next().ok_or_else(|| bad("is empty"))?;
    let is_text = token.iter().all(|byte| (b' '..=b'~').contains(byte));
    let token = std::str::from_utf8(token).ok().filter(|_| is_text);
    token.map(str::to_owned).ok_or_else(|| bad("holds what cannot be a token"))
}

/// The content of a file in PEM, which `name` is the name of in messages.
///
/// # Errors
/// [`ErrorKind::Config`] when it is not there.
pub fn pem(name: &str, file: &Path) -> Result<Vec<u8>> {
    let absent = || Error::new(ErrorKind::Config, "read certificates", format!("{name} does not exist"));
    fs::read(file, PEM_MAX)?.ok_or_else(absent)
}

/// A certificate with its chain and its key, as one text in PEM. Each comes with its name in messages.
///
/// # Errors
/// As of [`pem`].
pub fn identity(certificate: (&str, &Path), key: (&str, &Path)) -> Result<Vec<u8>> {
    Ok([pem(certificate.0, certificate.1)?, b"\n".to_vec(), pem(key.0, key.1)?].concat())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(content: &[u8]) -> Result<String> {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), content).unwrap();
        token("client.token_file", file.path())
    }

    #[test]
    fn the_first_line_of_a_token_file_is_the_token() {
        assert_eq!(read(b"\n  one-two \r\nthree\n").unwrap(), "one-two");
        let many = [&b"first\n"[..], &b"another-token\n".repeat(1000)].concat();
        assert_eq!(read(&many).unwrap(), "first", "a file that a daemon takes is one that a client takes");
    }

    #[test]
    fn a_comment_is_no_token() {
        for commented in [&b"# the token\nsecret-one"[..], b"secret-one\n  #old"] {
            let error = read(commented).unwrap_err().to_string();
            assert!(error.contains("client.token_file") && error.contains("`#`"), "{error}");
            assert!(!error.contains("secret-one") && !error.contains("old"), "{error}");
        }
    }

    #[test]
    fn what_is_no_token_is_told_without_it() {
        for (content, says) in [(&b" \n"[..], "is empty"), (b"a\tb", "cannot be"), (b"\xff\xfe", "cannot be")] {
            let error = read(content).unwrap_err();
            assert!(error.kind() == ErrorKind::Config && error.to_string().contains(says), "{error}");
        }
        let error = token("client.token_file", Path::new("/nonexistent")).unwrap_err();
        assert!(error.to_string().contains("client.token_file does not exist"), "{error}");
    }
}
