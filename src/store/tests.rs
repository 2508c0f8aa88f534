use std::collections::BTreeSet;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::sync::Arc;
use std::time::Duration;

use dagsync_core::{
    Change, ChangeKind, Filter, Limits, Progress, Revision, StagedTree, Staging, StagingRules, SymlinkPolicy, TreePath,
};

use super::*;

/// A store with its lock, and a story to tell.
pub(super) struct Story {
    home: tempfile::TempDir,
    pub(super) store: Store,
    pub(super) lock: StoreLock,
    pub(super) state: State,
    pub(super) now: SystemTime,
    /// Told apart from other commits of the same files by this.
    pub(super) commit: u64,
}

pub(super) type Files<'a> = &'a [(&'a str, &'a str)];

impl Story {
    pub(super) fn new() -> Self {
        Self::begin(|root| Store::new(root, "current"))
    }

    pub(super) fn in_worktrees() -> Self {
        Self::begin(|root| Store { layout: Layout::Worktrees, ..Store::new(root, "repo") })
    }

    /// A story whose store is made by `store` for the root that it is given.
    pub(super) fn begin(store: impl FnOnce(PathBuf) -> Store) -> Self {
        let home = tempfile::tempdir().unwrap();
        let store = store(home.path().join("dags"));
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000);
        Self::open(home, store, now)
    }

    fn open(home: tempfile::TempDir, store: Store, now: SystemTime) -> Self {
        let lock = store.lock().unwrap();
        let (limits, interrupt) = (Limits::default(), Interrupt::never());
        store.adopt(&lock, &limits, &interrupt, &Progress::default()).unwrap();
        let state = store.recover(&lock, now, &interrupt).unwrap();
        Self { home, store, lock, state, now, commit: 0 }
    }

    /// The commit that holds `files`.
    pub(super) fn revision(&self, files: Files<'_>) -> Revision {
        Revision::new(&Digest::of(format!("{files:?} {}", self.commit)).to_string()[..40])
    }

    pub(super) fn stage(&self, files: Files<'_>) -> (Draft, StagedTree) {
        let rules = StagingRules {
            filter: Arc::new(Filter::default()),
            limits: Limits::default(),
            symlinks: SymlinkPolicy::Skip,
            group_write: self.store.group_write,
        };
        let previous = self.store.snapshot().unwrap().map(Arc::new);
        let draft = self.store.draft(&self.lock).unwrap();
        let staging = Staging::new(&draft.tree(), rules, previous, Interrupt::never(), Progress::default()).unwrap();
        for (path, content) in files {
            let path = TreePath::new(path).unwrap();
            if !staging.reuse(&path, false, &Digest::of(content)).unwrap() {
                staging.write_bytes(&path, false, content.as_bytes()).unwrap();
            }
        }
        (draft, staging.finish().unwrap())
    }

    pub(super) fn try_publish(&mut self, files: Files<'_>, fresh: bool, allow_empty: bool) -> Result<Published> {
        let (draft, tree) = self.stage(files);
        let revision = self.revision(files);
        let publication = Publication {
            revision: &revision,
            strategy: "test",
            source: "test source".to_owned(),
            filter: &Filter::default(),
            allow_empty,
            fresh,
            now: self.now,
        };
        let published = self.store.publish(&self.lock, &mut self.state, &draft, &tree, &publication)?;
        if matches!(published, Published::New(_)) {
            self.store.index(&self.lock, published.folder(), &tree, &Interrupt::never())?;
        }
        Ok(published)
    }

    pub(super) fn publish(&mut self, files: Files<'_>) -> FolderName {
        self.try_publish(files, false, false).unwrap().folder().clone()
    }

    pub(super) fn prune(&mut self, versions: usize, age: u64, pinned: &[Version]) -> Vec<FolderName> {
        let policy = KeepPolicy {
            versions,
            age: Duration::from_secs(age),
            pinned: pinned.iter().copied().collect::<BTreeSet<_>>(),
        };
        self.store.prune(&self.lock, &mut self.state, &policy, self.now, &Interrupt::never()).unwrap()
    }

    pub(super) fn reopen(self) -> Self {
        self.reopen_as(|_| {})
    }

    /// Starts again with other settings.
    pub(super) fn reopen_as(self, change: impl FnOnce(&mut Store)) -> Self {
        let Self { home, mut store, lock, now, commit, .. } = self;
        drop(lock);
        change(&mut store);
        Self { commit, ..Self::open(home, store, now) }
    }

    /// The folder around the root.
    pub(super) fn home(&self) -> &Path {
        self.home.path()
    }

    pub(super) fn scrub(&self, mode: ScrubMode) -> ScrubReport {
        let name = self.store.current().unwrap().unwrap();
        let (filter, limits, interrupt, progress) =
            (&Filter::default(), &Limits::default(), &Interrupt::never(), &Progress::default());
        let scrub = Scrub { mode, renew_index: Some(&self.lock), filter, limits, interrupt, progress };
        self.store.scrub(&name, &scrub).unwrap()
    }

    pub(super) fn current(&self, path: &str) -> PathBuf {
        self.store.link_path().join(path)
    }

    pub(super) fn read(&self, path: &str) -> String {
        std::fs::read_to_string(self.current(path)).unwrap()
    }

    /// Edits a file as somebody with the rights would.
    pub(super) fn tamper(&self, path: &str, content: &str) {
        let path = self.current(path);
        std::fs::set_permissions(path.parent().unwrap(), PermissionsExt::from_mode(0o755)).unwrap();
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o644)).unwrap_or_default();
        std::fs::write(path, content).unwrap();
    }
}

