//! The hot paths without any process around them: building a version, reading a tree, staging what did not change.

#![allow(clippy::disallowed_methods, clippy::unwrap_used, reason = "a benchmark sets its own scene")]

use std::hint::black_box;
use std::path::Path;
use std::sync::Arc;

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use dagsync_core::fs::Folder;
use dagsync_core::index::{StatIndex, file_system_now};
use dagsync_core::tree::Reading;
use dagsync_core::{
    Digest, Entry, Filter, HashedTree, Interrupt, Limits, Manifest, Progress, Snapshot, Staging, StagingRules,
    SymlinkPolicy, TreePath, hash_tree,
};
use tempfile::TempDir;

const FILES: usize = 2_000;
const FILE_BYTES: usize = 4_096;

fn path(n: usize) -> String {
    format!("team_{}/dag_{n}.py", n % 20)
}

/// `FILES` files of 4 KiB, each with other content.
fn tree() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    for n in 0..FILES {
        let file = folder.path().join(path(n));
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        std::fs::write(file, format!("{n:>width$}", width = FILE_BYTES)).unwrap();
    }
    // So that the stat index is newer than every file: a file written in its clock tick proves nothing.
    std::thread::sleep(std::time::Duration::from_millis(50));
    folder
}

fn read(folder: &Path, index: &StatIndex) -> HashedTree {
    let reading = Reading {
        filter: &Filter::default(),
        limits: &Limits::default(),
        symlinks: SymlinkPolicy::Skip,
        index,
        now: Some(file_system_now(folder.parent().unwrap()).unwrap()),
        interrupt: &Interrupt::never(),
        progress: &Progress::default(),
    };
    hash_tree(&Folder::open(folder).unwrap(), &reading).unwrap()
}

fn versions(c: &mut Criterion) {
    let entry = |n| Entry { path: TreePath::new(path(n)).unwrap(), digest: Digest::of(n.to_string()) };
    let entries: Vec<_> = (0..10_000).map(entry).collect();
    let manifest = Manifest::new(entries.clone()).unwrap();
    let bytes = manifest.to_bytes();
    let mut group = c.benchmark_group("manifest of 10,000 files");
    group.throughput(Throughput::Elements(10_000));
    group.bench_function("build", |b| {
        b.iter_batched(|| entries.clone(), |e| Manifest::new(e).unwrap(), BatchSize::LargeInput);
    });
    group.bench_function("version", |b| b.iter(|| black_box(&manifest).version()));
    group.bench_function("parse", |b| b.iter(|| Manifest::parse(black_box(&bytes)).unwrap()));
    group.finish();
}

fn trees(c: &mut Criterion) {
    let folder = tree();
    let known = read(folder.path(), &StatIndex::default()).index;
    assert_eq!(read(folder.path(), &known).files_read, 0, "the index proves every file");
    let mut group = c.benchmark_group("tree of 2,000 files");
    group.throughput(Throughput::Bytes((FILES * FILE_BYTES) as u64)).sample_size(20);
    group.bench_function("read and hash", |b| b.iter(|| read(folder.path(), &StatIndex::default())));
    group.bench_function("prove by the stat index", |b| b.iter(|| read(folder.path(), &known)));
    group.finish();
}

/// An empty staging folder over the version before.
fn staging(previous: Option<&Arc<Snapshot>>) -> (TempDir, Staging) {
    let folder = tempfile::tempdir().unwrap();
    let rules = StagingRules {
        filter: Arc::default(),
        limits: Limits::default(),
        symlinks: SymlinkPolicy::Skip,
        group_write: false,
    };
    let staging =
        Staging::new(folder.path(), rules, previous.cloned(), Interrupt::never(), Progress::default()).unwrap();
    (folder, staging)
}

fn snapshot(folder: &Path) -> Snapshot {
    let HashedTree { manifest, index, .. } = read(folder, &StatIndex::default());
    Snapshot { folder: Folder::open(folder).unwrap(), version: manifest.version(), index }
}

fn stagings(c: &mut Criterion) {
    let content = vec![b'x'; FILE_BYTES];
    let paths: Vec<_> = (0..FILES).map(|n| TreePath::new(path(n)).unwrap()).collect();
    let mut group = c.benchmark_group("staging of 2,000 files");
    group.throughput(Throughput::Elements(FILES as u64)).sample_size(10);
    group.bench_function("write", |b| {
        let write = |(folder, staging): (TempDir, Staging)| {
            for path in &paths {
                staging.write_bytes(path, false, &content).unwrap();
            }
            (folder, staging.finish().unwrap())
        };
        b.iter_batched(|| staging(None), write, BatchSize::PerIteration);
    });
    let (before, filled) = staging(None);
    let digests: Vec<_> = paths.iter().map(|path| filled.write_bytes(path, false, &content).unwrap()).collect();
    filled.finish().unwrap();
    group.bench_function("link from the version before", |b| {
        let reuse = |(folder, staging): (TempDir, Staging)| {
            for (path, digest) in paths.iter().zip(&digests) {
                assert!(staging.reuse(path, false, digest).unwrap());
            }
            (folder, staging.finish().unwrap())
        };
        // Linking moves the ctime, so that each round needs an index of its own.
        let fresh = || {
            std::thread::sleep(std::time::Duration::from_millis(50));
            staging(Some(&Arc::new(snapshot(before.path()))))
        };
        b.iter_batched(fresh, reuse, BatchSize::PerIteration);
    });
    group.finish();
}

criterion_group!(benches, versions, trees, stagings);
criterion_main!(benches);
