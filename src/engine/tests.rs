use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use dagsync_core::fs::Folder;
use dagsync_core::index::StatIndex;
use dagsync_core::tree::Reading;
use dagsync_core::{ChangeKind, InPlace, SymlinkPolicy, Version, async_trait, hash_tree};
use dagsync_testkit::{Call, Edit, Fault, FaultStrategy, Faults, MemorySource, MemoryStrategy, delete, file};

use super::*;
use crate::config::{self, Inputs};
use crate::daemon::Until;
use crate::status::{Status, SyncState};
use crate::store::ScrubMode;

/// A daemon's engine over a source in memory, with a loop that a test can let run.
pub(super) struct Story {
    _home: tempfile::TempDir,
    pub(super) source: MemorySource,
    pub(super) faults: Faults,
    pub(super) config: Config,
    pub(super) board: StatusBoard,
    pub(super) metrics: Metrics,
    pub(super) token: CancellationToken,
    wake: Wake,
}

impl Story {
    pub(super) fn new(files: &[Edit]) -> Self {
        let home = tempfile::tempdir().unwrap();
        let source = MemorySource::new();
        source.commit(files);
        let mut config = config::load(&crate::strategies(), &Inputs::default()).unwrap().config;
        config.root = home.path().join("dags");
        config.http.bind = None;
        config.scrub.interval = Duration::ZERO;
        let filter = Filter::default();
        let board = StatusBoard::new(&config.pod, "memory", "memory".into(), filter.hash(), SystemTime::now());
        let (faults, metrics, token, wake) = Default::default();
        Self { _home: home, source, faults, config, board, metrics, token, wake }
    }

    /// The same with a process that knows nothing yet.
    fn afresh(mut self) -> Self {
        let status = self.board.read();
        let filter = Filter::default();
        self.board =
            StatusBoard::new(&self.config.pod, "memory", status.source.clone(), filter.hash(), SystemTime::now());
        (self.faults, self.metrics) = Default::default();
        self
    }

    pub(super) fn engine(&self) -> Engine {
        let strategy = FaultStrategy::new(MemoryStrategy::new(self.source.clone()), self.faults.clone());
        self.engine_with(Arc::new(strategy))
    }

    fn engine_with(&self, strategy: Arc<dyn Strategy>) -> Engine {
        let (board, metrics, progress) = (self.board.clone(), self.metrics.clone(), Progress::default());
        let target = Target::new(&self.config, "memory", &Filter::default().hash().to_string()).unwrap();
        target.watch(&self.board, &self.wake, &self.token);
        let parts = Parts { name: "memory".to_owned(), strategy, board, target, metrics, progress };
        Engine::new(&self.config, parts, Arc::default())
    }

    pub(super) async fn open(&self) -> Engine {
        let mut engine = self.engine();
        engine.open(&self.token).await.unwrap();
        engine
    }

