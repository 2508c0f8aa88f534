//! Signatures by ssh keys (SSHSIG), and the file of allowed signers as ssh-keygen(1) describes it.

use std::time::SystemTime;

use ssh_key::public::KeyData;
use ssh_key::{HashAlg, PublicKey, SshSig};

use super::Refusal;
use super::object::Signed;

/// What git signs for; a signature for anything else, such as a file or an e-mail, does not count.
const NAMESPACE: &str = "git";
const BEGIN: &str = "-----BEGIN SSH SIGNATURE-----";
const END: &str = "-----END SSH SIGNATURE-----";
/// The line length that the decoder expects; OpenSSH takes any.
const WIDTH: usize = 70;

/// The keys that may sign.
#[derive(Debug)]
pub(super) struct AllowedSigners(Vec<Signer>);

/// One line of the file.
#[derive(Debug)]
struct Signer {
    /// Patterns of names. git asks for none of them, so they only tell who it was.
    principals: String,
    key: KeyData,
    namespaces: Option<String>,
    valid_after: Option<SystemTime>,
    valid_before: Option<SystemTime>,
}

impl AllowedSigners {
    /// Reads the file; a line that is not understood is an error, for it may have been meant to restrict.
    pub(super) fn parse(content: &[u8]) -> Result<Self, String> {
        let text = std::str::from_utf8(content).map_err(|_| "the file is no text".to_owned())?;
        let mut signers = Vec::new();
        for (number, line) in text.lines().map(str::trim).enumerate() {
            if !line.is_empty() && !line.starts_with('#') {
                signers.push(Signer::parse(line).map_err(|why| format!("line {}: {why}", number + 1))?);
            }
        }
        if signers.is_empty() {
            return Err("the file names no key".to_owned());
        }
        Ok(Self(signers))
    }

    /// The principals and the fingerprint of who signed.
    pub(super) fn check(&self, signed: &Signed, signature: &[u8]) -> Result<String, Refusal> {
        let signature = decode(signature)?;
        let key = signature.public_key();
        let fingerprint = key.fingerprint(HashAlg::Sha256);
        let lines: Vec<&Signer> = self.0.iter().filter(|line| line.key == *key).collect();
        let [first, ..] = lines[..] else {
            return Err(Refusal::of(fingerprint, "its signer is not in git.allowed_signers_file"));
        };
        let who = format!("{} {fingerprint}", first.principals);
        if signature.namespace() != NAMESPACE {
            // Anybody can write it, at any length.
            let namespace: String = signature.namespace().chars().take(40).collect();
            let message = format!("its signature is for {namespace:?}, not for {NAMESPACE:?}");
            return Err(Refusal::of(who, message));
        }
        if let Err(e) = PublicKey::from(key.clone()).verify(NAMESPACE, &signed.payload, &signature) {
            return Err(Refusal::of(who, format!("the signature does not match its content ({e})")));
        }
        let mut refusal = None;
        for line in lines {
            match line.allows(signed.time) {
                Ok(()) => return Ok(format!("{} {fingerprint}", line.principals)),
                Err(message) => refusal = Some(Refusal::of(format!("{} {fingerprint}", line.principals), message)),
            }
        }
        Err(refusal.unwrap_or_else(|| Refusal::new("no line allows it")))
    }
}

impl Signer {
    fn parse(line: &str) -> Result<Self, String> {
        let (principals, rest) = field(line);
        let (options, key) = match PublicKey::from_openssh(rest) {
            Ok(key) => ("", key),
            Err(_) => {
                let (options, key) = field(rest);
                let key = PublicKey::from_openssh(key)
                    .map_err(|e| format!("principals, options and a public key are expected: {e}"))?;
                (options, key)
            }
        };
        let mut signer = Self {
            principals: principals.replace('"', ""),
            key: key.key_data().clone(),
            namespaces: None,
            valid_after: None,
            valid_before: None,
        };
        for option in split(options, |c| c == ',').into_iter().filter(|option| !option.is_empty()) {
            signer.set(option)?;
        }
        Ok(signer)
    }

    fn set(&mut self, option: &str) -> Result<(), String> {
        let (name, value) = option.split_once('=').unwrap_or((option, ""));
        let value = value.trim_matches('"');
        let time = || time(value).ok_or_else(|| format!("{value:?} is no time; it is written YYYYMMDD[HHMM[SS]][Z]"));
        match name.to_ascii_lowercase().as_str() {
            "namespaces" => self.namespaces = Some(value.to_owned()),
            "valid-after" => self.valid_after = Some(time()?),
            "valid-before" => self.valid_before = Some(time()?),
            "cert-authority" => return Err("certificates are not supported: list the signers' own keys".to_owned()),
            _ => return Err(format!("the option {name:?} is not known")),
        }
        Ok(())
    }

