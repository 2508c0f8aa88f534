//! A real registry of images: Debian's `docker-registry`, over plain HTTP, over TLS from a private CA with a
//! password, or with the tokens that another server gives for it.

use std::path::{Path, PathBuf};
use std::process::Command;

use base64::prelude::{BASE64_STANDARD, Engine};
use serde_json::json;
use tempfile::TempDir;

use super::net;
use super::nginx::{PASSWORD, USER, certificates};
use super::process::{Process, eventually, shell};
use super::tokens;
use super::web::Web;

/// Whom it lets in.
#[derive(Debug)]
enum Guard {
    /// Everybody, over plain HTTP.
    None,
    /// Over TLS, who knows the password.
    Password,
    /// Over plain HTTP, who has a token of this server.
    Tokens(Web),
}

/// A running registry.
#[derive(Debug)]
pub(crate) struct Registry {
    port: u16,
    folder: TempDir,
    guard: Guard,
    _process: Process,
}

impl Registry {
    /// Lets everybody in, over plain HTTP.
    pub(crate) fn open() -> Self {
        Self::start(|_| Guard::None)
    }

    /// Speaks TLS, and lets in who knows the password.
    pub(crate) fn guarded() -> Self {
        Self::start(|folder| {
            certificates(folder, 30);
            // The registry takes bcrypt alone; 5 is nearly its least cost.
            let hash = format!("perl -e 'print crypt(q({PASSWORD}), q($2b$05$ThisIsTheSaltOfATestOf))'");
            std::fs::write(folder.join("users"), format!("{USER}:{}\n", shell(folder, &hash))).unwrap();
            Guard::Password
        })
    }

    /// Speaks plain HTTP, and sends everybody to a token server that wants the password, as most public registries do.
    pub(crate) fn with_tokens() -> Self {
        Self::start(|folder| {
            certificates(folder, 30);
            Guard::Tokens(tokens::serve(folder))
        })
    }

    fn start(guard: impl FnOnce(&Path) -> Guard) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (at, port) = (folder.path(), net::free_port());
        std::fs::create_dir(at.join("images")).unwrap();
        let guard = guard(at);
        std::fs::write(at.join("config.yml"), configuration(at, port, &guard)).unwrap();
        let mut command = Command::new("docker-registry");
        command.arg("serve").arg(at.join("config.yml")).env_clear();
        let mut process = Process::start(&mut command, &at.join("log"));
        eventually("the registry listens", || {
            assert!(process.ended().is_none(), "the registry ended: {}", process.log());
            net::listens(port)
        });
        Self { port, folder, guard, _process: process }
    }

    /// Whether it speaks TLS.
    pub(crate) fn has_tls(&self) -> bool {
        matches!(self.guard, Guard::Password)
    }

    /// Whether it asks for the password.
    pub(crate) fn has_password(&self) -> bool {
        !matches!(self.guard, Guard::None)
    }

    /// The image `name`, such as `dags:prod` or `dags@sha256:…`, in it.
    pub(crate) fn image(&self, name: &str) -> String {
        format!("127.0.0.1:{}/team/{name}", self.port)
    }

    /// The CA that signed its certificate.
    pub(crate) fn ca(&self) -> PathBuf {
        self.folder.path().join("ca.pem")
    }

    /// A CA that signed another.
    pub(crate) fn strange_ca(&self) -> PathBuf {
        let folder = self.folder.path().join("strange");
        std::fs::create_dir(&folder).unwrap();
        certificates(&folder, 30);
        folder.join("ca.pem")
    }

    /// The right credentials, as a Secret of type `kubernetes.io/dockerconfigjson` holds them.
    pub(crate) fn credentials(&self) -> PathBuf {
        let path = self.folder.path().join("docker.json");
        std::fs::write(&path, self.docker_config(PASSWORD)).unwrap();
        path
    }

    /// A Docker configuration with this password, and with what belongs to another registry.
    pub(crate) fn docker_config(&self, password: &str) -> String {
        let entry = |password: &str| json!({ "auth": BASE64_STANDARD.encode(format!("{USER}:{password}")) });
        let registry = format!("127.0.0.1:{}", self.port);
        json!({ "auths": { registry: entry(password), "registry.example": entry("another") } }).to_string()
    }
}

fn configuration(folder: &Path, port: u16, guard: &Guard) -> String {
    let at = folder.display();
    let guard = match guard {
        Guard::None => String::new(),
        Guard::Password => format!(
            "  tls: {{ certificate: {at}/server.pem, key: {at}/server.key }}
auth: {{ htpasswd: {{ realm: images, path: {at}/users }} }}
"
        ),
        Guard::Tokens(server) => format!(
            "auth:
  token: {{ realm: '{}', service: {}, issuer: {}, rootcertbundle: {at}/ca.pem }}
",
            server.url("/token"),
            tokens::SERVICE,
            tokens::ISSUER
        ),
    };
    format!(
        "version: 0.1
log: {{ level: info }}
storage: {{ filesystem: {{ rootdirectory: {at}/images }} }}
http:
  addr: 127.0.0.1:{port}
{guard}"
    )
}