    /// Runs the loop until the status is as wanted; time is paused, so waiting takes none.
    pub(super) async fn run_until(&self, wanted: impl Fn(&Status) -> bool) -> Result<()> {
        let seen = async {
            while !wanted(&self.board.read()) {
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        };
        tokio::select! {
            ended = run_loop(self.engine(), &self.config, &self.wake, &self.token, Until::Stopped) => ended,
            () = seen => Ok(()),
        }
    }

    fn current(&self, path: &str) -> PathBuf {
        self.config.root.join("current").join(path)
    }

    pub(super) fn read(&self, path: &str) -> String {
        std::fs::read_to_string(self.current(path)).unwrap()
    }

    pub(super) fn tamper(&self, path: &str, content: &str) {
        let file = self.current(path);
        std::fs::set_permissions(&file, PermissionsExt::from_mode(0o644)).unwrap();
        std::fs::write(file, content).unwrap();
    }

    pub(super) fn counted(&self, line: &str) -> bool {
        self.metrics.encode(&self.board.read()).lines().any(|l| l == line)
    }
}

#[tokio::test]
async fn a_sync_publishes_and_a_second_one_does_nothing() {
    let story = Story::new(&[file("a.py", "1"), file("b.py", "2")]);
    let mut engine = story.open().await;
    let first = engine.sync(&story.token, None).await.unwrap();
    assert!(first.published && first.counts.written == 2 && first.files == 2);
    let again = engine.sync(&story.token, None).await.unwrap();
    assert!(!again.published && again.version == first.version);
    assert_eq!(story.faults.calls(Call::Materialize), 1, "an unchanged revision is not brought again");
    let status = story.board.read();
    assert_eq!((status.state, status.version, status.ready), (SyncState::Converged, Some(first.version), true));
    story.source.commit(&[file("a.py", "3")]);
    let update = engine.sync(&story.token, None).await.unwrap();
    assert_eq!((update.counts.written, update.counts.linked), (1, 1));
}

#[tokio::test]
async fn equal_content_under_a_new_revision_moves_the_revision_only() {
    let story = Story::new(&[file("a.py", "1")]);
    let mut engine = story.open().await;
    let first = engine.sync(&story.token, None).await.unwrap();
    let link = std::fs::read_link(story.config.root.join("current")).unwrap();
    let revision = story.source.commit(&[]);
    let second = engine.sync(&story.token, None).await.unwrap();
    assert!(!second.published && second.version == first.version && second.revision == revision);
    assert_eq!(story.board.read().revision, Some(revision));
    assert_eq!(std::fs::read_link(story.config.root.join("current")).unwrap(), link);
}

#[tokio::test]
async fn whatever_fails_the_last_good_version_stays() {
    let story = Story::new(&[file("a.py", "1")]);
    let mut engine = story.open().await;
    let good = engine.sync(&story.token, None).await.unwrap();
    story.source.commit(&[file("a.py", "2"), file("b.py", "2")]);
    let kinds = [ErrorKind::Unreachable, ErrorKind::NotFound, ErrorKind::Unauthorized, ErrorKind::Corrupt];
    story.faults.next(Call::Resolve, kinds.map(Fault::Error));
    story.faults.next(Call::Materialize, kinds.map(Fault::Late));
    story.faults.next(Call::Materialize, [Fault::Cut { files: 1 }, Fault::Panic]);
    for attempt in 0..10 {
        engine.sync(&story.token, None).await.unwrap_err();
        assert_eq!(story.read("a.py"), "1", "attempt {attempt}");
        let drafts = std::fs::read_dir(story.config.root.join(".dagsync/staging")).unwrap().count();
        assert_eq!(drafts, 0, "attempt {attempt}");
    }
    assert!(engine.sync(&story.token, None).await.unwrap().version != good.version);
    assert_eq!(story.read("b.py"), "2");
}

#[tokio::test]
async fn a_source_that_becomes_empty_does_not_delete_every_dag() {
    let mut story = Story::new(&[file("a.py", "1")]);
    let mut engine = story.open().await;
    engine.sync(&story.token, None).await.unwrap();
    story.source.commit(&[delete("a.py")]);
    let error = engine.sync(&story.token, None).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Refused);
    assert_eq!(story.read("a.py"), "1");
    drop(engine);
    story.config.allow_empty = true;
    let mut engine = story.open().await;
    assert_eq!(engine.sync(&story.token, None).await.unwrap().files, 0);
}

#[tokio::test]
async fn a_touched_file_is_named_counted_and_repaired() {
    let story = Story::new(&[file("a.py", "1"), file("b.py", "2")]);
    let mut engine = story.open().await;
    let good = engine.sync(&story.token, None).await.unwrap();
    story.tamper("a.py", "by hand");
    let report = engine.scrub(&story.token, ScrubMode::Stat).await.unwrap().unwrap();
    assert_eq!(report.changes[0].path.as_str(), "a.py");
    let status = story.board.read();
    assert_eq!((status.state, status.tampered[0].change), (SyncState::Tampered, ChangeKind::Modified));
    assert!(story.counted("dagsync_tampered_files_total{change=\"modified\"} 1"));
    let touched = std::fs::read_link(story.config.root.join("current")).unwrap();
    let repair = engine.sync(&story.token, None).await.unwrap();
    assert!(repair.published && repair.version == good.version);
    assert_eq!((repair.counts.written, repair.counts.linked), (1, 1));
    assert_eq!(story.read("a.py"), "1");
    let old = std::fs::read_to_string(story.config.root.join(touched).join("a.py")).unwrap();
    assert_eq!(old, "by hand", "the folder that readers use was not written to");
    assert_eq!(story.board.read().state, SyncState::Converged);
}

