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

/// Characters that show nothing, or show what follows in another order (Unicode's `Cf`, `Zl`, `Zp` and
/// `Default_Ignorable_Code_Point`), as first and last of each range: with them one name looks like another.
const INVISIBLE: &[(char, char)] = &[
    ('\u{ad}', '\u{ad}'),
    ('\u{34f}', '\u{34f}'),
    ('\u{600}', '\u{605}'),
    ('\u{61c}', '\u{61c}'),
    ('\u{6dd}', '\u{6dd}'),
    ('\u{70f}', '\u{70f}'),
    ('\u{890}', '\u{891}'),
    ('\u{8e2}', '\u{8e2}'),
    ('\u{115f}', '\u{1160}'),
    ('\u{17b4}', '\u{17b5}'),
    ('\u{180b}', '\u{180f}'),
    ('\u{200b}', '\u{200f}'),
    ('\u{2028}', '\u{202e}'),
    ('\u{2060}', '\u{206f}'),
    ('\u{3164}', '\u{3164}'),
    ('\u{fe00}', '\u{fe0f}'),
    ('\u{feff}', '\u{feff}'),
    ('\u{ffa0}', '\u{ffa0}'),
    ('\u{fff0}', '\u{fffb}'),
    ('\u{110bd}', '\u{110bd}'),
    ('\u{110cd}', '\u{110cd}'),
    ('\u{13430}', '\u{1343f}'),
    ('\u{1bca0}', '\u{1bca3}'),
    ('\u{1d173}', '\u{1d17a}'),
    ('\u{e0000}', '\u{e0fff}'),
];

fn is_invisible(c: char) -> bool {
    !c.is_ascii() && INVISIBLE.iter().any(|(first, last)| (*first..=*last).contains(&c))
}

/// A name for people and logs: what is escaped are control characters, characters that nobody sees or that turn the
/// direction of what follows, backslashes, and bytes that are not UTF-8.
pub fn printable(name: impl AsRef<OsStr>) -> String {
    let mut out = String::new();
    for chunk in name.as_ref().as_bytes().utf8_chunks() {
        for c in chunk.valid().chars() {
            if c.is_control() || c == '\\' || is_invisible(c) {
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
    fn no_name_is_printed_that_looks_like_another() {
        for (name, shown) in [
            ("a\u{202e}yp.b", "a\\u{202e}yp.b"),
            ("a\u{2066}b\u{2069}", "a\\u{2066}b\\u{2069}"),
            ("a\u{200b}.py", "a\\u{200b}.py"),
            ("\u{feff}a.py", "\\u{feff}a.py"),
            ("a\u{ad}b\u{2028}c", "a\\u{ad}b\\u{2028}c"),
            ("a\u{e0061}", "a\\u{e0061}"),
            ("a\nb\\", "a\\nb\\\\"),
        ] {
            assert_eq!(printable(name), shown);
        }
        for seen in ["ümlaut/日本語.py", "u\u{308}", "файл – 1.py", "عربي.py", "🚀.py"] {
            assert_eq!(printable(seen), seen);
        }
        assert!(INVISIBLE.is_sorted() && INVISIBLE.iter().all(|(first, last)| first <= last));
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
