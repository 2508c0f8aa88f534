//! The resolver against the kernel: trees of files and links are made on disk, cleaned as a person would clean them
//! (remove each link that `openat2` refuses, each that leads to a folder above it, each folder that became empty, until
//! nothing is left to remove), and read with `find -L`.

use std::os::unix::ffi::OsStringExt;
use std::path::Path;
use std::process::Command;

use proptest::prelude::*;
use rustix::fs::{CWD, Mode, OFlags, ResolveFlags, openat, openat2};

use super::*;
use crate::fixture::{hash, path, put, put_link};
use crate::interrupt::Interrupt;
use crate::manifest::{Digest, Entry, Manifest};
use crate::progress::Progress;
use crate::staging::{Staging, StagingRules};

#[derive(Debug, Clone)]
enum Leaf {
    File,
    Link(String),
}

type Leaves = BTreeMap<String, Leaf>;

fn part() -> impl Strategy<Value = &'static str> {
    prop_oneof![6 => "[a-c]".prop_map(|s| match s.as_str() { "a" => "a", "b" => "b", _ => "c" }), 3 => Just(".."), 1 => Just("."), 1 => Just("")]
}

fn target() -> impl Strategy<Value = String> {
    let relative = proptest::collection::vec(part(), 1..5).prop_map(|parts| parts.join("/"));
    relative.prop_filter("the kernel makes no such link", |t| !t.is_empty())
}

/// Leaves that can lie in one tree: none is below another.
fn leaves() -> impl Strategy<Value = Leaves> {
    let name = proptest::collection::vec("[a-c]", 1..4).prop_map(|parts| parts.join("/"));
    let leaf = prop_oneof![2 => Just(Leaf::File), 3 => target().prop_map(Leaf::Link)];
    proptest::collection::btree_map(name, leaf, 1..12).prop_map(|mut leaves: Leaves| {
        let all: Vec<String> = leaves.keys().cloned().collect();
        leaves.retain(|path, _| !all.iter().any(|other| other.starts_with(&format!("{path}/"))));
        leaves
    })
}

fn build(root: &Path, leaves: &Leaves) {
    for (path, leaf) in leaves {
        match leaf {
            Leaf::File => put(root, path, path),
            Leaf::Link(target) => put_link(root, path, target),
        }
    }
}

fn kernel_opens(root: &Path, path: &str, flags: OFlags) -> bool {
    let root = openat(CWD, root, OFlags::PATH | OFlags::DIRECTORY, Mode::empty()).unwrap();
    openat2(root, path, flags, Mode::empty(), ResolveFlags::BENEATH).is_ok()
}

fn find(root: &Path, arguments: &[&str]) -> Vec<String> {
    let output = Command::new("find").args(arguments).current_dir(root).output().unwrap();
    let names = output.stdout.split(|&b| b == 0).filter(|n| !n.is_empty());
    names.map(|n| std::ffi::OsString::from_vec(n.to_vec()).into_string().unwrap()).collect()
}

/// Whether the link leads to a folder that it lies in.
fn leads_upwards(root: &Path, link: &str) -> bool {
    let (real, folder) = (root.canonicalize().unwrap(), root.join(link));
    let lies_in = real.join(Path::new(link).parent().unwrap());
    folder.is_dir() && lies_in.starts_with(folder.canonicalize().unwrap())
}

fn clean(root: &Path) {
    loop {
        let links = find(root, &[".", "-type", "l", "-printf", "%P\\0"]);
        let bad: Vec<_> =
            links.iter().filter(|l| !kernel_opens(root, l, OFlags::PATH) || leads_upwards(root, l)).collect();
        bad.iter().for_each(|l| std::fs::remove_file(root.join(l)).unwrap());
        let empty = find(root, &[".", "-mindepth", "1", "-type", "d", "-empty", "-delete", "-print0"]);
        if bad.is_empty() && empty.is_empty() {
            return;
        }
    }
}

