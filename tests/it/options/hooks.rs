//! Commands and calls after a sync, and the command before it.

use super::*;
use crate::harness::Web;

/// A git-sync with a script that the flag names.
fn with_script(setting: &Setting, flag: &str, body: &str) -> GitSync {
    let git_sync = setting.git_sync();
    let script = git_sync.script("hook", body);
    git_sync.flag(flag, script)
}

fn note(git_sync: &GitSync) -> Option<String> {
    std::fs::read_to_string(git_sync.path("note")).ok()
}

/// How often a script ran that leaves [`NOTE`].
fn runs(git_sync: &GitSync) -> usize {
    note(git_sync).map_or(0, |text| text.lines().count())
}

const NOTE: &str = "echo \"$GITSYNC_HASH $(cat a.py) $#\" >>\"$(dirname \"$0\")/note\"";

#[test]
fn exechook_command() {
    let setting = Setting::new();
    let mut git_sync = with_script(&setting, "exechook-command", NOTE).started();
    let first = setting.head();
    git_sync.is_on(&first);
    let expected = format!("{first} one 0\n");
    eventually("the hook ran in the tree", || note(&git_sync).filter(|text| *text == expected));
    setting.repo.write("a.py", "two\n");
    let second = setting.repo.commit("second");
    let expected = format!("{expected}{second} two 0\n");
    eventually("and again for the next commit", || note(&git_sync).filter(|text| *text == expected));
    // The note in the table: the hook stands in a tree that is no work tree of git's.
    let git = with_script(&setting, "exechook-command", "git status 2>&1 | grep 'not a git repository' && exit 4");
    git.once().ended(1, &["exit status: 4"]);
    // A start is a sync of its own.
    git_sync.stop();
    git_sync.start();
    let expected = format!("{expected}{second} two 0\n");
    eventually("and at a start", || note(&git_sync).filter(|text| *text == expected));
    let failing = with_script(&setting, "exechook-command", "echo no >&2; exit 3").once();
    failing.ended(1, &["exechook", "3"]);
}

#[test]
fn exechook_timeout() {
    let setting = Setting::new();
    let body = format!("{NOTE}; exec sleep 300");
    let mut patient = with_script(&setting, "exechook-command", &body).flag("exechook-timeout", "1h").started();
    eventually("its hook runs", || (runs(&patient) == 1).then_some(()));
    let brief = with_script(&setting, "exechook-command", &body).flag("exechook-timeout", "1s");
    let mut brief = brief.flag("exechook-backoff", "1s").started();
    eventually("its hook is ended and runs again", || (runs(&brief) == 3).then_some(()));
    assert_eq!(runs(&patient), 1, "its hook has an hour");
    assert_eq!((brief.stop().code(), patient.stop().code()), (Some(0), Some(0)));
    brief.flag("exechook-timeout", "1ms").once().ended(1, &["--exechook-timeout", "1s"]);
}

#[test]
fn exechook_backoff() {
    let setting = Setting::new();
    let patient = with_script(&setting, "exechook-command", &format!("{NOTE}; exit 1"));
    let patient = patient.flag("exechook-backoff", "1h").started();
    let ran = |status| format!("git_sync_hook_run_count_total{{name=\"exechook\",status=\"{status}\"}}");
    eventually("its hook fails", || patient.metric(&ran("error")).filter(|&n| n == 1.0));
    let body = format!("{NOTE}; [ $(wc -l <\"$(dirname \"$0\")/note\") -ge 3 ]");
    let default = with_script(&setting, "exechook-command", &body).started();
    eventually("without the flag it is run again after a failure", || (runs(&default) == 3).then_some(()));
    assert_eq!(runs(&patient), 1, "its hook waits for an hour");
    eventually("all are counted", || {
        let counts = (default.metric(&ran("error"))?, default.metric(&ran("success"))?);
        (counts == (2.0, 1.0)).then_some(())
    });
    patient.flag("exechook-backoff", "1ms").once().ended(1, &["--exechook-backoff", "1s"]);
}

#[test]
fn pre_publish_exechook_command() {
    let setting = Setting::new();
    let body = format!("[ -e \"$(dirname \"$0\")/root/link\" ] && echo published >\"$(dirname \"$0\")/note\"; {NOTE}");
    let git_sync = with_script(&setting, "pre-publish-exechook-command", &body);
    git_sync.brings(&setting.head());
    assert_eq!(note(&git_sync), Some(format!("{} one 0\n", setting.head())));
    // It refuses nothing, as with git-sync; `gate.command` does.
    let failing = with_script(&setting, "pre-publish-exechook-command", "exit 3");
    let outcome = failing.once();
    assert_eq!(failing.commit(), Some(setting.head()), "{outcome:?}");
}

