//! The publisher: what it uploads, who wins a race, what a broken server or process leaves behind.

use std::time::Duration;

use dagsync_core::ErrorKind;
use dagsync_strategy_s3::Keep;
use dagsync_testkit::s3::{Action, Op, Rule, S3Double};
use dagsync_testkit::{Harness, oracle};

use crate::bucket::{Bucket, NAME, PREFIX, SOURCE, files, local, version};

const NOTHING_YOUNG: Keep = Keep { versions: 1, age: Duration::ZERO };

async fn read(bucket: &Bucket) -> dagsync_core::Version {
    Harness::new().sync(&*bucket.strategy(&[])).await.unwrap().manifest.version()
}

#[tokio::test]
async fn only_what_is_new_is_uploaded() {
    let bucket = Bucket::new();
    let large = "x".repeat(1_000_000);
    let first = files(&[("a.py", "a"), ("b.py", "b"), ("large.bin", &large)]);
    let outcome = bucket.publish(&first).await.unwrap();
    assert_eq!((outcome.published, outcome.previous, outcome.uploaded_objects), (true, None, 3));
    let again = bucket.publish(&first).await.unwrap();
    assert_eq!((again.published, again.previous, again.uploaded_objects), (false, Some(version(&first)), 0));
    bucket.server.clear_requests();
    let second = bucket.publish(&files(&[("a.py", "a"), ("b.py", "B"), ("large.bin", &large)])).await.unwrap();
    assert_eq!(second.uploaded_objects, 2, "a pack and the manifest");
    assert!(bucket.server.requests().iter().all(|seen| seen.op != Op::Put || !seen.key.contains("blobs/")));
}

#[tokio::test]
async fn a_dry_run_writes_nothing() {
    let bucket = Bucket::new();
    let folder = tempfile::tempdir().unwrap();
    oracle::lay_out(&files(&[("a.py", "a")]), folder.path()).unwrap();
    let outcome = bucket.publisher(&[]).publish(local(folder.path()), true).await.unwrap();
    assert_eq!((outcome.published, outcome.uploaded_objects), (false, 2));
    assert!(bucket.server.keys(NAME).is_empty() && bucket.server.count(Op::Put) == 0);
}

#[tokio::test]
async fn of_two_publishers_one_wins_and_the_other_is_told() {
    let bucket = Bucket::new();
    let (first, theirs) = (files(&[("a.py", "0")]), files(&[("a.py", "theirs")]));
    let pointer = format!("{PREFIX}dagsync.json");
    bucket.publish(&first).await.unwrap();
    bucket.publish(&theirs).await.unwrap();
    let on_theirs = bucket.server.get(NAME, &pointer).unwrap();
    bucket.publisher(&[]).select(&version(&first), false).await.unwrap();
    // The other one moves the pointer right before ours does.
    let race = move |server: &S3Double| drop(server.put(NAME, &pointer, &on_theirs));
    bucket.server.inject(Rule::on(Op::Put, Action::run(race)).key("versions/").times(1));
    let folder = tempfile::tempdir().unwrap();
    oracle::lay_out(&files(&[("a.py", "ours")]), folder.path()).unwrap();
    let ours = bucket.publisher(&[]).publish(local(folder.path()), false).await;
    let error = ours.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Mismatch, "{error:?}");
    let mine = version(&files(&[("a.py", "ours")]));
    assert!(error.to_string().contains(&format!("--version {mine} {SOURCE}/")), "{error}");
    assert_eq!(read(&bucket).await, version(&theirs));
    let listed = bucket.publisher(&[]).list().await.unwrap();
    assert_eq!(listed.len(), 3, "nothing is lost");
    bucket.publisher(&[]).select(&mine, false).await.unwrap();
    assert_eq!(read(&bucket).await, mine);
}

#[tokio::test]
async fn an_answer_that_was_lost_is_no_conflict() {
    let bucket = Bucket::new();
    bucket.publish(&files(&[("a.py", "0")])).await.unwrap();
    bucket.server.inject(Rule::on(Op::Put, Action::Lost).key("dagsync.json").times(1));
    let outcome = bucket.publish(&files(&[("a.py", "1")])).await.unwrap();
    assert!(outcome.published);
}

