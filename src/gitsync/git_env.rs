//! git's own variables, which git-sync hands on to the git that it runs: those that can mean something here are settings.

use std::ffi::OsString;

use super::translate;
use crate::config::Flag;

const CA_FILE: (&str, &str) = ("GIT_SSL_CAINFO", "git.ca_file");
const NO_VERIFY: (&str, &str) = ("GIT_SSL_NO_VERIFY", "git.tls_check");

/// The variable of git's that stands for `setting`.
pub(super) fn variable(setting: &str) -> Option<&'static str> {
    [CA_FILE, NO_VERIFY].into_iter().find(|(_, s)| *s == setting).map(|(variable, _)| variable)
}

/// What git's variables ask for: weaker than dagsync's own, which say it on purpose.
pub(super) fn defaults(env: &[(OsString, OsString)]) -> Vec<Flag> {
    let given = |variable: &str| env.iter().find(|(name, _)| name == variable).map(|(_, value)| value);
    let flag = |(variable, setting): (&str, &str), value: &str| {
        translate::flag(&format!("environment {variable}"), setting, value)
    };
    let file = given(CA_FILE.0).and_then(|value| value.to_str()).filter(|value| !value.is_empty());
    let ca_file = file.map(|file| flag(CA_FILE, file));
    // As in git, whatever its value is, also `false`.
    let no_verify = given(NO_VERIFY.0).map(|_| flag(NO_VERIFY, "off"));
    ca_file.into_iter().chain(no_verify).collect()
}
