//! The tar strategy keeps the contract, and minds what only a tar file can hold.
#![allow(clippy::unwrap_used, clippy::disallowed_methods)]

use std::path::{Path, PathBuf};
use std::sync::Arc;

use dagsync_core::{Digest, ErrorKind, Registry, Spec, Strategy, TreePath, async_trait};
use dagsync_tarball::TAR;
use dagsync_testkit::{Edit, Files, Harness, Item, Source, conformance};
use tar::{Builder, EntryType, Header};

struct Tarball {
    dir: tempfile::TempDir,
    files: Files,
}

impl Tarball {
    fn new() -> Self {
        let tarball = Self { dir: tempfile::tempdir().unwrap(), files: Files::new() };
        tarball.save();
        tarball
    }

    fn path(&self) -> PathBuf {
        self.dir.path().join("dags.tar")
    }

    /// Replaces the file in one step, as whoever publishes a tar file should.
    fn save(&self) {
        let mut tar = Builder::new(Vec::new());
        for (path, item) in &self.files {
            match item {
                Item::Link(target) => add(&mut tar, EntryType::Symlink, path, target, b""),
                Item::File { content, executable: false } => add(&mut tar, EntryType::Regular, path, "", content),
                Item::File { content, .. } => add_executable(&mut tar, path, content),
            }
        }
        let beside = self.dir.path().join("dags.tar.new");
        std::fs::write(&beside, tar.into_inner().unwrap()).unwrap();
        std::fs::rename(beside, self.path()).unwrap();
    }
}

fn add_executable(tar: &mut Builder<Vec<u8>>, path: &str, content: &[u8]) {
    let mut header = Header::new_gnu();
    header.set_size(content.len() as u64);
    header.set_mode(0o755);
    tar.append_data(&mut header, path, content).unwrap();
}

/// Adds a member with a name that the builder itself might refuse.
fn add(tar: &mut Builder<Vec<u8>>, kind: EntryType, path: &str, target: &str, content: &[u8]) {
    let mut header = Header::new_gnu();
    header.set_entry_type(kind);
    header.set_size(content.len() as u64);
    header.set_mode(0o644);
    header.as_gnu_mut().unwrap().linkname[..target.len()].copy_from_slice(target.as_bytes());
    header.as_gnu_mut().unwrap().name[..path.len()].copy_from_slice(path.as_bytes());
    header.set_cksum();
    tar.append(&header, content).unwrap();
}

#[async_trait]
impl Source for Tarball {
    async fn apply(&mut self, edits: &[Edit]) {
        edits.iter().for_each(|edit| edit.apply(&mut self.files));
        self.save();
    }

    async fn remove(&mut self) {
        std::fs::remove_file(self.path()).unwrap();
    }

    fn strategy(&self) -> Arc<dyn Strategy> {
        strategy(&self.path())
    }

    fn local(&self) -> Option<PathBuf> {
        Some(self.dir.path().to_owned())
    }
}

fn strategy(path: &Path) -> Arc<dyn Strategy> {
    let source = format!("tar:{}", path.display());
    (TAR.build)(&Spec { source: &source, settings: &Default::default() }).unwrap()
}

#[tokio::test]
async fn it_keeps_the_contract() {
    conformance::all(async || Tarball::new()).await;
}

type Member<'a> = (EntryType, &'a str, &'a str, &'a str);

