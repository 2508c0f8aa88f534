//! `dagsync drift` before whole fleets: everything that can be wrong with a pod is told with its name and its cause.

mod channels;
mod many;
mod states;

use std::path::{Path, PathBuf};

use serde_json::Value;
use tempfile::TempDir;

use super::harness::{Bucket, Outcome, Pod, Repo, S3Server, dagsync, example_dags, shell, version_by_hand};

/// The four components of one Airflow, each with its DAGs from elsewhere: scheduler, worker, triggerer and api-server.
#[derive(Debug)]
struct Airflow {
    repo: Repo,
    bucket: Bucket,
    folder: TempDir,
    scheduler: Pod,
    worker: Pod,
    triggerer: Pod,
    api: Pod,
}

impl Airflow {
    /// All with the example DAGs of Apache Airflow, and all there.
    fn start() -> Self {
        let (repo, folder) = (Repo::new(), tempfile::tempdir().unwrap());
        let bucket = S3Server::moto().bucket();
        repo.copy(&example_dags());
        repo.commit("the example DAGs of Apache Airflow");
        bucket.upload_dir("dags/", &example_dags());
        shell(folder.path(), &format!("cp -r {0} volume; cp -r {0} image", example_dags().display()));
        let (volume, image) = (folder.path().join("volume"), folder.path().join("image"));
        Outcome::of(dagsync().arg("seal").arg(&image)).ended(0, &[]);
        let mut airflow = Self {
            scheduler: named(Pod::new(&repo.file_url()), "scheduler"),
            worker: named(on_s3(&bucket), "worker"),
            triggerer: named(Pod::new(volume.to_str().unwrap()).set("volume.settle", "30ms"), "triggerer"),
            api: named(Pod::new(&format!("image:{}", image.display())), "api-server"),
            repo,
            bucket,
            folder,
        };
        let version = airflow.version();
        for pod in airflow.pods_mut() {
            pod.start();
            pod.wait("it is there", |s| s["version"] == version.as_str() && s["state"] == "converged");
        }
        airflow
    }

    fn version(&self) -> String {
        version_by_hand(&example_dags())
    }

    fn volume(&self) -> PathBuf {
        self.folder.path().join("volume")
    }

    fn image(&self) -> PathBuf {
        self.folder.path().join("image")
    }

    fn pods(&self) -> [&Pod; 4] {
        [&self.scheduler, &self.worker, &self.triggerer, &self.api]
    }

    fn pods_mut(&mut self) -> [&mut Pod; 4] {
        [&mut self.scheduler, &mut self.worker, &mut self.triggerer, &mut self.api]
    }

    /// The check of all four without a grace period.
    fn check(&self, args: &[&str]) -> Outcome {
        check(&self.pods(), args)
    }

    /// The same for machines, as the schema says.
    #[track_caller]
    fn json(&self, code: i32, args: &[&str]) -> Value {
        json(&self.pods(), code, args)
    }
}

fn named(pod: Pod, name: &str) -> Pod {
    pod.set("pod.name", format!("airflow-{name}-0"))
        .set("pod.component", name)
        .set("scrub.interval", "200ms")
        .set("jitter", "0")
}

fn on_s3(bucket: &Bucket) -> Pod {
    let server = bucket.server;
    Pod::new(&bucket.url("dags"))
        .env("DAGSYNC_S3__ENDPOINT", &server.endpoint)
        .env("AWS_ACCESS_KEY_ID", &server.access_key)
        .env("AWS_SECRET_ACCESS_KEY", &server.secret_key)
}

fn url(pod: &Pod) -> String {
    format!("http://127.0.0.1:{}", pod.port())
}

/// `dagsync drift` of these pods.
fn command(pods: &[&Pod], args: &[&str]) -> std::process::Command {
    let mut command = dagsync();
    command.arg("drift").env("DAGSYNC_DRIFT__GRACE", "0s").env("DAGSYNC_DRIFT__TIMEOUT", "3s");
    command.args(pods.iter().flat_map(|pod| ["--peer".to_owned(), url(pod)]));
    command.args(args);
    command
}

fn check(pods: &[&Pod], args: &[&str]) -> Outcome {
    Outcome::of(&mut command(pods, args))
}

#[track_caller]
fn json(pods: &[&Pod], code: i32, args: &[&str]) -> Value {
    let outcome = check(pods, &[&["--output", "json"], args].concat());
    outcome.ended(code, &[]);
    valid(&outcome.stdout)
}

/// A report that its schema allows.
#[track_caller]
fn valid(text: &str) -> Value {
    let report: Value = serde_json::from_str(text).unwrap_or_else(|e| panic!("{e}: {text}"));
    let schema = Outcome::of(dagsync().args(["drift", "--schema"])).stdout;
    let validator = jsonschema::validator_for(&serde_json::from_str(&schema).unwrap()).unwrap();
    let wrong: Vec<_> = validator.iter_errors(&report).map(|e| e.to_string()).collect();
    assert!(wrong.is_empty(), "{wrong:?} in {report:#}");
    report
}

/// What a report says of one pod.
#[track_caller]
fn of<'a>(report: &'a Value, name: &str) -> &'a Value {
    let name = format!("airflow-{name}-0");
    let pods = report["pods"].as_array().unwrap();
    pods.iter().find(|pod| pod["name"] == name.as_str()).unwrap_or_else(|| panic!("{name} is not in {report:#}"))
}

/// Who stands so, by a report.
fn who(report: &Value, state: &str) -> Vec<String> {
    let pods = report["pods"].as_array().unwrap().iter().filter(|pod| pod["state"] == state);
    pods.map(|pod| pod["component"].as_str().or(pod["name"].as_str()).unwrap_or_default().to_owned()).collect()
}

/// The files in which a version differs from the reference.
fn files(report: &Value, version: &str) -> Vec<String> {
    let versions = report["versions"].as_array().unwrap();
    let version = versions.iter().find(|found| found["version"] == version);
    let version = version.unwrap_or_else(|| panic!("the version is not in {report:#}"));
    let files = version["differs"]["files"].as_array().unwrap_or_else(|| panic!("not compared: {report:#}"));
    files.iter().map(|f| format!("{} {}", f["change"].as_str().unwrap(), f["path"].as_str().unwrap())).collect()
}

fn append(file: &Path, text: &str) {
    let content = std::fs::read_to_string(file).unwrap();
    std::fs::write(file, content + text).unwrap();
}
