//! What a registry says an image should hold, by tag, by digest and by platform, and how a registry is reached.

use std::path::{Path, PathBuf};
use std::process::Command;

use base64::prelude::{BASE64_STANDARD, Engine};
use serde_json::Value;
use tempfile::TempDir;

use crate::harness::{Buildah, Outcome, PASSWORD, Pod, Registry, USER, dagsync, run, shell, version_by_hand};

/// An image in a registry, and the DAGs of a container of it, as a host has them that pulled it.
struct Baked {
    version: String,
    digest: String,
    dags: PathBuf,
    _host: Buildah,
}

/// A registry with two images after each other under the tag `dags:prod`.
struct Scene {
    registry: Registry,
    builder: Buildah,
    old: Baked,
    new: Baked,
}

impl Scene {
    fn of(registry: Registry) -> Self {
        let builder = Buildah::new();
        let bake = |content: &str| {
            let version = builder.bake(folder(content).path(), content, &[]);
            let digest = builder.push(content, &registry, "dags:prod");
            let host = Buildah::new();
            let dags = host.pull(&registry, "dags:prod");
            assert_eq!(version_by_hand(&dags), version, "what was pulled is what was baked");
            Baked { version, digest, dags, _host: host }
        };
        let (old, new) = (bake("old"), bake("new"));
        assert_ne!(old.version, new.version);
        Self { registry, builder, old, new }
    }

    /// Moves the tag `dags:prod` to the image `name`.
    fn move_tag(&self, name: &str) {
        self.builder.push(name, &self.registry, "dags:prod");
    }

    /// What it takes to ask the registry, by the names of flags.
    fn access(&self) -> Vec<(&'static str, PathBuf)> {
        let mut access = match self.registry.has_tls() {
            true => vec![("ca-file", self.registry.ca())],
            false => vec![("plain-http", "true".into())],
        };
        if self.registry.has_password() {
            access.push(("docker-config", self.registry.credentials()));
        }
        access
    }

    fn verify(&self, dags: &Path, name: &str) -> Outcome {
        Outcome::of(&mut verify(dags, &self.registry.image(name), &self.access()))
    }

    fn pod(&self, dags: &Path, name: &str) -> Pod {
        pod(dags, &self.registry.image(name), &self.access())
    }
}

fn folder(content: &str) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let script = format!("mkdir team; echo same > team/same.py; echo {content} > a.py");
    shell(folder.path(), &script);
    folder
}

/// `dagsync verify` of DAGs in a container against an image.
fn verify(dags: &Path, image: &str, access: &[(&str, PathBuf)]) -> Command {
    let mut command = dagsync();
    command.arg("verify").arg(dags).args(["--expect-image", image]);
    for (flag, value) in access {
        command.arg(format!("--{flag}"));
        if *flag != "plain-http" {
            command.arg(value);
        }
    }
    command
}

/// A pod of that container that asks often.
fn pod(dags: &Path, image: &str, access: &[(&str, PathBuf)]) -> Pod {
    let pod = Pod::new(&format!("image:{}", dags.display()))
        .set("scrub.interval", "100ms")
        .set("image.expect_interval", "100ms")
        .set("image.expect_image", image);
    access.iter().fold(pod, |pod, (flag, value)| pod.set(&format!("image.{}", flag.replace('-', "_")), value))
}

/// Waits until the pod is in `state` by what the registry said, and checks that its metrics and its manifest are of
/// `version`, which it holds.
#[track_caller]
fn stands(pod: &mut Pod, state: &str, version: &str) -> Value {
    let status = pod.wait(&format!("it is {state}"), |s| s["state"] == state);
    assert_eq!((&status["version"], &status["strategy"]), (&version.into(), &"image".into()), "{status:#}");
    assert_eq!(status["warnings"], Value::Array(vec![]), "the registry answers");
    let metrics = pod.get("/metrics").unwrap().1;
    assert!(metrics.contains("dagsync_operations_total{operation=\"expect\",result=\"success\"}"), "{metrics}");
    for one in ["converged", "stale", "tampered", "unsealed", "starting"] {
        let line = format!("dagsync_state{{state=\"{one}\"}} {}", u8::from(one == state));
        assert!(metrics.contains(&line), "{line} is not in {metrics}");
    }
    assert!(metrics.lines().any(|l| l.starts_with("dagsync_version_info{") && l.contains(version)), "{metrics}");
    let hex = version.trim_start_matches("sha256:");
    let (code, manifest) = pod.get(&format!("/v1/versions/{hex}/manifest")).unwrap();
    assert_eq!((code, manifest.lines().count()), (200, 2), "{manifest}");
    status
}

