//! What a check of the fleet found, for whoever prints it.

pub mod json;
pub mod prometheus;
pub mod summary;
pub mod table;

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use dagsync_core::{Change, Version, printable};
use serde::Serialize;

use super::answer::Answer;
use super::ask::Asked;
use super::reference::Standard;
use crate::config::redact_url;

/// How a pod stands in its fleet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum State {
    /// It is elsewhere for longer than the grace period.
    Drifted,
    /// Its files are not those that it published.
    Tampered,
    /// It did not answer.
    Unreachable,
    /// It should run dagsync and does not.
    Missing,
    /// It counts other files.
    Incomparable,
    /// It is elsewhere, within the grace period.
    Converging,
    /// It is where everybody should be.
    InSync,
    /// It ends; where it is means nothing.
    Terminating,
}

impl State {
    /// Every state, what is worst first.
    pub const ALL: [Self; 8] = [
        Self::Drifted,
        Self::Tampered,
        Self::Unreachable,
        Self::Missing,
        Self::Incomparable,
        Self::Converging,
        Self::InSync,
        Self::Terminating,
    ];

    /// The name used in JSON, metrics and tables.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Drifted => "drifted",
            Self::Tampered => "tampered",
            Self::Unreachable => "unreachable",
            Self::Missing => "missing",
            Self::Incomparable => "incomparable",
            Self::Converging => "converging",
            Self::InSync => "in-sync",
            Self::Terminating => "terminating",
        }
    }

    /// Whether it is what the command looks for.
    pub const fn is_drift(self) -> bool {
        matches!(self, Self::Drifted | Self::Tampered)
    }

    /// Whether nobody can say.
    pub const fn is_unknown(self) -> bool {
        matches!(self, Self::Unreachable | Self::Missing | Self::Incomparable)
    }
}

/// What follows for the fleet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Finding {
    /// Everybody is where everybody should be, or on the way there within the grace period.
    Fine,
    /// Somebody is not.
    Drift,
    /// No drift is seen, but some pods could not be asked or compared, or all of them end.
    Incomplete,
}

/// One pod.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct Verdict {
    pub name: String,
    /// By what it is known again in the next check: the name that Kubernetes has for it, else where it is asked. What it
    /// calls itself is not known while it does not answer. May hold a secret.
    pub(super) key: String,
    /// Where it is asked. May hold a secret.
    pub address: Option<String>,
    /// The same without.
    pub url: Option<String>,
    pub namespace: Option<String>,
    pub node: Option<String>,
    pub component: Option<String>,
    pub leads: bool,
    pub state: State,
    /// Since when: where it is if it is in sync, else that it is not.
    pub since: Option<SystemTime>,
    /// Why, as far as that is known; of a pod in sync, the error that it has all the same.
    pub cause: Option<String>,
    /// How it stands by its own account.
    pub daemon_state: Option<String>,
    pub version: Option<Version>,
    pub revision: Option<String>,
    pub strategy: Option<String>,
    pub source: Option<String>,
    /// The files of a tampered one.
    pub tampered: Vec<Change>,
    /// When it came to the last version that it left for this one, as far as it remembers.
    pub(super) was_away: Option<SystemTime>,
    /// It leaves the reference again and again.
    pub flaps: bool,
    /// What came of asking it to sync.
    pub remedy: Option<Result<(), String>>,
}

/// What follows for the fleet, and who stands how, of those who do not stand well.
pub type Essence = (Finding, Vec<(String, State, Option<Version>)>);

/// The pods on one version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Group {
    /// The version.
    pub version: Version,
    /// How many, without those that end.
    pub pods: usize,
    /// What the first of them calls it.
    pub revision: Option<String>,
    /// Whether everybody should be on it.
    pub is_reference: bool,
    /// How its files differ from the reference's; `None`: not compared.
    pub differs: Option<Result<Difference, String>>,
}

/// How two versions differ.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Difference {
    /// In how many files.
    pub count: usize,
    /// The first hundred of them, seen from the reference.
    pub files: Vec<Change>,
}

/// What a check found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// When.
    pub at: SystemTime,
    /// For how long a pod may be elsewhere.
    pub grace: Duration,
    /// Where everybody should be.
    pub standard: Standard,
    /// Every pod, by name.
    pub pods: Vec<Verdict>,
    /// Every version, the reference first, then by how many pods are on it.
    pub groups: Vec<Group>,
}

impl Report {
    pub(super) fn new(at: SystemTime, grace: Duration, standard: Standard, pods: Vec<Verdict>) -> Self {
        let mut groups: BTreeMap<Version, Group> = BTreeMap::new();
        for pod in pods.iter().filter(|pod| pod.state != State::Terminating) {
            let Some(version) = pod.version else { continue };
            let (revision, is_reference) = (pod.revision.clone(), standard.names(version));
            let new = || Group { version, pods: 0, revision, is_reference, differs: None };
            groups.entry(version).or_insert_with(new).pods += 1;
        }
        let mut groups: Vec<_> = groups.into_values().collect();
        groups.sort_by_key(|group| (!group.is_reference, std::cmp::Reverse(group.pods), group.version));
        Self { at, grace, standard, pods, groups }
    }

