//! The layout `published`: what a poll and a change cost, and what damage in the bucket leads to.

use dagsync_core::{Digest, ErrorKind, Filter};
use dagsync_testkit::Harness;
use dagsync_testkit::s3::{Action, Op, Rule};

use crate::bucket::{Bucket, NAME, PREFIX, files, version};

#[tokio::test]
async fn a_poll_is_one_conditional_get() {
    let bucket = Bucket::new();
    bucket.publish(&files(&[("a.py", "a"), ("b/c.py", "c")])).await.unwrap();
    let (harness, strategy) = (Harness::new(), bucket.strategy(&[]));
    let synced = harness.sync(&*strategy).await.unwrap();
    assert_eq!(synced.revision.as_str(), synced.manifest.version().to_string());
    bucket.server.clear_requests();
    assert_eq!(harness.resolve(&*strategy).await.unwrap(), synced.revision);
    let seen = bucket.server.requests();
    assert_eq!((seen.len(), seen[0].status), (1, Some(304)));
    assert!(seen[0].if_none_match.is_some());
}

#[tokio::test]
async fn a_cold_start_of_many_files_is_a_few_requests_and_a_change_four() {
    let bucket = Bucket::new();
    let contents: Vec<_> = (0..500).map(|i| (format!("d{}/dag_{i}.py", i % 7), format!("dag {i}"))).collect();
    let mut tree: Vec<(&str, &str)> =
        contents.iter().map(|(path, content)| (path.as_str(), content.as_str())).collect();
    tree.push(("empty.py", ""));
    tree.push(("twin.py", "dag 3"));
    bucket.publish(&files(&tree)).await.unwrap();
    let (mut harness, strategy) = (Harness::new(), bucket.strategy(&[]));
    bucket.server.clear_requests();
    let first = harness.sync(&*strategy).await.unwrap();
    assert_eq!(first.manifest.version(), version(&files(&tree)));
    assert_eq!(bucket.server.requests().len(), 4, "pointer, manifest, header and contents");
    harness.publish(&first).unwrap();

    tree[5].1 = "changed";
    bucket.publish(&files(&tree)).await.unwrap();
    bucket.server.clear_requests();
    let second = harness.sync(&*strategy).await.unwrap();
    assert_eq!(second.manifest.version(), version(&files(&tree)));
    assert_eq!((second.counts.written, bucket.server.requests().len()), (1, 4));
}

#[tokio::test]
async fn a_version_that_is_asked_for_by_name_is_brought_whatever_the_pointer_says() {
    let bucket = Bucket::new();
    let old = files(&[("a.py", "old")]);
    bucket.publish(&old).await.unwrap();
    bucket.publish(&files(&[("a.py", "new")])).await.unwrap();
    let pin = version(&old).to_string();
    let synced = Harness::new().sync(&*bucket.strategy(&[("version", &pin)])).await.unwrap();
    assert_eq!(synced.manifest.version(), version(&old));
    let nowhere = bucket.strategy(&[("version", &format!("sha256:{}", Digest::of("x")))]);
    let error = Harness::new().sync(&*nowhere).await.unwrap_err();
    assert!(error.kind() == ErrorKind::NotFound && error.to_string().contains("--list"), "{error}");
}

#[tokio::test]
async fn what_the_filter_leaves_out_is_not_fetched() {
    let bucket = Bucket::new();
    let large = "x".repeat(1_000_000);
    bucket.publish(&files(&[("a.py", "a"), ("data/large.bin", &large)])).await.unwrap();
    let mut harness = Harness::new();
    harness.filter = std::sync::Arc::new(Filter::new(&[], &["data".to_owned()]).unwrap());
    bucket.server.clear_requests();
    let synced = harness.sync(&*bucket.strategy(&[])).await.unwrap();
    assert_eq!(synced.manifest.version(), version(&files(&[("a.py", "a")])));
    assert!(bucket.server.requests().iter().all(|seen| !seen.key.contains("blobs/")));
}

