//! How long to wait: after a failure twice as long as before up to a limit, and never at the same moment as all others.

use std::time::Duration;

/// Exponential backoff with jitter. Retrying happens nowhere else.
#[derive(Debug, Clone, Copy)]
pub struct Backoff {
    /// The wait after the first failure.
    pub initial: Duration,
    /// The longest wait.
    pub max: Duration,
    /// Part by which a wait is moved at random, 0 to 1.
    pub jitter: f64,
}

impl Backoff {
    /// The wait after the `failures`th failure in a row; `random` is in 0..1.
    pub fn after(&self, failures: u64, random: f64) -> Duration {
        let doublings = u32::try_from(failures.saturating_sub(1)).unwrap_or(u32::MAX);
        let factor = 2u32.checked_pow(doublings).unwrap_or(u32::MAX);
        jittered(self.initial.saturating_mul(factor).min(self.max), self.jitter, random)
    }
}

/// `wait` moved by up to `jitter` of itself to either side; `random` is in 0..1.
pub(super) fn jittered(wait: Duration, jitter: f64, random: f64) -> Duration {
    wait.mul_f64((1.0 + jitter * (2.0 * random - 1.0)).max(0.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    const BACKOFF: Backoff = Backoff { initial: Duration::from_secs(1), max: Duration::from_secs(60), jitter: 0.1 };

    #[test]
    fn doubles_up_to_the_limit() {
        let waits: Vec<u64> = (1..=8).map(|n| BACKOFF.after(n, 0.5).as_secs()).collect();
        assert_eq!(waits, [1, 2, 4, 8, 16, 32, 60, 60]);
        assert_eq!(BACKOFF.after(u64::MAX, 0.5), Duration::from_secs(60));
    }

    #[test]
    fn jitter_moves_to_both_sides() {
        assert_eq!(BACKOFF.after(7, 0.0), Duration::from_secs(54));
        assert!(BACKOFF.after(7, 0.999) > Duration::from_secs(65));
        assert_eq!(jittered(Duration::from_secs(10), 0.0, 0.9), Duration::from_secs(10));
        assert_eq!(jittered(Duration::from_secs(10), 1.0, 0.0), Duration::ZERO);
    }
}
