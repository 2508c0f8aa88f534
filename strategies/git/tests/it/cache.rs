//! The cache may be lost or damaged in every way, at any time; it stays small; and with it no source is needed.

use std::fs;
use std::path::{Path, PathBuf};

use dagsync_core::Revision;

use crate::harness::{Origin, Target};

fn filled() -> (Origin, Target) {
    let origin = Origin::new();
    for i in 0..20 {
        origin.write(&format!("dag_{i}.py"), format!("{i} {}", "x".repeat(500)));
    }
    origin.commit();
    origin.write("dag_0.py", "0").commit();
    let mut target = Target::new(&origin.url(), &[]);
    target.sync().unwrap();
    (origin, target)
}

fn all_files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { found.extend(all_files(&path)) } else { found.push(path) }
    }
    found
}

fn overwrite(path: &Path, content: &[u8]) {
    let mut permissions = fs::metadata(path).unwrap().permissions();
    std::os::unix::fs::PermissionsExt::set_mode(&mut permissions, 0o644);
    fs::set_permissions(path, permissions).unwrap();
    fs::write(path, content).unwrap();
}

#[test]
fn a_cached_commit_needs_no_source() {
    let (origin, mut target) = filled();
    let revision = target.resolve().unwrap();
    let expected = target.files();
    let away = origin.path().join(".git-away");
    fs::rename(origin.path().join(".git"), away).unwrap();
    target.materialize(&revision).unwrap();
    assert_eq!(target.files(), expected);
    assert!(target.resolve().is_err());
}

#[test]
fn every_file_of_the_cache_may_be_damaged() {
    let (origin, mut target) = filled();
    let names: Vec<PathBuf> = all_files(&target.cache());
    assert!(names.iter().any(|n| n.extension().is_some_and(|e| e == "pack")));
    assert!(names.iter().any(|n| n.ends_with("blobs")) && names.iter().any(|n| n.ends_with("shallow")));
    for damage in ["empty", "half", "noise", "gone"] {
        for name in &names {
            origin.write("dag_0.py", format!("{damage} {}", name.display())).commit();
            target.sync().unwrap();
            let expected = target.files();
            // Names of packs differ from one rebuild to the next.
            let same_kind = |n: &PathBuf| n.file_name() == name.file_name() || n.extension() == name.extension();
            let victim = all_files(&target.cache())
                .into_iter()
                .find(|n| n == name)
                .or_else(|| all_files(&target.cache()).into_iter().find(|n| n.extension().is_some() && same_kind(n)));
            let Some(victim) = victim else { continue };
            let content = fs::read(&victim).unwrap();
            match damage {
                "empty" => overwrite(&victim, b""),
                "half" => overwrite(&victim, &content[..content.len() / 2]),
                "noise" => overwrite(&victim, &content.iter().map(|b| b ^ 0x55).collect::<Vec<_>>()),
                _ => fs::remove_file(&victim).unwrap(),
            }
            let staged = target.sync().unwrap_or_else(|e| panic!("{damage} {}: {e}", victim.display()));
            assert_eq!(target.files(), expected, "{damage} {}", victim.display());
            assert_eq!(staged.manifest.entries().len(), 20);
        }
    }
}

#[test]
fn damage_is_found_although_the_version_before_has_all_files() {
    let (origin, mut target) = filled();
    origin.write("dag_1.py", "new").commit();
    for pack in all_files(&target.cached_repository()).iter().filter(|n| n.extension().is_some_and(|e| e == "pack")) {
        overwrite(pack, b"PACK");
    }
    let counts = target.sync().unwrap().counts;
    assert_eq!((counts.written, counts.linked), (1, 19));
}

#[test]
fn what_a_killed_process_leaves_is_no_obstacle() {
    let (origin, mut target) = filled();
    let repository = target.cached_repository();
    let with = |suffix: &str| {
        let mut name = repository.clone().into_os_string();
        name.push(suffix);
        PathBuf::from(name)
    };
    for lock in ["config.lock", "HEAD.lock", "shallow.lock", "index.lock", "refs/dagsync/fetched.lock"] {
        fs::write(repository.join(lock), "").unwrap();
    }
    fs::write(repository.join("objects/pack/pack_git2_12345"), vec![0; 1000]).unwrap();
    fs::create_dir(with(".new")).unwrap();
    fs::create_dir(with(".old")).unwrap();
    fs::write(with(".old").join("x"), "").unwrap();
    origin.write("dag_1.py", "new").commit();
    target.sync().unwrap();
    assert_eq!(target.files()["dag_1.py"], "new");
    assert_eq!(target.cached_repository(), repository);
    assert!(!repository.join("objects/pack/pack_git2_12345").exists());
}

#[test]
fn a_file_where_the_cache_should_be_is_replaced() {
    let (_origin, mut target) = filled();
    let repository = target.cached_repository();
    fs::remove_dir_all(&repository).unwrap();
    fs::write(&repository, "not a folder").unwrap();
    assert_eq!(target.sync().unwrap().manifest.entries().len(), 20);
}

#[test]
fn fifty_updates_leave_few_packs() {
    let (origin, mut target) = filled();
    let first = target.files();
    for i in 0..50 {
        origin.write("dag_3.py", format!("update {i}")).commit();
        let counts = target.sync().unwrap().counts;
        assert_eq!((counts.written, counts.linked), (1, 19));
    }
    let packs =
        all_files(&target.cached_repository()).iter().filter(|n| n.extension().is_some_and(|e| e == "pack")).count();
    assert!(packs <= 21, "{packs} packs");
    let mut expected = first;
    expected.insert("dag_3.py".into(), "update 49".into());
    assert_eq!(target.files(), expected);
}

#[test]
fn an_older_revision_is_brought_from_the_source_again() {
    let (origin, mut target) = filled();
    let older = origin.git(&["rev-parse", "HEAD~1"]);
    target.materialize(&Revision::new(older)).unwrap();
    assert!(target.files()["dag_0.py"].starts_with("0 xxx"));
}

#[test]
fn folders_of_the_cache_may_be_gone_or_in_the_way() {
    let (origin, mut target) = filled();
    for (i, folder) in ["objects/pack", "objects", "refs", "refs/dagsync", "info"].into_iter().enumerate() {
        origin.write("dag_1.py", i.to_string()).commit();
        fs::remove_dir_all(target.cached_repository().join(folder)).unwrap();
        target.sync().unwrap_or_else(|e| panic!("{folder} is gone: {e}"));
        origin.write("dag_1.py", format!("again {i}")).commit();
        let _ = fs::remove_dir_all(target.cached_repository().join(folder));
        fs::write(target.cached_repository().join(folder), "a file").unwrap();
        target.sync().unwrap_or_else(|e| panic!("{folder} is a file: {e}"));
        assert_eq!(target.files()["dag_1.py"], format!("again {i}"));
    }
    fs::remove_file(target.cache().join("blobs")).unwrap();
    fs::create_dir(target.cache().join("blobs")).unwrap();
    assert_eq!(target.sync().unwrap().counts.linked, 20);
}
