//! Secrets on the command line: anybody on the host can read it, so they are moved to the environment and the process
//! is started anew.

use std::io::Write;
use std::os::unix::process::CommandExt;
use std::process::Command;

use super::credential;
use super::given::Given;
use super::{Invocation, Refusal, flags, options};
use crate::config::holds_secret;

/// Starts this process anew if a flag holds a secret; does not come back then.
///
/// # Errors
/// The program cannot be started anew.
pub(super) fn restart(invocation: &Invocation, given: &Given) -> Result<(), Refusal> {
    let Some(Concealed { args, env }) = conceal(invocation, given)? else { return Ok(()) };
    let fail = |e: std::io::Error| Refusal::new(format!("cannot hide a secret of the command line: {e}; use a file"));
    let mut command = Command::new(std::env::current_exe().map_err(fail)?);
    let (program, rest) = invocation.program.split_first().unzip();
    command.arg0(program.map_or(super::NAME.as_ref(), std::ffi::OsString::as_os_str));
    command.args(rest.unwrap_or_default()).args(args);
    for (name, value) in env {
        match value {
            Some(value) => command.env(name, value),
            None => command.env_remove(name),
        };
    }
    let _ = writeln!(
        std::io::stderr(),
        "warning: a flag holds a secret, which others on this host could read until now: use a file or a variable"
    );
    Err(fail(command.exec()))
}

/// The command line without its secrets, and the variables that have them now; without a value: to be removed.
#[derive(Debug, PartialEq, Eq)]
struct Concealed {
    args: Vec<String>,
    env: Vec<(&'static str, Option<String>)>,
}

fn conceal(invocation: &Invocation, given: &Given) -> Result<Option<Concealed>, Refusal> {
    let mut left = Given::default();
    flags::read(&mut left, &invocation.args)?;
    let mut env = Vec::new();
    let password = left.take_flag("password").and_then(|mut texts| texts.pop());
    env.extend(password.filter(|p| !p.is_empty()).into_iter().flat_map(|p| instead("GITSYNC_PASSWORD", p)));
    if left.credentials().iter().any(|c| !c.password.is_empty()) {
        left.take_flag("credential");
        env.extend(instead("credential", credential::list(&given.credentials())));
    }
    let configuration = [left.texts("git-config"), left.texts("git-config-add")].concat();
    if configuration.iter().any(|text| holds_secret(text) || text.to_ascii_lowercase().contains("extraheader")) {
        left.take_flag("git-config");
        left.take_flag("git-config-add");
        env.extend(instead("git-config", given.git_configuration()));
    }
    for option in options::all().filter(|o| o.is_flag() && !o.variables.is_empty()) {
        if left.is_set(option.name) && holds_secret(left.text(option.name)) {
            let text = left.take_flag(option.name).unwrap_or_default().join(":");
            env.extend(instead(option.name, text));
        }
    }
    Ok((!env.is_empty()).then(|| Concealed { args: left.written(), env }))
}

/// An option's own variable with the value; its older names would win over it.
fn instead(name: &str, value: String) -> impl Iterator<Item = (&'static str, Option<String>)> {
    let variables = options::named(name).map_or(&[][..], |o| o.variables);
    variables.iter().enumerate().map(move |(i, variable)| (*variable, (i == 0).then(|| value.clone())))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The command line and the variables after it was made free of secrets.
    fn concealed(args: &[&str], env: &[(&str, &str)]) -> Option<Concealed> {
        let env: Vec<_> = env.iter().map(|(n, v)| (n.into(), v.into())).collect();
        let args: Vec<_> = args.iter().map(std::ffi::OsString::from).collect();
        let mut given = Given::environment(&env).unwrap();
        flags::read(&mut given, &args).unwrap();
        conceal(&Invocation { program: vec!["git-sync".into()], args, env }, &given).unwrap()
    }

    #[test]
    fn a_command_line_without_secrets_stays() {
        let file = r#"--credential={"url":"https://h","username":"u","password-file":"/p"}"#;
        for args in [&["--repo", "https://ada@h/x.git", "--username=ada"][..], &[file], &["--password="]] {
            assert_eq!(concealed(args, &[]), None, "{args:?}");
        }
    }

    #[test]
    fn a_password_moves_and_takes_the_place_of_the_older_variable() {
        let found = concealed(&["--password", "pa55", "-v2", "--one-time"], &[("GIT_SYNC_PASSWORD", "old")]).unwrap();
        assert_eq!(found.args, ["--one-time=true", "--verbose=2"]);
        assert_eq!(found.env, [("GITSYNC_PASSWORD", Some("pa55".to_owned())), ("GIT_SYNC_PASSWORD", None)]);
    }

    #[test]
    fn credentials_move_behind_those_of_the_variable() {
        let one = r#"{"url":"https://a","username":"u","password":"pa55"}"#;
        let old = r#"[{"url":"https://b","username":"u","password":"old"}]"#;
        let found = concealed(&["--credential", one], &[("GITSYNC_CREDENTIAL", old)]).unwrap();
        let [(name, Some(value))] = &found.env[..] else { panic!("{:?}", found.env) };
        let list = credential::parse(value).unwrap();
        assert!(*name == "GITSYNC_CREDENTIAL" && list[0].password == "old" && list[1].password == "pa55");
        assert!(found.args.is_empty());
    }

    #[test]
    fn urls_and_headers_with_secrets_move() {
        let args =
            ["--repo=https://u:pa55@h/x", "--git-config-add=http.extraHeader:Authorization: Basic pa55", "--root=/r"];
        let found = concealed(&args, &[("GITSYNC_GIT_CONFIG", "a.b:c")]).unwrap();
        assert_eq!(found.args, ["--root=/r"]);
        let value = |name| found.env.iter().find(|(n, _)| *n == name).and_then(|(_, v)| v.clone()).unwrap();
        assert_eq!(value("GITSYNC_REPO"), "https://u:pa55@h/x");
        assert_eq!(value("GITSYNC_GIT_CONFIG"), "a.b:c,http.extraHeader:Authorization: Basic pa55");
    }
}
