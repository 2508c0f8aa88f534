use dagsync_testkit::{delete, file};

use super::super::tests::Story;
use super::*;
use crate::command::tests::script;

/// A story with version 1 published and a gate from then on; scripts and what they write lie in `home`.
struct Gated {
    home: tempfile::TempDir,
    story: Story,
    engine: Engine,
}

impl Gated {
    async fn new(body: &str) -> Self {
        let home = tempfile::tempdir().unwrap();
        let mut story = Story::new(&[file("a.py", "1"), file("b.py", "1"), file("sub/c.py", "1")]);
        story.config.gate.command = Some(script(home.path(), "gate", "exit 0"));
        let mut engine = story.open().await;
        engine.sync(&story.token, None).await.unwrap();
        let (seen, body) = (home.path().join("seen"), body.to_owned());
        script(home.path(), "gate", &format!("SEEN={}\n{body}", seen.display()));
        Self { home, story, engine }
    }

    async fn sync(&mut self, edits: &[dagsync_testkit::Edit]) -> Result<super::super::SyncReport> {
        self.story.source.commit(edits);
        self.again().await
    }

    async fn again(&mut self) -> Result<super::super::SyncReport> {
        self.engine.sync(&self.story.token, None).await
    }

    /// What the gate wrote to `$SEEN`.
    fn seen(&self) -> String {
        std::fs::read_to_string(self.home.path().join("seen")).unwrap_or_default()
    }

    fn report(&self) -> GateReport {
        self.story.board.read().gate.clone().unwrap()
    }

    fn counted(&self, outcome: Outcome) -> u64 {
        self.story.metrics.tally().read().get(&(OPERATION, outcome)).copied().unwrap_or_default()
    }

    fn drafts(&self) -> usize {
        std::fs::read_dir(self.story.config.root.join(".dagsync/staging")).unwrap().count()
    }
}

#[tokio::test]
async fn the_gate_is_told_what_changes_and_sees_both_trees() {
    let say = r#"pwd > $SEEN; cat >> $SEEN; cmp - "$DAGSYNC_CHANGES" < "$DAGSYNC_CHANGES"
        cat a.py "$DAGSYNC_PREVIOUS_TREE/a.py" >> $SEEN
        echo "/$DAGSYNC_TREE/$DAGSYNC_REVISION $GITSYNC_HASH $DAGSYNC_VERSION $DAGSYNC_PREVIOUS_VERSION" >> $SEEN"#;
    let mut gated = Gated::new(say).await;
    let before = gated.story.board.read().version.unwrap();
    let edits = [file("a.py", "2"), delete("b.py"), file("new.py", "2")];
    let report = gated.sync(&edits).await.unwrap();
    let seen = gated.seen();
    let lines: Vec<&str> = seen.lines().collect();
    assert_eq!(lines[1..4], ["M\ta.py", "D\tb.py", "A\tnew.py"]);
    let revision = &report.revision;
    assert_eq!(lines[4], format!("21/{}/{revision} {revision} {} {before}", lines[0], report.version));
    let gate = gated.report();
    assert_eq!(
        (gate.result, gate.exit_status.as_str(), &gate.revision),
        (GateResult::Passed, "exit status: 0", revision)
    );
    assert_eq!(
        (gated.counted(Outcome::Success), gated.counted(Outcome::Error)),
        (2, 0),
        "the first tree was asked about"
    );
}

#[tokio::test]
async fn the_first_tree_has_none_before_it_and_may_be_refused_too() {
    let home = tempfile::tempdir().unwrap();
    let mut story = Story::new(&[file("a.py", "1")]);
    let say = "printf '(%s)(%s)' \"$DAGSYNC_PREVIOUS_VERSION\" \"$DAGSYNC_PREVIOUS_TREE\"; cat; exit 1";
    story.config.gate.command = Some(script(home.path(), "gate", say));
    let mut engine = story.open().await;
    let error = engine.sync(&story.token, None).await.unwrap_err().to_string();
    assert!(error.contains("()()A\\ta.py") && error.contains("version that stays none"), "{error}");
    assert!(!story.board.read().ready && !story.config.root.join("current").exists());
}

#[tokio::test]
async fn a_refused_tree_is_not_published_and_asked_about_again_at_the_next_attempt() {
    let mut gated =
        Gated::new("echo asked >> $SEEN; grep -l syntax *.py && { echo 'a.py: syntax'; exit 4; }; true").await;
    for attempt in 1..=2 {
        let error = gated.sync(&[file("a.py", "syntax error")]).await.unwrap_err();
        assert_eq!((error.kind(), error.operation()), (ErrorKind::Refused, "gate"));
        assert!(error.to_string().contains("exit status: 4: a.py | a.py: syntax"), "{error}");
        assert_eq!((gated.story.read("a.py").as_str(), gated.drafts()), ("1", 0));
        assert_eq!(gated.seen().lines().count(), attempt);
    }
    let gate = gated.report();
    assert_eq!((gate.result, gate.output.as_str()), (GateResult::Refused, "a.py\na.py: syntax"));
    assert_eq!(gated.counted(Outcome::Error), 2);
    gated.sync(&[file("a.py", "mended")]).await.unwrap();
    assert_eq!((gated.story.read("a.py").as_str(), gated.report().result), ("mended", GateResult::Passed));
}

