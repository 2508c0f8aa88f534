//! Credentials and host keys: what libgit2 asks for during a connection, answered from files that are read each time.

use std::path::{Path, PathBuf};

use dagsync_core::{Error, ErrorKind, Result, fs};
use git2::cert::Cert;
use git2::{CertificateCheckStatus, Cred, CredentialType};

use crate::location::Location;
use crate::settings::{HostKeyCheck, Secret, Settings};

const MAX_SECRET_BYTES: u64 = 64 << 10;
pub(crate) const MAX_KNOWN_HOSTS_BYTES: u64 = 4 << 20;

/// One connection's answers, and what has to be known to explain its failure.
#[derive(Debug)]
pub(crate) struct Answers<'a> {
    settings: &'a Settings,
    /// The repository that the credentials are meant for.
    main: &'a Location,
    /// Where this connection goes.
    location: &'a Location,
    /// Credentials were given once; libgit2 asks again when they are refused.
    offered: bool,
    /// Why no answer could be given; the error that libgit2 returns then says less.
    pub(crate) failure: Option<Error>,
    /// Type and SHA-256 of the host key that the server showed.
    pub(crate) host_key: Option<(String, String)>,
}

impl<'a> Answers<'a> {
    pub(crate) fn new(settings: &'a Settings, main: &'a Location, location: &'a Location) -> Self {
        Self { settings, main, location, offered: false, failure: None, host_key: None }
    }

    /// Answers libgit2's question for credentials.
    pub(crate) fn credentials(
        &mut self,
        url: &str,
        user: Option<&str>,
        allowed: CredentialType,
    ) -> Result<Cred, git2::Error> {
        let answer = self.answer(url, user, allowed);
        answer.unwrap_or_else(|e| {
            self.failure = Some(e);
            Err(git2::Error::from_str("no credentials"))
        })
    }

    fn answer(&mut self, url: &str, user: Option<&str>, allowed: CredentialType) -> Result<Result<Cred, git2::Error>> {
        if allowed.contains(CredentialType::USERNAME) {
            return Ok(Cred::username(self.ssh_user(user)));
        }
        if std::mem::replace(&mut self.offered, true) {
            return Err(self.refused());
        }
        if allowed.contains(CredentialType::SSH_MEMORY) {
            let (key, passphrase) = self.ssh_key()?;
            let passphrase = passphrase.as_ref().map(Secret::reveal);
            return Ok(Cred::ssh_key_from_memory(self.ssh_user(user), None, key.reveal(), passphrase));
        }
        if allowed.contains(CredentialType::USER_PASS_PLAINTEXT) {
            let (name, password) = self.password(url)?;
            return Ok(Cred::userpass_plaintext(&name, password.reveal()));
        }
        Err(self
            .unauthorized("the server offers no way to log in that is supported")
            .with_hint("supported are a key for ssh, and a user with a password or token for https"))
    }

    /// Notes the server's host key; whether it is trusted is for libgit2's check against `known_hosts` to say, which
    /// overlooks what is revoked there.
    pub(crate) fn certificate(&mut self, cert: &Cert<'_>) -> Result<CertificateCheckStatus, git2::Error> {
        let Some(key) = cert.as_hostkey() else { return Ok(CertificateCheckStatus::CertificatePassthrough) };
        let kind = key.hostkey_type().map_or("unknown", |t| t.name()).to_owned();
        let fingerprint = key.hash_sha256().map(|hash| format!("SHA256:{}", base64(hash))).unwrap_or_default();
        self.host_key = Some((kind, fingerprint));
        if self.settings.host_key_check == HostKeyCheck::Off {
            return Ok(CertificateCheckStatus::CertificateOk);
        }
        if let Err(revoked) = self.check_revoked(key.hostkey().unwrap_or_default()) {
            self.failure = Some(revoked);
            return Err(git2::Error::from_str("the host key is revoked"));
        }
        Ok(CertificateCheckStatus::CertificatePassthrough)
    }