#[tokio::test]
async fn a_touched_version_is_repaired_while_the_source_is_down() {
    let story = Story::new(&[file("a.py", "1")]);
    let mut engine = story.open().await;
    engine.sync(&story.token, None).await.unwrap();
    story.faults.always(Call::Resolve, Fault::Error(ErrorKind::Unreachable));
    story.tamper("a.py", "by hand");
    engine.scrub(&story.token, ScrubMode::Full).await.unwrap();
    let error = engine.sync(&story.token, None).await.unwrap_err();
    assert_eq!(
        (error.kind(), story.read("a.py").as_str()),
        (ErrorKind::Unreachable, "1"),
        "repaired, and still an error"
    );
    story.faults.always(Call::Resolve, Fault::Error(ErrorKind::NotFound));
    story.tamper("a.py", "again");
    engine.scrub(&story.token, ScrubMode::Full).await.unwrap();
    engine.sync(&story.token, None).await.unwrap_err();
    assert_eq!(story.read("a.py"), "1", "also when the branch is deleted");
}

#[tokio::test]
async fn a_touched_version_is_repaired_while_the_source_hangs() {
    let mut story = Story::new(&[file("a.py", "1")]);
    story.config.timeout = Duration::from_millis(1500);
    let mut engine = story.open().await;
    engine.sync(&story.token, None).await.unwrap();
    story.faults.always(Call::Resolve, Fault::Hang);
    story.tamper("a.py", "by hand");
    engine.scrub(&story.token, ScrubMode::Full).await.unwrap();
    assert_eq!(engine.sync(&story.token, None).await.unwrap_err().kind(), ErrorKind::Timeout);
    assert_eq!(story.read("a.py"), "1");
}

#[tokio::test]
async fn a_lost_lock_is_taken_again_and_leaves_nothing_behind() {
    let story = Story::new(&[file("a.py", "1")]);
    let mut engine = story.open().await;
    engine.sync(&story.token, None).await.unwrap();
    std::fs::remove_file(story.config.root.join(".dagsync/lock")).unwrap();
    std::fs::write(story.config.root.join(".dagsync/lock"), "").unwrap();
    story.source.commit(&[file("a.py", "2")]);
    assert_eq!(engine.sync(&story.token, None).await.unwrap_err().kind(), ErrorKind::Locked);
    assert_eq!(story.read("a.py"), "1");
    engine.open(&story.token).await.unwrap();
    engine.sync(&story.token, None).await.unwrap();
    assert_eq!(story.read("a.py"), "2");
    assert_eq!(std::fs::read_dir(story.config.root.join("versions")).unwrap().count(), 2);
}

#[tokio::test]
async fn a_tree_with_links_to_folders_is_measured_the_same_way_twice() {
    let links = [dagsync_testkit::link("e", "d"), dagsync_testkit::link("f", "d")];
    let mut story = Story::new(&[file("d/big.py", "x".repeat(3000))]);
    story.source.commit(&links);
    story.config.limits.bytes = bytesize::ByteSize::b(5000);
    let mut engine = story.open().await;
    assert_eq!(engine.sync(&story.token, None).await.unwrap().files, 3);
    let bytes = story.board.read().bytes;
    assert!(engine.scrub(&story.token, ScrubMode::Full).await.unwrap().unwrap().changes.is_empty());
    assert_eq!((bytes, story.board.read().bytes), (3000, 3000));
}

#[tokio::test]
async fn a_version_whose_manifest_is_damaged_is_published_anew() {
    let story = Story::new(&[file("a.py", "1")]);
    let mut engine = story.open().await;
    let version = engine.sync(&story.token, None).await.unwrap().version;
    let manifest = story.config.root.join(".dagsync/manifests").join(version.hex());
    std::fs::write(&manifest, "").unwrap();
    engine.scrub(&story.token, ScrubMode::Stat).await.unwrap_err();
    assert_eq!(story.board.read().state, SyncState::Tampered);
    assert!(engine.sync(&story.token, None).await.unwrap().published);
    assert!(engine.scrub(&story.token, ScrubMode::Full).await.unwrap().unwrap().changes.is_empty());
}

