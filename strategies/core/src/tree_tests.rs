use std::collections::HashMap;
use std::path::Path;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use proptest::prelude::*;
use tokio_util::sync::CancellationToken;

use super::*;
use crate::fixture::{Given, hash, path, put, put_folder, put_link};
use crate::index::file_system_now;

/// The file system's clock once it has moved past every file below `root`, whose files are then not racy.
fn later(root: &Path) -> Nanos {
    let start = file_system_now(root).unwrap();
    loop {
        let now = file_system_now(root).unwrap();
        if now > start {
            return now;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
}

fn tree() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    for name in ["a.py", "b.py", "sub/c.py"] {
        put(dir.path(), name, name);
    }
    dir
}

fn file_time(root: &Path, name: &str) -> std::time::SystemTime {
    root.join(name).metadata().unwrap().modified().unwrap()
}

fn set_time(root: &Path, name: &str, time: std::time::SystemTime) {
    File::options().write(true).open(root.join(name)).unwrap().set_modified(time).unwrap();
}

#[test]
fn an_unchanged_file_is_not_read_again() {
    let dir = tree();
    let first = Given { now: Some(later(dir.path())), ..Given::default() }.hash(dir.path()).unwrap();
    assert_eq!((first.files_read, first.bytes), (3, 16));
    // An index that lies shows that nobody looked.
    let (stat, _) = *first.index.get("a.py").unwrap();
    let mut entries: HashMap<_, _> = [(path("a.py"), (stat, Digest::of("a lie")))].into();
    for name in ["b.py", "sub/c.py"] {
        entries.insert(path(name), *first.index.get(name).unwrap());
    }
    let index = StatIndex::new(later(dir.path()), entries.into_iter().collect());
    let second = Given { index, ..Given::default() }.hash(dir.path()).unwrap();
    assert_eq!(second.files_read, 0);
    assert_eq!(second.manifest.get("a.py"), Some(&Digest::of("a lie")));
    assert_eq!(second.manifest.get("b.py"), first.manifest.get("b.py"));
}

#[test]
fn an_edit_that_restores_size_and_mtime_is_seen() {
    let dir = tree();
    let first = Given { now: Some(later(dir.path())), ..Given::default() }.hash(dir.path()).unwrap();
    let before = file_time(dir.path(), "a.py");
    put(dir.path(), "a.py", "A.py");
    set_time(dir.path(), "a.py", before);
    let second = Given { index: first.index, ..Given::default() }.hash(dir.path()).unwrap();
    assert_eq!(second.files_read, 1);
    assert_eq!(second.manifest.get("a.py"), Some(&Digest::of("A.py")));
}

#[test]
fn files_of_the_tick_in_which_the_index_was_taken_are_read_again() {
    let dir = tree();
    let youngest = hash(dir.path()).index.get("sub/c.py").unwrap().0.ctime;
    for now in [None, Some(youngest)] {
        let first = Given { now, ..Given::default() }.hash(dir.path()).unwrap();
        let again = Given { index: first.index, ..Given::default() }.hash(dir.path()).unwrap();
        assert!(again.files_read >= 1, "{now:?}");
        assert_eq!(again.manifest, first.manifest);
    }
}

#[test]
fn a_saved_index_proves_as_much() {
    let dir = tree();
    let saved = tempfile::tempdir().unwrap();
    let first = Given { now: Some(later(dir.path())), ..Given::default() }.hash(dir.path()).unwrap();
    first.index.save(&saved.path().join("index")).unwrap();
    let index = StatIndex::load(&saved.path().join("index"));
    let second = Given { index, ..Given::default() }.hash(dir.path()).unwrap();
    assert_eq!((second.files_read, second.manifest), (0, first.manifest));
}

fn hash_one(dir: &Path, listed: &FileStat) -> Result<Digest> {
    let given = Given::default();
    let reading = Reading {
        filter: &given.filter,
        limits: &given.limits,
        symlinks: SymlinkPolicy::Skip,
        index: &given.index,
        now: None,
        interrupt: &Interrupt::never(),
        progress: &given.progress,
    };
    hash_file(&Folder::open(dir).unwrap(), &path("a.py"), (listed, Same::Content), &mut [0; 1024], &reading)
}

#[test]
fn what_changed_after_it_was_listed_is_called_changed() {
    type Change = fn(&Path);
    let changes: [(&str, Change); 5] = [
        ("edited", |dir| put(dir, "a.py", "longer than before")),
        ("removed", |dir| std::fs::remove_file(dir.join("a.py")).unwrap()),
        ("now a folder", |dir| {
            std::fs::remove_file(dir.join("a.py")).unwrap();
            put_folder(dir, "a.py");
        }),
        ("now a link", |dir| {
            std::fs::remove_file(dir.join("a.py")).unwrap();
            put_link(dir, "a.py", "b.py");
        }),
        ("now a pipe", |dir| {
            std::fs::remove_file(dir.join("a.py")).unwrap();
            assert!(std::process::Command::new("mkfifo").arg(dir.join("a.py")).status().unwrap().success());
        }),
    ];
    for (what, change) in changes {
        let dir = tree();
        let listed = Folder::open(dir.path()).unwrap().stat("a.py").unwrap();
        assert_eq!(hash_one(dir.path(), &listed).unwrap(), Digest::of("a.py"));
        change(dir.path());
        assert_eq!(hash_one(dir.path(), &listed).unwrap_err().kind(), ErrorKind::Changed, "{what}");
    }
}

#[test]
fn a_file_written_while_it_is_read_is_called_changed() {
    let dir = tempfile::tempdir().unwrap();
    let file = File::create(dir.path().join("big")).unwrap();
    file.set_len(64 << 20).unwrap();
    let done = std::sync::atomic::AtomicBool::new(false);
    let hashed = std::thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Relaxed) {
                std::os::unix::fs::FileExt::write_at(&file, b"x", 0).unwrap();
                std::thread::sleep(Duration::from_millis(1));
            }
        });
        let hashed = Given::default().hash(dir.path());
        done.store(true, Relaxed);
        hashed
    });
    assert_eq!(hashed.unwrap_err().kind(), ErrorKind::Changed);
}

