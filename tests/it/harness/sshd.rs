//! A real sshd on a loopback port, with its own host key, that lets one key in.

use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

use super::net;
use super::process::{Process, eventually, run, shell};
use super::repo::Repo;

/// A running sshd. Git is served by the login shell, as on any host.
#[derive(Debug)]
pub(crate) struct Sshd {
    pub(crate) port: u16,
    folder: TempDir,
    user: String,
    _process: Process,
}

impl Sshd {
    pub(crate) fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let port = net::free_port();
        for key in ["host", "user", "stranger"] {
            shell(folder.path(), &format!("ssh-keygen -q -t ed25519 -N '' -C {key} -f {key}"));
        }
        shell(folder.path(), "cp user.pub authorized");
        let config = folder.path().join("sshd_config");
        std::fs::write(&config, configuration(folder.path(), port)).unwrap();
        let user = run(Command::new("id").arg("-un"));
        if user == "root" {
            std::fs::create_dir_all("/run/sshd").unwrap();
        }
        let mut sshd = Command::new("/usr/sbin/sshd");
        let process = Process::start(sshd.args(["-D", "-e", "-f"]).arg(&config), &folder.path().join("log"));
        eventually("sshd listens", || net::listens(port));
        Self { port, folder, user, _process: process }
    }

    /// The repository's URL here, or at a gate in front.
    pub(crate) fn url(&self, repo: &Repo, port: u16) -> String {
        format!("ssh://{}@127.0.0.1:{port}{}", self.user, repo.bare().display())
    }

    /// The private key that is let in.
    pub(crate) fn key(&self) -> PathBuf {
        self.folder.path().join("user")
    }

    /// A private key that is not.
    pub(crate) fn strange_key(&self) -> PathBuf {
        self.folder.path().join("stranger")
    }

    /// Each key opens one repository and no other, as deploy keys do: that of [`Self::key`] `own`, that of
    /// [`Self::strange_key`] `other`.
    pub(crate) fn give_deploy_keys(&self, own: &Repo, other: &Repo) {
        let line = |key: &str, repo: &Repo| {
            let public = std::fs::read_to_string(self.folder.path().join(key)).unwrap();
            let path = repo.bare().display().to_string();
            let open =
                format!("*{path}*) exec git-upload-pack {path};; *) echo ERROR: Repository not found. >&2; exit 1");
            format!("restrict,command=\"case \\\"$SSH_ORIGINAL_COMMAND\\\" in {open};; esac\" {public}")
        };
        let keys = line("user.pub", own) + &line("stranger.pub", other);
        std::fs::write(self.folder.path().join("authorized"), keys).unwrap();
    }

    /// A file that knows this host, reached at `port`.
    pub(crate) fn known_hosts(&self, port: u16) -> PathBuf {
        self.hosts_file("known_hosts", port, "host.pub")
    }

    /// A file that knows another key for this host.
    pub(crate) fn wrong_hosts(&self, port: u16) -> PathBuf {
        self.hosts_file("wrong_hosts", port, "stranger.pub")
    }

    fn hosts_file(&self, name: &str, port: u16, key: &str) -> PathBuf {
        let key = std::fs::read_to_string(self.folder.path().join(key)).unwrap();
        let file = self.folder.path().join(format!("{name}.{port}"));
        std::fs::write(&file, format!("[127.0.0.1]:{port} {key}")).unwrap();
        file
    }
}

fn configuration(folder: &Path, port: u16) -> String {
    let at = folder.display();
    format!(
        "ListenAddress 127.0.0.1:{port}\nHostKey {at}/host\nAuthorizedKeysFile {at}/authorized\nPidFile none\n\
         StrictModes no\nUsePAM no\nPasswordAuthentication no\nPermitRootLogin yes\nMaxStartups 100\n"
    )
}