/// The old image is told from the new one that its tag was moved to.
fn tells_old_from_new(scene: &Scene) {
    let Scene { old, new, .. } = scene;
    let by_digest = |image: &Baked| format!("dags@{}", image.digest);
    for name in ["dags:prod", &by_digest(new)] {
        scene.verify(&old.dags, name).ended(1, &[&old.version, &new.version, "mismatch"]);
        scene.verify(&new.dags, name).ended(0, &[&new.version, "verified", "2 files"]);
        let mut stale = scene.pod(&old.dags, name);
        stale.start();
        let status = stands(&mut stale, "stale", &old.version);
        let message = status["last_error"]["message"].as_str().unwrap();
        for word in [&new.version, &scene.registry.image(name)] {
            assert!(message.contains(word.as_str()), "{word} is not in {message}");
        }
        let ask = |pod: &Pod| Outcome::of(dagsync().args(["status", &format!("http://127.0.0.1:{}", pod.port())]));
        ask(&stale).ended(1, &["stale", &new.version]);
        stale.kill();
        let once = stale.once();
        assert!(once.code != Some(0) && once.stderr.contains("holds another version"), "{once:#?}");
        let mut fresh = scene.pod(&new.dags, name);
        fresh.start();
        stands(&mut fresh, "converged", &new.version);
    }
    scene.verify(&old.dags, &by_digest(old)).ended(0, &[&old.version, "verified"]);
    scene.verify(&new.dags, &by_digest(old)).ended(1, &[&old.version, "mismatch"]);
    scene.verify(&new.dags, "dags:absent").ended(2, &["there is no such image", "dags:absent", "check its name"]);
}

#[test]
fn an_old_image_is_told_from_the_new_one_over_plain_http() {
    tells_old_from_new(&Scene::of(Registry::open()));
}

#[test]
fn an_old_image_is_told_from_the_new_one_over_tls_with_a_password_from_a_secret() {
    tells_old_from_new(&Scene::of(Registry::guarded()));
}

#[test]
fn an_old_image_is_told_from_the_new_one_with_the_tokens_of_another_server() {
    let scene = Scene::of(Registry::with_tokens());
    tells_old_from_new(&scene);
    let wrong = scene.builder.path().join("wrong.json");
    std::fs::write(&wrong, scene.registry.docker_config(WRONG)).unwrap();
    let plain = ("plain-http", PathBuf::from("true"));
    is_not_told(&scene, &[plain.clone(), ("docker-config", wrong)], &["the credentials are refused", "401"]);
    is_not_told(&scene, &[plain], &["it asks for credentials", "401"]);
}

#[test]
fn a_pod_becomes_stale_when_the_tag_moves_and_right_when_it_moves_back() {
    let scene = Scene::of(Registry::guarded());
    let mut pod = scene.pod(&scene.new.dags, "dags:prod");
    pod.start();
    stands(&mut pod, "converged", &scene.new.version);
    let id = pod.id();
    scene.move_tag("old");
    stands(&mut pod, "stale", &scene.new.version);
    scene.move_tag("new");
    stands(&mut pod, "converged", &scene.new.version);
    assert_eq!(pod.id(), id, "it was not started again");
    assert!(pod.stop().success());
}

/// Who cannot be asked says nothing about the image: `verify` fails with each of `words`, a pod warns with them.
#[track_caller]
fn is_not_told(scene: &Scene, access: &[(&str, PathBuf)], words: &[&str]) {
    let (dags, image) = (&scene.old.dags, scene.registry.image("dags:prod"));
    let outcome = Outcome::of(&mut verify(dags, &image, access));
    outcome.ended(2, words).ended(2, &[&image]);
    let mut pod = pod(dags, &image, access);
    pod.start();
    let warns = |s: &Value| s["warnings"].as_array().is_some_and(|warnings| !warnings.is_empty());
    let status = pod.wait("it warns", warns);
    let warning = status["warnings"][0].as_str().unwrap();
    words.iter().for_each(|word| assert!(warning.contains(word), "{word:?} is not in {warning}"));
    assert!(warning.contains("nothing is compared"), "{warning}");
    assert_eq!((&status["state"], &status["version"]), (&"converged".into(), &scene.old.version.as_str().into()));
    let metrics = pod.get("/metrics").unwrap().1;
    assert!(metrics.contains("dagsync_operations_total{operation=\"expect\",result=\"error\"}"), "{metrics}");
    let pages = ["/v1/status", "/"].map(|path| pod.get(path).unwrap().1);
    let told = [outcome.stdout, outcome.stderr, pod.log(), metrics].into_iter().chain(pages).collect::<String>();
    for password in [PASSWORD, WRONG] {
        let encoded = BASE64_STANDARD.encode(format!("{USER}:{password}"));
        assert!(!told.contains(password) && !told.contains(&encoded), "the password is told: {told}");
    }
}

