use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::sync::Mutex;
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, Method, StatusCode, Uri, header};
use dagsync_core::{Digest, Outcome, Revision, StagingCounts, Version};

use super::*;
use crate::command::tests::script;
use crate::config::{self, Inputs};

/// A store with a published tree, and the outputs that a test configures.
struct Story {
    home: tempfile::TempDir,
    config: Config,
    tally: Tally,
}

impl Story {
    fn new() -> Self {
        let home = tempfile::tempdir().unwrap();
        let mut config = config::load(&crate::strategies(), &Inputs::default()).unwrap().config;
        config.root = home.path().join("dags");
        config.exechook.backoff = Duration::from_millis(20);
        config.webhook.backoff = Duration::from_millis(20);
        config.webhook.timeout = Duration::from_secs(30);
        std::fs::create_dir_all(config.root.join("versions/one")).unwrap();
        std::os::unix::fs::symlink("versions/one", config.root.join("current")).unwrap();
        crate::install_crypto();
        Self { home, config, tally: Tally::default() }
    }

    fn command(mut self, body: &str) -> Self {
        self.config.exechook.command = Some(script(self.home.path(), "hook", body));
        self
    }

    fn outputs(&self) -> Outputs {
        Outputs::new(&self.config, &self.tally).unwrap()
    }

    fn started(&self) -> Outputs {
        let outputs = self.outputs();
        outputs.start();
        outputs
    }

    fn refused(&self) -> String {
        let error = Outputs::new(&self.config, &self.tally).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Config);
        error.to_string()
    }

    fn path(&self, name: &str) -> PathBuf {
        self.home.path().join(name)
    }

    fn lines(&self, name: &str) -> Vec<String> {
        let text = std::fs::read_to_string(self.path(name)).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    }

    fn counted(&self, hook: &'static str, outcome: Outcome) -> u64 {
        self.tally.read().get(&(hook, outcome)).copied().unwrap_or_default()
    }
}

fn report(revision: &str, published: bool) -> SyncReport {
    SyncReport {
        revision: Revision::new(revision),
        version: Version::from(Digest::of(revision)),
        published,
        changed: published,
        in_place: None,
        files: 1,
        counts: StagingCounts::default(),
        took: Duration::ZERO,
    }
}

