//! A host that builds, pushes and pulls real images, with Debian's `buildah`. Nothing of this host's configuration counts,
//! and nothing is asked of a registry that is not named.

use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

use super::pod::{Outcome, dagsync};
use super::process::run;
use super::registry::Registry;

/// Where DAGs lie in an image.
pub(crate) const DAGS: &str = "/opt/airflow/dags";

/// Images and containers of its own. They are plain folders, so nothing is mounted.
#[derive(Debug)]
pub(crate) struct Buildah {
    folder: TempDir,
}

impl Buildah {
    /// A host without images.
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let at = folder.path();
        let (write, show) = (|name: &str, text: &str| std::fs::write(at.join(name), text).unwrap(), at.display());
        // Where root looks first is its home.
        std::fs::create_dir_all(at.join(".config/containers")).unwrap();
        write(".config/containers/policy.json", r#"{"default": [{"type": "insecureAcceptAnything"}]}"#);
        write("registries.conf", "unqualified-search-registries = ['docker.io']\n");
        write("containers.conf", "");
        let storage =
            format!("[storage]\ndriver = 'vfs'\ngraphroot = '{show}/images'\nrunroot = '{show}/containers'\n");
        write("storage.conf", &storage);
        Self { folder }
    }

    /// A folder for what belongs to a test.
    pub(crate) fn path(&self) -> &Path {
        self.folder.path()
    }

    /// `buildah` here.
    pub(crate) fn command(&self, args: &[&str]) -> Command {
        let at = self.folder.path();
        let mut command = Command::new("buildah");
        command.args(args).current_dir(at).env_clear().env("PATH", std::env::var_os("PATH").unwrap());
        for name in ["HOME", "TMPDIR", "XDG_RUNTIME_DIR"] {
            command.env(name, at);
        }
        command
            .env("BUILDAH_ISOLATION", "chroot")
            .env("CONTAINERS_CONF", at.join("containers.conf"))
            .env("CONTAINERS_REGISTRIES_CONF", at.join("registries.conf"))
            .env("CONTAINERS_STORAGE_CONF", at.join("storage.conf"));
        command
    }

    /// Seals a copy of `dags` and bakes it into an image that holds nothing else, with its version as the label; the version.
    #[track_caller]
    pub(crate) fn bake(&self, dags: &Path, name: &str, args: &[&str]) -> String {
        let context = tempfile::tempdir_in(self.folder.path()).unwrap();
        let at = context.path();
        run(Command::new("cp").arg("-R").arg(dags).arg(at.join("dags")));
        let version = Outcome::of(dagsync().arg("seal").arg(at.join("dags"))).ended(0, &[]).stdout.clone();
        std::fs::write(at.join("Dockerfile"), format!("FROM scratch\nCOPY dags {DAGS}\n")).unwrap();
        self.build(at, name, &[&["--label", &format!("io.dagsync.version={version}")], args].concat());
        version
    }

    /// Builds the Dockerfile in `context` as the image `name`, with what is here already.
    #[track_caller]
    pub(crate) fn build(&self, context: &Path, name: &str, args: &[&str]) -> String {
        let mut command = self.command(&["build", "--pull=never", "--network=host", "--tag", name]);
        run(command.args(args).arg(context))
    }

    /// Pushes the image `name` under a tag; its digest in the registry.
    #[track_caller]
    pub(crate) fn push(&self, name: &str, registry: &Registry, tag: &str) -> String {
        self.push_as(&["push", name], registry, tag)
    }

    /// The same with `push` or `manifest push`, and options.
    #[track_caller]
    pub(crate) fn push_as(&self, push: &[&str], registry: &Registry, tag: &str) -> String {
        let digest = self.folder.path().join("digest");
        let (options, mut command) = (self.options(registry), self.command(&[]));
        let (name, push) = push.split_last().unwrap();
        command.args(push).args(options).arg("--digestfile").arg(&digest).arg(name);
        run(command.arg(format!("docker://{}", registry.image(tag))));
        std::fs::read_to_string(digest).unwrap().trim().to_owned()
    }

    /// Pulls an image and makes a container of it; where its DAGs lie.
    #[track_caller]
    pub(crate) fn pull(&self, registry: &Registry, name: &str) -> PathBuf {
        let options = self.options(registry);
        let image = format!("docker://{}", registry.image(name));
        self.container(&image, &options.iter().map(String::as_str).collect::<Vec<_>>()).join(&DAGS[1..])
    }

    /// Where the file system of a new container of an image lies.
    #[track_caller]
    pub(crate) fn container(&self, image: &str, options: &[&str]) -> PathBuf {
        let container = run(self.command(&["from", "--quiet"]).args(options).arg(image));
        PathBuf::from(run(&mut self.command(&["mount", &container])))
    }

    /// What it takes to get into `registry`.
    fn options(&self, registry: &Registry) -> Vec<String> {
        let mut options = Vec::new();
        if registry.has_tls() {
            let folder = self.folder.path().join("certificates");
            std::fs::create_dir_all(&folder).unwrap();
            std::fs::copy(registry.ca(), folder.join("ca.crt")).unwrap();
            options.push(format!("--cert-dir={}", folder.display()));
        } else {
            options.push("--tls-verify=false".to_owned());
        }
        if registry.has_password() {
            options.push(format!("--authfile={}", registry.credentials().display()));
        }
        options
    }
}

impl Drop for Buildah {
    fn drop(&mut self) {
        let at = self.folder.path().to_str().unwrap();
        let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
        let left: Vec<_> = mounts.lines().filter(|line| line.contains(at)).collect();
        assert!(left.is_empty() || std::thread::panicking(), "buildah left mounts: {left:#?}");
    }
}
