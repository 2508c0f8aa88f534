//! A store that another process writes to.

use super::*;

/// A daemon of the same source and store as `story`'s.
fn beside(story: &Story) -> Story {
    let mut other = Story::new(&[]);
    other.config.root.clone_from(&story.config.root);
    Story { source: story.source.clone(), ..other }
}

#[tokio::test(start_paused = true)]
async fn a_second_daemon_stands_by_follows_and_writes_when_it_is_its_turn() {
    let story = Story::new(&[file("a.py", "1")]);
    let mut writer = story.open().await;
    let first = writer.sync(&story.token, None).await.unwrap();
    let mut other = beside(&story);
    other.config.max_failures = 0;
    let stands_on = |version| move |s: &Status| s.state == SyncState::Standby && s.version == Some(version);
    other.run_until(stands_on(first.version)).await.unwrap();
    assert_eq!(other.faults.calls(Call::Resolve), 0, "it does not ask the source");
    story.source.commit(&[file("a.py", "2")]);
    let second = writer.sync(&story.token, None).await.unwrap();
    other.run_until(stands_on(second.version)).await.unwrap();
    let status = other.board.read();
    assert_eq!((status.ready, status.writer, status.revision.as_ref()), (true, false, Some(&second.revision)));
    assert!(status.holder.as_ref().unwrap().starts_with("pid ") && status.last_success.is_some());
    assert!(other.counted("dagsync_store_writer 0") && other.counted("dagsync_state{state=\"standby\"} 1"));
    assert!(other.counted("dagsync_syncs_total{result=\"failed\"} 0"));
    drop(writer);
    let third = story.source.commit(&[file("a.py", "3")]);
    other.run_until(|s| s.writer && s.revision.as_ref() == Some(&third)).await.unwrap();
    assert!(other.counted("dagsync_store_writer 1") && other.read("a.py") == "3");
}

#[tokio::test(start_paused = true)]
async fn a_pod_that_stands_by_is_ready_only_with_a_good_version() {
    let story = Story::new(&[file("a.py", "1")]);
    let mut writer = story.open().await;
    let other = beside(&story);
    other.run_until(|s| s.holder.is_some()).await.unwrap();
    assert!(!other.board.read().ready);
    writer.sync(&story.token, None).await.unwrap();
    story.tamper("a.py", "by hand");
    other.run_until(|s| s.state == SyncState::Tampered).await.unwrap();
    assert!(!other.board.read().ready);
    writer.scrub(&story.token, ScrubMode::Full).await.unwrap();
    writer.sync(&story.token, None).await.unwrap();
    other.run_until(|s| s.state == SyncState::Standby && s.ready).await.unwrap();
}

#[tokio::test]
async fn who_loses_the_store_between_two_syncs_finds_out_before_it_asks_the_source_or_cries_wolf() {
    let story = Story::new(&[file("a.py", "1")]);
    let mut engine = story.open().await;
    engine.sync(&story.token, None).await.unwrap();
    let asked = story.faults.calls(Call::Resolve);
    let succeed = || {
        std::fs::remove_file(story.config.root.join(".dagsync/lock")).unwrap();
        crate::store::Store::from(&story.config).lock().unwrap()
    };
    let successor = succeed();
    assert_eq!(engine.sync(&story.token, None).await.unwrap_err().kind(), ErrorKind::Locked);
    assert_eq!((story.faults.calls(Call::Resolve), story.board.read().writer), (asked, false));
    assert_eq!(engine.open(&story.token).await.unwrap_err().kind(), ErrorKind::Locked);
    drop(successor);
    engine.open(&story.token).await.unwrap();
    let _successor = succeed();
    std::fs::remove_file(story.config.root.join("current")).unwrap();
    assert_eq!(engine.scrub(&story.token, ScrubMode::Stat).await.unwrap_err().kind(), ErrorKind::Locked);
    assert_eq!(story.board.read().state, SyncState::Converged, "a successor may turn the link");
}
