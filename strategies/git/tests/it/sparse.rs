//! Sparse checkout, against what git itself checks out.

use dagsync_core::{ErrorKind, Warning};

use crate::harness::{Origin, Target, files, git};
use crate::real::{Repo, add_submodule};

/// What git leaves of the tree with these patterns, by the means that git-sync uses.
fn by_git(origin: &Origin, patterns: &str) -> Vec<String> {
    let dir = tempfile::tempdir().unwrap();
    let at = dir.path().join("tree");
    origin.git(&["worktree", "add", "-q", "--no-checkout", "--detach", at.to_str().unwrap(), "HEAD"]);
    origin.git(&["config", "core.sparseCheckout", "true"]);
    let file = at.join(git(&at, &["rev-parse", "--git-path", "info/sparse-checkout"]));
    std::fs::create_dir_all(file.parent().unwrap()).unwrap();
    std::fs::write(file, patterns).unwrap();
    // A tree that the patterns leave nothing of is an error for git.
    let kept = std::process::Command::new("git").current_dir(&at).args(["read-tree", "-mu", "HEAD"]).output().unwrap();
    let listed = match kept.status.success() {
        true => git(&at, &["ls-files", "-t"]),
        false => String::new(),
    };
    origin.git(&["worktree", "remove", "--force", at.to_str().unwrap()]);
    listed.lines().filter_map(|line| line.strip_prefix("H ")).map(str::to_owned).collect()
}

fn by_us(origin: &Origin, patterns: &str) -> Vec<String> {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), patterns).unwrap();
    let mut target = Target::new(&origin.url(), &[("sparse_checkout_file", file.path().to_str().unwrap())]);
    target.sync().unwrap();
    target.files().into_keys().collect()
}

/// Numbers that look random and are the same each time.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % end
    }

    fn pick<'a>(&mut self, from: &[&'a str]) -> &'a str {
        from[self.below(from.len())]
    }
}

const NAMES: &[&str] = &["a", "b", "dags", "team", "x.py", "y.sql", "README.md", "with space"];

fn random_tree(numbers: &mut Numbers) -> Origin {
    let origin = Origin::new();
    for _ in 0..120 {
        let depth = numbers.below(4);
        let mut path: Vec<String> = (0..depth).map(|_| format!("{}-d", numbers.pick(NAMES))).collect();
        path.push(numbers.pick(NAMES).to_owned());
        origin.write(&path.join("/"), path.join("/"));
    }
    origin.commit();
    origin
}

fn random_patterns(numbers: &mut Numbers) -> String {
    let parts =
        ["a-d", "b-d", "dags-d", "team-d", "*", "?-d", "x.py", "*.py", "**", "[ab]-d", "with\\ space-d", "README.md"];
    let mut patterns = String::new();
    for _ in 0..=numbers.below(5) {
        let inner: Vec<&str> = (0..=numbers.below(3)).map(|_| numbers.pick(&parts)).collect();
        patterns += numbers.pick(&["", "", "!"]);
        patterns += numbers.pick(&["", "/"]);
        patterns += &inner.join("/");
        patterns += numbers.pick(&["", "/", "\n# a comment\n"]);
        patterns += "\n";
    }
    patterns
}

#[test]
fn a_random_tree_is_what_git_leaves_of_it() {
    let mut numbers = Numbers(20_261_124);
    let fixed = [
        "/*\n!/*/\n/dags-d/\n",
        "/*\n!/*/\n/dags-d/\n!/dags-d/*/\n/dags-d/a-d/\n",
        "*.py\n",
        "dags-d\n!*.sql\n",
        "/**/a-d/\n",
        "/*\n!/a-d\n/a-d/b-d/\n",
        "",
    ];
    let mut some = 0;
    for _ in 0..3 {
        let origin = random_tree(&mut numbers);
        let random: Vec<String> = (0..12).map(|_| random_patterns(&mut numbers)).collect();
        for patterns in fixed.iter().copied().chain(random.iter().map(String::as_str)) {
            let expected = by_git(&origin, patterns);
            some += usize::from(!expected.is_empty());
            assert_eq!(by_us(&origin, patterns), expected, "{patterns:?}");
        }
    }
    assert!(some > 30, "only {some} patterns leave something");
}

#[test]
fn patterns_count_from_the_root_of_the_repository_and_are_read_anew() {
    let origin = Origin::new();
    origin.write("dags/a.py", "a").write("dags/old/b.py", "b").write("a\\b/c.py", "").commit();
    let file = tempfile::NamedTempFile::new().unwrap();
    let path = file.path().to_str().unwrap();
    std::fs::write(file.path(), "/dags/\n!/dags/old/\n").unwrap();
    let mut target = Target::new(&origin.url(), &[("sparse_checkout_file", path), ("subpath", "dags")]);
    target.limits.files = 1;
    let staged = target.sync().unwrap();
    assert_eq!(target.files(), files(&[("a.py", "a")]), "what is left out does not count");
    assert!(staged.warnings.iter().all(|w| !matches!(w, Warning::SkippedLink(_))));
    std::fs::write(file.path(), "/dags/old/\n").unwrap();
    target.sync().unwrap();
    assert_eq!(target.files(), files(&[("old/b.py", "b")]));
    std::fs::remove_file(file.path()).unwrap();
    let error = target.sync().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Config);
    assert!(error.to_string().contains("git.sparse_checkout_file"), "{error}");
}

#[test]
fn a_submodule_that_is_left_out_is_not_even_asked_for() {
    let (main, lib) = (Repo::with(&[("a.py", "a")]), Repo::with(&[("b.py", "b")]));
    add_submodule(&main, &lib, &lib.file_url());
    let file = tempfile::NamedTempFile::new().unwrap();
    let path = file.path().to_str().unwrap().to_owned();
    let mut target = Target::new(&main.file_url(), &[("sparse_checkout_file", &path)]);
    std::fs::write(file.path(), "/lib/\n").unwrap();
    target.sync().unwrap();
    assert_eq!(target.files(), files(&[("lib/b.py", "b")]));
    lib.hide(true);
    std::fs::remove_dir_all(target.cache().join("repositories")).unwrap();
    std::fs::write(file.path(), "/a.py\n").unwrap();
    target.sync().unwrap();
    assert_eq!(target.files(), files(&[("a.py", "a")]));
}
