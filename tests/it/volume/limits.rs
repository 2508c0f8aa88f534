//! A folder with far more names than a tree of DAGs has.

use super::{fails_and_serves, pod, write};
use crate::harness::{Pod, Tmpfs, version_by_hand};

const NAMES: usize = 200_000;
/// Of memory, in KiB: far less than that many names take.
const LITTLE: usize = 16 * 1024;

/// The most memory that the daemon ever had, in KiB.
fn peak(pod: &Pod) -> usize {
    let status = std::fs::read_to_string(format!("/proc/{}/status", pod.id())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

#[test]
fn of_200000_names_in_one_folder_it_holds_few_and_left_out_they_do_not_count() {
    // In memory, as so many files take long on a disk.
    let disk = Tmpfs::of_kib(1 << 20);
    let dags = disk.path().join("dags");
    write(&dags.join("a.py"), "1");
    write(&dags.join("team/b.py"), "2");
    let version = version_by_hand(&dags);
    let mut pods = [(); 3].map(|()| pod(&dags).set("limits.files", "10000"));
    pods.iter_mut().for_each(|pod| pod.start_on(&version));
    let [mut refusing, mut excluding, small] = pods;
    excluding.kill();
    excluding.change("exclude", "lots");

    let lots = disk.path().join("lots");
    std::fs::create_dir(&lots).unwrap();
    (0..NAMES).for_each(|n| drop(std::fs::File::create(lots.join(format!("export_{n}.csv"))).unwrap()));
    std::fs::rename(&lots, dags.join("lots")).unwrap();
    let words = ["limits.files = 10000", "exclude"];
    fails_and_serves(&mut refusing, "limit-exceeded", &words, &version);
    excluding.start();
    excluding.is_on(&version);
    excluding.wait("it looked again", |s| s["last_success"].as_str() > s["published_at"].as_str());
    let (small, refusing_peak, excluding_peak) = (peak(&small), peak(&refusing), peak(&excluding));
    assert!(refusing_peak < small + LITTLE, "{refusing_peak} KiB to refuse it, {small} KiB for a small tree");
    assert!(excluding_peak < small + LITTLE, "{excluding_peak} KiB to leave it out, {small} KiB for a small tree");
    std::fs::rename(dags.join("lots"), &lots).unwrap();
    refusing.is_on(&version);
}
