//! The settings of the section `git`: the table and the typed form.

use std::path::{Path, PathBuf};

use dagsync_core::{Error, ErrorKind, Kind, Result, Setting, TreePath};
use serde::{Deserialize, Deserializer};

use crate::secret::Secret;
use crate::{credentials, web};

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
    Setting::new(
        "git.ssh_key_file",
        Kind::List,
        "",
        "The private keys for ssh, tried in this order, also for repositories that one of them may not read; files that are not there are passed over unless none is.",
    ),
    Setting::new("git.ssh_key_passphrase_file", Kind::Path, "", "The file with the passphrase of these keys."),
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
        "git.credentials",
        Kind::Secret,
        "",
        "Users and passwords by URL, for submodules on other hosts too: JSON, one object or a list of `{url, username, password}` or `{url, username, password-file}`; the longest URL that leads to the repository wins.",
    ),
    Setting::new("git.credentials_file", Kind::Path, "", "The file with the same JSON; read at every use."),
    Setting::new(
        "git.askpass_url",
        Kind::Text,
        "",
        "A URL that answers with lines `username=…` and `password=…` when the host of the source asks for a password.",
    ),
    Setting::new(
        "git.cookie_file",
        Kind::Path,
        "",
        "The file with cookies in Netscape's format, sent as their domain, path and scheme say; read at every use.",
    ),
    Setting::new(
        "git.github_app.private_key_file",
        Kind::Path,
        "",
        "The file with the private key of a GitHub App, whose tokens open the host of the source; they are renewed before they end.",
    ),
    Setting::new("git.github_app.private_key", Kind::Secret, "", "That key; prefer `git.github_app.private_key_file`."),
    Setting::new("git.github_app.client_id", Kind::Text, "", "The client id of the GitHub App."),
    Setting::new("git.github_app.application_id", Kind::Integer, "", "Its application id, in place of the client id."),
    Setting::new("git.github_app.installation_id", Kind::Integer, "", "The id of its installation."),
    Setting::new("git.github_app.base_url", Kind::Text, "https://api.github.com", "Where GitHub's API is."),
    Setting::new(
        "git.ca_file",
        Kind::Path,
        "",
        "A PEM bundle of certificate authorities to trust besides the system's, in the whole process.",
    ),
    Setting::new(
        "git.tls_check",
        Kind::Choice(&["strict", "off"]),
        "strict",
        "`off` trusts any https server: whoever can answer in its place decides what Airflow runs.",
    ),
    Setting::new(
        "git.config",
        Kind::List,
        "",
        "Settings of git as `key=value`: `http.sslCAInfo`, `http.sslVerify`, `http.proxy`, `http.extraHeader`, each also as `http.<url>.…`, and `url.<base>.insteadOf`; others mean nothing here.",
    ),
    Setting::new(
        "git.sparse_checkout_file",
        Kind::Path,
        "",
        "The file with the patterns of what is wanted of the repository, as git's sparse-checkout takes them; read at every new commit.",
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

/// Whether servers must prove who they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum ServerCheck {
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

/// The section `git`.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Settings {
    #[serde(rename = "ref")]
    pub(crate) reference: String,
    pub(crate) depth: u64,
    subpath: String,
    pub(crate) submodules: Submodules,
    pub(crate) ssh_key_file: Vec<PathBuf>,
    #[serde(deserialize_with = "path")]
    pub(crate) ssh_key_passphrase_file: Option<PathBuf>,
    #[serde(deserialize_with = "path")]
    pub(crate) known_hosts_file: Option<PathBuf>,
    pub(crate) host_key_check: ServerCheck,
    pub(crate) username: String,
    #[serde(deserialize_with = "path")]
    pub(crate) password_file: Option<PathBuf>,
    #[serde(deserialize_with = "path")]
    pub(crate) token_file: Option<PathBuf>,
    pub(crate) password: Secret,
    #[serde(deserialize_with = "path")]
    pub(crate) ca_file: Option<PathBuf>,
    pub(crate) credentials: Secret,
    #[serde(deserialize_with = "path")]
    pub(crate) credentials_file: Option<PathBuf>,
    pub(crate) askpass_url: Secret,
    #[serde(deserialize_with = "path")]
    pub(crate) cookie_file: Option<PathBuf>,
    pub(crate) github_app: GithubApp,
    pub(crate) tls_check: ServerCheck,
    pub(crate) config: Vec<String>,
    #[serde(deserialize_with = "path")]
    pub(crate) sparse_checkout_file: Option<PathBuf>,
    pub(crate) verify: Verify,
    #[serde(deserialize_with = "path")]
    allowed_signers_file: Option<PathBuf>,
    #[serde(deserialize_with = "path")]
    keyring_file: Option<PathBuf>,
}

