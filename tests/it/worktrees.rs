//! git-sync's layout: its contract towards the pod, what it left behind, and pods whose containers run as two users.

use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use crate::harness::{Outcome, Pod, Repo, dagsync, generate, shell, version_of};

fn worktrees(repo: &Repo) -> Pod {
    Pod::new(&repo.file_url()).set("layout", "worktrees").set("link", "repo")
}

/// The link points to the tree of `commit` as git-sync says it must.
#[track_caller]
fn is_on_commit(pod: &Pod, repo: &Repo, commit: &str) {
    let target = std::fs::read_link(pod.link()).unwrap();
    assert!(target.is_relative() && target.ends_with(commit), "{target:?} is not {commit}");
    assert_eq!(version_of(&pod.current().unwrap()).unwrap(), repo.version());
}

#[test]
fn the_link_names_every_commit_and_readers_find_it_by_themselves() {
    let repo = Repo::with(&[("a.py", "a"), ("team/b.py", "b")]);
    let pod = worktrees(&repo);
    let reader = pod.reader();
    pod.once().ended(0, &[]);
    let first = repo.push();
    assert_eq!(std::fs::read_link(pod.link()).unwrap(), Path::new(".worktrees").join(&first));
    let before = std::fs::metadata(pod.link().join("a.py")).unwrap();
    let second = repo.commit("nothing changed");
    pod.once().ended(0, &[]);
    is_on_commit(&pod, &repo, &second);
    let after = std::fs::metadata(pod.link().join("a.py")).unwrap();
    assert_eq!((after.ino(), after.mtime_nsec()), (before.ino(), before.mtime_nsec()));
    // An older commit comes back while its folder is still there.
    repo.git(&["reset", "--quiet", "--hard", &first]);
    repo.push();
    pod.once().ended(0, &[]);
    is_on_commit(&pod, &repo, &first);
    reader.saw_only(&[&repo.version()]);
    let root = pod.root().to_str().unwrap();
    let ask = |args: &[&str]| Outcome::of(dagsync().args(args));
    ask(&["status", root]).ended(0, &[&repo.version(), &first]);
    ask(&["verify", root]).ended(0, &["verified"]);
    ask(&["diff", root, pod.link().to_str().unwrap()]).ended(0, &["equal"]);
    ask(&["hash", pod.link().to_str().unwrap()]).ended(0, &[&repo.version()]);
}

#[test]
fn the_link_may_lie_outside_the_root() {
    let repo = Repo::with(&[("a.py", "a")]);
    let elsewhere = tempfile::tempdir().unwrap();
    let link = elsewhere.path().join("dags/repo");
    let pod = worktrees(&repo).set("link", &link);
    pod.once().ended(0, &[]);
    is_on_commit(&pod, &repo, &repo.push());
    Outcome::of(dagsync().arg("verify").arg(pod.root())).ended(0, &["verified"]);
    pod.once().ended(0, &[]);
    for refused in ["repo/", ".worktrees/x", "x/../.git", ".", "versions"] {
        worktrees(&repo).set("link", refused).once().ended(64, &["link"]);
    }
}

/// What git-sync 4 leaves in a root after it synced `commit`, made by git itself: the repository, its trees, the link,
/// and what it trips over itself.
fn left_by_git_sync(pod: &Pod, repo: &Repo, commit: &str) {
    std::fs::create_dir_all(pod.root()).unwrap();
    let url = repo.file_url();
    shell(
        pod.root(),
        &format!(
            "git init --quiet && git fetch --quiet {url} main
             git worktree add --force --detach .worktrees/{commit} {commit} 2>&1
             echo 'gitdir: ../../.git/worktrees/{commit}' > .worktrees/{commit}/.git
             ln -s .worktrees/{commit} repo
             half=$(git rev-parse {commit}^) && git worktree add --force --detach --no-checkout .worktrees/$half $half 2>&1
             ln -s .worktrees/nothing tmp-link && touch .git/index.lock .git/shallow.lock NOTES"
        ),
    );
}

