//! Things that are odd in a source but do not stop it from being published.

use std::fmt;

use crate::links::SkippedLink;
use crate::path::TreePath;

/// Something odd in a tree; logged once a revision and shown in the status.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Warning {
    /// A symbolic link that is no file.
    SkippedLink(SkippedLink),
    /// A file that is a Git LFS pointer, not the content it stands for.
    LfsPointer(TreePath),
    /// Anything else, as a sentence.
    Other(String),
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::SkippedLink(link) => link.fmt(f),
            Self::LfsPointer(path) => write!(f, "{path} is a Git LFS pointer; its content is not fetched"),
            Self::Other(text) => f.write_str(text),
        }
    }
}

impl serde::Serialize for Warning {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}
