//! One tree has one version, whatever brought it and whoever computes it.

use crate::harness::{Nginx, Outcome, Pod, Repo, Sshd, dagsync, example_dags, generate, version_by_hand};

#[test]
fn real_dags_have_one_version_over_ssh_https_and_file_and_by_hand() {
    let repo = Repo::new();
    repo.copy(&example_dags());
    repo.commit("the example DAGs of Apache Airflow");
    let (sshd, nginx) = (Sshd::start(), Nginx::serve(&repo));
    let by_hand = version_by_hand(&example_dags());

    for pod in [Pod::over_ssh(&sshd, &repo, sshd.port), Pod::over_https(&nginx, nginx.port), Pod::new(&repo.file_url())]
    {
        pod.once().ended(0, &[]);
        let folder = pod.current().expect("it is published");
        assert_eq!(version_by_hand(&folder), by_hand);
        assert!(folder.ends_with(format!("versions/{}", by_hand.trim_start_matches("sha256:"))), "{folder:?}");
        Outcome::of(dagsync().args(["verify", "--expect", &by_hand]).arg(folder)).ended(0, &[]);
    }
    let hash = Outcome::of(dagsync().arg("hash").arg(example_dags()));
    assert_eq!(hash.ended(0, &[]).stdout, by_hand);
}

#[test]
fn the_manifest_is_what_sha256sum_checks() {
    let repo = Repo::with(&[("a.py", "a"), ("sub/b.py", "b"), ("späße.py", "c")]);
    let mut pod = Pod::new(&repo.file_url());
    pod.start_on(&repo.version());
    let hex = repo.version().trim_start_matches("sha256:").to_owned();
    let (code, manifest) = pod.get(&format!("/v1/versions/{hex}/manifest")).unwrap();
    assert_eq!(code, 200);
    let file = pod.root().join(".dagsync/manifests").join(&hex);
    assert_eq!(std::fs::read_to_string(&file).unwrap(), manifest);
    let check = format!("sha256sum --check --strict --quiet {}", file.display());
    crate::harness::shell(&pod.current().unwrap(), &check);
    assert_eq!(manifest.lines().count(), 3);
}

#[test]
fn links_modes_and_a_subpath_come_as_git_has_them() {
    let repo = Repo::with(&[("dags/real.py", "r"), ("dags/run.sh", "#!/bin/sh\n"), ("other/secret.py", "s")]);
    crate::harness::shell(
        &repo.work(),
        "chmod +x dags/run.sh; ln -s real.py dags/link.py; ln -s ../other/secret.py dags/out.py",
    );
    repo.commit("links");
    let pod = Pod::new(&repo.file_url()).set("git.subpath", "dags");
    pod.once().ended(0, &["out.py"]);
    let folder = pod.current().unwrap();
    let seen: Vec<_> = crate::harness::contents(&folder).unwrap().into_keys().collect();
    assert_eq!(seen, ["link.py", "real.py", "run.sh"], "a link that leaves the folder is not created");
    assert!(folder.join("link.py").is_symlink());
    let mode = std::os::unix::fs::PermissionsExt::mode(&folder.join("run.sh").metadata().unwrap().permissions());
    assert_eq!(mode & 0o777, 0o555);
}

#[test]
fn trees_of_2000_and_of_10000_files_sync_and_verify() {
    for files in [2_000, 10_000] {
        let repo = Repo::new();
        generate(&repo.work(), files, 1);
        repo.commit("many");
        let nginx = Nginx::serve(&repo);
        let pod = Pod::over_https(&nginx, nginx.port);
        assert_eq!(pod.once().ended(0, &[]).stdout, repo.version());
        Outcome::of(dagsync().arg("verify").arg(pod.root())).ended(0, &["verified", &format!("{files} files")]);
        assert_eq!(version_by_hand(&pod.current().unwrap()), repo.version());
    }
}

#[test]
fn diff_names_what_differs() {
    let repo = Repo::with(&[("same.py", "s"), ("changed.py", "1"), ("gone.py", "g")]);
    let mut pod = Pod::new(&repo.file_url());
    pod.start_on(&repo.version());
    repo.write("changed.py", "2");
    repo.write("new.py", "n");
    std::fs::remove_file(repo.work().join("gone.py")).unwrap();
    let diff = Outcome::of(dagsync().arg("diff").arg(pod.root()).arg(repo.work()));
    diff.ended(1, &["changed.py", "gone.py", "new.py"]);
    assert!(!diff.stdout.contains("same.py"), "{diff:#?}");
    Outcome::of(dagsync().arg("diff").arg(pod.root()).arg(pod.current().unwrap())).ended(0, &[]);
}