/// A password that the registry does not know.
const WRONG: &str = "wrong-donkey-4402";

#[test]
fn plain_http_has_to_be_allowed() {
    let scene = Scene::of(Registry::open());
    is_not_told(&scene, &[], &["it does not speak TLS", "plain HTTP has to be allowed, by plain_http"]);
}

#[test]
fn a_registry_with_tls_and_a_password_must_be_known_and_know_the_pod() {
    let scene = Scene::of(Registry::guarded());
    let (ca, right) = (scene.registry.ca(), scene.registry.credentials());
    let strange = scene.registry.strange_ca();
    let wrong = scene.builder.path().join("wrong.json");
    std::fs::write(&wrong, scene.registry.docker_config(WRONG)).unwrap();
    let refused = ["the credentials are refused", "401", "kubernetes.io/dockerconfigjson"];
    is_not_told(&scene, &[("ca-file", ca.clone()), ("docker-config", wrong)], &refused);
    is_not_told(&scene, &[("ca-file", ca.clone())], &["it asks for credentials", "401", "docker_config"]);
    let untrusted = ["its certificate is not trusted", "name the authority that signed it in ca_file"];
    is_not_told(&scene, &[("ca-file", strange), ("docker-config", right.clone())], &untrusted);
    is_not_told(&scene, &[("docker-config", right.clone())], &untrusted);
    let missing = PathBuf::from("/nonexistent/docker.json");
    is_not_told(&scene, &[("ca-file", ca.clone()), ("docker-config", missing)], &["/nonexistent/docker.json"]);
    is_not_told(
        &scene,
        &[("plain-http", "true".into()), ("docker-config", right)],
        &["does not answer plain HTTP", "400", "take plain_http away"],
    );
}

#[test]
fn a_secret_that_is_rotated_is_used_without_a_restart() {
    let scene = Scene::of(Registry::guarded());
    let secret = scene.builder.path().join("secret.json");
    std::fs::write(&secret, scene.registry.docker_config(WRONG)).unwrap();
    let access = [("ca-file", scene.registry.ca()), ("docker-config", secret.clone())];
    let mut pod = pod(&scene.old.dags, &scene.registry.image("dags:prod"), &access);
    pod.start();
    pod.wait("it is not let in", |s| s["warnings"][0].as_str().is_some_and(|w| w.contains("credentials are refused")));
    std::fs::copy(scene.registry.credentials(), &secret).unwrap();
    stands(&mut pod, "stale", &scene.old.version);
}

/// An index of an image for each of two platforms; the images' versions, and the digest of the index.
fn push_index(scene: &Scene, format: &str, tag: &str) -> ([String; 2], String) {
    let (index, builder) = (format!("localhost/{format}"), &scene.builder);
    run(&mut builder.command(&["manifest", "create", &index]));
    let versions = ["amd64", "arm64"].map(|architecture| {
        let (dags, name) = (folder(architecture), format!("localhost/{format}-{architecture}"));
        let version = builder.bake(dags.path(), &name, &["--platform", &format!("linux/{architecture}")]);
        run(&mut builder.command(&["manifest", "add", &index, &name]));
        version
    });
    let digest = builder.push_as(&["manifest", "push", "--all", "--format", format, &index], &scene.registry, tag);
    (versions, digest)
}

#[test]
fn of_an_image_for_several_platforms_the_one_that_is_meant_is_asked_for() {
    let scene = Scene::of(Registry::guarded());
    for format in ["oci", "v2s2"] {
        let tag = format!("several:{format}");
        let (versions, digest) = push_index(&scene, format, &tag);
        let by_digest = format!("several@{digest}");
        for name in [&tag, &by_digest] {
            let on = |platform: &str| {
                let access = [scene.access(), vec![("platform", platform.into())]].concat();
                Outcome::of(&mut verify(&scene.old.dags, &scene.registry.image(name), &access))
            };
            on("linux/amd64").ended(1, &[&format!("{}  expected", versions[0])]);
            on("linux/arm64").ended(1, &[&format!("{}  expected", versions[1])]);
            on("linux/s390x")
                .ended(2, &["nothing for linux/s390x", "linux/amd64, linux/arm64", &scene.registry.image(name)]);
            let own = usize::from(std::env::consts::ARCH == "aarch64");
            scene.verify(&scene.old.dags, name).ended(1, &[&format!("{}  expected", versions[own])]);
        }
        let access = [scene.access(), vec![("platform", "linux/arm64".into())]].concat();
        let dags = folder("arm64");
        Outcome::of(dagsync().arg("seal").arg(dags.path())).ended(0, &[&versions[1]]);
        let mut pod = pod(dags.path(), &scene.registry.image(&tag), &access);
        pod.start();
        stands(&mut pod, "converged", &versions[1]);
    }
}