#[tokio::test]
async fn a_gate_that_only_warns_is_heard_and_not_obeyed() {
    let mut gated = Gated::new("echo careful; exit 1").await;
    gated.engine.gate.on_failure = GateFailure::Warn;
    gated.sync(&[file("a.py", "2")]).await.unwrap();
    let status = gated.story.board.read();
    assert_eq!((gated.story.read("a.py").as_str(), gated.report().result), ("2", GateResult::Warned));
    assert!(status.warnings.iter().any(|w| w.contains("exit status: 1: careful")), "{:?}", status.warnings);
    assert_eq!(gated.counted(Outcome::Error), 1);
}

#[tokio::test]
async fn a_gate_that_is_missing_or_too_slow_lets_nothing_pass() {
    let mut gated = Gated::new("sleep 1000").await;
    gated.engine.gate.timeout = Duration::from_millis(200);
    let error = gated.sync(&[file("a.py", "2")]).await.unwrap_err();
    assert!(error.to_string().contains("killed after 200ms"), "{error}");
    std::fs::remove_file(gated.home.path().join("gate")).unwrap();
    let error = gated.again().await.unwrap_err();
    assert!(error.kind() == ErrorKind::Refused && error.to_string().contains("must exist"), "{error}");
    assert_eq!((gated.story.read("a.py").as_str(), gated.report().exit_status.as_str()), ("1", "not started"));
}

#[tokio::test]
async fn a_tree_that_the_gate_changes_is_refused_whatever_the_gate_says() {
    for (change, words) in [
        ("chmod u+w new.py; echo x > new.py", "new.py was changed"),
        (
            "chmod u+w new.py; touch -r new.py ../t; echo 3 | dd of=new.py conv=notrunc status=none; touch -r ../t new.py; chmod u-w new.py",
            "new.py was changed",
        ),
        ("mv -f new.py ../x; cp -p ../x new.py", "new.py was changed"),
        ("chmod u+w sub; echo x > sub/more.py", "was changed"),
        ("chmod 700 .", ". was changed"),
        ("echo x > sub/more.py || { chmod u+w sub; echo x > sub/more.py; chmod u-w sub; }", "sub/more.py was added"),
        ("rm -f new.py", "new.py was removed"),
        ("ln -s new.py link.py", "link.py was added"),
        ("echo x > module.pyc", "module.pyc was added"),
        ("mkdir many; touch many/1", "many was added"),
    ] {
        let mut gated = Gated::new(&format!("{change}; exit 0")).await;
        gated.engine.gate.on_failure = GateFailure::Warn;
        let error = gated.sync(&[file("new.py", "2\n")]).await.unwrap_err();
        assert!(error.kind() == ErrorKind::Refused && error.to_string().contains(words), "{change}: {error}");
        assert!(!gated.story.config.root.join("current/new.py").exists(), "{change}");
        assert_eq!((gated.report().result, gated.drafts()), (GateResult::Refused, 0), "{change}");
    }
}

#[tokio::test]
async fn what_python_leaves_does_not_go_live() {
    let leave =
        "chmod u+w sub; for d in . sub; do mkdir $d/__pycache__; echo x > $d/__pycache__/a.pyc; done; chmod u-w sub";
    let mut gated = Gated::new(leave).await;
    gated.sync(&[file("a.py", "2")]).await.unwrap();
    let current = gated.story.config.root.join("current");
    assert_eq!((gated.story.read("a.py").as_str(), current.join("__pycache__").exists()), ("2", false));
    assert!(!current.join("sub/__pycache__").exists());
    let mode = std::fs::metadata(current.join("sub")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o555);
}

#[tokio::test]
async fn a_gate_that_writes_into_a_shared_file_is_found_out_and_the_published_copy_repaired() {
    let mut gated = Gated::new("chmod u+w b.py; echo broken > b.py").await;
    let good = gated.story.board.read().version;
    let error = gated.sync(&[file("a.py", "2")]).await.unwrap_err();
    assert!(error.to_string().contains("b.py was changed"), "{error}");
    let status = gated.story.board.read();
    assert_eq!((gated.story.read("b.py").as_str(), status.version), ("1", good), "though the new tree is refused");
    assert!(status.folder.as_ref().unwrap().to_string().ends_with(".2"), "b.py was hard-linked into the copy before");
    assert!(gated.story.counted("dagsync_tampered_files_total{change=\"modified\"} 1"));
}

#[tokio::test]
async fn the_gate_is_not_asked_about_what_is_published_already() {
    let mut gated = Gated::new("echo asked >> $SEEN; exit 1").await;
    gated.sync(&[]).await.unwrap();
    gated.story.tamper("a.py", "by hand");
    gated.engine.scrub(&gated.story.token, ScrubMode::Full).await.unwrap();
    assert!(gated.again().await.unwrap().published, "a repair");
    assert_eq!((gated.story.read("a.py").as_str(), gated.seen().as_str()), ("1", ""));
}

#[tokio::test]
async fn stopping_ends_the_gate_and_publishes_nothing() {
    let mut gated = Gated::new("echo $$ > $SEEN; exec sleep 1000").await;
    gated.story.source.commit(&[file("a.py", "2")]);
    let (token, seen) = (gated.story.token.clone(), gated.home.path().join("seen"));
    let stop = async move {
        while std::fs::read_to_string(&seen).unwrap_or_default().is_empty() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        token.cancel();
    };
    let (synced, ()) = tokio::join!(gated.engine.sync(&gated.story.token, None), stop);
    assert_eq!((synced.unwrap_err().kind(), gated.drafts()), (ErrorKind::Cancelled, 0));
    assert!(!Path::new("/proc").join(gated.seen().trim()).exists());
    assert_eq!((gated.story.read("a.py").as_str(), gated.counted(Outcome::Error)), ("1", 0));
}
