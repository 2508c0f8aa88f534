//! What is brought, and where to.

use super::*;

#[test]
fn repo() {
    let setting = Setting::new();
    setting.git_sync().brings(&setting.head());
    let by_variable =
        setting.git_sync().without("repo").env("GITSYNC_REPO", setting.sshd.url(&setting.repo, setting.sshd.port));
    by_variable.brings(&setting.head());
    GitSync::of("x").without("repo").once().ended(1, &["--repo"]);
}

#[test]
fn r#ref() {
    let setting = Setting::new();
    let first = setting.head();
    setting.repo.git(&["tag", "v1"]);
    setting.repo.git(&["push", "--quiet", "origin", "v1"]);
    setting.repo.git(&["checkout", "--quiet", "-b", "side"]);
    setting.repo.write("a.py", "side\n");
    let side = setting.repo.commit("side");
    for (name, commit) in [("HEAD", &first), ("main", &first), ("v1", &first), ("side", &side), (&first, &first)] {
        setting.git_sync().flag("ref", name).brings(commit);
    }
    setting.git_sync().flag("ref", "nowhere").once().ended(1, &["nowhere"]);
}

#[test]
fn depth() {
    let setting = Setting::new();
    setting.repo.write("a.py", "two\n");
    let head = setting.repo.commit("second");
    for (depth, commits) in [("1", "1"), ("0", "2"), ("70000", "2"), ("0x7fffffffffffffff", "2")] {
        let git_sync = setting.git_sync().flag("depth", depth);
        git_sync.brings(&head);
        let cache = std::fs::read_dir(git_sync.root().join(".dagsync/cache/git/repositories")).unwrap();
        let repository = cache.flatten().find(|entry| entry.path().join("HEAD").exists()).unwrap().path();
        let count = shell(&repository, &format!("git -c safe.directory='*' rev-list --count {head}"));
        assert_eq!(count, commits, "--depth={depth}");
    }
    setting.git_sync().flag("depth", "-1").once().ended(1, &["--depth"]);
}

#[test]
fn filter() {
    let setting = Setting::new();
    let git_sync = setting.git_sync().flag("filter", "blob:none");
    git_sync.once().ended(0, &["filter", "partial clone"]);
    assert_eq!(git_sync.commit(), Some(setting.head()));
}

#[test]
fn submodules() {
    let setting = Setting::new();
    let [outer, inner] = [Repo::with(&[("outer.py", "o\n")]), Repo::with(&[("inner.py", "i\n")])];
    let url = |repo: &Repo| setting.sshd.url(repo, setting.sshd.port);
    let local = |repo: &Repo| repo.bare().display().to_string();
    let add = |to: &Repo, repo: &Repo, at: &str| {
        to.git(&["-c", "protocol.file.allow=always", "submodule", "--quiet", "add", &local(repo), at]);
        to.git(&["config", "-f", ".gitmodules", &format!("submodule.{at}.url"), &url(repo)]);
        to.commit("a submodule")
    };
    add(&outer, &inner, "inner");
    let head = add(&setting.repo, &outer, "outer");
    for (mode, has_outer, has_inner) in [("recursive", true, true), ("shallow", true, false), ("off", false, false)] {
        let git_sync = setting.git_sync().flag("submodules", mode);
        git_sync.brings(&head);
        assert_eq!(git_sync.read("outer/outer.py").is_some(), has_outer, "{mode}");
        assert_eq!(git_sync.read("outer/inner/inner.py").is_some(), has_inner, "{mode}");
    }
    setting.git_sync().flag("submodules", "some").once().ended(1, &["--submodules", "recursive"]);
}

#[test]
fn sparse_checkout_file() {
    let setting = Setting::new();
    let patterns = setting.repo.work().parent().unwrap().join("patterns");
    std::fs::write(&patterns, "/*\n!/lib/\n").unwrap();
    let git_sync = setting.git_sync().flag("sparse-checkout-file", &patterns);
    git_sync.brings(&setting.head());
    assert_eq!((git_sync.read("a.py").as_deref(), git_sync.read("lib/b.py")), (Some("one\n"), None));
    setting.git_sync().flag("sparse-checkout-file", "/nonexistent").once().ended(1, &["/nonexistent"]);
}

#[test]
fn root() {
    let setting = Setting::new();
    let git_sync = setting.git_sync();
    git_sync.brings(&setting.head());
    assert!(git_sync.root().join(".worktrees").join(setting.head()).is_dir());
    GitSync::of("x").without("root").once().ended(1, &["--root"]);
}

#[test]
fn link() {
    let setting = Setting::new();
    let named_after_the_repository = setting.git_sync().without("link");
    named_after_the_repository.once().ended(0, &[]);
    assert_eq!(commit_at(&named_after_the_repository.root().join("dags.git")), Some(setting.head()));
    let nested = setting.git_sync().flag("link", "some/where/dags");
    nested.once().ended(0, &[]);
    assert_eq!(commit_at(&nested.root().join("some/where/dags")), Some(setting.head()));
    let outside = setting.git_sync();
    let outside = {
        let at = outside.path("elsewhere/dags");
        outside.flag("link", at)
    };
    outside.once().ended(0, &[]);
    assert_eq!(commit_at(&outside.path("elsewhere/dags")), Some(setting.head()));
}

#[test]
fn git() {
    let setting = Setting::new();
    let git_sync = setting.git_sync().flag("git", "/nonexistent/git");
    git_sync.once().ended(0, &["--git", "no git"]);
}

#[test]
fn git_gc() {
    let setting = Setting::new();
    setting.git_sync().flag("git-gc", "aggressive").once().ended(0, &["git-gc"]);
    setting.git_sync().flag("git-gc", "sometimes").once().ended(1, &["--git-gc"]);
}
