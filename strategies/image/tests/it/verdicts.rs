//! What the strategy says of an image that is not what it should be.

use std::os::unix::fs::{PermissionsExt, symlink};

use dagsync_core::{ErrorKind, SealState, Tree, Version};
use dagsync_strategy_image::Signer;
use dagsync_testkit::Harness;

use crate::scene::{Image, look, strategy};

fn changes(expectation: &dagsync_core::Expectation, tree: &dagsync_core::HashedTree) -> Vec<String> {
    let SealState::Of(manifest, links) = &expectation.seal else { panic!("it is sealed: {:?}", expectation.seal) };
    tree.changes_since(manifest, links).iter().map(|c| format!("{} {}", c.path, c.change.as_str())).collect()
}

#[tokio::test]
async fn every_way_of_tampering_is_named_and_what_python_writes_is_none() {
    let image = Image::with(&[("a.py", "1"), ("team/b.py", "2")]);
    let strategy = image.strategy(&[]);
    let at = |name: &str| image.path().join(name);
    let found = async || {
        let (expectation, tree) = look(&*strategy).await;
        changes(&expectation, &tree)
    };
    assert_eq!(found().await, [""; 0]);
    image.write("__pycache__/a.cpython-312.pyc", "x");
    std::fs::set_permissions(at("a.py"), std::fs::Permissions::from_mode(0o755)).unwrap();
    assert_eq!(found().await, [""; 0], "neither bytecode nor modes are part of a version");
    image.write("a.py", "2");
    assert_eq!(found().await, ["a.py modified"]);
    image.write("a.py", "1");
    image.write("c.py", "");
    assert_eq!(found().await, ["c.py added"]);
    std::fs::remove_file(at("c.py")).unwrap();
    std::fs::remove_file(at("team/b.py")).unwrap();
    assert_eq!(found().await, ["team/b.py removed"]);
    symlink("/etc/hostname", at("team/b.py")).unwrap();
    assert_eq!(found().await, ["team/b.py modified"], "a link out of the tree in its place");
    std::fs::remove_file(at("team/b.py")).unwrap();
    symlink("../a.py", at("team/b.py")).unwrap();
    assert_eq!(found().await, ["team/b.py modified"]);
}

#[tokio::test]
async fn an_edited_seal_one_of_another_tree_and_none_are_told_apart() {
    let image = Image::with(&[("a.py", "1")]);
    let other = Image::with(&[("a.py", "2")]);
    let seal = image.path().join(".dagsync/seal.json");
    let text = std::fs::read_to_string(&seal).unwrap();
    std::fs::write(&seal, text.replace("\"files\": 1", "\"files\": 7")).unwrap();
    let (expectation, _) = look(&*image.strategy(&[])).await;
    assert!(
        matches!(&expectation.seal, SealState::Broken(how) if how.contains("counts other files")),
        "{expectation:?}"
    );
    for name in ["seal.json", "manifest"] {
        std::fs::copy(other.path().join(".dagsync").join(name), image.path().join(".dagsync").join(name)).unwrap();
    }
    let (expectation, tree) = look(&*image.strategy(&[])).await;
    assert_eq!(changes(&expectation, &tree), ["a.py modified"]);
    std::fs::remove_dir_all(image.path().join(".dagsync")).unwrap();
    assert!(matches!(look(&*image.strategy(&[])).await.0.seal, SealState::Missing));
}

#[tokio::test]
async fn a_seal_must_be_signed_where_a_key_is_given() {
    // RFC 8032's first test vector, as openssl writes it.
    let keys = tempfile::tempdir().unwrap();
    let (private, public) = (keys.path().join("seal.key"), keys.path().join("seal.pub"));
    let private_pem = "-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQYDK2VwBCIEIJ1hsZ3v/VpguoRK9JLsLMREScVpezJpGXA7rAMcrn9g\n-----END PRIVATE KEY-----\n";
    std::fs::write(&private, private_pem).unwrap();
    std::fs::write(&public, "-----BEGIN PUBLIC KEY-----\nMCowBQYDK2VwAyEA11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=\n-----END PUBLIC KEY-----\n").unwrap();
    let image = Image::with(&[("a.py", "1")]);
    let strategy = image.strategy(&[("key_file", public.to_str().unwrap())]);
    let is_broken = async |why: &str| {
        let (expectation, _) = look(&*strategy).await;
        assert!(matches!(&expectation.seal, SealState::Broken(how) if how.contains(why)), "{expectation:?}");
    };
    is_broken("is not signed").await;
    image.seal(Some(&Signer::read(&private).unwrap()));
    let (expectation, tree) = look(&*strategy).await;
    assert_eq!(changes(&expectation, &tree), [""; 0]);
    image.write("a.py", "2");
    // Who can edit the tree and seals it anew has not the key.
    let signature = std::fs::read(image.path().join(".dagsync/seal.sig")).unwrap();
    image.seal(None);
    std::fs::write(image.path().join(".dagsync/seal.sig"), signature).unwrap();
    is_broken("the signature is not of this seal and key").await;
}

#[tokio::test]
async fn what_it_should_hold_is_said_by_one_alone() {
    let image = Image::with(&[("a.py", "1")]);
    let wanted: Version = format!("sha256:{}", "0".repeat(64)).parse().unwrap();
    let (expectation, _) = look(&*image.strategy(&[("expect", &wanted.to_string())])).await;
    assert_eq!(expectation.wanted.unwrap().0, wanted);
    for (settings, named) in [
        (vec![("expect", "x")], "image.expect"),
        (vec![("expect_image", "UPPER")], "no name of an image"),
        (vec![("expect_from", "ftp://h")], "no URL"),
        (vec![("expect_from", "http://h"), ("expect_image", "a/b")], "contradict"),
    ] {
        let error = strategy(&image.path(), &settings).unwrap_err();
        assert!(error.kind() == ErrorKind::Config && error.to_string().contains(named), "{error}");
    }
    assert!(strategy("dags".as_ref(), &[]).unwrap_err().to_string().contains("not an absolute path"));
}

#[tokio::test]
async fn other_globs_than_the_seals_are_told() {
    let image = Image::with(&[("a.py", "1"), ("b.md", "1")]);
    let mut harness = Harness::new();
    harness.filter = std::sync::Arc::new(dagsync_core::Filter::new(&[], &["*.md".into()]).unwrap());
    let Tree::InPlace(found) = harness.sync(&*image.strategy(&[])).await.unwrap().tree else { panic!("it is copied") };
    let SealState::Broken(how) = &found.expectation.seal else { panic!("{:?}", found.expectation) };
    assert!(how.contains("set include to [] and exclude to []; else somebody edited the seal"), "{how}");
}