    /// As git does, the key has to be valid when the commit or tag says that it was made: what was good stays good. Who
    /// has a stolen key can choose that time, so its line has to go.
    fn allows(&self, made: Option<SystemTime>) -> Result<(), &'static str> {
        if self.namespaces.as_ref().is_some_and(|list| !matches_list(NAMESPACE, list)) {
            return Err("its signer may not sign for git");
        }
        if self.valid_after.is_none() && self.valid_before.is_none() {
            return Ok(());
        }
        let made = made.ok_or("it does not say when it was made, and its signer is valid for a time only")?;
        if self.valid_after.is_some_and(|after| made < after) {
            return Err("it was made before its signer's valid-after");
        }
        if self.valid_before.is_some_and(|before| made > before) {
            return Err("it was made after its signer's valid-before");
        }
        Ok(())
    }
}

fn decode(signature: &[u8]) -> Result<SshSig, Refusal> {
    let other = || Refusal::new("it is not signed by an ssh key, which git.verify = ssh asks for");
    let text = std::str::from_utf8(signature).map_err(|_| other())?;
    let body = text.trim().strip_prefix(BEGIN).and_then(|rest| rest.strip_suffix(END)).ok_or_else(other)?;
    let base64: Vec<u8> = body.bytes().filter(|byte| !byte.is_ascii_whitespace()).collect();
    let mut pem = format!("{BEGIN}\n").into_bytes();
    for line in base64.chunks(WIDTH) {
        pem.extend(line);
        pem.push(b'\n');
    }
    pem.extend(format!("{END}\n").into_bytes());
    // The decoder knows neither; both are refused with everything else that it does not know.
    let unsupported = "certificates and RSA with SHA-1 are not accepted";
    SshSig::from_pem(pem).map_err(|e| Refusal::new(format!("its signature cannot be read ({e}); {unsupported}")))
}

/// The first field of a line and the rest.
fn field(line: &str) -> (&str, &str) {
    let first = split(line, char::is_whitespace)[0];
    (first, line[first.len()..].trim_start())
}

/// Splits at separators outside quotes.
fn split(text: &str, is_separator: impl Fn(char) -> bool) -> Vec<&str> {
    let mut quoted = false;
    let at = |c: char| {
        quoted ^= c == '"';
        !quoted && is_separator(c)
    };
    text.split(at).collect()
}

/// A time in UTC; ssh-keygen takes those without `Z` for the host's own, which in a container is UTC too.
fn time(text: &str) -> Option<SystemTime> {
    let digits = text.strip_suffix(['Z', 'z']).unwrap_or(text);
    let digits = match digits.len() {
        8 => format!("{digits}000000"),
        12 => format!("{digits}00"),
        14 => digits.to_owned(),
        _ => return None,
    };
    let part = |from, to| digits.get(from..to);
    let (date, clock) = ((part(0, 4)?, part(4, 6)?, part(6, 8)?), (part(8, 10)?, part(10, 12)?, part(12, 14)?));
    humantime::parse_rfc3339(&format!("{}-{}-{}T{}:{}:{}Z", date.0, date.1, date.2, clock.0, clock.1, clock.2)).ok()
}

/// Whether a list of patterns with `*`, `?` and a leading `!` for "not" matches, as in ssh_config(5).
fn matches_list(text: &str, list: &str) -> bool {
    let patterns = || list.split(',').map(str::trim);
    let refused = patterns().filter_map(|p| p.strip_prefix('!')).any(|p| matches(text.as_bytes(), p.as_bytes()));
    !refused && patterns().any(|p| matches(text.as_bytes(), p.as_bytes()))
}

fn matches(text: &[u8], pattern: &[u8]) -> bool {
    match (pattern, text) {
        ([], _) => text.is_empty(),
        ([b'*', rest @ ..], _) => (0..=text.len()).any(|skip| matches(&text[skip..], rest)),
        ([b'?', rest @ ..], [_, text @ ..]) => matches(text, rest),
        ([first, rest @ ..], [c, text @ ..]) => first == c && matches(text, rest),
        (_, []) => false,
    }
}

#[cfg(test)]
#[path = "ssh_tests.rs"]
mod tests;