pub(super) fn change(path: &str, change: ChangeKind) -> Change {
    Change { path: TreePath::new(path).unwrap(), change }
}

#[test]
fn a_published_version_is_complete_read_only_and_named_by_its_content() {
    let mut story = Story::new();
    let folder = story.publish(&[("a.py", "1"), ("sub/b.py", "2")]);
    assert_eq!(story.read("sub/b.py"), "2");
    let target = std::fs::read_link(story.current(""))
        .unwrap_or_else(|_| std::fs::read_link(story.store.root().join("current")).unwrap());
    assert_eq!(target, Path::new("versions").join(folder.to_string()), "the link is relative");
    let mode = |path: &str| std::fs::metadata(story.current(path)).unwrap().mode() & 0o777;
    assert_eq!((mode("."), mode("sub"), mode("a.py")), (0o555, 0o555, 0o444));
    let manifest = story.store.manifest(&folder.version()).unwrap().unwrap();
    assert_eq!(manifest.version(), folder.version());
    assert_eq!(Folder::open(story.store.private("staging")).unwrap().names().unwrap().len(), 0);
}

#[test]
fn an_unchanged_file_is_linked_and_a_changed_one_is_younger() {
    let mut story = Story::new();
    story.publish(&[("a.py", "1"), ("b.py", "2")]);
    let before = |path: &str| std::fs::metadata(story.current(path)).unwrap();
    let (a, b) = (before("a.py"), before("b.py"));
    story.publish(&[("a.py", "1"), ("b.py", "3")]);
    let after = |path: &str| std::fs::metadata(story.current(path)).unwrap();
    assert_eq!((after("a.py").ino(), after("a.py").mtime_nsec(), after("a.py").nlink()), (a.ino(), a.mtime_nsec(), 2));
    assert!(after("b.py").mtime() > b.mtime(), "by whole seconds, for Python's bytecode");
    assert_ne!(after("b.py").ino(), b.ino());
}

#[test]
fn equal_content_under_a_new_revision_leaves_the_link() {
    let mut story = Story::new();
    let first = story.publish(&[("a.py", "1")]);
    let ino = std::fs::symlink_metadata(story.store.root().join("current")).unwrap().ino();
    let again = story.try_publish(&[("a.py", "1")], false, false).unwrap();
    assert_eq!(again, Published::Unchanged(first));
    assert_eq!(std::fs::symlink_metadata(story.store.root().join("current")).unwrap().ino(), ino);
}

#[test]
fn an_older_version_comes_back_as_a_fresh_copy_with_new_times() {
    let mut story = Story::new();
    let first = story.publish(&[("a.py", "1"), ("b.py", "0")]);
    story.publish(&[("a.py", "2"), ("b.py", "0")]);
    let newer = std::fs::metadata(story.current("a.py")).unwrap().mtime();
    let back = story.publish(&[("a.py", "1"), ("b.py", "0")]);
    assert_eq!(back.to_string(), format!("{first}.2"));
    assert!(std::fs::metadata(story.current("a.py")).unwrap().mtime() > newer);
    assert_eq!(std::fs::metadata(story.current("b.py")).unwrap().nlink(), 3);
}

