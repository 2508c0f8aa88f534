//! The README's Dockerfiles, built as they stand there. What stands for the images that they name is made of this host's
//! own files, so nothing is pulled.

use std::path::{Path, PathBuf};

use tempfile::TempDir;

use crate::harness::{Buildah, DAGS, Outcome, Registry, dagsync, example_dags, run, shell, version_by_hand};

const REVISION: &str = "3f786850e387550fdab836ed7e6dc881de23001b";
const BUILT: &str = "localhost/team/dags";

/// The README's Dockerfiles: dagsync in the image, and in a stage of its own.
fn readme() -> [String; 2] {
    let readme = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md")).unwrap();
    let blocks = readme.split("```dockerfile\n").skip(1);
    let blocks: Vec<_> = blocks.map(|rest| rest.split("```").next().unwrap().to_owned()).collect();
    blocks.try_into().expect("the README has two Dockerfiles")
}

/// A host that has the images which the README names.
fn host() -> Buildah {
    let host = Buildah::new();
    let context = tempfile::tempdir_in(host.path()).unwrap();
    let at = context.path();
    // As the image of Airflow: a shell, and a user of group 0 to whom the folder of the DAGs belongs.
    let script = format!(
        "mkdir -p airflow/bin dags
         cp -L /bin/sh airflow/bin/sh
         strip -o dagsync {dagsync}
         ldd /bin/sh dagsync | grep -o '/[^ ]*' | grep -v ':$' | sort -u | while read -r library; do
             mkdir -p airflow$(dirname $library)
             cp -L $library airflow$library
         done
         printf 'FROM scratch\nCOPY airflow /\nCOPY --chown=50000:0 dags {DAGS}/\nENV PATH=/usr/bin:/bin\n\
             WORKDIR /opt/airflow\nUSER 50000:0\n' > Airflow
         printf 'FROM scratch\nCOPY dagsync /usr/bin/dagsync\n' > Dagsync",
        dagsync = env!("CARGO_BIN_EXE_dagsync")
    );
    shell(at, &script);
    for (file, name) in [("Airflow", "docker.io/apache/airflow:3.0.2"), ("Dagsync", "ghcr.io/dagsync/dagsync")] {
        host.build(at, name, &["--file", at.join(file).to_str().unwrap()]);
    }
    host
}

/// A folder with the example DAGs, built by this Dockerfile as the README says.
fn context(dockerfile: &str) -> TempDir {
    let context = tempfile::tempdir().unwrap();
    shell(context.path(), &format!("cp -R {} dags", example_dags().display()));
    std::fs::write(context.path().join("Dockerfile"), dockerfile).unwrap();
    context
}

/// Builds it and labels it by `dagsync hash`; the root of a container of it.
fn build(host: &Buildah, context: &Path) -> PathBuf {
    let hash = Outcome::of(dagsync().arg("hash").arg(context.join("dags")));
    let (revision, label) = (format!("REVISION={REVISION}"), format!("io.dagsync.version={}", hash.stdout));
    host.build(context, BUILT, &["--build-arg", &revision, "--label", &label]);
    host.container(BUILT, &[])
}

/// Every byte of the seal of the DAGs in a container or a folder.
fn seal(dags: &Path) -> [Vec<u8>; 2] {
    ["manifest", "seal.json"].map(|name| std::fs::read(dags.join(".dagsync").join(name)).unwrap())
}

fn dags(root: &Path) -> PathBuf {
    root.join(&DAGS[1..])
}

#[test]
fn the_dockerfiles_of_the_readme_make_images_of_one_version_with_the_same_seal_each_time() {
    let (by_hand, host, registry) = (version_by_hand(&example_dags()), host(), Registry::guarded());
    // Before the build, as the README says it too.
    let sealed_before = context("");
    let seal_here = ["seal", "dags", "--revision", REVISION];
    let sealed = Outcome::of(dagsync().args(seal_here).current_dir(sealed_before.path()));
    assert_eq!(sealed.ended(0, &[]).stdout, by_hand);
    let expected = seal(&sealed_before.path().join("dags"));

    for (dockerfile, holds_dagsync) in readme().iter().zip([true, false]) {
        let context = context(dockerfile);
        let root = build(&host, context.path());
        assert_eq!(version_by_hand(&dags(&root)), by_hand);
        assert_eq!(seal(&dags(&root)), expected, "{dockerfile}");
        assert_eq!(root.join("usr/bin/dagsync").exists(), holds_dagsync, "{dockerfile}");
        Outcome::of(dagsync().arg("verify").arg(dags(&root))).ended(0, &[&by_hand, "verified"]);

        shell(context.path(), "find dags -exec touch -d 2001-01-01 {} +; find dags -name '*.py' -exec chmod 755 {} +");
        let again = build(&host, context.path());
        assert_ne!(again, root);
        assert_eq!(seal(&dags(&again)), expected, "times and modes are no part of it");

        host.push(BUILT, &registry, "dags:prod");
        let puller = Buildah::new();
        let pulled = puller.pull(&registry, "dags:prod");
        assert_eq!(seal(&pulled), expected, "{dockerfile}");
        let mut verify = dagsync();
        verify.arg("verify").arg(&pulled).args(["--expect-image", &registry.image("dags:prod")]);
        verify.arg("--ca-file").arg(registry.ca()).arg("--docker-config").arg(registry.credentials());
        Outcome::of(&mut verify).ended(0, &[&by_hand, "verified"]);
    }
}

/// The dagsync that the first Dockerfile leaves in the image, run in a container of it by the image's own user.
#[test]
fn the_dagsync_in_the_image_verifies_it_in_a_container() {
    let (by_hand, host) = (version_by_hand(&example_dags()), host());
    let context = context(&readme()[0]);
    build(&host, context.path());
    let container = run(host.command(&["from", "--quiet"]).arg(BUILT));
    let verify = || Outcome::of(&mut host.command(&["run", &container, "--", "dagsync", "verify", DAGS]));
    verify().ended(0, &[&by_hand, "verified"]);
    let edit = format!("echo '# a hotfix' >> {DAGS}/tutorial.py");
    run(&mut host.command(&["run", "--user=0", &container, "--", "sh", "-c", &edit]));
    verify().ended(1, &["modified  tutorial.py", "mismatch"]);
}

/// The arguments of a build are optional.
#[test]
fn a_revision_that_nobody_gave_is_none() {
    let (host, context) = (host(), context(&readme()[1]));
    host.build(context.path(), BUILT, &[]);
    let dags = dags(&host.container(BUILT, &[]));
    let seal = String::from_utf8(seal(&dags)[1].clone()).unwrap();
    assert!(seal.contains("\"version\"") && !seal.contains("\"revision\""), "{seal}");
    let registry = Registry::open();
    host.push(BUILT, &registry, "dags:prod");
    let mut verify = dagsync();
    verify.arg("verify").arg(dags).args(["--plain-http", "--expect-image", &registry.image("dags:prod")]);
    Outcome::of(&mut verify).ended(2, &["the image has no label io.dagsync.version", "--label io.dagsync.version="]);
}