/// What a reader of the cleaned tree sees, by the kernel and findutils alone.
fn seen(root: &Path) -> Manifest {
    let files = find(root, &["-L", ".", "-type", "f", "-printf", "%P\\0"]);
    let entry = |file: String| {
        assert!(kernel_opens(root, &file, OFlags::RDONLY), "the cleaned tree shows {file} outside");
        Entry { path: path(&file), digest: Digest::of(std::fs::read(root.join(&file)).unwrap()) }
    };
    Manifest::new(files.into_iter().map(entry).collect()).unwrap()
}

fn stage(root: &Path, leaves: &Leaves) -> crate::Result<crate::StagedTree> {
    let rules = StagingRules {
        filter: Default::default(),
        limits: Default::default(),
        symlinks: Default::default(),
        group_write: false,
    };
    let staging = Staging::new(root, rules, None, Interrupt::never(), Progress::default())?;
    for (name, leaf) in leaves {
        match leaf {
            Leaf::File => drop(staging.write_bytes(&path(name), false, name.as_bytes())?),
            Leaf::Link(target) => staging.link(&path(name), target.as_bytes())?,
        }
    }
    staging.finish()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]
    #[test]
    fn a_reader_sees_what_the_kernel_shows_below_the_root(leaves in leaves()) {
        let (source, published) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        build(source.path(), &leaves);
        let hashed = hash(source.path()).manifest;
        let staged = stage(published.path(), &leaves).unwrap().manifest;
        prop_assert_eq!(&staged, &hashed);
        prop_assert_eq!(&hash(published.path()).manifest, &staged, "the published tree");
        prop_assert_eq!(&seen(published.path()), &staged, "the published tree by the kernel");
        clean(source.path());
        prop_assert_eq!(&seen(source.path()), &hashed, "the cleaned source by the kernel");
    }
}

fn resolved(files: &[&str], links: &[(&str, &str)]) -> Resolved {
    let files: Vec<_> = files.iter().map(|f| path(f)).collect();
    let links = links.iter().map(|(p, t)| (path(p), t.as_bytes().to_vec())).collect();
    resolve(&files, &links, &Filter::default(), &Limits::default(), &Interrupt::never()).unwrap()
}

fn shown(resolved: &Resolved) -> Vec<String> {
    resolved.files.iter().map(|(shown, origin)| format!("{shown} = {origin}")).collect()
}

fn reasons(resolved: &Resolved) -> Vec<(String, SkipReason)> {
    resolved.skipped.iter().map(|s| (s.path.to_string(), s.reason)).collect()
}

#[test]
fn links_show_files_and_folders_at_their_own_place() {
    let resolved = resolved(&["v1/a.py", "v1/sub/b.py"], &[("now", "v1"), ("a.py", "now/a.py")]);
    assert_eq!(
        shown(&resolved),
        [
            "a.py = v1/a.py",
            "now/a.py = v1/a.py",
            "now/sub/b.py = v1/sub/b.py",
            "v1/a.py = v1/a.py",
            "v1/sub/b.py = v1/sub/b.py"
        ]
    );
    assert_eq!((resolved.links.len(), resolved.skipped.len()), (2, 0));
}

#[test]
fn what_does_not_count_is_named_with_its_reason() {
    let links =
        [("abs", "/etc/passwd"), ("up", "../x"), ("back", "../root/a"), ("none", "b"), ("me", "me"), ("d/l", "..")];
    let resolved = resolved(&["a", "d/x"], &links);
    assert_eq!(shown(&resolved), ["a = a", "d/x = d/x"]);
    use SkipReason::{Dangling, LeavesRoot, Loop};
    let want = [
        ("abs", LeavesRoot),
        ("back", LeavesRoot),
        ("d/l", Loop),
        ("me", Loop),
        ("none", Dangling),
        ("up", LeavesRoot),
    ];
    assert_eq!(reasons(&resolved), want.map(|(p, r)| (p.to_owned(), r)));
}

