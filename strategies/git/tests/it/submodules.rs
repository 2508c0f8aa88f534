//! Submodules: recursive, of the first level, none; by relative URL; below a subpath; and never where they must not.

use dagsync_core::ErrorKind;

use crate::harness::{Origin, Target, files, git};

/// `main` with `libs/lib` that holds `inner`, all side by side.
fn nested() -> (tempfile::TempDir, String) {
    let dir = tempfile::tempdir().unwrap();
    for name in ["inner", "lib", "main"] {
        let folder = dir.path().join(name);
        std::fs::create_dir(&folder).unwrap();
        git(&folder, &["init", "-q", "-b", "main", "."]);
        std::fs::write(folder.join(format!("{name}.py")), name).unwrap();
        match name {
            "lib" => drop(git(&folder, &["submodule", "add", "-q", "../inner", "deep/inner"])),
            "main" => drop(git(&folder, &["submodule", "add", "-q", "../lib", "libs/lib"])),
            _ => {}
        }
        git(&folder, &["add", "-A"]);
        git(&folder, &["commit", "-q", "-m", name]);
    }
    let url = format!("file://{}", dir.path().join("main").display());
    (dir, url)
}

fn python(target: &Target) -> Vec<String> {
    target.files().into_keys().filter(|name| name.ends_with(".py")).collect()
}

#[test]
fn each_mode_brings_its_levels() {
    let (_dir, url) = nested();
    let all = ["libs/lib/deep/inner/inner.py", "libs/lib/lib.py", "main.py"];
    for (mode, expected) in [("recursive", &all[..]), ("shallow", &all[1..]), ("off", &all[2..])] {
        let mut target = Target::new(&url, &[("submodules", mode)]);
        target.sync().unwrap();
        assert_eq!(python(&target), expected, "{mode}");
    }
}

#[test]
fn a_subpath_brings_the_submodules_below_it() {
    let (dir, url) = nested();
    let subpath = |subpath: &str| {
        let mut target = Target::new(&url, &[("subpath", subpath)]);
        target.sync().map(|_| python(&target))
    };
    assert_eq!(subpath("libs").unwrap(), ["lib/deep/inner/inner.py", "lib/lib.py"]);
    assert_eq!(subpath("libs/lib").unwrap(), ["deep/inner/inner.py", "lib.py"]);
    assert_eq!(subpath("libs/lib/deep/inner").unwrap(), ["inner.py"]);
    assert_eq!(subpath("libs/lib/nope").unwrap_err().kind(), ErrorKind::NotFound);
    std::fs::create_dir(dir.path().join("main/dags")).unwrap();
    std::fs::write(dir.path().join("main/dags/a.py"), "").unwrap();
    git(&dir.path().join("main"), &["add", "-A"]);
    git(&dir.path().join("main"), &["commit", "-q", "-m", "dags"]);
    std::fs::rename(dir.path().join("lib"), dir.path().join("gone")).unwrap();
    assert_eq!(subpath("dags").unwrap(), ["a.py"], "a submodule elsewhere is not even asked for");
}

#[test]
fn an_update_of_a_submodule_is_an_update() {
    let (dir, url) = nested();
    let mut target = Target::new(&url, &[]);
    target.sync().unwrap();
    let (main, lib) = (dir.path().join("main"), dir.path().join("lib"));
    std::fs::write(lib.join("lib.py"), "newer").unwrap();
    git(&lib, &["commit", "-q", "-a", "-m", "newer"]);
    git(&main, &["submodule", "update", "-q", "--remote", "libs/lib"]);
    git(&main, &["commit", "-q", "-a", "-m", "newer lib"]);
    let counts = target.sync().unwrap().counts;
    assert_eq!(target.files()["libs/lib/lib.py"], "newer");
    assert_eq!(counts.written, 1);
}

