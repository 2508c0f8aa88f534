//! `volume.require_mount`: an empty mount point is not taken for a folder without DAGs.

use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

use super::{fails_and_serves, in_place, pod, write};
use crate::harness::{Pod, Tmpfs, shell, version_by_hand};

/// A volume in memory and the place where pods expect it.
struct Volume {
    disk: Tmpfs,
    /// In the build's folder: the system's own for temporary files may itself be in memory.
    point: TempDir,
}

impl Volume {
    fn mounted() -> Self {
        let point = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        let volume = Self { disk: Tmpfs::of_kib(1024), point };
        volume.mount();
        volume
    }

    fn point(&self) -> &Path {
        self.point.path()
    }

    fn dags(&self) -> PathBuf {
        self.point().join("dags")
    }

    fn mount(&self) {
        shell(Path::new("/"), &format!("mount --bind {} {}", self.disk.path().display(), self.point().display()));
    }

    /// Also while somebody has a folder of it open.
    fn unmount(&self) {
        shell(Path::new("/"), &format!("umount --lazy {}", self.point().display()));
    }
}

impl Drop for Volume {
    fn drop(&mut self) {
        let _ = Command::new("umount").args(["--lazy", "--quiet"]).arg(self.point()).status();
    }
}

fn goes_and_comes_back(make: impl Fn(&Path) -> Pod, wanted: &str) {
    let volume = Volume::mounted();
    write(&volume.dags().join("a.py"), "1");
    let first = version_by_hand(&volume.dags());
    let mut pod = make(&volume.dags()).set("volume.require_mount", wanted).set("allow_empty", "true");
    pod.start();
    pod.wait("it is on the first", |s| s["version"] == first.as_str() && s["state"] == "converged");

    volume.unmount();
    let said =
        format!("is not on the volume that volume.require_mount asks for (wanted {}", wanted.replace(", ", " or "));
    fails_and_serves(&mut pod, "unreachable", &[&said, "found /", "mount it"], &first);
    // What an image has at the same path is not the volume either.
    write(&volume.dags().join("of_the_image.py"), "2");
    let attempts = pod.status().unwrap()["last_error"]["attempts"].as_u64();
    pod.wait("it tried again", |s| s["last_error"]["attempts"].as_u64() > attempts);
    fails_and_serves(&mut pod, "unreachable", &[&said], &first);

    volume.mount();
    pod.wait("it is on the first again", |s| s["version"] == first.as_str() && s["state"] == "converged");
    write(&volume.dags().join("a.py"), "3");
    let second = version_by_hand(&volume.dags());
    pod.wait("it is on the second", |s| s["version"] == second.as_str());
}

#[test]
fn a_volume_of_the_wanted_type_that_is_unmounted_deletes_nothing() {
    goes_and_comes_back(pod, "nfs4, tmpfs");
}

#[test]
fn any_mount_that_is_unmounted_deletes_nothing() {
    goes_and_comes_back(pod, "any");
}

#[test]
fn what_is_served_in_place_is_not_reported_when_it_is_unmounted() {
    goes_and_comes_back(in_place, "tmpfs");
}

#[test]
fn a_mount_of_another_type_is_refused_from_the_start() {
    let volume = Volume::mounted();
    write(&volume.dags().join("a.py"), "1");
    let pod = pod(&volume.dags()).set("max_failures", "0").set("volume.require_mount", "nfs4");
    let found = format!("found {}, of type tmpfs", volume.point().display());
    pod.once().ended(2, &["wanted nfs4", &found, "correct volume.require_mount"]);
    assert!(pod.current().is_none());
}

/// Without the setting an empty mount point is told by holding nothing at all.
#[test]
fn an_unmounted_volume_is_told_without_the_setting_too() {
    let volume = Volume::mounted();
    write(&volume.point().join("a.py"), "1");
    let version = version_by_hand(volume.point());
    let mut pod = pod(volume.point()).set("allow_empty", "true");
    pod.start_on(&version);
    volume.unmount();
    fails_and_serves(
        &mut pod,
        "not-found",
        &["holds nothing at all", "check that the volume is mounted there"],
        &version,
    );
    volume.mount();
    pod.is_on(&version);
}
