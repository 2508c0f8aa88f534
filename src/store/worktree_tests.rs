//! Layout `worktrees`, what git-sync left, and writing by a group.

use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::time::Duration;

use dagsync_core::{ChangeKind, Limits, Progress};

use super::tests::{Story, change};
use super::*;

const FILES: &[(&str, &str)] = &[("a.py", "1"), ("sub/b.py", "2")];

/// Where the link points.
fn target(story: &Story) -> PathBuf {
    std::fs::read_link(story.store.link_path()).unwrap()
}

fn write(path: PathBuf, text: &str) {
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, text).unwrap();
}

/// What git-sync 4 leaves: trees of the commits, a link to the first, and much that is in nobody's way.
fn left_by_git_sync(root: &Path, commits: &[&str]) {
    for commit in commits {
        let tree = root.join(".worktrees").join(commit);
        FILES.iter().for_each(|(path, text)| write(tree.join(path), text));
        write(tree.join(".git"), &format!("gitdir: ../../.git/worktrees/{commit}\n"));
    }
    write(root.join(".git/index.lock"), "");
    write(root.join(".git/shallow.lock"), "");
    write(root.join("NOTES"), "mine");
    symlink(".worktrees/nothing", root.join("tmp-link")).unwrap();
    symlink(Path::new(".worktrees").join(commits[0]), root.join("repo")).unwrap();
}

fn worktrees_at(root: PathBuf) -> Store {
    Store { layout: Layout::Worktrees, ..Store::new(root, "repo") }
}

fn story_after_git_sync(commits: &[&str]) -> Story {
    Story::begin(|root| {
        left_by_git_sync(&root, commits);
        worktrees_at(root)
    })
}

#[test]
fn the_link_names_the_commit_also_when_the_content_is_the_same() {
    let mut story = Story::in_worktrees();
    for (commit, copies) in [(0, 1), (1, 2), (2, 3)] {
        story.commit = commit;
        let name = story.publish(FILES);
        let revision = story.revision(FILES);
        assert_eq!(target(&story), Path::new(".worktrees").join(revision.as_str()));
        assert_eq!((name.revision(), story.state.revision.clone()), (Some(revision.clone()), Some(revision)));
        assert_eq!(std::fs::metadata(story.current("a.py")).unwrap().nlink(), copies, "nothing was written anew");
    }
    assert_eq!(story.scrub(ScrubMode::Stat).files_read, 0);
    let again = story.try_publish(FILES, false, false).unwrap();
    assert!(matches!(again, Published::Unchanged(_)), "the same commit stays");
}

#[test]
fn a_further_copy_of_a_commit_still_ends_in_its_name() {
    let mut story = Story::in_worktrees();
    story.publish(FILES);
    story.tamper("a.py", "x");
    assert_eq!(story.scrub(ScrubMode::Stat).changes, [change("a.py", ChangeKind::Modified)]);
    let fresh = story.try_publish(FILES, true, false).unwrap().folder().clone();
    let commit = story.revision(FILES);
    assert_eq!(target(&story), Path::new(".worktrees/copy-2").join(commit.as_str()));
    assert_eq!((story.read("a.py"), fresh.revision()), ("1".to_owned(), Some(commit)));
    story.publish(&[("a.py", "3")]);
    assert_eq!(story.prune(1, 0, &[]).len(), 2);
    assert!(!story.store.root().join(".worktrees/copy-2").exists());
}

#[test]
fn the_link_may_be_anywhere_and_the_root_behind_links() {
    for link in ["deep/er/repo", "../outside/repo", "absolute"] {
        let mut story = Story::begin(|root| {
            std::fs::create_dir_all(root.parent().unwrap().join("volume/dags")).unwrap();
            symlink("volume/dags", &root).unwrap();
            let link = if link == "absolute" { root.parent().unwrap().join("links/x/repo") } else { link.into() };
            Store { link, ..worktrees_at(root) }
        });
        let name = story.publish(FILES);
        let target = target(&story);
        assert!(target.is_relative() && target.ends_with(story.revision(FILES).as_str()), "{target:?}");
        assert_eq!((story.read("sub/b.py"), story.store.current().unwrap()), ("2".to_owned(), Some(name.clone())));
        let found = Store::find(story.store.root(), None);
        assert_eq!(found.current().unwrap(), Some(name.clone()), "a reader finds {link} by itself");
        let story = story.reopen();
        assert_eq!(story.state.current, Some(name));
    }
}

