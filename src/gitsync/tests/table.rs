//! Each option by its flag and by each of its variables alone: what it changes, and nothing else.

use std::collections::BTreeSet;

use super::*;

/// A line an option: its name, its variables as git-sync's `main.go` lists them, a value, the settings that change, and
/// what must be given besides. The names of variables are not taken from the options' own table, which is under test.
const TABLE: &str = "
help | | true | |
man | | true | |
version | | true | |
verbose | GITSYNC_VERBOSE | 7 | log.level=info,dagsync=trace |
repo | GITSYNC_REPO GIT_SYNC_REPO | https://h/other | source=https://h/other link=other |
ref | GITSYNC_REF | r1 | git.ref=r1 |
depth | GITSYNC_DEPTH GIT_SYNC_DEPTH | 17 | git.depth=17 |
filter | GITSYNC_FILTER | blob:none | |
submodules | GITSYNC_SUBMODULES GIT_SYNC_SUBMODULES | shallow | git.submodules=shallow |
sparse-checkout-file | GITSYNC_SPARSE_CHECKOUT_FILE GIT_SYNC_SPARSE_CHECKOUT_FILE | /sc | git.sparse_checkout_file=/sc |
root | GITSYNC_ROOT GIT_SYNC_ROOT | /r1 | root=/r1 |
link | GITSYNC_LINK GIT_SYNC_LINK | l1 | link=l1 |
error-file | GITSYNC_ERROR_FILE GIT_SYNC_ERROR_FILE | /ef | error_file=/ef |
init-period | GITSYNC_INIT_PERIOD | 18s | init_period=18s |
period | GITSYNC_PERIOD GIT_SYNC_PERIOD | 19s | period=19s backoff.initial=19s |
sync-timeout | GITSYNC_SYNC_TIMEOUT GIT_SYNC_SYNC_TIMEOUT | 20s | timeout=20s |
one-time | GITSYNC_ONE_TIME GIT_SYNC_ONE_TIME | true | |
sync-on-signal | GITSYNC_SYNC_ON_SIGNAL GIT_SYNC_SYNC_ON_SIGNAL | SIGUSR2 | sync_on_signal=SIGUSR2 |
max-failures | GITSYNC_MAX_FAILURES GIT_SYNC_MAX_FAILURES | 21 | max_failures=21 |
init-max-failures | GITSYNC_INIT_MAX_FAILURES | 22 | init_max_failures=22 |
touch-file | GITSYNC_TOUCH_FILE GIT_SYNC_TOUCH_FILE | /tf | touch_file=/tf |
add-user | GITSYNC_ADD_USER GIT_SYNC_ADD_USER | true | |
group-write | GITSYNC_GROUP_WRITE GIT_SYNC_GROUP_WRITE | true | group_write=true |
stale-worktree-timeout | GITSYNC_STALE_WORKTREE_TIMEOUT | 23s | keep.age=23s keep.versions=1 |
git | GITSYNC_GIT GIT_SYNC_GIT | /git | |
git-config | GITSYNC_GIT_CONFIG GIT_SYNC_GIT_CONFIG | a.b:c | git.config=a.b=c |
git-config-add | | d.e:f | git.config=d.e=f |
git-gc | GITSYNC_GIT_GC GIT_SYNC_GIT_GC | aggressive | |
http-bind | GITSYNC_HTTP_BIND GIT_SYNC_HTTP_BIND | :24 | http.bind=:24 |
http-metrics | GITSYNC_HTTP_METRICS GIT_SYNC_HTTP_METRICS | true | | --http-bind=:1
http-pprof | GITSYNC_HTTP_PPROF GIT_SYNC_HTTP_PPROF | true | | --http-bind=:1
exechook-command | GITSYNC_EXECHOOK_COMMAND GIT_SYNC_EXECHOOK_COMMAND | /ec | exechook.command=/ec |
exechook-timeout | GITSYNC_EXECHOOK_TIMEOUT GIT_SYNC_EXECHOOK_TIMEOUT | 25s | exechook.timeout=25s |
exechook-backoff | GITSYNC_EXECHOOK_BACKOFF GIT_SYNC_EXECHOOK_BACKOFF | 26s | exechook.backoff=26s |
pre-publish-exechook-command | GITSYNC_PRE_PUBLISH_EXECHOOK_COMMAND | /pc | gate.command=/pc gate.on_failure=warn |
pre-publish-exechook-timeout | GITSYNC_PRE_PUBLISH_EXECHOOK_TIMEOUT | 27s | gate.timeout=27s |
pre-publish-exechook-backoff | GITSYNC_PRE_PUBLISH_EXECHOOK_BACKOFF | 28s | |
webhook-url | GITSYNC_WEBHOOK_URL GIT_SYNC_WEBHOOK_URL | http://w/ | webhook.url=http://w/ |
webhook-method | GITSYNC_WEBHOOK_METHOD GIT_SYNC_WEBHOOK_METHOD | PUT | webhook.method=PUT |
webhook-success-status | GITSYNC_WEBHOOK_SUCCESS_STATUS GIT_SYNC_WEBHOOK_SUCCESS_STATUS | 299 | webhook.success_status=299 |
webhook-timeout | GITSYNC_WEBHOOK_TIMEOUT GIT_SYNC_WEBHOOK_TIMEOUT | 29s | webhook.timeout=29s |
webhook-backoff | GITSYNC_WEBHOOK_BACKOFF GIT_SYNC_WEBHOOK_BACKOFF | 31s | webhook.backoff=31s |
username | GITSYNC_USERNAME GIT_SYNC_USERNAME | u1 | git.username=u1 | --password-file=/pf
GITSYNC_PASSWORD | GITSYNC_PASSWORD GIT_SYNC_PASSWORD | p1 | git.password=p1 | --username=u
password-file | GITSYNC_PASSWORD_FILE GIT_SYNC_PASSWORD_FILE | /pf | git.password_file=/pf | --username=u
credential | GITSYNC_CREDENTIAL | CREDENTIAL | git.credentials=[CREDENTIAL] |
ssh-key-file | GITSYNC_SSH_KEY_FILE GIT_SYNC_SSH_KEY_FILE GIT_SSH_KEY_FILE | /kf | git.ssh_key_file=/kf |
ssh-known-hosts | GITSYNC_SSH_KNOWN_HOSTS GIT_SYNC_KNOWN_HOSTS GIT_KNOWN_HOSTS | false | git.host_key_check=off |
ssh-known-hosts-file | GITSYNC_SSH_KNOWN_HOSTS_FILE GIT_SYNC_SSH_KNOWN_HOSTS_FILE GIT_SSH_KNOWN_HOSTS_FILE | /kh | git.known_hosts_file=/kh |
cookie-file | GITSYNC_COOKIE_FILE GIT_SYNC_COOKIE_FILE GIT_COOKIE_FILE | true | git.cookie_file=/etc/git-secret/cookie_file |
askpass-url | GITSYNC_ASKPASS_URL GIT_SYNC_ASKPASS_URL GIT_ASKPASS_URL | http://a/ | git.askpass_url=http://a/ |
github-base-url | GITSYNC_GITHUB_BASE_URL | http://g/ | git.github_app.base_url=http://g/ |
GITSYNC_GITHUB_APP_PRIVATE_KEY | GITSYNC_GITHUB_APP_PRIVATE_KEY | k1 | git.github_app.private_key=k1 |
github-app-private-key-file | GITSYNC_GITHUB_APP_PRIVATE_KEY_FILE | /ak | git.github_app.private_key_file=/ak |
github-app-client-id | GITSYNC_GITHUB_APP_CLIENT_ID | Iv1 | git.github_app.client_id=Iv1 | --github-app-installation-id=1 --github-app-private-key-file=/k
github-app-application-id | GITSYNC_GITHUB_APP_APPLICATION_ID | 32 | git.github_app.application_id=32 | --github-app-installation-id=1 --github-app-private-key-file=/k
github-app-installation-id | GITSYNC_GITHUB_APP_INSTALLATION_ID | 33 | git.github_app.installation_id=33 | --github-app-client-id=c --github-app-private-key-file=/k
branch | GIT_SYNC_BRANCH | b1 | git.ref=b1 |
rev | GIT_SYNC_REV | v1 | git.ref=v1 |
change-permissions | GIT_SYNC_PERMISSIONS | 0 | |
dest | GIT_SYNC_DEST | d1 | link=d1 |
max-sync-failures | GIT_SYNC_MAX_SYNC_FAILURES | 34 | max_failures=34 |
password | | p2 | git.password=p2 | --username=u
ssh | | true | |
sync-hook-command | GIT_SYNC_HOOK_COMMAND | /sh | exechook.command=/sh |
timeout | GIT_SYNC_TIMEOUT | 35 | timeout=35s |
v | | 3 | log.level=info,dagsync=debug |
wait | GIT_SYNC_WAIT | 36 | period=36s backoff.initial=36s |
";