#[test]
fn what_git_sync_left_is_served_while_the_source_is_down_and_stays() {
    let repo = Repo::with(&[("a.py", "a")]);
    let half = repo.push();
    repo.write("team/b.py", "b");
    let commit = repo.commit("second");
    let mut pod = worktrees(&repo);
    left_by_git_sync(&pod, &repo, &commit);
    let reader = pod.reader();
    let link = || std::fs::symlink_metadata(pod.root().join("repo")).unwrap().ino();
    let before = link();
    repo.hide(true);
    pod.start();
    let status = pod.wait("it is ready", |s| s["ready"] == true);
    assert_eq!((status["version"].as_str(), status["revision"].as_str()), (Some(&*repo.version()), Some(&*commit)));
    assert_eq!(pod.get("/readyz").unwrap().0, 200);
    repo.hide(false);
    pod.wait("it synced", |s| !s["last_success"].is_null());
    let now = std::fs::symlink_metadata(pod.link()).unwrap().ino();
    assert_eq!(now, before, "the link was not touched");
    pod.says("repository is not needed any more");
    assert!(pod.stop().success());
    reader.saw_only(&[&repo.version()]);
    // Old trees of git-sync go; the rest is not ours.
    let pod = pod.set("keep.age", "0s").set("keep.versions", "1");
    repo.write("a.py", "news");
    let news = repo.commit("third");
    pod.once().ended(0, &[]);
    is_on_commit(&pod, &repo, &news);
    for gone in [&half, &commit] {
        assert!(!pod.root().join(".worktrees").join(gone).exists(), "{gone}");
    }
    for stays in ["NOTES", ".git/HEAD", ".git/index.lock", "tmp-link"] {
        assert!(pod.root().join(stays).symlink_metadata().is_ok(), "{stays}");
    }
}

#[test]
fn a_damaged_tree_of_git_sync_is_replaced_by_a_whole_one() {
    let repo = Repo::with(&[("a.py", "a")]);
    let commit = repo.commit("second");
    let pod = worktrees(&repo);
    left_by_git_sync(&pod, &repo, &commit);
    std::fs::write(pod.link().join("a.py"), "edited").unwrap();
    pod.once().ended(0, &[]);
    is_on_commit(&pod, &repo, &commit);
    assert!(pod.current().unwrap().parent().unwrap().ends_with("copy-2"));
}

#[test]
fn killed_while_it_takes_over_what_git_sync_left() {
    let repo = Repo::new();
    generate(&repo.work(), 300, 1);
    repo.commit("first");
    let commit = repo.commit("second");
    let version = repo.version();
    let mut random = fastrand::Rng::with_seed(1);
    let mut unfinished = 0;
    for _ in 0..12 {
        let mut pod = worktrees(&repo);
        left_by_git_sync(&pod, &repo, &commit);
        let reader = pod.reader();
        let link = || std::fs::symlink_metadata(pod.root().join("repo")).unwrap().ino();
        let before = link();
        let start = std::time::Instant::now();
        pod.once().ended(0, &[]);
        let took = start.elapsed();
        assert_eq!(link(), before);
        shell(pod.root(), "chmod -R u+w .dagsync; rm -rf .dagsync");
        pod.start();
        std::thread::sleep(took.mul_f64(random.f64()));
        pod.kill();
        unfinished += usize::from(!pod.root().join(".dagsync/state.json").exists());
        pod.once().ended(0, &[]);
        let now = std::fs::symlink_metadata(pod.link()).unwrap().ino();
        assert_eq!(now, before, "equal content never moves the link");
        is_on_commit(&pod, &repo, &commit);
        reader.saw_only(&[&version]);
    }
    assert!(unfinished >= 2, "{unfinished} kills hit the start");
}

/// What is found in the root, as a script that leaves it there; `$C` is the current commit, `$N` the next one.
const LEFTOVERS: &[(&str, &str)] = &[
    ("half-made links", "ln -sfn nowhere repo.dagsync-new; ln -sfn nowhere tmp-link"),
    ("a dangling link", "ln -sfn .worktrees/0000 repo"),
    ("a link to itself", "ln -sfn repo repo"),
    ("no link", "rm -f repo"),
    ("no records", "rm -rf .dagsync/worktrees"),
    ("a file in place of the records", "rm -rf .dagsync/worktrees && echo x > .dagsync/worktrees"),
    ("a record without its tree", "touch .dagsync/worktrees/$(printf 1%.0s $(seq 40))@$(printf a%.0s $(seq 64))"),
    ("a record that is none", "touch .dagsync/worktrees/README .dagsync/worktrees/x@y"),
    ("somebody's folder where the next tree belongs", "mkdir -p .worktrees/$N && echo x > .worktrees/$N/x"),
    ("garbage in state.json", "echo '{' > .dagsync/state.json"),
    ("no state.json", "rm -f .dagsync/state.json"),
    ("nothing but the trees", "chmod -R u+w .dagsync; rm -rf .dagsync"),
    ("a tree that is gone", "chmod -R u+w .worktrees; rm -rf .worktrees"),
    ("a file in place of the trees", "chmod -R u+w .worktrees; rm -rf .worktrees; rm -rf versions; echo x > versions"),
];

