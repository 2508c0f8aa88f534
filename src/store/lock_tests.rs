//! Two processes and one store: whoever was stopped, and wherever, does no harm when it goes on.

use std::sync::Arc;

use dagsync_core::{Filter, Limits, Progress, Revision, StagedTree, Staging, StagingRules, SymlinkPolicy, TreePath};

use super::super::{Draft, FolderName, KeepPolicy, Publication, Published, State};
use super::*;

const LEASE: Duration = Duration::from_secs(3600);
const A_LEASE_AND_MORE: Duration = Duration::from_secs(3601);

/// In memory where there is such a folder: what is told many times waits for no disk.
fn home() -> tempfile::TempDir {
    tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap()
}

type Files<'a> = &'a [(&'a str, &'a str)];

fn store_at(root: &Path) -> Store {
    Store { lease: LEASE, ..Store::new(root, "current") }
}

/// A process that writes to the store: `flock` belongs to an open file, so one test can have many.
struct Process {
    store: Store,
    lock: StoreLock,
    state: State,
}

impl Process {
    fn with(store: Store, lock: StoreLock) -> Self {
        let state = store.recover(&lock, std::time::SystemTime::now(), &Interrupt::never()).unwrap();
        Self { store, lock, state }
    }

    fn first(store: &Store) -> Self {
        Self::with(store.clone(), store.lock().unwrap())
    }

    /// One that takes over from a holder which shows no life.
    fn successor(store: &Store) -> Self {
        let mut vigil = Vigil::default();
        let look = |vigil: &mut Vigil| store.lock_after(vigil, &Interrupt::never());
        look(&mut vigil).unwrap_err();
        vigil.wait(A_LEASE_AND_MORE);
        let lock = look(&mut vigil).unwrap();
        Self::with(store.clone(), lock)
    }

    fn stage(&self, files: Files<'_>) -> Result<(Draft, StagedTree)> {
        let filter = Arc::new(Filter::default());
        let (limits, symlinks, group_write) = (Limits::default(), SymlinkPolicy::Skip, false);
        let rules = StagingRules { filter, limits, symlinks, group_write };
        let previous = self.store.snapshot()?.map(Arc::new);
        let draft = self.store.draft(&self.lock)?;
        let staging = Staging::new(&draft.tree(), rules, previous, Interrupt::never(), Progress::default())?;
        for (path, content) in files {
            staging.write_bytes(&TreePath::new(path)?, false, content.as_bytes())?;
        }
        Ok((draft, staging.finish()?))
    }

    /// A whole sync: stage, publish, prune, index.
    fn sync(&mut self, files: Files<'_>, keep: usize) -> Result<FolderName> {
        let (draft, tree) = self.stage(files)?;
        let (revision, filter) = (Revision::new(tree.manifest.version().to_string()), Filter::default());
        let publication = Publication {
            revision: &revision,
            strategy: "test",
            source: String::new(),
            filter: &filter,
            allow_empty: true,
            fresh: false,
            now: std::time::SystemTime::now(),
        };
        let published = self.store.publish(&self.lock, &mut self.state, &draft, &tree, &publication)?;
        self.prune(keep)?;
        if let Published::New(name) = &published {
            self.store.index(&self.lock, name, &tree, &Interrupt::never())?;
        }
        Ok(published.folder().clone())
    }

    fn prune(&mut self, keep: usize) -> Result<()> {
        let policy = KeepPolicy { versions: keep, age: Duration::ZERO, pinned: Default::default() };
        let now = std::time::SystemTime::now();
        self.store.prune(&self.lock, &mut self.state, &policy, now, &Interrupt::never()).map(drop)
    }
}

/// What a reader finds, with coreutils' eyes: the version of the tree behind the link, which must be its name.
fn read_current(store: &Store) -> FolderName {
    let name = store.current().unwrap().expect("the link leads somewhere");
    let found = dagsync_testkit::Harness::new().read(&store.folder_path(&name), None).unwrap().manifest;
    assert_eq!(found.version(), name.version(), "the tree is whole");
    assert_eq!(store.manifest(&name.version()).unwrap(), Some(found), "and its manifest is there");
    name
}