const CREDENTIAL: &str = r#"{"url":"https://c/","username":"u","password":"p"}"#;

struct Row<'a> {
    name: &'a str,
    variables: Vec<&'a str>,
    value: String,
    changes: BTreeMap<String, String>,
    needs: Vec<&'a str>,
}

impl<'a> Row<'a> {
    fn read(line: &'a str) -> Self {
        let cells: Vec<_> = line.split('|').map(str::trim).collect();
        let [name, variables, value, changes, needs] = cells[..] else { panic!("{line}") };
        let filled = |text: &str| text.replace("CREDENTIAL", CREDENTIAL);
        let change = |text: &str| {
            let (setting, value) = text.split_once('=').unwrap();
            (setting.to_owned(), filled(value))
        };
        let [variables, needs] = [variables, needs].map(|cell| cell.split_whitespace().collect());
        Self { name, variables, value: filled(value), changes: changes.split_whitespace().map(change).collect(), needs }
    }

    /// What is given besides the option: what is required, unless the option is that, and what it needs.
    fn base(&self) -> Vec<&'a str> {
        let own = format!("--{}=", self.name);
        REPO.iter().copied().filter(|flag| !flag.starts_with(&own)).chain(self.needs.iter().copied()).collect()
    }

    /// The option, given in this way, has the value, says where it comes from and changes these settings alone.
    fn check(&self, args: &[&str], env: &[(&str, &str)], origin: &str) {
        let given = given(&[&self.base(), args].concat(), env).unwrap_or_else(|r| panic!("{args:?} {env:?}: {r:?}"));
        let option = if self.name == "password" { "GITSYNC_PASSWORD" } else { self.name };
        assert_eq!((given.text(option), given.origin(option)), (&*self.value, Some(origin)));
        let (before, after) = (values(&self.before()), values(&given));
        let changed: BTreeMap<_, _> = after.iter().filter(|(name, value)| before.get(*name) != Some(value)).collect();
        assert_eq!(changed, self.changes.iter().collect(), "{args:?} {env:?}");
        let lost: Vec<_> = before.keys().filter(|name| !after.contains_key(*name)).collect();
        assert!(lost.is_empty(), "{args:?} {env:?}: {lost:?}");
    }

    /// The same without the option. The rules are not asked: they would miss it.
    fn before(&self) -> Given {
        let mut given = Given::default();
        flags::read(&mut given, &os(&[REPO, &self.needs].concat())).unwrap();
        given
    }
}

