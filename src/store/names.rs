//! What the folders of published trees are called, in either layout.

use std::fmt;
use std::path::{Component, Path, PathBuf};
use std::str::FromStr;

use dagsync_core::{Digest, Error, ErrorKind, Result, Revision, Version};

use crate::config::Layout;

pub(super) const VERSIONS: &str = "versions";
pub(super) const WORKTREES: &str = ".worktrees";
/// What a further copy of a commit lies in, below [`WORKTREES`]: the last part of its path must stay the commit.
const COPY: &str = "copy-";

/// The name of the folder of a published tree.
///
/// Its text is `<version>` in layout `versions` and `<commit>@<version>` in layout `worktrees`; `.2`, `.3` and so on
/// stand behind the first part of a further copy.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FolderName {
    version: Version,
    /// The commit that the folder is called after; `None` where it is the version.
    commit: Option<String>,
    /// 1 for the first copy, which has no suffix.
    copy: u64,
}

impl FolderName {
    /// The name in `layout` of the first copy of what `revision` brought.
    ///
    /// # Errors
    /// [`ErrorKind::Refused`] when the layout calls folders after commits and the revision is none.
    pub(super) fn new(layout: Layout, version: Version, revision: &Revision) -> Result<Self> {
        let commit = match layout {
            Layout::Versions => None,
            Layout::Worktrees if is_commit(revision.as_str()) => Some(revision.as_str().to_owned()),
            Layout::Worktrees => {
                let message =
                    format!("revision {revision} is no commit id, which layout worktrees calls folders after");
                return Err(Error::new(ErrorKind::Refused, "publish", message)
                    .with_hint("set layout = \"versions\" for this source"));
            }
        };
        Ok(Self { version, commit, copy: 1 })
    }

    /// The name of another copy of the same.
    pub(super) fn with_copy(&self, copy: u64) -> Self {
        Self { copy, ..self.clone() }
    }

    /// The version that the folder holds.
    pub const fn version(&self) -> Version {
        self.version
    }

    /// The revision that it was published for, where its name tells.
    pub fn revision(&self) -> Option<Revision> {
        self.commit.clone().map(Revision::new)
    }

    /// Whether it is called after a commit, so that only a record tells its version.
    pub(super) const fn is_worktree(&self) -> bool {
        self.commit.is_some()
    }

    /// Whether it is a copy, whichever, of what `other` names.
    pub(super) fn is_like(&self, other: &Self) -> bool {
        (self.version, &self.commit) == (other.version, &other.commit)
    }

    /// Where it lies below the store's root.
    pub(super) fn path(&self) -> PathBuf {
        match &self.commit {
            Some(commit) => Worktree { commit: commit.clone(), copy: self.copy }.path(),
            None => Path::new(VERSIONS).join(self.to_string()),
        }
    }
}

fn write_copy(f: &mut fmt::Formatter<'_>, id: &str, copy: u64) -> fmt::Result {
    f.write_str(id)?;
    if copy > 1 { write!(f, ".{copy}") } else { Ok(()) }
}

impl fmt::Display for FolderName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.commit {
            None => write_copy(f, &self.version.hex(), self.copy),
            Some(commit) => {
                write_copy(f, commit, self.copy)?;
                write!(f, "@{}", self.version.hex())
            }
        }
    }
}

impl FromStr for FolderName {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self> {
        let parse = || {
            let (id, version) = name.split_once('@').map_or((name, None), |(id, version)| (id, Some(version)));
            let (id, copy) = match id.split_once('.') {
                Some((id, copy)) => (id, copy.parse().ok()?),
                None => (id, 1),
            };
            let version = Version::from(version.unwrap_or(id).parse::<Digest>().ok()?);
            let commit = name.contains('@').then(|| id.to_owned());
            let parsed = Self { version, commit, copy };
            // One spelling each.
            let fine = copy > 0 && parsed.commit.as_deref().is_none_or(is_commit) && parsed.to_string() == name;
            fine.then_some(parsed)
        };
        parse().ok_or_else(|| {
            Error::new(ErrorKind::Refused, "read store", format!("{name:?} is not the folder of a version"))
        })
    }
}

impl serde::Serialize for FolderName {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> serde::Deserialize<'de> for FolderName {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// A folder that is called after a commit, whoever made it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Worktree {
    commit: String,
    copy: u64,
}

