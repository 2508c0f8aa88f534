//! A reader that never looks away: it follows the link over and over, reads every file, and remembers what it saw.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::thread::JoinHandle;
use std::time::Duration;

use super::tree::version_of;

/// Reads a store's link until it is stopped.
#[derive(Debug)]
pub(crate) struct Reader {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<Seen>>,
}

#[derive(Debug, Default)]
struct Seen {
    versions: BTreeSet<String>,
    wrong: Vec<String>,
}

impl Reader {
    /// Starts to read `link`.
    pub(crate) fn of(link: PathBuf) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = stop.clone();
        let thread = std::thread::spawn(move || {
            let mut seen = Seen::default();
            while !stopped.load(SeqCst) {
                seen.look(&link);
                std::thread::sleep(Duration::from_millis(3));
            }
            seen.look(&link);
            seen
        });
        Self { stop, thread: Some(thread) }
    }

    /// Stops. Everything that was ever seen must be one of `whole`, and the link never be gone once it was there.
    pub(crate) fn saw_only(mut self, whole: &[&str]) {
        self.stop.store(true, SeqCst);
        let seen = self.thread.take().unwrap().join().unwrap();
        assert!(seen.wrong.is_empty(), "{:#?}", seen.wrong);
        let strange: Vec<_> = seen.versions.iter().filter(|v| !whole.contains(&v.as_str())).collect();
        assert!(strange.is_empty(), "a reader saw {strange:?}, which is none of {whole:?}");
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        self.stop.store(true, SeqCst);
    }
}

impl Seen {
    fn look(&mut self, link: &Path) {
        // The folder is resolved once: a flip between two files of one look is not the store's fault.
        match std::fs::canonicalize(link) {
            Ok(folder) => match version_of(&folder) {
                Ok(version) => drop(self.versions.insert(version)),
                Err(e) => self.wrong.push(format!("{}: {e}", folder.display())),
            },
            Err(_) if self.versions.is_empty() => {}
            Err(e) => self.wrong.push(format!("{} was there and is gone: {e}", link.display())),
        }
    }
}
