use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use tokio_util::sync::CancellationToken;

use super::*;
use crate::fixture::{Given, hash, path, put, put_folder, put_link};
use crate::index::file_system_now;

/// A staging folder with a secret beside it, and the rules that a test changes.
struct Stage {
    dir: tempfile::TempDir,
    rules: StagingRules,
    previous: Option<Arc<Snapshot>>,
    interrupt: Interrupt,
}

impl Stage {
    fn new() -> Self {
        Self::within(&std::env::temp_dir())
    }

    fn within(parent: &Path) -> Self {
        let dir = tempfile::tempdir_in(parent).unwrap();
        put(dir.path(), "secret", "secret");
        put_folder(dir.path(), "in");
        let rules = StagingRules {
            filter: Arc::default(),
            limits: Limits::default(),
            symlinks: SymlinkPolicy::Skip,
            group_write: false,
        };
        Self { dir, rules, previous: None, interrupt: Interrupt::never() }
    }

    fn root(&self) -> PathBuf {
        self.dir.path().join("in")
    }

    fn open(&self) -> Staging {
        let (rules, previous) = (self.rules.clone(), self.previous.clone());
        Staging::new(&self.root(), rules, previous, self.interrupt.clone(), Progress::default()).unwrap()
    }

    /// What lies beside the folder, which nothing may change.
    fn is_confined(&self) -> bool {
        let names = std::fs::read_dir(self.dir.path()).unwrap().count();
        names == 2 && std::fs::read(self.dir.path().join("secret")).unwrap() == b"secret"
    }

    fn stat(&self, name: &str) -> std::fs::Metadata {
        self.root().join(name).symlink_metadata().unwrap()
    }
}

/// A published version with `a.py`, `sub/b.py` and the executable `run.sh`, and its snapshot.
fn published(parent: &Path) -> (Stage, Arc<Snapshot>) {
    let stage = Stage::within(parent);
    let staging = stage.open();
    for (name, executable) in [("a.py", false), ("sub/b.py", false), ("run.sh", true)] {
        staging.write_bytes(&path(name), executable, name.as_bytes()).unwrap();
    }
    staging.finish().unwrap();
    let start = file_system_now(&stage.root()).unwrap();
    let mut now = start;
    while now <= start {
        std::thread::sleep(Duration::from_millis(1));
        now = file_system_now(&stage.root()).unwrap();
    }
    let hashed = Given { now: Some(now), ..Given::default() }.hash(&stage.root()).unwrap();
    let folder = Folder::open(stage.root()).unwrap();
    let snapshot = Snapshot { folder, version: hashed.manifest.version(), index: hashed.index };
    (stage, Arc::new(snapshot))
}

fn after(snapshot: &Arc<Snapshot>) -> Stage {
    Stage { previous: Some(snapshot.clone()), ..Stage::new() }
}

#[test]
fn a_staged_tree_is_what_was_put_in() {
    let stage = Stage::new();
    let staging = stage.open();
    let digest = staging.write(&path("d/e/a.py"), false, &mut &b"streamed"[..]).unwrap();
    assert_eq!(digest, Digest::of("streamed"));
    staging.write_bytes(&path("run.sh"), true, b"").unwrap();
    staging.link(&path("d/link"), b"../run.sh").unwrap();
    let staged = staging.finish().unwrap();
    assert_eq!(staged.manifest, hash(&stage.root()).manifest);
    assert_eq!(staged.manifest.len(), 3);
    assert_eq!(staged.counts, StagingCounts { written: 2, bytes_written: 8, ..StagingCounts::default() });
    assert_eq!(staged.files.len(), 2);
    for (name, mode) in [("d/e/a.py", 0o444), ("run.sh", 0o555), ("d", 0o555), ("d/e", 0o555)] {
        assert_eq!(stage.stat(name).permissions().mode() & 0o7777, mode, "{name}");
    }
    assert_ne!(stage.stat("").permissions().mode() & 0o200, 0, "the root has yet to be renamed");
}

#[test]
fn links_that_lie_in_the_folder_are_not_followed() {
    for name in ["out/x", "out/secret", "out/deep/x", "secret"] {
        let stage = Stage::new();
        put_link(&stage.root(), "out", "..");
        put_link(&stage.root(), "secret", "../secret");
        let error = stage.open().write_bytes(&path(name), false, b"overwritten").unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Refused, "{error}");
        assert!(stage.is_confined(), "{name}");
    }
}

#[test]
fn a_folder_swapped_for_a_link_does_not_move_the_tree() {
    let stage = Stage::new();
    let staging = stage.open();
    staging.write_bytes(&path("sub/a"), false, b"a").unwrap();
    std::fs::rename(stage.root().join("sub"), stage.root().join("moved")).unwrap();
    put_link(&stage.root(), "sub", "..");
    staging.write_bytes(&path("sub/b"), false, b"b").unwrap();
    assert!(stage.root().join("moved/b").exists());
    assert!(staging.finish().is_err(), "the folder cannot be made read-only through a link");
    assert!(stage.is_confined());
}

