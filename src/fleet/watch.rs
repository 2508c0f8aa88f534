//! The fleet for the status page: asked when somebody looks, and not more often than need be.

use std::time::Duration;

use dagsync_core::Interrupt;

use super::Check;
use super::ask::Manners;
use crate::config::Config;
use crate::page::FleetBoard;

/// The least between two checks of a small fleet: many may look at many pods' pages.
const PAUSE: Duration = Duration::from_secs(10);
/// What each pod adds to that: where there are more, more may look, and each look asks all of them.
const PAUSE_A_POD: Duration = Duration::from_millis(50);
/// The most: what was found is shown for a minute.
const LONGEST_PAUSE: Duration = Duration::from_secs(48);

/// Keeps `board` for as long as the process runs, if the fleet is configured.
pub async fn keep(config: Config, board: FleetBoard, interrupt: Interrupt) {
    if !config.fleet.is_known() {
        return;
    }
    let manners = Manners::of(&config);
    let mut check = Check::by_answers(config, manners);
    board.keep();
    let mut pods = 0;
    loop {
        board.looked_at().await;
        match interrupt.guard("ask fleet", check.run(&interrupt)).await {
            Ok(report) => {
                pods = report.pods.len();
                board.show(Ok(report));
            }
            Err(error) if interrupt.token().is_cancelled() => {
                tracing::debug!(%error, "the fleet is asked no more");
                return;
            }
            Err(error) => board.show(Err(error.to_string())),
        }
        tokio::time::sleep(pause(pods, fastrand::f64())).await;
    }
}

/// Up to a quarter longer, so that pods whose pages are looked at together do not ask together. `random` is in 0..1.
fn pause(pods: usize, random: f64) -> Duration {
    let pods = u32::try_from(pods).unwrap_or(u32::MAX);
    PAUSE_A_POD.saturating_mul(pods).clamp(PAUSE, LONGEST_PAUSE).mul_f64(1.0 + random / 4.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_large_fleet_is_asked_less_often_and_not_by_all_at_once() {
        for (pods, seconds) in [(0, 10), (100, 10), (400, 20), (10_000, 48)] {
            assert_eq!(pause(pods, 0.0), Duration::from_secs(seconds), "{pods}");
            assert_eq!(pause(pods, 1.0), Duration::from_secs(seconds).mul_f64(1.25), "{pods}");
        }
    }
}
