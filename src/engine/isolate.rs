//! Keeps what hangs or panics, a strategy or the volume under the store, from taking the daemon with it.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use dagsync_core::{Error, ErrorKind, Interrupt, Progress, Result};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

/// How long a call may take to end after it was told to.
const GRACE: Duration = Duration::from_secs(5);
/// How often a call is looked at at the least.
const LOOK: Duration = Duration::from_secs(1);

/// Runs one call into something at a time. A call that does not end when it should is left behind, and as long as it
/// hangs no other is started, so threads do not pile up; when it ends after all, the next call is made as ever.
#[derive(Debug, Clone)]
pub(crate) struct Isolation(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    /// What is called, for people.
    name: String,
    hint: &'static str,
    turn: Arc<Semaphore>,
    /// When the call began that runs now.
    since: Mutex<Option<Instant>>,
}

/// The right to make a call; ends with it, whoever still waits.
struct Turn {
    inner: Arc<Inner>,
    _permit: OwnedSemaphorePermit,
}

impl Drop for Turn {
    fn drop(&mut self) {
        *self.inner.since.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }
}

impl Isolation {
    /// For calls into a source.
    pub(crate) fn of_source(name: String) -> Self {
        Self::new(name, "check that the source answers; the published version is served meanwhile")
    }

    /// For calls into the file system at `path`.
    pub(crate) fn of_volume(path: &std::path::Path) -> Self {
        Self::new(path.display().to_string(), "a hard mount waits for its server: check that it answers")
    }

    fn new(name: String, hint: &'static str) -> Self {
        Self(Arc::new(Inner { name, hint, turn: Arc::new(Semaphore::new(1)), since: Mutex::default() }))
    }

    /// Runs an asynchronous call that `interrupt` tells to stop.
    ///
    /// # Errors
    /// [`ErrorKind::Timeout`] when it did not stop, or the call before it still hangs.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        interrupt: &Interrupt,
        operation: &'static str,
        call: impl Future<Output = Result<T>> + Send + 'static,
    ) -> Result<T> {
        let turn = self.enter(operation)?;
        let call = tokio::spawn(async move {
            let _turn = turn;
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
            stopped = told_to_stop => match stopped {
                Err(error) if error.kind() == ErrorKind::Timeout => Err(self.is_silent(operation, "")),
                stopped => stopped,
            },
        }
    }

    /// Runs a call that blocks, on a thread of its own, until `given_up`.
    ///
    /// # Errors
    /// [`ErrorKind::Timeout`] when it was given up, or the call before it still hangs.
    pub(crate) async fn blocking<T: Send + 'static>(
        &self,
        operation: &'static str,
        given_up: impl Future<Output = ()>,
        call: impl FnOnce() -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let turn = self.enter(operation)?;
        let call = tokio::task::spawn_blocking(move || {
            let _turn = turn;
            call()
        });
        tokio::select! {
            biased;
            ended = call => match ended {
                Ok(result) => result,
                Err(e) if e.is_panic() => std::panic::resume_unwind(e.into_panic()),
                Err(e) => Err(Error::cancelled(operation).with_source(e)),
            },
            () = given_up => Err(self.is_silent(operation, "")),
        }
    }

    fn enter(&self, operation: &'static str) -> Result<Turn> {
        let permit = self.0.turn.clone().try_acquire_owned();
        let permit = permit.map_err(|_| self.is_silent(operation, ": the call before still hangs"))?;
        *self.since() = Some(Instant::now());
        Ok(Turn { inner: self.0.clone(), _permit: permit })
    }

    fn is_silent(&self, operation: &'static str, more: &str) -> Error {
        let silence = self.since().map(|since| since.elapsed()).unwrap_or_default();
        let silence = humantime::format_duration(Duration::from_secs(silence.as_secs()));
        Error::new(ErrorKind::Timeout, operation, format!("{} has not answered for {silence}{more}", self.0.name))
            .with_hint(self.0.hint)
    }

    fn since(&self) -> std::sync::MutexGuard<'_, Option<Instant>> {
        self.0.since.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Ends when work did not move on for `patience`: neither by its counters, nor by asking `interrupt` whether to stop.
