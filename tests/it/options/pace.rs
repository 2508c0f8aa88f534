//! When to sync, how often to fail, and when to end.

use super::*;

#[test]
fn period() {
    let setting = Setting::new();
    let git_sync = setting.git_sync().flag("period", "50ms").started();
    git_sync.is_on(&setting.head());
    eventually("it polls again", || git_sync.metric("git_sync_count_total{status=\"noop\"}").filter(|&n| n > 2.0));
    setting.git_sync().flag("period", "1ms").once().ended(1, &["--period", "10ms"]);
    setting.git_sync().flag("period", "10").once().ended(2, &["--period"]);
}

#[test]
fn init_period() {
    let setting = Setting::new();
    setting.repo.hide(true);
    let git_sync =
        setting.git_sync().flag("init-period", "20ms").flag("period", "1h").flag("max-failures", "-1").started();
    eventually("it tries again and again", || git_sync.log().matches("sync failed").nth(4).map(drop));
    setting.repo.hide(false);
    git_sync.is_on(&setting.head());
}

#[test]
fn sync_timeout() {
    let setting = Setting::new();
    let gate = crate::harness::Gate::before(setting.sshd.port);
    gate.hang();
    let git_sync = |timeout: &str| {
        let git_sync = setting.git_sync().flag("repo", setting.sshd.url(&setting.repo, gate.port));
        git_sync.flag("ssh-known-hosts-file", setting.sshd.known_hosts(gate.port)).flag("sync-timeout", timeout)
    };
    let patient = git_sync("1h").flag("max-failures", "-1").started();
    eventually("it waits for the server", || (gate.waiting() > 0).then_some(()));
    let outcome = git_sync("500ms").once();
    assert_eq!(outcome.code, Some(1), "{outcome:?}");
    assert!(!patient.log().contains("sync failed"), "it has an hour: {}", patient.log());
    git_sync("1ms").once().ended(1, &["--sync-timeout", "10ms"]);
}

#[test]
fn one_time() {
    let setting = Setting::new();
    let git_sync = setting.git_sync();
    git_sync.brings(&setting.head());
    // Again, over what is there.
    git_sync.brings(&setting.head());
    Outcome::of(setting.git_sync().env("GITSYNC_ONE_TIME", "1").command().arg("--period=1h")).ended(0, &[]);
}

#[test]
fn sync_on_signal() {
    let setting = Setting::new();
    for signal in ["SIGUSR1", "USR1", "10"] {
        let git_sync = setting.git_sync().flag("period", "1h").flag("sync-on-signal", signal).started();
        git_sync.is_on(&setting.head());
        eventually("it is ready", || git_sync.get("/").filter(|(status, _)| *status == 200));
        setting.repo.write("a.py", signal);
        let next = setting.repo.commit("next");
        git_sync.signal(Signal::USR1);
        git_sync.is_on(&next);
    }
    setting.git_sync().flag("sync-on-signal", "SIGNOTHING").once().ended(1, &["--sync-on-signal"]);
}

#[test]
fn max_failures() {
    let setting = Setting::new();
    setting.repo.hide(true);
    for (allowed, failures) in [("0", 1), ("1", 1), ("3", 3)] {
        let mut git_sync = setting.git_sync().flag("max-failures", allowed).started();
        assert_eq!(git_sync.ends().code(), Some(1));
        assert_eq!(git_sync.log().matches("sync failed").count(), failures, "{allowed}: {}", git_sync.log());
    }
    let mut patient = setting.git_sync().flag("max-failures", "-1").started();
    eventually("it tries on", || patient.log().matches("sync failed").nth(2).map(drop));
    assert_eq!(patient.stop().code(), Some(0));
}

#[test]
fn init_max_failures() {
    let setting = Setting::new();
    let mut git_sync = setting.git_sync().flag("init-max-failures", "-1").flag("max-failures", "1");
    setting.repo.hide(true);
    git_sync.start();
    eventually("it tries on", || git_sync.log().matches("sync failed").nth(2).map(drop));
    setting.repo.hide(false);
    git_sync.is_on(&setting.head());
    eventually("it is ready", || git_sync.get("/").filter(|(status, _)| *status == 200));
    setting.repo.hide(true);
    assert_eq!(git_sync.ends().code(), Some(1));
}
