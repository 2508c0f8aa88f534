//! One version for one tree, baked or brought.

use serde_json::Value;

use crate::harness::{Buildah, Outcome, Pod, Registry, Repo, S3Server, dagsync, example_dags, version_by_hand};

/// What a running pod says of itself, and the manifest that it serves.
#[track_caller]
fn told(pod: &mut Pod, version: &str) -> (Value, String) {
    pod.start();
    let status = pod.wait("it is right", |s| s["state"] == "converged");
    assert_eq!(status["version"], version, "{status:#}");
    let hex = version.trim_start_matches("sha256:");
    let (code, manifest) = pod.get(&format!("/v1/versions/{hex}/manifest")).unwrap();
    assert_eq!(code, 200, "{manifest}");
    (status, manifest)
}

#[test]
fn real_dags_have_the_version_in_an_image_that_git_s3_and_a_volume_bring() {
    let by_hand = version_by_hand(&example_dags());
    let repo = Repo::new();
    repo.copy(&example_dags());
    repo.commit("the example DAGs of Apache Airflow");
    let (moto, bucket) = (S3Server::moto(), S3Server::moto().bucket());
    assert!(bucket.upload_dir("dags/", &example_dags()) > 10);
    let (registry, host) = (Registry::guarded(), Buildah::new());
    {
        let builder = Buildah::new();
        assert_eq!(builder.bake(&example_dags(), "dags", &[]), by_hand, "seal prints it");
        builder.push("dags", &registry, "dags:prod");
    }
    let baked = host.pull(&registry, "dags:prod");
    assert_eq!(version_by_hand(&baked), by_hand);

    let brought = [
        Pod::new(&repo.file_url()),
        Pod::new(&bucket.url("dags/"))
            .set("s3.layout", "prefix")
            .set("s3.endpoint", &moto.endpoint)
            .env("AWS_ACCESS_KEY_ID", &moto.access_key)
            .env("AWS_SECRET_ACCESS_KEY", &moto.secret_key),
        Pod::new(example_dags().to_str().unwrap()).set("volume.settle", "30ms"),
    ];
    let mut image = Pod::new(&format!("image:{}", baked.display()))
        .set("image.expect_image", registry.image("dags:prod"))
        .set("image.ca_file", registry.ca())
        .set("image.docker_config", registry.credentials());
    image.once().ended(0, &[&by_hand]);
    let (status, manifest) = told(&mut image, &by_hand);
    assert_eq!(status["warnings"], Value::Array(vec![]), "the registry answers");
    let home = |pod: &Pod| format!("http://127.0.0.1:{}", pod.port());
    for (mut pod, strategy) in brought.into_iter().zip(["git", "s3", "volume"]) {
        assert_eq!(pod.once().ended(0, &[]).stdout, by_hand, "{pod:?}");
        assert_eq!(version_by_hand(&pod.current().unwrap()), by_hand, "{pod:?}");
        let (other, same) = told(&mut pod, &by_hand);
        assert_eq!((&other["strategy"], &other["filter_hash"]), (&strategy.into(), &status["filter_hash"]));
        assert_eq!((&other["files"], &other["bytes"], same), (&status["files"], &status["bytes"], manifest.clone()));
        Outcome::of(dagsync().arg("diff").arg(home(&image)).arg(home(&pod))).ended(0, &[]);
        // The image is held against a pod that brought its DAGs, too.
        let verify = |dags| Outcome::of(dagsync().arg("verify").arg(dags).args(["--expect-from", &home(&pod)]));
        verify(&baked).ended(0, &[&by_hand, "verified"]);
    }
    assert!(image.current().is_none(), "nothing is copied");
    assert_eq!(Outcome::of(dagsync().arg("hash").arg(&baked)).ended(0, &[]).stdout, by_hand);
}
