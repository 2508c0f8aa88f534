use std::process::Command;

use dagsync_core::index::StatIndex;
use dagsync_core::{Interrupt, Limits, Progress, SymlinkPolicy};

use super::*;

/// What is found after `script` ran in a folder with a DAG and its honest bytecode.
fn found(script: &str, exclude: &[&str]) -> Vec<String> {
    let folder = tempfile::tempdir().unwrap();
    let honest = "echo 1 > a.py; mkdir -p __pycache__ .git/refs lost+found .dagsync; echo x > __pycache__/a.cpython-312.pyc
        echo x > .git/index; echo x > .nfs0001; echo x > a.pyc; touch .dagsync/manifest .dagsync/seal.json .dagsync/seal.sig";
    let ran = Command::new("sh").args(["-ec", &format!("{honest}\n{script}")]).current_dir(folder.path()).status();
    assert!(ran.unwrap().success(), "{script}");
    let exclude: Vec<String> = exclude.iter().map(|&glob| glob.into()).collect();
    let reading = Reading {
        filter: &Filter::new(&[], &exclude).unwrap(),
        limits: &Limits::default(),
        symlinks: SymlinkPolicy::Skip,
        index: &StatIndex::default(),
        now: None,
        interrupt: &Interrupt::never(),
        progress: &Progress::default(),
    };
    let found = find(&Folder::open(folder.path()).unwrap(), &reading).unwrap();
    found.into_iter().map(|odd| odd.file.map_or(odd.why, |path| path.to_string())).collect()
}

#[test]
fn code_where_no_version_looks_is_found_and_bytecode_is_left_alone() {
    assert_eq!(found("", &[]), [""; 0]);
    let zip = "python3 -c 'import zipfile, sys; z = zipfile.ZipFile(sys.argv[1], \"w\"); z.comment = b\"c\" * 900; z.writestr(\"e.py\", \"1\"); z.close()'";
    for (script, path) in [
        ("echo 1 > .dagsync/evil.py", ".dagsync/evil.py"),
        ("mkdir .dagsync/manifests", ".dagsync/manifests"),
        ("rm .dagsync/seal.sig; ln -s x .dagsync/seal.sig", ".dagsync/seal.sig"),
        ("echo 1 > __pycache__/evil.py", "__pycache__/evil.py"),
        ("mkdir -p team/__pycache__/deep; echo 1 > team/__pycache__/deep/evil.py", "team/__pycache__/deep/evil.py"),
        ("echo 1 > lost+found/evil.py", "lost+found/evil.py"),
        ("echo 1 > .git/evil.py", ".git/evil.py"),
        ("echo 1 > .nfs_evil.py", ".nfs_evil.py"),
        ("mkdir x.pyc; echo 1 > x.pyc/evil.py", "x.pyc/evil.py"),
        ("echo x > evil.pyc", "evil.pyc"),
        ("ln -s /tmp .git/evil", ".git/evil"),
        (&format!("{zip} __pycache__/evil.pyc"), "__pycache__/evil.pyc"),
        (&format!("{zip} zip; (cat a.pyc zip) > x; mv x a.pyc; rm zip"), "a.pyc"),
        (&format!("{zip} .nfs2"), ".nfs2"),
    ] {
        assert_eq!(found(script, &[]), [path], "{script}");
    }
    let harmless = "echo 'PK\\005\\006 of a program that reads zips, but is none itself' > __pycache__/b.pyc";
    assert_eq!(found(harmless, &[]), [""; 0]);
}

#[test]
fn what_the_configured_globs_leave_out_is_not_looked_at() {
    let script = "mkdir -p vendor/__pycache__ team; echo 1 > vendor/__pycache__/x.py; echo 1 > team/x.pyc";
    assert_eq!(found(script, &[]).len(), 2);
    assert_eq!(found(script, &["vendor", "team/*.pyc"]), [""; 0]);
}
