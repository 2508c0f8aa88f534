use std::ffi::OsString;

use dagsync_core::{Factory, Kind, Registry, Setting};
use serde_json::json;

use super::*;

const SETTINGS: &[Setting] = &[
    Setting::new("git.ref", Kind::Text, "HEAD", "What to follow."),
    Setting::new("git.depth", Kind::Integer, "1", "How much history."),
    Setting::new("git.password", Kind::Secret, "", "The password."),
    Setting::new("git.ssh.key_file", Kind::Path, "", "The key."),
];

fn registry() -> Registry {
    let build = |spec: &dagsync_core::Spec<'_>| Err(wrong(format!("built with {}", spec.settings)));
    let infers = |source: &str| source.ends_with(".git");
    Registry::new().with(Factory { name: "git", about: "A repository.", settings: SETTINGS, infers, build })
}

#[derive(Default)]
struct Given {
    file: Option<(&'static str, &'static str)>,
    env: Vec<(&'static str, &'static str)>,
    flags: Vec<(&'static str, &'static str)>,
}

impl Given {
    fn env(pairs: &[(&'static str, &'static str)]) -> Self {
        Self { env: pairs.to_vec(), ..Self::default() }
    }

    fn file(name: &'static str, text: &'static str) -> Self {
        Self { file: Some((name, text)), ..Self::default() }
    }

    fn load(&self) -> Result<Loaded> {
        let folder = tempfile::tempdir().unwrap();
        let file = self.file.map(|(name, text)| {
            let path = folder.path().join(name);
            dagsync_core::fs::write_atomic(&path, text.as_bytes()).unwrap();
            path
        });
        let env = self.env.iter().map(|(n, v)| (OsString::from(n), OsString::from(v))).collect();
        let flag = |(n, v): &(&str, &str)| Flag {
            origin: format!("flag --{n}"),
            name: (*n).to_owned(),
            value: (*v).into(),
            is_private: false,
        };
        load(&registry(), &Inputs { file, env, defaults: Vec::new(), flags: self.flags.iter().map(flag).collect() })
    }

    fn error(&self) -> String {
        let error = self.load().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Config, "{error}");
        error.to_string()
    }
}

fn of<'a>(loaded: &'a Loaded, name: &str) -> &'a Effective {
    loaded.settings.iter().find(|e| e.setting.name == name).unwrap()
}

#[test]
fn defaults_alone_are_valid() {
    let loaded = Given::default().load().unwrap();
    assert_eq!(loaded.config.period.as_secs(), 10);
    assert_eq!(loaded.config.http.bind.as_ref().unwrap().port, 8466);
    assert_eq!(of(&loaded, "period").origin, "default");
    assert_eq!(of(&loaded, "pod.name").origin, "host name");
    assert!(loaded.factory().unwrap_err().to_string().contains("--source"));
}

#[test]
fn later_layers_win_and_name_themselves() {
    let mut given = Given::file("c.toml", "period = \"1m\"\nroot = \"/a\"\n[git]\nref = \"main\"\ndepth = 3\n");
    given.env = vec![("DAGSYNC_PERIOD", "2m"), ("DAGSYNC_GIT__REF", "dev"), ("POD_NAME", "web-0"), ("HOME", "/")];
    given.flags = vec![("period", "3m")];
    let loaded = given.load().unwrap();
    assert_eq!(loaded.config.period.as_secs(), 180);
    assert_eq!(of(&loaded, "period").origin, "flag --period");
    assert_eq!(of(&loaded, "git.ref").origin, "environment DAGSYNC_GIT__REF");
    assert!(of(&loaded, "root").origin.ends_with("/c.toml"), "{:?}", of(&loaded, "root"));
    assert_eq!(loaded.config.pod.name, "web-0");
    assert_eq!(of(&loaded, "pod.name").origin, "environment POD_NAME");
    let section = json!({"ref": "dev", "depth": 3, "password": "", "ssh": {"key_file": ""}});
    assert_eq!(loaded.section("git"), section);
}

