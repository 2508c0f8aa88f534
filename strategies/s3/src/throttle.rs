//! A limit on bytes a second, shared by all downloads.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// Lets so many bytes a second through. A burst of one second's worth is free.
#[derive(Debug)]
pub(crate) struct Throttle {
    /// 0: no limit.
    rate: u64,
    /// When all that was taken so far is paid for.
    paid: Mutex<Option<Instant>>,
}

impl Throttle {
    pub(crate) fn new(rate: u64) -> Self {
        Self { rate, paid: Mutex::default() }
    }

    /// Waits until `bytes` more may be taken.
    pub(crate) async fn take(&self, bytes: usize) {
        if self.rate == 0 {
            return;
        }
        let until = self.pay(bytes, Instant::now());
        tokio::time::sleep_until(until).await;
    }

    fn pay(&self, bytes: usize, now: Instant) -> Instant {
        let mut paid = self.paid.lock().unwrap_or_else(PoisonError::into_inner);
        let start = paid.filter(|at| *at > now).unwrap_or(now);
        let end = start + Duration::from_secs_f64(bytes as f64 / self.rate as f64);
        *paid = Some(end);
        end.checked_sub(Duration::from_secs(1)).unwrap_or(now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_rate_holds_over_many_readers() {
        let throttle = Throttle::new(1000);
        let start = Instant::now();
        futures::future::join_all((0..50).map(|_| throttle.take(100))).await;
        let took = start.elapsed();
        assert!(took >= Duration::from_millis(4000) && took < Duration::from_millis(4100), "{took:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn without_a_limit_nobody_waits() {
        let start = Instant::now();
        Throttle::new(0).take(usize::MAX).await;
        assert_eq!(start.elapsed(), Duration::ZERO);
    }
}
