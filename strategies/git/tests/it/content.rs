//! What ends up in staging: files, links, modes, subpaths, filters, and only what changed.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{PermissionsExt, symlink};

use dagsync_core::{ErrorKind, Filter, Warning};

use crate::harness::{Origin, Target, files};

#[test]
fn modes_and_links_are_those_of_the_commit() {
    let origin = Origin::new();
    origin.write("run.sh", "#!/bin/sh\n").write("dags/a.py", "a");
    std::fs::set_permissions(origin.path().join("run.sh"), PermissionsExt::from_mode(0o755)).unwrap();
    symlink("dags/a.py", origin.path().join("link.py")).unwrap();
    symlink("/etc/passwd", origin.path().join("outside")).unwrap();
    origin.commit();

    let mut target = Target::new(&origin.url(), &[]);
    let staged = target.sync().unwrap();
    assert_eq!(target.files(), files(&[("dags/a.py", "a"), ("link.py", "-> dags/a.py"), ("run.sh", "#!/bin/sh\n")]));
    assert!(target.is_executable("run.sh") && !target.is_executable("dags/a.py"));
    assert!(matches!(&staged.warnings[..], [Warning::SkippedLink(link)] if link.path.as_str() == "outside"));
}

#[test]
fn a_changed_mode_alone_is_brought() {
    let origin = Origin::new();
    origin.write("run.sh", "x").commit();
    let mut target = Target::new(&origin.url(), &[]);
    let before = target.sync().unwrap();
    std::fs::set_permissions(origin.path().join("run.sh"), PermissionsExt::from_mode(0o755)).unwrap();
    origin.commit();
    let after = target.sync().unwrap();
    assert!(target.is_executable("run.sh"));
    assert_eq!(before.manifest, after.manifest);
}

#[test]
fn only_the_changed_file_is_written() {
    let origin = Origin::new();
    for i in 0..300 {
        origin.write(&format!("team{}/dag_{i}.py", i % 7), format!("dag {i}"));
    }
    origin.commit();
    let mut target = Target::new(&origin.url(), &[]);
    assert_eq!(target.sync().unwrap().counts.written, 300);
    origin.write("team0/dag_0.py", "changed").commit();
    let counts = target.sync().unwrap().counts;
    assert_eq!((counts.written, counts.linked), (1, 299));
    origin.commit();
    let counts = target.sync().unwrap().counts;
    assert_eq!((counts.written, counts.linked), (0, 300), "an empty commit");
    std::fs::remove_file(target.cache().join("blobs")).unwrap();
    let counts = target.sync().unwrap().counts;
    assert_eq!((counts.written, counts.linked), (0, 300), "what is known of blobs was lost");
}

#[test]
fn the_digests_are_those_of_the_content_whoever_found_them() {
    let origin = Origin::new();
    origin.write("a.py", "a").write("same/a.py", "a").write("b.py", "b").commit();
    let mut target = Target::new(&origin.url(), &[]);
    let staged = target.sync().unwrap();
    for entry in staged.manifest.entries() {
        let content = std::fs::read(origin.path().join(entry.path.as_str())).unwrap();
        assert_eq!(entry.digest, dagsync_core::Digest::of(content), "{}", entry.path);
    }
    assert_eq!(target.sync().unwrap().manifest, staged.manifest);
}

#[test]
fn a_subpath_is_the_root_of_the_tree() {
    let origin = Origin::new();
    origin
        .write("README.md", "x")
        .write("team/dags/a.py", "a")
        .write("team/dags/b/c.py", "c")
        .write("file", "")
        .commit();
    for subpath in ["team/dags", "/team/dags/", "./team/dags"] {
        let mut target = Target::new(&origin.url(), &[("subpath", subpath)]);
        target.sync().unwrap();
        assert_eq!(target.files(), files(&[("a.py", "a"), ("b/c.py", "c")]), "{subpath}");
    }
    for (subpath, says) in [("team/nope", "is not in the repository"), ("file", "is not a folder")] {
        let error = Target::new(&origin.url(), &[("subpath", subpath)]).sync().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotFound);
        assert!(error.to_string().contains(&format!("{subpath} {says}")), "{error}");
    }
}