#[tokio::test]
async fn a_link_that_was_removed_or_turned_is_noticed_and_restored() {
    let story = Story::new(&[file("a.py", "1")]);
    let mut engine = story.open().await;
    let old = engine.sync(&story.token, None).await.unwrap();
    story.source.commit(&[file("a.py", "2")]);
    let good = engine.sync(&story.token, None).await.unwrap();
    let link = story.config.root.join("current");
    let turn_back = || std::os::unix::fs::symlink(format!("versions/{}", old.version.hex()), &link).unwrap();
    let remove_tree = || {
        let target = story.config.root.join(std::fs::read_link(&link).unwrap());
        std::fs::rename(target, story.config.root.join("away")).unwrap();
        std::fs::remove_file(&link).unwrap();
    };
    let remove = || std::fs::remove_file(&link).unwrap();
    let turn = || {
        std::fs::remove_file(&link).unwrap();
        turn_back();
    };
    for damage in [&remove as &dyn Fn(), &turn, &remove_tree] {
        damage();
        engine.scrub(&story.token, ScrubMode::Stat).await.unwrap_err();
        assert_eq!(story.board.read().state, SyncState::Tampered);
        let repaired = engine.sync(&story.token, None).await.unwrap();
        assert_eq!((repaired.version, story.read("a.py").as_str()), (good.version, "2"));
        assert_eq!(story.board.read().state, SyncState::Converged);
    }
    std::fs::remove_file(&link).unwrap();
    assert!(engine.sync(&story.token, None).await.unwrap().published, "also without a check");
    assert!(story.counted("dagsync_tampered_files_total{change=\"removed\"} 4"));
}

#[tokio::test]
async fn a_name_that_cannot_be_published_is_counted_as_added() {
    let story = Story::new(&[file("a.py", "1")]);
    let mut engine = story.open().await;
    engine.sync(&story.token, None).await.unwrap();
    std::fs::set_permissions(story.current(""), PermissionsExt::from_mode(0o755)).unwrap();
    std::fs::write(story.current("x\ny.py"), "").unwrap();
    engine.scrub(&story.token, ScrubMode::Stat).await.unwrap_err();
    let status = story.board.read();
    assert_eq!(status.state, SyncState::Tampered);
    assert!(status.last_error.as_ref().unwrap().message.contains("x\\ny.py"));
    assert!(story.counted("dagsync_tampered_files_total{change=\"added\"} 1"));
    assert!(engine.sync(&story.token, None).await.unwrap().published);
    assert!(!story.current("x\ny.py").exists());
}

#[tokio::test]
async fn a_daemon_without_the_lock_does_not_touch_the_store() {
    let story = Story::new(&[file("a.py", "1")]);
    let mut first = story.open().await;
    first.sync(&story.token, None).await.unwrap();
    let indexes = story.config.root.join(".dagsync/indexes");
    std::fs::remove_dir_all(&indexes).unwrap();
    let mut second = story.engine();
    assert_eq!(second.open(&story.token).await.unwrap_err().kind(), ErrorKind::Locked);
    assert!(second.scrub(&story.token, ScrubMode::Full).await.unwrap().is_none());
    assert!(!indexes.exists());
    drop(first);
    second.open(&story.token).await.unwrap();
}

#[tokio::test]
async fn a_restart_while_the_source_is_down_is_ready_at_once() {
    let story = Story::new(&[file("a.py", "1")]);
    let version = story.open().await.sync(&story.token, None).await.unwrap().version;
    story.faults.always(Call::Resolve, Fault::Error(ErrorKind::Unreachable));
    let restarted = Story { board: fresh_board(&story), ..story };
    assert!(!restarted.board.read().ready);
    let mut engine = restarted.open().await;
    let status = restarted.board.read();
    assert_eq!((status.ready, status.version), (true, Some(version)));
    assert_eq!(status.revision.as_ref().map(Revision::as_str), Some("memory-1"));
    engine.sync(&restarted.token, None).await.unwrap_err();
    assert!(restarted.board.read().ready);
}

