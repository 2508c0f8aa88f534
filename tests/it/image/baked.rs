//! A folder of an image, sealed by the command as a build would, and the hands that reach into it.

use std::path::{Path, PathBuf};

use tempfile::TempDir;

use crate::harness::{Outcome, Pod, dagsync, shell, version_by_hand};

/// The DAGs of an image.
#[derive(Debug)]
pub(super) struct Baked(TempDir);

impl Baked {
    /// Two DAGs and a file that they read; not sealed.
    pub(super) fn unsealed() -> Self {
        let folder = tempfile::tempdir().unwrap();
        shell(
            folder.path(),
            "chmod 755 .; mkdir -p dags/team; cd dags; echo 'a = 1' > a.py; echo 'b = 1' > team/b.py; echo 1 > team/c.txt",
        );
        Self(folder)
    }

    /// The same, sealed.
    pub(super) fn sealed() -> Self {
        let baked = Self::unsealed();
        baked.seal(&[]);
        baked
    }

    /// The same, signed by `key`.
    pub(super) fn signed(key: &str) -> Self {
        let baked = Self::unsealed();
        baked.seal(&["--sign-key", &baked.keys(key).0]);
        baked
    }

    /// The private and the public key of this name, made by openssl when they are asked for first.
    pub(super) fn keys(&self, name: &str) -> (String, String) {
        let script = "[ -e $1.pub ] || { openssl genpkey -algorithm ed25519 -out $1.key; openssl pkey -in $1.key -pubout -out $1.pub; }";
        shell(self.0.path(), &script.replace("$1", name));
        let file = |end: &str| self.0.path().join(format!("{name}.{end}")).to_str().unwrap().to_owned();
        (file("key"), file("pub"))
    }

    /// Seals the tree as it is now; its version, which coreutils find too.
    pub(super) fn seal(&self, args: &[&str]) -> String {
        let sealed = Outcome::of(dagsync().arg("seal").arg(self.dags()).args(args));
        assert_eq!(sealed.ended(0, &[]).stdout, version_by_hand(&self.dags()));
        sealed.stdout
    }

    pub(super) fn version(&self) -> String {
        version_by_hand(&self.dags())
    }

    pub(super) fn dags(&self) -> PathBuf {
        self.0.path().join("dags")
    }

    /// Where there is room beside the DAGs.
    pub(super) fn beside(&self) -> &Path {
        self.0.path()
    }

    /// What somebody does who got into the container.
    #[track_caller]
    pub(super) fn tamper(&self, script: &str) {
        shell(&self.dags(), script);
    }

    /// `dagsync verify` of it.
    pub(super) fn verify(&self, args: &[&str]) -> Outcome {
        Outcome::of(dagsync().arg("verify").arg(self.dags()).args(args))
    }

    /// A pod that watches it.
    pub(super) fn pod(&self) -> Pod {
        Pod::new(&self.source()).set("scrub.interval", "200ms")
    }

    /// What a pod is told to watch.
    pub(super) fn source(&self) -> String {
        format!("image:{}", self.dags().display())
    }
}
