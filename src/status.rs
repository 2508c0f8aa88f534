//! What the daemon knows of itself, for `/v1/status`, for the probes and for whoever waits for a change.

use std::sync::{Arc, OnceLock};
use std::time::{Instant, SystemTime};

use dagsync_core::{Change, Digest, Error, Revision, Version, Warning};
use serde::{Serialize, Serializer};
use tokio::sync::watch;

use crate::config::{Pod, TargetMode};
use crate::store::FolderName;

/// Warnings and changes that a status carries at the most; the count says how many there are.
const LISTED: usize = 100;
/// Versions that a status remembers.
const HISTORY: usize = 20;

/// How a pod stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum SyncState {
    /// No verified version is published yet.
    Starting,
    /// The published version is what the source offered last.
    Converged,
    /// The last sync failed; the last good version is served.
    Stale,
    /// A file of the published version was edited, removed or added.
    Tampered,
    /// What is in the image was not sealed, so nobody can say whether it was touched.
    Unsealed,
    /// Another process writes to the store; the version that it published last is served.
    Standby,
}

impl SyncState {
    /// Every state, for metrics.
    pub const ALL: [Self; 6] =
        [Self::Starting, Self::Converged, Self::Stale, Self::Tampered, Self::Unsealed, Self::Standby];

    /// The name used in JSON, logs and metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Converged => "converged",
            Self::Stale => "stale",
            Self::Tampered => "tampered",
            Self::Unsealed => "unsealed",
            Self::Standby => "standby",
        }
    }
}

/// The JSON of `/v1/status`. Times are RFC 3339 in UTC.
#[derive(Debug, Clone, Serialize)]
pub struct Status {
    /// The pod's name, namespace, node and Airflow component.
    pub pod: String,
    /// See `pod`.
    pub namespace: String,
    /// See `pod`.
    pub node: String,
    /// See `pod`.
    pub component: String,
    /// A name that no two processes share.
    pub id: String,
    /// The version of dagsync itself.
    pub dagsync_version: &'static str,
    /// The strategy's name.
    pub strategy: String,
    /// The source, without secrets.
    pub source: String,
    /// Versions of two pods are comparable only when these are equal.
    pub filter_hash: String,
    /// How the pod stands.
    pub state: SyncState,
    /// Since when it has stood so.
    #[serde(serialize_with = "rfc3339")]
    pub since: SystemTime,
    /// Whether this process writes to the store.
    pub writer: bool,
    /// Who does, as the store's lock says: a process and its host.
    pub holder: Option<String>,
    /// Whether a verified version is published. Never turns back because a source is down.
    pub ready: bool,
    /// The published version.
    pub version: Option<Version>,
    /// Its folder in the store; absent for a tree that is verified where it lies.
    pub folder: Option<FolderName>,
    /// The source's name for it.
    pub revision: Option<Revision>,
    /// Its files.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
    /// When it became current, as far as this process knows.
    #[serde(serialize_with = "maybe_rfc3339")]
    pub published_at: Option<SystemTime>,
    /// Where this pod should be.
    pub target: Target,
    /// Whether it is there: what is published is the target's, as far as that is known, and nobody touched it.
    pub in_sync: bool,
    /// Since when it is not.
    #[serde(serialize_with = "maybe_rfc3339")]
    pub behind_since: Option<SystemTime>,
    /// What was published last, the newest first.
    pub history: Vec<Flip>,
    /// The end of the last sync without an error.
    #[serde(serialize_with = "maybe_rfc3339")]
    pub last_success: Option<SystemTime>,
    /// The last error, until a sync succeeds.
    pub last_error: Option<LastError>,
    /// What the gate said last.
    pub gate: Option<GateReport>,
    /// How the published version differs from its manifest: the first hundred files.
    pub tampered: Vec<Change>,
    /// What is odd in the source: the first hundred.
    pub warnings: Vec<String>,
    /// When the daemon's loop turned last.
    #[serde(skip)]
    pub beat: Instant,
}

