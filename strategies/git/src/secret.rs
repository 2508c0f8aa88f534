//! Secrets in files, read at every use.

use std::fmt;
use std::path::Path;

use dagsync_core::{Error, ErrorKind, Result, fs};
use serde::Deserialize;

const MAX_SECRET_BYTES: u64 = 64 << 10;

/// A text that is never shown.
#[derive(Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub(crate) struct Secret(String);

impl Secret {
    pub(crate) fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    pub(crate) fn reveal(&self) -> &str {
        &self.0
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Reads a whole file.
    pub(crate) fn read(setting: &'static str, file: &Path) -> Result<Self> {
        let fail = |why: &str| {
            Error::new(ErrorKind::Unauthorized, "read credentials", why)
                .with_context(setting, file.display())
                .with_hint("check that the Secret is mounted and that the process may read it (fsGroup)")
        };
        let bytes = fs::read(file, MAX_SECRET_BYTES).map_err(|e| fail("the file cannot be read").with_source(e))?;
        let text = String::from_utf8(bytes.ok_or_else(|| fail("the file is not there"))?);
        let text = text.map_err(|_| fail("the file is not text"))?;
        if text.trim().is_empty() || text.contains('\0') {
            return Err(fail("the file is empty or not text"));
        }
        Ok(Self(text))
    }

    /// Reads a file of one line; editors and `echo` end it with a newline that does not belong to it.
    pub(crate) fn read_line(setting: &'static str, file: &Path) -> Result<Self> {
        let Self(text) = Self::read(setting, file)?;
        let line = text.trim_end_matches(['\r', '\n']);
        if line.contains(['\r', '\n']) {
            let error = Error::new(ErrorKind::Unauthorized, "read credentials", "the file has more than one line");
            return Err(error.with_context(setting, file.display()));
        }
        Ok(Self::new(line))
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_empty() { "none" } else { "hidden" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_file_loses_its_newline_only() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("token");
        let read = |content: &str| {
            fs::write_atomic(&file, content.as_bytes()).unwrap();
            Secret::read_line("git.token_file", &file)
        };
        assert_eq!(read("s3cret\r\n").unwrap().reveal(), "s3cret");
        assert_eq!(read(" s3 cret ").unwrap().reveal(), " s3 cret ");
        for bad in ["", "\n", "s3cret\ns3cret\n"] {
            let error = read(bad).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Unauthorized);
            assert!(error.to_string().contains("git.token_file") && !error.to_string().contains("s3cret"), "{error}");
        }
    }
}
