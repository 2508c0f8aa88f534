//! Sparse checkout: the file of patterns that says which part of the repository is wanted.
//!
//! The patterns are those of git's `info/sparse-checkout`: as in `.gitignore`, but what matches is wanted, the last match
//! counts, and what no pattern names is as its folder is.

use std::path::Path;

use dagsync_core::{Error, ErrorKind, Result, fs};
use ignore::gitignore::{Gitignore, GitignoreBuilder};

const MAX_BYTES: u64 = 1 << 20;
const WILD: [char; 4] = ['*', '?', '[', '\\'];

/// The patterns.
#[derive(Debug)]
pub(crate) struct Sparse {
    patterns: Gitignore,
    /// The parts of each pattern that adds something.
    wanted: Vec<Vec<String>>,
}

impl Sparse {
    /// Reads the file.
    pub(crate) fn read(file: &Path) -> Result<Self> {
        let fail = |why: String| {
            Error::new(ErrorKind::Config, "read sparse patterns", why)
                .with_context("git.sparse_checkout_file", file.display())
                .with_hint("check that it is mounted, and that it holds patterns as git's sparse-checkout takes them")
        };
        let bytes = fs::read(file, MAX_BYTES).map_err(|e| fail("the file cannot be read".into()).with_source(e))?;
        let text = String::from_utf8(bytes.ok_or_else(|| fail("the file is not there".into()))?);
        Self::parse(&text.map_err(|_| fail("the file is not text".into()))?).map_err(fail)
    }

    fn parse(text: &str) -> Result<Self, String> {
        let mut builder = GitignoreBuilder::new("");
        let mut wanted = Vec::new();
        for (at, line) in text.lines().enumerate() {
            builder.add_line(None, line).map_err(|e| format!("line {}: {e}", at + 1))?;
            let line = line.trim_end();
            if !line.is_empty() && !line.starts_with(['#', '!']) {
                wanted.push(parts(line));
            }
        }
        let patterns = builder.build().map_err(|e| e.to_string())?;
        Ok(Self { patterns, wanted })
    }

    /// Whether the file or folder at `path`, from the root of the repository, is wanted.
    pub(crate) fn wants(&self, path: &str, is_folder: bool) -> bool {
        // The root itself is no parent here: a pattern such as `*/` would match it.
        let parents = Path::new(path).ancestors().enumerate().take_while(|(_, path)| *path != Path::new(""));
        let mut matches = parents.map(|(up, path)| self.patterns.matched(path, is_folder || up > 0));
        matches.find(|found| !found.is_none()).is_some_and(|found| found.is_ignore())
    }

    /// Whether anything in the folder may be wanted.
    pub(crate) fn enters(&self, folder: &str) -> bool {
        let folder_parts: Vec<&str> = folder.split('/').collect();
        self.wants(folder, true) || self.wanted.iter().any(|pattern| may_lead_below(pattern, &folder_parts))
    }
}

/// A pattern's parts; one that counts at any depth begins with `**`.
fn parts(pattern: &str) -> Vec<String> {
    let inner = pattern.trim_end_matches('/');
    let any_depth = !inner.contains('/');
    let start = any_depth.then(|| "**".to_owned());
    start.into_iter().chain(inner.trim_start_matches('/').split('/').map(str::to_owned)).collect()
}

fn may_lead_below(pattern: &[String], folder: &[&str]) -> bool {
    for (at, name) in folder.iter().enumerate() {
        match pattern.get(at) {
            Some(part) if part.contains("**") => return true,
            Some(part) if part.contains(WILD) || part == name => {}
            _ => return false,
        }
    }
    pattern.len() > folder.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_match_counts_and_what_is_not_named_is_as_its_folder() {
        let sparse = Sparse::parse("# dags\n/*\n!/*/\n/dags/\n!/dags/old/\n*.sql\n!skip.sql\n").unwrap();
        for wanted in ["README.md", "dags/a.py", "dags/x/b.py", "old.py", "lib/deep/q.sql", "dags/old/q.sql"] {
            assert!(sparse.wants(wanted, false), "{wanted}");
        }
        for unwanted in ["lib/a.py", "dags/old/a.py", "dags/old/x/a.py", "lib/skip.sql"] {
            assert!(!sparse.wants(unwanted, false), "{unwanted}");
        }
        assert!(!Sparse::parse("").unwrap().wants("a", false));
    }

    #[test]
    fn folders_are_entered_only_where_something_may_be_wanted() {
        let cone = Sparse::parse("/*\n!/*/\n/a/\n!/a/*/\n/a/b/\n").unwrap();
        assert!(cone.enters("a") && cone.enters("a/b") && cone.enters("a/b/c"));
        assert!(!cone.enters("x") && !cone.enters("a/x") && !cone.enters("x/a"));
        let wild = Sparse::parse("/a/*/c\n").unwrap();
        assert!(wild.enters("a") && wild.enters("a/x") && !wild.enters("a/x/y") && !wild.enters("b"));
        for anywhere in ["*.py", "c", "/a/**/c", "**/c"] {
            assert!(Sparse::parse(anywhere).unwrap().enters("a/x/y"), "{anywhere}");
        }
    }

    #[test]
    fn a_pattern_that_cannot_be_read_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let error = Sparse::read(&dir.path().join("none")).unwrap_err().to_string();
        assert!(error.contains("git.sparse_checkout_file") && error.contains("is not there"), "{error}");
        assert!(Sparse::parse("/ok\n[z-a]\n").unwrap_err().contains("line 2"));
    }
}