#[test]
fn an_empty_tree_does_not_replace_one_that_is_not() {
    let mut story = Story::new();
    let first = story.publish(&[("a.py", "1")]);
    let error = story.try_publish(&[], false, false).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Refused);
    assert!(error.to_string().contains("allow_empty"), "{error}");
    assert_eq!(story.store.current().unwrap(), Some(first));
    story.try_publish(&[], false, true).unwrap();
    assert_eq!(story.scrub(ScrubMode::Full).files, 0);
}

#[test]
fn the_second_writer_is_told_who_the_first_is() {
    let story = Story::new();
    let error = story.store.lock().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Locked);
    assert!(error.to_string().contains(&format!("pid {}", std::process::id())), "{error}");
}

#[test]
fn a_lock_whose_file_was_replaced_does_not_publish() {
    let mut story = Story::new();
    let first = story.publish(&[("a.py", "1")]);
    std::fs::remove_file(story.store.private("lock")).unwrap();
    let successor = story.store.lock().unwrap();
    let error = story.store.draft(&story.lock).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Locked);
    assert_eq!(story.store.current().unwrap(), Some(first));
    drop(successor);
}

#[test]
fn prune_keeps_the_newest_the_young_the_pinned_and_the_held() {
    let mut story = Story::new();
    let folders: Vec<FolderName> = ["1", "2", "3", "4", "5", "6"]
        .iter()
        .map(|content| {
            story.now += Duration::from_secs(100);
            story.publish(&[("a.py", content)])
        })
        .collect();
    assert_eq!(story.prune(1, 1000, &[]), [], "all are young");
    assert_eq!(story.prune(9, 0, &[]), [], "all are among the newest");
    let held = Folder::open(story.store.folder_path(&folders[1])).unwrap();
    rustix::fs::flock(&held, rustix::fs::FlockOperation::LockShared).unwrap();
    let manifest = std::fs::File::open(story.store.manifest_path(&folders[2].version())).unwrap();
    rustix::fs::flock(&manifest, rustix::fs::FlockOperation::LockShared).unwrap();
    // The fifth was retired 0 s ago, the fourth 100 s ago.
    assert_eq!(story.prune(1, 50, &[folders[0].version()]), [folders[3].clone()]);
    drop((held, manifest));
    assert_eq!(story.prune(2, 0, &[]), folders[..3]);
    assert_eq!(story.store.folders().unwrap().len(), 2);
    assert!(story.store.manifest(&folders[0].version()).unwrap().is_none());
    assert_eq!(story.prune(1, 0, &[]), [folders[4].clone()]);
    assert_eq!(story.read("a.py"), "6", "the current one always stays");
}

#[test]
fn a_clock_that_goes_backwards_removes_nothing() {
    let mut story = Story::new();
    story.publish(&[("a.py", "1")]);
    story.publish(&[("a.py", "2")]);
    story.now -= Duration::from_secs(500);
    assert_eq!(story.prune(1, 1, &[]), []);
}

#[test]
fn edited_deleted_and_added_files_are_found() {
    let mut story = Story::new();
    story.publish(&[("a.py", "1"), ("b.py", "2"), ("sub/c.py", "3")]);
    assert_eq!(story.scrub(ScrubMode::Full).changes, []);
    story.tamper("a.py", "x");
    story.tamper("new.py", "y");
    std::fs::remove_file(story.current("b.py")).unwrap();
    std::fs::create_dir(story.current("__pycache__")).unwrap();
    std::fs::write(story.current("__pycache__/a.pyc"), "bytecode").unwrap();
    let changes = story.scrub(ScrubMode::Stat).changes;
    let expected = [
        change("a.py", ChangeKind::Modified),
        change("b.py", ChangeKind::Removed),
        change("new.py", ChangeKind::Added),
    ];
    assert_eq!(changes, expected);
    let fresh = story.try_publish(&[("a.py", "1"), ("b.py", "2"), ("sub/c.py", "3")], true, false).unwrap();
    assert!(matches!(fresh, Published::New(_)));
    assert_eq!(story.scrub(ScrubMode::Full).changes, []);
    assert_eq!(story.read("a.py"), "1");
}

