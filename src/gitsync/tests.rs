mod table;

use std::collections::BTreeMap;

use config::ValueKind;
use dagsync_core::{Factory, Kind, Registry, Setting, Spec};

use super::given::Given;
use super::*;
use crate::config::{self as configuration, Inputs, Loaded, Table};

const REPO: &[&str] = &["--repo=https://h/team/dags.git", "--root=/git"];

fn os(words: &[&str]) -> Vec<OsString> {
    words.iter().map(OsString::from).collect()
}

fn pairs(env: &[(&str, &str)]) -> Vec<(OsString, OsString)> {
    env.iter().map(|(n, v)| (n.into(), v.into())).collect()
}

fn given(args: &[&str], env: &[(&str, &str)]) -> Result<Given, Refusal> {
    let mut given = Given::environment(&pairs(env))?;
    flags::read(&mut given, &os(args))?;
    rules::settle(&mut given)?;
    Ok(given)
}

/// With the two that are required.
fn with(args: &[&str], env: &[(&str, &str)]) -> Result<Given, Refusal> {
    given(&[REPO, args].concat(), env)
}

fn refusal(args: &[&str], env: &[(&str, &str)]) -> Refusal {
    let outcome = with(args, env).and_then(|given| translate::settings(&given).map(|_| given));
    outcome.err().unwrap_or_else(|| panic!("{args:?} {env:?} are accepted"))
}

/// What each setting is, and where it came from; the flags over the defaults.
fn settings(args: &[&str], env: &[(&str, &str)]) -> BTreeMap<String, (String, String)> {
    let translate::Settings { defaults, flags } = translate::settings(&with(args, env).unwrap()).unwrap();
    defaults.into_iter().chain(flags).map(|f| (f.name, (shown(f.value), f.origin))).collect()
}

fn shown(value: ValueKind) -> String {
    match value {
        ValueKind::Array(items) => items.iter().map(|i| i.kind.to_string()).collect::<Vec<_>>().join(" + "),
        other => other.to_string(),
    }
}

#[track_caller]
fn expect(args: &[&str], env: &[(&str, &str)], wanted: &[(&str, &str)]) {
    let settings = settings(args, env);
    for (name, value) in wanted {
        assert_eq!(settings.get(*name).map(|(v, _)| v.as_str()), Some(*value), "{name} of {args:?} {env:?}");
    }
}

/// What the chart sends to the sidecar, both generations at once.
const CHART: &[(&str, &str)] = &[
    ("GIT_SSH_KEY_FILE", "/etc/git-secret/ssh"),
    ("GITSYNC_SSH_KEY_FILE", "/etc/git-secret/ssh"),
    ("GIT_SYNC_SSH", "true"),
    ("GITSYNC_SSH", "true"),
    ("GIT_KNOWN_HOSTS", "false"),
    ("GITSYNC_SSH_KNOWN_HOSTS", "false"),
    ("GIT_SYNC_REV", "HEAD"),
    ("GITSYNC_REF", "v2-2-stable"),
    ("GIT_SYNC_BRANCH", "v2-2-stable"),
    ("GIT_SYNC_REPO", "https://github.com/apache/airflow.git"),
    ("GITSYNC_REPO", "https://github.com/apache/airflow.git"),
    ("GIT_SYNC_DEPTH", "1"),
    ("GITSYNC_DEPTH", "1"),
    ("GIT_SYNC_ROOT", "/git"),
    ("GITSYNC_ROOT", "/git"),
    ("GIT_SYNC_DEST", "repo"),
    ("GITSYNC_LINK", "repo"),
    ("GIT_SYNC_ADD_USER", "true"),
    ("GITSYNC_ADD_USER", "true"),
    ("GITSYNC_PERIOD", "5s"),
    ("GIT_SYNC_MAX_SYNC_FAILURES", "0"),
    ("GITSYNC_MAX_FAILURES", "0"),
    ("GIT_SYNC_HTTP_BIND", ":1234"),
    ("GITSYNC_HTTP_BIND", ":1234"),
];

#[test]
fn the_charts_variables_mean_what_git_sync_makes_of_them_and_nothing_is_odd() {
    let given = given(&[], CHART).unwrap();
    assert!(given.warnings.is_empty(), "{:?}", given.warnings);
    let translate::Settings { flags, .. } = translate::settings(&given).unwrap();
    let found: BTreeMap<_, _> = flags.iter().map(|f| (f.name.as_str(), f.value.to_string())).collect();
    for (name, value) in [
        ("source", "https://github.com/apache/airflow.git"),
        ("git.ref", "v2-2-stable"),
        ("git.depth", "1"),
        ("root", "/git"),
        ("link", "repo"),
        ("period", "5s"),
        ("max_failures", "0"),
        ("git.host_key_check", "off"),
        ("http.bind", ":1234"),
    ] {
        assert_eq!(found.get(name).map(String::as_str), Some(value), "{name}");
    }
    assert_eq!(flags.iter().find(|f| f.name == "git.ref").unwrap().origin, "environment GIT_SYNC_BRANCH");
}

