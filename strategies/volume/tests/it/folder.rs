//! A folder that people and tools copy into.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};

use dagsync_core::{
    ErrorKind, Interrupt, Limits, Result, Staging, StagingRules, Strategy, SymlinkPolicy, SyncContext, Tree,
};
use dagsync_testkit::{Harness, Synced, oracle};

use crate::scene::{Volume, strategy};

fn within(time: Duration) -> Interrupt {
    Interrupt::new(Default::default(), Some(Instant::now() + time))
}

async fn error_of(harness: &Harness, strategy: &dyn Strategy) -> dagsync_core::Error {
    harness.sync(strategy).await.map(|synced: Synced| synced.revision).unwrap_err()
}

#[tokio::test]
async fn a_tree_that_is_being_copied_is_waited_for() {
    let (volume, harness) = (Volume::new(), Harness::new());
    let strategy = volume.strategy(&[("settle", "150ms")]);
    let source = volume.path();
    let writer = std::thread::spawn(move || {
        for n in 0..20 {
            fs::write(source.join(format!("{n}.py")), n.to_string()).unwrap();
            std::thread::sleep(Duration::from_millis(30));
        }
    });
    // Not before there is a first file.
    tokio::time::sleep(Duration::from_millis(100)).await;
    let synced = harness.sync(&*strategy).await.unwrap();
    assert!(writer.is_finished(), "the writer paused for less than the folder must be still");
    assert_eq!(synced.manifest.len(), 20);
}

#[tokio::test]
async fn a_folder_that_is_never_still_names_what_moves() {
    let (volume, mut harness) = (Volume::new(), Harness::new());
    volume.write("a.py", "1");
    volume.write("log/x.log", "");
    let stop = Arc::new(AtomicBool::new(false));
    let (path, stopped) = (volume.at("log/x.log"), stop.clone());
    let writer = std::thread::spawn(move || {
        let mut text = String::new();
        while !stopped.load(Relaxed) {
            text.push('x');
            fs::write(&path, &text).unwrap();
            std::thread::sleep(Duration::from_millis(5));
        }
    });
    let strategy = volume.strategy(&[("settle", "50ms")]);
    harness.interrupt = within(Duration::from_millis(600));
    let error = error_of(&harness, &*strategy).await;
    assert_eq!(error.kind(), ErrorKind::Timeout, "{error}");
    let text = error.to_string();
    assert!(text.contains("has not been still for 50ms (last log/x.log changes") && text.contains("exclude"), "{text}");
    harness.interrupt = Interrupt::never();
    harness.filter = Arc::new(dagsync_core::Filter::new(&[], &["log".into()]).unwrap());
    assert_eq!(harness.sync(&*strategy).await.unwrap().manifest.len(), 1, "what is left out may move");
    stop.store(true, Relaxed);
    writer.join().unwrap();
}

#[tokio::test]
async fn a_timeout_shorter_than_the_wait_says_so() {
    let (volume, mut harness) = (Volume::new(), Harness::new());
    volume.write("a.py", "1");
    harness.interrupt = within(Duration::from_secs(1));
    let error = error_of(&harness, &*volume.strategy(&[("settle", "1h")])).await;
    assert!(error.to_string().ends_with("timeout must be longer than volume.settle"), "{error}");
}

#[tokio::test]
async fn an_unfinished_upload_holds_everything_back_until_it_is_done_or_forgotten() {
    for name in ["b.py.filepart", ".b.py.Xy12zz", ".~tmp~/b.py"] {
        let (volume, mut harness) = (Volume::new(), Harness::new());
        volume.write("a.py", "1");
        volume.write(name, "half of");
        let strategy = volume.strategy(&[("settle", "30ms")]);
        harness.interrupt = within(Duration::from_millis(300));
        let error = error_of(&harness, &*strategy).await;
        assert!(error.to_string().contains(&format!("{name} looks like an upload that is not finished")), "{error}");
        harness.interrupt = Interrupt::never();
        harness.filter = Arc::new(dagsync_core::Filter::new(&["**/*.py".into()], &[]).unwrap());
        harness.interrupt = within(Duration::from_millis(300));
        let error = error_of(&harness, &*strategy).await;
        assert!(error.to_string().contains("not finished"), "what the globs leave out is a sign all the same: {error}");
        harness.filter = Arc::default();
        harness.interrupt = Interrupt::never();
        let old = volume.strategy(&[("partial_age", "0s")]);
        let synced = harness.sync(&*old).await.unwrap();
        assert_eq!(synced.manifest.len(), 2, "a leftover is a file as any other, or nobody could check the version");
        assert!(synced.warnings[0].to_string().contains("was never finished"), "{:?}", synced.warnings);
        fs::rename(volume.at(name), volume.at("b.py")).unwrap();
        let synced = harness.sync(&*strategy).await.unwrap();
        assert!(synced.manifest.get("b.py").is_some() && synced.warnings.is_empty());
    }
}

