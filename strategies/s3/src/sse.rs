//! A key of the customer's own (SSE-C), which comes along with every request.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use dagsync_core::{Error, ErrorKind, Result, fs};
use md5::{Digest as _, Md5};

use crate::settings::Settings;

/// Longer than 32 bytes in base64 with a line break.
const MAX_BYTES: u64 = 64;

/// The key as S3 wants it in headers.
pub(crate) struct SseC {
    /// In base64.
    pub(crate) key: String,
    /// Its MD5 in base64, against errors in transit.
    pub(crate) md5: String,
}

impl SseC {
    /// Reads the key's file, if one is set.
    pub(crate) fn read(settings: &Settings) -> Result<Option<Self>> {
        let Some(file) = &settings.sse_c_key_file else { return Ok(None) };
        let wrong = |why: &str| {
            Error::new(ErrorKind::Unauthorized, "read s3.sse_c_key_file", format!("{} {why}", file.display()))
                .with_hint("it must hold 32 bytes, raw or in base64, and the process must be able to read it (fsGroup)")
        };
        let bytes = fs::read(file, MAX_BYTES).map_err(|e| wrong("cannot be read").with_source(e))?;
        let key = parse(&bytes.ok_or_else(|| wrong("is not there"))?).ok_or_else(|| wrong("holds no key"))?;
        Ok(Some(Self { key: BASE64_STANDARD.encode(key), md5: BASE64_STANDARD.encode(Md5::digest(key)) }))
    }
}

fn parse(bytes: &[u8]) -> Option<[u8; 32]> {
    bytes.try_into().ok().or_else(|| BASE64_STANDARD.decode(bytes.trim_ascii()).ok()?.try_into().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_raw_or_base64() {
        let key = *b"0123456789abcdef0123456789abcde\n";
        assert_eq!(parse(&key), Some(key), "a raw key may end in what looks like a line break");
        assert_eq!(parse(format!("{}\n", BASE64_STANDARD.encode(key)).as_bytes()), Some(key));
        for bad in [&key[..31], b"", b"not base64 at all, but long enough?!!!!!!!!!"] {
            assert_eq!(parse(bad), None);
        }
    }
}
