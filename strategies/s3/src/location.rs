//! Where the DAGs lie: a bucket and a prefix in it.

use std::fmt;

use dagsync_core::{Error, ErrorKind, Result};

/// `s3://bucket/prefix/`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Location {
    /// The bucket's name, or the ARN of an access point.
    pub(crate) bucket: String,
    /// Empty, or with a `/` at its end, so that `k1` never means `k10`.
    pub(crate) prefix: String,
}

const SCHEME: &str = "s3://";

/// Whether a `source` is in a bucket without being told.
pub(crate) fn is_s3(source: &str) -> bool {
    source.starts_with(SCHEME)
}

impl Location {
    /// Reads `s3://bucket/prefix`; the prefix may be missing.
    pub(crate) fn parse(source: &str) -> Result<Self> {
        let wrong = |why: &str| {
            Error::new(ErrorKind::Config, "read source", format!("{source:?} {why}"))
                .with_hint("write it as s3://bucket/prefix/")
        };
        let rest = source.strip_prefix(SCHEME).ok_or_else(|| wrong("is no place in a bucket"))?;
        let (bucket, prefix) = split(rest);
        let is_fine = |c: char| c.is_ascii_alphanumeric() || "._-:/".contains(c);
        if bucket.is_empty() || !bucket.chars().all(is_fine) {
            return Err(wrong("names no bucket"));
        }
        let prefix = prefix.trim_end_matches('/');
        if prefix.starts_with('/') || prefix.contains("//") || prefix.contains(char::is_control) {
            return Err(wrong("has a prefix with an empty part or a control character"));
        }
        let slash = if prefix.is_empty() { "" } else { "/" };
        Ok(Self { bucket: bucket.to_owned(), prefix: format!("{prefix}{slash}") })
    }

    /// The key of what is called `name` below the prefix.
    pub(crate) fn key(&self, name: &str) -> String {
        format!("{}{name}", self.prefix)
    }

    /// What is called `name`, for people.
    pub(crate) fn show(&self, name: &str) -> String {
        format!("{self}{}", dagsync_core::printable(name))
    }
}

/// The ARN of an access point holds slashes: `arn:aws:s3:region:account:accesspoint/name/prefix`.
fn split(rest: &str) -> (&str, &str) {
    let names = if rest.starts_with("arn:") { 2 } else { 1 };
    match rest.match_indices('/').nth(names - 1) {
        Some((at, _)) => (&rest[..at], &rest[at + 1..]),
        None => (rest, ""),
    }
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{SCHEME}{}/{}", self.bucket, self.prefix)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_ends_in_a_slash() {
        for (source, bucket, prefix) in [
            ("s3://b", "b", ""),
            ("s3://b/", "b", ""),
            ("s3://my.bucket-1/k1", "my.bucket-1", "k1/"),
            ("s3://b/team/dags//", "b", "team/dags/"),
            ("s3://b/ümlaut und so", "b", "ümlaut und so/"),
            ("s3://arn:aws:s3:eu-west-1:1:accesspoint/ap/dags", "arn:aws:s3:eu-west-1:1:accesspoint/ap", "dags/"),
        ] {
            let location = Location::parse(source).unwrap();
            assert_eq!((location.bucket.as_str(), location.prefix.as_str()), (bucket, prefix));
            assert_eq!(Location::parse(&location.to_string()).unwrap(), location);
        }
    }

    #[test]
    fn what_is_no_place_in_a_bucket_is_refused() {
        for bad in ["s3://", "s3:///x", "s3://b//x", "s3://b/a//b", "s3://b/a\nb", "https://b/x", "s3://b?x/"] {
            let error = Location::parse(bad).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Config, "{bad}");
        }
    }
}