#[tokio::test]
async fn an_edit_that_keeps_size_and_mtime_is_found() {
    let (volume, mut harness) = (Volume::new(), Harness::new());
    volume.write("a.py", "1");
    let strategy = volume.strategy(&[]);
    let before = harness.sync(&*strategy).await.unwrap();
    harness.publish(&before).unwrap();
    let old = fs::metadata(volume.at("a.py")).unwrap().modified().unwrap();
    volume.write("a.py", "2");
    fs::File::options().write(true).open(volume.at("a.py")).unwrap().set_modified(old).unwrap();
    let after = harness.sync(&*strategy).await.unwrap();
    assert_ne!(after.manifest.version(), before.manifest.version());
}

/// As `cp -p` over the files of a tree whose times are all the same: only ctime tells.
#[tokio::test]
async fn a_file_whose_time_is_set_back_while_it_is_copied_is_called_changed() {
    let (volume, harness) = (Volume::new(), Harness::new());
    let at = std::time::SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000_000);
    let write = |content: &str| {
        volume.write("a.py", content);
        fs::File::options().write(true).open(volume.at("a.py")).unwrap().set_modified(at).unwrap();
    };
    for mode in ["copy", "in-place"] {
        write("old");
        let strategy = volume.strategy(&[("mode", mode)]);
        let revision = harness.resolve(&*strategy).await.unwrap();
        write("new");
        let error = harness.materialize(&*strategy, &revision).await.unwrap_err();
        assert!(error.kind() == ErrorKind::Changed && error.to_string().contains("a.py"), "{mode}: {error}");
        harness.sync(&*strategy).await.unwrap();
    }
}

#[tokio::test]
async fn a_folder_that_is_away_for_a_moment_is_waited_for_and_one_that_stays_away_is_not() {
    let (volume, mut harness) = (Volume::new(), Harness::new());
    volume.write("a.py", "1");
    let strategy = volume.strategy(&[("settle", "200ms")]);
    harness.sync(&*strategy).await.unwrap();
    let (path, aside) = (volume.path(), volume.path().with_file_name("aside"));
    fs::rename(&path, &aside).unwrap();
    fs::write(aside.join("a.py"), "2").unwrap();
    let (from, to) = (aside.clone(), path.clone());
    let back = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(100));
        fs::rename(from, to).unwrap();
    });
    let synced = harness.sync(&*strategy).await.unwrap();
    back.join().unwrap();
    assert_eq!(synced.manifest.get("a.py"), Some(&dagsync_core::Digest::of("2")));
    fs::rename(&path, &aside).unwrap();
    harness.interrupt = within(Duration::from_secs(30));
    let error = error_of(&harness, &*strategy).await;
    assert!(error.kind() == ErrorKind::NotFound && error.to_string().contains("is not there"), "{error}");
}

#[tokio::test]
async fn after_a_restart_nothing_is_read_that_is_known() {
    let (volume, mut harness) = (Volume::new(), Harness::new());
    for n in 0..50 {
        volume.write(&format!("{n}.py"), n.to_string());
    }
    let first = harness.sync(&*volume.strategy(&[])).await.unwrap();
    harness.publish(&first).unwrap();
    // A process that cannot read the files has to know them.
    let again = volume.strategy(&[("settle", "1h")]);
    harness.interrupt = within(Duration::from_secs(5));
    assert_eq!(harness.resolve(&*again).await.unwrap(), first.revision, "what was still is not waited for again");
    let synced = harness.materialize(&*again, &first.revision).await.unwrap();
    assert!(matches!(synced.tree, Tree::Unchanged), "and nothing is staged only to be thrown away");
    harness.unpublish();
    let synced = harness.sync(&*again).await.unwrap();
    assert_eq!((synced.tree.is_staged(), synced.counts.written), (true, 50), "without a version before there is one");
}

