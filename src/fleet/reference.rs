//! Where everybody should be, as it is configured, and what that comes to among the answers.

use std::collections::BTreeMap;
use std::str::FromStr;
use std::time::SystemTime;

use dagsync_core::{Error, Result, Version};
use serde::Serialize;

use super::answer::{Answer, Stay};
use super::ask::Asked;
use super::discover::Phase;

/// The setting `drift.reference`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reference {
    /// The leader where there is one, else the majority.
    Auto,
    /// Where the leaders are.
    Leader,
    /// The newest of the source.
    Head,
    /// Where most pods are.
    Majority,
    /// This one.
    Version(Version),
}

impl FromStr for Reference {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        Ok(match text {
            "" => Self::Auto,
            "leader" => Self::Leader,
            "head" => Self::Head,
            "majority" => Self::Majority,
            version => Self::Version(version.parse()?),
        })
    }
}

/// What is known of the reference before the answers are looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Basis {
    /// The leaders among those who were asked.
    Leader,
    /// The newest of the source.
    Head(Head),
    /// Most of those who were asked.
    Majority,
    /// This one.
    Version(Version),
}

/// The newest of the source, as its strategy brings it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Head {
    /// The version.
    pub version: Version,
    /// The source's name for it.
    pub revision: String,
    /// The globs under which it was read.
    pub filter_hash: String,
    /// When it was first seen, and what was the head before.
    pub heads: Heads,
}

/// The heads that were seen one after the other, the newest first. Bounded: of a source that moves all the time the newest
/// are all there, and of those before them every second one, again and again.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Heads {
    stays: Vec<Stay>,
    /// The last look at the newest.
    seen: Option<SystemTime>,
    /// The last look at the one before it.
    before: Option<SystemTime>,
}

impl Heads {
    /// The most that are kept.
    const MOST: usize = 256;

    /// Notes what the head is now.
    pub fn note(&mut self, version: Version, now: SystemTime) {
        let (newest, seen) = (self.stays.first(), self.seen.replace(now));
        if newest.is_some_and(|newest| newest.version == version) {
            return;
        }
        // A clock that was set back changes no order.
        let from = newest.map_or(now, |newest| now.max(newest.from));
        self.before = newest.zip(seen).map(|(newest, seen)| seen.max(newest.from));
        self.stays.insert(0, Stay { from, version });
        if self.stays.len() > Self::MOST {
            let (mut n, last) = (0, Self::MOST);
            self.stays.retain(|_| {
                n += 1;
                n <= Self::MOST / 2 || n % 2 == 0 || n > last
            });
        }
    }

    /// When the first of them was seen.
    pub fn begun(&self) -> Option<SystemTime> {
        self.stays.last().map(|oldest| oldest.from)
    }

    /// The same, if the newest came at `from` already; not before the last look at the one that it followed.
    fn since(&self, from: SystemTime) -> Vec<Stay> {
        let mut stays = self.stays.clone();
        if let Some(newest) = stays.first_mut() {
            newest.from = self.before.map_or(from, |before| from.max(before)).min(newest.from);
        }
        stays
    }
}

/// Who says where everybody should be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum By {
    /// The leaders.
    Leader,
    /// The source.
    Head,
    /// Most pods.
    Majority,
    /// The user.
    Version,
}

impl By {
    /// The name used in JSON.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Leader => "leader",
            Self::Head => "head",
            Self::Majority => "majority",
            Self::Version => "version",
        }
    }
}

/// Where everybody should be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standard {
    /// Who says so.
    pub by: By,
    /// One version; none when nobody has one; several when leaders disagree or two versions have as many pods.
    pub candidates: Vec<Candidate>,
    /// The globs under which the others are comparable; `None`: not known.
    pub filter_hash: Option<String>,
    /// What is odd about it.
    pub note: Option<String>,
}

/// A version that everybody should be on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate {
    /// The version.
    pub version: Version,
    /// The source's name for it.
    pub revision: Option<String>,
    /// When the reference came to it, and where it was before.
    pub timeline: Vec<Stay>,
}

