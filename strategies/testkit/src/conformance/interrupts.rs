//! Clauses about the end of work that was told to stop.

use std::time::{Duration, Instant};

use dagsync_core::ErrorKind::{self, Cancelled, Timeout};
use dagsync_core::Interrupt;
use tokio_util::sync::CancellationToken;

use super::{Case, Outcome, expect, expect_kind};
use crate::source::{Edit, file};

/// What "soon" means on a busy machine.
const SOON: Duration = Duration::from_secs(5);

pub(super) async fn cancelled_work_ends_soon(case: Case<'_>) -> Outcome {
    interrupted(case, Cancelled, |after| {
        let token = CancellationToken::new();
        let cancel = token.clone();
        // A thread of its own: a strategy that blocks the runtime must not stop the clock.
        if after.is_zero() {
            cancel.cancel();
        } else {
            std::thread::spawn(move || {
                std::thread::sleep(after);
                cancel.cancel();
            });
        }
        Interrupt::new(token, None)
    })
    .await
}

pub(super) async fn work_ends_at_its_deadline(case: Case<'_>) -> Outcome {
    interrupted(case, Timeout, |after| Interrupt::new(CancellationToken::new(), Some(Instant::now() + after))).await
}

/// Interrupts `resolve` and `materialize` at several moments; each ends soon, done or with an error of `kind`.
async fn interrupted(mut case: Case<'_>, kind: ErrorKind, interrupt: fn(Duration) -> Interrupt) -> Outcome {
    let edits: Vec<Edit> = (0..300).map(|i| file(format!("d{}/{i}.py", i % 10), vec![i as u8; 4000])).collect();
    case.apply(&edits).await;
    let revision = case.sync_as_is().await?.revision;
    case.harness.unpublish();
    for micros in [0, 300, 3_000, 30_000] {
        let after = Duration::from_micros(micros);
        let when = format!("when stopped after {after:?}");
        case.harness.interrupt = interrupt(after);
        let start = Instant::now();
        let resolved = case.harness.resolve(&*case.strategy).await;
        resolved.map(drop).or_else(|e| expect_kind::<()>(Err(e), &[kind], &when))?;
        let synced = case.harness.materialize(&*case.strategy, &revision).await;
        let took = start.elapsed();
        expect(took < after + SOON, || format!("{when} it ends after {took:?}"))?;
        match synced {
            Err(e) => expect_kind::<()>(Err(e), &[kind], &when)?,
            Ok(synced) => expect(synced.manifest.len() == 300 && (micros > 0 || !synced.tree.is_staged()), || {
                format!("{when} it brings a tree of {} files", synced.manifest.len())
            })?,
        }
    }
    case.harness.interrupt = Interrupt::never();
    case.sync_as_is().await.map_err(|e| format!("after having been stopped: {e}"))?;
    Ok(())
}