#[tokio::test]
async fn a_conflict_at_the_same_moment_is_tried_again() {
    let bucket = Bucket::new();
    bucket.publish(&files(&[("a.py", "0")])).await.unwrap();
    let busy = Action::status(409, "ConditionalRequestConflict");
    bucket.server.inject(Rule::on(Op::Put, busy).key("dagsync.json").times(2));
    assert!(bucket.publish(&files(&[("a.py", "1")])).await.unwrap().published);
}

#[tokio::test]
async fn a_server_that_ignores_conditions_is_refused_unless_that_is_allowed() {
    let bucket = Bucket::new();
    bucket.server.ignore_conditions(true);
    let folder = tempfile::tempdir().unwrap();
    oracle::lay_out(&files(&[("a.py", "a")]), folder.path()).unwrap();
    let error = bucket.publisher(&[]).publish(local(folder.path()), false).await.unwrap_err();
    assert!(error.kind() == ErrorKind::Refused && error.to_string().contains("s3.conditional_writes"), "{error}");
    assert!(bucket.server.keys(NAME).is_empty(), "{:?}", bucket.server.keys(NAME));
    bucket.publisher(&[("conditional_writes", "off")]).publish(local(folder.path()), false).await.unwrap();
    assert_eq!(read(&bucket).await, version(&files(&[("a.py", "a")])));
}

#[tokio::test]
async fn a_server_that_wants_bare_etags_is_spoken_to_in_its_way() {
    let bucket = Bucket::new();
    bucket.server.unquoted_etags_only(true);
    for content in ["1", "2", "3"] {
        assert!(bucket.publish(&files(&[("a.py", content)])).await.unwrap().published);
    }
    let moved =
        bucket.server.requests().into_iter().rfind(|seen| seen.op == Op::Put && seen.key.ends_with("dagsync.json"));
    assert!(moved.unwrap().if_match.is_some_and(|etag| !etag.contains('"')));
}

#[tokio::test]
async fn a_rollback_moves_the_pointer_and_uploads_nothing() {
    let bucket = Bucket::new();
    let (old, new) = (files(&[("a.py", "old")]), files(&[("a.py", "new")]));
    bucket.publish(&old).await.unwrap();
    bucket.publish(&new).await.unwrap();
    bucket.server.clear_requests();
    let outcome = bucket.publisher(&[]).select(&version(&old), false).await.unwrap();
    assert_eq!((outcome.published, outcome.previous, outcome.uploaded_objects), (true, Some(version(&new)), 0));
    assert!(bucket.server.requests().iter().all(|s| s.op != Op::Put || !s.key.contains("packs/")));
    assert_eq!(read(&bucket).await, version(&old));
    // The folder of a version that is there need not be uploaded either.
    assert_eq!(bucket.publish(&new).await.unwrap().uploaded_objects, 0);
    let missing = bucket.publisher(&[]).select(&version(&files(&[("b", "b")])), false).await.unwrap_err();
    assert_eq!(missing.kind(), ErrorKind::NotFound, "{missing}");
}

#[tokio::test]
async fn prune_removes_old_versions_and_leftovers_and_nothing_else() {
    let bucket = Bucket::new();
    let large = |text: &str| text.repeat(300_000);
    let tree = |i: usize| files(&[("a.py", &i.to_string()), ("large.bin", &large(&i.to_string()))]);
    for i in 0..4 {
        bucket.publish(&tree(i)).await.unwrap();
    }
    bucket.put("packs/0000000000000000000000000000000000000000000000000000000000000000", "left by a kill");
    bucket.put("notes.txt", "of somebody else");
    let publisher = bucket.publisher(&[]);
    let young = publisher.prune(Keep { versions: 1, age: Duration::from_secs(3600) }, false).await.unwrap();
    assert_eq!((young.versions.len(), young.objects), (0, 0), "what is young stays");
    let dry = publisher.prune(NOTHING_YOUNG, true).await.unwrap();
    let before = bucket.server.keys(NAME);
    let swept = publisher.prune(NOTHING_YOUNG, false).await.unwrap();
    assert_eq!((swept.versions.len(), swept.objects, swept.bytes), (dry.versions.len(), dry.objects, dry.bytes));
    assert_eq!(swept.versions.len(), 3);
    let after = bucket.server.keys(NAME);
    assert_eq!((before.len() - after.len()) as u64, swept.objects);
    assert_eq!(after.len(), 6, "pointer, record, manifest, pack, blob and the notes: {after:?}");
    assert_eq!(read(&bucket).await, version(&tree(3)));
}