impl Standard {
    /// What `basis` comes to among the answers.
    pub fn find(asked: &[Asked], basis: &Basis) -> Self {
        match basis {
            Basis::Version(version) => Self::of_version(asked, *version),
            Basis::Head(head) => Self::of_head(asked, head),
            Basis::Majority => Self::of_majority(asked, None),
            Basis::Leader => {
                let leaders: Vec<_> =
                    voters(asked).filter(|(asked, _)| asked.leads).map(|(_, answer)| answer).collect();
                if leaders.is_empty() {
                    return Self::of_majority(asked, Some("no leader has answered with a version, so most pods count"));
                }
                let is_lost = leaders.iter().any(|leader| leader.target_error.is_some());
                let lost = is_lost.then_some("a leader does not know itself where it should be");
                Self::of(By::Leader, &leaders, |_, _| true, "the leaders disagree").noted(lost)
            }
        }
    }

    /// Whether there is more than one.
    pub fn is_disputed(&self) -> bool {
        self.candidates.len() > 1
    }

    /// Whether what a pod says of its own target is one of them, as far as that can be told.
    pub(super) fn is_target_of(&self, answer: &Answer) -> bool {
        let is_it = |candidate: &Candidate| match (answer.target_version, &answer.target_revision) {
            (Some(version), _) => version == candidate.version,
            (None, revision) => revision.is_some() && *revision == candidate.revision,
        };
        let says_nothing = answer.target_version.is_none() && answer.target_revision.is_none();
        says_nothing || self.candidates.iter().any(is_it)
    }

    /// Whether `version` is one of them.
    pub fn names(&self, version: Version) -> bool {
        self.candidates.iter().any(|candidate| candidate.version == version)
    }

    fn of_version(asked: &[Asked], version: Version) -> Self {
        let holders: Vec<_> = voters(asked).map(|(_, answer)| answer).filter(|a| a.version == Some(version)).collect();
        let everybody = || voters(asked).map(|(_, answer)| answer);
        let filter_hash =
            if holders.is_empty() { usual_filter(everybody()) } else { usual_filter(holders.into_iter()) };
        let timeline = vec![Stay { from: SystemTime::UNIX_EPOCH, version }];
        let candidates = vec![Candidate { version, revision: None, timeline }];
        Self { by: By::Version, candidates, filter_hash, note: None }
    }

    /// Nobody says when the head became what it is: the first pod that came to it or knew of it tells. Where one has left
    /// it, it may be the head again, as after a revert: what was before that tells nothing.
    fn of_head(asked: &[Asked], head: &Head) -> Self {
        let arrived = |a: &Answer| {
            let knows = a.target_version == Some(head.version) || a.target_revision.as_ref() == Some(&head.revision);
            let came = a.timeline.first().filter(|stay| stay.version == head.version).map(|stay| stay.from);
            came.or(a.behind_since.filter(|_| knows))
        };
        let left = voters(asked).filter_map(|(_, a)| left_at(&a.timeline, head.version)).max();
        let counts = |at: &SystemTime| left.is_none_or(|left| *at >= left);
        let from = voters(asked).filter_map(|(_, a)| arrived(a)).filter(counts).min();
        let timeline = from.map_or_else(|| head.heads.stays.clone(), |from| head.heads.since(from));
        let candidates = vec![Candidate { version: head.version, revision: Some(head.revision.clone()), timeline }];
        Self { by: By::Head, candidates, filter_hash: Some(head.filter_hash.clone()), note: None }
    }

    fn of_majority(asked: &[Asked], note: Option<&str>) -> Self {
        let answers: Vec<_> = voters(asked).map(|(_, answer)| answer).collect();
        let tie = "as many pods are on each of several versions";
        Self::of(By::Majority, &answers, |count, most| count == most, tie).noted(note)
    }

    /// With a note before the one that it has.
    fn noted(mut self, note: Option<&str>) -> Self {
        self.note = note.map(str::to_owned).into_iter().chain(self.note).reduce(|a, b| format!("{a}; {b}"));
        self
    }