    fn check_revoked(&self, key: &[u8]) -> Result<()> {
        let Some(file) = known_hosts(self.settings) else { return Ok(()) };
        let content = fs::read(&file, MAX_KNOWN_HOSTS_BYTES)?.unwrap_or_default();
        if !is_revoked(&String::from_utf8_lossy(&content), &base64(key)) {
            return Ok(());
        }
        let message = format!("{} shows a host key that is marked as revoked", self.location.host());
        Err(Error::new(ErrorKind::Untrusted, "connect", message)
            .with_context("git.known_hosts_file", file.display())
            .with_hint("whoever has the key may answer in its place: the server needs a new one"))
    }

    fn ssh_user<'b>(&'b self, user: Option<&'b str>) -> &'b str {
        let configured = Some(self.settings.username.as_str()).filter(|name| !name.is_empty());
        user.or(self.location.user()).or(configured).unwrap_or("git")
    }

    fn ssh_key(&self) -> Result<(Secret, Option<Secret>)> {
        let file = self.settings.ssh_key_file.as_deref().ok_or_else(|| {
            self.unauthorized("the server asks for a key and none is configured").with_hint("set git.ssh_key_file")
        })?;
        let passphrase = self.settings.ssh_key_passphrase_file.as_deref();
        let passphrase = passphrase.map(|file| secret_line("git.ssh_key_passphrase_file", file)).transpose()?;
        Ok((secret("git.ssh_key_file", file)?, passphrase))
    }

    fn password(&self, url: &str) -> Result<(String, Secret)> {
        let asking = Location::parse(url).unwrap_or_else(|_| self.location.clone());
        if !self.main.shares_secrets_with(&asking) {
            return Err(self
                .unauthorized(&format!("{} asks for a password", asking.host()))
                .with_hint("credentials are sent to the host of the source only"));
        }
        let settings = self.settings;
        let (default_user, password) = match (&settings.token_file, &settings.password_file) {
            (Some(file), _) => ("x-access-token", secret_line("git.token_file", file)?),
            (_, Some(file)) => ("git", secret_line("git.password_file", file)?),
            _ => ("git", settings.password.clone()),
        };
        let configured = Some(settings.username.as_str()).filter(|name| !name.is_empty());
        let user = configured.or(self.main.user());
        if password.reveal().is_empty() && user.is_none() {
            return Err(self
                .unauthorized("the server asks for credentials and none are configured")
                .with_hint("set git.token_file, or git.username and git.password_file; a repository that does not exist may ask too"));
        }
        Ok((user.unwrap_or(default_user).to_owned(), password))
    }

    /// The server asked again after it was given credentials.
    fn refused(&self) -> Error {
        if !self.location.is_ssh() {
            return self.unauthorized("the server refused user and password or token").with_hint(
                "check git.username and the file of git.password_file or git.token_file; a token may have expired",
            );
        }
        let key = self.settings.ssh_key_file.as_deref().unwrap_or(Path::new(""));
        self.unauthorized("the server refused the key").with_context("git.ssh_key_file", key.display()).with_hint(
            "add its public half to the repository's deploy keys; check that key and passphrase belong together",
        )
    }

    fn unauthorized(&self, message: &str) -> Error {
        Error::new(ErrorKind::Unauthorized, "log in", message).with_context("url", self.location)
    }
}

/// Whether a line of `known_hosts` revokes the key. For whichever hosts it does: such a key is no longer secret.
fn is_revoked(known_hosts: &str, key: &str) -> bool {
    let revoked = known_hosts.lines().filter_map(|line| line.trim_start().strip_prefix("@revoked"));
    revoked.flat_map(str::split_whitespace).any(|word| word.trim_end_matches('=') == key)
}

/// Where the trusted host keys stand: the configured file or the user's own.
pub(crate) fn known_hosts(settings: &Settings) -> Option<PathBuf> {
    let own = || std::env::var_os("HOME").map(|home| Path::new(&home).join(".ssh/known_hosts"));
    settings.known_hosts_file.clone().or_else(own)
}

