//! 500 rounds of one writer and two readers: whatever a reader ever publishes is a state that the folder was left in.

use std::collections::BTreeSet;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread::sleep;
use std::time::{Duration, SystemTime};

use super::{pod, told, write};
use crate::harness::{Pod, Tmpfs, contents, shell, version_of};

const ROUNDS: usize = 500;
/// Every so many rounds the writer waits until both readers are on what it wrote.
const PAUSE: usize = 10;
const SETTLE: Duration = Duration::from_millis(60);
/// A kernel stamps what changes with a clock that may be so far behind.
const CLOCK_STEP: Duration = Duration::from_millis(10);

/// Brings the folder from one known state into the next, a different way each time.
struct Writer {
    /// In memory: a disk that is busy with what readers write would hold the writer up.
    disk: Tmpfs,
    random: fastrand::Rng,
    round: usize,
    /// The versions of the states that it left the folder in.
    states: BTreeSet<String>,
    /// Rounds in which the machine held it up for as long as the folder must be still: what was there by then may rightly
    /// be taken for complete.
    held_up: BTreeSet<usize>,
}

type Way = fn(&mut Writer);

const WAYS: [Way; 6] = [Writer::cp, Writer::rsync, Writer::mv, Writer::mv_all, Writer::overwrite, Writer::edit];

impl Writer {
    fn new() -> Self {
        let disk = Tmpfs::of_kib(65536);
        let random = fastrand::Rng::with_seed(1);
        let mut writer = Self { disk, random, round: 0, states: BTreeSet::new(), held_up: BTreeSet::new() };
        writer.prepare();
        std::fs::rename(writer.at("next"), writer.at("dags")).unwrap();
        writer.remember();
        writer
    }

    fn at(&self, name: &str) -> PathBuf {
        self.disk.path().join(name)
    }

    /// Every file but the one that only this round has.
    fn paths() -> impl Iterator<Item = String> {
        let in_team = |team| (0..5).map(move |n| format!("team_{team}/dag_{n}.py"));
        (0..4).flat_map(in_team).chain(["common.py".to_owned(), "team_1/deep/er/large.py".to_owned()])
    }

    fn only(round: usize) -> String {
        format!("team_2/only_{round:03}.py")
    }

    /// Each file tells its round, so that a mix shows. Most keep their size over many rounds.
    fn content(&self, path: &str) -> String {
        let lines = if path.ends_with("large.py") { 15_000 } else { 20 + path.len() * 3 + self.round / 50 };
        format!("# round {:03}\n{}", self.round, "x = 1\n".repeat(lines))
    }

    /// Makes this round's state ready beside the folder.
    fn prepare(&self) {
        let files = Self::paths().chain([Self::only(self.round)]);
        files.for_each(|path| write(&self.at("next").join(&path), &self.content(&path)));
    }

    fn remember(&mut self) -> String {
        let version = version_of(&self.at("dags")).unwrap();
        assert!(self.states.insert(version.clone()), "each state must be unlike all others");
        version
    }

    /// One round; the version that it leaves.
    fn write(&mut self) -> String {
        self.round += 1;
        self.prepare();
        let start = SystemTime::now();
        WAYS[self.random.usize(..WAYS.len())](self);
        let longest = longest_pause(&self.at("dags"), start);
        if longest + CLOCK_STEP >= SETTLE {
            self.held_up.insert(self.round);
        }
        let _ = std::fs::remove_dir_all(self.at("next"));
        let _ = std::fs::remove_dir_all(self.at("old"));
        self.remember()
    }

    /// A copy over what is there, and what is no longer wanted is removed.
    fn cp(&mut self) {
        shell(self.disk.path(), &format!("cp -r next/. dags/ && rm dags/{}", Self::only(self.round - 1)));
    }

    fn rsync(&mut self) {
        let how: &[&str] =
            [&[][..], &["--inplace"], &["--delay-updates"], &["--delete-before"]][self.random.usize(..4)];
        let mut rsync = Command::new("rsync");
        let status =
            rsync.args(["-a", "--delete"]).args(how).args(["next/", "dags/"]).current_dir(self.disk.path()).status();
        assert!(status.unwrap().success());
    }

    /// Folder by folder, made ready beside it on the same file system.
    fn mv(&mut self) {
        std::fs::create_dir(self.at("old")).unwrap();
        for name in ["team_0", "team_1", "team_2", "team_3", "common.py"] {
            std::fs::rename(self.at("dags").join(name), self.at("old").join(name)).unwrap();
            self.breathe();
            std::fs::rename(self.at("next").join(name), self.at("dags").join(name)).unwrap();
            self.breathe();
        }
    }

    /// The whole folder at once.
    fn mv_all(&mut self) {
        std::fs::rename(self.at("dags"), self.at("old")).unwrap();
        self.breathe();
        std::fs::rename(self.at("next"), self.at("dags")).unwrap();
    }

