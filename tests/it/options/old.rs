//! What git-sync keeps for those who come from version 3.

use super::*;

#[test]
fn branch() {
    let setting = Setting::new();
    setting.git_sync().flag("ref", "nowhere").flag("branch", "main").brings(&setting.head());
    setting.git_sync().flag("ref", "nowhere").env("GIT_SYNC_BRANCH", "main").brings(&setting.head());
}

#[test]
fn rev() {
    let setting = Setting::new();
    let (first, other) = (setting.head(), "HEAD");
    setting.repo.write("a.py", "two\n");
    let second = setting.repo.commit("second");
    setting.git_sync().flag("ref", "nowhere").flag("rev", &first).brings(&first);
    setting.git_sync().flag("rev", other).flag("branch", "main").brings(&second);
    setting.git_sync().flag("rev", &first).flag("branch", "main").once().ended(1, &["--branch", "--rev"]);
}

#[test]
fn change_permissions() {
    let setting = Setting::new();
    setting.git_sync().flag("change-permissions", "0").brings(&setting.head());
    setting.git_sync().flag("change-permissions", "0755").once().ended(1, &["--change-permissions", "--group-write"]);
}

#[test]
fn dest() {
    let setting = Setting::new();
    let git_sync = setting.git_sync().flag("link", "unused").flag("dest", "link");
    git_sync.brings(&setting.head());
    assert!(!git_sync.root().join("unused").exists());
}

#[test]
fn max_sync_failures() {
    let setting = Setting::new();
    setting.repo.hide(true);
    let mut git_sync = setting.git_sync().flag("max-failures", "-1").flag("max-sync-failures", "2").started();
    assert_eq!(git_sync.ends().code(), Some(1));
    assert_eq!(git_sync.log().matches("sync failed").count(), 2);
}

#[test]
fn ssh() {
    let setting = Setting::new();
    setting.git_sync().and("--ssh").env("GIT_SYNC_SSH", "true").brings(&setting.head());
}

#[test]
fn sync_hook_command() {
    let setting = Setting::new();
    let git_sync = setting.git_sync();
    let script = git_sync.script("hook", "echo \"$GITSYNC_HASH\" >\"$(dirname \"$0\")/note\"");
    let git_sync = git_sync.flag("exechook-command", "/nonexistent").flag("sync-hook-command", script);
    git_sync.brings(&setting.head());
    assert_eq!(std::fs::read_to_string(git_sync.path("note")).unwrap().trim(), setting.head());
}

#[test]
fn timeout() {
    let setting = Setting::new();
    let gate = crate::harness::Gate::before(setting.sshd.port);
    gate.hang();
    let git_sync = setting.git_sync().flag("repo", setting.sshd.url(&setting.repo, gate.port));
    let git_sync = git_sync.flag("ssh-known-hosts-file", setting.sshd.known_hosts(gate.port));
    let outcome = git_sync.flag("sync-timeout", "1h").flag("timeout", "1").once();
    assert_eq!(outcome.code, Some(1), "{outcome:?}");
}

#[test]
fn v() {
    let setting = Setting::new();
    let [quiet, loud] = ["0", "1"].map(|v| setting.git_sync().flag("verbose", "0").flag("v", v).started());
    loud.says("nothing changed");
    quiet.is_on(&setting.head());
    eventually("it polls", || quiet.metric("git_sync_count_total{status=\"noop\"}").filter(|&n| n > 1.0));
    assert!(!quiet.log().contains("nothing changed"));
}

#[test]
fn wait() {
    let setting = Setting::new();
    let git_sync = setting.git_sync().flag("period", "1h").flag("wait", "0.05").started();
    eventually("it polls again", || git_sync.metric("git_sync_count_total{status=\"noop\"}").filter(|&n| n > 1.0));
}
