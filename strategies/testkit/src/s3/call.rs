//! A request as the server reads it: the operation, the bucket, the key, and what it says besides.

use std::collections::BTreeMap;

use hyper::body::Bytes;
use hyper::http::request::Parts;
use hyper::{HeaderMap, Method};
use percent_encoding::percent_decode_str;

use super::rule::Op;

/// Parameters that make a request something else than it looks like, and that the server does not know. Without the
/// list, a request for the tags of an object would get the object.
const OTHER: &[&str] = &[
    "accelerate",
    "acl",
    "attributes",
    "cors",
    "delete",
    "encryption",
    "legal-hold",
    "lifecycle",
    "location",
    "logging",
    "notification",
    "object-lock",
    "partNumber",
    "policy",
    "replication",
    "restore",
    "retention",
    "select",
    "tagging",
    "torrent",
    "uploadId",
    "uploads",
    "versioning",
    "website",
];

#[derive(Debug)]
pub(super) struct Call {
    pub(super) op: Op,
    pub(super) method: Method,
    pub(super) bucket: String,
    pub(super) key: String,
    pub(super) query: String,
    pub(super) parameters: BTreeMap<String, String>,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
}

impl Call {
    /// Reads everything but the body.
    pub(super) fn new(parts: Parts) -> Self {
        let path = parts.uri.path();
        let path = path.strip_prefix('/').unwrap_or(path);
        let (bucket, key) = path.split_once('/').unwrap_or((path, ""));
        let decoded = |text| percent_decode_str(text).decode_utf8_lossy().into_owned();
        let query = parts.uri.query().unwrap_or_default().to_owned();
        let mut call = Self {
            op: Op::Other,
            method: parts.method,
            bucket: decoded(bucket),
            key: decoded(key),
            parameters: parameters(&query),
            query,
            headers: parts.headers,
            body: Bytes::new(),
        };
        call.op = call.kind();
        call
    }

    fn kind(&self) -> Op {
        let is_other = OTHER.iter().any(|name| self.parameters.contains_key(*name));
        if is_other || self.bucket.is_empty() || self.headers.contains_key("x-amz-copy-source") {
            return Op::Other;
        }
        match (self.method.as_str(), self.key.is_empty()) {
            ("GET", true) if self.parameters.contains_key("versions") => Op::ListVersions,
            ("GET", true) => Op::List,
            ("GET", false) => Op::Get,
            ("HEAD", false) => Op::Head,
            ("PUT", false) => Op::Put,
            ("DELETE", false) => Op::Delete,
            _ => Op::Other,
        }
    }

    /// What a rule looks at: the key, or the prefix of a listing.
    pub(super) fn subject(&self) -> &str {
        if self.key.is_empty() { self.parameter("prefix").unwrap_or_default() } else { &self.key }
    }

    pub(super) fn parameter(&self, name: &str) -> Option<&str> {
        self.parameters.get(name).map(String::as_str)
    }

    /// A header field, if it is ASCII.
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }
}

/// The decoded parameters of a query.
pub(super) fn parameters(query: &str) -> BTreeMap<String, String> {
    url::form_urlencoded::parse(query.as_bytes()).into_owned().collect()
}