/// Found by the test against the kernel: such a link dangled in the published tree but was in its manifest.
#[test]
fn a_link_through_what_is_not_created_does_not_count() {
    let through_folder = resolved(&["b"], &[("a", "c/../b"), ("c/broken", "nothing")]);
    assert_eq!(shown(&through_folder), ["b = b"]);
    assert_eq!(reasons(&through_folder).len(), 2);
    let through_loop = resolved(&["a", "d/x"], &[("d/up", ".."), ("y", "d/up/a")]);
    assert_eq!(shown(&through_loop), ["a = a", "d/x = d/x"]);
    let through_left_out = resolved(&["r/x"], &[("__pycache__", "r"), ("y", "__pycache__/x")]);
    assert_eq!(shown(&through_left_out), ["r/x = r/x"]);
    assert_eq!(through_left_out.links, []);
}

#[test]
fn links_that_take_each_other_down_for_ever_are_refused() {
    let mut links: BTreeMap<_, _> =
        (0..100).map(|i| (path(&format!("d{i}/l")), format!("../d{}/../a", i + 1).into_bytes())).collect();
    let resolve = |links: &_| resolve(&[path("a")], links, &Filter::default(), &Limits::default(), &Interrupt::never());
    assert_eq!(resolve(&links).unwrap_err().kind(), ErrorKind::Refused);
    links.insert(path("d100/l"), b"../a".to_vec());
    assert_eq!(resolve(&links).unwrap().files.len(), 102);
}

/// The kernel counts the links of a whole path, not those of its last part.
#[test]
fn a_path_through_more_links_than_the_kernel_follows_does_not_count() {
    let folder = tempfile::tempdir().unwrap();
    for i in 0..44 {
        put(folder.path(), &format!("d{i}/f"), "x");
        put_link(folder.path(), &format!("d{i}/n"), format!("../d{}", (i + 1).min(44)));
    }
    put(folder.path(), "d44/f", "x");
    let hashed = hash(folder.path());
    assert!(hashed.manifest.entries().iter().all(|e| kernel_opens(folder.path(), e.path.as_str(), OFlags::RDONLY)));
    assert!(hashed.manifest.get(&format!("d0/{}f", "n/".repeat(40))).is_some());
    assert!(hashed.skipped.iter().any(|s| s.reason == SkipReason::Loop));
}

#[test]
fn a_target_that_the_kernel_cannot_hold_dangles() {
    let long = format!("{}a", "./".repeat(2048));
    for target in [long.as_str(), "", "a\0", "a/", "a/."] {
        let resolved = resolved(&["a"], &[("l", target)]);
        assert_eq!(reasons(&resolved), [("l".to_owned(), SkipReason::Dangling)], "{} bytes", target.len());
    }
}

#[test]
fn two_things_at_one_path_are_refused() {
    for (file, link) in [("a", "a"), ("a", "a/b"), ("a/b", "a"), ("a/b/c", "a/b")] {
        let links = [(path(link), b"x".to_vec())].into();
        let error =
            resolve(&[path(file)], &links, &Filter::default(), &Limits::default(), &Interrupt::never()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Refused, "{file} {link}");
    }
}

#[test]
fn links_that_multiply_a_tree_hit_the_limit() {
    let links = (0..30).flat_map(|i| ["x", "y"].map(|n| (path(&format!("d{i}/{n}")), format!("../d{}", i + 1).into())));
    let links: BTreeMap<_, _> = links.collect();
    let limits = Limits { files: 1000, ..Limits::default() };
    let error = resolve(&[path("d30/f")], &links, &Filter::default(), &limits, &Interrupt::never()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::LimitExceeded);
}

#[test]
fn a_walk_through_many_links_ends_when_it_is_told_to_and_has_a_bound_of_its_own() {
    let links = (0..22).flat_map(|i| ["x", "y"].map(|n| (path(&format!("d{i}/{n}")), format!("../d{}", i + 1).into())));
    let links: Links = links.collect();
    let limits = Limits { files: 10_000_000, ..Limits::default() };
    let resolve = |interrupt: &Interrupt| resolve(&[path("d22/f")], &links, &Filter::default(), &limits, interrupt);
    let error = resolve(&Interrupt::never()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::LimitExceeded);
    assert!(error.to_string().contains("1000000 names lie behind symbolic links"), "{error}");
    let stopped = Interrupt::never();
    stopped.token().cancel();
    assert_eq!(resolve(&stopped).unwrap_err().kind(), ErrorKind::Cancelled);
}