fn secret(setting: &'static str, file: &Path) -> Result<Secret> {
    let fail = |why: &str| {
        Error::new(ErrorKind::Unauthorized, "read credentials", why)
            .with_context(setting, file.display())
            .with_hint("check that the Secret is mounted and that the process may read it (fsGroup)")
    };
    let bytes = fs::read(file, MAX_SECRET_BYTES).map_err(|e| fail("the file cannot be read").with_source(e))?;
    let text = String::from_utf8(bytes.ok_or_else(|| fail("the file is not there"))?);
    let text = text.map_err(|_| fail("the file is not text"))?;
    if text.trim().is_empty() || text.contains('\0') {
        return Err(fail("the file is empty or not text"));
    }
    Ok(Secret::new(text))
}

/// A secret of one line; editors and `echo` end it with a newline that does not belong to it.
fn secret_line(setting: &'static str, file: &Path) -> Result<Secret> {
    let text = secret(setting, file)?;
    let line = text.reveal().trim_end_matches(['\r', '\n']);
    if line.contains(['\r', '\n']) {
        let error = Error::new(ErrorKind::Unauthorized, "read credentials", "the file has more than one line");
        return Err(error.with_context(setting, file.display()));
    }
    Ok(Secret::new(line))
}

/// Base64 without padding, as OpenSSH prints fingerprints.
fn base64(bytes: &[u8]) -> String {
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

    #[test]
    fn a_secret_file_loses_its_newline_only() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("token");
        let read = |content: &str| {
            fs::write_atomic(&file, content.as_bytes()).unwrap();
            secret_line("git.token_file", &file)
        };
        assert_eq!(read("s3cret\r\n").unwrap().reveal(), "s3cret");
        assert_eq!(read(" s3 cret ").unwrap().reveal(), " s3 cret ");
        for bad in ["", "\n", "s3cret\ns3cret\n"] {
            let error = read(bad).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Unauthorized);
            assert!(error.to_string().contains("git.token_file") && !error.to_string().contains("s3cret"), "{error}");
        }
    }

    fn settings(token: &Path) -> Settings {
        let text = |name: &str| match name {
            "depth" => 1.into(),
            "token_file" => token.to_str().unwrap().into(),
            "submodules" | "verify" => "off".into(),
            "host_key_check" => "strict".into(),
            _ => serde_json::Value::from(""),
        };
        let names = crate::settings::TABLE.iter().map(|s| s.name.trim_start_matches("git."));
        serde_json::from_value(names.map(|name| (name.to_owned(), text(name))).collect()).unwrap()
    }

    #[test]
    fn a_token_goes_to_the_host_of_the_source_only_and_only_once() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("token");
        fs::write_atomic(&file, b"s3cret\n").unwrap();
        let settings = settings(&file);
        let main = Location::parse("https://git.local/org/dags.git").unwrap();
        let other = Location::parse("https://evil.local/lib.git").unwrap();
        let allowed = CredentialType::USER_PASS_PLAINTEXT;

        let mut answers = Answers::new(&settings, &main, &main);
        assert!(answers.credentials("https://git.local/org/dags.git", None, allowed).is_ok());
        assert!(answers.credentials("https://git.local/org/dags.git", None, allowed).is_err());
        assert!(answers.failure.take().unwrap().to_string().contains("refused user and password or token"));

        for (location, url) in [
            (&other, "https://evil.local/lib.git"),
            (&main, "https://evil.local/redirected"),
            (&main, "http://git.local/org/dags.git"),
        ] {
            let mut answers = Answers::new(&settings, &main, location);
            assert!(answers.credentials(url, None, allowed).is_err(), "{url}");
            let failure = answers.failure.take().unwrap();
            assert_eq!(failure.kind(), ErrorKind::Unauthorized);
            assert!(!failure.to_string().contains("s3cret"), "{failure}");
        }
    }

    #[test]
    fn a_rotated_token_is_read_anew() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("token");
        let settings = settings(&file);
        let main = Location::parse("https://git.local/dags").unwrap();
        let password = || Answers::new(&settings, &main, &main).password("https://git.local/dags");
        assert_eq!(password().unwrap_err().kind(), ErrorKind::Unauthorized);
        for token in ["one", "two"] {
            fs::write_atomic(&file, token.as_bytes()).unwrap();
            let (user, secret) = password().unwrap();
            assert_eq!((user.as_str(), secret.reveal()), ("x-access-token", token));
        }
    }
}
