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
    let git_sync = with_script(&setting, "exechook-command", "sleep 1000").flag("exechook-timeout", "1s");
    git_sync.once().ended(1, &["exechook"]);
    git_sync.flag("exechook-timeout", "1ms").once().ended(1, &["--exechook-timeout", "1s"]);
}

#[test]
fn exechook_backoff() {
    let setting = Setting::new();
    let body = format!("{NOTE}; [ $(wc -l <\"$(dirname \"$0\")/note\") -ge 2 ]");
    let git_sync = with_script(&setting, "exechook-command", &body).flag("exechook-backoff", "1s").started();
    eventually("it is run again after a failure", || note(&git_sync).filter(|text| text.lines().count() == 2));
    let ran = |status| format!("git_sync_hook_run_count_total{{name=\"exechook\",status=\"{status}\"}}");
    eventually("both are counted", || {
        let counts = (git_sync.metric(&ran("error"))?, git_sync.metric(&ran("success"))?);
        (counts == (1.0, 1.0)).then_some(())
    });
    git_sync.flag("exechook-backoff", "1ms").once().ended(1, &["--exechook-backoff", "1s"]);
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
    let git_sync = with_script(&setting, "pre-publish-exechook-command", "sleep 1000");
    let git_sync = git_sync.flag("pre-publish-exechook-timeout", "1s");
    git_sync.once();
    assert_eq!(git_sync.commit(), Some(setting.head()));
    git_sync.flag("pre-publish-exechook-timeout", "1ms").once().ended(1, &["--pre-publish-exechook-timeout", "1s"]);
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
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/", silent.local_addr().unwrap());
    setting.git_sync().flag("webhook-url", &url).flag("webhook-timeout", "1s").once().ended(1, &["webhook"]);
    setting.git_sync().flag("webhook-url", &url).flag("webhook-timeout", "1ms").once().ended(1, &["--webhook-timeout"]);
}

#[test]
fn webhook_backoff() {
    let setting = Setting::new();
    let calls = std::sync::atomic::AtomicUsize::new(0);
    let web = Web::answering(move |_| {
        let call = calls.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        (if call == 0 { 500 } else { 200 }, String::new())
    });
    let git_sync = setting.git_sync().flag("webhook-url", web.url("/")).flag("webhook-backoff", "1s").started();
    eventually("it is made again after a failure", || (web.asked().len() == 2).then_some(()));
    git_sync.flag("webhook-backoff", "1ms").once().ended(1, &["--webhook-backoff"]);
}