#[test]
fn leftovers_of_every_kind_in_worktrees() {
    let repo = Repo::with(&[("a.py", "a"), ("team/b.py", "b")]);
    let pod = worktrees(&repo);
    pod.once().ended(0, &[]);
    for (n, (what, script)) in LEFTOVERS.iter().enumerate() {
        repo.write("team/b.py", &format!("b = {n}"));
        let commits = format!("C={}\nN={}\n", repo.git(&["rev-parse", "HEAD"]), repo.commit(what));
        shell(pod.root(), &format!("{commits}{script}"));
        for again in [false, true] {
            let outcome = pod.once();
            assert_eq!(outcome.code, Some(0), "{what}, again {again}: {outcome:#?}");
            is_on_commit(&pod, &repo, &repo.push());
        }
    }
}

#[test]
fn a_store_that_changes_its_layout_is_served_meanwhile() {
    let repo = Repo::with(&[("a.py", "a")]);
    let mut pod = Pod::new(&repo.file_url()).set("link", "repo").set("keep.age", "0s").set("keep.versions", "1");
    pod.once().ended(0, &[]);
    let reader = pod.reader();
    for (layout, home, old) in [("worktrees", ".worktrees", "versions"), ("versions", "versions", ".worktrees")] {
        pod.change("layout", layout);
        pod.once().ended(0, &[]);
        assert!(std::fs::read_link(pod.link()).unwrap().starts_with(home));
        assert_eq!(std::fs::read_dir(pod.root().join(old)).unwrap().count(), 0, "the other layout's are pruned");
    }
    reader.saw_only(&[&repo.version()]);
}

const INIT: u32 = 1000;
const SIDECAR: u32 = 65533;

/// A folder that belongs to group 0, as a volume of a pod with `fsGroup: 0`, with everything on the way to it open.
fn volume(repo: &Repo) -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("git");
    std::fs::create_dir(&root).unwrap();
    let open = |path: &Path, mode| std::fs::set_permissions(path, PermissionsExt::from_mode(mode)).unwrap();
    open(folder.path(), 0o755);
    open(repo.bare().parent().unwrap(), 0o755);
    open(&root, 0o2775);
    (folder, root)
}

#[test]
fn an_init_container_and_a_sidecar_of_one_group_share_a_store() {
    let repo = Repo::with(&[("a.py", "a"), ("team/b.py", "b"), ("team/run.sh", "x")]);
    let (_folder, root) = volume(&repo);
    let pod = |user| {
        worktrees(&repo).at(&root).by(user).set("group_write", "true").set("keep.age", "0s").set("keep.versions", "1")
    };
    for (n, user) in [INIT, SIDECAR, INIT, SIDECAR].into_iter().enumerate() {
        repo.write("a.py", &n.to_string());
        let commit = repo.commit("news");
        let pod = pod(user);
        let outcome = pod.once();
        outcome.ended(0, &[]);
        assert!(!outcome.stderr.contains("WARN"), "{}", outcome.stderr);
        is_on_commit(&pod, &repo, &commit);
        let writable = |path: &str| std::fs::metadata(pod.link().join(path)).unwrap().mode() & 0o070;
        assert_eq!((writable("."), writable("team"), writable("team/b.py")), (0o070, 0o070, 0o060));
        assert_eq!(std::fs::read_dir(root.join(".worktrees")).unwrap().count(), 1, "the other user's tree is pruned");
    }
    // A third container of the group writes into the tree; that is found and mended.
    let edit = format!("echo edited > {}/team/b.py", root.join("repo").display());
    Outcome::of(std::os::unix::process::CommandExt::uid(
        std::os::unix::process::CommandExt::gid(std::process::Command::new("sh").args(["-c", &edit]), 0),
        50000,
    ))
    .ended(0, &[]);
    let pod = pod(SIDECAR);
    pod.once().ended(0, &["tampered"]);
    is_on_commit(&pod, &repo, &repo.push());
}

#[test]
fn without_group_write_the_other_user_is_told_whose_the_store_is() {
    let repo = Repo::with(&[("a.py", "a")]);
    let (_folder, root) = volume(&repo);
    worktrees(&repo).at(&root).by(INIT).once().ended(0, &[]);
    let sidecar = worktrees(&repo).at(&root).by(SIDECAR).set("timeout", "2s");
    sidecar.once().ended(2, &["user 1000", "user 65533", "group_write"]);
    is_on_commit(&sidecar, &repo, &repo.push());
}