    /// Every file in place, some with the time that they had.
    fn overwrite(&mut self) {
        for path in Self::paths().chain([Self::only(self.round)]) {
            let (content, file) = (self.content(&path), self.at("dags").join(&path));
            let time = std::fs::metadata(&file).and_then(|found| found.modified());
            std::fs::write(&file, content).unwrap();
            if let (Ok(time), true) = (time, self.random.bool()) {
                std::fs::File::options().write(true).open(&file).unwrap().set_modified(time).unwrap();
            }
        }
        self.remove_last_only();
    }

    /// Some files in place, each in two pieces, with pauses.
    fn edit(&mut self) {
        let mut paths: Vec<_> = Self::paths().collect();
        self.random.shuffle(&mut paths);
        for path in paths.iter().take(5).chain([&Self::only(self.round)]) {
            let content = self.content(path);
            let (one, other) = content.split_at(content.len() / 2);
            let mut file = std::fs::File::create(self.at("dags").join(path)).unwrap();
            std::io::Write::write_all(&mut file, one.as_bytes()).unwrap();
            self.breathe();
            std::io::Write::write_all(&mut file, other.as_bytes()).unwrap();
            self.breathe();
        }
        self.remove_last_only();
    }

    fn remove_last_only(&self) {
        std::fs::remove_file(self.at("dags").join(Self::only(self.round - 1))).unwrap();
    }

    /// For less than the folder must be still.
    fn breathe(&mut self) {
        sleep(Duration::from_millis(self.random.u64(..SETTLE.as_millis() as u64 / 4)));
    }
}

/// The longest time between two changes in `folder` since `start`, as far as times of change show. A change that a later
/// one of the same file hides makes it longer, never shorter.
fn longest_pause(folder: &Path, start: SystemTime) -> Duration {
    let start = start.duration_since(SystemTime::UNIX_EPOCH).unwrap();
    let mut times = vec![start];
    changes(folder, &mut times);
    times.retain(|time| *time >= start);
    times.sort_unstable();
    times.windows(2).map(|pair| pair[1] - pair[0]).max().unwrap_or_default()
}

fn changes(path: &Path, times: &mut Vec<Duration>) {
    let found = std::fs::symlink_metadata(path).unwrap();
    times.push(Duration::new(found.ctime() as u64, found.ctime_nsec() as u32));
    if found.is_dir() {
        std::fs::read_dir(path).unwrap().for_each(|entry| changes(&entry.unwrap().path(), times));
    }
}

/// The rounds that the files of a tree are of.
fn rounds_in(tree: &Path) -> BTreeSet<usize> {
    let number = |content: &Vec<u8>| std::str::from_utf8(content.get(8..11)?).ok()?.parse().ok();
    contents(tree).unwrap().values().filter_map(number).collect()
}

/// Every version that the pod published is a state of the writer; how many there are.
fn judge(pod: &Pod, writer: &Writer) -> usize {
    let mut published = BTreeSet::new();
    for folder in std::fs::read_dir(pod.root().join("versions")).unwrap() {
        let folder = folder.unwrap().path();
        let version = version_of(&folder).unwrap();
        let rounds = rounds_in(&folder);
        let last = rounds.last().copied().unwrap_or_default();
        // Where only what is older went, the round is the next.
        let is_excused = [last, last + 1].iter().any(|round| writer.held_up.contains(round));
        assert!(writer.states.contains(&version) || is_excused, "{version} is a mix of rounds {rounds:?}: {folder:?}");
        published.insert(version);
    }
    assert_eq!(published, told(pod), "what was published is not what the log says");
    published.intersection(&writer.states).count()
}

#[test]
fn of_500_rounds_only_true_states_are_published_and_each_quiet_one_is_reached() {
    let mut writer = Writer::new();
    let settle = format!("{}ms", SETTLE.as_millis());
    let mut readers = [(); 2].map(|()| {
        let pod = pod(&writer.at("dags")).set("log.format", "json").set("log.level", "info");
        pod.set("volume.settle", &settle).set("keep.versions", "100000")
    });
    readers.iter_mut().for_each(|reader| reader.start_on(writer.states.first().unwrap()));
    let mut quiet = 1;
    for round in 1..=ROUNDS {
        let version = writer.write();
        if round % PAUSE == 0 {
            quiet += 1;
            for reader in &mut readers {
                reader.wait(&format!("it follows to round {round}"), |s| s["version"] == version.as_str());
            }
        } else {
            // Now long enough for a sync, now not, and sometimes it has just begun.
            sleep(SETTLE.mul_f64(2.0 * writer.random.f64()));
        }
    }
    let last = version_of(&writer.at("dags")).unwrap();
    for reader in &mut readers {
        reader.is_on(&last);
        let published = judge(reader, &writer);
        assert!(published > quiet + 10, "only {published} versions were published, {quiet} of them waited for");
    }
    assert!(writer.held_up.len() < ROUNDS / 2, "the machine is too busy for this: {} rounds", writer.held_up.len());
}
