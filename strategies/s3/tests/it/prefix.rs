//! The layout `prefix`: what a poll and a change cost, and what is made of strange buckets.

use dagsync_core::{ErrorKind, Limits};
use dagsync_testkit::Harness;
use dagsync_testkit::s3::{Action, Op, PutOptions, Rule, sha256};

use crate::bucket::{Bucket, NAME, PREFIX, files, version};

#[tokio::test]
async fn a_poll_is_one_listing_and_a_change_one_get() {
    let bucket = Bucket::new();
    (0..50).for_each(|i| bucket.put(&format!("dag_{i}.py"), format!("dag {i}")));
    let (mut harness, strategy) = (Harness::new(), bucket.strategy(&[]));
    let first = harness.sync(&*strategy).await.unwrap();
    harness.publish(&first).unwrap();
    bucket.server.clear_requests();
    assert_eq!(harness.resolve(&*strategy).await.unwrap(), first.revision);
    assert_eq!((bucket.server.count(Op::List), bucket.server.requests().len()), (1, 1));

    bucket.put("dag_7.py", "Dag 7");
    bucket.server.clear_requests();
    let second = harness.sync(&*strategy).await.unwrap();
    assert_eq!((bucket.server.count(Op::List), bucket.server.count(Op::Get)), (2, 1));
    assert_eq!((second.counts.written, second.counts.linked), (1, 49));
    let get = bucket.server.requests().into_iter().find(|seen| seen.op == Op::Get).unwrap();
    assert!(get.key.ends_with("dag_7.py") && get.if_match.is_some());

    // After a restart the index still counts.
    harness.publish(&second).unwrap();
    bucket.server.clear_requests();
    let restarted = harness.sync(&*bucket.strategy(&[])).await.unwrap();
    assert_eq!(
        (restarted.counts.linked, bucket.server.count(Op::Get)),
        (50, 1),
        "one for the pointer that is not there"
    );
}

#[tokio::test]
async fn equal_size_in_the_same_second_is_found_each_time() {
    let bucket = Bucket::new();
    bucket.put("a.py", "0000");
    let (mut harness, strategy) = (Harness::new(), bucket.strategy(&[]));
    let mut before = harness.sync(&*strategy).await.unwrap();
    for round in 1..=50 {
        harness.publish(&before).unwrap();
        let content = format!("{round:04}");
        bucket.put("a.py", &content);
        let now = harness.sync(&*strategy).await.unwrap();
        assert_eq!(now.manifest.version(), version(&files(&[("a.py", &content)])), "round {round}");
        before = now;
    }
}

#[tokio::test]
async fn a_key_beside_the_prefix_is_none_below_it() {
    let bucket = Bucket::new();
    bucket.put("a.py", "a");
    for other in ["team/dags2/b.py", "team/dags.py", "team/c.py", "b.py"] {
        bucket.server.put(NAME, other, "other");
    }
    bucket.server.put(NAME, PREFIX, "");
    bucket.put("folder/", "");
    let synced = Harness::new().sync(&*bucket.strategy(&[])).await.unwrap();
    assert_eq!(synced.manifest.version(), version(&files(&[("a.py", "a")])));
}

#[tokio::test]
async fn a_multipart_object_counts_by_its_content() {
    let bucket = Bucket::new();
    let large: Vec<u8> = (0..5_000_000u32).map(|i| (i % 251) as u8).collect();
    let options = PutOptions {
        etag: Some("d41d8cd98f00b204e9800998ecf8427e-2".to_owned()),
        sha256: Some(format!("{}-2", sha256("parts"))),
        ..PutOptions::default()
    };
    bucket.server.put_with(NAME, &format!("{PREFIX}large.bin"), &large, options);
    let synced = Harness::new().sync(&*bucket.strategy(&[])).await.unwrap();
    assert_eq!(synced.manifest.entries()[0].digest, dagsync_core::Digest::of(&large));
}

#[tokio::test]
async fn a_large_object_that_was_uploaded_again_is_kept() {
    let bucket = Bucket::new();
    bucket.server.opaque_etags(true);
    let large = vec![7; 3_000_000];
    bucket.put("large.bin", &large);
    let (mut harness, strategy) = (Harness::new(), bucket.strategy(&[]));
    let first = harness.sync(&*strategy).await.unwrap();
    harness.publish(&first).unwrap();
    // Another ETag, and no checksum that would tell: it is fetched, and found to be the same.
    bucket.put("large.bin", &large);
    let second = harness.sync(&*strategy).await.unwrap();
    assert_ne!(first.revision, second.revision);
    assert_eq!((second.counts.linked, second.counts.written), (1, 0));
    // With the SHA-256 of the whole object stored, it need not be fetched.
    harness.publish(&second).unwrap();
    let options = PutOptions { sha256: Some(sha256(&large)), ..PutOptions::default() };
    bucket.server.put_with(NAME, &format!("{PREFIX}large.bin"), &large, options);
    bucket.server.clear_requests();
    let third = harness.sync(&*strategy).await.unwrap();
    assert_eq!((third.counts.linked, bucket.server.count(Op::Head), bucket.server.count(Op::Get)), (1, 1, 0));
}

#[tokio::test]
async fn what_is_not_what_its_stored_sha256_says_is_damaged() {
    let bucket = Bucket::new();
    let options = PutOptions { sha256: Some(sha256("something else")), ..PutOptions::default() };
    bucket.server.put_with(NAME, &format!("{PREFIX}a.py"), "a", options);
    let error = Harness::new().sync(&*bucket.strategy(&[])).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
}