/// Where a pod should be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Target {
    /// Who says so.
    pub mode: TargetMode,
    /// The version, as soon as it is known.
    pub version: Option<Version>,
    /// What the source calls it: in mode `head` its newest, when it was last asked.
    pub revision: Option<Revision>,
    /// The leaders, in mode `leader`.
    pub leaders: Vec<Leader>,
    /// Whether one of them answers; nothing in the other modes.
    pub leader_up: Option<bool>,
    /// Who is followed, and whom those follow.
    #[serde(skip)]
    pub via: Vec<String>,
    /// Why it is not known where this pod should be.
    pub error: Option<String>,
}

impl Target {
    /// One of which nothing is known yet.
    pub const fn new(mode: TargetMode) -> Self {
        Self { mode, version: None, revision: None, leaders: Vec::new(), leader_up: None, via: Vec::new(), error: None }
    }
}

/// A daemon that is followed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Leader {
    /// Its URL, without secrets.
    pub url: String,
    /// What it said last.
    pub version: Option<Version>,
    /// Why it does not answer.
    pub error: Option<String>,
}

/// A version that became current.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Flip {
    /// The version.
    pub version: Version,
    /// What the source calls it.
    pub revision: Option<Revision>,
    /// When.
    #[serde(serialize_with = "rfc3339")]
    pub at: SystemTime,
}

/// An error as the status tells it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LastError {
    /// [`dagsync_core::ErrorKind`] by its name.
    pub kind: &'static str,
    /// What happened, to what, and what to do.
    pub message: String,
    /// When.
    #[serde(serialize_with = "rfc3339")]
    pub at: SystemTime,
    /// How often in a row.
    pub attempts: u64,
}

/// What the gate said of a tree.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct GateReport {
    /// What came of it.
    pub result: GateResult,
    /// How the command ended, in words.
    pub exit_status: String,
    /// The beginning and the end of what it printed.
    pub output: String,
    /// The tree that it was asked about.
    pub revision: Revision,
    /// When.
    #[serde(serialize_with = "rfc3339")]
    pub at: SystemTime,
}

/// What came of asking the gate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum GateResult {
    /// It let the tree pass.
    Passed,
    /// The version before stays.
    Refused,
    /// It did not let the tree pass, which was published all the same.
    Warned,
}

impl GateResult {
    /// The name used in JSON and logs.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Passed => "passed",
            Self::Refused => "refused",
            Self::Warned => "warned",
        }
    }
}

/// A name for this process that no other has.
pub fn id() -> &'static str {
    static ID: OnceLock<String> = OnceLock::new();
    ID.get_or_init(|| format!("{:016x}", fastrand::u64(..)))
}

/// The one place where the status is kept; readers never wait for writers.
#[derive(Debug, Clone)]
pub struct StatusBoard(Arc<watch::Sender<Arc<Status>>>);

impl StatusBoard {
    /// A board that shows a pod which has just started.
    pub fn new(pod: &Pod, strategy: &str, source: String, filter_hash: Digest, now: SystemTime) -> Self {
        let status = Status {
            pod: pod.name.clone(),
            namespace: pod.namespace.clone(),
            node: pod.node.clone(),
            component: pod.component.clone(),
            id: id().to_owned(),
            dagsync_version: env!("CARGO_PKG_VERSION"),
            strategy: strategy.to_owned(),
            source,
            filter_hash: filter_hash.to_string(),
            state: SyncState::Starting,
            since: now,
            writer: false,
            holder: None,
            ready: false,
            version: None,
            folder: None,
            revision: None,
            files: 0,
            bytes: 0,
            published_at: None,
            target: Target::new(TargetMode::Head),
            in_sync: false,
            behind_since: Some(now),
            history: Vec::new(),
            last_success: None,
            last_error: None,
            gate: None,
            tampered: Vec::new(),
            warnings: Vec::new(),
            beat: Instant::now(),
        };
        Self(Arc::new(watch::Sender::new(Arc::new(status))))
    }

    /// The status now.
    pub fn read(&self) -> Arc<Status> {
        self.0.borrow().clone()
    }

    /// Notes that the loop turned.
    pub fn beat(&self) {
        self.update(|status| status.beat = Instant::now());
    }

