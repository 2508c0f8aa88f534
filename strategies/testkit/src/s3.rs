//! A server in the test's own process that speaks S3 over HTTP/1.1, path style, and fails as a test says.
//!
//! It answers as AWS does where a client can tell the difference: pages of a listing are read from the live bucket,
//! keys are encoded as AWS encodes them, times step by whole seconds, conditions are checked. It checks no signature
//! and keeps everything in memory.
//!
//! ```
//! use dagsync_testkit::s3::{Action, Op, Rule, S3Double};
//!
//! let s3 = S3Double::start();
//! s3.create_bucket("b");
//! s3.put("b", "dags/a.py", "print()");
//! s3.inject(Rule::on(Op::Get, Action::Truncate(3)).key("a.py").skip(1));
//! // … point a client at `s3.endpoint()` with path style and any credentials …
//! assert_eq!(s3.count(Op::Get), 0);
//! ```
//!
//! Not there: signatures, virtual-host style, encryption (its header fields are only recorded). Multipart uploads,
//! copies, `DeleteObjects`, access control lists and tags get 501 `NotImplemented`, so that a client that needs one
//! does not pass by chance.

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::SystemTime;

use hyper::body::Bytes;
use tokio_util::sync::CancellationToken;

mod buckets;
mod call;
mod chunked;
mod journal;
mod list;
mod objects;
mod reply;
mod rule;
mod server;
mod store;
mod wire;
mod xml;

#[cfg(test)]
mod tests;

pub use journal::Seen;
pub use rule::{Action, Op, Rule};
pub use store::{PutOptions, sha256};

use journal::Journal;
use rule::Rules;
use store::{Bucket, Object, quoted};

/// The server. Clones are handles to the same one; it stops when the last is dropped.
///
/// All methods may be called from any thread, at any time, also from within [`Action::Run`]. Those that name a bucket
/// panic when there is none of that name, because then the test is wrong.
#[derive(Clone)]
pub struct S3Double {
    shared: Arc<Shared>,
    /// `None` in the handles of the server itself, which must not keep it alive.
    _running: Option<Arc<Running>>,
}

struct Shared {
    address: SocketAddr,
    state: Mutex<State>,
}

/// Everything that the server knows.
#[derive(Debug, Default)]
struct State {
    buckets: BTreeMap<String, Bucket>,
    modes: Modes,
    rules: Rules,
    journal: Journal,
}

/// How it differs from AWS.
#[derive(Debug)]
struct Modes {
    opaque_etags: bool,
    ignore_conditions: bool,
    unquoted_etags_only: bool,
    page_size: usize,
    access_key: Option<String>,
}

impl Default for Modes {
    fn default() -> Self {
        let (opaque_etags, ignore_conditions, unquoted_etags_only) = (false, false, false);
        Self { opaque_etags, ignore_conditions, unquoted_etags_only, page_size: 1000, access_key: None }
    }
}

/// The thread of the server, which ends with this value.
struct Running {
    stop: CancellationToken,
    thread: Option<JoinHandle<()>>,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.stop.cancel();
        // The last handle may be dropped by an `Action::Run`, on the server's thread, which cannot wait for itself.
        if let Some(thread) = self.thread.take().filter(|t| t.thread().id() != thread::current().id()) {
            let _ = thread.join();
        }
    }
}

impl S3Double {
    /// Starts a server without buckets on a free port of 127.0.0.1, on a thread of its own.
    pub fn start() -> Self {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("the loopback interface has a free port");
        let address = listener.local_addr().expect("a bound socket has an address");
        let shared = Arc::new(Shared { address, state: Mutex::default() });
        let (stop, handle) = (CancellationToken::new(), Self { shared: shared.clone(), _running: None });
        let stopped = stop.clone();
        let thread = thread::Builder::new().name("s3-double".to_owned());
        let thread = thread.spawn(move || server::run(&handle, listener, &stopped)).expect("a test can start a thread");
        Self { shared, _running: Some(Arc::new(Running { stop, thread: Some(thread) })) }
    }

    /// Where it listens, as `http://127.0.0.1:port`.
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.shared.address)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.shared.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How the server differs from AWS.
impl S3Double {
    /// Whether each write gets a random ETag, as with SSE-KMS, instead of the MD5 of the content.
    pub fn opaque_etags(&self, on: bool) {
        self.state().modes.opaque_etags = on;
    }