#[test]
fn recorded_links_are_never_written_through() {
    let stage = Stage::new();
    let staging = stage.open();
    staging.link(&path("out"), b"..").unwrap();
    staging.write_bytes(&path("out/x"), false, b"x").unwrap();
    assert_eq!(staging.finish().unwrap_err().kind(), ErrorKind::Refused);
    assert!(stage.is_confined());
}

#[test]
fn only_links_that_stay_inside_are_created() {
    let stage = Stage::new();
    let staging = stage.open();
    staging.write_bytes(&path("a"), false, b"a").unwrap();
    let bad = [("abs", "/etc/passwd"), ("up", "../secret"), ("none", "nothing"), ("me", "me"), ("d/up", "..")];
    for (name, target) in bad.into_iter().chain([("good", "a"), ("d/good", "../a")]) {
        staging.link(&path(name), target.as_bytes()).unwrap();
    }
    let staged = staging.finish().unwrap();
    assert_eq!(staged.warnings.len(), bad.len());
    assert_eq!(staged.manifest, hash(&stage.root()).manifest);
    assert_eq!(staged.manifest.len(), 3);
    for (name, _) in bad {
        assert!(stage.root().join(name).symlink_metadata().is_err(), "{name}");
    }
}

#[test]
fn refusing_links_refuses_the_tree() {
    let mut stage = Stage::new();
    stage.rules.symlinks = SymlinkPolicy::Refuse;
    let staging = stage.open();
    staging.link(&path("up"), b"../secret").unwrap();
    let error = staging.finish().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Refused);
    assert!(error.to_string().contains("up -> ../secret"), "{error}");
}

/// A tar file or a bucket can hold such a thing; it is no I/O error and does not pass by itself.
#[test]
fn two_things_at_one_path_are_refused_whatever_the_order() {
    type Step = fn(&Staging, &str) -> Result<()>;
    let file: Step = |staging, at| staging.write_bytes(&path(at), false, b"x").map(drop);
    let link: Step = |staging, at| staging.link(&path(at), b"x");
    for (first, second) in [(file, file), (file, link), (link, file), (link, link)] {
        for (one, other) in [("a", "a"), ("a", "a/b"), ("a/b", "a"), ("a/b/c", "a/b")] {
            let stage = Stage::new();
            let staging = stage.open();
            let staged = first(&staging, one).and_then(|()| second(&staging, other)).and_then(|()| staging.finish());
            let error = staged.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Refused, "{one} {other}: {error}");
            assert!(!error.is_retryable());
        }
    }
}

#[test]
fn a_file_that_is_not_finished_is_gone() {
    let stage = Stage::new();
    let staging = stage.open();
    let mut file = staging.create(&path("sub/a"), false).unwrap();
    file.append(b"half").unwrap();
    assert!(stage.root().join("sub/a").exists());
    drop(file);
    assert!(!stage.root().join("sub/a").exists());
    staging.write_bytes(&path("sub/a"), false, b"whole").unwrap();
    assert_eq!(staging.finish().unwrap().manifest.get("sub/a"), Some(&Digest::of("whole")));
}

#[test]
fn a_source_that_breaks_off_leaves_nothing() {
    let stage = Stage::new();
    let staging = stage.open();
    let broken = std::fs::File::open(stage.dir.path()).unwrap();
    let mut source = (&b"the first bytes"[..]).chain(broken);
    let error = staging.write(&path("a"), false, &mut source).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unreachable);
    assert!(staging.finish().unwrap().manifest.is_empty());
    assert_eq!(std::fs::read_dir(stage.root()).unwrap().count(), 0);
}

#[test]
fn each_limit_stops_staging_and_is_named() {
    let standard = Limits::default();
    for (limits, name) in [
        (Limits { files: 1, ..standard }, "limits.files"),
        (Limits { bytes: 5, ..standard }, "limits.bytes"),
        (Limits { file_bytes: 2, ..standard }, "limits.file_bytes"),
        (Limits { path_bytes: 2, ..standard }, "limits.path_bytes"),
        (Limits { depth: 1, ..standard }, "limits.depth"),
    ] {
        let mut stage = Stage::new();
        stage.rules.limits = limits;
        let staging = stage.open();
        let write = |name| staging.write_bytes(&path(name), false, b"123").map(drop);
        let error = write("a").and_then(|()| write("d/e")).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::LimitExceeded);
        assert!(error.to_string().contains(name), "{error}");
    }
    let mut stage = Stage::new();
    stage.rules.limits.files = 1;
    let staging = stage.open();
    staging.link(&path("a"), b"x").unwrap();
    assert_eq!(staging.link(&path("b"), b"x").unwrap_err().kind(), ErrorKind::LimitExceeded);
}

