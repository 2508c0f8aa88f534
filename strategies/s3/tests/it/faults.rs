//! A server that is busy, broken or lying in the middle of a sync: a clear error, nothing wrong staged, recovery.

use std::time::Duration;

use dagsync_core::ErrorKind;
use dagsync_testkit::Harness;
use dagsync_testkit::s3::{Action, Op, Rule};

use crate::bucket::{Bucket, files, version};

const TREE: &[(&str, &str)] = &[("a.py", "aaaa"), ("b.py", "bbbbb"), ("c/d.py", "dddddd")];

fn bucket() -> Bucket {
    let bucket = Bucket::new();
    TREE.iter().for_each(|(path, content)| bucket.put(path, content));
    bucket
}

/// What passes is tried again within one sync; the rest is one error, and the next sync succeeds.
#[tokio::test]
async fn every_fault_is_named_and_recovered_from() {
    let quick = [("layout", "prefix"), ("attempts", "1"), ("read_timeout", "300ms")];
    for op in [Op::List, Op::Get] {
        for (action, kind, words) in [
            (Action::status(403, "AccessDenied"), ErrorKind::Unauthorized, "AccessDenied"),
            (Action::status(404, "NoSuchBucket"), ErrorKind::NotFound, "no such bucket"),
            (Action::status(500, "InternalError"), ErrorKind::Unreachable, "500"),
            (Action::status(503, "SlowDown"), ErrorKind::Unreachable, "SlowDown"),
            (Action::status(400, "ExpiredToken"), ErrorKind::Unauthorized, "expired"),
            (Action::redirect("eu-west-1"), ErrorKind::Config, "eu-west-1"),
            (Action::Truncate(1), ErrorKind::Unreachable, ""),
            (Action::Stall(1), ErrorKind::Timeout, ""),
            (Action::Reset, ErrorKind::Unreachable, ""),
            (Action::Hang, ErrorKind::Timeout, ""),
            (Action::Garbage, ErrorKind::Unreachable, ""),
        ] {
            let bucket = bucket();
            let (harness, strategy) = (Harness::new(), bucket.strategy(&quick));
            let shown = format!("{op:?} {action:?}");
            bucket.server.inject(Rule::on(op, action).times(1));
            match harness.sync(&*strategy).await {
                Err(error) => {
                    let kinds = [kind, if op == Op::Get { ErrorKind::Changed } else { kind }];
                    assert!(kinds.contains(&error.kind()), "{shown}: {error:?}");
                    assert!(error.to_string().contains(words), "{shown}: {error}");
                }
                Ok(synced) => panic!("{shown}: it brings {:?}", synced.manifest),
            }
            let synced = harness.sync(&*strategy).await.unwrap();
            assert_eq!(synced.manifest.version(), version(&files(TREE)), "{shown}");
        }
    }
}

#[tokio::test]
async fn an_object_that_changed_or_went_since_it_was_listed_starts_over() {
    for code in [(412, "PreconditionFailed"), (404, "NoSuchKey")] {
        let bucket = bucket();
        bucket.server.inject(Rule::on(Op::Get, Action::status(code.0, code.1)).key("b.py").times(1));
        let error = Harness::new().sync(&*bucket.strategy(&[("layout", "prefix")])).await.unwrap_err();
        assert!(error.kind() == ErrorKind::Changed && error.is_retryable(), "{error:?}");
    }
}

#[tokio::test]
async fn a_body_of_another_length_is_never_brought() {
    let bucket = bucket();
    bucket.server.inject(Rule::on(Op::Get, Action::Overlong(3)).key("b.py").forever());
    let error = Harness::new().sync(&*bucket.strategy(&[("layout", "prefix")])).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Changed, "{error:?}");
    bucket.server.clear_faults();
    bucket.server.inject(Rule::on(Op::Get, Action::Truncate(1)).key("b.py").forever());
    let strategy = bucket.strategy(&[("layout", "prefix"), ("attempts", "2")]);
    let error = Harness::new().sync(&*strategy).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unreachable, "{error:?}");
    assert_eq!(
        bucket.server.requests().iter().filter(|seen| seen.op == Op::Get && seen.key.ends_with("b.py")).count(),
        3
    );
}

#[tokio::test]
async fn what_passes_is_tried_again_within_one_sync() {
    for action in [Action::status(503, "SlowDown"), Action::Reset, Action::Truncate(1)] {
        let bucket = bucket();
        bucket.server.inject(Rule::on(Op::Get, action.clone()).times(2));
        bucket.server.inject(Rule::on(Op::List, action).skip(1).times(1));
        let harness = Harness::new();
        let synced = harness.sync(&*bucket.strategy(&[("layout", "prefix")])).await.unwrap();
        assert_eq!(synced.manifest.version(), version(&files(TREE)));
    }
}

#[tokio::test]
async fn a_large_body_that_breaks_off_is_fetched_again_from_the_start() {
    let bucket = Bucket::new();
    let large: Vec<u8> = (0..2_000_000u32).map(|i| (i / 7) as u8).collect();
    bucket.put("large.bin", &large);
    bucket.server.inject(Rule::on(Op::Get, Action::Truncate(1_000_000)).key("large").times(2));
    let synced = Harness::new().sync(&*bucket.strategy(&[("layout", "prefix")])).await.unwrap();
    assert_eq!(synced.manifest.entries()[0].digest, dagsync_core::Digest::of(&large));
}

#[tokio::test]
async fn no_more_requests_at_once_than_allowed() {
    let bucket = Bucket::new();
    (0..40).for_each(|i| bucket.put(&format!("{i}.py"), "x"));
    bucket.server.inject(Rule::on(Op::Get, Action::Delay(Duration::from_millis(100))).forever());
    let strategy = bucket.strategy(&[("layout", "prefix"), ("concurrency", "10")]);
    let start = std::time::Instant::now();
    Harness::new().sync(&*strategy).await.unwrap();
    assert!(start.elapsed() >= Duration::from_millis(400), "40 requests of 100 ms, 10 at once");
}
