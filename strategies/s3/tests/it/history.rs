//! What a bucket with versioning held in the past.

use std::time::{Duration, SystemTime};

use dagsync_core::ErrorKind;
use dagsync_testkit::Harness;
use dagsync_testkit::s3::{Op, PutOptions};

use crate::bucket::{Bucket, NAME, PREFIX, files, version};

fn at(seconds: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000 + seconds)
}

fn text(seconds: u64) -> String {
    text_of(at(seconds))
}

fn text_of(time: SystemTime) -> String {
    humantime::format_rfc3339_seconds(time).to_string()
}

fn put(bucket: &Bucket, path: &str, content: &str, seconds: u64) {
    let options = PutOptions { modified: Some(at(seconds)), ..PutOptions::default() };
    bucket.server.put_with(NAME, &format!("{PREFIX}{path}"), content, options);
}

#[tokio::test]
async fn an_older_state_of_a_prefix_is_brought_back_exactly() {
    let bucket = Bucket::new();
    bucket.server.versioned(NAME, true);
    bucket.server.page_size(2);
    put(&bucket, "a.py", "a1", 10);
    put(&bucket, "b.py", "b1", 20);
    put(&bucket, "a.py", "a2", 30);
    put(&bucket, "c/d.py", "d1", 40);
    for (moment, tree) in [
        (10, &[("a.py", "a1")][..]),
        (25, &[("a.py", "a1"), ("b.py", "b1")]),
        (30, &[("a.py", "a2"), ("b.py", "b1")]),
        (99, &[("a.py", "a2"), ("b.py", "b1"), ("c/d.py", "d1")]),
    ] {
        let strategy = bucket.strategy(&[("layout", "prefix"), ("at", &text(moment))]);
        let synced = Harness::new().sync(&*strategy).await.unwrap();
        assert_eq!(synced.manifest.version(), version(&files(tree)), "at {moment}");
    }
    // What was deleted after that moment is still there for it.
    bucket.delete("b.py");
    put(&bucket, "a.py", "a3", 50);
    let strategy = bucket.strategy(&[("layout", "prefix"), ("at", &text(40))]);
    let (mut harness, tree) = (Harness::new(), [("a.py", "a2"), ("b.py", "b1"), ("c/d.py", "d1")]);
    let synced = harness.sync(&*strategy).await.unwrap();
    assert_eq!(synced.manifest.version(), version(&files(&tree)));
    harness.publish(&synced).unwrap();
    bucket.server.clear_requests();
    assert_eq!(harness.sync(&*strategy).await.unwrap().counts.linked, 3);
    assert_eq!(bucket.server.count(Op::Get), 0);
}

#[tokio::test]
async fn what_was_deleted_by_then_is_not_brought() {
    let bucket = Bucket::new();
    bucket.server.versioned(NAME, true);
    bucket.put("a.py", "a");
    bucket.put("gone.py", "x");
    bucket.delete("gone.py");
    let later = humantime::format_rfc3339_seconds(SystemTime::now() + Duration::from_secs(60)).to_string();
    let strategy = bucket.strategy(&[("layout", "prefix"), ("at", &later)]);
    let synced = Harness::new().sync(&*strategy).await.unwrap();
    assert_eq!(synced.manifest.version(), version(&files(&[("a.py", "a")])));
}

#[tokio::test]
async fn an_older_pointer_leads_to_what_was_published_then() {
    let bucket = Bucket::new();
    bucket.server.versioned(NAME, true);
    let (old, new) = (files(&[("a.py", "old")]), files(&[("a.py", "new"), ("b.py", "b")]));
    let pointer = format!("{PREFIX}dagsync.json");
    for (tree, moment) in [(&old, 10), (&new, 20)] {
        bucket.publish(tree).await.unwrap();
        bucket.server.set_modified(NAME, &pointer, at(moment));
    }
    for (moment, tree) in [(10, &old), (19, &old), (20, &new)] {
        let synced =
            Harness::new().sync(&*bucket.strategy(&[("layout", "published"), ("at", &text(moment))])).await.unwrap();
        assert_eq!(synced.manifest.version(), version(tree), "at {moment}");
    }
    let before = bucket.strategy(&[("layout", "published"), ("at", &text(9))]);
    assert_eq!(Harness::new().resolve(&*before).await.unwrap_err().kind(), ErrorKind::NotFound);
}

#[tokio::test]
async fn a_version_that_was_pruned_since_is_brought_back() {
    let bucket = Bucket::new();
    bucket.server.versioned(NAME, true);
    let large = "x".repeat(400_000);
    let old = files(&[("a.py", "old"), ("large.bin", &large)]);
    bucket.publish(&old).await.unwrap();
    // To the second, as S3 has it.
    let then = text_of(SystemTime::now() + Duration::from_secs(1));
    tokio::time::sleep(Duration::from_millis(2100)).await;
    bucket.publish(&files(&[("a.py", "new")])).await.unwrap();
    let keep = dagsync_strategy_s3::Keep { versions: 1, age: Duration::ZERO };
    assert_eq!(bucket.publisher(&[]).prune(keep, false).await.unwrap().versions.len(), 1);
    let synced = Harness::new().sync(&*bucket.strategy(&[("layout", "published"), ("at", &then)])).await.unwrap();
    assert_eq!(synced.manifest.version(), version(&old));
}

#[tokio::test]
async fn a_bucket_without_versions_does_not_know_its_past() {
    let bucket = Bucket::new();
    bucket.put("a.py", "a");
    let later = text_of(SystemTime::now() + Duration::from_secs(60));
    let error = Harness::new().sync(&*bucket.strategy(&[("layout", "prefix"), ("at", &later)])).await.unwrap_err();
    assert!(error.kind() == ErrorKind::Refused && error.to_string().contains("bucket versioning"), "{error}");
}

#[tokio::test]
async fn the_versions_of_a_key_may_lie_on_several_pages() {
    let bucket = Bucket::new();
    bucket.server.versioned(NAME, true);
    bucket.server.page_size(1);
    // Encoded, the first sorts behind the second; as it is, before it.
    for (path, states) in [("~.py", 3), ("\u{e9}.py", 3), ("a.py", 2)] {
        (0..states).for_each(|i| put(&bucket, path, &format!("{path} {i}"), 10 * i));
    }
    bucket.server.delete(NAME, &format!("{PREFIX}\u{e9}.py"));
    let later = text_of(SystemTime::now() + Duration::from_secs(60));
    let synced = Harness::new().sync(&*bucket.strategy(&[("layout", "prefix"), ("at", &later)])).await.unwrap();
    assert_eq!(synced.manifest.version(), version(&files(&[("~.py", "~.py 2"), ("a.py", "a.py 1")])));
}
