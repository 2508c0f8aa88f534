//! Who does not stay where it should be: what one check cannot see, and many can.

use std::collections::HashMap;
use std::time::{Duration, SystemTime};

use dagsync_core::Version;

use super::report::{Report, State, Verdict};

/// How pods stood when they were looked at last. As many as were found then, so it is bounded as the fleet is.
#[derive(Debug, Default)]
pub struct Flaps(HashMap<String, Seen>);

/// A pod as it stood.
#[derive(Debug, Clone, Copy)]
struct Seen {
    reference: Version,
    at: SystemTime,
    is_on: bool,
    /// When it came to its version.
    since: Option<SystemTime>,
    /// Since when it has been seen on the reference without having left it.
    back: Option<SystemTime>,
    unrest: Option<Unrest>,
}

/// That a pod left a reference which stayed, and again before it was on it for as long as the grace period.
#[derive(Debug, Clone, Copy)]
struct Unrest {
    first: SystemTime,
    last: SystemTime,
    times: u64,
}

impl Flaps {
    /// Learns from `report`, and notes in it who has been flapping for longer than the grace period. That a pod is behind a
    /// reference that moved is no flapping.
    pub fn note(&mut self, report: &mut Report) {
        let [reference] = report.standard.candidates.as_slice() else { return };
        let (reference, at, grace) = (reference.version, report.at, report.grace);
        let mut known = std::mem::take(&mut self.0);
        for pod in &mut report.pods {
            let before = known.remove(&pod.key);
            let seen = match pod.state {
                State::InSync | State::Converging | State::Drifted if pod.version.is_some() => {
                    Some(Seen::of(before, pod, reference, at, grace))
                }
                _ => before,
            };
            let Some(seen) = seen else { continue };
            if let Some(unrest) = seen.unrest.filter(|unrest| unrest.is_long(grace))
                && matches!(pod.state, State::InSync | State::Converging)
            {
                let cause = format!("it flaps: it has left the reference {} times", unrest.times);
                (pod.state, pod.flaps, pod.since, pod.cause) = (State::Drifted, true, Some(unrest.first), Some(cause));
            }
            self.0.insert(pod.key.clone(), seen);
        }
    }
}

impl Seen {
    fn of(before: Option<Self>, pod: &Verdict, reference: Version, at: SystemTime, grace: Duration) -> Self {
        let is_on = pod.state == State::InSync;
        let mut back = before.and_then(|before| before.back);
        let mut unrest = before.and_then(|before| before.unrest);
        let was_on = before.filter(|before| before.is_on && before.reference == reference);
        // Also one that went and came again between two looks, by its own history and clock: a restart alone is no leaving,
        // though its time on the version may begin anew.
        let went = |before: &Self| before.since.zip(pod.was_away).is_some_and(|(since, away)| away > since);
        if let Some(before) = was_on.filter(|before| !is_on || went(before)) {
            let left = if is_on { before.at } else { pod.since.unwrap_or(at).clamp(before.at, at.max(before.at)) };
            unrest = unrest.filter(|_| !is_rest(back, left, grace));
            unrest = Some(unrest.map_or(Unrest { first: left, last: left, times: 1 }, |unrest| Unrest {
                last: left.max(unrest.last),
                times: unrest.times + 1,
                ..unrest
            }));
            back = None;
        }
        if is_on {
            back = back.or(Some(at));
            unrest = unrest.filter(|_| !is_rest(back, at, grace));
        }
        Self { reference, at, is_on, since: pod.since, back, unrest }
    }
}

fn is_rest(back: Option<SystemTime>, until: SystemTime, grace: Duration) -> bool {
    back.is_some_and(|back| until.duration_since(back).is_ok_and(|time| time >= grace))
}

impl Unrest {
    fn is_long(&self, grace: Duration) -> bool {
        self.times > 1 && self.last.duration_since(self.first).is_ok_and(|time| time >= grace)
    }
}

#[cfg(test)]
mod tests {
    use super::super::answer::Answer;
    use super::super::ask::Asked;
    use super::super::fixture::{answer, leader, now, pod};
    use super::super::judge::judge;
    use super::super::reference::Basis;
    use super::*;

    const GRACE: Duration = Duration::from_secs(60);

    /// What is told of a pod that is looked at every ten seconds; a stay is a version and when it came, in seconds from the
    /// first look on.
    fn told(flaps: &mut Flaps, leads: &[(u64, u64)], follows: &[(u64, u64)], looks: u64) -> Vec<State> {
        let at = |seconds: u64| now() + Duration::from_secs(seconds);
        let until = |stays: &[(u64, u64)], second: u64| -> Answer {
            let past: Vec<_> = stays.iter().copied().filter(|(_, from)| *from <= second).rev().collect();
            let mut answer = answer(&past);
            answer.timeline.iter_mut().zip(&past).for_each(|(stay, (_, from))| stay.from = at(*from));
            answer
        };
        let look = |look: u64| {
            let asked: [Asked; 2] = [leader("a", until(leads, look * 10)), pod("b", until(follows, look * 10))];
            let mut report = judge(&asked, &Basis::Leader, GRACE, at(look * 10));
            flaps.note(&mut report);
            assert_eq!((report.pods.len(), report.pods[0].state), (2, State::InSync));
            report.pods[1].state
        };
        (0..looks).map(look).collect()
    }