#[tokio::test]
async fn an_archived_object_is_named() {
    let bucket = Bucket::new();
    bucket.put("a.py", "a");
    let options = PutOptions { storage_class: Some("GLACIER".to_owned()), ..PutOptions::default() };
    bucket.server.put_with(NAME, &format!("{PREFIX}old/b.py"), "b", options);
    let error = Harness::new().sync(&*bucket.strategy(&[])).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Refused);
    assert!(error.to_string().contains("s3://bucket/team/dags/old/b.py is archived (GLACIER)"), "{error}");
}

#[tokio::test]
async fn limits_hold_before_anything_is_downloaded() {
    let bucket = Bucket::new();
    (0..20).for_each(|i| bucket.put(&format!("dag_{i}.py"), "x"));
    let mut harness = Harness::new();
    harness.limits = Limits { files: 10, ..Limits::default() };
    let error = harness.sync(&*bucket.strategy(&[("layout", "prefix")])).await.unwrap_err();
    assert_eq!((error.kind(), bucket.server.count(Op::Get)), (ErrorKind::LimitExceeded, 0));
}

#[tokio::test]
async fn a_published_prefix_that_lost_its_pointer_is_no_folder_of_dags() {
    let bucket = Bucket::new();
    bucket.publish(&files(&[("a.py", "a")])).await.unwrap();
    bucket.delete("dagsync.json");
    let error = Harness::new().sync(&*bucket.strategy(&[])).await.unwrap_err();
    assert!(error.kind() == ErrorKind::Refused && error.to_string().contains("has no pointer"), "{error}");
}

#[tokio::test]
async fn a_write_between_two_pages_is_never_brought() {
    let bucket = Bucket::new();
    bucket.server.page_size(2);
    let state =
        |text: &str| -> Vec<(String, String)> { (0..6).map(|i| (format!("{i}.py"), text.to_owned())).collect() };
    let put = |text: &str| state(text).iter().for_each(|(path, content)| bucket.put(path, content));
    put("old");
    let change = |server: &dagsync_testkit::s3::S3Double| {
        (0..6).for_each(|i| drop(server.put(NAME, &format!("{PREFIX}{i}.py"), "new")));
    };
    // After the first page of the first listing, and after that of the one that checks it.
    for skip in [1, 4] {
        put("old");
        bucket.server.inject(Rule::on(Op::List, Action::run(change)).skip(skip).times(1));
        let (harness, strategy) = (Harness::new(), bucket.strategy(&[("layout", "prefix")]));
        let error = harness.sync(&*strategy).await.unwrap_err();
        assert!(error.kind() == ErrorKind::Changed && error.is_retryable(), "{error}");
        let synced = harness.sync(&*strategy).await.unwrap();
        let new = state("new");
        let new: Vec<_> = new.iter().map(|(path, content)| (path.as_str(), content.as_str())).collect();
        assert_eq!(synced.manifest.version(), version(&files(&new)));
        bucket.server.clear_faults();
    }
}

#[tokio::test]
async fn pages_that_are_known_are_asked_for_at_once_and_change_nothing() {
    let bucket = Bucket::new();
    bucket.server.page_size(10);
    let mut tree: Vec<(String, String)> = (0..95).map(|i| (format!("{:02}.py", i), format!("dag {i}"))).collect();
    tree.iter().for_each(|(path, content)| bucket.put(path, content));
    let (mut harness, strategy) = (Harness::new(), bucket.strategy(&[("layout", "prefix")]));
    let first = harness.sync(&*strategy).await.unwrap();
    harness.publish(&first).unwrap();
    bucket.server.clear_requests();
    assert_eq!(harness.resolve(&*strategy).await.unwrap(), first.revision);
    let seen = bucket.server.requests();
    assert_eq!(seen.len(), 10, "as many requests as one after another");
    assert_eq!(seen.iter().filter(|seen| seen.parameter("start-after").is_some()).count(), 9);
    // New objects before, between and behind the pages, and a page that is gone as a whole.
    for path in ["+.py", "09a.py", "10.py.bak", "99.py", "zz/z.py"] {
        bucket.put(path, path);
        tree.push((path.to_owned(), path.to_owned()));
    }
    tree.retain(|(path, _)| !(path.starts_with('4') || path == "59.py"));
    (40..50).chain([59]).for_each(|i| bucket.delete(&format!("{i}.py")));
    for _ in 0..3 {
        let synced = harness.sync(&*strategy).await.unwrap();
        let want: Vec<_> = tree.iter().map(|(path, content)| (path.as_str(), content.as_str())).collect();
        assert_eq!(synced.manifest.version(), version(&files(&want)));
        harness.publish(&synced).unwrap();
        let listed = Harness::new().sync(&*bucket.strategy(&[("layout", "prefix")])).await.unwrap();
        assert_eq!(listed.revision, synced.revision, "the name does not depend on the pages");
        (0..30).for_each(|i| bucket.put(&format!("5{i}x.py"), "x"));
        tree.retain(|(path, _)| !path.ends_with("x.py"));
        tree.extend((0..30).map(|i| (format!("5{i}x.py"), "x".to_owned())));
    }
}

#[tokio::test]
async fn a_mistyped_prefix_is_an_error_and_no_empty_tree() {
    let bucket = Bucket::new();
    bucket.server.put(NAME, "team/dagz/a.py", "a");
    for layout in ["auto", "prefix"] {
        let error = Harness::new().sync(&*bucket.strategy(&[("layout", layout)])).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotFound, "{error}");
        assert!(error.to_string().contains("s3://bucket/team/dags/ holds no object"), "{error}");
    }
    bucket.put("", "");
    assert!(Harness::new().sync(&*bucket.strategy(&[])).await.unwrap().manifest.is_empty());
}
