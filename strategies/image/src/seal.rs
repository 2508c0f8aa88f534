//! The seal: what a tree was when its image was built.
//!
//! Three files below `.dagsync/`, which is no part of the tree: `manifest` as sha256sum prints it, `seal.json` with the
//! version, the globs, the links that count for nothing and where the tree came from, and, if it was signed, `seal.sig`. The
//! first two are a function of the tree and the arguments alone, so an image that is built again is the same byte for byte.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use dagsync_core::fs::{self, Folder};
use dagsync_core::links::Links;
use dagsync_core::{Digest, Error, ErrorKind, Filter, HashedTree, Manifest, Result, TreePath, Version};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};

use crate::sign::{Key, Signer};

/// Where a seal lies, below the tree that it is of.
pub const FOLDER: &str = ".dagsync";
const MANIFEST: &str = "manifest";
const SEAL: &str = "seal.json";
const SIGNATURE: &str = "seal.sig";
/// All that may lie there.
pub(crate) const PARTS: &[&str] = &[MANIFEST, SEAL, SIGNATURE];

/// What a file is called until it is complete.
const TEMPORARY: &str = ".tmp";

const FORMAT: u32 = 1;
const SEAL_MAX: u64 = 1 << 20;
const MANIFEST_MAX: u64 = 1 << 30;
/// The longest line of a manifest: a digest, two spaces, a path of Linux' `PATH_MAX` and a line break.
const LINE_MAX: u64 = 64 + 2 + 4096 + 1;

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
    /// Symbolic links that counted for nothing, because they led nowhere or out of the tree, and where they point; any other
    /// was added since.
    #[serde(skip_serializing_if = "BTreeMap::is_empty", default)]
    pub links: BTreeMap<String, String>,
    /// What the source called it, such as a commit id.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub revision: Option<String>,
}

/// The part of a seal that tells how to read the rest.
#[derive(Deserialize)]
struct Format {
    format: u32,
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
    ///
    /// # Errors
    /// [`ErrorKind::Refused`] when the tree has what a seal cannot say.
    pub fn new(tree: &HashedTree, include: &[String], exclude: &[String], revision: Option<String>) -> Result<Self> {
        let sorted = |globs: &[String]| {
            let mut globs = globs.to_vec();
            globs.sort_unstable();
            globs.dedup();
            globs
        };
        let manifest = tree.manifest.clone();
        // An argument of a build that nobody gave is empty.
        let revision = revision.filter(|revision| !revision.is_empty());
        if revision.as_ref().is_some_and(|revision| revision.contains(char::is_control)) {
            return Err(Error::new(ErrorKind::Config, "seal", "--revision holds a control character"));
        }
        let seal = Seal {
            format: FORMAT,
            version: manifest.version(),
            files: manifest.len() as u64,
            include: sorted(include),
            exclude: sorted(exclude),
            links: tree.idle_links().map(text_of).collect::<Result<_>>()?,
            revision,
        };
        if seal.to_bytes().len() as u64 > SEAL_MAX {
            let message = format!("the seal would be larger than {SEAL_MAX} bytes, with {} links", seal.links.len());
            return Err(refused(message).with_hint("remove symbolic links that lead nowhere or out of the tree"));
        }
        Ok(Self { seal, manifest })
    }

    /// Writes the seal into `dir`, signed if there is a key; an older one is replaced, and whether its signature is lost is
    /// told. No link there is followed.
    pub fn write(&self, dir: &Path, signer: Option<&Signer>) -> Result<bool> {
        let folder = Folder::open(dir)?.make_folder(FOLDER).map_err(|error| match number(&error) {
            Some(Errno::NOTDIR | Errno::LOOP) => refused(format!("{} is no folder", dir.join(FOLDER).display()))
                .with_hint("remove it: a seal is never written through a link"),
            _ => error,
        })?;
        let json = self.seal.to_bytes();
        // An old signature must not stand beside a new seal, whenever this is stopped.
        let was_signed = remove(&folder, SIGNATURE)?;
        replace(&folder, MANIFEST, &self.manifest.to_bytes())?;
        replace(&folder, SEAL, &json)?;
        if let Some(signer) = signer {
            replace(&folder, SIGNATURE, &signer.sign(&json))?;
        }
        Ok(was_signed && signer.is_none())
    }

