//! `kill -9` at 200 random moments: `current` is absent or whole, and the next start needs no help.

use std::time::{Duration, Instant};

use crate::harness::{Pod, Repo, generate, version_of};

/// Half of them during a first sync, half during an update.
const KILLS: usize = 200;
/// Stores that are worked on at once.
const LANES: usize = 2;

#[test]
fn killed_at_200_random_moments() {
    let repo = Repo::new();
    generate(&repo.work(), 60, 1);
    repo.commit("before");
    let before = repo.version();
    repo.git(&["checkout", "--quiet", "-b", "next"]);
    generate(&repo.work(), 90, 2);
    repo.commit("after");
    let after = repo.version();
    let story = Story { repo: &repo, before: &before, after: &after, longest: longest_sync(&repo) };
    std::thread::scope(|scope| {
        for lane in 0..LANES {
            let story = &story;
            scope.spawn(move || (lane..KILLS / 2).step_by(LANES).for_each(|n| story.told(n)));
        }
    });
}

struct Story<'a> {
    repo: &'a Repo,
    before: &'a str,
    after: &'a str,
    longest: Duration,
}

impl Story<'_> {
    /// One store's life: killed in its first sync, then in an update.
    fn told(&self, n: usize) {
        let mut random = fastrand::Rng::with_seed(n as u64);
        let pod = Pod::new(&self.repo.file_url()).set("http.bind", "").set("log.level", "info");
        let mut pod = pod.set("git.ref", "main");
        let reader = pod.reader();
        self.kill(&mut pod, &mut random, &[self.before]);
        pod.once().ended(0, &[]);
        assert_eq!(version_of(&pod.current().unwrap()).unwrap(), self.before);

        pod.change("git.ref", "next");
        self.kill(&mut pod, &mut random, &[self.before, self.after]);
        pod.once().ended(0, &[]);
        assert_eq!(version_of(&pod.current().unwrap()).unwrap(), self.after);
        reader.saw_only(&[self.before, self.after]);
    }

    fn kill(&self, pod: &mut Pod, random: &mut fastrand::Rng, whole: &[&str]) {
        pod.start();
        std::thread::sleep(self.longest.mul_f64(random.f64()));
        pod.kill();
        if let Some(folder) = pod.current() {
            let version = version_of(&folder).unwrap();
            assert!(whole.contains(&version.as_str()), "{} holds {version}", folder.display());
        }
    }
}

/// A little more than a first sync takes while as much else goes on as there will.
fn longest_sync(repo: &Repo) -> Duration {
    let start = Instant::now();
    std::thread::scope(|scope| {
        for _ in 0..LANES {
            scope.spawn(|| Pod::new(&repo.file_url()).set("git.ref", "main").once().ended(0, &[]).code);
        }
    });
    start.elapsed().mul_f64(1.2)
}