/// After that told it to, a short while is enough.
pub(crate) async fn stands_still(progress: &Progress, interrupt: &Interrupt, patience: Duration) {
    let read = || (progress.read(), interrupt.checks());
    let (mut seen, mut moved) = (read(), Instant::now());
    loop {
        tokio::time::sleep((patience / 4).clamp(Duration::from_millis(1), LOOK)).await;
        let now = read();
        if now != seen {
            (seen, moved) = (now, Instant::now());
        }
        let patience = if interrupt.token().is_cancelled() { patience.min(GRACE) } else { patience };
        if moved.elapsed() >= patience {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    fn until(wait: Duration) -> Interrupt {
        Interrupt::new(Default::default(), Some(std::time::Instant::now() + wait))
    }

    fn source() -> Isolation {
        Isolation::of_source("https://example.com/dags.git".to_owned())
    }

    #[tokio::test(start_paused = true)]
    async fn a_call_that_hangs_is_left_behind_and_no_other_is_started() {
        let isolation = source();
        let (release, hung) = tokio::sync::oneshot::channel::<()>();
        let hang = async move {
            let _ = hung.await;
            Ok(())
        };
        let error = isolation.run(&until(Duration::from_millis(10)), "resolve", hang).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Timeout);
        assert!(error.to_string().contains("https://example.com/dags.git has not answered for 5s;"), "{error}");
        tokio::time::advance(Duration::from_secs(180)).await;
        let error = isolation.run(&Interrupt::never(), "resolve", async { Ok(()) }).await.unwrap_err();
        assert!(error.to_string().contains("has not answered for 3m 5s: the call before still hangs"), "{error}");
        drop(release);
        tokio::task::yield_now().await;
        tokio::task::yield_now().await;
        isolation.run(&Interrupt::never(), "resolve", async { Ok(()) }).await.unwrap();
    }

    #[tokio::test]
    async fn a_panic_is_an_error() {
        let call = async { if true { panic!("boom") } else { Ok(()) } };
        let error = source().run(&Interrupt::never(), "materialize", call).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unexpected);
        assert!(error.is_retryable());
    }

    #[tokio::test]
    async fn a_volume_that_does_not_answer_is_left_alone_until_it_does() {
        let volume = Isolation::of_volume(std::path::Path::new("/mnt/efs"));
        let (progress, interrupt) = (Progress::default(), Interrupt::never());
        let silence = || stands_still(&progress, &interrupt, Duration::from_millis(20));
        let (answer, question) = mpsc::channel::<()>();
        let error = volume.blocking("publish", silence(), move || Ok(question.recv().is_ok())).await.unwrap_err();
        assert!(error.to_string().contains("/mnt/efs has not answered for 0s; a hard mount waits"), "{error}");
        for _ in 0..3 {
            let never = || -> Result<()> { unreachable!("no second call while one hangs") };
            let error = volume.blocking("read store", silence(), never).await.unwrap_err();
            assert!(error.to_string().contains("the call before still hangs"), "{error}");
        }
        drop(answer);
        while volume.blocking("read store", silence(), || Ok(())).await.is_err() {
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test]
    async fn work_that_moves_on_is_not_left_behind() {
        let volume = Isolation::of_volume(std::path::Path::new("/mnt/efs"));
        let (progress, interrupt) = (Progress::default(), Interrupt::never());
        let (counts, asks) = (progress.clone(), interrupt.clone());
        let slow = move || {
            for step in 0..100 {
                std::thread::sleep(Duration::from_millis(5));
                if step < 50 { counts.add(1, 0) } else { asks.check("remove")? }
            }
            Ok(())
        };
        volume.blocking("hash", stands_still(&progress, &interrupt, Duration::from_millis(250)), slow).await.unwrap();
    }
}