#[tokio::test]
async fn prune_keeps_the_current_version_however_old() {
    let bucket = Bucket::new();
    for i in 0..3 {
        bucket.publish(&files(&[("a.py", &i.to_string())])).await.unwrap();
    }
    let first = version(&files(&[("a.py", "0")]));
    bucket.publisher(&[]).select(&first, false).await.unwrap();
    let swept = bucket.publisher(&[]).prune(NOTHING_YOUNG, false).await.unwrap();
    assert_eq!(swept.versions.len(), 2);
    assert_eq!(read(&bucket).await, first);
}

#[tokio::test]
async fn a_prefix_with_other_objects_is_not_published_to() {
    let bucket = Bucket::new();
    bucket.put("dag.py", "of aws s3 sync");
    let error = bucket.publish(&files(&[("a.py", "a")])).await.unwrap_err();
    assert!(error.kind() == ErrorKind::Refused && error.to_string().contains("dag.py"), "{error}");
    assert_eq!(bucket.server.keys(NAME), [format!("{PREFIX}dag.py")]);
}

#[tokio::test]
async fn a_folder_that_changes_while_it_is_published_publishes_nothing() {
    let bucket = Bucket::new();
    let folder = tempfile::tempdir().unwrap();
    for (path, size) in [("small.py", 10), ("large.bin", 1_000_000)] {
        oracle::lay_out(&files(&[("small.py", "0123456789"), ("large.bin", &"x".repeat(1_000_000))]), folder.path())
            .unwrap();
        let local = local(folder.path());
        std::fs::write(folder.path().join(path), "y".repeat(size)).unwrap();
        let error = bucket.publisher(&[]).publish(local, false).await.unwrap_err();
        assert!(error.kind() == ErrorKind::Changed && error.to_string().contains(path), "{error}");
        assert!(bucket.server.get(NAME, &format!("{PREFIX}dagsync.json")).is_none());
    }
}

#[tokio::test]
async fn prune_goes_by_the_pointer_also_where_its_record_is_gone() {
    let bucket = Bucket::new();
    let tree = files(&[("a.py", "a"), ("large.bin", &"x".repeat(400_000))]);
    bucket.publish(&tree).await.unwrap();
    bucket.delete(&format!("versions/{}.json", version(&tree).hex()));
    bucket.publisher(&[]).prune(NOTHING_YOUNG, false).await.unwrap();
    assert_eq!(read(&bucket).await, version(&tree));
}

#[tokio::test]
async fn prune_spares_what_a_server_with_a_clock_ahead_has_just_got() {
    let bucket = Bucket::new();
    bucket.publish(&files(&[("a.py", "a")])).await.unwrap();
    let pack = format!("packs/{}", dagsync_core::Digest::of("on its way"));
    bucket.put(&pack, "of a version that is being published");
    let ahead = std::time::SystemTime::now() + Duration::from_secs(3600);
    bucket.server.set_modified(NAME, &format!("{PREFIX}{pack}"), ahead);
    let swept = bucket.publisher(&[]).prune(Keep { versions: 1, age: Duration::from_secs(60) }, false).await.unwrap();
    assert_eq!(swept.objects, 0);
}

#[tokio::test]
async fn what_lies_in_a_folder_of_that_name_is_somebody_elses() {
    let bucket = Bucket::new();
    bucket.put("versions/dag.py", "a DAG");
    let error = bucket.publish(&files(&[("a.py", "a")])).await.unwrap_err();
    assert!(error.kind() == ErrorKind::Refused && error.to_string().contains("versions/dag.py"), "{error}");
}

#[tokio::test]
async fn a_later_revision_of_a_version_that_is_there_is_noted() {
    let bucket = Bucket::new();
    let (one, two) = (files(&[("a.py", "1")]), files(&[("a.py", "2")]));
    bucket.publish(&one).await.unwrap();
    bucket.publish(&two).await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    oracle::lay_out(&one, folder.path()).unwrap();
    let publisher = bucket.publisher(&[]);
    let again = dagsync_strategy_s3::Local { revision: Some("revert".to_owned()), ..local(folder.path()) };
    publisher.publish(again, false).await.unwrap();
    let current = publisher.list().await.unwrap().into_iter().find(|release| release.is_current).unwrap();
    assert_eq!(current.record.revision.as_deref(), Some("revert"));
}