#[test]
fn what_the_filter_leaves_out_is_not_taken() {
    let stage = Stage::new();
    let staging = stage.open();
    assert!(!staging.wants(&path("__pycache__/a.pyc")));
    let error = staging.write_bytes(&path(".git/config"), false, b"").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unexpected);
    assert!(staging.link(&path("x.pyc"), b"a").is_err());
}

#[test]
fn staging_stops_on_request() {
    let mut stage = Stage::new();
    let token = CancellationToken::new();
    stage.interrupt = Interrupt::new(token.clone(), None);
    let staging = stage.open();
    let mut file = staging.create(&path("a"), false).unwrap();
    token.cancel();
    assert_eq!(file.append(b"x").unwrap_err().kind(), ErrorKind::Cancelled);
    assert_eq!(staging.create(&path("b"), false).unwrap_err().kind(), ErrorKind::Cancelled);
}

#[test]
fn an_unchanged_file_is_the_same_file() {
    let (before, snapshot) = published(&std::env::temp_dir());
    let stage = after(&snapshot);
    let staging = stage.open();
    for (name, executable) in [("a.py", false), ("sub/b.py", false), ("run.sh", true)] {
        assert!(staging.reuse(&path(name), executable, &Digest::of(name)).unwrap(), "{name}");
        let (old, new) = (before.stat(name), stage.stat(name));
        assert_eq!((old.ino(), old.modified().unwrap()), (new.ino(), new.modified().unwrap()));
    }
    let staged = staging.finish().unwrap();
    assert_eq!(staged.counts, StagingCounts { linked: 3, ..StagingCounts::default() });
    assert_eq!(staged.manifest.version(), snapshot.version);
}

#[test]
fn a_changed_content_mode_or_name_is_not_reused() {
    let (_before, snapshot) = published(&std::env::temp_dir());
    let staging = after(&snapshot);
    let staging = staging.open();
    assert!(!staging.reuse(&path("a.py"), false, &Digest::of("other")).unwrap());
    assert!(!staging.reuse(&path("a.py"), true, &Digest::of("a.py")).unwrap());
    assert!(!staging.reuse(&path("run.sh"), false, &Digest::of("run.sh")).unwrap());
    assert!(!staging.reuse(&path("c.py"), false, &Digest::of("a.py")).unwrap());
    assert!(!Stage::new().open().reuse(&path("a.py"), false, &Digest::of("a.py")).unwrap());
}

#[test]
fn a_tampered_file_is_not_reused() {
    let tamper: [fn(&Path); 4] = [
        |file| {
            let before = file.metadata().unwrap().modified().unwrap();
            std::fs::write(file, "A.py").unwrap();
            std::fs::File::options().write(true).open(file).unwrap().set_modified(before).unwrap();
        },
        |file| std::fs::write(file, "longer").unwrap(),
        |file| std::fs::remove_file(file).unwrap(),
        |file| {
            std::fs::remove_file(file).unwrap();
            put_link(file.parent().unwrap(), "a.py", "run.sh");
        },
    ];
    for (i, tamper) in tamper.iter().enumerate() {
        let (before, snapshot) = published(&std::env::temp_dir());
        std::fs::set_permissions(before.root().join("a.py"), std::fs::Permissions::from_mode(0o644)).unwrap();
        tamper(&before.root().join("a.py"));
        let stage = after(&snapshot);
        let staging = stage.open();
        assert!(!staging.reuse(&path("a.py"), false, &Digest::of("a.py")).unwrap(), "way {i}");
        staging.write_bytes(&path("a.py"), false, b"a.py").unwrap();
        assert_eq!(staging.finish().unwrap().manifest, hash(&stage.root()).manifest);
    }
}

#[test]
fn a_file_whose_stat_moved_but_not_its_content_is_read_and_reused() {
    let (before, snapshot) = published(&std::env::temp_dir());
    std::fs::hard_link(before.root().join("a.py"), before.dir.path().join("moves-ctime")).unwrap();
    assert!(after(&snapshot).open().reuse(&path("a.py"), false, &Digest::of("a.py")).unwrap());
}

#[test]
fn where_linking_fails_the_file_is_copied_with_its_time() {
    let (before, snapshot) = published(Path::new("/dev/shm"));
    let stage = after(&snapshot);
    assert_ne!(before.stat("").dev(), stage.stat("").dev(), "needs two file systems");
    let staging = stage.open();
    assert!(staging.reuse(&path("run.sh"), true, &Digest::of("run.sh")).unwrap());
    let (old, new) = (before.stat("run.sh"), stage.stat("run.sh"));
    assert_eq!(
        (new.modified().unwrap(), new.permissions().mode()),
        (old.modified().unwrap(), old.permissions().mode())
    );
    assert_ne!((old.dev(), old.ino()), (new.dev(), new.ino()));
    let staged = staging.finish().unwrap();
    assert_eq!(staged.counts, StagingCounts { copied: 1, ..StagingCounts::default() });
    assert_eq!(staged.manifest, hash(&stage.root()).manifest);
}

