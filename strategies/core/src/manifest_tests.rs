use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use proptest::prelude::*;

use super::*;
use crate::fixture::{hash, path, put, put_folder, put_link, tree_path};

const TREES: &str = include_str!("../testdata/trees.tsv");
const GOLDEN: &str = include_str!("../testdata/golden.tsv");

fn build_trees(folder: &Path) {
    let mut root = folder.to_owned();
    for line in TREES.lines().filter(|l| !l.starts_with('#')) {
        let mut fields = line.splitn(3, '\t');
        let (kind, path, rest) = (fields.next().unwrap(), fields.next().unwrap(), fields.next().unwrap_or_default());
        match kind {
            "tree" => {
                root = folder.join(path);
                put_folder(&root, "");
            }
            "file" => put(&root, path, rest),
            "folder" => put_folder(&root, path),
            "link" => put_link(&root, path, rest),
            other => panic!("unknown kind {other}"),
        }
    }
}

fn golden() -> impl Iterator<Item = (&'static str, &'static str, &'static str)> {
    GOLDEN.lines().map(|line| {
        let fields: Vec<_> = line.split('\t').collect();
        (fields[0], fields[1], fields[2])
    })
}

#[test]
fn versions_are_those_of_find_sort_and_sha256sum() {
    let folder = tempfile::tempdir().unwrap();
    build_trees(folder.path());
    let built = std::fs::read_dir(folder.path()).unwrap().count();
    assert_eq!(built, golden().count(), "make-golden.sh was not run after trees.tsv changed");
    for (tree, version, _) in golden() {
        let hashed = hash(&folder.path().join(tree));
        assert_eq!(hashed.manifest.version().to_string(), version, "{tree}:\n{}", text(&hashed.manifest));
        assert_eq!(hashed.skipped, [], "{tree}");
    }
}

/// Go's `dirhash.Hash1` is `h1:` and the base64 of the same hash over the same lines.
#[test]
fn the_version_is_the_go_dirhash_in_hex() {
    for (tree, version, h1) in golden() {
        let version: Version = version.parse().unwrap();
        assert_eq!(format!("h1:{}", base64(version.0.as_bytes())), h1, "{tree}");
    }
    // The files of `TestHash1` in golang.org/x/mod/sumdb/dirhash.
    let (_, version, _) = golden().find(|g| g.0 == "go-dirhash").unwrap();
    let line = |name: &str| format!("{}  {name}\n", Digest::of(format!("data for {name}")));
    assert_eq!(Version::from(Digest::of(line("abc") + &line("xyz"))).to_string(), version);
}

fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let quad = |chunk: &[u8]| {
        let bits = (0..3).fold(0, |bits, i| bits << 8 | u32::from(chunk.get(i).copied().unwrap_or(0)));
        let digit = |i| if i <= chunk.len() { DIGITS[(bits >> (18 - 6 * i) & 63) as usize] as char } else { '=' };
        [0, 1, 2, 3].map(digit)
    };
    bytes.chunks(3).flat_map(quad).collect()
}

fn text(manifest: &Manifest) -> String {
    String::from_utf8(manifest.to_bytes()).unwrap()
}

type Files = BTreeMap<String, Vec<u8>>;

fn files() -> impl Strategy<Value = Files> {
    proptest::collection::btree_map(tree_path(), proptest::collection::vec(any::<u8>(), 0..4), 0..12)
}

fn entries(files: &Files) -> Vec<Entry> {
    files.iter().map(|(p, content)| Entry { path: path(p), digest: Digest::of(content) }).collect()
}

fn manifest(files: &Files) -> Manifest {
    Manifest::new(entries(files)).unwrap()
}

fn apply(from: &Manifest, changes: &[Change], to: &Manifest) -> Manifest {
    let mut files: BTreeMap<_, _> = from.entries().iter().map(|e| (e.path.clone(), e.digest)).collect();
    for change in changes {
        let before = match change.change {
            ChangeKind::Removed => files.remove(change.path.as_str()),
            _ => files.insert(change.path.clone(), *to.get(change.path.as_str()).unwrap()),
        };
        assert_eq!(before.is_none(), change.change == ChangeKind::Added, "{change:?}");
    }
    Manifest::new(files.into_iter().map(|(path, digest)| Entry { path, digest }).collect()).unwrap()
}

