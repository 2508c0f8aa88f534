//! Room for so many at once: connections, or push events. When there is none left, the newest gets the place of the oldest
//! that asks for nothing: so a probe is served however many slow clients there are.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};

use dagsync_core::fs;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio_util::sync::CancellationToken;

/// Followers hold one connection each.
const MOST: u64 = 4096;
/// Files that are open at once: connections, and as many for everything else.
const FILES: u64 = 4 * MOST;
/// Of the memory that this container may have, one connection may be had for so much. It takes a tenth of that at the most,
/// and what the kernel buffers for it.
const MEMORY: u64 = 256 << 10;
/// What a small container holds all the same: some followers, and probes.
const LEAST: u64 = 64;
/// Where a container sees its limit: with the second version of control groups, and with the first.
const LIMITS: [&str; 2] = ["/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"];

/// How many connections this process may hold: as its memory allows, and never more than half of its files. Raises its limit
/// of those.
pub fn room() -> usize {
    let memory = LIMITS.iter().find_map(|file| limit(&fs::read(Path::new(file), 64).ok()??));
    usize::try_from(files().min(fit_into(memory))).unwrap_or(usize::MAX)
}

/// A limit in bytes; `max`: none.
fn limit(content: &[u8]) -> Option<u64> {
    std::str::from_utf8(content).ok()?.trim().parse().ok()
}

fn fit_into(memory: Option<u64>) -> u64 {
    memory.map_or(MOST, |bytes| (bytes / MEMORY).clamp(LEAST, MOST))
}

fn files() -> u64 {
    let limit = getrlimit(Resource::Nofile);
    let wanted = limit.maximum.unwrap_or(FILES).min(FILES);
    let mut files = limit.current.unwrap_or(FILES);
    if files < wanted && setrlimit(Resource::Nofile, Rlimit { current: Some(wanted), ..limit }).is_ok() {
        files = wanted;
    }
    files / 2
}

/// So many places.
#[derive(Debug, Clone)]
pub(super) struct Places {
    most: usize,
    guests: Arc<Mutex<Guests>>,
}

#[derive(Debug, Default)]
struct Guests {
    next: u64,
    /// The oldest first.
    there: BTreeMap<u64, Guest>,
}

#[derive(Debug, Clone, Default)]
struct Guest {
    lost: CancellationToken,
    is_served: Arc<AtomicBool>,
}

/// The place of one, until it is dropped or lost to another.
#[derive(Debug)]
pub(super) struct Place {
    places: Places,
    id: u64,
    guest: Guest,
}

impl Places {
    pub(super) fn new(most: usize) -> Self {
        Self { most, guests: Arc::default() }
    }

    /// A place for who comes; of somebody else when there is no other.
    pub(super) fn take(&self) -> Place {
        let mut guests = self.guests.lock().unwrap_or_else(PoisonError::into_inner);
        if guests.there.len() >= self.most {
            guests.dismiss();
        }
        let (id, guest) = (guests.next, Guest::default());
        guests.next += 1;
        guests.there.insert(id, guest.clone());
        Place { places: self.clone(), id, guest }
    }
}

impl Guests {
    /// Whoever has not asked for anything, or reads its answer, goes before whoever waits for one.
    fn dismiss(&mut self) {
        let idle = self.there.iter().find(|(_, guest)| !guest.is_served.load(Relaxed));
        if let Some(id) = idle.or_else(|| self.there.first_key_value()).map(|(id, _)| *id)
            && let Some(guest) = self.there.remove(&id)
        {
            guest.lost.cancel();
        }
    }
}

impl Place {
    /// Waits until it is lost.
    pub(super) async fn lost(&self) {
        self.guest.lost.cancelled().await;
    }

    /// Notes whether a request is being answered.
    pub(super) fn is_served(&self) -> Arc<AtomicBool> {
        self.guest.is_served.clone()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.places.guests.lock().unwrap_or_else(PoisonError::into_inner).there.remove(&self.id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_that_asks_for_nothing_goes_first() {
        let places = Places::new(3);
        let [a, b, c] = [places.take(), places.take(), places.take()];
        a.is_served().store(true, Relaxed);
        let d = places.take();
        let lost = |place: &Place| place.guest.lost.is_cancelled();
        assert!(!lost(&a) && lost(&b) && !lost(&c) && !lost(&d));
        c.is_served().store(true, Relaxed);
        d.is_served().store(true, Relaxed);
        let e = places.take();
        assert!(lost(&a) && !lost(&c) && !lost(&d) && !lost(&e));
        drop((b, c));
        let f = places.take();
        assert!(!lost(&d) && !lost(&e) && !lost(&f), "who leaves makes room");
    }

    #[test]
    fn a_small_container_holds_fewer_connections() {
        for (content, places) in [
            ("268435456\n", 1024),
            ("134217728\n", 512),
            ("1048576\n", 64),
            ("max\n", 4096),
            ("9223372036854771712\n", 4096),
        ] {
            assert_eq!(fit_into(limit(content.as_bytes())), places, "{content}");
        }
    }

    #[test]
    fn half_of_the_files_are_left() {
        let files = getrlimit(Resource::Nofile).maximum.unwrap_or(FILES);
        assert!(room() as u64 <= files / 2 && room() as u64 <= MOST && room() > 0);
    }
}