    /// Changes the status in one step.
    pub fn update(&self, change: impl FnOnce(&mut Status)) {
        self.0.send_modify(|status| {
            let status = Arc::make_mut(status);
            change(status);
            status.measure();
        });
    }

    /// The status as soon as it is as `wanted`.
    pub async fn wait_for(&self, mut wanted: impl FnMut(&Status) -> bool) -> Arc<Status> {
        let mut changes = self.0.subscribe();
        let seen = changes.wait_for(|status| wanted(status)).await;
        seen.map_or_else(|_| self.read(), |status| status.clone())
    }
}

impl Status {
    /// Notes whether this pod is where it should be.
    fn measure(&mut self) {
        self.in_sync = self.ready && self.is_on_target();
        if self.in_sync {
            self.behind_since = None;
        } else {
            self.behind_since.get_or_insert_with(SystemTime::now);
        }
    }

    fn is_on_target(&self) -> bool {
        match (self.state, self.target.version) {
            (SyncState::Tampered | SyncState::Unsealed | SyncState::Starting, _) => false,
            _ if self.target.error.is_some() => false,
            (_, Some(version)) => self.version == Some(version),
            // What the writer of the store is on is this pod's too.
            (SyncState::Standby, None) => true,
            (_, None) => self.target.revision.is_some() && self.revision == self.target.revision,
        }
    }

    /// Notes that another version became current.
    pub fn flip(&mut self, flip: Flip) {
        self.history.insert(0, flip);
        self.history.truncate(HISTORY);
    }

    /// Moves to `state`; the time of the move stays when it is the same.
    pub fn enter(&mut self, state: SyncState, now: SystemTime) {
        if self.state != state {
            self.state = state;
            self.since = now;
        }
    }

    /// Notes a failed attempt. What is published and whether the pod is ready do not change.
    pub fn fail(&mut self, error: &Error, attempts: u64, now: SystemTime) {
        self.last_error =
            Some(LastError { kind: error.kind().as_str(), message: error.to_string(), at: now, attempts });
        if matches!(self.state, SyncState::Converged | SyncState::Standby) {
            self.enter(SyncState::Stale, now);
        }
    }

    /// Notes a sync that came to an end, and how the pod stands after it.
    pub fn succeed(&mut self, now: SystemTime, state: SyncState) {
        self.enter(state, now);
        self.tampered.clear();
        self.last_error = None;
        self.last_success = Some(now);
        self.ready = true;
    }

    /// Notes that a tree that is served from where it lies is not what it should be.
    pub fn condemn(&mut self, now: SystemTime, state: SyncState, error: &Error, changes: &[Change]) {
        self.enter(state, now);
        self.tampered = changes.iter().take(LISTED).cloned().collect();
        self.fail(error, self.last_error.as_ref().map_or(1, |before| before.attempts + 1), now);
    }

    /// Notes that another process's version is good.
    pub fn stand_by(&mut self, now: SystemTime) {
        self.last_error = None;
        self.last_success = Some(now);
        self.enter(SyncState::Standby, now);
    }

    /// Whether these are the changes that it shows already.
    pub fn shows(&self, changes: &[Change]) -> bool {
        self.state == SyncState::Tampered && self.tampered[..] == changes[..changes.len().min(LISTED)]
    }

    /// Notes how the published version differs from its manifest.
    pub fn tamper(&mut self, changes: &[Change], now: SystemTime) {
        self.tampered = changes.iter().take(LISTED).cloned().collect();
        self.enter(SyncState::Tampered, now);
    }

    /// Keeps the first of `warnings`.
    pub fn warn(&mut self, warnings: &[Warning]) {
        self.warnings = warnings.iter().take(LISTED).map(ToString::to_string).collect();
        if warnings.len() > LISTED {
            self.warnings.push(format!("and {} more", warnings.len() - LISTED));
        }
    }
}

fn rfc3339<S: Serializer>(time: &SystemTime, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&humantime::format_rfc3339_millis(*time))
}

fn maybe_rfc3339<S: Serializer>(time: &Option<SystemTime>, serializer: S) -> Result<S::Ok, S::Error> {
    match time {
        Some(time) => rfc3339(time, serializer),
        None => serializer.serialize_none(),
    }
}
