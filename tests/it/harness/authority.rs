//! A private CA, and Secrets of its certificates, mounted and swapped as the kubelet does.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use tempfile::TempDir;

use super::process::shell;

const KEY: &str = "-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes";

/// A CA.
#[derive(Debug)]
pub(crate) struct Authority {
    folder: TempDir,
}

impl Authority {
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let script =
            format!("openssl req -x509 {KEY} -keyout ca.key -out ca.crt -days 30 -subj '/CN=a private CA' 2>&1");
        shell(folder.path(), &script);
        Self { folder }
    }

    /// Its own certificate.
    pub(crate) fn file(&self) -> PathBuf {
        self.folder.path().join("ca.crt")
    }

    /// A volume with a certificate for `name` and 127.0.0.1.
    pub(crate) fn secret(&self, name: &str) -> Secret {
        let secret = Secret { folder: tempfile::tempdir().unwrap() };
        self.renew(&secret, name);
        secret
    }

    /// Puts a new certificate for `name` into a volume, in one step.
    pub(crate) fn renew(&self, secret: &Secret, name: &str) {
        let ca = self.folder.path().display();
        secret.swap(&format!(
            "openssl req {KEY} -keyout tls.key -out csr -subj /CN={name} \
                 -addext subjectAltName=DNS:{name},DNS:localhost,IP:127.0.0.1 2>&1
             openssl x509 -req -in csr -CA {ca}/ca.crt -CAkey {ca}/ca.key -CAcreateserial -days 30 \
                 -copy_extensions copy -out tls.crt 2>&1"
        ));
    }
}

/// A mounted Secret: its files are links to files of `..data`, which is a link to a folder.
#[derive(Debug)]
pub(crate) struct Secret {
    folder: TempDir,
}

impl Secret {
    /// Lets `script` write new files beside the ones that are there, then swaps the link.
    pub(crate) fn swap(&self, script: &str) {
        shell(
            self.folder.path(),
            &format!(
                "new=$(mktemp -d ..new.XXXXXX)
                 (cd $new; {script})
                 ln -s $new ..tmp && mv -T ..tmp ..data
                 for file in tls.crt tls.key; do ln -sfn ..data/$file $file; done"
            ),
        );
    }

    pub(crate) fn certificate(&self) -> PathBuf {
        self.folder.path().join("tls.crt")
    }

    pub(crate) fn key(&self) -> PathBuf {
        self.folder.path().join("tls.key")
    }
}

/// What `openssl s_client` says and gets when it sends one request.
pub(crate) fn s_client(port: u16, options: &[&str], path: &str) -> String {
    let mut client = Command::new("openssl")
        .args(["s_client", "-ign_eof", "-connect", &format!("127.0.0.1:{port}")])
        .args(options)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    // It may have ended already, when it was refused.
    let _ = std::io::Write::write_all(&mut client.stdin.take().unwrap(), request.as_bytes());
    let out = client.wait_with_output().unwrap();
    format!("{}{}", String::from_utf8_lossy(&out.stdout), String::from_utf8_lossy(&out.stderr))
}

/// The options with which a client shows this certificate.
pub(crate) fn showing<'a>(certificate: &'a Path, key: &'a Path) -> [&'a str; 4] {
    ["-cert", certificate.to_str().unwrap(), "-key", key.to_str().unwrap()]
}
