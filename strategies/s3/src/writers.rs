//! Threads that stage what asynchronous code downloads: writing files blocks.

use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use dagsync_core::{Error, ErrorKind, Result, Staging};
use futures::future::join_all;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

const THREADS: usize = 4;
/// Files that wait for one thread; with the size of a small file this bounds the memory.
const WAITING: usize = 16;

type Job<T> = Box<dyn FnOnce(&Staging) -> Result<T> + Send>;

/// Blocking threads that each take jobs from a bounded queue.
pub(crate) struct Writers<T> {
    queues: Vec<mpsc::Sender<Job<T>>>,
    threads: Vec<JoinHandle<Result<Vec<T>>>>,
    next: AtomicUsize,
}

impl<T: Send + 'static> Writers<T> {
    /// Starts as many threads as `files` are worth.
    pub(crate) fn start(staging: &Staging, files: usize) -> Self {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let (mut queues, mut threads) = (Vec::new(), Vec::new());
        for _ in 0..cores.min(THREADS).min(files.div_ceil(WAITING)).max(1) {
            let (queue, mut jobs) = mpsc::channel::<Job<T>>(WAITING);
            let staging = staging.clone();
            queues.push(queue);
            threads.push(tokio::task::spawn_blocking(move || {
                let mut done = Vec::new();
                while let Some(job) = jobs.blocking_recv() {
                    done.push(job(&staging)?);
                }
                Ok(done)
            }));
        }
        Self { queues, threads, next: AtomicUsize::new(0) }
    }

    /// Hands a job over, waiting while all are busy. That its thread has failed is told by [`Writers::finish`].
    pub(crate) async fn send(&self, job: impl FnOnce(&Staging) -> Result<T> + Send + 'static) -> Result<()> {
        let queue = &self.queues[self.next.fetch_add(1, Relaxed) % self.queues.len()];
        queue.send(Box::new(job)).await.map_err(|_| Error::new(ErrorKind::Cancelled, "stage", "writing has failed"))
    }

    /// Waits for all jobs; what they returned, in no order. `before` is what the sender failed with.
    pub(crate) async fn finish(self, before: Result<()>) -> Result<Vec<T>> {
        drop(self.queues);
        let threads = self.threads.into_iter().map(async |thread| match thread.await {
            Ok(done) => done,
            Err(e) if e.is_panic() => std::panic::resume_unwind(e.into_panic()),
            Err(e) => Err(Error::new(ErrorKind::Cancelled, "stage", "the runtime is shutting down").with_source(e)),
        });
        // A thread's own error comes first: the sender's may only say that nobody takes its jobs.
        let done: Vec<Vec<T>> = join_all(threads).await.into_iter().collect::<Result<_>>()?;
        before.map(|()| done.into_iter().flatten().collect())
    }
}
