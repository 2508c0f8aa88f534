//! Answers for tests, at a moment that does not pass.

use std::time::{Duration, SystemTime};

use dagsync_core::{Digest, Version};

use super::answer::{Answer, Stay};
use super::ask::{Asked, Said};
use super::discover::{Peer, Phase};

pub(super) fn v(n: u64) -> Version {
    Digest::of(n.to_string()).into()
}

/// The moment `seconds` before the check.
pub(super) fn ago(seconds: u64) -> SystemTime {
    now() - Duration::from_secs(seconds)
}

pub(super) fn now() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000)
}

/// A converged pod that came to these versions so many seconds ago, the newest first.
pub(super) fn answer(stays: &[(u64, u64)]) -> Answer {
    let timeline: Vec<_> = stays.iter().map(|(n, seconds)| Stay { from: ago(*seconds), version: v(*n) }).collect();
    let (version, revision) = (timeline.first().map(|stay| stay.version), stays.first().map(|(n, _)| format!("r{n}")));
    let (filter_hash, state) = ("usual".to_owned(), "converged".to_owned());
    Answer { version, revision, filter_hash, state, timeline, since: Some(ago(5_000)), ..Answer::default() }
}

pub(super) fn pod(name: &str, answer: Answer) -> Asked {
    let answer = Answer { pod: name.to_owned(), ..answer };
    let peer = Peer::at(&format!("http://{name}:8466"));
    Asked { peer, leads: false, said: Said::Status(Box::new(answer)) }
}

pub(super) fn leader(name: &str, answer: Answer) -> Asked {
    Asked { leads: true, ..pod(name, answer) }
}

pub(super) fn silent(name: &str, phase: Phase) -> Asked {
    let peer = Peer { phase, ..Peer::at(&format!("http://{name}:8466")) };
    Asked { peer: Peer { name: name.to_owned(), ..peer }, leads: false, said: Said::Nothing("no route".to_owned()) }
}