#[tokio::test]
async fn damage_in_the_bucket_is_found_and_named() {
    let large = "x".repeat(1_000_000);
    let tree = files(&[("a.py", "a"), ("b.py", "b"), ("large.bin", &large)]);
    for (kind, kinds) in [
        ("dagsync.json", &[ErrorKind::Corrupt, ErrorKind::Changed][..]),
        ("manifests/", &[ErrorKind::Corrupt]),
        ("packs/", &[ErrorKind::Corrupt]),
        ("blobs/", &[ErrorKind::Corrupt, ErrorKind::Changed]),
    ] {
        let bucket = Bucket::new();
        bucket.publish(&tree).await.unwrap();
        let key = bucket.server.keys(NAME).into_iter().find(|key| key.starts_with(&format!("{PREFIX}{kind}"))).unwrap();
        let good = bucket.server.get(NAME, &key).unwrap();
        let (harness, strategy) = (Harness::new(), bucket.strategy(&[]));
        for at in [0, good.len() / 2, good.len() - 2] {
            let mut bad = good.clone();
            bad[at] ^= 1;
            bucket.server.put(NAME, &key, &bad);
            match harness.sync(&*strategy).await {
                Err(error) => assert!(kinds.contains(&error.kind()), "{key} at {at}: {error:?}"),
                // White space in the pointer says nothing.
                Ok(synced) => assert!(kind == "dagsync.json" && synced.manifest.version() == version(&tree)),
            }
            let elsewhere = Harness::new().sync(&*bucket.strategy(&[])).await;
            assert!(elsewhere.is_err() || kind == "dagsync.json", "{key} at {at}");
        }
        bucket.server.put(NAME, &key, &good[..good.len() - 1]);
        let cut = Harness::new().sync(&*bucket.strategy(&[])).await;
        assert!(cut.is_err() || kind == "dagsync.json", "{key} cut off");
        bucket.server.put(NAME, &key, &good);
        assert_eq!(harness.sync(&*strategy).await.unwrap().manifest.version(), version(&tree), "{key} mended");
    }
}

#[tokio::test]
async fn a_pointer_that_is_gone_is_an_error_and_never_a_folder_of_dags() {
    let bucket = Bucket::new();
    bucket.publish(&files(&[("a.py", "a")])).await.unwrap();
    let (harness, strategy) = (Harness::new(), bucket.strategy(&[]));
    harness.sync(&*strategy).await.unwrap();
    bucket.delete("dagsync.json");
    let error = harness.resolve(&*strategy).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound, "{error}");
    assert_eq!(bucket.server.count(Op::List), 1, "the publisher's own");
}

#[tokio::test]
async fn a_large_file_whose_body_breaks_off_once_is_fetched_again() {
    let bucket = Bucket::new();
    let large: String = (0..200_000).map(|i| i.to_string()).collect();
    let tree = files(&[("large.bin", &large), ("twin.bin", &large)]);
    bucket.publish(&tree).await.unwrap();
    for cut in [0, 1, 500_000] {
        bucket.server.inject(Rule::on(Op::Get, Action::Truncate(cut)).key("blobs/").times(1));
        let synced = Harness::new().sync(&*bucket.strategy(&[])).await.unwrap();
        assert_eq!(synced.manifest.version(), version(&tree));
        bucket.server.clear_faults();
    }
}

#[tokio::test]
async fn a_first_publish_is_seen_by_a_pod_whose_globs_hide_its_parts() {
    let bucket = Bucket::new();
    let (mut harness, strategy) = (Harness::new(), bucket.strategy(&[]));
    harness.filter = std::sync::Arc::new(Filter::new(&["**/*.py".to_owned()], &[]).unwrap());
    bucket.put("", "");
    assert!(harness.sync(&*strategy).await.unwrap().manifest.is_empty());
    bucket.publish(&files(&[("a.py", "a")])).await.unwrap();
    // At the latest by the second look.
    let _ = harness.sync(&*strategy).await;
    let synced = harness.sync(&*strategy).await.unwrap();
    assert_eq!(synced.manifest.version(), version(&files(&[("a.py", "a")])));
}
