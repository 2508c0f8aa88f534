//! Asks the pods that have drifted to sync now. Whether that helped, the next check tells; whom it did not help is asked
//! more and more seldom.

use std::collections::HashMap;
use std::time::Duration;

use futures::stream::{self, StreamExt};
use tokio::time::{Instant, timeout};

use super::ask::Manners;
use super::report::{Report, Verdict};
use crate::client::Client;

/// Until a pod is asked for the second time; then twice as long each time.
const FIRST: Duration = Duration::from_secs(60);
const LONGEST: Duration = Duration::from_secs(60 * 60);

/// Whom a remedy was asked for, and when it may be again; nobody who is well.
#[derive(Debug, Default)]
pub struct Remedies(HashMap<String, Turn>);

#[derive(Debug)]
struct Turn {
    next: Instant,
    pause: Duration,
}

impl Remedies {
    /// Asks each pod that has drifted or is tampered with and whose turn it is, and notes what came of it.
    pub async fn ask(&mut self, report: &mut Report, manners: &Manners) {
        let due = self.due(report, Instant::now());
        stream::iter(due).for_each_concurrent(manners.concurrency, |pod| ask(pod, manners)).await;
    }

    fn due<'a>(&mut self, report: &'a mut Report, now: Instant) -> Vec<&'a mut Verdict> {
        let mut known = std::mem::take(&mut self.0);
        let ill = report.pods.iter_mut().filter(|pod| pod.state.is_drift());
        let due = ill.filter(|pod| {
            let turn = known.remove(&pod.key);
            let is_due = turn.as_ref().is_none_or(|turn| turn.next <= now);
            let turn = match turn {
                Some(turn) if !is_due => turn,
                turn => {
                    let pause = turn.map_or(FIRST, |turn| (turn.pause * 2).min(LONGEST));
                    Turn { next: now + pause, pause }
                }
            };
            self.0.insert(pod.key.clone(), turn);
            is_due
        });
        due.collect()
    }
}

async fn ask(pod: &mut Verdict, manners: &Manners) {
    let Some(url) = pod.address.clone() else { return };
    let asked = async { Client::of_many(&url, &manners.client)?.sync().await };
    pod.remedy = Some(match timeout(manners.timeout, asked).await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(error)) => Err(super::answer::clipped(&error.to_string())),
        Err(_) => Err(format!("no answer within {}", humantime::format_duration(manners.timeout))),
    });
}

#[cfg(test)]
mod tests {
    use super::super::ask::Asked;
    use super::super::discover::Peer;
    use super::super::fixture::{answer, now, pod, v};
    use super::super::judge::judge;
    use super::super::reference::Basis;
    use super::*;

    #[test]
    fn a_pod_that_does_not_answer_in_between_is_not_forgotten() {
        let ill = pod("worker-0", answer(&[(2, 900)]));
        let addressed = |name: &str| {
            let asked = Asked { peer: Peer::at("http://10.0.0.7:8466"), ..pod(name, answer(&[(2, 900)])) };
            judge(&[asked], &Basis::Version(v(1)), Duration::ZERO, now())
        };
        let (mut remedies, start) = (Remedies::default(), Instant::now());
        assert_eq!(remedies.due(&mut judge(&[ill], &Basis::Version(v(1)), Duration::ZERO, now()), start).len(), 1);
        assert_eq!(remedies.due(&mut addressed("worker-0"), start).len(), 1, "it is another one");
        assert_eq!(remedies.due(&mut addressed("as-it-calls-itself-now"), start).len(), 0);
    }

    #[test]
    fn whom_a_sync_does_not_help_is_asked_more_and_more_seldom() {
        let report =
            |version| judge(&[pod("a", answer(&[(version, 900)]))], &Basis::Version(v(1)), Duration::ZERO, now());
        let (mut remedies, start) = (Remedies::default(), Instant::now());
        let mut ask = |version, second| remedies.due(&mut report(version), start + Duration::from_secs(second)).len();
        let asked: Vec<_> = (0..24 * 360).map(|n| n * 10).filter(|second| ask(2, *second) == 1).collect();
        assert_eq!(asked[..5], [0, 60, 180, 420, 900]);
        assert!(asked.windows(2).all(|pair| pair[1] - pair[0] <= 3_600) && asked.len() < 32, "{asked:?}");
        assert_eq!(ask(1, 90_000), 0, "it is well");
        assert_eq!((ask(2, 90_010), ask(2, 90_020)), (1, 0), "and is ill anew");
    }
}
