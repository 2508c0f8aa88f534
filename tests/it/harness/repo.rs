//! A git repository that people push to: a work tree and the bare repository that servers serve.

use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

use super::process::{run, shell};

/// A bare repository and the work tree that pushes to it.
#[derive(Debug)]
pub(crate) struct Repo {
    folder: TempDir,
}

impl Repo {
    /// An empty repository; nothing is on `main` before the first commit.
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let repo = Self { folder };
        repo.git_in(repo.folder.path(), &["init", "--quiet", "--bare", "--initial-branch=main", "dags.git"]);
        repo.git_in(repo.folder.path(), &["init", "--quiet", "--initial-branch=main", "work"]);
        repo.git(&["remote", "add", "origin", "../dags.git"]);
        repo
    }

    /// A repository with these files on `main`.
    pub(crate) fn with(files: &[(&str, &str)]) -> Self {
        let repo = Self::new();
        files.iter().for_each(|(path, content)| repo.write(path, content));
        repo.commit("first");
        repo
    }

    /// The work tree.
    pub(crate) fn work(&self) -> PathBuf {
        self.folder.path().join("work")
    }

    /// The bare repository.
    pub(crate) fn bare(&self) -> PathBuf {
        self.folder.path().join("dags.git")
    }

    /// Where it is, for a source on the same host.
    pub(crate) fn file_url(&self) -> String {
        format!("file://{}", self.bare().display())
    }

    /// Writes a file into the work tree.
    pub(crate) fn write(&self, path: &str, content: &str) {
        let path = self.work().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, content).unwrap();
    }

    /// Copies a whole folder into the work tree.
    pub(crate) fn copy(&self, folder: &Path) {
        run(Command::new("cp").arg("-R").arg(folder.join(".")).arg(self.work()));
    }

    /// Commits everything in the work tree and pushes the branch, by force where need be; the commit's id.
    pub(crate) fn commit(&self, message: &str) -> String {
        self.git(&["add", "--all"]);
        self.git(&["commit", "--quiet", "--allow-empty", "-m", message]);
        self.push()
    }

    /// Pushes the branch as it is; the commit's id.
    pub(crate) fn push(&self) -> String {
        self.git(&["push", "--quiet", "--force", "origin", "HEAD"]);
        self.git(&["rev-parse", "HEAD"])
    }

    /// The version of what lies in the work tree, by coreutils.
    pub(crate) fn version(&self) -> String {
        super::tree::version_by_hand(&self.work())
    }

    /// Runs git in the work tree.
    pub(crate) fn git(&self, args: &[&str]) -> String {
        self.git_in(&self.work(), args)
    }

    /// Makes the repository look as if it had gone, or come back.
    pub(crate) fn hide(&self, hidden: bool) {
        let (from, to) = if hidden { ("dags.git", "gone.git") } else { ("gone.git", "dags.git") };
        shell(self.folder.path(), &format!("mv {from} {to}"));
    }

    fn git_in(&self, folder: &Path, args: &[&str]) -> String {
        let who = [("GIT_AUTHOR_NAME", "Ada"), ("GIT_AUTHOR_EMAIL", "ada@example.com")];
        let also = [("GIT_COMMITTER_NAME", "Ada"), ("GIT_COMMITTER_EMAIL", "ada@example.com")];
        let alone = [("GIT_CONFIG_GLOBAL", "/dev/null"), ("GIT_CONFIG_NOSYSTEM", "1")];
        run(Command::new("git").args(args).current_dir(folder).envs(who).envs(also).envs(alone))
    }
}
