//! What options mean together: the deprecated ones, and the combinations that git-sync refuses.

use super::given::Given;
use super::{Refusal, go, signal};

const MILLISECOND: i64 = 1_000_000;
const SECOND: i64 = 1000 * MILLISECOND;

/// Puts deprecated options into the place of those that they stand for, and refuses what makes no sense.
///
/// # Errors
/// The first rule that is broken, in git-sync's order.
pub(super) fn settle(given: &mut Given) -> Result<(), Refusal> {
    if given.is_set("v") && given.integer("v") >= 0 {
        given.replace("verbose", "v", given.text("v").to_owned());
    }
    require(!given.text("root").is_empty(), "--root is required: the folder to work in")?;
    require(!given.text("repo").is_empty(), "--repo is required: the repository to sync")?;
    what(given)?;
    times(given)?;
    hooks(given)?;
    account(given)?;
    app(given)?;
    for flag in ["http-metrics", "http-pprof"] {
        let fine = !given.text("http-bind").is_empty() || !given.bool(flag);
        require(fine, &format!("--{flag} needs --http-bind, the address to listen on"))?;
    }
    Ok(())
}

fn require(fine: bool, otherwise: &str) -> Result<(), Refusal> {
    if fine { Ok(()) } else { Err(Refusal::new(otherwise.to_owned())) }
}

fn one_of(given: &Given, name: &str, words: &[&str]) -> Result<(), Refusal> {
    require(words.contains(&given.text(name)), &format!("--{name} must be one of {}", words.join(", ")))
}

fn what(given: &mut Given) -> Result<(), Refusal> {
    let (branch, rev) = (given.text("branch").to_owned(), given.text("rev").to_owned());
    match (branch.is_empty(), rev.as_str()) {
        (false, "" | "HEAD") => given.replace("ref", "branch", branch),
        (true, rev) if !rev.is_empty() => given.replace("ref", "rev", rev.to_owned()),
        (true, _) => {}
        (false, _) => require(false, "--branch and --rev cannot both say what to follow: set --ref alone")?,
    }
    require(!given.text("ref").is_empty(), "--ref is empty: name a branch, tag or commit, or HEAD")?;
    require(given.integer("depth") >= 0, "--depth must be 0, for all of the history, or more")?;
    one_of(given, "submodules", &["recursive", "shallow", "off"])?;
    one_of(given, "git-gc", &["auto", "always", "aggressive", "off"])?;
    for (name, old) in [("link", "dest"), ("exechook-command", "sync-hook-command")] {
        if !given.text(old).is_empty() {
            given.replace(name, old, given.text(old).to_owned());
        }
    }
    if given.integer("max-sync-failures") != 0 {
        given.replace("max-failures", "max-sync-failures", given.text("max-sync-failures").to_owned());
    }
    let chmod = "--change-permissions is not supported any more: use --group-write";
    require(given.integer("change-permissions") == 0, chmod)
}

fn times(given: &mut Given) -> Result<(), Refusal> {
    let wait = given.float("wait");
    if wait != 0.0 {
        given.replace("period", "wait", format!("{}ms", (wait * 1000.0) as i64));
    }
    let seconds = given.integer("timeout");
    if seconds != 0 {
        given.replace("sync-timeout", "timeout", format!("{seconds}s"));
    }
    for name in ["period", "init-period", "sync-timeout"] {
        let may_be_unset = name == "init-period" && given.nanoseconds(name) == 0;
        at_least(given, name, 10 * MILLISECOND, "10ms", !may_be_unset)?;
    }
    require(given.nanoseconds("stale-worktree-timeout") >= 0, "--stale-worktree-timeout must not be negative")?;
    let wanted = given.text("sync-on-signal");
    if let Some(number) = go::integer(wanted).map(|n| n.to_string()) {
        given.replace("sync-on-signal", "sync-on-signal", number);
    }
    let wanted = given.text("sync-on-signal");
    signal::parse(wanted).map_err(|why| Refusal::new(format!("--sync-on-signal {wanted:?} {why}")))?;
    Ok(())
}

fn at_least(given: &Given, name: &str, least: i64, written: &str, counts: bool) -> Result<(), Refusal> {
    require(!counts || given.nanoseconds(name) >= least, &format!("--{name} must be {written} or more"))
}

