//! The drop-in for git-sync: its flags, variables, rules and exit status, translated into dagsync's own settings.

mod conceal;
mod credential;
mod flags;
mod git_config;
mod git_env;
mod given;
mod go;
mod manual;
pub mod options;
mod rules;
mod start;
mod translate;
mod user;
mod words;

use std::ffi::{OsStr, OsString};
use std::path::Path;

use crate::signal;

pub use manual::markdown;
pub(crate) use start::main;

/// The name of the command, and of the program that means it.
pub(crate) const NAME: &str = "git-sync";

/// How git-sync was called for.
#[derive(Clone)]
pub(crate) struct Invocation {
    /// The program, and the command where there is one.
    program: Vec<OsString>,
    /// What git-sync itself would be given.
    args: Vec<OsString>,
    env: Vec<(OsString, OsString)>,
}

impl Invocation {
    /// `git-sync …`, `dagsync git-sync …`, or no arguments at all where variables of git-sync are set.
    pub(crate) fn of(argv: &[OsString], env: Vec<(OsString, OsString)>) -> Option<Self> {
        let called = argv.first().and_then(|program| Path::new(program).file_name());
        let own = match argv {
            _ if called == Some(OsStr::new(NAME)) => 1,
            [_, command, ..] if command == NAME => 2,
            [_] if env.iter().any(|(name, value)| given::is_variable(name, value)) => 1,
            _ => return None,
        };
        let (program, args) = argv.split_at(own);
        Some(Self { program: program.to_vec(), args: args.to_vec(), env })
    }
}

/// Why git-sync does not start. What it says holds no secret.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Refusal {
    message: String,
    exit: u8,
}

impl Refusal {
    /// A value or combination that makes no sense: exit status 1.
    fn new(message: String) -> Self {
        Self { message, exit: 1 }
    }

    /// Flags that cannot be read: exit status 2.
    fn usage(message: String) -> Self {
        Self { message, exit: 2 }
    }
}

#[cfg(test)]
mod tests;