async fn until(what: impl Fn() -> bool) {
    while !what() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

const SAY: &str = "echo $GITSYNC_HASH >> ../../../calls";

#[tokio::test]
async fn a_command_runs_in_the_published_tree_and_knows_what_it_is() {
    let story = Story::new().command("pwd -P; env | sort");
    let said = script(story.home.path(), "hook", "(pwd -P; env | sort) > ../../../said");
    assert_eq!(story.config.exechook.command, Some(said));
    let outputs = story.outputs();
    outputs.succeeded(&report("r1", true), false).await;
    outputs.finish(&CancellationToken::new()).await.unwrap();
    let (said, root) = (story.lines("said"), story.config.root.canonicalize().unwrap());
    let version = Version::from(Digest::of("r1"));
    assert_eq!(said[0], root.join("versions/one").display().to_string());
    for line in [
        "GITSYNC_HASH=r1".to_owned(),
        "DAGSYNC_REVISION=r1".to_owned(),
        format!("DAGSYNC_VERSION={version}"),
        format!("DAGSYNC_ROOT={}", story.config.root.display()),
        "DAGSYNC_LINK=current".to_owned(),
    ] {
        assert!(said.contains(&line), "{line} in {said:?}");
    }
}

#[tokio::test]
async fn a_command_runs_after_a_publish_and_after_the_first_sync_and_not_twice_for_a_revision() {
    let story = Story::new().command(SAY);
    let outputs = story.started();
    for (revision, published, first) in [("r1", false, true), ("r1", false, false), ("r1", true, false)] {
        outputs.succeeded(&report(revision, published), first).await;
        until(|| story.counted("exechook", Outcome::Success) == 1).await;
    }
    outputs.succeeded(&report("r2", false), false).await;
    outputs.succeeded(&report("r3", true), false).await;
    until(|| story.counted("exechook", Outcome::Success) == 2).await;
    assert_eq!(story.lines("calls"), ["r1", "r3"]);
}

#[tokio::test]
async fn a_failed_command_is_run_again_with_the_newest_news() {
    let story = Story::new().command(&format!("{SAY}; test $GITSYNC_HASH = r3"));
    let outputs = story.started();
    outputs.succeeded(&report("r1", true), true).await;
    until(|| story.counted("exechook", Outcome::Error) >= 2).await;
    outputs.succeeded(&report("r2", true), false).await;
    outputs.succeeded(&report("r3", true), false).await;
    until(|| story.counted("exechook", Outcome::Success) == 1).await;
    let calls = story.lines("calls");
    assert_eq!((calls[0].as_str(), calls[1].as_str(), calls.last().unwrap().as_str()), ("r1", "r1", "r3"));
    assert!(!calls.contains(&"r2".to_owned()), "newer news replaced it: {calls:?}");
}

#[tokio::test]
async fn stopping_ends_a_command_that_runs() {
    let story = Story::new().command("echo $$ > ../../../calls; exec sleep 1000");
    let outputs = story.started();
    outputs.succeeded(&report("r1", true), true).await;
    until(|| !story.lines("calls").is_empty()).await;
    outputs.stop().await;
    assert!(!Path::new("/proc").join(&story.lines("calls")[0]).exists());
    assert_eq!(story.tally.read().len(), 0, "that is no failure");
}

#[tokio::test]
async fn a_process_that_ends_after_one_sync_calls_once_and_fails_if_that_does() {
    let story = Story::new().command(&format!("{SAY}; echo out of luck; exit 7"));
    let outputs = story.outputs();
    outputs.finish(&CancellationToken::new()).await.unwrap();
    assert_eq!(story.lines("calls").len(), 0, "without news there is nothing to call for");
    outputs.succeeded(&report("r1", false), true).await;
    let error = outputs.finish(&CancellationToken::new()).await.unwrap_err().to_string();
    assert!(error.contains("exit status: 7") && error.contains("out of luck"), "{error}");
    assert_eq!(story.lines("calls"), ["r1"]);
}

#[derive(Clone, Default)]
struct Server {
    seen: Arc<Mutex<Vec<String>>>,
    answers: Arc<Mutex<Vec<StatusCode>>>,
}

impl Server {
    /// Listens and gives `answers`, then 200.
    async fn start(answers: &[StatusCode]) -> (Self, String) {
        let server = Self { answers: Arc::new(Mutex::new(answers.iter().rev().copied().collect())), ..Self::default() };
        let app = Router::new().fallback(Self::answer).with_state(server.clone());
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(async move { axum::serve(listener, app).await });
        (server, url)
    }

    async fn answer(State(server): State<Self>, method: Method, uri: Uri, headers: HeaderMap) -> (StatusCode, String) {
        let header = |name| headers.get(name).map(|v| v.to_str().unwrap().to_owned()).unwrap_or_default();
        let [hash, version] = ["gitsync-hash", "dagsync-version"].map(header);
        let authorization = header(header::AUTHORIZATION.as_str());
        server.seen.lock().unwrap().push(format!("{method} {uri} {hash} {version} {authorization}"));
        (server.answers.lock().unwrap().pop().unwrap_or(StatusCode::OK), format!("no {uri} here"))
    }

    fn seen(&self) -> Vec<String> {
        self.seen.lock().unwrap().clone()
    }
}

#[tokio::test]
async fn a_call_says_which_tree_and_is_made_again_until_the_status_is_right() {
    let (server, url) = Server::start(&[StatusCode::INTERNAL_SERVER_ERROR, StatusCode::OK]).await;
    let mut story = Story::new();
    (story.config.webhook.url, story.config.webhook.success_status) = (source(&format!("{url}/hook?a=b")), 202);
    server.answers.lock().unwrap().insert(0, StatusCode::ACCEPTED);
    let outputs = story.started();
    outputs.succeeded(&report("r1", true), true).await;
    until(|| story.counted("webhook", Outcome::Success) == 1).await;
    assert_eq!(story.counted("webhook", Outcome::Error), 2);
    assert_eq!(server.seen(), vec![format!("POST /hook?a=b r1 {} ", Version::from(Digest::of("r1"))); 3]);
}

#[tokio::test]
async fn the_url_is_read_from_its_file_at_every_call_and_never_shown() {
    let (server, url) = Server::start(&[StatusCode::NOT_FOUND]).await;
    let mut story = Story::new();
    story.config.webhook.url_file = Some(story.path("url"));
    story.config.webhook.method = "PUT".to_owned();
    let outputs = story.outputs();
    outputs.succeeded(&report("r1", true), true).await;
    let token = CancellationToken::new();
    let missing = outputs.finish(&token).await.unwrap_err().to_string();
    assert!(missing.contains("holds no http or https URL"), "{missing}");
    std::fs::write(story.path("url"), url.replace("//", "//ada:pa55@") + "/services/s3cret?key=s3cret\n").unwrap();
    let error = outputs.finish(&token).await.unwrap_err().to_string();
    assert!(error.contains("404") && error.contains(&url), "{error}");
    assert!(!error.contains("s3cret") && !error.contains("pa55") && !error.contains("ada"), "{error}");
    assert!(!format!("{outputs:?}").contains("s3cret"));
    outputs.finish(&token).await.unwrap();
    assert!(server.seen()[1].starts_with("PUT /services/s3cret?key=s3cret r1 "), "{:?}", server.seen());
    assert!(server.seen()[1].ends_with("Basic YWRhOnBhNTU="), "{:?}", server.seen());
    std::fs::write(story.path("url"), "http://127.0.0.1:1/services/s3cret").unwrap();
    let error = outputs.finish(&token).await.unwrap_err().to_string();
    assert!(error.contains("http://127.0.0.1:1") && !error.contains("s3cret"), "{error}");
}

#[tokio::test]
async fn a_server_that_never_ends_its_answer_costs_no_more_than_the_timeout() {
    let endless = || async { axum::body::Body::from_stream(futures::stream::pending::<std::io::Result<Vec<u8>>>()) };
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, Router::new().fallback(endless)).await });
    let mut story = Story::new();
    (story.config.webhook.url, story.config.webhook.timeout) = (source(&url), Duration::from_millis(200));
    story.config.webhook.success_status = 0;
    let outputs = story.outputs();
    outputs.succeeded(&report("r1", true), true).await;
    let error = outputs.finish(&CancellationToken::new()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Timeout);
}

