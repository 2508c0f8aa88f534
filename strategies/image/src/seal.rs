//! The seal: what a tree was when its image was built.
//!
//! Three files below `.dagsync/`, which is no part of the tree: `manifest` as sha256sum prints it, `seal.json` with the
//! version, the globs and where the tree came from, and, if it was signed, `seal.sig`. The first two are a function of the
//! tree and the arguments alone, so an image that is built again is the same byte for byte.

use std::collections::BTreeSet;
use std::path::Path;

use dagsync_core::{Digest, Error, ErrorKind, Filter, HashedTree, Manifest, Result, TreePath, Version, fs};
use serde::{Deserialize, Serialize};

use crate::sign::{Key, Signer};

/// Where a seal lies, below the tree that it is of.
pub const FOLDER: &str = ".dagsync";
const MANIFEST: &str = ".dagsync/manifest";
const SEAL: &str = ".dagsync/seal.json";
const SIGNATURE: &str = ".dagsync/seal.sig";

const FORMAT: u32 = 1;
const SEAL_MAX: u64 = 1 << 20;
const MANIFEST_MAX: u64 = 1 << 30;

/// What `seal.json` says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Seal {
    /// The layout of this file.
    pub format: u32,
    /// The version of the tree.
    pub version: Version,
    /// How many files it has.
    pub files: u64,
    /// The globs under which it was read.
    pub include: Vec<String>,
    /// See `include`.
    pub exclude: Vec<String>,
    /// Symbolic links that counted for nothing, because they led nowhere or out of the tree; any other was added since.
    #[serde(skip_serializing_if = "BTreeSet::is_empty", default)]
    pub links: BTreeSet<String>,
    /// What the source called it, such as a commit id.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub revision: Option<String>,
}

/// A seal with the manifest that it vouches for.
#[derive(Debug, Clone)]
pub struct Sealed {
    /// What it says.
    pub seal: Seal,
    /// The files with their digests.
    pub manifest: Manifest,
}

impl Sealed {
    /// The seal of a tree that was read under these globs.
    pub fn new(tree: &HashedTree, include: &[String], exclude: &[String], revision: Option<String>) -> Self {
        let sorted = |globs: &[String]| {
            let mut globs = globs.to_vec();
            globs.sort_unstable();
            globs.dedup();
            globs
        };
        let manifest = tree.manifest.clone();
        let seal = Seal {
            format: FORMAT,
            version: manifest.version(),
            files: manifest.len() as u64,
            include: sorted(include),
            exclude: sorted(exclude),
            links: tree.skipped.iter().map(|link| link.path.as_str().to_owned()).collect(),
            // An argument of a build that nobody gave is empty.
            revision: revision.filter(|revision| !revision.is_empty()),
        };
        Self { seal, manifest }
    }

    /// Writes the seal into `dir`, signed if there is a key; an older one is replaced.
    pub fn write(&self, dir: &Path, signer: Option<&Signer>) -> Result<()> {
        fs::create_folders(&dir.join(FOLDER))?;
        let json = self.seal.to_bytes();
        // An old signature must not stand beside a new seal, whenever this is stopped.
        fs::remove_file(&dir.join(SIGNATURE))?;
        fs::write_atomic(&dir.join(MANIFEST), &self.manifest.to_bytes())?;
        fs::write_atomic(&dir.join(SEAL), &json)?;
        match signer {
            Some(signer) => fs::write_atomic(&dir.join(SIGNATURE), &signer.sign(&json)),
            None => Ok(()),
        }
    }

    /// Reads the seal of `dir`, and checks it by itself and, with a `key`, its signature; `None` when there is none.
    ///
    /// # Errors
    /// [`ErrorKind::Mismatch`] when the seal or its manifest were edited or belong to another tree;
    /// [`ErrorKind::Untrusted`] when the signature is missing or of another key.
    pub fn read(dir: &Path, key: Option<&Key>) -> Result<Option<Self>> {
        let Some(json) = part(&dir.join(SEAL), SEAL_MAX)? else { return Ok(None) };
        if let Some(key) = key {
            let signature = part(&dir.join(SIGNATURE), SEAL_MAX)?.ok_or_else(|| {
                Error::new(ErrorKind::Untrusted, "verify seal", format!("{} is not signed", dir.display()))
                    .with_hint("seal it with --sign-key, or verify it without a key")
            })?;
            key.verify(&json, &signature).map_err(|e| e.with_context("seal", dir.join(SEAL).display()))?;
        }
        let seal: Seal = serde_json::from_slice(&json)
            .map_err(|e| edited(&dir.join(SEAL), "is not a seal as dagsync writes it").with_source(e))?;
        if seal.format != FORMAT {
            let message = format!("{} is of format {}, and this dagsync knows {FORMAT}", dir.display(), seal.format);
            return Err(Error::new(ErrorKind::Config, "read seal", message).with_hint("use a newer dagsync"));
        }
        if json != seal.to_bytes() {
            return Err(edited(&dir.join(SEAL), "was edited: dagsync writes it otherwise"));
        }
        let path = dir.join(MANIFEST);
        let bytes = part(&path, MANIFEST_MAX)?.ok_or_else(|| edited(&path, "is missing"))?;
        if Version::from(Digest::of(&bytes)) != seal.version {
            return Err(edited(&path, "is not the manifest of the sealed version"));
        }
        let manifest = Manifest::parse(&bytes)?;
        if manifest.len() as u64 != seal.files {
            return Err(edited(&dir.join(SEAL), "counts other files than its manifest"));
        }
        Ok(Some(Self { seal, manifest }))
    }

