//! A real registry of images: Debian's `docker-registry`, over plain HTTP, or over TLS from a private CA with a password.

use std::path::{Path, PathBuf};
use std::process::Command;

use base64::prelude::{BASE64_STANDARD, Engine};
use serde_json::json;
use tempfile::TempDir;

use super::net;
use super::nginx::{PASSWORD, USER, certificates};
use super::process::{Process, eventually, shell};

/// A running registry.
#[derive(Debug)]
pub(crate) struct Registry {
    port: u16,
    folder: TempDir,
    is_guarded: bool,
    _process: Process,
}

impl Registry {
    /// Lets everybody in, over plain HTTP.
    pub(crate) fn open() -> Self {
        Self::start(false)
    }

    /// Speaks TLS, and lets in who knows the password.
    pub(crate) fn guarded() -> Self {
        Self::start(true)
    }

    fn start(is_guarded: bool) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (at, port) = (folder.path(), net::free_port());
        std::fs::create_dir(at.join("images")).unwrap();
        let mut config = configuration(at, port);
        if is_guarded {
            certificates(at, 30);
            // The registry takes bcrypt alone; 5 is nearly its least cost.
            let hash = format!("perl -e 'print crypt(q({PASSWORD}), q($2b$05$ThisIsTheSaltOfATestOf))'");
            std::fs::write(at.join("users"), format!("{USER}:{}\n", shell(at, &hash))).unwrap();
            config.push_str(&guard(at));
        }
        std::fs::write(at.join("config.yml"), config).unwrap();
        let mut command = Command::new("docker-registry");
        command.arg("serve").arg(at.join("config.yml")).env_clear();
        let mut process = Process::start(&mut command, &at.join("log"));
        eventually("the registry listens", || {
            assert!(process.ended().is_none(), "the registry ended: {}", process.log());
            net::listens(port)
        });
        Self { port, folder, is_guarded, _process: process }
    }

    /// Whether it speaks TLS and asks for the password.
    pub(crate) fn is_guarded(&self) -> bool {
        self.is_guarded
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

fn configuration(folder: &Path, port: u16) -> String {
    let at = folder.display();
    format!(
        "version: 0.1
log: {{ level: info }}
storage: {{ filesystem: {{ rootdirectory: {at}/images }} }}
http:
  addr: 127.0.0.1:{port}
"
    )
}

fn guard(folder: &Path) -> String {
    let at = folder.display();
    format!(
        "  tls: {{ certificate: {at}/server.pem, key: {at}/server.key }}
auth: {{ htpasswd: {{ realm: images, path: {at}/users }} }}
"
    )
}