/// The section `git.github_app`.
#[derive(Debug, Clone, Default, Deserialize)]
pub(crate) struct GithubApp {
    #[serde(deserialize_with = "path")]
    pub(crate) private_key_file: Option<PathBuf>,
    pub(crate) private_key: Secret,
    pub(crate) client_id: String,
    pub(crate) application_id: Option<u64>,
    pub(crate) installation_id: Option<u64>,
    pub(crate) base_url: String,
}

impl GithubApp {
    /// Whether tokens of an app are to be used.
    pub(crate) fn is_set(&self) -> bool {
        self.private_key_file.is_some() || !self.private_key.is_empty()
    }

    fn check(&self) -> Result<(), &'static str> {
        let ids = [!self.client_id.is_empty(), self.application_id.is_some()];
        let named = ids.iter().filter(|&&set| set).count();
        if !self.is_set() {
            return match named == 0 && self.installation_id.is_none() {
                true => Ok(()),
                false => Err("a GitHub App needs git.github_app.private_key_file"),
            };
        }
        if self.private_key_file.is_some() && !self.private_key.is_empty() {
            return Err("only one of git.github_app.private_key_file and git.github_app.private_key may be set");
        }
        if named != 1 {
            return Err("a GitHub App needs either git.github_app.client_id or git.github_app.application_id");
        }
        if self.installation_id.is_none() {
            return Err("a GitHub App needs git.github_app.installation_id");
        }
        let url = web::parse("git.github_app.base_url", &self.base_url);
        match url.is_ok_and(|url| url.scheme() == "https" || web::is_loopback(&url)) {
            true => Ok(()),
            false => Err("git.github_app.base_url must be a URL of https"),
        }
    }
}

impl Settings {
    /// Finds what contradicts itself.
    pub(crate) fn check(&self) -> Result<()> {
        let wrong = |message: &str| Err(Error::new(ErrorKind::Config, "read settings", message));
        if self.reference.is_empty() || self.reference.contains(|c: char| c.is_control() || c == ' ') {
            return wrong("git.ref is empty or holds a space or control character");
        }
        let ways = [
            ("git.password_file", self.password_file.is_some()),
            ("git.token_file", self.token_file.is_some()),
            ("git.password", !self.password.is_empty()),
            ("git.askpass_url", !self.askpass_url.is_empty()),
            ("git.github_app.private_key_file", self.github_app.is_set()),
        ];
        let set: Vec<_> = ways.iter().filter(|(_, set)| *set).map(|(name, _)| *name).collect();
        if set.len() > 1 {
            return wrong(&format!("only one of {} may be set", set.join(" and ")));
        }
        self.github_app.check().or_else(wrong)?;
        credentials::check(self)?;
        if !self.askpass_url.is_empty() {
            web::parse("git.askpass_url", self.askpass_url.reveal())?;
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

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// The section with its defaults, completed by `changes`.
    pub(crate) fn settings(changes: &[(&str, &str)]) -> Settings {
        let mut section = serde_json::json!({"github_app": {}});
        for setting in TABLE {
            let name = setting.name.trim_start_matches("git.");
            let text = changes.iter().find(|(n, _)| *n == name).map_or(setting.default, |(_, value)| *value);
            let value = match setting.kind {
                Kind::Integer => text.parse::<u64>().ok().into(),
                Kind::List => text.split(',').filter(|item| !item.is_empty()).collect(),
                _ => serde_json::Value::from(text),
            };
            match name.split_once('.') {
                Some((group, name)) => section[group][name] = value,
                None => section[name] = value,
            }
        }
        serde_json::from_value(section).unwrap()
    }

    #[test]
    fn two_ways_to_log_in_are_refused_by_name() {
        let app =
            [("github_app.private_key", "x"), ("github_app.client_id", "Iv1.x"), ("github_app.installation_id", "1")];
        assert!(settings(&app).check().is_ok());
        for (other, value) in [("password", "x"), ("token_file", "/t"), ("askpass_url", "http://localhost/")] {
            let error = settings(&[&app[..], &[(other, value)]].concat()).check().unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Config);
            assert!(error.to_string().contains(&format!("git.{other} and git.github_app")), "{error}");
        }
        let error = settings(&[("password_file", "/p"), ("askpass_url", "http://localhost/")]).check().unwrap_err();
        assert!(error.to_string().contains("git.password_file and git.askpass_url"), "{error}");
    }

    #[test]
    fn half_an_app_is_refused_with_what_is_missing() {
        let key = ("github_app.private_key_file", "/key");
        let (client, id) = (("github_app.client_id", "x"), ("github_app.application_id", "7"));
        let installation = ("github_app.installation_id", "1");
        for (changes, missing) in [
            (&[client][..], "private_key_file"),
            (&[key, installation], "client_id or git.github_app.application_id"),
            (&[key, client, id, installation], "either"),
            (&[key, id], "installation_id"),
            (&[key, id, installation, ("github_app.base_url", "http://ghe.corp")], "base_url must be a URL of https"),
        ] {
            let error = settings(changes).check().unwrap_err().to_string();
            assert!(error.contains(missing), "{error}");
        }
    }
}