#[test]
fn pre_publish_exechook_timeout() {
    let setting = Setting::new();
    let git_sync = |timeout: &str| {
        let git_sync = with_script(&setting, "pre-publish-exechook-command", &format!("{NOTE}; exec sleep 300"));
        git_sync.flag("pre-publish-exechook-timeout", timeout)
    };
    let mut patient = git_sync("1h").started();
    eventually("its hook runs", || (runs(&patient) == 1).then_some(()));
    git_sync("1s").brings(&setting.head());
    assert_eq!(patient.commit(), None, "its hook has an hour");
    assert_eq!(patient.stop().code(), Some(0));
    git_sync("1ms").once().ended(1, &["--pre-publish-exechook-timeout", "1s"]);
}

#[test]
fn pre_publish_exechook_backoff() {
    let setting = Setting::new();
    let git_sync = with_script(&setting, "pre-publish-exechook-command", "true");
    git_sync.flag("pre-publish-exechook-backoff", "1ms").once().ended(1, &["--pre-publish-exechook-backoff", "1s"]);
}

fn web(status: u16) -> Web {
    Web::answering(move |_| (status, String::new()))
}

#[test]
fn webhook_url() {
    let setting = Setting::new();
    let web = web(200);
    let git_sync = setting.git_sync().flag("webhook-url", web.url("/hook")).started();
    let first = setting.head();
    eventually("the call is made", || (!web.asked().is_empty()).then_some(()));
    setting.repo.write("a.py", "two\n");
    let second = setting.repo.commit("second");
    git_sync.is_on(&second);
    let hashes = |web: &Web| -> Vec<String> {
        web.asked().iter().filter_map(|asked| asked.header("Gitsync-Hash").map(str::to_owned)).collect()
    };
    eventually("each commit is told", || (hashes(&web) == [first.clone(), second.clone()]).then_some(()));
    assert!(web.asked().iter().all(|asked| asked.path == "/hook" && asked.method == "POST"));
    let proxied = setting.git_sync().flag("webhook-url", "http://hooks.invalid/x");
    proxied.env("http_proxy", web.url("")).brings(&second);
    assert_eq!(web.asked().last().unwrap().path, "http://hooks.invalid/x");
}

#[test]
fn webhook_method() {
    let setting = Setting::new();
    let web = web(200);
    setting.git_sync().flag("webhook-url", web.url("/")).flag("webhook-method", "GET").brings(&setting.head());
    assert_eq!(web.asked()[0].method, "GET");
}

#[test]
fn webhook_success_status() {
    let setting = Setting::new();
    let git_sync =
        |status| setting.git_sync().flag("webhook-url", web(204).url("/")).flag("webhook-success-status", status);
    git_sync("204").brings(&setting.head());
    git_sync("0").brings(&setting.head());
    git_sync("-1").brings(&setting.head());
    git_sync("200").once().ended(1, &["204"]);
    git_sync("-2").once().ended(1, &["--webhook-success-status"]);
}

#[test]
fn webhook_timeout() {
    let setting = Setting::new();
    let slow = Web::answering(|_| {
        std::thread::sleep(std::time::Duration::from_secs(2));
        (200, String::new())
    });
    setting.git_sync().flag("webhook-url", slow.url("/")).flag("webhook-timeout", "30s").brings(&setting.head());
    assert_eq!(slow.asked().len(), 1);
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let git_sync = setting.git_sync().flag("webhook-url", format!("http://{}/", silent.local_addr().unwrap()));
    git_sync.once().ended(1, &["webhook"]);
    git_sync.flag("webhook-timeout", "1ms").once().ended(1, &["--webhook-timeout"]);
}

#[test]
fn webhook_backoff() {
    let setting = Setting::new();
    let [seldom, often] = [web(500), web(500)];
    let patient = setting.git_sync().flag("webhook-url", seldom.url("/")).flag("webhook-backoff", "1h").started();
    let failed = "git_sync_hook_run_count_total{name=\"webhook\",status=\"error\"}";
    eventually("its call fails", || patient.metric(failed).filter(|&n| n == 1.0));
    let _default = setting.git_sync().flag("webhook-url", often.url("/")).started();
    eventually("without the flag it is made again after a failure", || (often.asked().len() == 3).then_some(()));
    assert_eq!(seldom.asked().len(), 1, "the next call is an hour away");
    patient.flag("webhook-backoff", "1ms").once().ended(1, &["--webhook-backoff"]);
}
