//! Help, and how much is said.

use super::*;

fn say(argument: &str) -> Outcome {
    Outcome::of(dagsync().args(["git-sync", argument]))
}

#[test]
fn version() {
    say("--version").ended(0, &[env!("CARGO_PKG_VERSION")]);
}

#[test]
fn help() {
    for argument in ["--help", "-h", "-?"] {
        say(argument).ended(0, &["--repo", "--stale-worktree-timeout", "GITSYNC_PASSWORD"]);
    }
}

#[test]
fn man() {
    say("--man").ended(0, &["NAME", "--exechook-command", "GITSYNC_EXECHOOK_COMMAND"]);
}

#[test]
fn verbose() {
    let setting = Setting::new();
    let words = |git_sync: GitSync| git_sync.once().ended(0, &[]).stderr.len();
    let [quiet, loud] = [setting.git_sync(), setting.git_sync().flag("verbose", "6")].map(words);
    assert!(quiet < loud, "{quiet} {loud}");
    setting.git_sync().and("-v6").brings(&setting.head());
    setting.git_sync().and("-v").and("6").brings(&setting.head());
    setting.git_sync().flag("verbose", "much").once().ended(1, &["--verbose"]);
}