proptest! {
    #[test]
    fn the_order_of_entries_does_not_matter(files in files(), seed: u64) {
        let mut shuffled = entries(&files);
        shuffled.sort_by_key(|e| Digest::of(format!("{seed}{}", e.path)));
        prop_assert_eq!(Manifest::new(shuffled).unwrap(), manifest(&files));
    }

    #[test]
    fn a_file_more_changes_the_version_and_its_removal_restores_it(files in files(), new in tree_path()) {
        prop_assume!(!files.contains_key(&new));
        let before = manifest(&files).version();
        let mut more = files.clone();
        more.insert(new.clone(), Vec::new());
        prop_assert_ne!(manifest(&more).version(), before);
        more.remove(&new);
        prop_assert_eq!(manifest(&more).version(), before);
    }

    #[test]
    fn one_flipped_bit_changes_the_version(mut files in files(), name in tree_path(), content in ".{1,9}", bit: usize) {
        files.insert(name.clone(), content.into_bytes());
        let before = manifest(&files);
        let content = files.get_mut(&name).unwrap();
        let bit = bit % (content.len() * 8);
        content[bit / 8] ^= 1 << (bit % 8);
        let after = manifest(&files);
        prop_assert_ne!(after.version(), before.version());
        prop_assert_eq!(before.diff(&after), [Change { path: path(&name), change: ChangeKind::Modified }]);
    }

    #[test]
    fn a_renamed_file_changes_the_version(mut files in files(), from in tree_path(), to in tree_path()) {
        files.remove(&to);
        prop_assume!(from != to);
        files.insert(from.clone(), b"same".to_vec());
        let before = manifest(&files);
        let content = files.remove(&from).unwrap();
        files.insert(to, content);
        prop_assert_ne!(manifest(&files).version(), before.version());
        prop_assert_eq!(before.diff(&manifest(&files)).len(), 2);
    }

    #[test]
    fn parse_reads_what_to_bytes_wrote(files in files()) {
        let manifest = manifest(&files);
        prop_assert_eq!(&Manifest::parse(&manifest.to_bytes()).unwrap(), &manifest);
        for (path, content) in &files {
            prop_assert_eq!(manifest.get(path), Some(&Digest::of(content)));
        }
    }

    #[test]
    fn parse_takes_nothing_that_it_would_not_write(files in files(), at: usize, byte: u8) {
        let mut bytes = manifest(&files).to_bytes();
        prop_assume!(!bytes.is_empty());
        let at = at % bytes.len();
        bytes[at] = byte;
        if let Ok(read) = Manifest::parse(&bytes) {
            prop_assert_eq!(read.to_bytes(), bytes);
        }
    }

    #[test]
    fn a_diff_mirrors_and_applies(a in files(), b in files()) {
        let (a, b) = (manifest(&a), manifest(&b));
        let (there, back) = (a.diff(&b), b.diff(&a));
        prop_assert_eq!(&apply(&a, &there, &b), &b);
        prop_assert_eq!(&apply(&b, &back, &a), &a);
        let mirrored = |kind| match kind {
            ChangeKind::Added => ChangeKind::Removed,
            ChangeKind::Removed => ChangeKind::Added,
            ChangeKind::Modified => ChangeKind::Modified,
        };
        let mirror: Vec<_> = back.into_iter().map(|c| Change { change: mirrored(c.change), ..c }).collect();
        prop_assert_eq!(there, mirror);
        prop_assert_eq!(a.diff(&a), []);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn sha256sum_accepts_the_manifest(files in files()) {
        let folder = tempfile::tempdir().unwrap();
        let is_folder = |path: &String| files.keys().any(|other| other.starts_with(&format!("{path}/")));
        for (path, content) in files.iter().filter(|(path, _)| !is_folder(path)) {
            put(folder.path(), path, content);
        }
        let manifest = hash(folder.path()).manifest;
        prop_assume!(!manifest.is_empty());
        prop_assert!(sha256sum_checks(folder.path(), &manifest.to_bytes()), "{}", text(&manifest));
        let victim = &manifest.entries()[0].path;
        put(folder.path(), victim.as_str(), "tampered with");
        prop_assert!(!sha256sum_checks(folder.path(), &manifest.to_bytes()));
    }
}

fn sha256sum_checks(folder: &Path, manifest: &[u8]) -> bool {
    let mut child = Command::new("sha256sum")
        .args(["--check", "--strict", "--status"])
        .current_dir(folder)
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(manifest).unwrap();
    child.wait().unwrap().success()
}

#[test]
fn a_path_that_stands_twice_is_refused() {
    let entry = |content| Entry { path: path("a/b.py"), digest: Digest::of(content) };
    for second in ["x", "y"] {
        let error = Manifest::new(vec![entry("x"), entry(second)]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Refused);
        assert!(error.to_string().contains("a/b.py"), "{error}");
    }
}

/// `sha256sum -- -` hashes its standard input, so no hand-made version could be right.
#[test]
fn a_file_called_dash_is_refused_only_in_the_root() {
    let entry = |at| Entry { path: path(at), digest: Digest::of("") };
    assert_eq!(Manifest::new(vec![entry("-")]).unwrap_err().kind(), ErrorKind::Refused);
    assert_eq!(Manifest::new(vec![entry("-/-"), entry("-x")]).unwrap().len(), 2);
}

#[test]
fn a_bad_line_is_named() {
    let hex = Digest::of("").to_string();
    for (bad, why) in [
        (format!("{hex}  a"), "line 1 is cut off"),
        (format!("{hex}  b\n{hex}  a\n"), "line 2 is not in byte order"),
        (format!("{hex}  a\n{hex}  a\n"), "line 2 is not in byte order"),
        (format!("{hex} *a\n"), "line 1 lacks the two spaces"),
        (format!("{}  a\n", hex.to_uppercase()), "line 1 does not start with 64 lower-case"),
        ("short\n".to_owned(), "line 1 is too short"),
        (format!("{hex}  ../a\n"), "line 1 has a refused path"),
        (format!("{hex}  a\r\n"), "line 1 has a refused path"),
    ] {
        let error = Manifest::parse(bad.as_bytes()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Corrupt);
        assert!(error.to_string().contains(why), "{error}");
    }
}

#[test]
fn a_version_is_read_with_and_without_its_prefix() {
    let version = Manifest::default().version();
    assert_eq!(version.to_string().parse::<Version>().unwrap(), version);
    assert_eq!(version.hex().parse::<Version>().unwrap(), version);
    assert_eq!(version.short(), "e3b0c44298fc");
    for bad in ["", "sha256:", "sha1:00", &version.hex().to_uppercase(), &version.hex()[1..]] {
        let error = bad.parse::<Version>().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Config, "{bad}");
    }
    let json = serde_json::to_string(&version).unwrap();
    assert_eq!(serde_json::from_str::<Version>(&json).unwrap(), version);
}
