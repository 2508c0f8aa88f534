//! Host keys: where those stand that are trusted, and which are revoked.

use std::path::{Path, PathBuf};

use dagsync_core::{Error, ErrorKind, Result, fs};

use crate::location::Location;
use crate::settings::Settings;

pub(crate) const MAX_KNOWN_HOSTS_BYTES: u64 = 4 << 20;

/// Where the trusted host keys stand: the configured file or the user's own.
pub(crate) fn known_hosts(settings: &Settings) -> Option<PathBuf> {
    let own = || std::env::var_os("HOME").map(|home| Path::new(&home).join(".ssh/known_hosts"));
    settings.known_hosts_file.clone().or_else(own)
}

/// Refuses a key that is marked as revoked, which libgit2 overlooks.
pub(crate) fn check_revoked(settings: &Settings, location: &Location, key: &[u8]) -> Result<()> {
    let Some(file) = known_hosts(settings) else { return Ok(()) };
    let content = fs::read(&file, MAX_KNOWN_HOSTS_BYTES)?.unwrap_or_default();
    if !is_revoked(&String::from_utf8_lossy(&content), &base64(key)) {
        return Ok(());
    }
    let message = format!("{} shows a host key that is marked as revoked", location.host());
    Err(Error::new(ErrorKind::Untrusted, "connect", message)
        .with_context("git.known_hosts_file", file.display())
        .with_hint("whoever has the key may answer in its place: the server needs a new one"))
}

/// Whether a line of `known_hosts` revokes the key. For whichever hosts it does: such a key is no longer secret.
fn is_revoked(known_hosts: &str, key: &str) -> bool {
    let revoked = known_hosts.lines().filter_map(|line| line.trim_start().strip_prefix("@revoked"));
    revoked.flat_map(str::split_whitespace).any(|word| word.trim_end_matches('=') == key)
}

/// Base64 without padding, as OpenSSH prints fingerprints.
pub(crate) fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for chunk in bytes.chunks(3) {
        let group = (0..3).fold(0, |group, i| group << 8 | u32::from(chunk.get(i).copied().unwrap_or(0)));
        for digit in 0..=chunk.len() {
            text.push(char::from(DIGITS[(group >> (18 - 6 * digit) & 63) as usize]));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fingerprints_look_like_those_of_openssh() {
        assert_eq!(base64(b""), "");
        assert_eq!(base64(b"f"), "Zg");
        assert_eq!(base64(b"fo"), "Zm8");
        assert_eq!(base64(b"foobar"), "Zm9vYmFy");
        assert_eq!(base64(&[0xff; 32]), "//////////////////////////////////////////8");
    }

    #[test]
    fn a_revoked_key_is_found_whatever_the_host_is_called() {
        let file = "h ssh-ed25519 AAAAgood\n@revoked * ssh-ed25519 AAAAbad=\n @revoked\t|1|x=|y= ssh-rsa AAAAworse== why\n\
                    # @revoked h ssh-rsa AAAAnote\n@cert-authority * ssh-rsa AAAAca\n";
        assert!(is_revoked(file, "AAAAbad") && is_revoked(file, "AAAAworse"));
        for good in ["AAAAgood", "AAAAnote", "AAAAca"] {
            assert!(!is_revoked(file, good), "{good}");
        }
    }
}