#[test]
fn the_strategy_shows_where_it_syncs_from() {
    let target = Target::new("https://token@github.com/org/dags.git", &[("subpath", "dags/")]);
    assert_eq!(target.strategy.to_string(), "https://github.com/org/dags.git (subpath dags)");
    assert!(!format!("{:?}", target.strategy).contains("token"));
}

#[test]
fn filtered_files_are_left_out() {
    let origin = Origin::new();
    origin.write("a.py", "a").write("tests/b.py", "b").write("__pycache__/a.pyc", "").write("docs/x.md", "").commit();
    let mut target = Target::new(&origin.url(), &[]);
    target.filter = Filter::new(&[], &["tests".into(), "*.md".into(), "docs".into()]).unwrap();
    target.sync().unwrap();
    assert_eq!(target.files(), files(&[("a.py", "a")]));
}

#[test]
fn lfs_pointers_are_named_every_time() {
    let origin = Origin::new();
    let pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n";
    origin.write("model.bin", pointer).write("a.py", "a").commit();
    let mut target = Target::new(&origin.url(), &[]);
    for _ in 0..2 {
        let warnings = target.sync().unwrap().warnings;
        assert!(matches!(&warnings[..], [Warning::LfsPointer(path)] if path.as_str() == "model.bin"), "{warnings:?}");
    }
}

#[test]
fn limits_are_kept_before_content_is_read() {
    let origin = Origin::new();
    origin.write("big.bin", vec![0; 1 << 20]).write("a.py", "a").commit();
    let mut target = Target::new(&origin.url(), &[]);
    target.limits.file_bytes = 1000;
    let error = target.sync().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::LimitExceeded);
    assert!(error.to_string().contains("big.bin"), "{error}");
    target.limits = dagsync_core::Limits { files: 1, ..Default::default() };
    assert_eq!(target.sync().unwrap_err().kind(), ErrorKind::LimitExceeded);
}

#[test]
fn a_bad_name_is_refused_with_the_name() {
    let origin = Origin::new();
    origin.write("a\\b.py", "a").commit();
    let error = Target::new(&origin.url(), &[]).sync().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Refused);
    assert!(error.to_string().contains("a\\\\b.py"), "{error}");
}

#[test]
fn a_name_that_is_not_utf8_can_be_left_out() {
    let origin = Origin::new();
    for bad in [&b"c\xff.pyc"[..], b"bad\xff.txt", b"docs\xff/a.py"] {
        let path = origin.path().join(OsStr::from_bytes(bad));
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, "x").unwrap();
    }
    origin.write("a.py", "a").commit();
    let mut target = Target::new(&origin.url(), &[]);
    let error = target.sync().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Refused);
    assert!(error.to_string().contains("bad\\xff.txt is not UTF-8"), "{error}");
    target.filter = Filter::new(&[], &["*.txt".into(), "docs*".into()]).unwrap();
    target.sync().unwrap();
    assert_eq!(target.files(), files(&[("a.py", "a")]));
}

#[test]
fn an_empty_tree_is_an_empty_tree() {
    let origin = Origin::new();
    origin.commit();
    let mut target = Target::new(&origin.url(), &[]);
    assert!(target.sync().unwrap().manifest.entries().is_empty());
}

#[test]
fn contradicting_settings_are_refused() {
    for changes in [
        &[("password_file", "/a"), ("token_file", "/b")][..],
        &[("ref", "")],
        &[("ref", "a b")],
        &[("subpath", "../up")],
        &[("submodules", "some")],
    ] {
        let error = crate::harness::strategy("https://h/x.git", changes).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Config, "{changes:?}");
    }
}

#[test]
fn attributes_that_a_checkout_would_apply_are_named_in_a_warning() {
    let origin = Origin::new();
    origin.write(".gitattributes", "*.py text eol=lf\n").write("dags/a.py", "a\n").commit();
    let mut target = Target::new(&origin.url(), &[("subpath", "dags")]);
    assert!(target.sync().unwrap().warnings.is_empty());
    origin.write(".gitattributes", "*.py text eol=crlf ident\n").write("dags/a.py", "b # $Id$\n").commit();
    let staged = target.sync().unwrap();
    assert_eq!(target.files(), files(&[("a.py", "b # $Id$\n")]));
    let [Warning::Other(text)] = &staged.warnings[..] else { panic!("{:?}", staged.warnings) };
    assert!(text.contains(".gitattributes asks for eol=crlf, ident, which is not applied"), "{text}");
}