#[test]
fn a_tree_that_churns_is_read_or_called_changed() {
    let dir = tree();
    let end = Instant::now() + Duration::from_millis(500);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while Instant::now() < end {
                put(dir.path(), "x/y/z", "z");
                put_link(dir.path(), "x/l", "y");
                std::fs::remove_dir_all(dir.path().join("x")).unwrap();
            }
        });
        while Instant::now() < end {
            if let Err(error) = Given::default().hash(dir.path()) {
                assert_eq!(error.kind(), ErrorKind::Changed, "{error}");
            }
        }
    });
}

#[test]
fn hashing_stops_soon_on_request_and_at_the_deadline() {
    let dir = tempfile::tempdir().unwrap();
    File::create(dir.path().join("huge")).unwrap().set_len(1 << 30).unwrap();
    let soon = Duration::from_millis(50);
    let token = CancellationToken::new();
    let deadline = Interrupt::new(CancellationToken::new(), Some(Instant::now() + soon));
    let error = Given { interrupt: Some(deadline), ..Given::default() }.hash(dir.path()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Timeout);
    let request = Interrupt::new(token.clone(), None);
    std::thread::scope(|scope| {
        scope.spawn(move || {
            std::thread::sleep(soon);
            token.cancel();
        });
        let error = Given { interrupt: Some(request), ..Given::default() }.hash(dir.path()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Cancelled);
    });
}

#[test]
fn each_limit_is_named() {
    let dir = tree();
    put(dir.path(), "d/e/e/p.py", "12345");
    put_link(dir.path(), "again", "d");
    let standard = Limits::default();
    for (limits, name) in [
        (Limits { files: 4, ..standard }, "limits.files"),
        (Limits { bytes: 20, ..standard }, "limits.bytes"),
        (Limits { file_bytes: 4, ..standard }, "limits.file_bytes"),
        (Limits { path_bytes: 9, ..standard }, "limits.path_bytes"),
        (Limits { depth: 3, ..standard }, "limits.depth"),
    ] {
        let error = Given { limits, ..Given::default() }.hash(dir.path()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::LimitExceeded);
        assert!(error.to_string().contains(&format!("{name} = ")), "{error}");
    }
    let exact = Limits { files: 5, bytes: 21, file_bytes: 8, path_bytes: 14, depth: 4 };
    assert_eq!(Given { limits: exact, ..Given::default() }.hash(dir.path()).unwrap().manifest.len(), 5);
}

#[test]
fn a_name_that_no_two_tools_print_alike_is_refused_unless_left_out() {
    use std::os::unix::ffi::OsStrExt;
    for (name, shown) in [(&b"x\xff.py"[..], "x\\xff.py"), (b"a\nb.py", "a\\nb.py"), (b"a\\b.py", "a\\\\b.py")] {
        for folder in [false, true] {
            let dir = tree();
            let at = dir.path().join(std::ffi::OsStr::from_bytes(name));
            if folder {
                std::fs::create_dir(at).unwrap()
            } else {
                std::fs::write(at, "").unwrap()
            }
            let error = Given::default().hash(dir.path()).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Refused);
            assert!(error.to_string().contains(shown), "{error}");
            let filter = Filter::new(&[], &["[ax]?*b.py".into(), "x*.py".into()]).unwrap();
            assert_eq!(Given { filter, ..Given::default() }.hash(dir.path()).unwrap().manifest.len(), 3);
        }
    }
}

#[test]
fn pipes_and_sockets_are_no_files() {
    let dir = tree();
    assert!(std::process::Command::new("mkfifo").arg(dir.path().join("pipe")).status().unwrap().success());
    let _socket = std::os::unix::net::UnixListener::bind(dir.path().join("socket")).unwrap();
    put_link(dir.path(), "to-pipe", "pipe");
    let hashed = hash(dir.path());
    assert_eq!(hashed.manifest, hash(tree().path()).manifest);
    assert_eq!(hashed.skipped.len(), 1);
}