#[test]
fn a_restart_knows_the_version_with_and_without_its_state_and_its_records() {
    for lost in [&[][..], &["state.json"], &["state.json", "worktrees"], &["state.json", "worktrees", "manifests"]] {
        let mut story = Story::in_worktrees();
        let old = story.publish(&[("a.py", "0")]);
        let name = story.publish(FILES);
        for what in lost {
            let path = story.store.private(what);
            if path.is_dir() { std::fs::remove_dir_all(path) } else { std::fs::remove_file(path) }.unwrap();
        }
        let mut story = story.reopen();
        assert_eq!((story.state.current.clone(), story.state.revision.clone()), (Some(name.clone()), name.revision()));
        assert_eq!(story.scrub(ScrubMode::Full).changes, []);
        assert_eq!(story.publish(FILES), name, "lost {lost:?}: the link stays");
        assert_eq!(story.state.folders.contains_key(&old), !lost.contains(&"worktrees"), "{lost:?}");
    }
}

#[test]
fn a_revision_that_is_no_commit_needs_the_other_layout() {
    let mut story = Story::in_worktrees();
    let (draft, tree) = story.stage(FILES);
    let publication = Publication {
        revision: &dagsync_core::Revision::new("sha256:1"),
        strategy: "test",
        source: String::new(),
        filter: &dagsync_core::Filter::default(),
        allow_empty: false,
        fresh: false,
        now: story.now,
    };
    let error = story.store.publish(&story.lock, &mut story.state, &draft, &tree, &publication).unwrap_err();
    assert!(error.to_string().contains("layout = \"versions\""), "{error}");
}

#[test]
fn killed_between_any_two_steps_of_a_publish_the_next_start_is_in_order() {
    let mut story = Story::in_worktrees();
    let first = story.publish(FILES);
    let second = story.publish(&[("a.py", "2")]);
    // Recorded only; recorded and in place, but never current.
    let digest = Digest::of("x");
    let only_recorded: FolderName = format!("{}@{digest}", "1".repeat(40)).parse().unwrap();
    let in_place: FolderName = format!("{}.2@{digest}", "2".repeat(40)).parse().unwrap();
    story.store.record(&story.lock, &only_recorded).unwrap();
    story.store.record(&story.lock, &in_place).unwrap();
    write(story.store.folder_path(&in_place).join("a.py"), "x");
    let story = story.reopen();
    assert_eq!(story.store.records().unwrap().len(), 2);
    assert!(!story.store.folder_path(&in_place).exists());
    assert_eq!((story.store.folders().unwrap().len(), story.read("a.py")), (2, "2".to_owned()));
    assert!(story.state.folders.contains_key(&first) && story.state.current == Some(second));
}

#[test]
fn a_store_that_changes_its_layout_keeps_serving_and_prunes_the_old() {
    let mut story = Story::new();
    let before = story.publish(FILES);
    let inode = std::fs::metadata(story.current("a.py")).unwrap().ino();
    let mut story = story.reopen_as(|store| store.layout = Layout::Worktrees);
    assert_eq!(story.state.current, Some(before.clone()), "served at once");
    story.publish(FILES);
    assert!(target(&story).starts_with(".worktrees"));
    assert_eq!(std::fs::metadata(story.current("a.py")).unwrap().ino(), inode);
    story.now += Duration::from_secs(100);
    assert_eq!(story.prune(1, 50, &[]), [before]);
    let mut story = story.reopen_as(|store| store.layout = Layout::Versions);
    story.publish(FILES);
    assert!(target(&story).starts_with("versions"));
    assert_eq!(story.scrub(ScrubMode::Full).changes, []);
}

