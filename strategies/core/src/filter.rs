//! Which files belong to the DAG tree: what is always left out, and more by configured globs.

use std::collections::BTreeSet;
use std::fmt;

use globset::{GlobBuilder, GlobSet, GlobSetBuilder};

use crate::error::{Error, ErrorKind, Result};
use crate::manifest::Digest;

/// Says for every path whether it belongs to the tree. The default leaves out only what is always left out.
///
/// A glob is matched against the whole path below the root and against each of its parent folders, so `tests` and
/// `tests/**` leave out the same files. `*` and `?` do not match `/`; `**` does. With include globs, only files that
/// one of them matches belong to the tree; an exclude glob wins over an include glob.
#[derive(Clone, Default)]
pub struct Filter {
    include: Option<GlobSet>,
    exclude: GlobSet,
    hash: FilterHash,
}

#[derive(Clone)]
struct FilterHash(Digest);

impl Default for FilterHash {
    fn default() -> Self {
        Self(hash_of(&[], &[]))
    }
}

impl Filter {
    /// A filter from configured globs.
    ///
    /// # Errors
    /// [`ErrorKind::Config`] naming the glob that cannot be read.
    pub fn new(include: &[String], exclude: &[String]) -> Result<Self> {
        Ok(Self {
            include: if include.is_empty() { None } else { Some(compile("include", include)?) },
            exclude: compile("exclude", exclude)?,
            hash: FilterHash(hash_of(include, exclude)),
        })
    }

    /// The hash of the globs. Versions of two pods are comparable only when these are equal.
    pub fn hash(&self) -> Digest {
        self.hash.0
    }

    /// Whether the file (or symbolic link) at `path` belongs to the tree.
    pub fn keeps(&self, path: &str) -> bool {
        ancestors(path).skip(1).all(|folder| self.enters_here(folder)) && self.keeps_here(path)
    }

    /// As [`Filter::keeps`], for a path whose folder was entered: does not look at the folders above again.
    pub fn keeps_here(&self, path: &str) -> bool {
        let included = |set: &GlobSet| ancestors(path).any(|p| set.is_match(p));
        !is_builtin_name(name(path)) && !self.excludes(path) && self.include.as_ref().is_none_or(included)
    }

    /// Whether anything below the folder at `path` can belong to the tree: `false` saves reading it.
    pub fn enters(&self, path: &str) -> bool {
        ancestors(path).all(|folder| self.enters_here(folder))
    }

    /// As [`Filter::enters`], for a path whose folder was entered.
    pub fn enters_here(&self, path: &str) -> bool {
        let name = name(path);
        !is_builtin_name(name) && !is_builtin_folder(name) && !self.excludes(path)
    }

    /// Whether the configured globs alone, without what is always left out, choose the file at `path`.
    pub fn chooses(&self, path: &str) -> bool {
        let included = |set: &GlobSet| ancestors(path).any(|p| set.is_match(p));
        !ancestors(path).any(|p| self.excludes(p)) && self.include.as_ref().is_none_or(included)
    }

    /// Whether the file at `path` is left out whatever is configured.
    pub fn always_leaves_out(path: &str) -> bool {
        let is_builtin = |folder| is_builtin_name(folder) || is_builtin_folder(folder);
        is_builtin_name(name(path)) || ancestors(path).skip(1).map(name).any(is_builtin)
    }

    /// Whether an exclude glob matches `path` itself.
    pub fn excludes(&self, path: &str) -> bool {
        !self.exclude.is_empty() && self.exclude.is_match(path)
    }
}

impl fmt::Debug for Filter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Filter").field("hash", &self.hash.0).finish_non_exhaustive()
    }
}

/// What is always left out, as `.gitignore` would write it. Part of the version's definition.
pub const BUILTIN: &[&str] = &[".git", "*.pyc", "*.pyo", ".nfs*", "__pycache__/", ".dagsync/", "lost+found/"];

fn is_builtin_name(name: &str) -> bool {
    name == ".git" || name.ends_with(".pyc") || name.ends_with(".pyo") || name.starts_with(".nfs")
}

fn is_builtin_folder(name: &str) -> bool {
    matches!(name, "__pycache__" | ".dagsync" | "lost+found")
}

fn name(path: &str) -> &str {
    path.rsplit_once('/').map_or(path, |(_, name)| name)
}