#[tokio::test]
async fn large_files_are_hashed_before_they_are_copied_again() {
    let (volume, mut harness) = (Volume::new(), Harness::new());
    let large = vec![7; 3 << 20];
    volume.write("large.bin", &large);
    let strategy = volume.strategy(&[]);
    let first = harness.sync(&*strategy).await.unwrap();
    assert_eq!(first.counts.bytes_written, 3 << 20);
    harness.publish(&first).unwrap();
    fs::remove_file(volume.at("large.bin")).unwrap();
    volume.write("large.bin", &large);
    let same = harness.sync(&*strategy).await.unwrap();
    assert_eq!((same.counts.written, same.counts.linked), (0, 1), "it was replaced by the same");
    volume.write("large.bin", [&large[1..], b"x"].concat());
    let other = harness.sync(&*strategy).await.unwrap();
    assert_eq!(other.counts.bytes_written, 3 << 20);
    assert_ne!(other.manifest.version(), first.manifest.version());
}

#[tokio::test]
async fn a_file_that_may_not_be_read_is_named_and_stops_the_sync() {
    if rustix::process::geteuid().is_root() {
        // Root may read everything; the integration tests drop their rights for this.
        return;
    }
    let (volume, harness) = (Volume::new(), Harness::new());
    volume.write("secret.py", "1");
    fs::set_permissions(volume.at("secret.py"), fs::Permissions::from_mode(0o0)).unwrap();
    let error = error_of(&harness, &*volume.strategy(&[])).await;
    assert!(error.to_string().contains("secret.py") && error.to_string().contains("runAsUser"), "{error}");
}

#[tokio::test]
async fn a_million_names_are_refused_without_holding_them() {
    let (volume, mut harness) = (Volume::new(), Harness::new());
    for n in 0..5_000 {
        volume.write(&format!("many/{n}.py"), "");
    }
    harness.limits = Limits { files: 100, ..Limits::default() };
    let error = error_of(&harness, &*volume.strategy(&[])).await;
    assert!(error.kind() == ErrorKind::LimitExceeded && error.to_string().contains("limits.files = 100"), "{error}");
    harness.filter = Arc::new(dagsync_core::Filter::new(&[], &["many".into()]).unwrap());
    volume.write("a.py", "1");
    assert_eq!(harness.sync(&*volume.strategy(&[])).await.unwrap().manifest.len(), 1);
}

#[tokio::test]
async fn a_name_of_another_encoding_is_named() {
    use std::os::unix::ffi::OsStrExt;
    let (volume, harness) = (Volume::new(), Harness::new());
    let latin1 = std::ffi::OsStr::from_bytes(b"pr\xfcfung.py");
    fs::write(volume.path().join(latin1), "1").unwrap();
    let error = error_of(&harness, &*volume.strategy(&[])).await;
    assert_eq!(error.kind(), ErrorKind::Refused);
    assert!(error.to_string().contains("pr\\xfcfung.py is not UTF-8"), "{error}");
}

/// While the tree is read, one of its folders becomes a link to a folder outside, over and over.
#[tokio::test]
async fn a_folder_that_becomes_a_link_never_leads_outside() {
    let (volume, mut harness) = (Volume::new(), Harness::new());
    let outside = tempfile::tempdir().unwrap();
    fs::write(outside.path().join("x.py"), "outside").unwrap();
    volume.write("sub/x.py", "inside");
    symlink(outside.path(), volume.at("link")).unwrap();
    let (stop, root) = (Arc::new(AtomicBool::new(false)), volume.path());
    let stopped = stop.clone();
    let swapper = std::thread::spawn(move || {
        while !stopped.load(Relaxed) {
            for (from, to) in [("sub", "aside"), ("link", "sub"), ("sub", "link"), ("aside", "sub")] {
                fs::rename(root.join(from), root.join(to)).unwrap();
            }
        }
    });
    let strategy = volume.strategy(&[]);
    let expected = dagsync_core::Digest::of("inside");
    for _ in 0..40 {
        harness.interrupt = within(Duration::from_millis(120));
        let synced: Result<Synced> = harness.sync(&*strategy).await;
        let Ok(synced) = synced else { continue };
        for entry in synced.manifest.entries() {
            assert_eq!(entry.digest, expected, "{}", entry.path);
        }
    }
    stop.store(true, Relaxed);
    swapper.join().unwrap();
    harness.interrupt = Interrupt::never();
    assert_eq!(harness.sync(&*strategy).await.unwrap().manifest.len(), 1);
}

