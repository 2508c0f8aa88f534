//! What is known of the fleet, between whoever asks it and those who look.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, SystemTime};

use tokio::sync::{Notify, watch};

use crate::fleet::report::Report;

/// The longest that a look waits for what is new.
const PATIENCE: Duration = Duration::from_secs(3);
/// What was found longer ago is not shown before it was asked again.
const FRESH: Duration = Duration::from_secs(60);

/// What was found when the fleet was asked last.
#[derive(Debug)]
pub struct Fleet {
    /// When.
    pub at: SystemTime,
    /// How everybody stands, or why nobody knows who belongs to it.
    pub found: Result<Report, String>,
}

/// What is seen of the fleet by who looks.
#[derive(Debug, Clone)]
pub struct Look {
    /// What was found last; nothing before the first answer.
    pub fleet: Option<Arc<Fleet>>,
    /// It is being asked, and that takes a while.
    pub is_asked: bool,
}

/// Where whoever asks the fleet writes what was found, for the page, and hears that somebody looks. Cheap to clone.
#[derive(Debug, Clone)]
pub struct FleetBoard {
    shown: Arc<watch::Sender<Option<Arc<Fleet>>>>,
    looks: Arc<Notify>,
    is_kept: Arc<AtomicBool>,
}

impl Default for FleetBoard {
    fn default() -> Self {
        Self { shown: Arc::new(watch::Sender::new(None)), looks: Arc::default(), is_kept: Arc::default() }
    }
}

impl FleetBoard {
    /// Shows this from now on.
    pub fn show(&self, found: Result<Report, String>) {
        let at = found.as_ref().map_or_else(|_| SystemTime::now(), |report| report.at);
        self.shown.send_replace(Some(Arc::new(Fleet { at, found })));
    }

    /// From now on the board counts as kept.
    pub fn keep(&self) {
        self.is_kept.store(true, Relaxed);
    }

    /// Waits until somebody looks.
    pub async fn looked_at(&self) {
        self.looks.notified().await;
    }

    /// What was found last, for who looks: it is found anew meanwhile, and waited for if it is old, but not for long.
    /// Nothing where nobody keeps the board.
    pub async fn look(&self) -> Option<Look> {
        if !self.is_kept.load(Relaxed) {
            return None;
        }
        self.looks.notify_one();
        let mut shown = self.shown.subscribe();
        let is_asked = tokio::time::timeout(PATIENCE, shown.wait_for(is_fresh)).await.is_err();
        let fleet = shown.borrow().clone();
        Some(Look { fleet, is_asked })
    }
}

fn is_fresh(fleet: &Option<Arc<Fleet>>) -> bool {
    fleet.as_ref().is_some_and(|fleet| fleet.at.elapsed().unwrap_or_default() < FRESH)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::page::tests::fleet;

    fn report(age: Duration) -> Report {
        Report { at: SystemTime::now() - age, ..fleet() }
    }

    #[tokio::test(start_paused = true)]
    async fn an_old_finding_is_not_shown_as_if_it_were_new() {
        let board = FleetBoard::default();
        assert!(board.look().await.is_none(), "nobody keeps it");
        board.keep();
        let first = board.look().await.unwrap();
        assert!(first.is_asked && first.fleet.is_none());
        board.show(Ok(report(2 * FRESH)));
        let old = board.look().await.unwrap();
        assert!(old.is_asked && old.fleet.is_some(), "nobody answers: the old one, and it is told");
        let (new, ()) = tokio::join!(board.look(), async {
            board.looked_at().await;
            board.show(Ok(report(Duration::ZERO)));
        });
        let new = new.unwrap();
        assert!(!new.is_asked && is_fresh(&new.fleet));
        assert!(!board.look().await.unwrap().is_asked);
    }
}
