//! A push reaches every pod, and costs no more than what changed.

use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use crate::harness::{Nginx, Pod, Repo, Sshd, generate};

/// Inode, mtime and links of every file.
fn stats(folder: &Path) -> BTreeMap<String, (u64, i128, u64)> {
    let stat = |path: &String| {
        let m = folder.join(path).metadata().unwrap();
        (m.ino(), i128::from(m.mtime()) * 1_000_000_000 + i128::from(m.mtime_nsec()), m.nlink())
    };
    let paths = crate::harness::contents(folder).unwrap().into_keys();
    paths.map(|path| (path.clone(), stat(&path))).collect()
}

#[test]
fn a_push_reaches_two_pods_and_only_the_changed_file_is_written() {
    let repo = Repo::new();
    generate(&repo.work(), 50, 1);
    repo.commit("first");
    let (sshd, nginx) = (Sshd::start(), Nginx::serve(&repo));
    let mut pods = [Pod::over_ssh(&sshd, &repo, sshd.port), Pod::over_https(&nginx, nginx.port)];
    pods.iter_mut().for_each(Pod::start);
    let first = repo.version();
    pods.iter_mut().for_each(|pod| drop(pod.is_on(&first)));
    let before: Vec<_> = pods.iter().map(|pod| stats(&pod.current().unwrap())).collect();

    repo.write("team_3/dag_3.py", "changed = True\n");
    let commit = repo.commit("second");
    let second = repo.version();
    for (pod, before) in pods.iter_mut().zip(before) {
        let status = pod.is_on(&second);
        assert!(status["revision"].to_string().contains(&commit), "{status}");
        for (path, (inode, mtime, links)) in stats(&pod.current().unwrap()) {
            let (old_inode, old_mtime, old_links) = before[&path];
            if path == "team_3/dag_3.py" {
                assert!(inode != old_inode && mtime > old_mtime && links == 1, "{path} is a new file of now");
            } else {
                assert_eq!((inode, mtime, links), (old_inode, old_mtime, old_links + 1), "{path} is linked");
            }
        }
    }
}

#[test]
fn an_empty_commit_publishes_nothing() {
    let repo = Repo::with(&[("a.py", "a")]);
    let mut pod = Pod::new(&repo.file_url());
    pod.start_on(&repo.version());
    let link = pod.link().symlink_metadata().unwrap();
    let commit = repo.commit("nothing changed");
    pod.wait("the revision moved", |s| s["revision"].to_string().contains(&commit));
    assert_eq!(pod.link().symlink_metadata().unwrap().ino(), link.ino(), "the link is the same one");
}

#[test]
fn an_older_version_that_comes_back_has_files_of_now() {
    let repo = Repo::with(&[("a.py", "1"), ("b.py", "b")]);
    let old = repo.version();
    let mut pod = Pod::new(&repo.file_url());
    pod.start_on(&old);
    let mtime = |pod: &Pod, file| pod.current().unwrap().join(file).metadata().unwrap().modified().unwrap();
    repo.write("a.py", "2");
    repo.commit("forward");
    pod.is_on(&repo.version());
    let (changed, same) = (mtime(&pod, "a.py"), mtime(&pod, "b.py"));

    repo.write("a.py", "1");
    repo.commit("back");
    pod.wait("it is back", |s| s["version"] == old.as_str());
    pod.is_on(&old);
    assert!(mtime(&pod, "a.py") > changed, "Airflow parses by mtime: what changed must look new");
    assert_eq!(mtime(&pod, "b.py"), same);
}
