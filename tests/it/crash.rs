//! `kill -9` at 200 random moments: `current` is absent or whole, and the next start needs no help.

use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::{Duration, Instant};

use crate::harness::{Pod, Repo, Sshd, generate, version_of};

/// Stores that are worked on at once.
const LANES: usize = 2;

#[test]
fn killed_at_184_random_moments() {
    let world = World::of_files(60);
    let told = world.tell(92, || Pod::new(&world.repo.file_url()));
    told.landed(40, 10);
}

#[test]
fn killed_at_16_random_moments_of_2000_files_over_ssh() {
    let world = World::of_files(2_000);
    let sshd = Sshd::start();
    let told = world.tell(8, || Pod::over_ssh(&sshd, &world.repo, sshd.port));
    told.landed(3, 2);
}

#[test]
fn killed_at_48_random_moments_in_worktrees() {
    let world = World::of_files(60);
    let told = world.tell(24, || Pod::new(&world.repo.file_url()).set("layout", "worktrees").set("link", "deep/repo"));
    told.landed(10, 2);
}

/// A repository with a tree on `main` and another, of other content, on `next`.
struct World {
    repo: Repo,
    before: String,
    after: String,
}

impl World {
    fn of_files(files: usize) -> Self {
        let repo = Repo::new();
        generate(&repo.work(), files, 1);
        repo.commit("before");
        let before = repo.version();
        repo.git(&["checkout", "--quiet", "-b", "next"]);
        generate(&repo.work(), files + files / 2, 2);
        repo.commit("after");
        let after = repo.version();
        Self { repo, before, after }
    }

    /// Lets so many stores live, each with two kills.
    fn tell(&self, stores: usize, source: impl Fn() -> Pod + Sync) -> Story<'_> {
        let pod = || source().set("http.bind", "").set("log.level", "info").set("git.ref", "main");
        let guess = first_sync(&pod);
        let story =
            Story { world: self, reach: [guess, guess].map(Mutex::new), unpublished: 0.into(), staged: 0.into() };
        std::thread::scope(|scope| {
            for lane in 0..LANES {
                let (story, pod) = (&story, &pod);
                scope.spawn(move || (lane..stores).step_by(LANES).for_each(|n| story.live(n, pod())));
            }
        });
        story
    }
}

struct Story<'a> {
    world: &'a World,
    /// How late a first sync and an update are killed at the latest. A kill that came too late makes it shorter, one
    /// that came in time longer, so that about half of them land whatever else the machine does.
    reach: [Mutex<Duration>; 2],
    /// Kills after the daemon took the store and before it published what it was started for.
    unpublished: AtomicUsize,
    /// Those among them that left a staging folder behind.
    staged: AtomicUsize,
}

impl Story<'_> {
    /// One store's life: killed in its first sync, then in an update.
    fn live(&self, n: usize, mut pod: Pod) {
        let World { before, after, .. } = self.world;
        let mut random = fastrand::Rng::with_seed(n as u64);
        let reader = pod.reader();
        self.kill(&mut pod, &mut random, None, before);
        pod.once().ended(0, &[]);
        assert_eq!(version_of(&pod.current().unwrap()).unwrap(), *before);

        pod.change("git.ref", "next");
        self.kill(&mut pod, &mut random, Some(before), after);
        pod.once().ended(0, &[]);
        assert_eq!(version_of(&pod.current().unwrap()).unwrap(), *after);
        let count = |folder: &Path| std::fs::read_dir(folder).unwrap().count();
        assert_eq!(count(&pod.root().join(".dagsync/staging")), 0);
        assert!(count(pod.current().unwrap().parent().unwrap()) <= 2, "a tree that was never current is left");
        reader.saw_only(&[before, after]);
    }

    /// Kills it at a random moment on its way from `old` to `new`; one of both is what is left.
    fn kill(&self, pod: &mut Pod, random: &mut fastrand::Rng, old: Option<&String>, new: &String) {
        pod.start();
        let reach = &self.reach[usize::from(old.is_some())];
        let latest = *reach.lock().unwrap();
        std::thread::sleep(latest.mul_f64(random.f64()));
        pod.kill();
        let found = pod.current().map(|folder| version_of(&folder).unwrap());
        assert!(found.as_ref() == old || found.as_ref() == Some(new), "{found:?} is neither {old:?} nor {new}");
        let in_time = found.as_ref() == old;
        *reach.lock().unwrap() = latest.mul_f64(if in_time { 1.25 } else { 0.8 });
        if in_time && pod.root().join(".dagsync/lock").exists() {
            self.unpublished.fetch_add(1, Relaxed);
            let staging = std::fs::read_dir(pod.root().join(".dagsync/staging")).unwrap();
            self.staged.fetch_add(staging.count().min(1), Relaxed);
        }
    }

    /// Enough kills hit a sync, and enough of them the writing of files, for the story to prove something.
    fn landed(&self, unpublished: usize, staged: usize) {
        let found = (self.unpublished.load(Relaxed), self.staged.load(Relaxed));
        assert!(found.0 >= unpublished && found.1 >= staged, "{found:?} of {:?}", (unpublished, staged));
    }
}

/// How long a first sync takes, to begin with.
fn first_sync(pod: &(impl Fn() -> Pod + Sync)) -> Duration {
    let start = Instant::now();
    std::thread::scope(|scope| {
        for _ in 0..LANES {
            scope.spawn(|| pod().once().ended(0, &[]).code);
        }
    });
    start.elapsed()
}