    /// The versions of `answers` under their usual globs that are `wanted` by how many are on them.
    fn of(by: By, answers: &[&Answer], wanted: impl Fn(usize, usize) -> bool, disputed: &str) -> Self {
        let filter_hash = usual_filter(answers.iter().copied());
        let mut groups: BTreeMap<Version, Vec<&Answer>> = BTreeMap::new();
        for answer in answers.iter().filter(|a| filter_hash.as_ref().is_none_or(|hash| is_comparable(hash, a))) {
            if let Some(version) = answer.version {
                groups.entry(version).or_default().push(answer);
            }
        }
        let most = groups.values().map(Vec::len).max().unwrap_or(0);
        let groups = groups.into_iter().filter(|(_, group)| wanted(group.len(), most));
        let candidates: Vec<_> = groups.map(|(version, group)| Candidate::of(version, &group)).collect();
        let note = (candidates.len() > 1).then(|| disputed.to_owned());
        Self { by, candidates, filter_hash, note }
    }
}

impl Candidate {
    /// The pod that came to it first stands for the others.
    fn of(version: Version, group: &[&Answer]) -> Self {
        let first = group.iter().min_by_key(|a| (a.timeline.first(), &a.timeline, &a.revision));
        let timeline = first.map(|answer| answer.timeline.clone()).unwrap_or_default();
        Self { version, revision: first.and_then(|answer| answer.revision.clone()), timeline }
    }
}

/// When a pod with this history left `version` last.
fn left_at(timeline: &[Stay], version: Version) -> Option<SystemTime> {
    let left = timeline.windows(2).find(|pair| pair[1].version == version && pair[0].version != version);
    left.map(|pair| pair[0].from)
}

/// Those whose version says where others should be: not who goes, nor whose files are not what their version says.
fn voters(asked: &[Asked]) -> impl Iterator<Item = (&Asked, &Answer)> {
    let answers = asked.iter().filter(|asked| asked.peer.phase != Phase::Terminating);
    let answers = answers.filter_map(|asked| Some((asked, asked.answer()?)));
    answers.filter(|(_, answer)| answer.version.is_some() && answer.state != "tampered")
}

/// The globs of most of them.
fn usual_filter<'a>(answers: impl Iterator<Item = &'a Answer>) -> Option<String> {
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for answer in answers.filter(|answer| !answer.filter_hash.is_empty()) {
        *counts.entry(&answer.filter_hash).or_default() += 1;
    }
    let usual = counts.into_iter().max_by_key(|(hash, count)| (*count, std::cmp::Reverse(*hash)));
    usual.map(|(hash, _)| hash.to_owned())
}

/// Whether `answer` counts the same files; one that does not say is believed.
pub(super) fn is_comparable(filter_hash: &str, answer: &Answer) -> bool {
    answer.filter_hash.is_empty() || answer.filter_hash == filter_hash
}

#[cfg(test)]
mod tests {
    use super::super::fixture::{ago, v};
    use super::*;

    #[test]
    fn the_heads_of_a_busy_source_are_bounded_and_reach_back_to_the_first() {
        let mut heads = Heads::default();
        (0..5_000).for_each(|n| heads.note(v(n), ago(5_000 - n)));
        heads.note(v(4_999), ago(0));
        assert!(heads.stays.len() <= Heads::MOST && heads.begun() == Some(ago(5_000)), "{}", heads.stays.len());
        let newest: Vec<_> = heads.stays.iter().take(100).map(|stay| stay.version).collect();
        assert_eq!(newest, (0..100).map(|n| v(4_999 - n)).collect::<Vec<_>>());
        assert!(heads.stays.is_sorted_by_key(|stay| std::cmp::Reverse(stay.from)));
    }

    #[test]
    fn a_head_is_not_older_than_the_one_before_whatever_clocks_say() {
        let mut heads = Heads::default();
        heads.note(v(1), ago(100));
        heads.note(v(2), ago(300));
        assert_eq!(heads.stays[0].from, ago(100));
        heads.note(v(3), ago(50));
        let from = |seconds| heads.since(ago(seconds))[0].from;
        assert_eq!((from(70), from(5_000), from(10)), (ago(70), ago(100), ago(50)));
    }

    #[test]
    fn a_head_that_came_back_did_not_come_before_the_last_look_at_the_one_between() {
        let mut heads = Heads::default();
        heads.note(v(1), ago(9_000));
        (1..10).for_each(|n| heads.note(v(2), ago(1_000 - n * 100)));
        heads.note(v(1), ago(5));
        assert_eq!(heads.since(ago(80_000))[0].from, ago(100));
    }
}