    /// Reads the seal of `dir`, and checks it by itself and, with a `key`, its signature; `None` when there is none, which
    /// with a key is an error. No link there is followed.
    ///
    /// # Errors
    /// [`ErrorKind::Mismatch`] when the seal or its manifest were edited or belong to another tree;
    /// [`ErrorKind::Untrusted`] when the signature is missing or of another key; [`ErrorKind::Config`] when a signed seal is
    /// of a newer dagsync; an I/O error of the medium.
    pub fn read(dir: &Path, key: Option<&Key>) -> Result<Option<Self>> {
        let place = dir.join(FOLDER);
        let at = |name: &str| place.join(name);
        let folder = open(dir)?;
        let Some(json) = part(folder.as_ref(), &at(SEAL), SEAL, SEAL_MAX)? else {
            return match key {
                _ if is_there(folder.as_ref(), MANIFEST) || is_there(folder.as_ref(), SIGNATURE) => {
                    Err(edited(&at(SEAL), "is missing"))
                }
                None => Ok(None),
                Some(_) => {
                    Err(Error::new(ErrorKind::Untrusted, "verify seal", format!("{} has no seal", dir.display()))
                        .with_hint("seal it with `dagsync seal --sign-key`; if it was, somebody removed its seal"))
                }
            };
        };
        if let Some(key) = key {
            let signature = part(folder.as_ref(), &at(SIGNATURE), SIGNATURE, SEAL_MAX)?.ok_or_else(|| {
                Error::new(ErrorKind::Untrusted, "verify seal", format!("{} is not signed", dir.display()))
                    .with_hint("seal it with --sign-key, or verify it without a key")
            })?;
            key.verify(&json, &signature).map_err(|e| e.with_context("seal", at(SEAL).display()))?;
        }
        let seal = Seal::parse(&json, &at(SEAL), key.is_some())?;
        let max = seal.files.saturating_mul(LINE_MAX).min(MANIFEST_MAX);
        let path = at(MANIFEST);
        let bytes = part(folder.as_ref(), &path, MANIFEST, max)?.ok_or_else(|| edited(&path, "is missing"))?;
        if Version::from(Digest::of(&bytes)) != seal.version {
            return Err(edited(&path, "is not the manifest of the sealed version"));
        }
        let manifest = Manifest::parse(&bytes).map_err(|e| edited(&path, "is no manifest").with_source(e))?;
        if manifest.len() as u64 != seal.files {
            return Err(edited(&at(SEAL), "counts other files than its manifest"));
        }
        Ok(Some(Self { seal, manifest }))
    }

    /// The globs under which the tree is to be read.
    pub fn filter(&self) -> Result<Filter> {
        Filter::new(&self.seal.include, &self.seal.exclude)
    }

    /// The links that counted for nothing.
    pub fn links(&self) -> Result<Links> {
        self.seal.links()
    }
}

/// Whether something of a seal lies in `dir`.
pub fn is_sealed(dir: &Path) -> bool {
    Folder::open(dir.join(FOLDER)).is_ok_and(|folder| PARTS.iter().any(|name| is_there(Some(&folder), name)))
}

impl Seal {
    fn parse(json: &[u8], path: &Path, is_signed: bool) -> Result<Self> {
        let no_seal = |e: serde_json::Error| edited(path, "is not a seal as dagsync writes it").with_source(e);
        let Format { format } = serde_json::from_slice(json).map_err(no_seal)?;
        if format != FORMAT {
            let how = format!("is of format {format}, and this dagsync knows {FORMAT}");
            let kind = if is_signed { ErrorKind::Config } else { ErrorKind::Mismatch };
            return Err(Error::new(kind, "verify seal", format!("{} {how}", path.display()))
                .with_hint("use the dagsync that sealed it; if that is this one, the seal was edited"));
        }
        let seal: Self = serde_json::from_slice(json).map_err(no_seal)?;
        if json != seal.to_bytes() {
            return Err(edited(path, "was edited: dagsync writes it otherwise"));
        }
        seal.links().map_err(|e| edited(path, "names a link that cannot be").with_source(e))?;
        Filter::new(&seal.include, &seal.exclude)
            .map_err(|e| edited(path, "has a glob that cannot be read").with_source(e))?;
        Ok(seal)
    }

