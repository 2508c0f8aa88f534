//! What libgit2 asks for during a connection: credentials, which are read each time, and trust in a server's key.

use std::path::PathBuf;

use dagsync_core::{Error, ErrorKind, Outcome, Result};
use git2::cert::Cert;
use git2::{CertificateCheckStatus, Cred, CredentialType};

use crate::hosts::{base64, check_revoked};
use crate::location::Location;
use crate::remote::Network;
use crate::secret::Secret;
use crate::settings::ServerCheck;
use crate::{askpass, credentials};

/// Where a password was from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Offer {
    /// The list of credentials.
    Listed,
    /// What is for the host of the source.
    Main,
}

/// One connection's answers, and what has to be known to explain its failure.
pub(crate) struct Answers<'a> {
    network: Network<'a>,
    /// Where this connection goes.
    location: &'a Location,
    /// The keys for ssh that are still to be tried, the next one last.
    pub(crate) keys: Vec<PathBuf>,
    /// The key that was offered last.
    pub(crate) key: Option<PathBuf>,
    /// The password that was given last; libgit2 asks again when it is refused.
    offered: Option<Offer>,
    /// The GitHub App's token was given from memory: it may be over before its time.
    remembered: bool,
    /// Why no answer could be given; the error that libgit2 returns then says less.
    pub(crate) failure: Option<Error>,
    /// Type and SHA-256 of the host key that the server showed.
    pub(crate) host_key: Option<(String, String)>,
}

impl<'a> Answers<'a> {
    pub(crate) fn new(network: Network<'a>, location: &'a Location, keys: Vec<PathBuf>) -> Self {
        Self { network, location, keys, key: None, offered: None, remembered: false, failure: None, host_key: None }
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
        let source = self.network.source;
        let Some(key) = cert.as_hostkey() else {
            let verifies = source.verifies(self.location);
            let status = CertificateCheckStatus::CertificatePassthrough;
            return Ok(if verifies { status } else { CertificateCheckStatus::CertificateOk });
        };
        let kind = key.hostkey_type().map_or("unknown", |t| t.name()).to_owned();
        let fingerprint = key.hash_sha256().map(|hash| format!("SHA256:{}", base64(hash))).unwrap_or_default();
        self.host_key = Some((kind, fingerprint));
        if source.settings.host_key_check == ServerCheck::Off {
            return Ok(CertificateCheckStatus::CertificateOk);
        }
        if let Err(revoked) = check_revoked(&source.settings, self.location, key.hostkey().unwrap_or_default()) {
            self.failure = Some(revoked);
            return Err(git2::Error::from_str("the host key is revoked"));
        }
        Ok(CertificateCheckStatus::CertificatePassthrough)
    }

    fn ssh_user<'b>(&'b self, user: Option<&'b str>) -> &'b str {
        let configured = Some(self.network.source.settings.username.as_str()).filter(|name| !name.is_empty());
        user.or(self.location.user()).or(configured).unwrap_or("git")
    }

    /// The next key; libgit2 asks again when one is refused.
    fn ssh_key(&mut self) -> Result<(Secret, Option<Secret>)> {
        let Some(file) = self.keys.pop() else {
            return Err(match self.key {
                Some(_) => self.key_refused(),
                None => self
                    .unauthorized("the server asks for a key and none is configured")
                    .with_hint("set git.ssh_key_file"),
            });
        };
        let key = Secret::read("git.ssh_key_file", &file)?;
        self.key = Some(file);
        let passphrase = self.network.source.settings.ssh_key_passphrase_file.as_deref();
        let passphrase = passphrase.map(|file| Secret::read_line("git.ssh_key_passphrase_file", file)).transpose()?;
        Ok((key, passphrase))
    }

    fn key_refused(&self) -> Error {
        let keys = &self.network.source.settings.ssh_key_file;
        let tried: Vec<_> = keys.iter().map(|key| key.display().to_string()).collect();
        let message = if tried.len() > 1 { "the server refused the keys" } else { "the server refused the key" };
        self.unauthorized(message).with_context("git.ssh_key_file", tried.join(", ")).with_hint(
            "add its public half to the repository's deploy keys; check that key and passphrase belong together",
        )
    }

    fn password(&mut self, url: &str) -> Result<(String, Secret)> {
        let source = self.network.source;
        // A server may have redirected; what is asked for there is not the repository's own path.
        let asking = Location::parse(url).ok().filter(|asking| !self.location.shares_secrets_with(asking));
        let asking = asking.as_ref().unwrap_or(self.location);
        let is_main = source.location.shares_secrets_with(asking);
        let again = self.offered.is_some();
        match self.offered {
            Some(Offer::Listed) if is_main && !source.settings.askpass_url.is_empty() => {}
            Some(_) if !std::mem::take(&mut self.remembered) => return Err(self.password_refused()),
            Some(_) => {}
            None => {
                if let Some(found) = credentials::find(&source.settings, asking)? {
                    self.offered = Some(Offer::Listed);
                    return Ok(found);
                }
            }
        }
        if !is_main {
            return Err(self.unauthorized(&format!("{} asks for a password", asking.host())).with_hint(
                "password and token are sent to the host of the source only; set git.credentials for others",
            ));
        }
        self.offered = Some(Offer::Main);
        self.main_password(again)
    }