fn hooks(given: &mut Given) -> Result<(), Refusal> {
    for (hook, what) in [("exechook", "command"), ("pre-publish-exechook", "command"), ("webhook", "url")] {
        let counts = !given.text(&format!("{hook}-{what}")).is_empty();
        at_least(given, &format!("{hook}-timeout"), SECOND, "1s", counts)?;
        at_least(given, &format!("{hook}-backoff"), SECOND, "1s", counts)?;
    }
    let status = given.integer("webhook-success-status");
    if status == -1 {
        given.replace("webhook-success-status", "webhook-success-status", "0".to_owned());
    }
    let fine = given.text("webhook-url").is_empty() || (-1..=999).contains(&status);
    require(fine, "--webhook-success-status must be a status of HTTP, or 0 for any")
}

fn account(given: &mut Given) -> Result<(), Refusal> {
    if !given.text("password").is_empty() {
        given.replace("GITSYNC_PASSWORD", "password", given.text("password").to_owned());
    }
    let has = |name: &str| !given.text(name).is_empty();
    let (password, file) = (has("GITSYNC_PASSWORD"), has("password-file"));
    if !has("username") {
        require(!password, "GITSYNC_PASSWORD needs --username")?;
        require(!file, "--password-file needs --username")?;
        take_user_of_url(given);
        return Ok(());
    }
    require(password || file, "--username needs GITSYNC_PASSWORD or --password-file")?;
    require(!(password && file), "only one of GITSYNC_PASSWORD and --password-file may be set")?;
    let user_in_url = url::Url::parse(given.text("repo"))
        .is_ok_and(|u| u.has_host() && (!u.username().is_empty() || u.password().is_some()));
    require(!user_in_url, "--repo must not hold a user when --username is set")
}

/// A user in the URL is as good as the options. That of ssh belongs to the address.
fn take_user_of_url(given: &mut Given) {
    let Ok(mut url) = url::Url::parse(given.text("repo")) else { return };
    let plain = |text: &str| percent_encoding::percent_decode_str(text).decode_utf8_lossy().into_owned();
    let (user, password) = (plain(url.username()), url.password().map(plain));
    if !matches!(url.scheme(), "http" | "https") || user.is_empty() && password.is_none() {
        return;
    }
    let stripped = url.set_username("").and_then(|()| url.set_password(None));
    stripped.expect("a URL of http has a host");
    given.replace("username", "repo", user);
    given.replace("GITSYNC_PASSWORD", "repo", password.unwrap_or_default());
    given.replace("repo", "repo", url.to_string());
}

fn app(given: &Given) -> Result<(), Refusal> {
    let has = |name: &str| !given.text(name).is_empty();
    let (application, installation) =
        (given.integer("github-app-application-id") != 0, given.integer("github-app-installation-id") != 0);
    let (key, file) = (has("GITSYNC_GITHUB_APP_PRIVATE_KEY"), has("github-app-private-key-file"));
    if !application && !has("github-app-client-id") {
        let rule = "--github-app-installation-id needs --github-app-client-id or --github-app-application-id";
        require(!installation, rule)?;
    } else {
        let both = application && has("github-app-client-id");
        require(!both, "only one of --github-app-application-id and --github-app-client-id may be set")?;
        require(installation, "a GitHub App needs --github-app-installation-id")?;
        let rule = "a GitHub App needs GITSYNC_GITHUB_APP_PRIVATE_KEY or --github-app-private-key-file";
        require(key || file, rule)?;
        let rule = "only one of GITSYNC_GITHUB_APP_PRIVATE_KEY and --github-app-private-key-file may be set";
        require(!(key && file), rule)?;
        require(!has("username"), "--username and a GitHub App cannot both say who asks")?;
    }
    for credential in given.credentials() {
        require(!credential.url.is_empty(), "a --credential has no url")?;
        require(!credential.username.is_empty(), "a --credential has no username")?;
        let (password, file) = (!credential.password.is_empty(), !credential.password_file.is_empty());
        require(password || file, "a --credential has neither password nor password-file")?;
        require(!(password && file), "a --credential has both password and password-file: choose one")?;
    }
    Ok(())
}