#[test]
fn an_unchanged_version_is_checked_without_reading_it() {
    let mut story = Story::new();
    let first = story.publish(&[("a.py", "1"), ("b.py", "2")]);
    assert_eq!(story.scrub(ScrubMode::Stat).files_read, 0);
    assert_eq!(story.scrub(ScrubMode::Full).files_read, 2);
    fs::write_atomic(&story.store.index_path(&first), b"garbage").unwrap();
    assert_eq!(story.scrub(ScrubMode::Stat).files_read, 2);
}

#[test]
fn an_edit_that_hides_behind_its_old_mtime_is_found_by_its_ctime() {
    let mut story = Story::new();
    story.publish(&[("a.py", "1")]);
    let modified = std::fs::metadata(story.current("a.py")).unwrap().modified().unwrap();
    story.tamper("a.py", "2");
    std::fs::File::open(story.current("a.py")).unwrap().set_modified(modified).unwrap();
    assert_eq!(story.scrub(ScrubMode::Stat).changes, [change("a.py", ChangeKind::Modified)]);
}

#[test]
fn a_damaged_manifest_is_not_believed() {
    let mut story = Story::new();
    let first = story.publish(&[("a.py", "1")]);
    fs::write_atomic(&story.store.manifest_path(&first.version()), b"").unwrap();
    assert_eq!(story.store.manifest(&first.version()).unwrap_err().kind(), ErrorKind::Corrupt);
}

#[test]
fn an_edit_between_publish_and_index_is_not_taken_for_what_was_staged() {
    let mut story = Story::new();
    story.publish(&[("a.py", "1"), ("b.py", "2")]);
    let (draft, tree) = story.stage(&[("a.py", "1"), ("b.py", "3")]);
    let revision = Revision::new("r");
    let publication = Publication {
        revision: &revision,
        strategy: "test",
        source: String::new(),
        filter: &Filter::default(),
        allow_empty: false,
        fresh: false,
        now: story.now,
    };
    let published = story.store.publish(&story.lock, &mut story.state, &draft, &tree, &publication).unwrap();
    story.tamper("a.py", "evil");
    story.store.index(&story.lock, published.folder(), &tree, &Interrupt::never()).unwrap();
    assert_eq!(story.scrub(ScrubMode::Stat).changes, [change("a.py", ChangeKind::Modified)]);
}

#[test]
fn an_added_link_that_leads_out_is_an_addition() {
    let mut story = Story::new();
    story.publish(&[("a.py", "1")]);
    std::fs::set_permissions(story.current(""), PermissionsExt::from_mode(0o755)).unwrap();
    std::os::unix::fs::symlink("/etc/passwd", story.current("evil.py")).unwrap();
    std::os::unix::fs::symlink("/etc", story.current("pkg")).unwrap();
    let expected = [change("evil.py", ChangeKind::Added), change("pkg", ChangeKind::Added)];
    assert_eq!(story.scrub(ScrubMode::Stat).changes, expected);
}

#[test]
fn a_version_that_is_gone_or_cannot_be_one_does_not_stop_the_others() {
    let mut story = Story::new();
    let folders: Vec<FolderName> = ["1", "2", "3", "4"].map(|content| story.publish(&[("a.py", content)])).into();
    std::fs::rename(story.store.folder_path(&folders[0]), story.store.root().join("away")).unwrap();
    assert_eq!(story.prune(1, 0, &[]), folders[..3]);
    let odd = story.store.root().join("versions").join(Digest::of("odd").to_string());
    std::fs::write(&odd, "a file").unwrap();
    let linked = story.store.root().join("versions").join(Digest::of("linked").to_string());
    std::os::unix::fs::symlink("/tmp", &linked).unwrap();
    let story = story.reopen();
    assert!(odd.exists() && linked.is_symlink(), "what dagsync did not make stays");
    assert_eq!(story.read("a.py"), "4");
}

#[test]
fn prune_never_removes_what_the_link_points_to_whoever_turned_it() {
    let mut story = Story::new();
    let first = story.publish(&[("a.py", "1")]);
    story.publish(&[("a.py", "2")]);
    fs::replace_link(&Path::new(VERSIONS).join(first.to_string()), &story.store.link_path()).unwrap();
    assert_eq!(story.prune(1, 0, &[]), []);
    assert_eq!(story.read("a.py"), "1");
}

