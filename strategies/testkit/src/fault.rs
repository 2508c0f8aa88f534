//! A strategy that fails as a test says: which call, and how.

use std::collections::VecDeque;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use dagsync_core::{
    Error, ErrorKind, Interrupt, Result, Revision, Staging, Strategy, SyncContext, Tree, Version, async_trait,
};

/// A method of a strategy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Call {
    /// [`Strategy::resolve`].
    Resolve,
    /// [`Strategy::materialize`].
    Materialize,
}

/// How one call goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// As if there were no fault.
    None,
    /// It fails at once with an error of this kind.
    Error(ErrorKind),
    /// It does its work, then fails.
    Late(ErrorKind),
    /// It is stopped after about this many files, with [`ErrorKind::Unreachable`], as by a connection that is cut.
    Cut {
        /// Files that are staged before.
        files: u64,
    },
    /// It waits, minding the interrupt, then does its work.
    Delay(Duration),
    /// It never ends, but minds the interrupt.
    Hang,
    /// It never ends and minds nothing: a defect that the engine must survive.
    Deaf,
    /// It panics.
    Panic,
}

/// The script of a [`FaultStrategy`], which a test keeps and extends. Clones share one script.
#[derive(Debug, Clone, Default)]
pub struct Faults(Arc<Mutex<Script>>);

#[derive(Debug, Default)]
struct Script {
    resolve: Queue,
    materialize: Queue,
}

#[derive(Debug, Default)]
struct Queue {
    next: VecDeque<Fault>,
    always: Option<Fault>,
    calls: u64,
}

impl Script {
    fn queue(&mut self, call: Call) -> &mut Queue {
        match call {
            Call::Resolve => &mut self.resolve,
            Call::Materialize => &mut self.materialize,
        }
    }
}

impl Faults {
    /// No faults.
    pub fn new() -> Self {
        Self::default()
    }

    /// The next calls that nothing is planned for go this way, one each.
    pub fn next(&self, call: Call, faults: impl IntoIterator<Item = Fault>) {
        self.script().queue(call).next.extend(faults);
    }

    /// Every call goes this way once the planned ones are through; [`Fault::None`] ends it.
    pub fn always(&self, call: Call, fault: Fault) {
        self.script().queue(call).always = Some(fault);
    }

    /// How often the method was called.
    pub fn calls(&self, call: Call) -> u64 {
        self.script().queue(call).calls
    }

    fn take(&self, call: Call) -> Fault {
        let mut script = self.script();
        let queue = script.queue(call);
        queue.calls += 1;
        queue.next.pop_front().or_else(|| queue.always.clone()).unwrap_or(Fault::None)
    }

    fn script(&self) -> MutexGuard<'_, Script> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A strategy around another that fails as its [`Faults`] say.
#[derive(Debug)]
pub struct FaultStrategy<S> {
    inner: S,
    faults: Faults,
}

impl<S> FaultStrategy<S> {
    /// Wraps `inner`; the test keeps a clone of `faults`.
    pub fn new(inner: S, faults: Faults) -> Self {
        Self { inner, faults }
    }

    /// What happens before the work is done.
    async fn before(&self, fault: &Fault, interrupt: &Interrupt, operation: &'static str) -> Result<()> {
        match fault {
            Fault::Error(kind) => Err(injected(*kind, operation)),
            Fault::Panic => panic!("injected into {operation}"),
            Fault::Deaf => std::future::pending().await,
            Fault::Hang => interrupt.guard(operation, std::future::pending()).await,
            Fault::Delay(time) => {
                let wait = async {
                    tokio::time::sleep(*time).await;
                    Ok(())
                };
                interrupt.guard(operation, wait).await
            }
            Fault::None | Fault::Late(_) | Fault::Cut { .. } => Ok(()),
        }
    }
}

fn after<T>(fault: &Fault, operation: &'static str, value: T) -> Result<T> {
    match fault {
        Fault::Late(kind) => Err(injected(*kind, operation)),
        Fault::Cut { .. } => Err(injected(ErrorKind::Unreachable, operation)),
        _ => Ok(value),
    }
}

fn injected(kind: ErrorKind, operation: &'static str) -> Error {
    Error::new(kind, operation, "injected by a test")
}

impl<S: Strategy> FaultStrategy<S> {
    /// Lets the inner strategy work until `files` are staged, then stops it and waits for its end.
    async fn cut(&self, files: u64, cx: &SyncContext, revision: &Revision, staging: &Staging) -> Result<Tree> {
        let token = cx.interrupt.token().child_token();
        let deadline = cx.interrupt.remaining().map(|left| std::time::Instant::now() + left);
        let cx = SyncContext { interrupt: Interrupt::new(token.clone(), deadline), ..cx.clone() };
        let staged_enough = async {
            while staging.progress().read().done < files {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            token.cancel();
            std::future::pending().await
        };
        tokio::select! {
            biased;
            () = staged_enough => unreachable!("it waits for the other to end"),
            done = self.inner.materialize(&cx, revision, staging) => done,
        }
    }
}

impl<S: Strategy> fmt::Display for FaultStrategy<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.inner, f)
    }
}

#[async_trait]
impl<S: Strategy> Strategy for FaultStrategy<S> {
    async fn resolve(&self, cx: &SyncContext) -> Result<Revision> {
        let fault = self.faults.take(Call::Resolve);
        self.before(&fault, &cx.interrupt, "resolve").await?;
        after(&fault, "resolve", self.inner.resolve(cx).await?)
    }

    async fn find(
        &self,
        cx: &SyncContext,
        version: Option<&Version>,
        revision: Option<&Revision>,
    ) -> Result<Option<Revision>> {
        self.inner.find(cx, version, revision).await
    }

    fn is_reread(&self) -> bool {
        self.inner.is_reread()
    }

    async fn materialize(&self, cx: &SyncContext, revision: &Revision, staging: &Staging) -> Result<Tree> {
        let fault = self.faults.take(Call::Materialize);
        self.before(&fault, &cx.interrupt, "materialize").await?;
        let tree = match fault {
            Fault::Cut { files } => match self.cut(files, cx, revision, staging).await {
                Err(_) if cx.interrupt.check("materialize").is_ok() => {
                    return Err(injected(ErrorKind::Unreachable, "materialize"));
                }
                done => done?,
            },
            _ => self.inner.materialize(cx, revision, staging).await?,
        };
        after(&fault, "materialize", tree)
    }
}