#[tokio::test]
async fn a_restart_on_a_touched_version_is_not_ready() {
    let story = Story::new(&[file("a.py", "1")]);
    story.open().await.sync(&story.token, None).await.unwrap();
    story.tamper("a.py", "by hand");
    let restarted = Story { board: fresh_board(&story), ..story };
    let mut engine = restarted.open().await;
    let status = restarted.board.read();
    assert_eq!((status.ready, status.state), (false, SyncState::Tampered));
    engine.sync(&restarted.token, None).await.unwrap();
    assert!(restarted.board.read().ready);
}

fn fresh_board(story: &Story) -> StatusBoard {
    StatusBoard::new(&story.config.pod, "memory", "memory".into(), Filter::default().hash(), SystemTime::now())
}

/// Settings may have changed between two starts, so the revision that the state remembers proves nothing.
#[tokio::test]
async fn the_first_sync_of_a_process_brings_the_tree_again() {
    let story = Story::new(&[file("a.py", "1")]);
    story.open().await.sync(&story.token, None).await.unwrap();
    let again = story.open().await.sync(&story.token, None).await.unwrap();
    assert!(!again.published);
    assert_eq!(story.faults.calls(Call::Materialize), 2);
}

#[tokio::test(start_paused = true)]
async fn the_loop_follows_the_source_and_recovers_from_failures() {
    let story = Story::new(&[file("a.py", "1")]);
    story.faults.next(Call::Resolve, [Fault::Error(ErrorKind::Unreachable), Fault::Error(ErrorKind::NotFound)]);
    story.run_until(|s| s.last_error.as_ref().is_some_and(|e| e.attempts == 2)).await.unwrap();
    assert!(!story.board.read().ready);
    story.run_until(|s| s.state == SyncState::Converged).await.unwrap();
    assert!(story.board.read().last_error.is_none());
    assert!(story.counted("dagsync_consecutive_failures 0"));
    let newer = story.source.commit(&[file("a.py", "2")]);
    story.run_until(|s| s.revision.as_ref() == Some(&newer)).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn what_a_push_event_announced_is_looked_for_until_it_shows_a_few_times() {
    let mut story = Story::new(&[file("a.py", "1")]);
    story.config.period = Duration::from_secs(3600);
    let asked = || story.faults.calls(Call::Resolve);
    let minute = || tokio::time::sleep(Duration::from_secs(60));
    let events = async {
        minute().await;
        assert_eq!(asked(), 1);
        story.wake.wake();
        minute().await;
        assert_eq!(asked(), 2, "who only asks for a sync gets one");
        story.wake.expect_news();
        minute().await;
        assert_eq!(asked(), 6, "at once and three times more");
        story.wake.expect_news();
        tokio::time::sleep(Duration::from_millis(200)).await;
        let late = story.source.commit(&[file("a.py", "2")]);
        minute().await;
        assert_eq!((asked(), story.board.read().revision.clone()), (8, Some(late)), "and no more once it is there");
    };
    tokio::select! {
        ended = run_loop(story.engine(), &story.config, &story.wake, &story.token, Until::Stopped) => ended.unwrap(),
        () = events => {}
    }
}

#[tokio::test(start_paused = true)]
async fn the_loop_gives_up_after_max_failures() {
    for (max, calls) in [(0, 1), (1, 1), (3, 3)] {
        let mut story = Story::new(&[file("a.py", "1")]);
        story.config.max_failures = max;
        story.faults.always(Call::Resolve, Fault::Error(ErrorKind::Unreachable));
        let error = story.run_until(|_| false).await.unwrap_err();
        assert_eq!((error.kind(), story.faults.calls(Call::Resolve)), (ErrorKind::Unreachable, calls));
    }
}

#[tokio::test(start_paused = true)]
async fn the_loop_ends_cleanly_when_asked_to_also_while_the_source_hangs() {
    let story = Story::new(&[file("a.py", "1")]);
    story.faults.always(Call::Resolve, Fault::Hang);
    let token = story.token.clone();
    tokio::spawn(async move {
        tokio::time::sleep(Duration::from_secs(3)).await;
        token.cancel();
    });
    story.run_until(|_| false).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_strategy_that_minds_nothing_does_not_stop_the_loop() {
    let mut story = Story::new(&[file("a.py", "1")]);
    story.config.timeout = Duration::from_secs(5);
    story.faults.next(Call::Resolve, [Fault::Deaf]);
    let failed_twice = |s: &Status| s.last_error.as_ref().is_some_and(|e| e.attempts == 2);
    story.run_until(failed_twice).await.unwrap();
    assert!(story.board.read().last_error.as_ref().unwrap().message.contains("still hangs"));
    assert_eq!(story.faults.calls(Call::Resolve), 1, "no second call is started");
}

#[tokio::test(start_paused = true)]
async fn the_loop_checks_and_repairs_what_is_published() {
    let mut story = Story::new(&[file("a.py", "1")]);
    story.config.scrub.interval = Duration::from_secs(1);
    story.config.period = Duration::from_secs(3600);
    story.open().await.sync(&story.token, None).await.unwrap();
    story.tamper("a.py", "by hand");
    let repaired = |s: &Status| s.folder.as_ref().is_some_and(|f| f.to_string().ends_with(".2"));
    story.run_until(repaired).await.unwrap();
    assert_eq!(story.read("a.py"), "1");
}

#[tokio::test(start_paused = true)]
async fn once_tries_again_what_may_pass_and_nothing_else() {
    let story = Story::new(&[file("a.py", "1")]);
    story.faults.next(Call::Resolve, [Fault::Error(ErrorKind::Unreachable), Fault::Error(ErrorKind::Timeout)]);
    assert!(run_once(story.engine(), &story.config, &story.wake, &story.token).await.unwrap().published);
    story.faults.next(Call::Resolve, [Fault::Error(ErrorKind::Unauthorized)]);
    let error = run_once(story.engine(), &story.config, &story.wake, &story.token).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unauthorized);
    story.faults.always(Call::Resolve, Fault::Error(ErrorKind::Unreachable));
    let error = run_once(story.engine(), &story.config, &story.wake, &story.token).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unreachable, "within the timeout");
}