    /// How many pods stand so.
    pub fn count(&self, state: State) -> usize {
        self.pods.iter().filter(|pod| pod.state == state).count()
    }

    /// Whether there is nobody, or nobody but who ends: nobody can say where that fleet is.
    fn is_empty(&self) -> bool {
        self.pods.iter().all(|pod| pod.state == State::Terminating)
    }

    /// What follows.
    pub fn finding(&self) -> Finding {
        if self.pods.iter().any(|pod| pod.state.is_drift()) {
            Finding::Drift
        } else if self.is_empty() || self.pods.iter().any(|pod| pod.state.is_unknown()) {
            Finding::Incomplete
        } else {
            Finding::Fine
        }
    }

    /// How long the pod that has drifted for longest has.
    pub fn longest(&self) -> Duration {
        let drifted = self.pods.iter().filter(|pod| pod.state.is_drift());
        drifted.filter_map(|pod| self.at.duration_since(pod.since?).ok()).max().unwrap_or_default()
    }

    /// What of it is worth a message when it changes.
    pub fn essence(&self) -> Essence {
        let steady = |pod: &&Verdict| !matches!(pod.state, State::InSync | State::Converging | State::Terminating);
        // Where a flapping one is at the moment is no news.
        let version = |pod: &Verdict| pod.version.filter(|_| !pod.flaps);
        let pods = self.pods.iter().filter(steady).map(|pod| (pod.name.clone(), pod.state, version(pod)));
        (self.finding(), pods.collect())
    }

    /// The finding in one sentence, without colours.
    pub fn headline(&self) -> String {
        let (total, counted) = (self.pods.len() - self.count(State::Terminating), |state| self.count(state));
        let pods = |n: usize| if n == 1 { "1 pod".to_owned() } else { format!("{n} pods") };
        let list = |states: &[State]| {
            let told = states.iter().filter(|state| counted(**state) > 0);
            told.map(|state| format!("{} {}", counted(*state), state.as_str())).collect::<Vec<_>>().join(", ")
        };
        match self.finding() {
            Finding::Drift => format!("DRIFT: of {} {}", pods(total), list(&State::ALL)),
            Finding::Incomplete if self.is_empty() => {
                format!("INCOMPLETE: nobody to compare, {} terminating", counted(State::Terminating))
            }
            Finding::Incomplete => format!("INCOMPLETE: no drift seen, but of {} {}", pods(total), list(&State::ALL)),
            Finding::Fine if counted(State::Converging) > 0 => {
                format!("FINE: of {} {}", pods(total), list(&State::ALL))
            }
            Finding::Fine => format!("IN SYNC: {} on one version", pods(total)),
        }
    }
}

impl Verdict {
    /// What is known of a pod before it is judged.
    pub(super) fn of(asked: &Asked) -> Self {
        let (peer, answer) = (&asked.peer, asked.answer());
        let known = |text: &String| Some(text.clone()).filter(|text| !text.is_empty());
        let said = |read: fn(&Answer) -> &String| answer.map(read).and_then(known);
        // Whom Kubernetes knows is called as it says, whatever the pod itself claims.
        let was_away =
            |a: &Answer| a.timeline.iter().find(|stay| Some(stay.version) != a.version).map(|stay| stay.from);
        let claimed = |read| said(read).filter(|_| !peer.is_of_kubernetes());
        Self {
            name: claimed(|a| &a.pod).unwrap_or_else(|| peer.name.clone()),
            key: match (&peer.namespace, &peer.url) {
                (Some(namespace), _) => format!("{namespace}/{}", peer.name),
                (None, url) => url.clone().unwrap_or_else(|| peer.name.clone()),
            },
            address: peer.url.clone(),
            url: peer.url.as_deref().map(redact_url),
            namespace: peer.namespace.clone().or_else(|| said(|a| &a.namespace)),
            node: peer.node.clone().or_else(|| said(|a| &a.node)),
            component: peer.component.clone().or_else(|| said(|a| &a.component)),
            leads: asked.leads,
            state: State::Unreachable,
            since: None,
            cause: None,
            daemon_state: said(|a| &a.state),
            version: answer.and_then(|a| a.version),
            revision: answer.and_then(|a| a.revision.clone()),
            strategy: said(|a| &a.strategy),
            source: said(|a| &a.source),
            tampered: answer.map(|a| a.tampered.clone()).unwrap_or_default(),
            was_away: answer.and_then(was_away),
            flaps: false,
            remedy: None,
        }
    }
}

/// A commit's id by its first digits; another revision as it is.
pub(super) fn revision(text: &str) -> String {
    let is_commit = text.len() >= 40 && text.bytes().all(|b| b.is_ascii_hexdigit());
    if is_commit { text[..8].to_owned() } else { printable(text) }
}

#[cfg(test)]
mod tests;