    /// The password for the host of the source. A token that was just refused is not given again.
    fn main_password(&mut self, again: bool) -> Result<(String, Secret)> {
        let Network { source, cx, interrupt } = self.network;
        let settings = &source.settings;
        let ca_file = source.ca_file();
        let configured = Some(settings.username.as_str()).filter(|name| !name.is_empty());
        let user = configured.or(source.location.user());
        let named = |default: &str, password| Ok((user.unwrap_or(default).to_owned(), password));
        if settings.github_app.is_set() {
            let known = source.tokens.current().filter(|_| !again);
            self.remembered = known.is_some();
            let token = known.map_or_else(
                || {
                    let token = source.tokens.renew(&settings.github_app, ca_file, interrupt);
                    cx.tally.count("github_app_token", Outcome::of(&token));
                    token
                },
                Ok,
            )?;
            return Ok(("x-access-token".to_owned(), token));
        }
        if !settings.askpass_url.is_empty() {
            let answer = askpass::ask(settings.askpass_url.reveal(), ca_file, interrupt);
            cx.tally.count("askpass", Outcome::of(&answer));
            let (name, password) = answer?;
            return if name.is_empty() { named("git", password) } else { Ok((name, password)) };
        }
        if let Some(file) = &settings.token_file {
            return named("x-access-token", Secret::read_line("git.token_file", file)?);
        }
        if let Some(file) = &settings.password_file {
            return named("git", Secret::read_line("git.password_file", file)?);
        }
        if settings.password.is_empty() && user.is_none() {
            return Err(self
                .unauthorized("the server asks for credentials and none are configured")
                .with_hint("set git.token_file, or git.username and git.password_file; a repository that does not exist may ask too"));
        }
        named("git", settings.password.clone())
    }

    /// The server asked again after it was given a password.
    fn password_refused(&self) -> Error {
        let settings = &self.network.source.settings;
        let hint = match settings {
            _ if self.offered == Some(Offer::Listed) && settings.credentials_file.is_some() => {
                "check the entry for this host in git.credentials_file or git.credentials; a token may have expired"
            }
            _ if self.offered == Some(Offer::Listed) => {
                "check the entry for this host in git.credentials; a token may have expired"
            }
            s if s.github_app.is_set() => {
                "check that the GitHub App is installed for this repository and may read its contents"
            }
            s if !s.askpass_url.is_empty() => "check what git.askpass_url answers",
            s if s.token_file.is_some() => "check git.token_file; the token may have expired",
            s if s.password_file.is_some() => "check git.username and git.password_file; a token may have expired",
            _ => "check git.username and git.password; a token may have expired",
        };
        self.unauthorized("the server refused user and password or token").with_hint(hint)
    }

    fn unauthorized(&self, message: &str) -> Error {
        Error::new(ErrorKind::Unauthorized, "log in", message).with_context("url", self.location)
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use dagsync_core::fs;

    use super::*;
    use crate::Source;
    use crate::settings::tests::settings;

    fn source(url: &str, changes: &[(&str, &str)]) -> Source {
        Source::new(url, settings(changes)).unwrap()
    }

    /// What is asked of `source` for `url` in a connection to `location`, twice.
    fn asked(source: &Source, location: &str, url: &str) -> [Result<(String, Secret)>; 2] {
        let (cx, interrupt) = crate::remote::tests::context(Path::new("/nonexistent"));
        let location = Location::parse(location).unwrap();
        let network = Network { source, cx: &cx, interrupt: &interrupt };
        let mut answers = Answers::new(network, &location, Vec::new());
        [answers.password(url), answers.password(url)]
    }

    #[test]
    fn a_token_goes_to_the_host_of_the_source_only_and_only_once() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("token");
        fs::write_atomic(&file, b"s3cret\n").unwrap();
        let main = "https://git.local/org/dags.git";
        let source = source(main, &[("token_file", file.to_str().unwrap())]);

        let [first, second] = asked(&source, main, main);
        assert!(first.is_ok());
        assert!(second.unwrap_err().to_string().contains("refused user and password or token"));

        for (location, url) in [
            ("https://evil.local/lib.git", "https://evil.local/lib.git"),
            (main, "https://evil.local/redirected"),
            (main, "http://git.local/org/dags.git"),
        ] {
            let [failure, _] = asked(&source, location, url);
            let failure = failure.unwrap_err();
            assert_eq!(failure.kind(), ErrorKind::Unauthorized);
            assert!(!failure.to_string().contains("s3cret"), "{failure}");
        }
    }

    #[test]
    fn credentials_of_a_host_are_not_sent_where_it_redirects_to() {
        let list = r#"{"url": "https://git.local/org", "username": "ada", "password": "s3cret"}"#;
        let main = "https://git.local/org/dags.git";
        let source = source(main, &[("credentials", list)]);
        assert_eq!(asked(&source, main, "https://git.local/").map(|r| r.is_ok()), [true, false]);
        for url in ["https://evil.local/org/dags.git", "http://git.local/org/dags.git"] {
            assert!(asked(&source, main, url)[0].is_err(), "{url}");
        }
    }

    #[test]
    fn a_rotated_token_is_read_anew() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("token");
        let url = "https://git.local/dags";
        let source = source(url, &[("token_file", file.to_str().unwrap())]);
        let [missing, _] = asked(&source, url, url);
        assert_eq!(missing.unwrap_err().kind(), ErrorKind::Unauthorized);
        for token in ["one", "two"] {
            fs::write_atomic(&file, token.as_bytes()).unwrap();
            let [first, _] = asked(&source, url, url);
            assert_eq!(first.unwrap(), ("x-access-token".to_owned(), Secret::new(token)));
        }
    }
}