#[test]
fn the_section_reaches_the_strategy() {
    let loaded = Given::env(&[("DAGSYNC_SOURCE", "https://h/x.git"), ("DAGSYNC_GIT__DEPTH", "7")]).load().unwrap();
    assert_eq!(loaded.factory().unwrap().name, "git");
    let error = loaded.strategy().unwrap_err().to_string();
    assert!(error.contains("\"depth\":7"), "{error}");
}

#[test]
fn yaml_and_lists() {
    let file = "exclude: [tests, '**/*.md']\nbackoff:\n  max: 5m\ngit:\njitter: 0\nlimits: {bytes: 1024}\n";
    let loaded = Given::file("c.yaml", file).load().unwrap();
    assert_eq!(loaded.config.exclude, ["tests", "**/*.md"]);
    assert_eq!(loaded.config.backoff.max.as_secs(), 300);
    assert_eq!(loaded.config.limits.bytes.as_u64(), 1024);
    let loaded = Given::env(&[("DAGSYNC_EXCLUDE", "tests, *.{md,txt},")]).load().unwrap();
    assert_eq!(loaded.config.exclude, ["tests", "*.{md,txt}"]);
    let loaded = Given::env(&[("DAGSYNC_EXCLUDE", ""), ("DAGSYNC_HTTP__BIND", "")]).load().unwrap();
    assert!(loaded.config.exclude.is_empty() && loaded.config.http.bind.is_none());
}

#[test]
fn an_unknown_key_names_its_origin_and_the_nearest() {
    let error = Given::file("c.toml", "peroid = \"1m\"").error();
    assert!(error.contains("\"peroid\" (file ") && error.contains("did you mean period?"), "{error}");
    let error = Given::env(&[("DAGSYNC_MAX_FAILURE", "1")]).error();
    assert!(
        error.contains("DAGSYNC_MAX_FAILURE") && error.contains("did you mean DAGSYNC_MAX_FAILURES (max_failures)?"),
        "{error}"
    );
    let error = Given::env(&[("DAGSYNC_GIT_REF", "x")]).error();
    assert!(error.contains("did you mean DAGSYNC_GIT__REF (git.ref)?"), "{error}");
    let error = Given::file("c.yaml", "depth: 1").error();
    assert!(error.contains("did you mean git.depth?"), "{error}");
    let error = Given::file("c.toml", "[swift]\ncontainer = \"x\"").error();
    assert!(error.contains("there is no section \"swift\"") && error.contains("compiled in: git"), "{error}");
    let error = Given { flags: vec![("keep.version", "1")], ..Given::default() }.error();
    assert!(error.contains("flag --keep.version") && error.contains("keep.versions"), "{error}");
}

#[test]
fn what_kubernetes_adds_for_a_service_is_no_setting() {
    let links = [
        ("DAGSYNC_SERVICE_HOST", "10.0.0.1"),
        ("DAGSYNC_SERVICE_PORT_HTTP", "8466"),
        ("DAGSYNC_PORT", "tcp://10.0.0.1:8466"),
        ("DAGSYNC_PORT_8466_TCP_ADDR", "10.0.0.1"),
        ("DAGSYNC_LEADER_PORT", "tcp://10.0.0.1:8466"),
        ("DAGSYNC_CONFIG", ""),
    ];
    Given::env(&links).load().unwrap();
    for mistake in [("DAGSYNC_HTTP__PORT", "80"), ("DAGSYNC_HTTP_PORT", "80")] {
        assert!(Given::env(&[mistake]).error().contains(mistake.0));
    }
}

#[test]
fn a_value_of_the_wrong_form_is_named_with_its_origin() {
    assert_eq!(
        Given::env(&[("DAGSYNC_PERIOD", "10 parsecs")]).error(),
        "read settings: period: \"10 parsecs\" from environment DAGSYNC_PERIOD is not a duration such as 30s"
    );
    for (file, part) in [
        ("git: {ref: 1.10}", "git.ref: 1.1 from file"),
        ("exclude: tests", "is not a list"),
        ("symlinks: follow", "is not one of skip, refuse"),
        ("limits: {bytes: lots}", "is not a size such as 512MiB"),
        ("max_failures: many", "is not a whole number"),
        ("allow_empty: perhaps", "is not true or false"),
        ("http: {bind: localhost}", "http.bind: \"localhost\" from file"),
        ("http: {bind: 'localhost:http'}", "such as :8466"),
        ("limits: {files: -1}", "limits.files: -1 from file"),
        ("keep: {pinned: [v1]}", "keep.pinned: [\"v1\"] from file"),
        ("source: [", "cannot be read"),
    ] {
        let error = Given::file("c.yaml", file).error();
        assert!(error.contains(part) && !error.contains('\n'), "{file}: {error}");
    }
}

