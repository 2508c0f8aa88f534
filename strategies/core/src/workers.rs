//! The same work for many items on a few threads.

use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use crate::error::Result;
use crate::tree::BUFFER;

/// Does `work` for each of `items` on at most `threads` threads, each with a buffer of its own; the results in no order.
/// The first error ends all of them soon.
pub fn for_each<T: Sync, R: Send>(
    items: &[T],
    threads: usize,
    work: impl Fn(&T, &mut [u8]) -> Result<R> + Sync,
) -> Result<Vec<R>> {
    /// Fewer items are not worth a thread.
    const SHARE: usize = 16;
    let next = AtomicUsize::new(0);
    let run = || -> Result<Vec<R>> {
        let mut buffer = vec![0; BUFFER];
        let mut results = Vec::new();
        while let Some(item) = items.get(next.fetch_add(1, Relaxed)) {
            results.push(work(item, &mut buffer).inspect_err(|_| next.store(items.len(), Relaxed))?);
        }
        Ok(results)
    };
    let threads = threads.min(items.len().div_ceil(SHARE));
    if threads <= 1 {
        return run();
    }
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..threads).map(|_| scope.spawn(run)).collect();
        let mut all = Vec::with_capacity(items.len());
        for worker in workers {
            all.extend(worker.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))?);
        }
        Ok(all)
    })
}