async fn sync(members: &[Member<'_>]) -> Result<dagsync_testkit::Synced, dagsync_core::Error> {
    let tarball = Tarball::new();
    let mut tar = Builder::new(Vec::new());
    for (kind, path, target, content) in members {
        add(&mut tar, *kind, path, target, content.as_bytes());
    }
    std::fs::write(tarball.path(), tar.into_inner().unwrap()).unwrap();
    Harness::new().sync(&*tarball.strategy()).await
}

#[tokio::test]
async fn members_are_taken_as_tar_unpacks_them() {
    let synced = sync(&[
        (EntryType::Directory, "./", "", ""),
        (EntryType::Regular, "./a.py", "", "old"),
        (EntryType::Link, "./hard.py", "./a.py", ""),
        (EntryType::Regular, "./a.py", "", "new"),
        (EntryType::Symlink, "l", "a.py", ""),
        (EntryType::Fifo, "pipe", "", ""),
        (EntryType::Char, "device", "", ""),
        (EntryType::Regular, "__pycache__/../x", "", "left out by its folder"),
    ])
    .await
    .unwrap();
    let found: Vec<_> = synced.manifest.entries().iter().map(|e| (e.path.as_str(), e.digest)).collect();
    let digest = Digest::of;
    assert_eq!(found, [("a.py", digest("new")), ("hard.py", digest("old")), ("l", digest("new"))]);
}

#[tokio::test]
async fn what_would_leave_the_folder_is_refused() {
    for path in ["../x", "/etc/x", "a/../../x", "a//x", "a/./x", "a\nb"] {
        let error = sync(&[(EntryType::Regular, path, "", "x")]).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Refused, "{path:?}: {error}");
        assert!(TreePath::new(path).is_err());
    }
    let through_link = [(EntryType::Symlink, "out", "..", ""), (EntryType::Regular, "out/x", "", "x")];
    assert_eq!(sync(&through_link).await.unwrap_err().kind(), ErrorKind::Refused);
    for target in ["../secret", "/etc/passwd", "later.py"] {
        let error = sync(&[(EntryType::Link, "hard", target, ""), (EntryType::Regular, "later.py", "", "x")]).await;
        assert_eq!(error.unwrap_err().kind(), ErrorKind::Refused, "{target}");
    }
}

#[tokio::test]
async fn a_sparse_file_is_refused_and_not_read_wrongly() {
    let tarball = Tarball::new();
    let tree = tempfile::tempdir().unwrap();
    std::fs::File::create(tree.path().join("holes")).unwrap().set_len(1 << 20).unwrap();
    for format in ["gnu", "pax"] {
        let mut command = std::process::Command::new("tar");
        command.args(["--sparse", "--format", format, "-cf"]).arg(tarball.path()).arg("-C").arg(tree.path());
        assert!(command.arg("holes").status().unwrap().success());
        let error = Harness::new().sync(&*tarball.strategy()).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Refused, "{format}: {error}");
    }
}

#[tokio::test]
async fn a_damaged_tar_file_is_corrupt_and_names_itself() {
    let mut tarball = Tarball::new();
    tarball.apply(&[dagsync_testkit::file("a.py", "x".repeat(5000))]).await;
    let whole = std::fs::read(tarball.path()).unwrap();
    for bytes in [&whole[..700], &whole[..3000], &[7; 2048]] {
        std::fs::write(tarball.path(), bytes).unwrap();
        let error = Harness::new().sync(&*tarball.strategy()).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
        assert!(error.to_string().contains("dags.tar"), "{error}");
    }
}

/// GNU tar writes long names and large values in its own ways; what it makes must come out as it went in.
#[tokio::test]
async fn what_gnu_tar_writes_is_read() {
    let tarball = Tarball::new();
    let tree = tempfile::tempdir().unwrap();
    let long = format!("{}/{}.py", "d".repeat(120), "é".repeat(60));
    let files: Files = [("a.py", "a"), (&long, "long"), ("sub/b.py", "b")]
        .map(|(p, c)| (p.to_owned(), Item::File { content: c.into(), executable: false }))
        .into();
    dagsync_testkit::oracle::lay_out(&files, tree.path()).unwrap();
    for format in ["gnu", "pax", "posix"] {
        let mut command = std::process::Command::new("tar");
        command.args(["--format", format, "-cf"]).arg(tarball.path()).arg("-C").arg(tree.path()).arg(".");
        assert!(command.status().unwrap().success());
        let synced = Harness::new().sync(&*tarball.strategy()).await.unwrap();
        let manifest = String::from_utf8(synced.manifest.to_bytes()).unwrap();
        assert_eq!(manifest, dagsync_testkit::oracle::expected(&files).unwrap(), "{format}");
    }
}

#[test]
fn a_registry_finds_it_by_name_and_by_source() {
    let registry = Registry::new().with(TAR);
    assert_eq!(registry.find("", "tar:/dags.tar").unwrap().name, "tar");
    assert_eq!(registry.find("tar", "/dags.tar").unwrap().name, "tar");
    let relative = (TAR.build)(&Spec { source: "tar:dags.tar", settings: &Default::default() }).unwrap_err();
    assert_eq!(relative.kind(), ErrorKind::Config);
}
