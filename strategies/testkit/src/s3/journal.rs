//! Which requests came, and what they got.

use std::collections::BTreeMap;

use super::call::{Call, parameters};
use super::rule::Op;

/// A request that came.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Seen {
    /// Its kind.
    pub op: Op,
    /// The HTTP method.
    pub method: String,
    /// The bucket; empty when it names none.
    pub bucket: String,
    /// The key, decoded; empty when it names none.
    pub key: String,
    /// The query as it was sent; see [`Seen::parameter`].
    pub query: String,
    /// `Range`.
    pub range: Option<String>,
    /// `If-Match`.
    pub if_match: Option<String>,
    /// `If-None-Match`.
    pub if_none_match: Option<String>,
    /// Whether there was an `Authorization`.
    pub authorized: bool,
    /// The status of the answer; `None` while there is none.
    pub status: Option<u16>,
    headers: Vec<(String, String)>,
}

impl Seen {
    /// The request's header field of this name, given in lower case.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(have, _)| have == name).map(|(_, value)| value.as_str())
    }

    /// The parameter of the query with this name, decoded.
    pub fn parameter(&self, name: &str) -> Option<String> {
        parameters(&self.query).remove(name)
    }

    fn of(call: &Call) -> Self {
        let field = |name| call.header(name).map(str::to_owned);
        let text = |value: &hyper::header::HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
        Self {
            op: call.op,
            method: call.method.to_string(),
            bucket: call.bucket.clone(),
            key: call.key.clone(),
            query: call.query.clone(),
            range: field("range"),
            if_match: field("if-match"),
            if_none_match: field("if-none-match"),
            authorized: call.headers.contains_key("authorization"),
            status: None,
            headers: call.headers.iter().map(|(name, value)| (name.to_string(), text(value))).collect(),
        }
    }
}

/// Every request by the number of its arrival, so that an answer finds it, also after others were forgotten.
#[derive(Debug, Default)]
pub(super) struct Journal {
    seen: BTreeMap<u64, Seen>,
    next: u64,
}

impl Journal {
    /// Writes a request down and returns its number.
    pub(super) fn arrived(&mut self, call: &Call) -> u64 {
        self.next += 1;
        self.seen.insert(self.next, Seen::of(call));
        self.next
    }

    pub(super) fn answered(&mut self, number: u64, status: u16) {
        if let Some(seen) = self.seen.get_mut(&number) {
            seen.status = Some(status);
        }
    }

    pub(super) fn requests(&self) -> Vec<Seen> {
        self.seen.values().cloned().collect()
    }

    pub(super) fn count(&self, op: Op) -> usize {
        self.seen.values().filter(|seen| seen.op == op).count()
    }

    pub(super) fn clear(&mut self) {
        self.seen.clear();
    }
}