#[test]
fn values_that_make_no_sense_are_refused() {
    for (var, value) in [
        ("DAGSYNC_PERIOD", "1ms"),
        ("DAGSYNC_JITTER", "1.5"),
        ("DAGSYNC_TIMEOUT", "0s"),
        ("DAGSYNC_KEEP__VERSIONS", "0"),
        ("DAGSYNC_LINK", "a/b"),
        ("DAGSYNC_LINK", "versions"),
        ("DAGSYNC_LINK", ".."),
        ("DAGSYNC_BACKOFF__MAX", "1ms"),
        ("DAGSYNC_LOG__LEVEL", "a=b=c"),
        ("DAGSYNC_EXCLUDE", "a["),
        ("DAGSYNC_ROOT", ""),
        ("DAGSYNC_SCRUB__INTERVAL", "99ms"),
        ("DAGSYNC_LIMITS__FILES", "0"),
        ("DAGSYNC_LIMITS__BYTES", "0B"),
        ("DAGSYNC_LIMITS__FILE_BYTES", "0"),
        ("DAGSYNC_LIMITS__PATH_BYTES", "0"),
        ("DAGSYNC_LIMITS__DEPTH", "0"),
        ("DAGSYNC_GATE__TIMEOUT", "0s"),
        ("DAGSYNC_EXECHOOK__TIMEOUT", "0s"),
        ("DAGSYNC_WEBHOOK__TIMEOUT", "0s"),
        ("DAGSYNC_EXECHOOK__BACKOFF", "99ms"),
        ("DAGSYNC_WEBHOOK__BACKOFF", "0s"),
    ] {
        let error = Given::env(&[(var, value)]).error();
        assert!(error.contains(&format!("from environment {var}")), "{error}");
    }
}

#[test]
fn a_link_in_worktrees_may_be_any_path_that_the_store_does_not_use() {
    let load = |link| Given::env(&[("DAGSYNC_LAYOUT", "worktrees"), ("DAGSYNC_ROOT", "/git"), ("DAGSYNC_LINK", link)]);
    for fine in ["repo", "a/b", "/git/repo", "/elsewhere/repo", "../repo", "a/../b", ".hidden", "dags."] {
        load(fine).load().unwrap();
    }
    for bad in ["", ".", "..", "repo/", "repo/.", "/git", "/git/.git/x", "x/../.worktrees", ".dagsync/x", "versions"] {
        let error = load(bad).error();
        assert!(error.contains("from environment DAGSYNC_LINK: must be a path"), "{bad}: {error}");
    }
}

#[test]
fn a_duration_that_no_clock_can_add_up_is_refused() {
    for name in ["PERIOD", "TIMEOUT", "BACKOFF__INITIAL", "BACKOFF__MAX", "KEEP__AGE", "SCRUB__INTERVAL"] {
        let var: &'static str = format!("DAGSYNC_{name}").leak();
        for value in ["500000000000y", "366d"] {
            let error = Given::env(&[(var, value)]).error();
            assert!(error.contains(var) && error.ends_with("must be 365d or less"), "{error}");
        }
    }
    let longest = Given::env(&[("DAGSYNC_TIMEOUT", "365d"), ("DAGSYNC_SCRUB__INTERVAL", "0s")]).load().unwrap();
    assert!(longest.config.scrub.interval.is_zero());
}

#[test]
fn secrets_come_from_the_environment_only_and_are_never_shown() {
    let loaded = Given::env(&[("DAGSYNC_GIT__PASSWORD", "pa55")]).load().unwrap();
    assert_eq!(of(&loaded, "git.password").shown(), json!("***"));
    assert_eq!(loaded.section("git")["password"], json!("pa55"));
    assert!(loaded.warnings[0].contains("DAGSYNC_GIT__PASSWORD"), "{:?}", loaded.warnings);
    assert!(!format!("{loaded:?} {:?}", loaded.warnings).contains("pa55"));
    for given in [
        Given::file("c.toml", "[git]\npassword = \"pa55\""),
        Given { flags: vec![("git.password", "pa55")], ..Given::default() },
    ] {
        let error = given.error();
        assert!(error.contains("git.password is a secret") && !error.contains("pa55"), "{error}");
    }
}