#[test]
fn refusing_links_names_the_link() {
    let dir = tree();
    put_link(dir.path(), "passwd", "/etc/passwd");
    let error = Given { symlinks: SymlinkPolicy::Refuse, ..Given::default() }.hash(dir.path()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Refused);
    assert!(error.to_string().contains("passwd -> /etc/passwd leaves the root"), "{error}");
}

/// Permissions bind root nowhere, so where the tests run as root this one runs itself again as nobody.
#[test]
fn an_unreadable_file_is_named() {
    use std::os::unix::fs::PermissionsExt;
    use std::os::unix::process::CommandExt;
    if rustix::process::geteuid().is_root() {
        let test = "tree::tests::an_unreadable_file_is_named";
        let mut again = std::process::Command::new(std::env::current_exe().unwrap());
        let output = again.args(["--exact", test]).current_dir("/").uid(65534).output().unwrap();
        assert!(output.status.success(), "{output:?}");
        assert!(String::from_utf8_lossy(&output.stdout).contains("1 passed"), "{output:?}");
        return;
    }
    let dir = tree();
    let set = |mode| std::fs::set_permissions(dir.path().join("sub/c.py"), std::fs::Permissions::from_mode(mode));
    set(0).unwrap();
    let error = Given::default().hash(dir.path()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Io);
    assert!(error.to_string().contains("sub/c.py") && error.to_string().contains("owner"), "{error}");
}

#[test]
fn ten_thousand_files() {
    let dir = tempfile::tempdir().unwrap();
    for i in 0..10_000 {
        put(dir.path(), &format!("{:02}/{i:05}.py", i % 100), i.to_string());
    }
    let given = Given { now: Some(later(dir.path())), ..Given::default() };
    let first = given.hash(dir.path()).unwrap();
    assert_eq!((first.manifest.len(), first.files_read), (10_000, 10_000));
    assert_eq!(first.manifest.get("42/00142.py"), Some(&Digest::of("142")));
    assert_eq!(given.progress.read().done, 10_000);
    let second = Given { index: first.index, ..Given::default() }.hash(dir.path()).unwrap();
    assert_eq!((second.manifest, second.files_read), (first.manifest, 0));
}

proptest! {
    /// Whatever bytes a source calls a path: one that is taken stays below the root on disk and in a manifest.
    #[test]
    fn a_path_that_is_taken_is_harmless(bytes in proptest::collection::vec(
        prop_oneof![Just(b'/'), Just(b'.'), Just(b'\\'), Just(b'a'), any::<u8>()], 0..12,
    )) {
        use std::path::Component;
        let Ok(taken) = TreePath::new(&bytes) else { return Ok(()) };
        prop_assert_eq!(taken.as_str().as_bytes(), &bytes[..]);
        prop_assert!(taken.as_path().components().all(|c| matches!(c, Component::Normal(_))));
        prop_assert_eq!(taken.as_path().components().count(), taken.depth());
        let (folder, name) = taken.split();
        prop_assert_eq!(Path::new(folder).join(name), taken.as_path());
        let line = format!("{}  {taken}\n", Digest::of(""));
        if taken.as_str() != "-" {
            let manifest = Manifest::new(vec![Entry { path: taken, digest: Digest::of("") }]).unwrap();
            prop_assert_eq!(&manifest.to_bytes(), line.as_bytes());
            prop_assert_eq!(Manifest::parse(line.as_bytes()).unwrap(), manifest);
        }
    }
}

#[test]
fn what_no_version_holds_keeps_nothing_else_from_being_read() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["a.py", "large.bin", "b\\ad.py", "new\nline/x.py"] {
        let path = folder.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, name).unwrap();
    }
    std::os::unix::fs::symlink("a.py", folder.path().join("li\\nk")).unwrap();
    let limits = Limits { file_bytes: 8, ..Limits::default() };
    let reading = Reading {
        filter: &Filter::default(),
        limits: &limits,
        symlinks: SymlinkPolicy::Skip,
        index: &StatIndex::default(),
        now: None,
        interrupt: &Interrupt::never(),
        progress: &Progress::default(),
    };
    let root = Folder::open(folder.path()).unwrap();
    assert_eq!(hash_tree(&root, &reading).unwrap_err().kind(), ErrorKind::Refused);
    let tree = hash_what_can_be(&root, &reading).unwrap();
    assert_eq!(tree.manifest.entries().iter().map(|e| e.path.as_str()).collect::<Vec<_>>(), ["a.py"]);
    let odd: Vec<_> = tree.odd.iter().map(|odd| odd.why.as_str()).collect();
    assert_eq!(odd.len(), 4, "{odd:?}");
    for named in ["b\\\\ad.py holds", "new\\nline holds", "li\\\\nk holds", "large.bin exceeds limits.file_bytes"] {
        assert!(odd.iter().any(|why| why.contains(named)), "{named}: {odd:?}");
    }
    let changes = tree.changes_since(&tree.manifest, &tree.links);
    assert_eq!(changes.len(), 1, "the others have no path that a change could name: {changes:?}");
    assert_eq!(changes[0].path.as_str(), "large.bin");
}
