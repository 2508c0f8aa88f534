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
    let [quiet, loud] = [setting.git_sync().started(), setting.git_sync().flag("verbose", "1").started()];
    loud.says("nothing changed");
    quiet.is_on(&setting.head());
    eventually("it polls", || quiet.metric("git_sync_count_total{status=\"noop\"}").filter(|&n| n > 1.0));
    assert!(!quiet.log().contains("nothing changed"));
    setting.git_sync().and("-v6").brings(&setting.head());
    setting.git_sync().and("-v").and("6").brings(&setting.head());
    setting.git_sync().flag("verbose", "much").once().ended(2, &["--verbose"]);
}