    /// Every so many seconds from one of two versions to the other, the first one first.
    fn every(seconds: u64, times: u64) -> Vec<(u64, u64)> {
        (0..times).map(|n| (1 + n % 2, n * seconds)).collect()
    }

    #[test]
    fn a_pod_that_flaps_for_longer_than_the_grace_period_has_drifted_until_it_rests() {
        let mut flaps = Flaps::default();
        let told = told(&mut flaps, &[(1, 0)], &every(20, 21), 60);
        assert!(told[..10].iter().all(|state| !state.is_drift()), "{told:?}");
        assert!(told[10..46].iter().all(|state| *state == State::Drifted), "{told:?}");
        assert!(told[46..].iter().all(|state| *state == State::InSync), "{told:?}");
    }

    #[test]
    fn a_pod_that_comes_back_between_two_looks_flaps_too() {
        let stays: Vec<_> = (0..40).flat_map(|n| [(1, n * 10), (2, n * 10 + 4), (1, n * 10 + 8)]).collect();
        let told = told(&mut Flaps::default(), &[(1, 0)], &stays, 12);
        assert_eq!((told[3], told[11]), (State::InSync, State::Drifted));
    }

    #[test]
    fn a_pod_that_restarts_again_and_again_without_its_history_does_not_flap() {
        let restarts: Vec<_> = (0..100).map(|n| (1, n * 6)).collect();
        let mut flaps = Flaps::default();
        for (_, second) in restarts {
            let at = now() + Duration::from_secs(second);
            let mut answer = answer(&[(1, 0)]);
            answer.timeline[0].from = at;
            let leads = super::super::fixture::answer(&[(1, 900)]);
            let mut report = judge(&[leader("a", leads), pod("b", answer)], &Basis::Leader, GRACE, at);
            flaps.note(&mut report);
            assert_eq!(report.pods[1].state, State::InSync, "{second}");
        }
    }

    #[test]
    fn one_excursion_is_no_flapping_and_neither_are_rare_ones() {
        let once = told(&mut Flaps::default(), &[(1, 0)], &[(1, 0), (2, 35), (1, 65)], 30);
        assert!(once.iter().all(|state| !state.is_drift()), "{once:?}");
        let rare: Vec<_> = (0..10).flat_map(|n| [(1, n * 120), (2, n * 120 + 95)]).collect();
        let rare = told(&mut Flaps::default(), &[(1, 0)], &rare, 110);
        assert!(rare.iter().all(|state| !state.is_drift()), "{rare:?}");
    }

    #[test]
    fn a_pod_that_follows_a_busy_leader_does_not_flap() {
        let leads: Vec<_> = (0..30).map(|n| (n, n * 25)).collect();
        let follows: Vec<_> = (0..30).map(|n| (n, n * 25 + 12)).collect();
        let told = told(&mut Flaps::default(), &leads, &[&[(0, 0)], &follows[1..]].concat(), 70);
        assert!(told.iter().all(|state| !state.is_drift()) && told.contains(&State::Converging), "{told:?}");
    }

    #[test]
    fn what_is_told_of_a_flapping_pod_does_not_change_with_each_of_its_moves() {
        let mut flaps = Flaps::default();
        let mut essences = Vec::new();
        for second in 0..40 {
            let (version, at) = (1 + second % 2, now() + Duration::from_secs(second * 20));
            let mut answer = answer(&[(version, 0)]);
            answer.timeline[0].from = at;
            let mut report = judge(
                &[leader("a", super::super::fixture::answer(&[(1, 900)])), pod("b", answer)],
                &Basis::Leader,
                GRACE,
                at,
            );
            flaps.note(&mut report);
            essences.push(report.essence());
        }
        let last = &essences[20..];
        assert!(last[0].1.len() == 1 && last.iter().all(|essence| *essence == last[0]), "{last:?}");
    }

    #[test]
    fn who_is_gone_is_forgotten() {
        let mut flaps = Flaps::default();
        told(&mut flaps, &[(1, 0)], &[(1, 0)], 1);
        assert_eq!(flaps.0.len(), 2);
        flaps.note(&mut judge(&[leader("a", answer(&[(1, 0)]))], &Basis::Leader, GRACE, now()));
        assert_eq!(flaps.0.len(), 1);
    }
}
