//! The settings of the section `git`: the table and the typed form.

use std::fmt;
use std::path::{Path, PathBuf};

use dagsync_core::{Error, ErrorKind, Kind, Result, Setting, TreePath};
use serde::{Deserialize, Deserializer};

/// The settings, for defaults, environment and documentation.
pub(crate) const TABLE: &[Setting] = &[
    Setting::new(
        "git.ref",
        Kind::Text,
        "HEAD",
        "What to follow: `HEAD`, a branch, a tag, a full reference or a full commit id; a tag wins over a branch of the same name, as in git.",
    ),
    Setting::new("git.depth", Kind::Integer, "1", "Commits of history to fetch; 0: all. Only the newest is ever used."),
    Setting::new("git.subpath", Kind::Text, "", "The folder of the repository that holds the DAGs; empty: all of it."),
    Setting::new(
        "git.submodules",
        Kind::Choice(&["recursive", "shallow", "off"]),
        "recursive",
        "Submodules: all, only those of the repository itself, or none; the words mean what they mean to git-sync.",
    ),
    Setting::new("git.ssh_key_file", Kind::Path, "", "The private key for ssh."),
    Setting::new("git.ssh_key_passphrase_file", Kind::Path, "", "The file with the passphrase of that key."),
    Setting::new(
        "git.known_hosts_file",
        Kind::Path,
        "",
        "The host keys that ssh trusts, as ssh-keyscan prints them; empty: `$HOME/.ssh/known_hosts`.",
    ),
    Setting::new(
        "git.host_key_check",
        Kind::Choice(&["strict", "off"]),
        "strict",
        "`off` trusts any ssh server: whoever can answer in its place decides what Airflow runs.",
    ),
    Setting::new(
        "git.username",
        Kind::Text,
        "",
        "The user for https; empty: the one in the URL, else `x-access-token` with a token and `git` with a password.",
    ),
    Setting::new("git.password_file", Kind::Path, "", "The file with the password for https; read at every use."),
    Setting::new("git.token_file", Kind::Path, "", "The file with an access token for https; read at every use."),
    Setting::new("git.password", Kind::Secret, "", "The password for https; prefer `git.password_file`."),
    Setting::new(
        "git.ca_file",
        Kind::Path,
        "",
        "A PEM bundle of certificate authorities to trust besides the system's, in the whole process.",
    ),
    Setting::new(
        "git.verify",
        Kind::Choice(&["off", "ssh", "gpg"]),
        "off",
        "Publish only commits that are signed, or that a signed tag in `git.ref` leads to, by a key of the file below; the version before stays.",
    ),
    Setting::new(
        "git.allowed_signers_file",
        Kind::Path,
        "",
        "Who may sign with ssh, as ssh-keygen(1) describes it under ALLOWED SIGNERS; read at every use.",
    ),
    Setting::new(
        "git.keyring_file",
        Kind::Path,
        "",
        "The public keys of who may sign with OpenPGP, as `gpg --export` writes them, armored or not; read at every use.",
    ),
];

/// Which submodules are brought.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Submodules {
    Recursive,
    /// The first level only.
    Shallow,
    Off,
}

/// Whether ssh servers must prove who they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum HostKeyCheck {
    Strict,
    Off,
}

/// What has to be signed, and how.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Verify {
    Off,
    Ssh,
    Gpg,
}

impl Verify {
    /// The setting that names whom it trusts.
    pub(crate) const fn setting(self) -> &'static str {
        match self {
            Self::Off => "git.verify",
            Self::Ssh => "git.allowed_signers_file",
            Self::Gpg => "git.keyring_file",
        }
    }
}

/// A text that is never shown.
#[derive(Clone, Default, Deserialize)]
#[serde(transparent)]
pub(crate) struct Secret(String);

impl Secret {
    pub(crate) fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    pub(crate) fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_empty() { "none" } else { "hidden" })
    }
}

/// The section `git`.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Settings {
    #[serde(rename = "ref")]
    pub(crate) reference: String,
    pub(crate) depth: u16,
    subpath: String,
    pub(crate) submodules: Submodules,
    #[serde(deserialize_with = "path")]
    pub(crate) ssh_key_file: Option<PathBuf>,
    #[serde(deserialize_with = "path")]
    pub(crate) ssh_key_passphrase_file: Option<PathBuf>,
    #[serde(deserialize_with = "path")]
    pub(crate) known_hosts_file: Option<PathBuf>,
    pub(crate) host_key_check: HostKeyCheck,
    pub(crate) username: String,
    #[serde(deserialize_with = "path")]
    pub(crate) password_file: Option<PathBuf>,
    #[serde(deserialize_with = "path")]
    pub(crate) token_file: Option<PathBuf>,
    pub(crate) password: Secret,
    #[serde(deserialize_with = "path")]
    pub(crate) ca_file: Option<PathBuf>,
    pub(crate) verify: Verify,
    #[serde(deserialize_with = "path")]
    allowed_signers_file: Option<PathBuf>,
    #[serde(deserialize_with = "path")]
    keyring_file: Option<PathBuf>,
}

impl Settings {
    /// Finds what contradicts itself.
    pub(crate) fn check(&self) -> Result<()> {
        let wrong = |message: &str| Err(Error::new(ErrorKind::Config, "read settings", message));
        if self.reference.is_empty() || self.reference.contains(|c: char| c.is_control() || c == ' ') {
            return wrong("git.ref is empty or holds a space or control character");
        }
        let secrets = [self.password_file.is_some(), self.token_file.is_some(), !self.password.reveal().is_empty()];
        if secrets.iter().filter(|&&set| set).count() > 1 {
            return wrong("only one of git.password_file, git.token_file and git.password may be set");
        }
        if self.verify != Verify::Off && self.signers_file().is_none() {
            return wrong(&format!("git.verify needs {}", self.verify.setting()));
        }
        if !self.subpath().is_empty() {
            TreePath::new(self.subpath())
                .map_err(|e| Error::new(ErrorKind::Config, "read git.subpath", "it is no folder").with_source(e))?;
        }
        Ok(())
    }

    /// The file that names whom `verify` trusts.
    pub(crate) fn signers_file(&self) -> Option<&Path> {
        match self.verify {
            Verify::Off => None,
            Verify::Ssh => self.allowed_signers_file.as_deref(),
            Verify::Gpg => self.keyring_file.as_deref(),
        }
    }

    /// The folder that holds the DAGs, without leading or trailing slashes and dots; empty: the root.
    pub(crate) fn subpath(&self) -> &str {
        let subpath = self.subpath.trim_matches('/');
        let subpath = subpath.strip_prefix("./").unwrap_or(subpath);
        if subpath == "." { "" } else { subpath }
    }
}

fn path<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<PathBuf>, D::Error> {
    let text = String::deserialize(deserializer)?;
    Ok((!text.is_empty()).then(|| text.into()))
}
