//! What a command answers: text for standard output and an exit status.

use std::io::{ErrorKind as Io, Write};
use std::process::ExitCode;

use dagsync_core::{ChangeKind, Error, ErrorKind};
use serde_json::Value as Json;

/// The exit statuses, the same for every command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exit {
    /// What was asked for is so.
    Fine = 0,
    /// Two things that should be equal are not.
    Mismatch = 1,
    /// It could not be done.
    Failed = 2,
    /// No drift was seen, but some pods could not be asked.
    Incomplete = 3,
    /// The arguments or the configuration are wrong.
    Usage = 64,
    /// Ctrl-C.
    Interrupted = 130,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        (exit as u8).into()
    }
}

impl From<&Error> for Exit {
    fn from(error: &Error) -> Self {
        match error.kind() {
            // The tree was read, and is not what it should be.
            ErrorKind::Mismatch if error.operation() == "verify" => Self::Mismatch,
            ErrorKind::Config => Self::Usage,
            ErrorKind::Cancelled => Self::Interrupted,
            _ => Self::Failed,
        }
    }
}

/// A command's answer.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) text: String,
    pub(crate) exit: Exit,
}

impl Answer {
    /// An answer for people, complete with its last line break.
    pub(crate) fn text(exit: Exit, text: impl Into<String>) -> Self {
        Self { text: text.into(), exit }
    }

    /// An answer for machines.
    pub(crate) fn json(exit: Exit, json: &Json) -> Self {
        Self { text: format!("{json:#}\n"), exit }
    }

    /// Writes the answer. A reader that has seen enough (`| head`) is no failure.
    pub(crate) fn print(self) -> Exit {
        let mut out = std::io::stdout().lock();
        match out.write_all(self.text.as_bytes()).and_then(|()| out.flush()) {
            Err(e) if e.kind() != Io::BrokenPipe => {
                let _ = writeln!(std::io::stderr(), "error: write to standard output: {e}");
                Exit::Failed
            }
            _ => self.exit,
        }
    }
}

/// Says something odd on standard error, beside the answer.
pub(crate) fn warn(message: impl std::fmt::Display) {
    let _ = writeln!(std::io::stderr(), "warning: {message}");
}

/// Says something on standard error, beside the answer.
#[cfg(feature = "s3")]
pub(crate) fn tell(message: impl std::fmt::Display) {
    let _ = writeln!(std::io::stderr(), "{message}");
}

/// Colour, or none.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Style(pub(crate) bool);

impl Style {
    pub(crate) const fn is_on(self) -> bool {
        self.0
    }

    pub(crate) fn bold(self, text: &str) -> String {
        self.paint("1", text)
    }

    pub(crate) fn green(self, text: &str) -> String {
        self.paint("32", text)
    }

    pub(crate) fn red(self, text: &str) -> String {
        self.paint("31", text)
    }

    pub(crate) fn yellow(self, text: &str) -> String {
        self.paint("33", text)
    }

    pub(crate) fn change(self, change: ChangeKind, text: &str) -> String {
        match change {
            ChangeKind::Added => self.green(text),
            ChangeKind::Removed => self.red(text),
            ChangeKind::Modified => self.yellow(text),
        }
    }

    fn paint(self, code: &str, text: &str) -> String {
        if self.0 { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }
}

/// Lines with columns of equal width; the last column is as wide as it is.
pub(crate) fn columns<const N: usize>(rows: &[[String; N]]) -> String {
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: [usize; N] = std::array::from_fn(width);
    let mut out = String::new();
    for row in rows {
        let cells: Vec<_> = row.iter().zip(widths).map(|(cell, width)| format!("{cell:width$}")).collect();
        out.push_str(cells.join("  ").trim_end());
        out.push('\n');
    }
    out
}

/// `1 file`, `2 files`.
pub(crate) fn files(count: usize) -> String {
    if count == 1 { "1 file".to_owned() } else { format!("{count} files") }
}