fn values(given: &Given) -> BTreeMap<String, String> {
    let translate::Settings { defaults, flags } = translate::settings(given).unwrap();
    defaults.into_iter().chain(flags).map(|flag| (flag.name, shown(flag.value))).collect()
}

#[test]
fn every_flag_and_variable_lands_in_its_setting() {
    for row in TABLE.trim().lines().map(Row::read) {
        let option = options::named(row.name).unwrap();
        if option.is_flag() {
            let flag = format!("--{}={}", row.name, row.value);
            row.check(&[&flag], &[], &format!("flag --{}", row.name));
        }
        for variable in &row.variables {
            row.check(&[], &[(*variable, &row.value)], &format!("environment {variable}"));
        }
    }
}

#[test]
fn this_table_and_that_of_the_options_name_the_same() {
    let rows: Vec<_> = TABLE.trim().lines().map(Row::read).collect();
    let here: BTreeSet<_> = rows.iter().map(|row| (row.name, row.variables.clone())).collect();
    let there: BTreeSet<_> = options::all().map(|option| (option.name, option.variables.to_vec())).collect();
    assert_eq!(here, there);
    let values: BTreeSet<_> = rows.iter().flat_map(|row| &row.changes).collect();
    assert_eq!(values.len(), rows.iter().map(|row| row.changes.len()).sum::<usize>(), "no two rows change alike");
}
