//! The test doubles do what tests of an engine rely on.
#![allow(clippy::unwrap_used)]

use std::time::{Duration, Instant};

use dagsync_core::{ErrorKind, Interrupt};
use dagsync_testkit::{Call, Fault, FaultStrategy, Faults, Harness, MemorySource, MemoryStrategy, conformance, file};
use tokio_util::sync::CancellationToken;

fn faulty() -> (MemorySource, Faults, FaultStrategy<MemoryStrategy>) {
    let (source, faults) = (MemorySource::new(), Faults::new());
    let edits: Vec<_> = (0..500).map(|i| file(format!("{i}.py"), "x")).collect();
    source.commit(&edits);
    let strategy = FaultStrategy::new(MemoryStrategy::new(source.clone()), faults.clone());
    (source, faults, strategy)
}

fn interrupt(after: Duration) -> Interrupt {
    Interrupt::new(CancellationToken::new(), Some(Instant::now() + after))
}

#[tokio::test]
async fn faults_come_in_order_and_then_no_more() {
    let (_, faults, strategy) = faulty();
    let harness = Harness::new();
    let refused = Fault::Error(ErrorKind::Unauthorized);
    faults.next(Call::Resolve, [Fault::Error(ErrorKind::Unreachable), Fault::None, refused]);
    for want in [Some(ErrorKind::Unreachable), None, Some(ErrorKind::Unauthorized), None] {
        assert_eq!(harness.resolve(&strategy).await.err().map(|e| e.kind()), want);
    }
    assert_eq!((faults.calls(Call::Resolve), faults.calls(Call::Materialize)), (4, 0));
    faults.always(Call::Materialize, Fault::Error(ErrorKind::Io));
    for _ in 0..3 {
        assert_eq!(harness.sync(&strategy).await.unwrap_err().kind(), ErrorKind::Io);
    }
    faults.always(Call::Materialize, Fault::None);
    assert_eq!(harness.sync(&strategy).await.unwrap().manifest.len(), 500);
}

#[tokio::test]
async fn work_that_is_cut_or_late_leaves_files_behind() {
    let (_, faults, strategy) = faulty();
    for (number, fault) in [Fault::Cut { files: 10 }, Fault::Late(ErrorKind::Corrupt)].into_iter().enumerate() {
        let harness = Harness::new();
        faults.next(Call::Materialize, [fault]);
        let error = harness.sync(&strategy).await.unwrap_err();
        let left = std::fs::read_dir(harness.root().join("staging/0")).unwrap().count();
        let wanted = if number == 0 { ErrorKind::Unreachable } else { ErrorKind::Corrupt };
        assert_eq!(error.kind(), wanted);
        assert!(left >= 10, "{left}");
    }
}

#[tokio::test]
async fn a_hang_or_delay_minds_the_interrupt() {
    let (_, faults, strategy) = faulty();
    let mut harness = Harness::new();
    for fault in [Fault::Hang, Fault::Delay(Duration::from_secs(60))] {
        faults.next(Call::Resolve, [fault]);
        harness.interrupt = interrupt(Duration::from_millis(20));
        assert_eq!(harness.resolve(&strategy).await.unwrap_err().kind(), ErrorKind::Timeout);
    }
    harness.interrupt = Interrupt::never();
    faults.next(Call::Resolve, [Fault::Delay(Duration::from_millis(20))]);
    let start = Instant::now();
    harness.resolve(&strategy).await.unwrap();
    assert!(start.elapsed() >= Duration::from_millis(20));
}

#[tokio::test]
async fn a_deaf_strategy_minds_nothing() {
    let (_, faults, strategy) = faulty();
    let mut harness = Harness::new();
    harness.interrupt = interrupt(Duration::ZERO);
    faults.next(Call::Resolve, [Fault::Deaf]);
    assert!(tokio::time::timeout(Duration::from_millis(50), harness.resolve(&strategy)).await.is_err());
}

#[tokio::test]
async fn a_panic_is_a_panic() {
    let (_, faults, strategy) = faulty();
    faults.next(Call::Resolve, [Fault::Panic]);
    let panicked = tokio::spawn(async move { Harness::new().resolve(&strategy).await }).await;
    assert!(panicked.unwrap_err().is_panic());
}

#[tokio::test]
async fn a_wrapper_without_faults_keeps_the_contract() {
    for clause in conformance::CLAUSES.iter().filter(|c| c.name.contains("revision") || c.name.contains("reused")) {
        let mut source = Wrapped(MemorySource::new());
        clause.run(&mut source).await.unwrap();
    }
}

struct Wrapped(MemorySource);

#[dagsync_core::async_trait]
impl dagsync_testkit::Source for Wrapped {
    async fn apply(&mut self, edits: &[dagsync_testkit::Edit]) {
        self.0.commit(edits);
    }
    async fn remove(&mut self) {
        self.0.remove().await;
    }
    fn strategy(&self) -> std::sync::Arc<dyn dagsync_core::Strategy> {
        std::sync::Arc::new(FaultStrategy::new(MemoryStrategy::new(self.0.clone()), Faults::new()))
    }
}

#[test]
fn a_commit_of_nothing_is_a_new_revision_of_equal_content() {
    let source = MemorySource::new();
    let first = source.commit(&[file("a.py", "a")]);
    let second = source.commit(&[]);
    assert_ne!(first, second);
    assert_eq!(source.at(&first).unwrap(), source.at(&second).unwrap());
    source.forget_history();
    assert_eq!(source.at(&first).unwrap_err().kind(), ErrorKind::Changed);
    assert_eq!(source.head(), source.at(&second).unwrap());
}