fn source(url: &str) -> config::Source {
    serde_json::from_value(url.into()).unwrap()
}

#[tokio::test]
async fn what_cannot_work_is_said_at_the_start() {
    let mut story = Story::new();
    story.config.webhook.url = source("ftp://host/s3cret");
    assert!(story.refused().contains("webhook.url is no http"));
    (story.config.webhook.url, story.config.webhook.method) = (source("http://host"), "GET IT".to_owned());
    assert!(story.refused().contains("webhook.method"));
    story.config.webhook.url_file = Some("/x".into());
    assert!(story.refused().contains("only one of"));
    for bad in ["current/a.py", "versions/x", ".dagsync/x", "../x", "current", "."] {
        let mut story = Story::new();
        story.config.touch_file = Some(bad.into());
        assert!(story.refused().contains("touch_file"), "{bad}");
    }
    let mut story = Story::new();
    (story.config.touch_file, story.config.error_file) = (Some("x".into()), Some("x".into()));
    assert!(story.refused().contains("same file"));
}

#[tokio::test]
async fn the_touch_file_is_younger_after_each_sync_that_published() {
    let mut story = Story::new();
    story.config.touch_file = Some("signals/new/touched".into());
    let file = story.config.root.join("signals/new/touched");
    let outputs = story.outputs();
    outputs.succeeded(&report("r1", false), true).await;
    let old = || std::fs::File::open(&file).unwrap().set_modified(std::time::UNIX_EPOCH).unwrap();
    let mtime = || std::fs::metadata(&file).unwrap().mtime();
    old();
    outputs.succeeded(&report("r2", false), false).await;
    assert_eq!(mtime(), 0, "nothing was published");
    std::fs::write(&file, "kept").unwrap();
    old();
    outputs.succeeded(&report("r2", true), false).await;
    assert!(mtime() > 0);
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "kept");
}

#[tokio::test]
async fn the_error_file_holds_the_last_error_as_long_as_there_is_one() {
    let mut story = Story::new();
    story.config.error_file = Some("status/error.json".into());
    let file = story.config.root.join("status/error.json");
    let outputs = story.outputs();
    for failures in [1, 2] {
        let error = Error::new(ErrorKind::Unreachable, "resolve", "no route \"to\" it");
        outputs.failed(&error, failures).await;
        let json: serde_json::Value = serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
        assert_eq!(json["Err"], "resolve: no route \"to\" it");
        assert_eq!((json["Args"]["failCount"].as_u64(), json["Msg"].is_string()), (Some(failures), true));
    }
    assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o644);
    assert_eq!(std::fs::read_dir(file.parent().unwrap()).unwrap().count(), 1, "nothing lies beside it");
    outputs.succeeded(&report("r1", false), false).await;
    assert!(!file.exists());
    export_error(&story.config.root, Path::new("status/error.json"), "no such flag").unwrap();
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "no such flag");
    story.outputs().succeeded(&report("r1", false), false).await;
    assert!(!file.exists(), "also what a process before has left");
}