#[test]
fn a_state_that_cannot_be_saved_does_not_unpublish() {
    let mut story = Story::new();
    std::fs::create_dir(fs::with_suffix(&story.store.state_path(), ".tmp")).unwrap();
    let first = story.publish(&[("a.py", "1")]);
    assert_eq!(story.publish(&[("a.py", "1")]), first);
    let story = story.reopen();
    assert_eq!(story.state.current, Some(first));
}

#[test]
fn an_empty_version_that_was_touched_can_be_repaired() {
    let mut story = Story::new();
    story.publish(&[]);
    std::fs::set_permissions(story.current(""), PermissionsExt::from_mode(0o755)).unwrap();
    std::fs::write(story.current("x.py"), "x").unwrap();
    assert_eq!(story.scrub(ScrubMode::Stat).changes, [change("x.py", ChangeKind::Added)]);
    story.try_publish(&[], true, false).unwrap();
    assert_eq!(story.scrub(ScrubMode::Stat).changes, []);
}

#[test]
fn leftovers_of_every_kind_need_no_help() {
    let mut story = Story::new();
    let first = story.publish(&[("a.py", "1")]);
    let root = story.store.root().to_owned();
    let orphan = root.join("versions").join(Digest::of("never current").to_string());
    let stale = story.store.private("staging").join("999-dead/tree/sub");
    for folder in [&orphan, &stale, &root.join("versions/.2"), &root.join("versions/readme")] {
        std::fs::create_dir_all(folder).unwrap();
    }
    std::os::unix::fs::symlink("versions/nothing", root.join("current.dagsync-new")).unwrap();
    std::fs::write(root.join("foreign.txt"), "mine").unwrap();
    let story = story.reopen();
    assert!(!orphan.exists() && !stale.exists() && !root.join("current.dagsync-new").is_symlink());
    assert!(root.join("foreign.txt").exists() && root.join("versions/readme").exists(), "foreign content stays");
    assert_eq!(story.store.current().unwrap(), Some(first));
}

#[test]
fn a_lost_or_damaged_state_is_rebuilt_from_the_store() {
    for damage in [None, Some("{"), Some("{\"format\": 99}"), Some("")] {
        let mut story = Story::new();
        let first = story.publish(&[("a.py", "1")]);
        let second = story.publish(&[("a.py", "2")]);
        match damage {
            None => std::fs::remove_file(story.store.state_path()).unwrap(),
            Some(text) => std::fs::write(story.store.state_path(), text).unwrap(),
        }
        let story = story.reopen();
        assert_eq!(story.state.current, Some(second));
        assert_eq!(story.state.revision, None, "the revision is not guessed");
        assert_eq!(story.state.folders[&first].retired_at, Some(story.now), "old versions stay for the full time");
    }
}

#[test]
fn a_crash_between_the_flip_and_the_state_is_adopted() {
    let mut story = Story::new();
    let first = story.publish(&[("a.py", "1")]);
    let saved = std::fs::read(story.store.state_path()).unwrap();
    let second = story.publish(&[("a.py", "2")]);
    std::fs::write(story.store.state_path(), saved).unwrap();
    let story = story.reopen();
    assert_eq!((story.state.current.clone(), story.state.revision.clone()), (Some(second), None));
    assert!(story.state.folders[&first].retired_at.is_some());
}

#[test]
fn a_dangling_link_is_as_good_as_none() {
    let mut story = Story::new();
    let first = story.publish(&[("a.py", "1")]);
    let path = story.store.folder_path(&first);
    std::fs::rename(&path, story.store.root().join("elsewhere")).unwrap();
    let mut story = story.reopen();
    assert_eq!(story.store.current().unwrap(), None);
    story.publish(&[("a.py", "1")]);
    assert_eq!(story.read("a.py"), "1");
}

#[test]
fn what_dagsync_did_not_make_is_never_replaced() {
    let story = Story::new();
    let link = story.store.root().join("current");
    std::fs::create_dir(&link).unwrap();
    let error = story.store.current().unwrap_err();
    assert!(error.to_string().contains("is not a symbolic link"), "{error}");
    std::fs::remove_dir(&link).unwrap();
    let elsewhere = tempfile::tempdir().unwrap();
    std::os::unix::fs::symlink(elsewhere.path(), &link).unwrap();
    let error = story.store.current().unwrap_err();
    assert!(error.to_string().contains("which dagsync did not make"), "{error}");
    drop(elsewhere);
    assert_eq!(story.store.current().unwrap(), None, "a link to nothing is nothing");
}
