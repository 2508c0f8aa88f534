//! The fleet for the status page: asked when somebody looks, and not more often than need be.

use std::time::{Duration, SystemTime};

use dagsync_core::Interrupt;

use super::Check;
use super::ask::Manners;
use super::report::{Report, State};
use crate::config::{self, Config};
use crate::page::{Fleet, FleetBoard, FleetPod};

/// The least between two checks: many may look at many pods' pages.
const PAUSE: Duration = Duration::from_secs(10);

/// Whether anybody is configured to belong to the fleet.
fn is_known(fleet: &config::Fleet) -> bool {
    !(fleet.peers.is_empty() && fleet.dns.is_empty() && fleet.kubernetes.selector.is_empty())
}

/// Keeps `board` for as long as the process runs, if the fleet is configured.
pub async fn keep(config: Config, board: FleetBoard, interrupt: Interrupt) {
    if !is_known(&config.fleet) {
        return;
    }
    let manners =
        Manners { concurrency: config.drift.concurrency, timeout: config.drift.timeout, client: config.client.clone() };
    let mut check = Check::by_answers(config, manners);
    loop {
        board.looked_at().await;
        match interrupt.guard("ask fleet", check.run(&interrupt)).await {
            Ok(report) => board.show(shown(report)),
            Err(error) if interrupt.token().is_cancelled() => {
                tracing::debug!(%error, "the fleet is asked no more");
                return;
            }
            Err(error) => board.show(unknown(error.to_string())),
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// Nobody can say who belongs to the fleet.
fn unknown(problem: String) -> Fleet {
    Fleet { at: SystemTime::now(), pods: Vec::new(), problem: Some(problem), differ: Default::default() }
}

fn shown(report: Report) -> Fleet {
    let unasked = report.count(State::Unreachable) + report.count(State::Missing);
    let problem = (unasked > 0).then(|| format!("{unasked} of {} pods did not answer", report.pods.len()));
    let differ = report.groups.into_iter().filter_map(|group| Some((group.version, group.differs?.ok()?.files)));
    let differ = differ.collect();
    let pod = |pod: super::report::Verdict| FleetPod {
        name: pod.name,
        component: pod.component.unwrap_or_default(),
        version: pod.version,
        state: match pod.cause {
            Some(cause) => format!("{}: {cause}", pod.state.as_str()),
            None => pod.state.as_str().to_owned(),
        },
        since: pod.since,
        is_well: matches!(pod.state, State::InSync | State::Converging | State::Terminating),
    };
    Fleet { at: report.at, pods: report.pods.into_iter().map(pod).collect(), problem, differ }
}