/// Another process published meanwhile, and the source is back where this one left it.
#[tokio::test]
async fn who_has_the_store_again_does_not_believe_that_nothing_changed() {
    let story = Story::new(&[file("a.py", "1")]);
    let mut one = story.open().await;
    let first = one.sync(&story.token, None).await.unwrap();
    one.let_go();
    tokio::task::yield_now().await;
    let other = Story { source: MemorySource::new(), faults: Faults::default(), ..story };
    other.source.commit(&[file("a.py", "2")]);
    let story = other;
    let mut two = loop {
        let mut engine = story.engine();
        match engine.open(&story.token).await {
            Ok(()) => break engine,
            Err(_) => tokio::time::sleep(Duration::from_millis(1)).await,
        }
    };
    let second = two.sync(&story.token, None).await.unwrap();
    assert!(second.published && second.version != first.version);
    drop(two);
    one.open(&story.token).await.unwrap();
    let again = one.sync(&story.token, None).await.unwrap();
    assert!(again.published && again.changed && again.version == first.version);
    assert_eq!(std::fs::read(story.current("a.py")).unwrap(), b"1");
}

#[tokio::test]
async fn what_is_removed_under_a_daemon_is_made_again() {
    let story = Story::new(&[file("a.py", "1")]);
    let mut engine = story.open().await;
    engine.sync(&story.token, None).await.unwrap();
    std::fs::remove_dir_all(story.config.root.join(".dagsync")).unwrap();
    story.source.commit(&[file("a.py", "2")]);
    let error = engine.sync(&story.token, None).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Locked, "{error}");
    tokio::task::yield_now().await;
    engine.open(&story.token).await.unwrap();
    assert!(engine.sync(&story.token, None).await.unwrap().published);
    assert_eq!(std::fs::read(story.current("a.py")).unwrap(), b"2");
}

/// Two that share a store by mistake, or are being replaced.
#[tokio::test]
async fn a_writer_with_other_globs_is_named_by_who_stands_by() {
    let story = Story::new(&[file("a.py", "1")]);
    let mut writer = story.open().await;
    writer.sync(&story.token, None).await.unwrap();
    let mut other = story.engine();
    other.rules.filter = Arc::new(Filter::new(&[], &["*.md".into()]).unwrap());
    let board =
        StatusBoard::new(&story.config.pod, "memory", "memory".into(), other.rules.filter.hash(), SystemTime::now());
    other.parts.board = board.clone();
    assert_eq!(other.open(&story.token).await.unwrap_err().kind(), ErrorKind::Locked);
    other.follow(&story.token).await.unwrap().unwrap();
    let status = board.read();
    assert!(status.ready && status.warnings[0].contains("filter_hash"), "{:?}", status.warnings);
    assert_eq!(
        status.filter_hash,
        Filter::default().hash().to_string(),
        "the version is the writer's, and so are its globs"
    );
}

