use super::*;

fn tree(dir: &Path) -> HashedTree {
    dagsync_testkit::Harness::new().read(dir, None).unwrap()
}

fn sealed(dir: &Path) -> Sealed {
    std::fs::write(dir.join("a.py"), "1").unwrap();
    let sealed = Sealed::new(&tree(dir), &["b".into(), "a".into(), "b".into()], &[], Some("abc".into())).unwrap();
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
        let bytes = |dir: &tempfile::TempDir| std::fs::read(dir.path().join(FOLDER).join(name)).unwrap();
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
    let again = Sealed::new(&tree(one.path()), &[], &[], Some(String::new())).unwrap();
    assert_eq!(again.seal.revision, None, "what is empty is no name");
    assert!(changes(&again).is_empty(), "one that was there when it was sealed is known");
    assert!(Sealed::read(tempfile::tempdir().unwrap().path(), None).unwrap().is_none());
}

#[test]
fn whatever_is_edited_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let good = sealed(dir.path());
    let at = |name: &str| dir.path().join(FOLDER).join(name);
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
    for (seal, named) in [
        (text.replace("\"format\": 1", "\"format\": 2"), "is of format 2"),
        (text.replace("\"exclude\": []", "\"exclude\": [\n    \"a[\"\n  ]"), "has a glob that cannot be read"),
        (
            text.replace("  \"revision\"", "  \"links\": {\n    \"../x\": \"y\"\n  },\n  \"revision\""),
            "names a link that cannot be",
        ),
        (" ".repeat(2 << 20), "is larger than"),
    ] {
        std::fs::write(at(SEAL), seal).unwrap();
        refuse(named);
    }
    std::fs::write(at(MANIFEST), "no manifest").unwrap();
    std::fs::write(at(SEAL), text.replace(&good.seal.version.hex(), &Digest::of("no manifest").to_string())).unwrap();
    refuse("is no manifest");
    // What a manifest of one file cannot be as long as is not read.
    std::fs::write(at(MANIFEST), " ".repeat(5000)).unwrap();
    refuse("is larger than 4163 bytes");
    for name in [SEAL, MANIFEST] {
        std::fs::remove_file(at(name)).unwrap();
        std::os::unix::fs::symlink("/dev/zero", at(name)).unwrap();
        refuse("is no file");
    }
    std::fs::remove_file(at(SEAL)).unwrap();
    refuse("seal.json is missing");
    std::fs::rename(dir.path().join(FOLDER), dir.path().join("elsewhere")).unwrap();
    std::os::unix::fs::symlink("elsewhere", dir.path().join(FOLDER)).unwrap();
    let error = Sealed::read(dir.path(), None).unwrap_err();
    assert!(error.kind() == ErrorKind::Mismatch && error.to_string().contains(".dagsync is no folder"), "{error}");
}

#[test]
fn where_a_sealed_link_points_is_sealed_too() {
    let dir = tempfile::tempdir().unwrap();
    let link = |target: &str| {
        let _ = std::fs::remove_file(dir.path().join("common"));
        std::os::unix::fs::symlink(target, dir.path().join("common")).unwrap();
    };
    link("/shared");
    let good = sealed(dir.path());
    let read = Sealed::read(dir.path(), None).unwrap().unwrap();
    assert_eq!((&read.seal, read.seal.links["common"].as_str()), (&good.seal, "/shared"));
    let changes = || -> Vec<_> {
        let changes = tree(dir.path()).changes_since(&read.manifest, &read.links().unwrap());
        changes.iter().map(|c| format!("{} {}", c.path, c.change.as_str())).collect()
    };
    assert_eq!(changes(), [""; 0]);
    link("/tmp/evil");
    assert_eq!(changes(), ["common modified"]);
    std::fs::remove_file(dir.path().join("common")).unwrap();
    assert_eq!(changes(), ["common removed"]);
}

#[test]
fn a_seal_that_could_not_be_verified_is_not_written() {
    let refuse = |dir: &Path, revision: &str, named: &str| {
        let error = Sealed::new(&tree(dir), &[], &[], Some(revision.into())).unwrap_err();
        assert!(error.to_string().contains(named), "{error}");
    };
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("a.py"), "1").unwrap();
    refuse(dir.path(), "a\nb", "--revision holds a control character");
    for n in 0..20_000 {
        let link = dir.path().join(format!("a-link-that-dangles-{n}"));
        std::os::unix::fs::symlink(format!("nowhere-at-all/{n}"), link).unwrap();
    }
    refuse(dir.path(), "", "the seal would be larger than");
}

#[test]
fn sealing_follows_no_link() {
    let dir = tempfile::tempdir().unwrap();
    let victim = dir.path().join("victim");
    std::fs::write(&victim, "precious").unwrap();
    let good = sealed(dir.path());
    for name in PARTS.iter().flat_map(|name| [(*name).to_owned(), format!("{name}{TEMPORARY}")]) {
        let at = dir.path().join(FOLDER).join(&name);
        let _ = std::fs::remove_file(&at);
        std::os::unix::fs::symlink(&victim, &at).unwrap();
        good.write(dir.path(), None).unwrap();
        assert_eq!(std::fs::read(&victim).unwrap(), b"precious", "{name}");
    }
    std::fs::remove_dir_all(dir.path().join(FOLDER)).unwrap();
    let elsewhere = tempfile::tempdir().unwrap();
    std::os::unix::fs::symlink(elsewhere.path(), dir.path().join(FOLDER)).unwrap();
    let error = good.write(dir.path(), None).unwrap_err();
    assert!(error.to_string().contains("is no folder"), "{error}");
    assert_eq!(std::fs::read_dir(elsewhere.path()).unwrap().count(), 0);
}