#[test]
fn without_options_git_syncs_defaults_hold() {
    let all = settings(&[], &[]);
    for (name, value) in [
        ("strategy", "git"),
        ("layout", "worktrees"),
        ("http.git_sync", "true"),
        ("http.bind", ""),
        ("link", "dags.git"),
        ("git.ref", "HEAD"),
        ("period", "10s"),
        ("timeout", "2m"),
        ("max_failures", "0"),
        ("backoff.initial", "10s"),
        ("backoff.max", "1m"),
        ("git.ssh_key_file", "/etc/git-secret/ssh"),
        ("git.known_hosts_file", "/etc/git-secret/known_hosts"),
        ("git.host_key_check", "strict"),
        ("webhook.success_status", "200"),
    ] {
        assert_eq!(all.get(name), Some(&(value.to_owned(), "git-sync's default".to_owned())), "{name}");
    }
    for name in ["init_max_failures", "init_period", "keep.age", "sync_on_signal", "log.level", "gate.on_failure"] {
        assert!(!all.contains_key(name), "{name} is left to dagsync");
    }
}

#[test]
fn a_flag_wins_over_its_variables_and_the_last_variable_over_the_first() {
    let both = &[("GIT_SYNC_PERIOD", "7s"), ("GITSYNC_PERIOD", "5s")];
    expect(&[], both, &[("period", "7s")]);
    expect(&["--period", "9s"], both, &[("period", "9s")]);
    let given = with(&[], both).unwrap();
    assert_eq!(given.warnings, ["GIT_SYNC_PERIOD is set too and wins over GITSYNC_PERIOD"]);
    let keys = &[("GIT_SSH_KEY_FILE", "/a:/b")];
    expect(&[], keys, &[("git.ssh_key_file", "/a + /b")]);
    expect(&["--ssh-key-file=/c", "--ssh-key-file", "/d,e"], keys, &[("git.ssh_key_file", "/c + /d,e")]);
    assert!(with(&[], keys).unwrap().warnings[0].contains("GIT_SSH_KEY_FILE (now GITSYNC_SSH_KEY_FILE)"));
    assert_eq!(settings(&["--ref=x"], &[])["git.ref"].1, "flag --ref");
    assert_eq!(settings(&[], both)["period"].1, "environment GIT_SYNC_PERIOD");
}

#[test]
fn an_empty_variable_counts() {
    assert!(refusal(&[], &[("GITSYNC_REF", "")]).message.contains("--ref is empty"));
    assert!(refusal(&[], &[("GITSYNC_ONE_TIME", "")]).message.contains("GITSYNC_ONE_TIME is \"\""));
    assert!(refusal(&["--repo="], &[]).message.contains("--repo is required"));
}