#[test]
fn a_tampered_file_is_not_copied_either() {
    let (before, snapshot) = published(Path::new("/dev/shm"));
    std::fs::set_permissions(before.root().join("run.sh"), std::fs::Permissions::from_mode(0o755)).unwrap();
    std::fs::write(before.root().join("run.sh"), "RUN.SH").unwrap();
    let stage = after(&snapshot);
    assert!(!stage.open().reuse(&path("run.sh"), true, &Digest::of("run.sh")).unwrap());
    assert!(!stage.root().join("run.sh").exists());
}

/// The result must depend on the revision and the settings alone, not on the version before.
#[test]
fn limits_hold_for_reused_files_too() {
    let (_before, snapshot) = published(&std::env::temp_dir());
    let mut stage = after(&snapshot);
    stage.rules.limits.file_bytes = 3;
    let error = stage.open().reuse(&path("a.py"), false, &Digest::of("a.py")).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::LimitExceeded);
}

#[test]
fn a_file_is_not_reused_over_another() {
    let (_before, snapshot) = published(&std::env::temp_dir());
    let staging = after(&snapshot);
    let staging = staging.open();
    staging.write_bytes(&path("a.py"), false, b"new").unwrap();
    let error = staging.reuse(&path("a.py"), false, &Digest::of("a.py")).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Refused);
}

#[test]
fn a_changed_file_is_a_whole_second_younger_than_the_one_before() {
    let second = |time: SystemTime| time.duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs();
    for ahead in [0, 5] {
        let (before, mut snapshot) = published(&std::env::temp_dir());
        let old = SystemTime::now() + Duration::from_secs(ahead);
        std::fs::File::open(before.root().join("a.py")).unwrap().set_modified(old).unwrap();
        let index = hash(&before.root()).index;
        Arc::get_mut(&mut snapshot).unwrap().index = index;
        let stage = after(&snapshot);
        let staging = stage.open();
        staging.write_bytes(&path("a.py"), false, b"A.py").unwrap();
        staging.write_bytes(&path("new.py"), false, b"new").unwrap();
        assert!(second(stage.stat("a.py").modified().unwrap()) > second(old));
        assert!(stage.stat("new.py").modified().unwrap() <= SystemTime::now());
    }
}

#[test]
fn many_threads_may_stage_into_one_folder() {
    let stage = Stage::new();
    let staging = stage.open();
    std::thread::scope(|scope| {
        for t in 0..4 {
            let staging = &staging;
            scope.spawn(move || {
                for i in 0..200 {
                    let name = path(&format!("d{}/e{}/{t}-{i}", i % 90, i % 7));
                    staging.write_bytes(&name, false, name.as_str().as_bytes()).unwrap();
                }
            });
        }
    });
    let staged = staging.finish().unwrap();
    assert_eq!((staged.manifest.len(), staged.counts.written), (800, 800));
    assert_eq!(staged.manifest, hash(&stage.root()).manifest);
}

#[test]
fn a_link_that_leads_elsewhere_leads_to_something_younger() {
    let (stage, _) = published(&std::env::temp_dir());
    std::fs::set_permissions(stage.root(), PermissionsExt::from_mode(0o755)).unwrap();
    put_link(&stage.root(), "dag.py", "a.py");
    let hashed = Given::default().hash(&stage.root()).unwrap();
    let folder = Folder::open(stage.root()).unwrap();
    let before = Arc::new(Snapshot { folder, version: hashed.manifest.version(), index: hashed.index });
    for (target, is_younger) in [("a.py", false), ("sub/b.py", true)] {
        let stage = after(&before);
        let staging = stage.open();
        for name in ["a.py", "sub/b.py"] {
            assert!(staging.reuse(&path(name), false, &Digest::of(name)).unwrap());
        }
        staging.link(&path("dag.py"), target.as_bytes()).unwrap();
        let tree = staging.finish().unwrap();
        assert_eq!(tree.manifest.get("dag.py"), Some(&Digest::of(target)));
        let shown = |root: PathBuf| std::fs::metadata(root.join("dag.py")).unwrap().mtime();
        let old = shown(before.folder.path().to_owned());
        assert_eq!(shown(stage.root()) > old, is_younger, "{target}");
        assert_eq!(std::fs::read_to_string(stage.root().join("dag.py")).unwrap(), target);
    }
}
