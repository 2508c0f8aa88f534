//! Files that git-sync leaves for others, and who may write to them.

use std::os::unix::fs::{MetadataExt, PermissionsExt};

use super::*;

#[test]
fn touch_file() {
    let setting = Setting::new();
    let git_sync = setting.git_sync().flag("touch-file", "some/touched").started();
    git_sync.is_on(&setting.head());
    let file = git_sync.root().join("some/touched");
    let modified = || std::fs::metadata(&file).ok()?.modified().ok();
    let first = eventually("the file is there", modified);
    setting.repo.write("a.py", "two\n");
    git_sync.is_on(&setting.repo.commit("second"));
    eventually("the file is touched again", || modified().filter(|&time| time > first));
}

#[test]
fn error_file() {
    let setting = Setting::new();
    let git_sync = setting.git_sync().flag("error-file", "error.json").flag("max-failures", "-1").started();
    git_sync.is_on(&setting.head());
    let file = git_sync.root().join("error.json");
    assert!(!file.exists());
    setting.repo.hide(true);
    let text = eventually("the error is written", || std::fs::read_to_string(&file).ok());
    let error: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert!(error["Msg"].is_string() && error["Err"].is_string() && error["Args"].is_object(), "{text}");
    assert_eq!(std::fs::metadata(&file).unwrap().mode() & 0o777, 0o644);
    setting.repo.hide(false);
    eventually("the error is gone", || (!file.exists()).then_some(()));
}

/// The notes in the table.
#[test]
fn no_file_is_put_among_the_trees() {
    let setting = Setting::new();
    for flag in ["touch-file", "error-file"] {
        for place in ["../out", "link/out", ".worktrees/out"] {
            let outcome = setting.git_sync().flag(flag, place).once();
            outcome.ended(1, &[&format!("--{flag}: {place} is no place for a file of its own")]);
        }
        let git_sync = setting.git_sync();
        let elsewhere = git_sync.path("elsewhere");
        git_sync.flag(flag, elsewhere).brings(&setting.head());
    }
}

#[test]
fn group_write() {
    let setting = Setting::new();
    let script = setting.repo.work().join("run.sh");
    std::fs::write(&script, "#!/bin/sh\n").unwrap();
    std::fs::set_permissions(&script, std::fs::Permissions::from_mode(0o755)).unwrap();
    let head = setting.repo.commit("a script");
    let mode = |git_sync: &GitSync, path: &str| std::fs::metadata(git_sync.link().join(path)).unwrap().mode() & 0o777;
    let shared = setting.git_sync().and("--group-write");
    shared.brings(&head);
    assert_eq!([mode(&shared, "a.py"), mode(&shared, "run.sh"), mode(&shared, "lib")], [0o664, 0o775, 0o775]);
    let alone = setting.git_sync();
    alone.brings(&head);
    assert_eq!(mode(&alone, "a.py") & 0o022 | mode(&alone, "lib") & 0o022, 0);
    assert_eq!(mode(&alone, "run.sh") & 0o111, 0o111);
}

#[test]
fn add_user() {
    let setting = Setting::new();
    let git_sync = setting.git_sync().and("--add-user").and("--one-time");
    let command = git_sync.command();
    let words: Vec<_> = command.get_args().map(|a| a.to_str().unwrap().to_owned()).collect();
    // A file system of its own below /etc, as a container has.
    let script = "mount -t tmpfs none /etc; echo root:x:0:0::/root:/bin/sh >/etc/passwd; chmod 666 /etc/passwd
        chown 4242 \"$1\"; shift; setpriv --reuid 4242 --regid 0 --clear-groups \"$@\"; cat /etc/passwd";
    let keys = git_sync.path("keys");
    std::fs::create_dir(&keys).unwrap();
    shell(&keys, &format!("cp {} key; chmod 444 key; chmod 755 . ..", setting.sshd.key().display()));
    let words = words.iter().map(|w| match w.starts_with("--ssh-key-file") {
        true => format!("--ssh-key-file={}", keys.join("key").display()),
        false => w.clone(),
    });
    let mut unshare = Command::new("unshare");
    unshare.args(["-m", "bash", "-ec", script, "-"]).arg(git_sync.folder.path()).arg(command.get_program()).args(words);
    readable_by_all(&setting);
    let outcome = Outcome::of(unshare.env("HOME", "/tmp"));
    outcome.ended(0, &["git-sync:x:4242:0::/tmp:/sbin/nologin"]);
}

/// The known hosts lie in a folder of the test's own.
fn readable_by_all(setting: &Setting) {
    let folder = setting.sshd.key().parent().unwrap().to_owned();
    std::fs::set_permissions(&folder, std::fs::Permissions::from_mode(0o755)).unwrap();
}

#[test]
fn stale_worktree_timeout() {
    let setting = Setting::new();
    let first = setting.head();
    let trees = |git_sync: &GitSync| git_sync.root().join(".worktrees");
    let mut brief = setting.git_sync().flag("stale-worktree-timeout", "1ms");
    let mut long = setting.git_sync().flag("stale-worktree-timeout", "1h");
    let mut unset = setting.git_sync();
    let all = [&mut brief, &mut long, &mut unset];
    for git_sync in all {
        git_sync.start();
        git_sync.is_on(&first);
    }
    for n in 0..2 {
        setting.repo.write("a.py", &format!("{n}\n"));
        let next = setting.repo.commit("next");
        for git_sync in [&brief, &long, &unset] {
            git_sync.is_on(&next);
        }
    }
    eventually("the old tree is removed", || (!trees(&brief).join(&first).exists()).then_some(()));
    assert!(trees(&long).join(&first).exists() && trees(&unset).join(&first).exists());
}