#[test]
fn flags_are_read_as_pflag_does() {
    let level = |words: &[&str]| with(words, &[]).unwrap().integer("verbose");
    for words in
        [&["-v2"][..], &["-v", "2"], &["-v=2"], &["--verbose=2"], &["--verbose", "2"], &["--v", "2"], &["-v0x2"]]
    {
        assert_eq!(level(words), 2, "{words:?}");
    }
    assert!(with(&["--one-time"], &[]).unwrap().bool("one-time"));
    assert!(!with(&["--one-time=false"], &[("GITSYNC_ONE_TIME", "true")]).unwrap().bool("one-time"));
    let stray = with(&["--one-time", "false", "--", "--nonsense"], &[]).unwrap();
    assert!(stray.bool("one-time") && stray.warnings[0].starts_with("2 words"), "{:?}", stray.warnings);
    assert!(with(&["-hv2"], &[]).unwrap().bool("help") && with(&["-?"], &[]).unwrap().bool("help"));
    for (words, part) in [
        (&["--perod=1s"][..], "there is no flag --perod; did you mean --period?"),
        (&["--GITSYNC_PASSWORD=x"], "there is no flag"),
        (&["-x"], "there is no flag -x"),
        (&["--period"], "--period needs a value"),
        (&["-v"], "-v needs a value"),
        (&["--period=5"], "--period is \"5\", which is not a duration"),
        (&["--depth=1.5"], "is not a whole number"),
        (&["--one-time=yes"], "is not true or false"),
        (&["--credential=pa55"], "--credential is neither a JSON object nor a list"),
        (&[r#"--credential={"url":"u","pa55":1}"#], "is no JSON of credentials, at column"),
    ] {
        let refusal = refusal(words, &[]);
        assert!(refusal.exit == 2 && refusal.message.contains(part), "{words:?}: {refusal:?}");
        assert!(!refusal.message.contains("pa55"), "{refusal:?}");
    }
}

#[test]
fn deprecated_options_win_over_those_that_they_stand_for() {
    expect(&["--branch=b"], &[("GITSYNC_REF", "r")], &[("git.ref", "b")]);
    expect(&[], &[("GIT_SYNC_REV", "v"), ("GITSYNC_REF", "r")], &[("git.ref", "v")]);
    expect(&[], &[("GIT_SYNC_REV", "HEAD"), ("GIT_SYNC_BRANCH", "b")], &[("git.ref", "b")]);
    expect(&[], &[("GIT_SYNC_REV", ""), ("GIT_SYNC_BRANCH", "b")], &[("git.ref", "b")]);
    expect(&["--dest=d", "--link=l"], &[], &[("link", "d")]);
    expect(&["--wait=1.5", "--period=9s"], &[], &[("period", "1s 500ms"), ("backoff.initial", "1s 500ms")]);
    expect(&["--timeout=7"], &[], &[("timeout", "7s")]);
    expect(&["--max-sync-failures=-1"], &[], &[("max_failures", "-1")]);
    expect(&["--wait=0", "--timeout=0", "--max-sync-failures=0"], &[], &[("period", "10s"), ("max_failures", "0")]);
    expect(&["--sync-hook-command=/h"], &[], &[("exechook.command", "/h")]);
    expect(&["--password=p", "--username=u"], &[("GITSYNC_PASSWORD", "q")], &[("git.password", "p")]);
    assert_eq!(settings(&["--branch=b"], &[])["git.ref"].1, "flag --branch");
}

#[test]
fn options_become_settings() {
    for (args, wanted) in [
        (&["--period=10ms"][..], &[("period", "100ms"), ("backoff.initial", "100ms")][..]),
        (&["--period=2h"], &[("backoff.initial", "2h"), ("backoff.max", "2h")]),
        (&["--stale-worktree-timeout=30s"], &[("keep.age", "30s"), ("keep.versions", "1")]),
        (&["--stale-worktree-timeout=0"], &[("keep.age", "0s"), ("keep.versions", "1")]),
        (&["--cookie-file"], &[("git.cookie_file", "/etc/git-secret/cookie_file")]),
        (&["--ssh-known-hosts=false"], &[("git.host_key_check", "off")]),
        (&["-v1"], &[("log.level", "info,dagsync=debug")]),
        (&["-v9"], &[("log.level", "info,dagsync=trace")]),
        (&["--sync-on-signal=0x0a"], &[("sync_on_signal", "10")]),
        (&["--sync-on-signal=SIGUSR1"], &[("sync_on_signal", "SIGUSR1")]),
        (&["--init-max-failures=3", "--init-period=1s"], &[("init_max_failures", "3"), ("init_period", "1s")]),
        (&["--webhook-url=http://h", "--webhook-success-status=-1"], &[("webhook.success_status", "0")]),
        (&["--pre-publish-exechook-command=/x"], &[("gate.command", "/x"), ("gate.on_failure", "warn")]),
        (&["--link=a/b", "--group-write"], &[("link", "a/b"), ("group_write", "true")]),
        (
            &["--git-config=a.b:c", "--git-config-add=\"x.y\":\"1,2\"", "--git-config-add=d.e:f"],
            &[("git.config", "a.b=c + x.y=1,2 + d.e=f")],
        ),
    ] {
        expect(args, &[], wanted);
    }
    for (repo, link) in [("https://h/a/b.git/", "b.git"), ("git@h:x", "git@h:x"), ("git@h:a/b", "b")] {
        let given = given(&["--repo", repo, "--root=/r"], &[]).unwrap();
        let defaults = translate::settings(&given).unwrap().defaults;
        assert_eq!(defaults.iter().find(|f| f.name == "link").unwrap().value, ValueKind::from(link));
    }
}

#[test]
fn credentials_of_the_variable_and_of_every_flag_count() {
    let list = r#"[{"url":"https://a","username":"u","password":"p"}]"#;
    let one = r#"--credential={"url":"https://b","username":"u","password-file":"/p"}"#;
    let expected = r#"[{"url":"https://b/","username":"u","password-file":"/p"},{"url":"https://a/","username":"u","password":"p"}]"#;
    expect(&[one], &[("GITSYNC_CREDENTIAL", list)], &[("git.credentials", expected)]);
}

#[test]
fn combinations_that_make_no_sense_are_refused() {
    let app = &["--github-app-client-id=c", "--github-app-installation-id=1"];
    for (args, env, part) in [
        (&["--root="][..], &[][..], "--root is required"),
        (&["--branch=b", "--rev=r"], &[], "--branch and --rev"),
        (&["--depth=-1"], &[], "--depth"),
        (&["--submodules=some"], &[], "--submodules must be one of recursive, shallow, off"),
        (&["--git-gc=never"], &[], "--git-gc must be one of"),
        (&["--period=9ms"], &[], "--period must be 10ms"),
        (&["--wait=-1"], &[], "--period must be 10ms"),
        (&["--init-period=1ms"], &[], "--init-period must be 10ms"),
        (&["--init-period=-1s"], &[], "--init-period must be 10ms"),
        (&["--sync-timeout=0"], &[], "--sync-timeout must be 10ms"),
        (&["--change-permissions=0755"], &[], "--change-permissions is not supported"),
        (&["--sync-on-signal=SIGNONE"], &[], "is no signal"),
        (&["--sync-on-signal=TERM"], &[], "not free"),
        (&["--exechook-command=/x", "--exechook-timeout=1ms"], &[], "--exechook-timeout must be 1s"),
        (&["--exechook-command=/x", "--exechook-backoff=1ms"], &[], "--exechook-backoff must be 1s"),
        (&["--pre-publish-exechook-command=/x", "--pre-publish-exechook-timeout=1ms"], &[], "pre-publish"),
        (&["--webhook-url=http://h", "--webhook-timeout=1ms"], &[], "--webhook-timeout must be 1s"),
        (&["--webhook-url=http://h", "--webhook-success-status=-2"], &[], "--webhook-success-status"),
        (&["--username=u"], &[], "--username needs"),
        (&["--username=u", "--password-file=/p"], &[("GITSYNC_PASSWORD", "pa55")], "only one of GITSYNC_PASSWORD"),
        (&["--username=u", "--repo=https://x@h/r"], &[("GITSYNC_PASSWORD", "pa55")], "--repo must not hold a user"),
        (&[], &[("GITSYNC_PASSWORD", "pa55")], "GITSYNC_PASSWORD needs --username"),
        (&["--password-file=/p"], &[], "--password-file needs --username"),
        (&["--github-app-application-id=1"], &[], "--github-app-installation-id"),
        (&["--github-app-installation-id=1"], &[], "needs --github-app-client-id"),
        (&[app[0], app[1], "--github-app-application-id=1"], &[], "only one of --github-app-application-id"),
        (app, &[], "GITSYNC_GITHUB_APP_PRIVATE_KEY or"),
        (
            &[app[0], app[1], "--github-app-private-key-file=/k"],
            &[("GITSYNC_GITHUB_APP_PRIVATE_KEY", "pa55")],
            "only one of GITSYNC_GITHUB_APP_PRIVATE_KEY",
        ),
        (
            &[app[0], app[1], "--github-app-private-key-file=/k", "--username=u", "--password-file=/p"],
            &[],
            "--username and a GitHub App",
        ),
        (&[r#"--credential={"username":"u","password":"pa55"}"#], &[], "has no url"),
        (&[r#"--credential={"url":"u","password":"pa55"}"#], &[], "has no username"),
        (&[r#"--credential={"url":"u","username":"u"}"#], &[], "neither password"),
        (&[r#"--credential={"url":"u","username":"u","password":"pa55","password-file":"/p"}"#], &[], "both password"),
        (&["--http-metrics"], &[], "--http-metrics needs --http-bind"),
        (&["--http-pprof"], &[], "--http-pprof needs --http-bind"),
        (&["--git-config=a.b"], &[], "cannot be read"),
        (&[], &[("GITSYNC_PERIOD", "soon")], "GITSYNC_PERIOD is \"soon\""),
        (&[], &[("GIT_SYNC_CREDENTIAL", "x"), ("GITSYNC_CREDENTIAL", "pa55")], "GITSYNC_CREDENTIAL is neither"),
    ] {
        let refusal = refusal(args, env);
        assert!(refusal.message.contains(part), "{args:?} {env:?}: {refusal:?}");
        assert!(refusal.exit == 1 && !refusal.message.contains("pa55"), "{refusal:?}");
    }
    with(&["--exechook-timeout=1ms", "--init-period=0"], &[]).unwrap();
}

#[test]
fn an_unknown_variable_is_a_warning_with_the_nearest() {
    let env = [
        ("GITSYNC_PERIODE", "1s"),
        ("GIT_SYNC_SSH", "true"),
        ("GIT_SYNC_SERVICE_HOST", "10.0.0.1"),
        ("GIT_SYNC_PORT", "tcp://10.0.0.1:80"),
        ("GITHUB_TOKEN", "x"),
    ];
    let given = with(&[], &env).unwrap();
    assert_eq!(
        given.warnings,
        ["there is no variable GITSYNC_PERIODE, so it has no effect; did you mean GITSYNC_PERIOD?"]
    );
}

#[test]
fn git_sync_is_called_for_by_name_by_command_or_by_variables_alone() {
    let args = |argv: &[&str], env: &[(&str, &str)]| Invocation::of(&os(argv), pairs(env)).map(|i| i.args);
    let set = &[("GITSYNC_REPO", "x")][..];
    assert_eq!(args(&["/usr/bin/git-sync", "--one-time"], &[]), Some(os(&["--one-time"])));
    assert_eq!(args(&["git-sync"], &[]), Some(vec![]));
    assert_eq!(args(&["dagsync", "git-sync", "--man"], &[]), Some(os(&["--man"])));
    assert_eq!(args(&["dagsync"], set), Some(vec![]));
    assert_eq!(args(&["dagsync"], &[("GIT_SYNC_PORT", "tcp://10.0.0.1:80"), ("GIT_SSH_KEY_FILE", "x")]), None);
    assert_eq!(args(&["dagsync", "status"], set), None);
}

/// git-sync's options over the settings of this build.
fn loaded(args: &[&str], env: &[(&str, &str)]) -> Loaded {
    const SETTINGS: &[Setting] = &[
        Setting::new("git.ref", Kind::Text, "HEAD", "x"),
        Setting::new("git.depth", Kind::Integer, "1", "x"),
        Setting::new("git.submodules", Kind::Text, "", "x"),
        Setting::new("git.password", Kind::Secret, "", "x"),
        Setting::new("git.username", Kind::Text, "", "x"),
        Setting::new("git.ssh_key_file", Kind::List, "", "x"),
        Setting::new("git.known_hosts_file", Kind::Path, "", "x"),
        Setting::new("git.host_key_check", Kind::Text, "", "x"),
        Setting::new("git.github_app.base_url", Kind::Text, "", "x"),
    ];
    let build = |_: &Spec<'_>| Err(dagsync_core::Error::cancelled("build"));
    let factory = Factory { name: "git", about: "A test.", settings: SETTINGS, infers: |_| true, build };
    let translate::Settings { defaults, flags } = translate::settings(&with(args, env).unwrap()).unwrap();
    configuration::load(&Registry::new().with(factory), &Inputs { file: None, env: pairs(env), defaults, flags })
        .unwrap()
}

#[test]
fn dagsyncs_own_variables_hold_where_git_syncs_are_silent() {
    let env = [("DAGSYNC_PERIOD", "3s"), ("DAGSYNC_TIMEOUT", "3s"), ("DAGSYNC_ALLOW_EMPTY", "true")];
    let config = loaded(&["--sync-timeout=9s", "--link=a"], &env).config;
    assert_eq!((config.period.as_secs(), config.timeout.as_secs(), config.allow_empty), (3, 9, true));
    assert_eq!((config.max_failures, config.http.bind, &*config.link), (0, None, "a"));
    assert!(config.http.git_sync);
}

#[test]
fn a_password_of_the_environment_reaches_the_setting_and_is_not_shown() {
    let loaded = loaded(&["--username=u", "--link=a"], &[("GITSYNC_PASSWORD", "pa55")]);
    assert_eq!(loaded.section("git")["password"], "pa55");
    assert!(!format!("{loaded:?} {:?}", loaded.warnings).contains("pa55"));
}

#[test]
fn every_setting_that_an_option_stands_for_exists() {
    let table = Table::new(&crate::strategies());
    let missing: Vec<_> =
        options::all().map(|o| o.setting).filter(|s| !s.is_empty() && table.get(s).is_none()).collect();
    assert!(missing.is_empty(), "{missing:?}");
}

#[test]
fn help_manual_and_table_name_every_option() {
    let (help, page, table) = (manual::help(), manual::page(), manual::markdown());
    for option in options::all() {
        for text in [&help, &page, &table] {
            assert!(text.contains(&option.written()), "{}", option.name);
        }
    }
    assert_eq!(table.lines().count(), options::all().count() + 2);
}