#[test]
fn what_git_sync_published_is_served_on_and_stays() {
    let commit = "c".repeat(40);
    let mut story = Story::begin(|root| {
        left_by_git_sync(&root, &[&commit]);
        // git-sync checks links out whatever they lead to.
        symlink("/nowhere", root.join(format!(".worktrees/{commit}/dangling.py"))).unwrap();
        worktrees_at(root)
    });
    let adopted = story.state.current.clone().unwrap();
    assert_eq!(story.state.revision.as_ref().unwrap().as_str(), commit);
    assert_eq!(story.scrub(ScrubMode::Stat).changes, []);
    let link = std::fs::symlink_metadata(story.store.link_path()).unwrap().ino();
    story.state.folders.keys().for_each(|name| assert_eq!(*name, adopted));
    let revision = dagsync_core::Revision::new(&commit);
    let (draft, tree) = story.stage(FILES);
    assert_eq!((tree.counts.linked, tree.counts.copied), (0, 2), "its permissions are not ours");
    let filter = dagsync_core::Filter::default();
    let (allow_empty, fresh, now) = (false, false, story.now);
    let publication = Publication {
        revision: &revision,
        strategy: "t",
        source: String::new(),
        filter: &filter,
        allow_empty,
        fresh,
        now,
    };
    let published = story.store.publish(&story.lock, &mut story.state, &draft, &tree, &publication).unwrap();
    assert_eq!(published, Published::Unchanged(adopted));
    assert_eq!(std::fs::symlink_metadata(story.store.link_path()).unwrap().ino(), link, "no flip");
    drop(draft);
    // Damaged, it is replaced by a copy of its own.
    let (draft, tree) = story.stage(&[("a.py", "whole"), ("sub/b.py", "2")]);
    story.store.publish(&story.lock, &mut story.state, &draft, &tree, &publication).unwrap();
    assert_eq!(target(&story), Path::new(".worktrees/copy-2").join(&commit));
    assert_eq!(story.read("a.py"), "whole");
}

#[test]
fn the_other_trees_of_git_sync_go_when_they_are_old_and_nothing_else_does() {
    let commits = ["a".repeat(40), "b".repeat(64)];
    let mut story = story_after_git_sync(&[&commits[0], &commits[1]]);
    let root = story.store.root().to_owned();
    for foreign in [format!(".worktrees/{}/x.py", "d".repeat(40)), ".worktrees/readme/x".to_owned()] {
        write(root.join(foreign), "mine");
    }
    assert_eq!(story.state.git_sync.keys().collect::<Vec<_>>(), [&commits[1]]);
    story.publish(&[("a.py", "new")]);
    story.prune(1, 50, &[]);
    assert!(root.join(".worktrees").join(&commits[1]).exists(), "young");
    story.now += Duration::from_secs(100);
    let mut story = story.reopen();
    let reader = Folder::open(root.join(".worktrees").join(&commits[1])).unwrap();
    rustix::fs::flock(&reader, rustix::fs::FlockOperation::LockShared).unwrap();
    story.prune(1, 50, &[]);
    assert!(root.join(".worktrees").join(&commits[1]).exists(), "held");
    assert!(!root.join(".worktrees").join(&commits[0]).exists(), "the adopted one is a version like any other");
    drop(reader);
    story.prune(1, 50, &[]);
    let left = |path: &str| root.join(path).symlink_metadata().is_ok();
    assert!(!left(&format!(".worktrees/{}", commits[1])));
    for stays in [".git/index.lock", "NOTES", "tmp-link", &format!(".worktrees/{}/x.py", "d".repeat(40))] {
        assert!(left(stays), "{stays}");
    }
    assert!(left(".worktrees/readme/x") && story.read("a.py") == "new");
}

#[test]
fn a_tree_of_git_sync_that_cannot_be_adopted_is_replaced_and_never_pruned_while_it_is_current() {
    let commit = "c".repeat(40);
    for damage in ["a\\b.py", ""] {
        let mut story = Story::begin(|root| {
            left_by_git_sync(&root, &[&commit]);
            let tree = root.join(".worktrees").join(&commit);
            if damage.is_empty() {
                FILES.iter().for_each(|(path, _)| std::fs::remove_file(tree.join(path)).unwrap());
            } else {
                write(tree.join(damage), "a name that cannot be published");
            }
            worktrees_at(root)
        });
        assert_eq!(story.store.current().unwrap(), None);
        story.now += Duration::from_secs(100);
        story.prune(1, 0, &[]);
        assert!(story.store.link_path().exists());
        story.publish(FILES);
        assert_eq!(story.read("a.py"), "1");
    }
}

