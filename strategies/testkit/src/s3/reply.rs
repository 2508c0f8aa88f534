//! What the server answers: a reply, or an error in the words of S3.

use std::borrow::Cow;

use hyper::body::Bytes;

use super::call::Call;
use super::rule::Op;
use super::xml::Xml;
use super::{Modes, State};

pub(super) type Answer = Result<Reply, Refusal>;

/// An answer, whole and right. Faults are applied to it later.
#[derive(Debug)]
pub(super) struct Reply {
    pub(super) status: u16,
    pub(super) headers: Vec<(String, String)>,
    pub(super) body: Bytes,
}

impl Reply {
    pub(super) fn new(status: u16) -> Self {
        Self { status, headers: Vec::new(), body: Bytes::new() }
    }

    pub(super) fn xml(status: u16, document: Xml) -> Self {
        Self::new(status).with("content-type", "application/xml").body(document.finish())
    }

    pub(super) fn with(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }

    pub(super) fn body(mut self, body: impl Into<Bytes>) -> Self {
        self.body = body.into();
        self
    }

    /// Whether an answer with this status can have a body, and so a `Content-Length`.
    pub(super) fn has_body(&self) -> bool {
        !matches!(self.status, 100..200 | 204 | 304)
    }
}

/// An error as S3 words it.
#[derive(Debug)]
pub(super) struct Refusal {
    status: u16,
    code: Cow<'static, str>,
    message: &'static str,
    headers: Vec<(String, String)>,
}

impl Refusal {
    pub(super) fn new(status: u16, code: impl Into<Cow<'static, str>>, message: &'static str) -> Self {
        Self { status, code: code.into(), message, headers: Vec::new() }
    }

    pub(super) fn no_such_key() -> Self {
        Self::new(404, "NoSuchKey", "The specified key does not exist.")
    }

    pub(super) fn no_such_bucket() -> Self {
        Self::new(404, "NoSuchBucket", "The specified bucket does not exist")
    }

    pub(super) fn precondition() -> Self {
        Self::new(412, "PreconditionFailed", "At least one of the pre-conditions you specified did not hold")
    }

    pub(super) fn argument(message: &'static str) -> Self {
        Self::new(400, "InvalidArgument", message)
    }

    pub(super) fn not_implemented() -> Self {
        Self::new(501, "NotImplemented", "The double of S3 does not implement this.")
    }

    pub(super) fn with(mut self, name: &str, value: impl Into<String>) -> Self {
        self.headers.push((name.to_owned(), value.into()));
        self
    }

    pub(super) fn with_all(mut self, headers: Vec<(String, String)>) -> Self {
        self.headers.extend(headers);
        self
    }

    /// The answer to `call` that says it.
    pub(super) fn reply(self, call: &Call) -> Reply {
        let mut xml = Xml::new();
        xml.open("Error");
        xml.text("Code", &self.code);
        xml.text("Message", self.message);
        xml.text("BucketName", &call.bucket);
        xml.text("Key", &call.key);
        xml.text("RequestId", &format!("{:016X}", fastrand::u64(..)));
        xml.close("Error");
        let reply = Reply::xml(self.status, xml);
        let reply = if reply.has_body() { reply } else { Reply::new(self.status) };
        self.headers.into_iter().fold(reply, |reply, (name, value)| reply.with(name, value))
    }
}

impl State {
    /// Does what is asked, as usual.
    pub(super) fn perform(&mut self, call: &Call) -> Reply {
        self.answer(call).unwrap_or_else(|refusal| refusal.reply(call))
    }

    fn answer(&mut self, call: &Call) -> Answer {
        self.modes.admit(call)?;
        match call.op {
            Op::List => self.list(call),
            Op::ListVersions => self.list_versions(call),
            Op::Get | Op::Head => self.read(call),
            Op::Put => self.write(call),
            Op::Delete => self.erase(call),
            Op::Other => self.other(call),
        }
    }
}

impl Modes {
    fn admit(&self, call: &Call) -> Result<(), Refusal> {
        let Some(key) = &self.access_key else { return Ok(()) };
        let signature = call.header("authorization").unwrap_or_default();
        if signature.contains(&format!("Credential={key}/")) {
            return Ok(());
        }
        let message = "The AWS Access Key Id you provided does not exist in our records.";
        Err(Refusal::new(403, "InvalidAccessKeyId", message))
    }
}
