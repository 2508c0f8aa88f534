//! One error type for every strategy and for the engine: what went wrong, while doing what, to what, whether trying
//! again can help, and what to do.

use std::fmt;

use crate::wording::worded;

/// What went wrong, for code that must react differently.
///
/// The kind says nothing about trying again: that is [`Error::is_retryable`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// A setting is missing, malformed or contradicts another.
    Config,
    /// The source does not have it: a branch, a commit, a prefix, a folder.
    NotFound,
    /// The source refused the credentials, or the credentials could not be read.
    Unauthorized,
    /// Who somebody is could not be verified: a server by its host key or certificate, an author by a signature.
    Untrusted,
    /// The source could not be reached.
    Unreachable,
    /// The deadline passed.
    Timeout,
    /// Somebody asked to stop.
    Cancelled,
    /// The source holds something that is never published: a name, a link, an empty tree.
    Refused,
    /// A configured limit was exceeded.
    LimitExceeded,
    /// Data is damaged: a cache, a manifest, a tree.
    Corrupt,
    /// The source changed while it was read.
    Changed,
    /// Content is not what was expected.
    Mismatch,
    /// Another process holds the store.
    Locked,
    /// A local file operation failed.
    Io,
    /// Anything else; a defect.
    Unexpected,
}

impl ErrorKind {
    /// Every kind, for metrics.
    pub const ALL: [Self; 15] = [
        Self::Config,
        Self::NotFound,
        Self::Unauthorized,
        Self::Untrusted,
        Self::Unreachable,
        Self::Timeout,
        Self::Cancelled,
        Self::Refused,
        Self::LimitExceeded,
        Self::Corrupt,
        Self::Changed,
        Self::Mismatch,
        Self::Locked,
        Self::Io,
        Self::Unexpected,
    ];

    /// The stable name used in logs, metrics and JSON.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Config => "config",
            Self::NotFound => "not-found",
            Self::Unauthorized => "unauthorized",
            Self::Untrusted => "untrusted",
            Self::Unreachable => "unreachable",
            Self::Timeout => "timeout",
            Self::Cancelled => "cancelled",
            Self::Refused => "refused",
            Self::LimitExceeded => "limit-exceeded",
            Self::Corrupt => "corrupt",
            Self::Changed => "changed",
            Self::Mismatch => "mismatch",
            Self::Locked => "locked",
            Self::Io => "io",
            Self::Unexpected => "unexpected",
        }
    }

    /// Whether an error of this kind usually passes by itself.
    const fn usually_passes(self) -> bool {
        matches!(self, Self::Unreachable | Self::Timeout | Self::Changed | Self::Corrupt | Self::Locked | Self::Io)
    }
}

impl fmt::Display for ErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// An error with kind, operation, context and retry status.
///
/// Displayed as `operation: message (name value, …): cause; hint` on one line, with settings called as the user knows
/// them, see [`crate::worded`].
pub struct Error(Box<Inner>);

struct Inner {
    kind: ErrorKind,
    operation: &'static str,
    message: String,
    context: Vec<(&'static str, String)>,
    hint: Option<String>,
    retryable: bool,
    source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

/// `std::result::Result` with [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// An error of `kind` that happened during `operation`. The message names what it happened to.
    pub fn new(kind: ErrorKind, operation: &'static str, message: impl Into<String>) -> Self {
        Self(Box::new(Inner {
            kind,
            operation,
            message: message.into(),
            context: Vec::new(),
            hint: None,
            retryable: kind.usually_passes(),
            source: None,
        }))
    }

    /// A failed file operation on `path`.
    pub fn io(operation: &'static str, path: impl AsRef<std::path::Path>, source: impl Into<std::io::Error>) -> Self {
        let source = source.into();
        let error = Self::new(ErrorKind::Io, operation, crate::path::printable(path.as_ref().as_os_str()));
        let hint = match source.kind() {
            std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded => {
                Some("free space on that volume or lower keep.versions; the published version is untouched")
            }
            std::io::ErrorKind::ReadOnlyFilesystem => Some("mount that volume writable or choose another root"),
            std::io::ErrorKind::PermissionDenied => {
                Some("check the owner of that path against the user of the process (runAsUser, fsGroup)")
            }
            _ => None,
        };
        // Waiting does not mend these; a person has to.
        let is_lasting = matches!(
            source.kind(),
            std::io::ErrorKind::NotFound
                | std::io::ErrorKind::PermissionDenied
                | std::io::ErrorKind::ReadOnlyFilesystem
                | std::io::ErrorKind::NotADirectory
        );
        let error = if is_lasting { error.permanent() } else { error };
        let error = error.with_source(source);
        match hint {
            Some(hint) => error.with_hint(hint),
            None => error,
        }
    }

    /// The work was cancelled during `operation`.
    pub fn cancelled(operation: &'static str) -> Self {
        Self::new(ErrorKind::Cancelled, operation, "stopped on request")
    }

    /// Adds what the operation worked on, for example `("ref", "main")`. Never a secret.
    #[must_use]
    pub fn with_context(mut self, name: &'static str, value: impl fmt::Display) -> Self {
        self.0.context.push((name, value.to_string()));
        self
    }

    /// Adds what the reader can do about it.
    #[must_use]
    pub fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.0.hint = Some(hint.into());
        self
    }