#[test]
fn a_link_of_git_sync_3_is_replaced_and_its_folder_stays() {
    for name in ["c".repeat(40), format!("rev-{}", "c".repeat(40))] {
        let mut story = Story::begin(|root| {
            write(root.join(&name).join("a.py"), "old");
            symlink(&name, root.join("repo")).unwrap();
            worktrees_at(root)
        });
        assert_eq!((story.store.current().unwrap(), story.read("a.py")), (None, "old".to_owned()));
        story.publish(FILES);
        assert_eq!(story.read("a.py"), "1");
        story.prune(1, 0, &[]);
        assert!(story.store.root().join(name).join("a.py").exists());
    }
}

#[test]
fn what_git_sync_did_not_make_is_refused_and_not_touched() {
    let elsewhere = tempfile::tempdir().unwrap();
    for target in [elsewhere.path(), Path::new("mine"), Path::new("."), Path::new(".worktrees/mine")] {
        let story = Story::in_worktrees();
        let link = story.store.link_path();
        ["mine", ".worktrees/mine"].iter().for_each(|path| write(story.store.root().join(path).join("x"), "mine"));
        symlink(target, &link).unwrap();
        let refused = |error: Error| assert_eq!(error.kind(), ErrorKind::Refused, "{error}");
        refused(story.store.current().unwrap_err());
        let (limits, never, progress) = (Limits::default(), Interrupt::never(), Progress::default());
        refused(story.store.adopt(&story.lock, &limits, &never, &progress).unwrap_err());
        refused(story.store.recover(&story.lock, story.now, &never).unwrap_err());
        assert_eq!(std::fs::read_link(&link).unwrap(), target);
    }
}

#[test]
fn the_group_may_write_to_what_is_published_where_it_is_asked_to() {
    let mut story = Story::in_worktrees();
    let old = story.publish(FILES);
    let mode = |story: &Story, path: &str| std::fs::metadata(story.current(path)).unwrap().mode() & 0o7777;
    let modified = |story: &Story| std::fs::metadata(story.current("a.py")).unwrap().modified().unwrap();
    let before = (modified(&story), std::fs::metadata(story.current("a.py")).unwrap().ino());
    assert_eq!((mode(&story, "."), mode(&story, "sub"), mode(&story, "a.py")), (0o555, 0o555, 0o444));
    let mut story = story.reopen_as(|store| store.group_write = true);
    story.commit += 1;
    story.publish(FILES);
    assert_eq!((mode(&story, "."), mode(&story, "sub"), mode(&story, "a.py")), (0o775, 0o775, 0o664));
    assert_eq!(modified(&story), before.0, "copied with its time");
    assert_ne!(std::fs::metadata(story.current("a.py")).unwrap().ino(), before.1);
    assert_eq!(story.scrub(ScrubMode::Stat).changes, []);
    let private = ["", "staging", "manifests", "indexes", "worktrees", "cache"].map(|name| story.store.private(name));
    for folder in private.iter().chain([&story.store.root().to_owned(), &story.store.root().join(".worktrees")]) {
        assert_eq!(std::fs::metadata(folder).unwrap().mode() & 0o070, 0o070, "{}", folder.display());
    }
    story.commit += 1;
    story.publish(FILES);
    assert_eq!(std::fs::metadata(story.current("a.py")).unwrap().nlink(), 2, "now the permissions fit");
    assert!(story.prune(1, 0, &[]).contains(&old));
}

#[test]
fn a_folder_made_for_the_group_keeps_its_setgid_bit() {
    let mut story = Story::begin(|root| {
        std::fs::create_dir_all(&root).unwrap();
        std::fs::set_permissions(&root, PermissionsExt::from_mode(0o2775)).unwrap();
        Store { group_write: true, ..worktrees_at(root) }
    });
    story.publish(FILES);
    for path in ["", "sub"] {
        assert_eq!(std::fs::metadata(story.current(path)).unwrap().mode() & 0o7777, 0o2775, "{path:?}");
    }
    assert!(story.home().exists());
}