    /// Whether `If-Match` and `If-None-Match` of a PUT are ignored, as Garage does.
    pub fn ignore_conditions(&self, on: bool) {
        self.state().modes.ignore_conditions = on;
    }

    /// Whether `If-Match` of a PUT never matches a quoted ETag, as with Ceph 16. One without quotes always works.
    pub fn unquoted_etags_only(&self, on: bool) {
        self.state().modes.unquoted_etags_only = on;
    }

    /// The most entries of one page of a listing, whatever the client asks for; 1000 at first.
    pub fn page_size(&self, entries: usize) {
        self.state().modes.page_size = entries;
    }

    /// Requires every request to be signed with this access key; others get 403 `InvalidAccessKeyId`. The signature
    /// itself is not checked. `None` takes it back.
    pub fn require_token(&self, access_key: Option<&str>) {
        self.state().modes.access_key = access_key.map(str::to_owned);
    }

    /// Whether the bucket keeps old versions of its objects. Turned off later, versions that are there stay, as with
    /// suspended versioning.
    pub fn versioned(&self, bucket: &str, on: bool) {
        self.state().named(bucket).versioned = on;
    }
}

/// What was asked, and what goes wrong.
impl S3Double {
    /// Every request since the start or [`S3Double::clear_requests`], in the order of arrival.
    pub fn requests(&self) -> Vec<Seen> {
        self.state().journal.requests()
    }

    /// How many requests of this kind there were.
    pub fn count(&self, op: Op) -> usize {
        self.state().journal.count(op)
    }

    /// Forgets the requests so far.
    pub fn clear_requests(&self) {
        self.state().journal.clear();
    }

    /// Adds a fault. Of several that fit a request, the one that was added first decides, and only it counts the
    /// request.
    pub fn inject(&self, rule: Rule) {
        self.state().rules.add(rule);
    }

    /// Removes every fault. Requests that hang go on hanging.
    pub fn clear_faults(&self) {
        self.state().rules.clear();
    }
}

/// The content, without HTTP and without faults.
impl S3Double {
    /// Makes an empty bucket; one of that name stays as it is.
    pub fn create_bucket(&self, bucket: &str) {
        self.state().buckets.entry(bucket.to_owned()).or_default();
    }

    /// Writes an object, and returns its ETag as clients see it, in quotes.
    pub fn put(&self, bucket: &str, key: &str, content: impl AsRef<[u8]>) -> String {
        self.put_with(bucket, key, content, PutOptions::default())
    }

    /// Writes an object with properties that a plain upload would not give it, and returns its quoted ETag.
    pub fn put_with(&self, bucket: &str, key: &str, content: impl AsRef<[u8]>, options: PutOptions) -> String {
        let mut state = self.state();
        let object = Object::new(Bytes::copy_from_slice(content.as_ref()), options, state.modes.opaque_etags);
        let etag = quoted(&object.etag);
        state.named(bucket).push(key, Some(object));
        etag
    }

    /// Deletes an object as a client would: in a versioned bucket with a delete marker.
    pub fn delete(&self, bucket: &str, key: &str) {
        self.state().named(bucket).delete(key);
    }

    /// The content of the current version.
    pub fn get(&self, bucket: &str, key: &str) -> Option<Vec<u8>> {
        Some(self.state().named(bucket).object(key)?.content.to_vec())
    }

    /// The keys that a listing shows, in order.
    pub fn keys(&self, bucket: &str) -> Vec<String> {
        self.state().named(bucket).live("", "").map(|(key, _)| key.to_owned()).collect()
    }

    /// Changes the `LastModified` of the current version and nothing else. Clients see whole seconds.
    ///
    /// # Panics
    /// When there is no such object.
    pub fn set_modified(&self, bucket: &str, key: &str, time: SystemTime) {
        let mut state = self.state();
        let version = state.named(bucket).current_mut(key);
        version.unwrap_or_else(|| panic!("bucket {bucket} holds no object {key}")).modified = time;
    }
}

impl State {
    /// The bucket that a test names.
    fn named(&mut self, bucket: &str) -> &mut Bucket {
        self.buckets.get_mut(bucket).unwrap_or_else(|| panic!("no bucket {bucket}; make it with create_bucket"))
    }
}

impl fmt::Debug for S3Double {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("S3Double").field("endpoint", &self.endpoint()).finish_non_exhaustive()
    }
}
