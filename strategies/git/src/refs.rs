//! Choosing the commit that a name means among the references a server offers.

use dagsync_core::{Error, ErrorKind, Result};
use git2::Oid;

use crate::location::Location;

/// How unlike a name may be to be suggested.
const SUGGEST_ABOVE: f64 = 0.7;

/// A reference as a server lists it; an annotated tag is followed by its commit under the name `…^{}`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Head {
    pub(crate) name: String,
    pub(crate) id: Oid,
}

/// The commit, when `name` is a full commit id.
pub(crate) fn commit_id(name: &str) -> Result<Option<Oid>> {
    if !name.bytes().all(|b| b.is_ascii_hexdigit()) {
        return Ok(None);
    }
    match name.len() {
        40 => Ok(Oid::from_str(name).ok()),
        64 => Err(Error::new(ErrorKind::Config, "read commit id", "repositories with SHA-256 ids are not supported")
            .with_context("ref", name)
            .with_hint("use a repository with SHA-1 ids, which is git's default")),
        _ => Ok(None),
    }
}

/// The names that `reference` may stand for, in the order of gitrevisions(7), which `git fetch` and git-sync follow too.
pub(crate) fn candidates(reference: &str) -> [String; 4] {
    [
        reference.to_owned(),
        format!("refs/{reference}"),
        format!("refs/tags/{reference}"),
        format!("refs/heads/{reference}"),
    ]
}

/// The full name of the reference that `reference` means.
pub(crate) fn full_name<'a>(heads: &'a [Head], reference: &str) -> Option<&'a str> {
    candidates(reference).iter().find_map(|name| heads.iter().find(|h| h.name == *name)).map(|h| h.name.as_str())
}

/// The name and the id of the annotated tag that `reference` means, if it is one and leads to `commit`.
pub(crate) fn annotated_tag<'a>(heads: &'a [Head], reference: &str, commit: Oid) -> Option<(&'a str, Oid)> {
    let name = full_name(heads, reference)?;
    let leads = heads.iter().any(|h| h.id == commit && h.name.strip_suffix("^{}") == Some(name));
    heads.iter().find(|h| h.name == name && leads).map(|h| (name, h.id))
}

/// The commit that `reference` means; of an annotated tag the commit it points to.
pub(crate) fn choose(heads: &[Head], reference: &str, location: &Location) -> Result<Oid> {
    let name = full_name(heads, reference).ok_or_else(|| missing(heads, reference, location))?;
    let id_of = |name: &str| heads.iter().find(|h| h.name == name).map(|h| h.id);
    id_of(&format!("{name}^{{}}")).or_else(|| id_of(name)).ok_or_else(|| missing(heads, reference, location))
}

fn missing(heads: &[Head], reference: &str, location: &Location) -> Error {
    let error = |message: &str| {
        Error::new(ErrorKind::NotFound, "resolve", message).with_context("ref", reference).with_context("url", location)
    };
    if heads.is_empty() {
        return error("the repository is empty").with_hint("push a first commit");
    }
    if reference == "HEAD" {
        return error("HEAD of the repository points to a branch that does not exist")
            .with_hint("name a branch in git.ref");
    }
    let near = nearest(heads, reference);
    let error = error("the repository has no such branch or tag");
    if near.is_empty() {
        return error.with_hint("check git.ref");
    }
    error.with_hint(format!("check git.ref; there is {}", near.join(", ")))
}

fn nearest<'a>(heads: &'a [Head], reference: &str) -> Vec<&'a str> {
    let short = |name: &'a str| name.strip_prefix("refs/heads/").or_else(|| name.strip_prefix("refs/tags/"));
    let mut near: Vec<(f64, &str)> = heads
        .iter()
        .filter(|h| !h.name.ends_with("^{}"))
        .filter_map(|h| short(&h.name))
        .map(|name| (strsim::jaro_winkler(name, reference), name))
        .filter(|(likeness, _)| *likeness > SUGGEST_ABOVE)
        .collect();
    near.sort_by(|a, b| b.0.total_cmp(&a.0));
    near.into_iter().map(|(_, name)| name).take(3).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn heads(names: &[(&str, u8)]) -> Vec<Head> {
        let head = |&(name, id): &(&str, u8)| Head { name: name.into(), id: Oid::from_bytes(&[id; 20]).unwrap() };
        names.iter().map(head).collect()
    }

    fn chosen(names: &[(&str, u8)], reference: &str) -> Result<u8> {
        let location = Location::parse("https://h/x").unwrap();
        choose(&heads(names), reference, &location).map(|id| id.as_bytes()[0])
    }

    #[test]
    fn names_are_looked_up_as_git_does() {
        let all = &[
            ("HEAD", 1),
            ("refs/heads/main", 1),
            ("refs/heads/v1", 2),
            ("refs/tags/v1", 3),
            ("refs/tags/v2", 4),
            ("refs/tags/v2^{}", 5),
        ];
        assert_eq!(chosen(all, "HEAD").unwrap(), 1);
        assert_eq!(chosen(all, "main").unwrap(), 1);
        assert_eq!(chosen(all, "v1").unwrap(), 3);
        assert_eq!(chosen(all, "heads/v1").unwrap(), 2);
        assert_eq!(chosen(all, "refs/heads/v1").unwrap(), 2);
        assert_eq!(chosen(all, "v2").unwrap(), 5, "an annotated tag is its commit");
    }

    #[test]
    fn a_missing_branch_is_named_with_those_that_are_near() {
        let error = chosen(&[("HEAD", 1), ("refs/heads/main", 1), ("refs/heads/zzz", 1)], "mian").unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotFound);
        assert!(error.to_string().contains("ref mian") && error.to_string().ends_with("there is main"), "{error}");
        assert!(chosen(&[], "main").unwrap_err().to_string().contains("is empty"));
    }

    #[test]
    fn only_full_ids_are_commits() {
        assert!(commit_id(&"a".repeat(40)).unwrap().is_some());
        assert!(commit_id("abc1234").unwrap().is_none() && commit_id("main").unwrap().is_none());
        assert_eq!(commit_id(&"a".repeat(64)).unwrap_err().kind(), ErrorKind::Config);
    }
}