#[test]
fn damage_in_a_submodules_cache_is_mended() {
    let (_dir, url) = nested();
    let mut target = Target::new(&url, &[]);
    let first = target.sync().unwrap();
    for repository in std::fs::read_dir(target.cache().join("repositories")).unwrap() {
        std::fs::remove_dir_all(repository.unwrap().path().join("objects")).unwrap();
    }
    assert_eq!(target.sync().unwrap().manifest, first.manifest);
}

#[test]
fn a_missing_commit_of_a_submodule_is_named() {
    let (dir, url) = nested();
    let lib = dir.path().join("lib");
    git(&lib, &["checkout", "-q", "--orphan", "other"]);
    git(&lib, &["commit", "-q", "-m", "other"]);
    git(&lib, &["branch", "-D", "main"]);
    git(&lib, &["reflog", "expire", "--expire=now", "--all"]);
    git(&lib, &["gc", "-q", "--prune=now"]);
    let error = Target::new(&url, &[]).sync().unwrap_err();
    assert!(error.to_string().contains("submodule libs/lib"), "{error}");
}

#[test]
fn a_submodule_without_a_url_is_an_error_that_says_so() {
    let origin = Origin::new();
    origin.write("a.py", "a").commit();
    let id = origin.git(&["rev-parse", "HEAD"]);
    origin.git(&["update-index", "--add", "--cacheinfo", &format!("160000,{id},sub")]);
    origin.git(&["commit", "-q", "-m", "gitlink"]);
    let error = Target::new(&origin.url(), &[]).sync().unwrap_err();
    assert!(error.to_string().contains(".gitmodules") && error.to_string().contains("sub"), "{error}");
    let mut without = Target::new(&origin.url(), &[("submodules", "off")]);
    without.sync().unwrap();
    assert_eq!(without.files(), files(&[("a.py", "a")]));
}

#[test]
fn a_repository_that_holds_itself_ends() {
    let origin = Origin::new();
    let id = origin.write("a.py", "a").commit();
    origin.write(".gitmodules", "[submodule \"me\"]\n\tpath = me\n\turl = ./\n");
    origin.git(&["add", "-A"]);
    origin.git(&["update-index", "--add", "--cacheinfo", &format!("160000,{id},me")]);
    origin.git(&["commit", "-q", "-m", "itself"]);
    let mut target = Target::new(&origin.url(), &[]);
    target.sync().unwrap();
    assert_eq!(target.files()["me/a.py"], "a");
}

/// A repository with `count` submodules, all of one other repository, each at another commit of it.
fn sharing(count: usize) -> (Origin, Origin) {
    let (main, lib) = (Origin::new(), Origin::new());
    let mut modules = String::new();
    for i in 0..count {
        let id = lib.write("lib.py", i.to_string()).commit();
        modules += &format!("[submodule \"{i}\"]\n\tpath = lib_{i}\n\turl = {}\n", lib.url());
        main.git(&["update-index", "--add", "--cacheinfo", &format!("160000,{id},lib_{i}")]);
    }
    main.write(".gitmodules", modules);
    main.git(&["add", ".gitmodules"]);
    main.git(&["commit", "-q", "-m", "submodules"]);
    (main, lib)
}

#[test]
fn more_submodules_of_one_repository_than_packs_are_kept() {
    let (main, lib) = sharing(45);
    let all: Vec<String> = (0..45).map(|i| i.to_string()).collect();
    let brought = |target: &Target| -> Vec<String> {
        (0..45).map(|i| target.files()[&format!("lib_{i}/lib.py")].clone()).collect()
    };
    let mut targets = ["1", "0"].map(|depth| Target::new(&main.url(), &[("depth", depth)]));
    for target in &mut targets {
        target.sync().unwrap();
        assert_eq!(brought(target), all);
    }
    std::fs::rename(lib.path().join(".git"), lib.path().join("away")).unwrap();
    for target in &mut targets {
        target.sync().unwrap();
        assert_eq!(brought(target), all, "the cache has them all and is not rebuilt");
    }
}