    fn links(&self) -> Result<Links> {
        let link = |(path, target): (&String, &String)| Ok((TreePath::new(path)?, target.clone().into_bytes()));
        self.links.iter().map(link).collect()
    }

    fn to_bytes(&self) -> Vec<u8> {
        let mut json = serde_json::to_vec_pretty(self).expect("a seal has only text keys");
        json.push(b'\n');
        json
    }
}

fn text_of((path, target): (&TreePath, &Vec<u8>)) -> Result<(String, String)> {
    let target = String::from_utf8(target.clone());
    let target = target.map_err(|_| {
        refused(format!("the symbolic link {path} has a target that is not UTF-8")).with_hint("remove it, or mend it")
    })?;
    Ok((path.as_str().to_owned(), target))
}

/// The folder of the seal. What lies in its place and is none was put there.
fn open(dir: &Path) -> Result<Option<Folder>> {
    match Folder::open(dir)?.folder(FOLDER) {
        Ok(folder) => Ok(Some(folder)),
        Err(error) => match number(&error) {
            Some(Errno::NOENT) => Ok(None),
            Some(Errno::NOTDIR | Errno::LOOP) => Err(edited(&dir.join(FOLDER), "is no folder")),
            Some(Errno::ACCESS) => Err(edited(&dir.join(FOLDER), "cannot be read").with_source(error)),
            _ => Err(error),
        },
    }
}

/// One of the three files.
fn part(folder: Option<&Folder>, path: &Path, name: &str, max: u64) -> Result<Option<Vec<u8>>> {
    let Some(folder) = folder else { return Ok(None) };
    let file = match folder.file(name) {
        Ok(file) => file,
        Err(error) => {
            return match number(&error) {
                Some(Errno::NOENT) => Ok(None),
                Some(Errno::LOOP | Errno::NXIO | Errno::NODEV) => Err(edited(path, "is no file")),
                Some(Errno::ACCESS) => Err(edited(path, "cannot be read").with_source(error)),
                _ => Err(error),
            };
        }
    };
    let io = |e| Error::io("read", path, e);
    if !file.metadata().map_err(io)?.is_file() {
        return Err(edited(path, "is no file"));
    }
    let mut bytes = Vec::new();
    file.take(max + 1).read_to_end(&mut bytes).map_err(io)?;
    if bytes.len() as u64 > max {
        return Err(edited(path, &format!("is larger than {max} bytes")));
    }
    Ok(Some(bytes))
}

fn is_there(folder: Option<&Folder>, name: &str) -> bool {
    folder.is_some_and(|folder| folder.stat(name).is_ok())
}

/// Whether there was something to remove.
fn remove(folder: &Folder, name: &str) -> Result<bool> {
    match folder.unlink(name) {
        Ok(()) => Ok(true),
        Err(error) if number(&error) == Some(Errno::NOENT) => Ok(false),
        Err(error) => Err(error),
    }
}

fn replace(folder: &Folder, name: &str, bytes: &[u8]) -> Result<()> {
    let beside = format!("{name}{TEMPORARY}");
    remove(folder, &beside)?;
    let at = |name: &str| -> PathBuf { folder.path().join(name) };
    let write = |mut file: File| file.write_all(bytes).and_then(|()| file.sync_data());
    write(folder.create(&beside, 0o644)?).map_err(|e| Error::io("write", at(&beside), e))?;
    fs::rename(&at(&beside), &at(name))
}

fn number(error: &Error) -> Option<Errno> {
    error.raw_os_error().map(Errno::from_raw_os_error)
}

fn refused(message: impl Into<String>) -> Error {
    Error::new(ErrorKind::Refused, "seal", message)
}

fn edited(path: &Path, how: &str) -> Error {
    Error::new(ErrorKind::Mismatch, "verify seal", format!("{} {how}", path.display()))
        .with_hint("rebuild the image; whoever can write there can change DAGs too")
}

#[cfg(test)]
#[path = "seal_tests.rs"]
mod tests;
