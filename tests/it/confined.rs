//! The drop-in as the chart's pods confine it: another user, a root file system that nobody can write to.

use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

use crate::harness::{Process, Repo, Sshd, eventually, free_port, http, shell};

/// What an image has of an operating system.
const SYSTEM: [&str; 6] = ["/usr", "/lib", "/lib64", "/bin", "/sbin", "/etc/ssl"];

/// A container of its own mount and process namespaces, and the volumes that the kubelet would give it.
struct Confined {
    folder: TempDir,
    uid: u32,
    /// Whether `/tmp`, the home folder, is a volume too; otherwise it is as read-only as all the rest.
    tmp: bool,
    port: u16,
    process: Option<Process>,
}

impl Confined {
    fn new(sshd: &Sshd, uid: u32, tmp: bool) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        let mode = |path: &Path, mode| std::fs::set_permissions(path, PermissionsExt::from_mode(mode)).unwrap();
        mode(folder.path(), 0o755);
        // An emptyDir and a Secret in a pod with fsGroup 0.
        std::fs::create_dir(at("git")).unwrap();
        mode(&at("git"), 0o2775);
        std::fs::copy(sshd.key(), at("ssh")).unwrap();
        chown(at("ssh"), Some(0), Some(0)).unwrap();
        mode(&at("ssh"), 0o440);
        std::fs::copy(sshd.known_hosts(sshd.port), at("known_hosts")).unwrap();
        mode(&at("known_hosts"), 0o644);
        Self { folder, uid, tmp, port: free_port(), process: None }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// A command in the container, as its user of group 0.
    fn command(&self, program: &[&str]) -> Command {
        let mut bwrap = Command::new("bwrap");
        bwrap.args(["--die-with-parent", "--unshare-pid", "--unshare-ipc", "--as-pid-1", "--clearenv"]);
        bwrap.args(["--setenv", "HOME", "/tmp", "--setenv", "PATH", "/usr/bin:/bin"]);
        // Folders that bwrap makes by itself are closed to others.
        bwrap.args(["--dir", "/etc", "--dir", "/etc/git-secret", "--dir", "/tmp"]);
        for folder in SYSTEM.map(Path::new) {
            match std::fs::read_link(folder) {
                Ok(target) => drop(bwrap.arg("--symlink").arg(target).arg(folder)),
                Err(_) => drop(bwrap.arg("--ro-bind-try").arg(folder).arg(folder)),
            }
        }
        bwrap.args(["--proc", "/proc", "--dev", "/dev", "--ro-bind", env!("CARGO_BIN_EXE_dagsync"), "/git-sync"]);
        bwrap.arg("--bind").arg(self.path("git")).arg("/git");
        for secret in ["ssh", "known_hosts"] {
            bwrap.arg("--ro-bind").arg(self.path(secret)).arg(format!("/etc/git-secret/{secret}"));
        }
        if self.tmp {
            bwrap.args(["--perms", "1777", "--tmpfs", "/tmp"]);
        }
        bwrap.args(["--remount-ro", "/", "setpriv", "--regid=0", "--clear-groups"]);
        bwrap.arg(format!("--reuid={}", self.uid)).args(program);
        bwrap
    }

    /// Starts git-sync with what the chart's sidecar is given.
    fn start(&mut self, url: &str) {
        let env = [
            ("GITSYNC_REPO", url.to_owned()),
            ("GITSYNC_REF", "main".to_owned()),
            ("GITSYNC_ROOT", "/git".to_owned()),
            ("GITSYNC_LINK", "repo".to_owned()),
            ("GITSYNC_ADD_USER", "true".to_owned()),
            ("GITSYNC_SSH_KEY_FILE", "/etc/git-secret/ssh".to_owned()),
            ("GITSYNC_SSH_KNOWN_HOSTS_FILE", "/etc/git-secret/known_hosts".to_owned()),
            ("GITSYNC_PERIOD", "100ms".to_owned()),
            ("GITSYNC_MAX_FAILURES", "0".to_owned()),
            ("GITSYNC_HTTP_BIND", format!(":{}", self.port)),
        ]
        .map(|(name, value)| format!("{name}={value}"));
        let mut words = vec!["env"];
        words.extend(env.iter().map(String::as_str));
        words.push("/git-sync");
        self.process = Some(Process::start(&mut self.command(&words), &self.path("log")));
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.path("log")).unwrap_or_default()
    }

    #[track_caller]
    fn is_on(&self, commit: &str) {
        let link = self.path("git/repo");
        eventually(&format!("UID {} is on {commit}; the log:\n{}", self.uid, self.log()), || {
            std::fs::read_link(&link).ok()?.ends_with(commit).then_some(())
        });
    }

    /// The process in the container, as this host numbers it.
    fn pid(&self) -> u32 {
        let bwrap = self.process.as_ref().unwrap().id();
        std::fs::read_to_string(format!("/proc/{bwrap}/task/{bwrap}/children")).unwrap().trim().parse().unwrap()
    }
}

/// Where a process in the container can write: every mount that is not read-only, without devices and processes.
fn writable_mounts(pid: u32) -> Vec<String> {
    let mounts = std::fs::read_to_string(format!("/proc/{pid}/mounts")).unwrap();
    let of_the_kernel = |folder: &str| folder.starts_with("/dev") || folder.starts_with("/proc");
    let mut writable: Vec<_> = mounts
        .lines()
        .map(|line| line.split(' ').collect::<Vec<_>>())
        .filter(|fields| !fields[3].split(',').any(|option| option == "ro") && !of_the_kernel(fields[1]))
        .map(|fields| fields[1].to_owned())
        .collect();
    writable.sort();
    writable
}

/// The user and group of a process.
fn owner(pid: u32) -> (String, String) {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let of = |name: &str| status.lines().find_map(|line| line.strip_prefix(name)).unwrap().trim().replace('\t', " ");
    (of("Uid:"), of("Gid:"))
}

fn syncs_in_a_read_only_root(uid: u32, tmp: bool) {
    let (repo, sshd) = (Repo::with(&[("dags/a.py", "a = 1\n")]), Sshd::start());
    let mut pod = Confined::new(&sshd, uid, tmp);
    pod.start(&sshd.url(&repo, sshd.port));
    pod.is_on(&repo.git(&["rev-parse", "HEAD"]));
    eventually("the probe answers 200", || http(pod.port, "GET", "/", "").filter(|(status, _)| *status == 200));
    let pid = pod.pid();
    assert_eq!(owner(pid), (format!("{uid} {uid} {uid} {uid}"), "0 0 0 0".to_owned()));
    assert_eq!(writable_mounts(pid), if tmp { vec!["/git", "/tmp"] } else { vec!["/git"] });
    repo.write("dags/a.py", "a = 2\n");
    pod.is_on(&repo.commit("second"));
    assert_eq!(std::fs::read_to_string(pod.path("git/repo/dags/a.py")).unwrap(), "a = 2\n");
    shell(Path::new("/"), &format!("kill -TERM {pid}"));
    assert_eq!(pod.process.take().unwrap().wait().code(), Some(0), "{}", pod.log());
    assert!(!pod.log().contains("ERROR"), "{}", pod.log());
}

#[test]
fn as_the_images_user() {
    syncs_in_a_read_only_root(65533, true);
    syncs_in_a_read_only_root(65533, false);
}

#[test]
fn as_any_user_of_group_0() {
    let uid = fastrand::u32(100_000..2_000_000_000);
    syncs_in_a_read_only_root(uid, true);
    syncs_in_a_read_only_root(uid, false);
}