impl Worktree {
    /// The worktree at `path` below the root, if it is where worktrees lie.
    pub(super) fn at(path: &Path) -> Option<Self> {
        let parts: Vec<&str> =
            path.strip_prefix(WORKTREES).ok()?.iter().map(|part| part.to_str()).collect::<Option<_>>()?;
        let (commit, copy) = match parts[..] {
            [commit] => (commit, 1),
            [copy, commit] => (commit, copy.strip_prefix(COPY)?.parse().ok().filter(|n| *n > 1)?),
            _ => return None,
        };
        let found = Self { commit: commit.to_owned(), copy };
        (is_commit(commit) && found.path() == path).then_some(found)
    }

    /// Where it lies below the root.
    pub(super) fn path(&self) -> PathBuf {
        let home = Path::new(WORKTREES);
        if self.copy > 1 {
            home.join(format!("{COPY}{}", self.copy)).join(&self.commit)
        } else {
            home.join(&self.commit)
        }
    }

    /// Its name when it holds `version`.
    pub(super) fn named(self, version: Version) -> FolderName {
        FolderName { version, commit: Some(self.commit), copy: self.copy }
    }
}

/// Whether git-sync of version 3 called a folder in the root so.
pub(super) fn is_old_worktree(path: &Path) -> bool {
    path.to_str().is_some_and(|name| is_commit(name.strip_prefix("rev-").unwrap_or(name)))
}

/// A full commit id, of either of git's hashes.
fn is_commit(id: &str) -> bool {
    matches!(id.len(), 40 | 64) && id.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
}

/// `to` as seen from the folder `from`; both absolute and without links.
pub(super) fn relative(from: &Path, to: &Path) -> PathBuf {
    let shared = from.components().zip(to.components()).take_while(|(a, b)| a == b).count();
    let up = from.components().skip(shared).map(|_| Component::ParentDir);
    up.chain(to.components().skip(shared)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folder_names_have_one_spelling() {
        let hex = Digest::of("x").to_string();
        let commit = "1".repeat(40);
        for good in [
            hex.clone(),
            format!("{hex}.2"),
            format!("{hex}.17"),
            format!("{commit}@{hex}"),
            format!("{commit}.2@{hex}"),
            format!("{hex}@{hex}"),
        ] {
            assert_eq!(good.parse::<FolderName>().unwrap().to_string(), good);
        }
        let upper = hex.to_uppercase();
        for bad in [
            format!("{hex}.1"),
            format!("{hex}.0"),
            format!("{hex}.02"),
            format!("{hex}."),
            format!("{commit}@"),
            format!("{commit}@{upper}"),
            format!("short@{hex}"),
            commit.clone(),
            upper,
            "x".to_owned(),
        ] {
            assert!(bad.parse::<FolderName>().is_err(), "{bad}");
        }
    }

    #[test]
    fn the_last_part_of_a_worktree_is_its_commit() {
        for commit in ["a".repeat(40), "b".repeat(64)] {
            for path in [format!(".worktrees/{commit}"), format!(".worktrees/copy-2/{commit}")] {
                let found = Worktree::at(Path::new(&path)).unwrap();
                let name = found.named(Version::from(Digest::of("x")));
                assert_eq!((name.path(), name.revision()), (PathBuf::from(&path), Some(Revision::new(&commit))));
                assert_eq!(name.to_string().parse::<FolderName>().unwrap(), name);
            }
            for bad in ["copy-1/", "copy-02/", "copy-2/x/", "x/", "../"] {
                assert_eq!(Worktree::at(Path::new(&format!(".worktrees/{bad}{commit}"))), None, "{bad}");
            }
        }
        assert_eq!(Worktree::at(Path::new(".worktrees/abc")), None);
        assert_eq!(Worktree::at(Path::new("versions/abc")), None);
    }

    #[test]
    fn a_link_target_is_relative_to_the_folder_of_the_link() {
        for (from, to, expected) in [
            ("/git", "/git/.worktrees/c", ".worktrees/c"),
            ("/git/a/b", "/git/.worktrees/c", "../../.worktrees/c"),
            ("/links", "/git/.worktrees/c", "../git/.worktrees/c"),
        ] {
            assert_eq!(relative(Path::new(from), Path::new(to)), Path::new(expected));
        }
    }
}
