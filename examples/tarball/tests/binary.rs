//! The binary with its own strategy: the whole way from a tar file to a published version, which is that of git.
#![allow(clippy::unwrap_used, clippy::disallowed_methods)]

use std::path::Path;
use std::process::Command;

fn run(command: &mut Command) -> String {
    let out = command.output().unwrap();
    assert!(out.status.success(), "{command:?}: {}", String::from_utf8_lossy(&out.stderr));
    String::from_utf8(out.stdout).unwrap().trim_end().to_owned()
}

fn shell(folder: &Path, script: &str) -> String {
    run(Command::new("bash").args(["-euo", "pipefail", "-c", script]).current_dir(folder))
}

fn dagsync(args: &[&str]) -> String {
    let mut command = Command::new(env!("CARGO_BIN_EXE_dagsync-tarball"));
    run(command.env_clear().env("HOME", "/nonexistent").args(args))
}

#[test]
fn a_tar_file_and_the_git_repository_it_was_made_from_are_one_version() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    let make = "git init --quiet repo && cd repo && mkdir sub && echo 1 > a.py && echo 2 > sub/b.py
                ln -s ../a.py sub/link.py && echo '#!/bin/sh' > run.sh && chmod +x run.sh && git add --all
                git -c user.name=ada -c user.email=ada@example.com commit --quiet -m first
                git archive --output ../dags.tar HEAD";
    shell(at, make);
    let published = |source: &str, store: &str| {
        let root = at.join(store).display().to_string();
        let version = dagsync(&["once", "--source", source, "--root", &root]);
        assert!(dagsync(&["verify", &root]).contains("verified, 4 files"));
        assert!(at.join(store).join("current/sub/link.py").is_symlink());
        version
    };
    let by_tar = published(&format!("tar:{}", at.join("dags.tar").display()), "tar");
    let by_git = published(&format!("file://{}", at.join("repo").display()), "git");
    assert_eq!(by_tar, by_git);
    let by_hand = "find -L repo -name .git -prune -o -type f -printf '%P\\0' | LC_ALL=C sort -z |
                   (cd repo && xargs -0 sha256sum) | sha256sum | cut -d ' ' -f 1";
    assert_eq!(by_tar, format!("sha256:{}", shell(at, by_hand)));
}