#[tokio::test]
async fn a_source_that_holds_the_store_is_refused() {
    let harness = Harness::new();
    let error = error_of(&harness, &*strategy(harness.root(), &[]).unwrap()).await;
    assert_eq!(error.kind(), ErrorKind::Config);
    assert!(error.to_string().contains("lies in its own source"), "{error}");
}

#[tokio::test]
async fn a_volume_that_is_not_mounted_is_told_from_an_empty_one() {
    let (volume, harness) = (Volume::new(), Harness::new());
    volume.write("a.py", "1");
    harness.sync(&*volume.strategy(&[])).await.unwrap();
    let error = error_of(&harness, &*volume.strategy(&[("require_mount", "nfs4")])).await;
    assert!(error.is_retryable() && error.to_string().contains("volume.require_mount"), "{error}");
    fs::remove_file(volume.at("a.py")).unwrap();
    fs::remove_dir(volume.at("lost+found")).unwrap();
    let error = error_of(&harness, &*volume.strategy(&[])).await;
    assert!(error.to_string().contains("holds nothing at all"), "{error}");
}

#[tokio::test]
async fn a_setting_that_cannot_be_is_refused_by_name() {
    for (setting, value, named) in [("link", "../x", "volume.link"), ("partial", "a[", "volume.partial glob")] {
        let error = strategy("/x".as_ref(), &[(setting, value)]).unwrap_err();
        assert!(error.kind() == ErrorKind::Config && error.to_string().contains(named), "{error}");
    }
}

/// Where a file system's times can be set at will, or content changes without them, a full check finds it.
#[tokio::test]
async fn a_thorough_sync_reads_every_file_again() {
    let (volume, harness) = (Volume::new(), Harness::new());
    for n in 0..20 {
        volume.write(&format!("{n}.py"), n.to_string());
    }
    let strategy = volume.strategy(&[("mode", "in-place")]);
    let revision = harness.resolve(&*strategy).await.unwrap();
    let read = async |thorough: bool| {
        let cx = SyncContext { thorough, ..harness.context() };
        let staging = tempfile::tempdir().unwrap();
        let rules = StagingRules {
            filter: cx.filter.clone(),
            limits: cx.limits,
            symlinks: SymlinkPolicy::Skip,
            group_write: false,
        };
        let staging = Staging::new(staging.path(), rules, None, cx.interrupt.clone(), cx.progress.clone()).unwrap();
        match strategy.materialize(&cx, &revision, &staging).await.unwrap() {
            Tree::InPlace(found) => found.tree.files_read,
            _ => panic!("it is in its place"),
        }
    };
    assert_eq!((read(false).await, read(false).await, read(true).await, read(false).await), (20, 0, 20, 0));
}

#[tokio::test]
async fn what_lies_in_place_is_what_coreutils_find_there() {
    let (volume, harness) = (Volume::new(), Harness::new());
    volume.write("a.py", "1");
    volume.write("sub/b.py", "2");
    symlink("sub", volume.at("link")).unwrap();
    let strategy = volume.strategy(&[("mode", "in-place")]);
    for content in ["3", "4"] {
        volume.write("a.py", content);
        let synced = harness.sync(&*strategy).await.unwrap();
        assert!(!synced.tree.is_staged() && synced.folder == volume.path());
        let by_hand = oracle::manifest(&volume.path()).unwrap();
        assert_eq!(String::from_utf8(synced.manifest.to_bytes()).unwrap(), by_hand);
    }
}
