//! What a repository's `.gitattributes` asks of a checkout. There is none here: files are published as they are stored,
//! and where that makes a difference, it is said.

use std::collections::BTreeSet;

use dagsync_core::Warning;
use git2::{Repository, Tree};

const FILE: &str = ".gitattributes";
const MAX_BYTES: usize = 1 << 20;

/// A warning when the file in the root of `tree` asks for other content than what is stored.
pub(crate) fn warning(repository: &Repository, tree: &Tree<'_>) -> Option<Warning> {
    let entry = tree.get_name(FILE)?;
    let (size, _) = repository.odb().and_then(|odb| odb.read_header(entry.id())).ok()?;
    let blob = (size <= MAX_BYTES).then(|| repository.find_blob(entry.id()).ok()).flatten()?;
    let text = String::from_utf8_lossy(blob.content());
    let asked: Vec<_> = asked(&text).into_iter().collect();
    (!asked.is_empty()).then(|| {
        let asked = asked.join(", ");
        Warning::Other(format!("{FILE} asks for {asked}, which is not applied: files are published as they are stored"))
    })
}

/// The attributes that change content on its way out of the repository. Git LFS has a warning of its own for each file.
fn asked(text: &str) -> BTreeSet<&str> {
    let lines = text.lines().map(str::trim_start).filter(|line| !line.starts_with('#'));
    let attributes = lines.flat_map(|line| behind_pattern(line).split_ascii_whitespace());
    attributes.filter(|attribute| changes_content(attribute)).collect()
}

/// A pattern may be quoted; what follows it are attributes.
fn behind_pattern(line: &str) -> &str {
    let Some(quoted) = line.strip_prefix('"') else { return line.split_once([' ', '\t']).map_or("", |(_, rest)| rest) };
    let mut is_escaped = false;
    let end = quoted.find(|c| {
        let was_escaped = is_escaped;
        is_escaped = c == '\\' && !was_escaped;
        c == '"' && !was_escaped
    });
    end.map_or("", |end| &quoted[end + 1..])
}

fn changes_content(attribute: &str) -> bool {
    match attribute.split_once('=') {
        None => attribute == "ident",
        Some(("eol", value)) => value == "crlf",
        Some(("working-tree-encoding", value)) => !value.eq_ignore_ascii_case("utf-8"),
        Some(("filter", value)) => value != "lfs",
        Some(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_changes_content_counts() {
        for (text, expected) in [
            ("*.py text eol=lf\n* text=auto -ident !filter\n", &[][..]),
            ("*.bat text eol=crlf\r\n", &["eol=crlf"]),
            ("  *.sql\tworking-tree-encoding=UTF-16 ident\n", &["ident", "working-tree-encoding=UTF-16"]),
            ("*.sql working-tree-encoding=utf-8\n", &[]),
            ("*.zip filter=lfs diff=lfs -text\nsecret filter=git-crypt\n", &["filter=git-crypt"]),
            ("# * ident\nident\n\n", &[]),
            ("[attr]dos text eol=crlf\n", &["eol=crlf"]),
            ("\"a b\\\" ident\" text\n\"a b\" ident\n\"unfinished ident\n", &["ident"]),
        ] {
            assert_eq!(asked(text).into_iter().collect::<Vec<_>>(), expected, "{text:?}");
        }
    }
}