    /// The globs under which the tree is to be read.
    pub fn filter(&self) -> Result<Filter> {
        Filter::new(&self.seal.include, &self.seal.exclude)
    }

    /// The links that counted for nothing.
    pub fn links(&self) -> Result<BTreeSet<TreePath>> {
        self.seal.links.iter().map(TreePath::new).collect()
    }
}

impl Seal {
    fn to_bytes(&self) -> Vec<u8> {
        let mut json = serde_json::to_vec_pretty(self).expect("a seal has only text keys");
        json.push(b'\n');
        json
    }
}

/// One of the three files. What lies in its place and is none was put there.
fn part(path: &Path, max: u64) -> Result<Option<Vec<u8>>> {
    fs::read(path, max).map_err(|e| match e.raw_os_error().map(|code| std::io::Error::from_raw_os_error(code).kind()) {
        Some(std::io::ErrorKind::IsADirectory) => edited(path, "is no file"),
        _ => e,
    })
}

fn edited(path: &Path, how: &str) -> Error {
    Error::new(ErrorKind::Mismatch, "verify seal", format!("{} {how}", path.display()))
        .with_hint("rebuild the image; whoever can write there can change DAGs too")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree(dir: &Path) -> HashedTree {
        dagsync_testkit::Harness::new().read(dir, None).unwrap()
    }

    fn sealed(dir: &Path) -> Sealed {
        std::fs::write(dir.join("a.py"), "1").unwrap();
        let sealed = Sealed::new(&tree(dir), &["b".into(), "a".into(), "b".into()], &[], Some("abc".into()));
        sealed.write(dir, None).unwrap();
        sealed
    }

    #[test]
    fn a_seal_is_read_as_it_was_written_and_is_the_same_each_time() {
        let (one, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        sealed(one.path());
        let written = sealed(other.path());
        let read = Sealed::read(one.path(), None).unwrap().unwrap();
        assert_eq!(read.seal, written.seal);
        assert_eq!(read.seal.include, ["a", "b"]);
        for name in [SEAL, MANIFEST] {
            let bytes = |dir: &tempfile::TempDir| std::fs::read(dir.path().join(name)).unwrap();
            assert_eq!(bytes(&one), bytes(&other), "{name}");
        }
        let changes = |sealed: &Sealed| tree(one.path()).changes_since(&sealed.manifest, &sealed.links().unwrap());
        assert!(changes(&read).is_empty(), "a seal is no part of the tree");
        std::os::unix::fs::symlink("/etc/hostname", one.path().join("b.py")).unwrap();
        assert_eq!(
            changes(&read)[0].path.as_str(),
            "b.py",
            "a link out of the tree is no file of it, but somebody may run it"
        );
        let again = Sealed::new(&tree(one.path()), &[], &[], Some(String::new()));
        assert_eq!(again.seal.revision, None, "what is empty is no name");
        assert!(changes(&again).is_empty(), "one that was there when it was sealed is known");
        assert!(Sealed::read(tempfile::tempdir().unwrap().path(), None).unwrap().is_none());
    }

    #[test]
    fn whatever_is_edited_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let good = sealed(dir.path());
        let at = |name: &str| dir.path().join(name);
        let refuse = |named: &str| {
            let error = Sealed::read(dir.path(), None).unwrap_err();
            assert!(error.kind() == ErrorKind::Mismatch && error.to_string().contains(named), "{error}");
            good.write(dir.path(), None).unwrap();
        };
        std::fs::write(at(MANIFEST), format!("{}  a.py\n", Digest::of("2"))).unwrap();
        refuse("is not the manifest of the sealed version");
        std::fs::remove_file(at(MANIFEST)).unwrap();
        refuse("manifest is missing");
        let text = std::fs::read_to_string(at(SEAL)).unwrap();
        for (from, to, named) in [
            ("\"files\": 1", "\"files\": 2", "counts other files"),
            ("\"files\": 1", "\"files\":  1", "was edited"),
            ("\"files\"", "\"fils\"", "is not a seal"),
        ] {
            assert!(text.contains(from));
            std::fs::write(at(SEAL), text.replace(from, to)).unwrap();
            refuse(named);
        }
        let other = Digest::of("x").to_string();
        std::fs::write(at(SEAL), text.replace(&good.seal.version.hex(), &other)).unwrap();
        refuse("is not the manifest of the sealed version");
    }
}
