//! What messages call a setting: as it was given to git-sync, or would be.

use std::ffi::OsString;

use dagsync_core::{Registry, Setting};

use super::given::Given;
use super::options::{self, Opt, State};
use super::{git_env, translate};
use crate::config::Table;

/// Every setting with the option, variable of git's or variable of dagsync's that stands for it here.
pub(super) fn names(registry: &Registry, given: &Given, env: &[(OsString, OsString)]) -> Vec<(&'static str, String)> {
    Table::new(registry).iter().map(|setting| (setting.name, name(setting, given, env))).collect()
}

fn name(setting: &Setting, given: &Given, env: &[(OsString, OsString)]) -> String {
    // Deprecated options have been put into the place of others.
    let mine = |o: &&Opt| o.setting == setting.name && !matches!(o.state, State::NotApplicable(_));
    let options: Vec<_> = options::current().filter(mine).collect();
    if setting.name == "git.credentials" && translate::is_listed(given) {
        let given_by =
            ["username", "GITSYNC_PASSWORD", "password-file", "credential"].into_iter().filter(|n| given.is_set(n));
        let names: Vec<_> = given_by.filter_map(options::named).map(|option| called(option, given)).collect();
        return names.join(", ");
    }
    if let Some(option) = options.iter().find(|o| given.is_set(o.name)) {
        return called(option, given);
    }
    let own = setting.env();
    if env.iter().any(|(variable, _)| *variable == *own) {
        return own;
    }
    match (options.first(), git_env::variable(setting.name)) {
        (Some(option), _) => called(option, given),
        (None, Some(variable)) => variable.to_owned(),
        (None, None) => own,
    }
}

/// An option as it was given. One that was not: by its flag where flags are used, else by its variable, as the chart
/// would give it.
fn called(option: &Opt, given: &Given) -> String {
    let origin = given.origin(option.name).map(|origin| origin.rsplit(' ').next().unwrap_or(origin));
    match (origin, option.variables.first()) {
        (Some(written), _) => written.to_owned(),
        (None, Some(variable)) if !given.has_flags() => (*variable).to_owned(),
        (None, _) => option.written(),
    }
}

#[cfg(test)]
mod tests {
    use dagsync_core::{Factory, Kind};

    use super::*;
    use crate::gitsync::{flags, rules};

    const GIT: Factory = Factory {
        name: "git",
        about: "",
        settings: &[
            Setting::new("git.ref", Kind::Text, "", ""),
            Setting::new("git.username", Kind::Text, "", ""),
            Setting::new("git.password", Kind::Secret, "", ""),
            Setting::new("git.known_hosts_file", Kind::Path, "", ""),
            Setting::new("git.credentials", Kind::Secret, "", ""),
            Setting::new("git.token_file", Kind::Path, "", ""),
            Setting::new("git.ca_file", Kind::Path, "", ""),
        ],
        infers: |_| true,
        build: |_| unreachable!("nothing is built here"),
    };

    #[track_caller]
    fn expect(args: &[&str], env: &[(&str, &str)], wanted: &[(&str, &str)]) {
        let env: Vec<_> = env.iter().map(|(n, v)| (n.into(), v.into())).collect();
        let mut given = Given::environment(&env).unwrap();
        flags::read(&mut given, &args.iter().map(Into::into).collect::<Vec<_>>()).unwrap();
        rules::settle(&mut given).unwrap();
        let names = names(&Registry::new().with(GIT), &given, &env);
        for (setting, called) in wanted {
            assert_eq!(names.iter().find(|(name, _)| name == setting).unwrap().1, *called);
        }
    }

    #[test]
    fn what_was_given_is_called_as_it_was_given() {
        let root = [("GITSYNC_ROOT", "/git"), ("GITSYNC_REPO", "https://h/x")];
        let chart = [("GITSYNC_REF", "a"), ("GIT_SYNC_BRANCH", "a"), ("GIT_SYNC_REV", ""), ("GITSYNC_USERNAME", "u")];
        let env = [&root[..], &chart, &[("GITSYNC_PASSWORD", "p"), ("GIT_SYNC_PASSWORD", "p")]].concat();
        let password = ("git.password", "GIT_SYNC_PASSWORD");
        expect(&[], &env, &[("git.ref", "GIT_SYNC_BRANCH"), ("git.username", "GITSYNC_USERNAME"), password]);
        let args = ["--repo=https://h/x", "--root=/git", "--ref=a"];
        expect(&args, &[], &[("git.ref", "--ref"), ("git.known_hosts_file", "--ssh-known-hosts-file")]);
        let list = r#"--credential={"url":"https://h","username":"v","password":"q"}"#;
        let listed = [("git.credentials", "GITSYNC_USERNAME, GIT_SYNC_PASSWORD, --credential")];
        expect(&[list], &env, &listed);
        let user = ["--repo=https://u:p@h/x", "--root=/git"];
        expect(&user, &[], &[("git.username", "--repo"), ("git.password", "--repo")]);
    }

    #[test]
    fn what_was_not_given_is_called_as_the_rest_is() {
        let env = [("GITSYNC_ROOT", "/git"), ("GITSYNC_REPO", "https://h/x")];
        expect(
            &[],
            &env,
            &[("git.known_hosts_file", "GITSYNC_SSH_KNOWN_HOSTS_FILE"), ("timeout", "GITSYNC_SYNC_TIMEOUT")],
        );
        expect(&["--ref=a"], &env, &[("git.known_hosts_file", "--ssh-known-hosts-file"), ("period", "--period")]);
        let none = [("git.token_file", "DAGSYNC_GIT__TOKEN_FILE"), ("git.ca_file", "GIT_SSL_CAINFO")];
        expect(&[], &env, &none);
        let own = [&env[..], &[("DAGSYNC_GIT__CA_FILE", "/x"), ("DAGSYNC_GIT__REF", "a")]].concat();
        expect(&[], &own, &[("git.ca_file", "DAGSYNC_GIT__CA_FILE"), ("git.ref", "DAGSYNC_GIT__REF")]);
        expect(&[], &env, &[("allow_empty", "DAGSYNC_ALLOW_EMPTY"), ("git.password", "GITSYNC_PASSWORD")]);
    }
}