#[test]
fn a_password_in_the_source_is_not_shown() {
    let loaded = Given::env(&[("DAGSYNC_SOURCE", "https://u:pa55@h/x.git")]).load().unwrap();
    assert_eq!(of(&loaded, "source").shown(), json!("https://u:***@h/x.git"));
    assert_eq!(&*loaded.config.source, "https://u:pa55@h/x.git");
    assert_eq!(loaded.warnings.len(), 1);
    assert!(!format!("{loaded:?} {:?} {:?} {}", loaded.config, loaded.warnings, loaded.config.source).contains("pa55"));
}

#[test]
fn a_token_in_the_source_by_flag_or_file_is_refused() {
    for url in ["https://ghp_pa55@h/x.git", "https://u:pa55@h/x.git", "ssh://git:pa55@h/x.git"] {
        let file = format!("source: {url}").leak();
        for given in [Given { flags: vec![("source", url)], ..Given::default() }, Given::file("c.yaml", file)] {
            let error = given.error();
            assert!(error.contains("git.token_file") && !error.contains("pa55"), "{error}");
        }
        assert_eq!(Given::env(&[("DAGSYNC_SOURCE", url)]).load().unwrap().warnings.len(), 1, "{url}");
    }
    let plain = Given { flags: vec![("source", "https://ada@h/x.git")], ..Given::default() }.load().unwrap();
    assert!(plain.warnings.is_empty(), "a user is no secret");
}

#[test]
fn a_file_that_cannot_be_read_is_a_configuration_error() {
    let inputs = Inputs { file: Some("/nowhere/c.toml".into()), ..Inputs::default() };
    let error = load(&registry(), &inputs).unwrap_err();
    assert!(error.kind() == ErrorKind::Config && error.to_string().contains("/nowhere/c.toml"), "{error}");
    assert!(Given::file("c.ini", "").error().contains("call it .toml"));
}

#[test]
fn the_table_of_the_readme_names_every_setting() {
    let table = Table::new(&registry());
    let markdown = table.markdown();
    assert_eq!(markdown.lines().count(), table.iter().count() + 2);
    assert!(markdown.contains("| `git.ref` | text | `HEAD` | `DAGSYNC_GIT__REF` | What to follow. |"), "{markdown}");
}

#[test]
fn the_path_of_a_webhook_is_not_shown_and_on_the_command_line_it_is_warned_of() {
    let url = "https://hooks.slack.com/services/T0/B0/s3cret";
    for name in ["drift.webhook_url", "webhook.url"] {
        let loaded = Given { flags: vec![(name, url)], ..Given::default() }.load().unwrap();
        assert_eq!(of(&loaded, name).shown(), json!("https://hooks.slack.com/…"));
        assert!(!format!("{:?}", loaded.settings).contains("s3cret"));
        let [warning] = loaded.warnings.as_slice() else { panic!("{:?}", loaded.warnings) };
        assert!(warning.contains(&format!("prefer {name}_file")) && !warning.contains("s3cret"), "{warning}");
    }
    let bare = Given { flags: vec![("drift.webhook_url", "http://chat:8080")], ..Given::default() }.load().unwrap();
    assert!(bare.warnings.is_empty(), "{:?}", bare.warnings);
}

#[test]
fn a_password_in_a_url_is_told_where_it_belongs() {
    for (name, hint) in [
        ("fleet.peers", "client.token_file"),
        ("target.leader", "client.token_file"),
        ("drift.pushgateway", "DAGSYNC_DRIFT__PUSHGATEWAY"),
        ("drift.webhook_url", "drift.webhook_url_file"),
        ("source", "git.password_file"),
    ] {
        let error = Given { flags: vec![(name, "https://me:s3cret@host/x")], ..Given::default() }.error();
        assert!(error.contains(hint) && !error.contains("s3cret"), "{error}");
    }
}
