//! Who is where everybody should be, who is not, and since when. Pure: the same answers give the same report, in
//! whatever order they came.

use std::time::{Duration, SystemTime};

use dagsync_core::Version;

use super::answer::{Answer, Stay};
use super::ask::{Asked, Said};
use super::discover::Phase;
use super::reference::{Basis, By, Standard, is_comparable};
use super::report::{Report, State, Verdict, revision};

/// Candidates that a pod which is on none of them is compared with.
const COMPARED: usize = 8;

/// Compares the answers with what `basis` comes to among them.
pub fn judge(asked: &[Asked], basis: &Basis, grace: Duration, now: SystemTime) -> Report {
    let standard = Standard::find(asked, basis);
    let judge = Judge { disputed_since: disputed_since(&standard), standard: &standard, grace, now };
    let mut pods: Vec<_> = asked.iter().map(|asked| judge.one(asked)).collect();
    let order = |pod: &Verdict| (pod.name.clone(), pod.address.clone(), pod.state, pod.version);
    pods.sort_by_cached_key(order);
    tell_apart(&mut pods);
    Report::new(now, grace, standard, pods)
}

struct Judge<'a> {
    standard: &'a Standard,
    disputed_since: Option<SystemTime>,
    grace: Duration,
    now: SystemTime,
}

impl Judge<'_> {
    fn one(&self, asked: &Asked) -> Verdict {
        let verdict = Verdict::of(asked);
        let (state, since, cause) = match (asked.peer.phase, &asked.said) {
            (Phase::Terminating, _) => (State::Terminating, None, None),
            (Phase::Missing, Said::Nothing(why)) => (State::Missing, None, Some(why.clone())),
            // Its finder knows that it has not been starting for long.
            (Phase::Starting, Said::Nothing(why)) => (State::Converging, None, Some(why.clone())),
            (_, Said::Nothing(why)) => (State::Unreachable, None, Some(why.clone())),
            (_, Said::Status(answer)) => self.answered(answer, asked.leads),
        };
        Verdict { state, since, cause, ..verdict }
    }

    fn answered(&self, answer: &Answer, leads: bool) -> (State, Option<SystemTime>, Option<String>) {
        let error = || answer.last_error.clone();
        if answer.state == "tampered" {
            return (State::Tampered, answer.since, error());
        }
        let Some(version) = answer.version else {
            let since = answer.behind_since.or(answer.since);
            return (self.off(since), since, error().or_else(|| Some("it has no version yet".to_owned())));
        };
        let filter_hash = self.standard.filter_hash.as_deref();
        if !filter_hash.is_none_or(|hash| is_comparable(hash, answer)) {
            let cause = "it reads its tree under other include and exclude globs";
            return (State::Incomparable, answer.since, Some(cause.to_owned()));
        }
        match self.standard.names(version) {
            true if self.standard.is_disputed() => {
                (self.off(self.disputed_since), self.disputed_since, self.standard.note.clone())
            }
            true if leads && answer.target_error.is_some() => self.lost(answer),
            true => (State::InSync, answer.timeline.first().map(|stay| stay.from), error()),
            false => {
                let since = self.off_since(answer, version);
                (self.off(since), since, error().or_else(|| Some(self.excuse(answer))))
            }
        }
    }

    /// How a leader stands that others are with, and that does not know where it should be: nobody follows the source.
    fn lost(&self, answer: &Answer) -> (State, Option<SystemTime>, Option<String>) {
        let why = answer.target_error.as_deref().unwrap_or_default();
        let cause = format!("it leads and does not know itself where it should be: {why}");
        (self.off(answer.behind_since), answer.behind_since, Some(cause))
    }

    /// How a pod stands that is elsewhere since then. One that cannot say since when is given no grace, and neither is one
    /// whose clock is ahead by more than that.
    fn off(&self, since: Option<SystemTime>) -> State {
        let is_recent = |since| match self.now.duration_since(since) {
            Ok(age) => age < self.grace,
            Err(ahead) => ahead.duration() < self.grace,
        };
        if since.is_some_and(is_recent) { State::Converging } else { State::Drifted }
    }

    /// Since when it is on no candidate. One that is where a candidate was is behind since that moved on, however long it
    /// has been following at a distance. Of any other one it may know itself, also of times that its history has forgotten;
    /// but what it says of another target than ours counts only where nothing else is known.
    fn off_since(&self, answer: &Answer, version: Version) -> Option<SystemTime> {
        let candidates = || self.standard.candidates.iter().take(COMPARED);
        let behind = candidates().filter_map(|c| behind_since(&c.timeline, version)).max();
        let apart = candidates().filter_map(|c| apart_since(&answer.timeline, &c.timeline)).max();
        if behind.is_some() {
            return behind.max(apart);
        }
        let ails = self.standard.by == By::Head && answer.state != "converged" && answer.state != "standby";
        let is_ours = apart.is_none() || self.standard.is_target_of(answer);
        let own = answer.behind_since.filter(|_| is_ours).into_iter().chain(answer.since.filter(|_| ails)).min();
        apart.into_iter().chain(own).min()
    }

    /// What may be the reason where no error is.
    fn excuse(&self, answer: &Answer) -> String {
        let revision = answer.revision.as_deref().map_or_else(|| "an unnamed revision".to_owned(), revision);
        match answer.target_mode.as_str() {
            "pin" => format!("it is pinned to {revision}"),
            "leader" => format!("it follows a leader that is elsewhere, or has not moved yet; it is at {revision}"),
            _ if answer.behind_since.is_some() => format!("it has not moved yet; it is at {revision}"),
            _ => format!("its own source has {revision}: {}", answer.source),
        }
    }
}

