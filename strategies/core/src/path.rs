//! Paths inside a DAG tree: relative, UTF-8, printable, without `.` and `..`.

use std::ffi::OsStr;
use std::fmt;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::Arc;

use crate::error::{Error, ErrorKind, Result};

/// The longest name of one file or folder, in bytes, on every file system that matters here.
const NAME_MAX: usize = 255;

/// A path below the root of a DAG tree, with `/` between its parts. Cheap to clone; ordered by bytes.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TreePath(Arc<str>);

impl TreePath {
    /// Checks a path as a source gives it.
    ///
    /// # Errors
    /// [`ErrorKind::Refused`] when it is absolute, has an empty part, `.` or `..`, is not UTF-8, or holds a control
    /// character or a backslash: no two tools print such names alike, so a manifest with them could not be checked.
    pub fn new(path: impl AsRef<[u8]>) -> Result<Self> {
        let bytes = path.as_ref();
        let refuse = |why: &str| {
            Error::new(ErrorKind::Refused, "check path", format!("{} {why}", printable(OsStr::from_bytes(bytes))))
                .with_hint("rename it in the source or leave it out with an exclude glob")
        };
        let text = std::str::from_utf8(bytes).map_err(|_| refuse("is not UTF-8"))?;
        let is_odd = |c: char| c.is_control() || c == '\\';
        let odd = if text.is_ascii() { text.bytes().any(|b| is_odd(b.into())) } else { text.chars().any(is_odd) };
        if odd {
            return Err(refuse("holds a control character or a backslash"));
        }
        for part in text.split('/') {
            match part {
                "" => return Err(refuse("is empty, absolute or has an empty part")),
                "." | ".." => return Err(refuse("has a part `.` or `..`")),
                _ if part.len() > NAME_MAX => return Err(refuse("has a name longer than 255 bytes")),
                _ => {}
            }
        }
        Ok(Self(text.into()))
    }

    /// The path as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The path for file operations relative to the tree's root.
    pub fn as_path(&self) -> &Path {
        Path::new(&*self.0)
    }

    /// The folder part (empty for a file in the root) and the name.
    pub fn split(&self) -> (&str, &str) {
        self.0.rsplit_once('/').unwrap_or(("", &self.0))
    }

    /// How many parts the path has; 1 for a file in the root.
    pub fn depth(&self) -> usize {
        self.0.bytes().filter(|&b| b == b'/').count() + 1
    }
}

impl fmt::Display for TreePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for TreePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

impl AsRef<str> for TreePath {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

impl std::borrow::Borrow<str> for TreePath {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl serde::Serialize for TreePath {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

/// A name for people and logs: control characters, backslashes and bytes that are not UTF-8 are escaped.
pub fn printable(name: impl AsRef<OsStr>) -> String {
    let mut out = String::new();
    for chunk in name.as_ref().as_bytes().utf8_chunks() {
        for c in chunk.valid().chars() {
            if c.is_control() || c == '\\' {
                out.extend(c.escape_default());
            } else {
                out.push(c);
            }
        }
        for byte in chunk.invalid() {
            out.push_str(&format!("\\x{byte:02x}"));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn good_paths_are_kept_as_they_are() {
        for good in ["a.py", "a/b/c.py", "-x", "ümlaut/日本語.py", "with space", "...", ".airflowignore", "a:b*?"] {
            assert_eq!(TreePath::new(good).unwrap().as_str(), good);
        }
        assert_eq!(TreePath::new("a/b/c.py").unwrap().split(), ("a/b", "c.py"));
        assert_eq!(TreePath::new("c.py").unwrap().split(), ("", "c.py"));
        assert_eq!(TreePath::new("a/b/c.py").unwrap().depth(), 3);
    }

    #[test]
    fn bad_paths_are_refused_by_name() {
        let long = "x".repeat(256);
        for bad in
            ["", "/etc/passwd", "a//b", "a/", "../x", "a/../b", "./a", "a\nb", "a\\b", "a\u{7f}", "a\u{85}", &long]
        {
            let error = TreePath::new(bad).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Refused, "{bad:?}");
        }
        let error = TreePath::new(b"dir/\xff\n.py").unwrap_err();
        assert!(error.to_string().contains("dir/\\xff\\n.py is not UTF-8"), "{error}");
    }
}