    /// Adds the cause.
    #[must_use]
    pub fn with_source(mut self, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        self.0.source = Some(source.into());
        self
    }

    /// States that trying again can help, whatever the kind.
    #[must_use]
    pub fn retryable(mut self) -> Self {
        self.0.retryable = true;
        self
    }

    /// States that trying again cannot help, whatever the kind.
    #[must_use]
    pub fn permanent(mut self) -> Self {
        self.0.retryable = false;
        self
    }

    /// What went wrong.
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// What was being done.
    pub fn operation(&self) -> &'static str {
        self.0.operation
    }

    /// Whether the same call may succeed later with nothing changed by the user.
    pub fn is_retryable(&self) -> bool {
        self.0.retryable
    }

    /// Whether the cause is that a file or folder is not there.
    pub fn is_not_found(&self) -> bool {
        let cause = self.0.source.as_ref().and_then(|source| source.downcast_ref::<std::io::Error>());
        cause.is_some_and(|cause| cause.kind() == std::io::ErrorKind::NotFound)
    }

    /// The operating system's error number, when the cause has one.
    pub fn raw_os_error(&self) -> Option<i32> {
        self.0.source.as_ref()?.downcast_ref::<std::io::Error>()?.raw_os_error()
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", worded(self.0.operation), worded(&self.0.message))?;
        for (i, (name, value)) in self.0.context.iter().enumerate() {
            write!(f, "{}{} {value}", if i == 0 { " (" } else { ", " }, worded(name))?;
        }
        if !self.0.context.is_empty() {
            f.write_str(")")?;
        }
        let mut source = self.0.source.as_deref().map(|s| s as &dyn std::error::Error);
        while let Some(cause) = source {
            write!(f, ": {cause}")?;
            source = cause.source();
        }
        match &self.0.hint {
            Some(hint) => write!(f, "; {}", worded(hint)),
            None => Ok(()),
        }
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "[{}{}] {self}", self.0.kind, if self.0.retryable { ", retryable" } else { "" })
    }
}

// The causes are part of `Display`, so `source` stays empty: a reporter that walks the chain must not print them twice.
impl std::error::Error for Error {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn display_says_what_where_why_and_what_to_do() {
        let error = Error::new(ErrorKind::NotFound, "resolve", "branch \"mian\" does not exist")
            .with_context("repository", "https://example.com/dags.git")
            .with_source(std::io::Error::other("no such ref"))
            .with_hint("check git.ref");
        assert_eq!(
            error.to_string(),
            "resolve: branch \"mian\" does not exist (repository https://example.com/dags.git): no such ref; check git.ref"
        );
        assert!(!error.is_retryable());
        assert!(error.retryable().is_retryable());
    }

    #[test]
    fn a_full_disk_says_what_to_do() {
        let error = Error::io("write", "/dags/x.py", std::io::Error::from(std::io::ErrorKind::StorageFull));
        assert!(error.to_string().contains("free space"), "{error}");
        assert!(error.is_retryable());
    }
}