/// The path itself, then its parent folders from the inside out.
fn ancestors(path: &str) -> impl Iterator<Item = &str> {
    std::iter::successors(Some(path), |p| p.rsplit_once('/').map(|(parent, _)| parent))
}

fn compile(setting: &'static str, globs: &[String]) -> Result<GlobSet> {
    let bad = |glob: &str, e: globset::Error| {
        Error::new(ErrorKind::Config, "read filter", format!("{setting} glob {glob:?} cannot be read")).with_source(e)
    };
    let mut set = GlobSetBuilder::new();
    for glob in globs {
        let pattern = glob.strip_prefix('/').unwrap_or(glob).trim_end_matches('/');
        set.add(GlobBuilder::new(pattern).literal_separator(true).build().map_err(|e| bad(glob, e))?);
    }
    set.build().map_err(|e| bad(&globs.join(" "), e))
}

/// Order and repetition of globs do not change what they match, so they do not change the hash.
fn hash_of(include: &[String], exclude: &[String]) -> Digest {
    let mut text = String::from("dagsync-filter 1\n");
    for (name, globs) in [("include", include), ("exclude", exclude)] {
        for glob in globs.iter().collect::<BTreeSet<_>>() {
            text.push_str(&format!("{name} {}:{glob}\n", glob.len()));
        }
    }
    Digest::of(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filter(include: &[&str], exclude: &[&str]) -> Filter {
        let owned = |globs: &[&str]| globs.iter().map(|g| (*g).to_owned()).collect::<Vec<_>>();
        Filter::new(&owned(include), &owned(exclude)).unwrap()
    }

    #[test]
    fn caches_and_repositories_are_always_left_out() {
        let f = Filter::default();
        for out in [
            ".git",
            ".git/config",
            "sub/.git",
            "a/__pycache__/x.py",
            "x.pyc",
            "a/x.pyo",
            ".dagsync/state.json",
            ".nfs0001",
            "lost+found/x",
            "x.pyc/readme",
        ] {
            assert!(!f.keeps(out), "{out}");
        }
        for kept in ["a.py", ".gitignore", ".github/x", "__pycache__", "lost+found", "a/.airflowignore", "nfs.py"] {
            assert!(f.keeps(kept), "{kept}");
        }
        assert!(!f.enters("__pycache__") && !f.enters("a/.git") && f.enters("a/b"));
    }

    #[test]
    fn globs_match_the_whole_path_and_parent_folders() {
        let f = filter(&[], &["tests", "**/*.md", "/docs/"]);
        assert!(!f.keeps("tests/a.py") && !f.keeps("README.md") && !f.keeps("a/b/README.md") && !f.keeps("docs/x"));
        assert!(f.keeps("a/tests/b.py") && f.keeps("tests.py"));
        assert!(!f.enters("tests") && f.enters("a"));
        let f = filter(&["team_a", "*.py"], &["team_a/secret"]);
        assert!(f.keeps("x.py") && f.keeps("team_a/deep/y.sql"));
        assert!(!f.keeps("team_b/x.py") && !f.keeps("team_a/secret/x.py"));
    }

    #[test]
    fn the_hash_tells_filters_apart_but_not_their_order() {
        assert_eq!(filter(&[], &["a", "b"]).hash(), filter(&[], &["b", "a", "a"]).hash());
        assert_ne!(filter(&[], &["a"]).hash(), filter(&["a"], &[]).hash());
        assert_ne!(filter(&[], &["a"]).hash(), Filter::default().hash());
        assert_eq!(filter(&[], &[]).hash(), Filter::default().hash());
    }

    #[test]
    fn what_is_always_left_out_and_what_the_globs_choose_are_two_things() {
        for out in ["__pycache__/x.py", "a/x.pyc", ".dagsync/x", "x.pyc/readme", ".nfs1"] {
            assert!(Filter::always_leaves_out(out) && Filter::default().chooses(out), "{out}");
        }
        assert!(!Filter::always_leaves_out("a/__pycache__") && !Filter::always_leaves_out("a/b.py"));
        let f = filter(&["team"], &["team/secret"]);
        assert!(f.chooses("team/__pycache__/x.py") && !f.chooses("x.pyc") && !f.chooses("team/secret/x.pyc"));
    }

    #[test]
    fn a_bad_glob_is_named() {
        let error = Filter::new(&[], &["a[".to_owned()]).unwrap_err();
        assert!(error.to_string().contains("exclude glob \"a[\""), "{error}");
    }
}
