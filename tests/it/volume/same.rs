//! One version for one tree, whatever brings it.

use dagsync_testkit::s3::S3Double;

use super::{Shared, in_place, pod};
use crate::harness::{Outcome, Pod, Repo, contents, dagsync, example_dags, version_by_hand};

/// Airflow's own examples, with what trees have besides.
fn dags() -> Shared {
    let shared = Shared::new();
    crate::harness::shell(&shared.path(), &format!("cp -r {}/. .", example_dags().display()));
    shared.write("größe/ümläut.py", "x = 1\n");
    shared.write("empty/__init__.py", "");
    shared.write("with space.py", "no line end");
    std::fs::create_dir(shared.path().join("folder_without_files")).unwrap();
    shared
}

fn over_git(shared: &Shared) -> Pod {
    let repo = Repo::new();
    repo.copy(&shared.path());
    repo.commit("all");
    let pod = Pod::new(&repo.file_url());
    // The repository goes with this function; what is published stays.
    pod.once().ended(0, &[]);
    pod
}

fn over_s3(shared: &Shared) -> Pod {
    let double = S3Double::start();
    double.create_bucket("b");
    for (path, content) in contents(&shared.path()).unwrap() {
        double.put("b", &format!("dags/{path}"), content);
    }
    let pod = Pod::new("s3://b/dags/").set("s3.layout", "prefix");
    let pod = pod.env("DAGSYNC_S3__ENDPOINT", double.endpoint()).env("DAGSYNC_S3__ANONYMOUS", "true");
    pod.once().ended(0, &[]);
    pod
}

fn over_volume(shared: &Shared) -> Pod {
    let pod = shared.pod();
    pod.once().ended(0, &[]);
    pod
}

#[test]
fn of_git_s3_a_volume_and_what_lies_on_it() {
    let shared = dags();
    let version = shared.version();
    let [git, s3, copied] = [over_git(&shared), over_s3(&shared), over_volume(&shared)];
    // From the store that another dagsync brought it to, too.
    let again = pod(copied.root());
    again.once().ended(0, &[]);
    for pod in [&git, &s3, &copied, &again] {
        let folder = pod.current().unwrap();
        assert_eq!(version_by_hand(&folder), version, "{pod:?}");
        assert!(folder.ends_with(version.trim_start_matches("sha256:")), "{folder:?}");
        Outcome::of(dagsync().arg("status").arg(pod.root())).ended(0, &[&version[7..19]]);
    }
    for source in [shared.path(), copied.root().to_owned()] {
        let mut pod = in_place(&source);
        pod.start();
        pod.wait("it reports it", |s| s["version"] == version.as_str());
    }
    let hash = Outcome::of(dagsync().arg("hash").arg(shared.path()));
    assert_eq!(hash.ended(0, &[]).stdout, version);
}
