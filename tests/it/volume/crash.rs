//! `kill -9` of a daemon that copies, at 20 random moments: `current` is absent or whole, and the next start needs no help.

use std::time::{Duration, Instant};

use super::Shared;
use crate::harness::{Pod, generate, version_of};

const STORES: usize = 10;

/// How many kills came after the daemon took the store and before it published; those among them that left a staging
/// folder behind.
#[derive(Debug, Default)]
struct Landed {
    unpublished: usize,
    staged: usize,
}

/// Kills are as early as half of this, and late enough for some to come too late.
struct Reach(Duration);

impl Reach {
    /// Kills it at a random moment on its way from `old` to `new`; one of both is what is left.
    fn kill(
        &mut self,
        pod: &mut Pod,
        random: &mut fastrand::Rng,
        old: Option<&String>,
        new: &String,
        landed: &mut Landed,
    ) {
        pod.start();
        std::thread::sleep(self.0.mul_f64(random.f64()));
        pod.kill();
        let found = pod.current().map(|folder| version_of(&folder).unwrap());
        assert!(found.as_ref() == old || found.as_ref() == Some(new), "{found:?} is neither {old:?} nor {new}");
        let in_time = found.as_ref() == old;
        self.0 = self.0.mul_f64(if in_time { 1.25 } else { 0.8 });
        if in_time && pod.root().join(".dagsync/lock").exists() {
            landed.unpublished += 1;
            landed.staged += std::fs::read_dir(pod.root().join(".dagsync/staging")).unwrap().count().min(1);
        }
    }
}

#[test]
fn killed_at_20_random_moments() {
    let shared = Shared::new();
    let mut random = fastrand::Rng::with_seed(1);
    let (mut landed, mut reach) = (Landed::default(), None);
    for store in 0..STORES as u64 {
        let _ = std::fs::remove_dir_all(shared.path());
        generate(&shared.path(), 400, 2 * store);
        let before = shared.version();
        let mut pod = shared.pod().set("http.bind", "").set("log.level", "info");
        let reach = reach.get_or_insert_with(|| first_sync(&shared));
        reach[0].kill(&mut pod, &mut random, None, &before, &mut landed);
        pod.once().ended(0, &[]);
        assert_eq!(version_of(&pod.current().unwrap()).unwrap(), before);

        generate(&shared.path(), 600, 2 * store + 1);
        let after = shared.version();
        reach[1].kill(&mut pod, &mut random, Some(&before), &after, &mut landed);
        pod.once().ended(0, &[]);
        assert_eq!(version_of(&pod.current().unwrap()).unwrap(), after);
        let left = std::fs::read_dir(pod.root().join(".dagsync/staging")).unwrap().count();
        assert_eq!(left, 0, "a staging folder is left");
    }
    assert!(landed.unpublished >= 6 && landed.staged >= 3, "{landed:?} prove nothing");
}

/// How late to kill a first sync and an update, to begin with.
fn first_sync(shared: &Shared) -> [Reach; 2] {
    let start = Instant::now();
    shared.pod().once().ended(0, &[]);
    [start.elapsed(), start.elapsed()].map(Reach)
}