/// Since when the first of several candidates is not where the others are.
fn disputed_since(standard: &Standard) -> Option<SystemTime> {
    let (first, others) = standard.candidates.split_first()?;
    others.iter().filter_map(|other| apart_since(&first.timeline, &other.timeline)).min()
}

/// Since when a reference is no longer on `version`, where it was once.
fn behind_since(reference: &[Stay], version: Version) -> Option<SystemTime> {
    let newer = reference.iter().position(|stay| stay.version == version)?.checked_sub(1)?;
    Some(reference[newer].from)
}

/// Since when two pods are on different versions, without a moment in between when they were on one; as far back as both
/// remember. `None`: they are on one, or nothing is known.
fn apart_since(a: &[Stay], b: &[Stay]) -> Option<SystemTime> {
    let mut moments: Vec<_> = a.iter().chain(b).map(|stay| stay.from).collect();
    moments.sort_unstable_by(|a, b| b.cmp(a));
    let (mut a, mut b) = (a, b);
    let differs = |at: &SystemTime| {
        (a, b) = (until(a, *at), until(b, *at));
        matches!((a.first(), b.first()), (Some(a), Some(b)) if a.version != b.version)
    };
    moments.into_iter().take_while(differs).last()
}

/// The stays that had begun at that moment; all of them are sorted, the newest first.
fn until(stays: &[Stay], at: SystemTime) -> &[Stay] {
    &stays[stays.partition_point(|stay| stay.from > at)..]
}

/// Pods that are called the same are told apart by their addresses.
fn tell_apart(pods: &mut [Verdict]) {
    let names: Vec<_> = pods.iter().map(|pod| pod.name.clone()).collect();
    for (i, pod) in pods.iter_mut().enumerate() {
        let is_same = |other: Option<usize>| other.and_then(|i| names.get(i)) == Some(&names[i]);
        if let Some(url) = pod.url.as_ref().filter(|url| **url != names[i])
            && (is_same(i.checked_sub(1)) || is_same(Some(i + 1)))
        {
            pod.name = format!("{} at {url}", names[i]);
        }
    }
}

#[cfg(test)]
#[path = "judge_tests.rs"]
mod tests;
