//! What is followed: branches, tags, commits, HEAD, and what happens when they move or vanish.

use dagsync_core::{ErrorKind, Revision};

use crate::harness::{Origin, Target, files};

fn target(origin: &Origin, reference: &str) -> Target {
    Target::new(&origin.url(), &[("ref", reference)])
}

#[test]
fn every_kind_of_reference_leads_to_its_commit() {
    let origin = Origin::new();
    let first = origin.write("a.py", "1").commit();
    origin.git(&["tag", "light"]);
    origin.git(&["tag", "-a", "-m", "annotated", "v1"]);
    origin.git(&["tag", "-a", "-m", "a tag of a tag", "v1-again", "v1"]);
    origin.git(&["branch", "stable"]);
    let second = origin.write("a.py", "2").commit();

    for reference in ["light", "v1", "v1-again", "stable", "heads/stable", "refs/heads/stable", "refs/tags/v1", &first]
    {
        let mut target = target(&origin, reference);
        let revision = target.resolve().unwrap();
        assert_eq!(revision.as_str(), first, "{reference}");
        target.materialize(&revision).unwrap();
        assert_eq!(target.files(), files(&[("a.py", "1")]), "{reference}");
    }
    for reference in ["HEAD", "main"] {
        let mut target = target(&origin, reference);
        assert_eq!(target.resolve().unwrap().as_str(), second);
        target.sync().unwrap();
        assert_eq!(target.files(), files(&[("a.py", "2")]));
    }
}

#[test]
fn a_missing_branch_is_named_with_its_neighbours() {
    let origin = Origin::new();
    origin.write("a.py", "1").commit();
    let error = target(&origin, "mian").resolve().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    assert!(error.to_string().contains("mian") && error.to_string().contains("there is main"), "{error}");
}

#[test]
fn an_empty_repository_and_none_at_all_are_told_apart() {
    let origin = Origin::new();
    assert!(target(&origin, "HEAD").resolve().unwrap_err().to_string().contains("is empty"));
    let error = Target::new("file:///nowhere/at/all", &[]).resolve().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound, "{error}");
}

#[test]
fn a_forced_push_is_followed() {
    let origin = Origin::new();
    origin.write("a.py", "1").commit();
    origin.write("b.py", "1").commit();
    let mut target = target(&origin, "main");
    target.sync().unwrap();
    origin.git(&["reset", "-q", "--hard", "HEAD~1"]);
    origin.write("c.py", "1").commit();
    target.sync().unwrap();
    assert_eq!(target.files(), files(&[("a.py", "1"), ("c.py", "1")]));
}

#[test]
fn a_deleted_branch_is_an_error_until_it_is_back() {
    let origin = Origin::new();
    origin.write("a.py", "1").commit();
    origin.git(&["branch", "team"]);
    let mut target = target(&origin, "team");
    let before = target.resolve().unwrap();
    origin.git(&["branch", "-D", "team"]);
    assert_eq!(target.resolve().unwrap_err().kind(), ErrorKind::NotFound);
    target.materialize(&before).unwrap();
    origin.git(&["branch", "team"]);
    assert_eq!(target.resolve().unwrap(), before);
}

#[test]
fn the_asked_revision_is_brought_although_the_branch_moved() {
    let origin = Origin::new();
    let first = origin.write("a.py", "1").commit();
    let mut target = target(&origin, "main");
    origin.write("a.py", "2").commit();
    target.materialize(&Revision::new(&first)).unwrap();
    assert_eq!(target.files(), files(&[("a.py", "1")]));
}

#[test]
fn a_revision_that_is_gone_has_changed() {
    let origin = Origin::new();
    origin.write("a.py", "1").commit();
    let error = target(&origin, "main").materialize(&Revision::new("1".repeat(40))).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Changed);
    assert!(error.is_retryable());
}

#[test]
fn a_tag_of_a_tree_or_a_blob_is_refused_for_good() {
    let origin = Origin::new();
    origin.write("a.py", "1").commit();
    for (tag, object, kind) in [("folder", "HEAD^{tree}", "tree"), ("file", "HEAD:a.py", "blob")] {
        origin.git(&["tag", tag, object]);
        let annotated = format!("annotated-{tag}");
        origin.git(&["tag", "-a", "-m", "annotated", &annotated, object]);
        for reference in [tag, &annotated] {
            let error = target(&origin, reference).sync().unwrap_err();
            assert_eq!((error.kind(), error.is_retryable()), (ErrorKind::Refused, false), "{error}");
            assert!(error.to_string().contains(&format!("a {kind}, not to a commit")), "{error}");
        }
    }
}

#[test]
fn a_commit_id_needs_no_server() {
    let id = "1234567890123456789012345678901234567890";
    let target = Target::new("https://127.0.0.1:1/none.git", &[("ref", id)]);
    assert_eq!(target.resolve().unwrap().as_str(), id);
    let sha256 = Target::new("https://127.0.0.1:1/none.git", &[("ref", &"1".repeat(64))]);
    assert_eq!(sha256.resolve().unwrap_err().kind(), ErrorKind::Config);
}

#[test]
fn another_url_is_another_repository() {
    let (one, two) = (Origin::new(), Origin::new());
    one.write("a.py", "one").commit();
    two.write("a.py", "two").commit();
    let mut target = target(&one, "HEAD");
    target.sync().unwrap();
    target.reconfigure(&two.url(), &[]);
    target.sync().unwrap();
    assert_eq!(target.files(), files(&[("a.py", "two")]));
    target.cached_repository();
}