/// The one that wrote died right after it published.
#[tokio::test]
async fn who_takes_over_tells_of_a_version_that_it_has_not_followed() {
    let story = Story::new(&[file("a.py", "1")]);
    let mut writer = story.open().await;
    writer.sync(&story.token, None).await.unwrap();
    let mut follower = story.engine();
    follower.parts.board =
        StatusBoard::new(&story.config.pod, "memory", "memory".into(), Filter::default().hash(), SystemTime::now());
    assert_eq!(follower.open(&story.token).await.unwrap_err().kind(), ErrorKind::Locked);
    assert!(
        follower.follow(&story.token).await.unwrap().unwrap().version == writer.parts.board.read().version.unwrap()
    );
    story.source.commit(&[file("a.py", "2")]);
    assert!(writer.sync(&story.token, None).await.unwrap().published);
    drop(writer);
    follower.open(&story.token).await.unwrap();
    let report = follower.sync(&story.token, None).await.unwrap();
    assert!(report.changed && !report.published);
}

/// A strategy whose tree always lies where it is.
#[derive(Debug)]
struct Baked(PathBuf);

impl std::fmt::Display for Baked {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "image:{}", self.0.display())
    }
}

#[async_trait]
impl Strategy for Baked {
    async fn resolve(&self, _: &SyncContext) -> Result<Revision> {
        Ok(Revision::new("image-1"))
    }

    fn is_reread(&self) -> bool {
        true
    }

    fn is_in_place(&self) -> bool {
        true
    }

    async fn materialize(&self, cx: &SyncContext, _: &Revision, _: &dagsync_core::Staging) -> Result<Tree> {
        let reading = Reading {
            filter: &cx.filter,
            limits: &cx.limits,
            symlinks: SymlinkPolicy::Skip,
            index: &StatIndex::default(),
            now: None,
            interrupt: &cx.interrupt,
            progress: &cx.progress,
        };
        let tree = hash_tree(&Folder::open(&self.0)?, &reading)?;
        Ok(Tree::InPlace(Box::new(InPlace { path: self.0.clone(), tree, expectation: Default::default() })))
    }
}

#[tokio::test]
async fn a_tree_in_place_is_verified_and_never_copied() {
    let baked = tempfile::tempdir().unwrap();
    std::fs::write(baked.path().join("a.py"), "1").unwrap();
    let story = Story::new(&[]);
    let mut engine = story.engine_with(Arc::new(Baked(baked.path().to_owned())));
    engine.open(&story.token).await.unwrap();
    let report = engine.sync(&story.token, None).await.unwrap();
    let by_hand = format!("{}  a.py\n", dagsync_core::Digest::of("1"));
    assert_eq!(report.version, Version::from(dagsync_core::Digest::of(by_hand)));
    assert!(!report.published && !story.current("").exists());
    let kept = Store::from(&story.config).manifest(&report.version).unwrap();
    assert_eq!(kept.map(|manifest| manifest.len()), Some(1), "others may ask for its manifest");
    assert!(report.changed && report.in_place.as_deref() == Some(baked.path()));

    // Its revision does not tell of a change, so only a check does.
    std::fs::write(baked.path().join("a.py"), "2").unwrap();
    let same = engine.sync(&story.token, None).await.unwrap();
    assert!(!same.changed && same.version == report.version);
    assert!(engine.scrub(&story.token, ScrubMode::Full).await.unwrap().is_none());
    let found = engine.sync(&story.token, None).await.unwrap();
    assert!(found.changed && !found.published && found.version != report.version);
    assert_eq!(story.board.read().version, Some(found.version));
}

#[path = "daemon_tests.rs"]
mod daemon_tests;
#[path = "standby_tests.rs"]
mod standby_tests;
#[path = "target_tests.rs"]
mod target_tests;