#[test]
fn a_holder_that_shows_life_is_left_alone_and_a_silent_one_is_not() {
    let home = home();
    let store = store_at(home.path());
    let holder = store.lock().unwrap();
    let mut vigil = Vigil::default();
    let mut look = |wait| {
        vigil.wait(wait);
        store.lock_after(&mut vigil, &Interrupt::never())
    };
    for beat in 1..4 {
        let error = look(A_LEASE_AND_MORE).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Locked);
        assert!(error.to_string().contains(&format!("pid {}", std::process::id())), "{error}");
        holder.held.beat(beat).unwrap();
    }
    look(Duration::ZERO).unwrap_err();
    look(LEASE / 2).unwrap_err();
    let successor = look(A_LEASE_AND_MORE).unwrap();
    assert!(successor.check().is_ok());
    assert_eq!(holder.check().unwrap_err().kind(), ErrorKind::Locked);
    drop(holder);
    assert!(successor.check().is_ok(), "the old one takes nothing along");
    assert_eq!(store.lock().unwrap_err().kind(), ErrorKind::Locked);
}

#[test]
fn without_a_lease_on_either_side_nothing_is_taken_over() {
    let home = home();
    for (holders, own) in [(Duration::ZERO, LEASE), (LEASE, Duration::ZERO), (LEASE * 2, LEASE)] {
        let with = |lease| Store { lease, ..store_at(home.path()) };
        let _holder = with(holders).lock().unwrap();
        let mut vigil = Vigil::default();
        for _ in 0..2 {
            with(own).lock_after(&mut vigil, &Interrupt::never()).unwrap_err();
            vigil.wait(A_LEASE_AND_MORE);
        }
    }
}

#[test]
fn a_beat_is_written_as_long_as_the_lock_is_held() {
    let home = home();
    let store = Store { lease: Duration::from_millis(20), ..store_at(home.path()) };
    let text = || std::fs::read_to_string(store.private("lock")).unwrap();
    let lock = store.lock().unwrap();
    let first = text();
    while text() == first {
        std::thread::sleep(Duration::from_millis(1));
    }
    assert_eq!(first.lines().count(), 4, "{first}");
    drop(lock);
    let last = text();
    std::thread::sleep(Duration::from_millis(60));
    assert_eq!(text(), last, "not a moment longer");
}

#[test]
fn a_lock_that_cannot_be_kept_is_lost() {
    let home = home();
    let store = Store { lease: Duration::from_millis(20), ..store_at(home.path()) };
    let lock = store.lock().unwrap();
    // What a server does that forgot a client: the lock is another's, on the same file.
    rustix::fs::flock(&lock.held.file, FlockOperation::Unlock).unwrap();
    let other = File::open(store.private("lock")).unwrap();
    rustix::fs::flock(&other, FlockOperation::NonBlockingLockExclusive).unwrap();
    while lock.beat.as_ref().unwrap().failure().is_none() {
        std::thread::sleep(Duration::from_millis(1));
    }
    rustix::fs::flock(&other, FlockOperation::Unlock).unwrap();
    let error = lock.check().unwrap_err();
    assert!(error.kind() == ErrorKind::Locked && error.to_string().contains("could not be kept"), "{error}");
}

#[test]
fn a_lock_whose_file_says_another_name_is_lost() {
    let home = home();
    let store = store_at(home.path());
    let lock = store.lock().unwrap();
    std::fs::write(store.private("lock"), "pid 7 on elsewhere\n").unwrap();
    assert_eq!(lock.check().unwrap_err().kind(), ErrorKind::Locked);
    std::fs::remove_file(store.private("lock")).unwrap();
    assert_eq!(lock.check().unwrap_err().kind(), ErrorKind::Locked);
}

#[test]
fn who_was_stopped_on_its_way_to_the_lock_does_not_take_it_from_a_faster_one() {
    let home = home();
    let store = store_at(home.path());
    let _silent = store.lock().unwrap();
    let mut slow = Vigil::default();
    store.lock_after(&mut slow, &Interrupt::never()).unwrap_err();
    slow.wait(A_LEASE_AND_MORE);
    let fast = Process::successor(&store);
    assert_eq!(store.lock_after(&mut slow, &Interrupt::never()).unwrap_err().kind(), ErrorKind::Locked);
    fast.lock.check().unwrap();
}

