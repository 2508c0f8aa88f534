//! Keeps a strategy that hangs or panics from taking the daemon with it.

use std::sync::Arc;
use std::time::Duration;

use dagsync_core::{Error, ErrorKind, Interrupt, Result};
use tokio::sync::Semaphore;

/// How long a strategy may take to end after it was told to.
const GRACE: Duration = Duration::from_secs(5);

/// Runs one call into a strategy at a time. A call that does not end when it is told to is left behind, and as long as
/// it hangs no other is started, so threads do not pile up.
#[derive(Debug, Clone)]
pub(super) struct Isolation(Arc<Semaphore>);

impl Default for Isolation {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(1)))
    }
}

impl Isolation {
    pub(super) async fn run<T: Send + 'static>(
        &self,
        interrupt: &Interrupt,
        operation: &'static str,
        call: impl Future<Output = Result<T>> + Send + 'static,
    ) -> Result<T> {
        let permit = self.0.clone().try_acquire_owned().map_err(|_| {
            Error::new(ErrorKind::Timeout, operation, "the attempt before still hangs in the source")
                .with_hint("check that the source answers; the published version is served meanwhile")
        })?;
        let call = tokio::spawn(async move {
            let _permit = permit;
            call.await
        });
        let told_to_stop = async {
            let stopped = interrupt.guard::<T>(operation, std::future::pending()).await;
            tokio::time::sleep(GRACE).await;
            stopped
        };
        tokio::select! {
            biased;
            ended = call => ended.unwrap_or_else(|e| Err(Error::new(ErrorKind::Unexpected, operation, "the strategy panicked")
                .with_source(e)
                .retryable())),
            stopped = told_to_stop => stopped,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    fn until(wait: Duration) -> Interrupt {
        Interrupt::new(Default::default(), Some(Instant::now() + wait))
    }

    #[tokio::test(start_paused = true)]
    async fn a_call_that_hangs_is_left_behind_and_no_other_is_started() {
        let isolation = Isolation::default();
        let (release, hung) = tokio::sync::oneshot::channel::<()>();
        let hang = async move {
            let _ = hung.await;
            Ok(())
        };
        let error = isolation.run(&until(Duration::from_millis(10)), "resolve", hang).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Timeout);
        let error = isolation.run(&Interrupt::never(), "resolve", async { Ok(()) }).await.unwrap_err();
        assert!(error.to_string().contains("still hangs"), "{error}");
        drop(release);
        tokio::task::yield_now().await;
        tokio::task::yield_now().await;
        isolation.run(&Interrupt::never(), "resolve", async { Ok(()) }).await.unwrap();
    }

    #[tokio::test]
    async fn a_panic_is_an_error() {
        let call = async { if true { panic!("boom") } else { Ok(()) } };
        let error = Isolation::default().run(&Interrupt::never(), "materialize", call).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unexpected);
        assert!(error.is_retryable());
    }
}
