//! The table of options as help, as a manual page and as a part of the README.

use std::fmt::Write as _;

use super::options::{self, OPTIONS, Opt, State};

const GROUPS: &[&str] = &["What, where to, how often", "Hooks", "Who asks and who answers", "Deprecated"];
const USAGE: &str = "Usage: git-sync --repo=URL --root=DIR [FLAGS...]";

/// What is said after an error: how it is called, and where more stands.
pub(super) fn usage() -> String {
    format!("{USAGE}\nEvery flag and variable: git-sync --help; the manual page: git-sync --man")
}

/// `--help`: every flag and variable.
pub(super) fn help() -> String {
    let mut out = format!(
        "dagsync in the place of git-sync: keeps a link on a repository's tree.\n\n{USAGE}\n       (as `dagsync git-sync`, as \
         `git-sync`, or without arguments where GITSYNC_* is set)\n"
    );
    for (group, options) in GROUPS.iter().zip(OPTIONS) {
        let _ = write!(out, "\n{group}:\n");
        for option in *options {
            let _ = writeln!(out, "  {}\n      {}", heading(option), sentence(option));
        }
    }
    out
}

/// `--man`: the same, told at length.
pub(super) fn page() -> String {
    let mut out = format!(
        "GIT-SYNC(1)\n\nNAME\n    git-sync - keeps a folder on a git repository's tree, by dagsync\n\nSYNOPSIS\n    {}\n",
        USAGE.trim_start_matches("Usage: ")
    );
    out.push_str(ABOUT);
    for (group, options) in GROUPS.iter().zip(OPTIONS) {
        let _ = write!(out, "\nOPTIONS: {}\n", group.to_uppercase());
        for option in *options {
            let _ = write!(out, "\n    {}\n        {}{}\n", heading(option), option.about, since(option));
            match option.state {
                State::Same => {}
                State::Note(note) => {
                    let _ = writeln!(out, "        Note: {note}.");
                }
                State::NotApplicable(reason) => {
                    let _ = writeln!(out, "        Accepted, without effect: {reason}.");
                }
            }
            if !option.setting.is_empty() {
                let _ = writeln!(out, "        Setting: {}", option.setting);
            }
        }
    }
    out
}

const ABOUT: &str = "
DESCRIPTION
    Fetches a repository into ROOT/.worktrees/<commit> and points the relative link ROOT/LINK at it by rename, again at
    every period. It never needs a git command. Readers use the link; what it points at is complete, whatever is killed.

    Flags win over variables; of several variables for one option, the last one in its list wins. Beneath them lie
    dagsync's own configuration file and DAGSYNC_* variables, for settings that git-sync has no option for or that are
    not given, and beneath these git-sync's defaults.

    Lists (ssh-key-file) are separated by `:` in a variable and by repeating the flag. Credentials are a JSON object or a
    list of them: {\"url\": …, \"username\": …, \"password\" or \"password-file\": …}. Git configuration is
    key:value,key:value, where either side may be in double quotes with the escapes \\n \\t \\\" \\, \\\\.

SIGNALS
    SIGTERM and SIGINT end it cleanly; SIGHUP, or that of --sync-on-signal, asks for a sync now.

EXIT STATUS
    0   ended by a signal, or after the one sync of --one-time
    1   too many failures, a failed hook of --one-time, or options that do not fit together
    2   a flag that does not exist or cannot be read
";

fn heading(option: &Opt) -> String {
    let short = option.short.map(|c| format!("-{c}, ")).unwrap_or_default();
    let takes = format!("={}", option.kind.as_str());
    let default = if option.default.is_empty() { String::new() } else { format!(" (default {})", option.default) };
    let name = if option.is_flag() { option.written() } else { format!("${}", option.name) };
    let variables: Vec<_> = option.variables.iter().filter(|v| **v != option.name).map(|v| format!("${v}")).collect();
    let variables = if variables.is_empty() { String::new() } else { format!("  [{}]", variables.join(", ")) };
    format!("{short}{name}{takes}{default}{variables}")
}

fn sentence(option: &Opt) -> String {
    match option.state {
        State::NotApplicable(reason) => format!("{} Without effect: {reason}.", option.about),
        _ => option.about.to_owned(),
    }
}

/// What a release of git-sync does not have yet.
fn since(option: &Opt) -> &'static str {
    if option.is_unreleased { " Not in git-sync 4.7.1, but in its source since." } else { "" }
}

/// The table of the README: each option, what it stands for, and what becomes of it.
pub fn markdown() -> String {
    let mut out =
        String::from("| flag | variables | default | setting | state | meaning |\n|---|---|---|---|---|---|\n");
    for option in options::all() {
        let code = |text: &str| if text.is_empty() { String::new() } else { format!("`{text}`") };
        let variables: Vec<_> = option.variables.iter().map(|v| code(v)).collect();
        let short = option.short.map(|c| format!(" `-{c}`")).unwrap_or_default();
        let name = if option.is_flag() { format!("`--{}`{short}", option.name) } else { "(variable only)".to_owned() };
        let state = match option.state {
            State::Same => "same".to_owned(),
            State::Note(note) => format!("same, but: {note}"),
            State::NotApplicable(reason) => format!("not applicable: {reason}"),
        };
        let (variables, default, setting) = (variables.join(" "), code(option.default), code(option.setting));
        let (about, since) = (option.about, since(option));
        let _ = writeln!(out, "| {name} | {variables} | {default} | {setting} | {state} | {about}{since} |");
    }
    out
}
