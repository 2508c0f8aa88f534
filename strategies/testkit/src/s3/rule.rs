//! Which requests go wrong, and how.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::S3Double;
use super::call::Call;

/// A kind of request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Op {
    /// `ListObjectsV2`, and the older `ListObjects`.
    List,
    /// `ListObjectVersions`.
    ListVersions,
    /// `GetObject`.
    Get,
    /// `HeadObject`.
    Head,
    /// `PutObject`.
    Put,
    /// `DeleteObject`.
    Delete,
    /// Anything else, such as `HeadBucket`.
    Other,
}

/// How a request goes. A connection that it breaks may be one that the client keeps alive and uses again.
#[derive(Clone)]
#[non_exhaustive]
pub enum Action {
    /// An error as S3 sends it, and the request has no effect. A code may have any status.
    Status {
        /// The HTTP status.
        status: u16,
        /// The `Code` in the XML.
        code: String,
        /// Further header fields.
        headers: Vec<(String, String)>,
    },
    /// The right `Content-Length`, this many bytes of the body, then the connection is closed.
    Truncate(usize),
    /// A chunked body that has this many bytes more than the right one, and no `Content-Length`.
    Overlong(usize),
    /// The right `Content-Length`, this many bytes of the body, then nothing until the client goes away.
    Stall(usize),
    /// The connection is reset, by TCP RST, before any answer, and the request has no effect.
    Reset,
    /// The request has its effect, then the connection is reset: the answer is lost.
    Lost,
    /// The answer comes later.
    Delay(Duration),
    /// No answer until the client goes away, and no effect.
    Hang,
    /// Status 200 with a page of HTML, as from a captive portal, and no effect.
    Garbage,
    /// The test is called first, on the server's thread, and can change the bucket; then the answer is as usual.
    ///
    /// A handle to the server that is kept in here keeps the server running for ever: use the one that is given.
    Run(Arc<dyn Fn(&S3Double) + Send + Sync>),
}

impl Action {
    /// An error with this status and code.
    pub fn status(status: u16, code: &str) -> Self {
        Self::Status { status, code: code.to_owned(), headers: Vec::new() }
    }

    /// 301 `PermanentRedirect` to a bucket in another region.
    pub fn redirect(region: &str) -> Self {
        let headers = vec![("x-amz-bucket-region".to_owned(), region.to_owned())];
        Self::Status { status: 301, code: "PermanentRedirect".to_owned(), headers }
    }

    /// Calls the test before the answer.
    pub fn run(test: impl Fn(&S3Double) + Send + Sync + 'static) -> Self {
        Self::Run(Arc::new(test))
    }
}

impl fmt::Debug for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Status { status, code, headers } => write!(f, "Status({status} {code} {headers:?})"),
            Self::Truncate(bytes) => write!(f, "Truncate({bytes})"),
            Self::Overlong(bytes) => write!(f, "Overlong({bytes})"),
            Self::Stall(bytes) => write!(f, "Stall({bytes})"),
            Self::Reset => f.write_str("Reset"),
            Self::Lost => f.write_str("Lost"),
            Self::Delay(time) => write!(f, "Delay({time:?})"),
            Self::Hang => f.write_str("Hang"),
            Self::Garbage => f.write_str("Garbage"),
            Self::Run(_) => f.write_str("Run(…)"),
        }
    }
}

/// A fault: which requests it meets, and how they go.
///
/// It meets one request, unless [`Rule::times`] or [`Rule::forever`] says otherwise.
#[derive(Debug, Clone)]
pub struct Rule {
    op: Option<Op>,
    key: String,
    skip: u64,
    /// `None` without an end.
    times: Option<u64>,
    action: Action,
}

impl Rule {
    /// Meets requests of this kind.
    pub fn on(op: Op, action: Action) -> Self {
        Self { op: Some(op), ..Self::any(action) }
    }

    /// Meets requests of every kind.
    pub fn any(action: Action) -> Self {
        Self { op: None, key: String::new(), skip: 0, times: Some(1), action }
    }

    /// Meets only requests whose key contains this; for a listing, whose prefix does.
    #[must_use]
    pub fn key(mut self, part: &str) -> Self {
        part.clone_into(&mut self.key);
        self
    }

    /// Lets the first `n` requests that fit go as usual.
    #[must_use]
    pub fn skip(mut self, n: u64) -> Self {
        self.skip = n;
        self
    }

    /// Meets `n` requests.
    #[must_use]
    pub fn times(mut self, n: u64) -> Self {
        self.times = Some(n);
        self
    }

    /// Meets every request.
    #[must_use]
    pub fn forever(mut self) -> Self {
        self.times = None;
        self
    }

    fn fits(&self, call: &Call) -> bool {
        self.op.is_none_or(|op| op == call.op) && self.times != Some(0) && call.subject().contains(&self.key)
    }

    /// Counts a request that fits, and tells whether it is met.
    fn meets(&mut self) -> bool {
        if self.skip > 0 {
            self.skip -= 1;
            return false;
        }
        self.times = self.times.map(|left| left - 1);
        true
    }
}

/// Every fault of a server.
#[derive(Debug, Default)]
pub(super) struct Rules(Vec<Rule>);

impl Rules {
    pub(super) fn add(&mut self, rule: Rule) {
        self.0.push(rule);
    }

    pub(super) fn clear(&mut self) {
        self.0.clear();
    }

    /// How this request goes, if not as usual.
    pub(super) fn take(&mut self, call: &Call) -> Option<Action> {
        let rule = self.0.iter_mut().filter(|rule| rule.fits(call)).find_map(|rule| rule.meets().then_some(rule))?;
        Some(rule.action.clone())
    }
}
