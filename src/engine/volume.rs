//! Calls into the store: one at a time, and none is waited for that hangs with the volume.

use dagsync_core::{Error, ErrorKind, Interrupt, Result};
use tokio_util::sync::CancellationToken;

use super::Engine;
use super::isolate::stands_still;
use crate::store::StoreLock;

impl Engine {
    /// Runs `work` on the store. If it does not move on for the time that a sync may take, it is left behind.
    pub(super) async fn in_store<T: Send + 'static>(
        &self,
        interrupt: &Interrupt,
        operation: &'static str,
        work: impl FnOnce(&Interrupt) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        self.parts.board.beat();
        let given_up = stands_still(&self.parts.progress, interrupt, self.timeout);
        let (store, asked) = (self.store.clone(), interrupt.clone());
        let call = move || work(&asked).map_err(|error| store.explain(error));
        self.volume.blocking(operation, given_up, call).await
    }

    /// What a successor removed under this process is not what is wrong.
    pub(super) async fn blame_the_lock(&self, error: Error, token: &CancellationToken) -> Error {
        let is_told = matches!(error.kind(), ErrorKind::Locked | ErrorKind::Timeout | ErrorKind::Cancelled);
        let Some(writer) = self.writer.clone().filter(|_| !is_told) else { return error };
        let interrupt = Interrupt::new(token.clone(), None);
        match self.in_store(&interrupt, StoreLock::CHECK, move |_| writer.lock.check()).await {
            Err(lost) if lost.kind() == ErrorKind::Locked => lost,
            _ => error,
        }
    }

    /// Another process has the store now, or had: the next attempt takes the lock and recovers. Says whether.
    pub(super) fn let_go_if_lost<T>(&mut self, done: &Result<T>) -> bool {
        let is_lost = |error: &Error| error.kind() == ErrorKind::Locked || error.operation() == StoreLock::CHECK;
        let is_lost = done.as_ref().is_err_and(is_lost);
        if is_lost {
            self.let_go();
        }
        is_lost
    }

    /// Gives the store up, on a thread of its own: closing a file may wait for the volume.
    pub(super) fn let_go(&mut self) {
        if let Some(writer) = self.writer.take() {
            self.parts.board.update(|status| (status.writer, status.holder) = (false, None));
            tokio::task::spawn_blocking(move || drop(writer));
        }
    }

    /// Lets the next process have the store at once; waits for a volume that hangs no longer than it has to.
    pub(super) async fn close(mut self) {
        let Some(writer) = self.writer.take() else { return };
        let interrupt = Interrupt::never();
        interrupt.token().cancel();
        self.drop_in_store("close store", writer, &interrupt).await;
    }

    /// Removing a large tree takes time that the endpoints must not wait for. `removal` tells how it gets on.
    pub(super) async fn clean_up(&self, draft: impl Send + 'static, removal: &Interrupt) {
        self.drop_in_store("clean up", draft, removal).await;
    }

    async fn drop_in_store(&self, operation: &'static str, done: impl Send + 'static, interrupt: &Interrupt) {
        let dropped = self.in_store(interrupt, operation, move |_| {
            drop(done);
            Ok(())
        });
        if let Err(error) = dropped.await {
            tracing::debug!(%error, "left behind");
        }
    }
}
