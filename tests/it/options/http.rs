//! The HTTP endpoint.

use super::*;

#[test]
fn http_bind() {
    let setting = Setting::new();
    setting.repo.hide(true);
    let git_sync = setting.git_sync().flag("max-failures", "-1").started();
    eventually("the probe fails before the first sync", || git_sync.get("/").filter(|(status, _)| *status == 503));
    setting.repo.hide(false);
    eventually("and succeeds after it", || git_sync.get("/").filter(|(status, _)| *status == 200));
    // git-sync knows no other path, so a probe at any answers the same.
    assert_eq!(git_sync.get("/healthz").unwrap().0, 200);
    let port = crate::harness::free_port();
    let everywhere = setting.git_sync().flag("http-bind", format!(":{port}")).started();
    everywhere.is_on(&setting.head());
    eventually("a port alone listens everywhere", || http(port, "GET", "/", "").filter(|(status, _)| *status == 200));
    setting.git_sync().flag("http-bind", "nowhere").once().ended(1, &["nowhere"]);
}

#[test]
fn http_metrics() {
    let setting = Setting::new();
    let git_sync = setting.git_sync().and("--http-metrics").started();
    git_sync.is_on(&setting.head());
    eventually("syncs are counted", || {
        git_sync.metric("git_sync_count_total{status=\"success\"}").filter(|&n| n == 1.0)
    });
    eventually("fetches are counted", || git_sync.metric("git_fetch_count_total").filter(|&n| n == 1.0));
    let (_, text) = git_sync.get("/metrics").unwrap();
    for name in [
        "git_sync_duration_seconds_count{status=\"success\"}",
        "git_sync_duration_seconds_sum{status=\"noop\"}",
        "dagsync_version_info{",
    ] {
        assert!(text.contains(name), "{name} in {text}");
    }
    setting.git_sync().without("http-bind").and("--http-metrics").once().ended(1, &["--http-bind"]);
}

#[test]
fn http_pprof() {
    let setting = Setting::new();
    setting.git_sync().and("--http-pprof").once().ended(0, &["http-pprof"]);
    setting.git_sync().without("http-bind").and("--http-pprof").once().ended(1, &["--http-bind"]);
}
