//! Pins and leaders: what is published is what they say, or nothing is.

use std::collections::BTreeMap;
use std::sync::Mutex;

use axum::extract::Query;
use axum::http::StatusCode;
use axum::response::IntoResponse as _;
use axum::routing::get;

use super::*;
use crate::client::Lead;
use crate::config::{Fallback, TargetMode};

/// A daemon that says what a test wants it to say.
#[derive(Clone, Default)]
struct Leader(Arc<Mutex<Option<Lead>>>, Arc<Mutex<Option<Turn>>>);

/// Done before an answer.
type Turn = Box<dyn Fn() + Send>;

impl Leader {
    fn says(&self, lead: Option<Lead>) {
        *self.0.lock().unwrap() = lead;
    }

    /// Does this before each answer.
    fn turns(&self, turn: impl Fn() + Send + 'static) {
        *self.1.lock().unwrap() = Some(Box::new(turn));
    }

    /// Its URL.
    async fn serve(&self) -> String {
        crate::install_crypto();
        let (said, turn) = (self.0.clone(), self.1.clone());
        let answer = move |Query(asked): Query<BTreeMap<String, String>>| {
            if let Some(turn) = &*turn.lock().unwrap() {
                turn();
            }
            let said = said.clone();
            async move {
                let known = |said: &Option<Lead>| said.as_ref().map(|lead| lead.version.to_string());
                while asked.contains_key("after") && known(&said.lock().unwrap()).as_ref() == asked.get("after") {
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
                let said = said.lock().unwrap().clone();
                said.map_or_else(|| StatusCode::SERVICE_UNAVAILABLE.into_response(), |s| axum::Json(s).into_response())
            }
        };
        let router = axum::Router::new().route("/v1/target", get(answer));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(async move { axum::serve(listener, router).await });
        url
    }
}

fn lead(report: &SyncReport) -> Lead {
    Lead {
        version: report.version,
        revision: Some(report.revision.clone()),
        strategy: "memory".to_owned(),
        filter_hash: Filter::default().hash().to_string(),
        via: Vec::new(),
    }
}

/// What two states of the source are, as a pod that follows its head sees them; a third, newer one is there as well.
async fn two_states() -> (Story, [SyncReport; 2]) {
    let mut story = Story::new(&[file("a.py", "1")]);
    let root = story.config.root.clone();
    story.config.root = root.with_file_name("head");
    let mut engine = story.open().await;
    let first = engine.sync(&story.token, None).await.unwrap();
    story.source.commit(&[file("a.py", "2")]);
    let second = engine.sync(&story.token, None).await.unwrap();
    engine.close().await;
    story.source.commit(&[file("a.py", "3")]);
    story.config.root = root;
    (story.afresh(), [first, second])
}

async fn follower(leaders: &[&Leader]) -> (Story, [SyncReport; 2]) {
    let (mut story, states) = two_states().await;
    story.config.target.mode = TargetMode::Leader;
    for leader in leaders {
        story.config.target.leader.push(serde_json::from_value(leader.serve().await.into()).unwrap());
    }
    (story, states)
}

async fn sync_until(engine: &mut Engine, story: &Story, wanted: Version) -> SyncReport {
    for _ in 0..200 {
        if let Ok(report) = engine.sync(&story.token, None).await
            && report.version == wanted
        {
            return report;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("{:?}", story.board.read());
}

/// Syncs until that fails as it should.
async fn fails_with(engine: &mut Engine, story: &Story, kind: ErrorKind) -> Error {
    for _ in 0..200 {
        match engine.sync(&story.token, None).await {
            Err(error) if error.kind() == kind => return error,
            _ => tokio::time::sleep(Duration::from_millis(50)).await,
        }
    }
    panic!("{:?}", story.board.read());
}

#[tokio::test]
async fn a_follower_moves_to_what_its_leader_is_on_and_never_to_a_newer_head() {
    let leader = Leader::default();
    let (story, [first, second]) = follower(&[&leader]).await;
    leader.says(Some(lead(&first)));
    let mut engine = story.open().await;
    let report = engine.sync(&story.token, None).await.unwrap();
    assert_eq!((report.version, &report.revision), (first.version, &first.revision));
    assert_eq!(story.read("a.py"), "1");
    let status = story.board.read();
    assert!(status.in_sync && status.target.version == Some(first.version) && status.target.leader_up == Some(true));
    leader.says(Some(lead(&second)));
    sync_until(&mut engine, &story, second.version).await;
    assert_eq!(story.read("a.py"), "2");
    assert_eq!(story.faults.calls(Call::Resolve), 0, "the head was never asked for");
    // Back again, as after a rollback: the store still has it.
    let brought = story.faults.calls(Call::Materialize);
    leader.says(Some(lead(&first)));
    sync_until(&mut engine, &story, first.version).await;
    assert_eq!((story.read("a.py").as_str(), story.faults.calls(Call::Materialize)), ("1", brought));
    let flips: Vec<_> = story.board.read().history.iter().map(|flip| flip.version).collect();
    assert_eq!(flips, [first.version, second.version, first.version]);
}

#[tokio::test]
async fn a_leader_that_lies_makes_nobody_publish_what_is_not_its_version() {
    let leader = Leader::default();
    let (story, [first, second]) = follower(&[&leader]).await;
    leader.says(Some(lead(&first)));
    let mut engine = story.open().await;
    engine.sync(&story.token, None).await.unwrap();
    leader.says(Some(Lead {
        revision: Some(second.revision.clone()),
        version: Version::from(dagsync_core::Digest::of("lie")),
        ..lead(&first)
    }));
    for _ in 0..2 {
        let error = fails_with(&mut engine, &story, ErrorKind::Mismatch).await;
        assert!(error.is_retryable() && error.to_string().contains(&second.version.to_string()), "{error}");
    }
    assert_eq!(story.read("a.py"), "1");
    assert_eq!(story.faults.calls(Call::Materialize), 2, "what was brought in vain is not brought again");
    let status = story.board.read();
    assert!(!status.in_sync && status.behind_since.is_some() && status.version == Some(first.version), "{status:?}");
}

#[tokio::test]
async fn leaders_that_disagree_or_read_under_other_globs_move_nobody() {
    let (one, other) = (Leader::default(), Leader::default());
    let (story, [first, second]) = follower(&[&one, &other]).await;
    one.says(Some(lead(&first)));
    other.says(Some(lead(&second)));
    let mut engine = story.open().await;
    let error = engine.sync(&story.token, None).await.unwrap_err();
    assert!(error.to_string().contains("they disagree"), "{error}");
    assert!(error.to_string().contains(&second.version.to_string()), "{error}");
    assert_eq!(story.faults.calls(Call::Materialize), 0);
    let status = story.board.read();
    assert!(!status.in_sync && status.target.error.is_some(), "{status:?}");
    let said: Vec<_> = status.target.leaders.iter().filter_map(|leader| leader.version).collect();
    assert_eq!(said, [first.version, second.version]);
    one.says(Some(lead(&second)));
    sync_until(&mut engine, &story, second.version).await;
    for leader in [&one, &other] {
        leader.says(Some(Lead { filter_hash: "sha256:other".to_owned(), ..lead(&first) }));
    }
    fails_with(&mut engine, &story, ErrorKind::Config).await;
    assert_eq!(story.read("a.py"), "2");
}

#[tokio::test]
async fn without_a_leader_the_version_is_held_and_then_the_fallback_counts() {
    let leader = Leader::default();
    let (mut story, [first, _]) = follower(&[&leader]).await;
    story.config.target.fallback_after = Duration::from_secs(3);
    leader.says(Some(lead(&first)));
    let mut engine = story.open().await;
    engine.sync(&story.token, None).await.unwrap();
    leader.says(None);
    story.board.wait_for(|status| status.target.leader_up == Some(false)).await;
    let held = engine.sync(&story.token, None).await.unwrap();
    assert_eq!(held.version, first.version, "its word still counts");
    fails_with(&mut engine, &story, ErrorKind::Unreachable).await;
    assert_eq!(story.read("a.py"), "1");
    assert!(!engine.gives_up() && !story.board.read().in_sync);
}

#[tokio::test]
async fn without_a_leader_for_long_a_pod_may_follow_the_source_or_end() {
    let leader = Leader::default();
    let (mut story, _) = follower(&[&leader]).await;
    story.config.target.fallback_after = Duration::from_millis(200);
    story.config.target.fallback = Fallback::Head;
    let mut engine = story.open().await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    engine.sync(&story.token, None).await.unwrap();
    assert_eq!(story.read("a.py"), "3");
    engine.close().await;
    story.config.target.fallback = Fallback::Fail;
    let ended = run_loop(story.engine(), &story.config, &story.wake, &story.token, Until::Stopped).await;
    assert_eq!(ended.unwrap_err().kind(), ErrorKind::Unreachable);
    assert_eq!(story.read("a.py"), "3", "what is published stays");
}

#[tokio::test]
async fn a_pin_is_taken_from_the_source_from_the_store_or_not_at_all() {
    let (mut story, [first, second]) = two_states().await;
    story.config.pin_version = Some(first.version);
    story.config.pin_revision = Some(first.revision.clone());
    let mut engine = story.open().await;
    assert_eq!(engine.sync(&story.token, None).await.unwrap().version, first.version);
    engine.close().await;
    // By the version alone: the source cannot tell where that is, but the store has it.
    story.config.pin_revision = None;
    story.config.pin_version = Some(second.version);
    let mut engine = story.open().await;
    let error = engine.sync(&story.token, None).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Mismatch, "{error}");
    assert_eq!(story.read("a.py"), "1");
    engine.close().await;
    story.config.pin_version = None;
    let mut engine = story.open().await;
    engine.sync(&story.token, None).await.unwrap();
    engine.close().await;
    story.config.pin_version = Some(first.version);
    let mut engine = story.open().await;
    assert_eq!(engine.sync(&story.token, None).await.unwrap().revision, first.revision);
    assert_eq!(story.read("a.py"), "1");
}

/// Publishes `first` and then the newest; the folder of the first.
async fn left_behind(story: &mut Story, first: &SyncReport) -> PathBuf {
    story.config.pin_version = Some(first.version);
    story.config.pin_revision = Some(first.revision.clone());
    let mut engine = story.open().await;
    engine.sync(&story.token, None).await.unwrap();
    engine.close().await;
    let old = std::fs::canonicalize(story.config.root.join("current")).unwrap();
    (story.config.pin_version, story.config.pin_revision) = (None, None);
    let mut engine = story.open().await;
    engine.sync(&story.token, None).await.unwrap();
    engine.close().await;
    old
}

#[tokio::test]
async fn a_version_of_the_store_that_was_touched_is_not_restored() {
    let (mut story, [first, _]) = two_states().await;
    let old = left_behind(&mut story, &first).await;
    assert_eq!(story.read("a.py"), "3");
    std::fs::set_permissions(old.join("a.py"), PermissionsExt::from_mode(0o644)).unwrap();
    std::fs::write(old.join("a.py"), "evil").unwrap();
    story.config.pin_version = Some(first.version);
    story.config.pin_revision = Some(first.revision.clone());
    let mut engine = story.open().await;
    let error = engine.sync(&story.token, None).await.unwrap_err();
    assert_eq!((error.kind(), story.read("a.py").as_str()), (ErrorKind::Mismatch, "3"), "{error}");
    assert_eq!(engine.sync(&story.token, None).await.unwrap().version, first.version, "the source has it too");
    assert_eq!(story.read("a.py"), "1");
}

#[test]
fn settings_of_the_target_that_contradict_each_other_are_refused() {
    let mut story = Story::new(&[file("a.py", "1")]);
    let mut refused = |mode, word: &str| {
        story.config.target.mode = mode;
        let error = Target::new(&story.config, "memory", "").unwrap_err();
        assert!(error.kind() == ErrorKind::Config && error.to_string().contains(word), "{error}");
    };
    refused(TargetMode::Pin, "pin_version");
    refused(TargetMode::Leader, "target.leader");
}

#[tokio::test]
async fn the_fallback_counts_when_it_is_due_and_not_at_the_next_period() {
    let leader = Leader::default();
    let (mut story, [first, _]) = follower(&[&leader]).await;
    story.config.period = Duration::from_secs(3600);
    story.config.target.fallback_after = Duration::from_secs(2);
    story.config.target.fallback = Fallback::Fail;
    leader.says(Some(lead(&first)));
    story.run_until(|status| status.in_sync).await.unwrap();
    leader.says(None);
    let ended = run_loop(story.engine(), &story.config, &story.wake, &story.token, Until::Stopped).await;
    assert_eq!(ended.unwrap_err().kind(), ErrorKind::Unreachable);
}

#[tokio::test]
async fn pods_that_lead_each_other_are_told_so() {
    let leader = Leader::default();
    let (story, [first, _]) = follower(&[&leader]).await;
    leader.says(Some(Lead { via: vec!["other".to_owned(), crate::status::id().to_owned()], ..lead(&first) }));
    let error = story.open().await.sync(&story.token, None).await.unwrap_err();
    assert!(error.kind() == ErrorKind::Config && error.to_string().contains("this very pod"), "{error}");
}

#[tokio::test]
async fn two_daemons_behind_one_url_are_not_followed_back_and_forth_without_end() {
    let leader = Leader::default();
    let (story, [first, second]) = follower(&[&leader]).await;
    let asked = Arc::new(Mutex::new(0));
    let (other, count) = (leader.clone(), asked.clone());
    leader.turns(move || {
        let mut count = count.lock().unwrap();
        *count += 1;
        other.says(Some(lead(if *count % 2 == 0 { &first } else { &second })));
    });
    let _ = story.open().await.sync(&story.token, None).await;
    tokio::time::sleep(Duration::from_secs(4)).await;
    let asked = *asked.lock().unwrap();
    assert!((2..10).contains(&asked), "{asked} questions");
}

#[tokio::test]
async fn a_pod_that_stands_by_on_another_version_than_its_pin_says_so() {
    let (mut story, [first, second]) = two_states().await;
    story.config.pin_version = Some(first.version);
    story.config.pin_revision = Some(first.revision);
    let mut writer = story.open().await;
    writer.sync(&story.token, None).await.unwrap();
    let mut other = story.afresh();
    (other.config.pin_version, other.config.pin_revision) = (Some(second.version), None);
    other.config.timeout = Duration::from_secs(2);
    let error = run_once(other.engine(), &other.config, &other.wake, &other.token).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Mismatch, "{error}");
    let status = other.board.read();
    assert!(!status.in_sync && status.target.version == Some(second.version), "{status:?}");
}

#[tokio::test]
async fn a_version_of_the_store_that_lost_a_file_is_brought_from_the_source() {
    let (mut story, [first, _]) = two_states().await;
    story.source.commit(&[file("b.py", "1")]);
    let old = left_behind(&mut story, &first).await;
    std::fs::set_permissions(&old, PermissionsExt::from_mode(0o755)).unwrap();
    std::fs::remove_file(old.join("a.py")).unwrap();
    story.config.pin_version = Some(first.version);
    story.config.pin_revision = Some(first.revision.clone());
    let mut engine = story.open().await;
    let error = engine.sync(&story.token, None).await.unwrap_err();
    assert!(error.to_string().contains("the store's copy"), "{error}");
    assert_eq!(engine.sync(&story.token, None).await.unwrap().version, first.version);
}

#[tokio::test]
async fn a_name_that_the_source_does_not_know_is_only_a_hint() {
    let (mut story, _) = two_states().await;
    let newest = story.source.revision().unwrap();
    let mut head = story.open().await;
    let version = head.sync(&story.token, None).await.unwrap().version;
    head.close().await;
    story.config.root = story.config.root.with_file_name("pinned");
    let mut story = story.afresh();
    story.config.pin_version = Some(version);
    story.config.pin_revision = Some(Revision::new("memory-99"));
    let mut engine = story.open().await;
    let error = engine.sync(&story.token, None).await.unwrap_err();
    assert!(error.is_retryable(), "{error}");
    assert_eq!(engine.sync(&story.token, None).await.unwrap().revision, newest);
}