/// The files of the version that the old holder is about to publish when it is stopped, and what the successor does
/// meanwhile: among them publishing the very same, and all the versions that the old one meant to remove.
const MEANWHILE: [&[Files<'_>]; 4] = [
    &[],
    &[&[("a.py", "theirs")]],
    &[&[("a.py", "mine"), ("b.py", "1")]],
    &[&[("a.py", "theirs")], &[("a.py", "0")], &[("a.py", "1")], &[("a.py", "2")]],
];

#[test]
fn a_holder_that_is_stopped_at_any_moment_of_a_sync_does_no_harm_when_it_goes_on() {
    let mut stopped = 0;
    for (n, meanwhile) in MEANWHILE.into_iter().enumerate() {
        for moment in 0.. {
            let home = home();
            let store = store_at(home.path());
            let mut old = Process::first(&store);
            for content in ["0", "1", "2"] {
                old.sync(&[("a.py", content), ("b.py", content)], 9).unwrap();
                old.sync(&[("a.py", content)], 9).unwrap();
            }
            let (theirs, succeed) = (Arc::new(std::sync::Mutex::new(None)), store.clone());
            let slot = theirs.clone();
            old.lock.moments.stop_at(moment, move || {
                let mut successor = Process::successor(&succeed);
                for files in meanwhile {
                    successor.sync(files, 1).unwrap();
                }
                let published = read_current(&succeed);
                *slot.lock().unwrap() = Some((successor, published));
            });
            let ended = old.sync(&[("a.py", "mine"), ("b.py", "1")], 1);
            if old.lock.moments.is_ahead() {
                ended.unwrap();
                break;
            }
            stopped += 1;
            let (successor, published) = theirs.lock().unwrap().take().unwrap();
            let case = format!("moment {moment} of story {n}: {ended:?}");
            assert_eq!(read_current(&store), published, "{case}");
            successor.lock.check().unwrap();
            let saved = store.state().unwrap();
            assert_eq!(saved, successor.state, "{case}");
            for name in successor.state.folders.keys() {
                assert!(store.folder_path(name).is_dir(), "{case}: {name} is still there");
                assert!(store.manifest(&name.version()).unwrap().is_some(), "{case}: so is its manifest");
            }
            drop((old, successor));
            let next = Process::first(&store);
            assert_eq!(next.state.current.as_ref(), Some(&published), "{case}");
            let left = std::fs::read_dir(store.private("staging")).unwrap().count();
            let links = std::fs::read_dir(home.path()).unwrap().count();
            assert_eq!((left, links), (0, 3), "{case}: nothing is left lying about");
        }
    }
    assert!(stopped > 60, "{stopped} moments");
}

#[test]
fn a_holder_that_is_stopped_at_any_moment_of_its_start_does_no_harm_either() {
    for moment in 0.. {
        let home = home();
        let store = store_at(home.path());
        let mut before = Process::first(&store);
        before.sync(&[("a.py", "0")], 9).unwrap();
        before.sync(&[("a.py", "1")], 9).unwrap();
        drop(before);
        // Half of a life before: a tree that was never current, a draft, half a link.
        let orphan = store.root().join("versions").join(dagsync_core::Digest::of("never current").to_string());
        std::fs::create_dir_all(&orphan).unwrap();
        let lock = store.lock().unwrap();
        let succeed = store.clone();
        lock.moments.stop_at(moment, move || {
            let mut successor = Process::successor(&succeed);
            successor.sync(&[("a.py", "2")], 9).unwrap();
            std::mem::forget(successor);
        });
        let recovered = store.recover(&lock, std::time::SystemTime::now(), &Interrupt::never());
        if lock.moments.is_ahead() {
            recovered.unwrap();
            assert!(moment > 3, "{moment}");
            return;
        }
        assert_eq!(std::fs::read_to_string(home.path().join("current/a.py")).unwrap(), "2", "moment {moment}");
        read_current(&store);
        let state = store.state().unwrap();
        assert_eq!((state.folders.len(), state.current), (3, store.current().unwrap()), "moment {moment}");
    }
}
