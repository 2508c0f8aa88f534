//! Buckets as the source and `dagsync publish` as what fills them, on real servers and on one that fails as it is told.

mod crash;
mod outages;
mod publish;
mod races;
mod versions;

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use dagsync_core::Digest;
use dagsync_testkit::s3::S3Double;
use serde_json::Value;

use super::harness::{Bucket, Outcome, Pod, dagsync};

/// A place in a bucket, and what it takes to get there.
#[derive(Debug, Clone)]
struct Place {
    url: String,
    endpoint: String,
    keys: Option<[String; 2]>,
}

impl Place {
    /// Below `prefix` in a bucket of a real server.
    fn of(bucket: &Bucket, prefix: &str) -> Self {
        let server = bucket.server;
        let keys = Some([server.access_key.clone(), server.secret_key.clone()]);
        Self { url: bucket.url(prefix), endpoint: server.endpoint.clone(), keys }
    }

    /// Below `dags/` in the bucket `b` of a server that asks for no credentials.
    fn anonymous(endpoint: String) -> Self {
        Self { url: "s3://b/dags/".to_owned(), endpoint, keys: None }
    }

    /// What a client of this place is told in its environment.
    fn environment(&self) -> BTreeMap<String, String> {
        let mut environment = BTreeMap::from([("DAGSYNC_S3__ENDPOINT".to_owned(), self.endpoint.clone())]);
        match &self.keys {
            None => drop(environment.insert("DAGSYNC_S3__ANONYMOUS".to_owned(), "true".to_owned())),
            Some([id, secret]) => environment.extend([
                ("AWS_ACCESS_KEY_ID".to_owned(), id.clone()),
                ("AWS_SECRET_ACCESS_KEY".to_owned(), secret.clone()),
            ]),
        }
        environment
    }

    /// A pod that reads it, as often as it may.
    fn pod(&self) -> Pod {
        let pod = Pod::new(&self.url)
            .set("period", "100ms")
            .set("jitter", "0")
            .set("backoff.initial", "20ms")
            .set("log.level", "info,dagsync=debug,dagsync_strategy_s3=debug");
        self.environment().into_iter().fold(pod, |pod, (name, value)| pod.env(&name, value))
    }

    /// `dagsync publish` with these arguments and then this place.
    fn command(&self, args: &[&str]) -> Command {
        let mut command = dagsync();
        command.arg("publish").args(args).arg(&self.url).envs(self.environment());
        command
    }

    fn publish(&self, args: &[&str]) -> Outcome {
        Outcome::of(&mut self.command(args))
    }

    /// Publishes a folder, which must succeed; the version.
    #[track_caller]
    fn publish_dir(&self, folder: &Path) -> String {
        self.publish(&[folder.to_str().unwrap()]).ended(0, &[]).stdout.clone()
    }

    /// What it answers to a machine.
    #[track_caller]
    fn json(&self, code: i32, args: &[&str]) -> Value {
        let outcome = self.publish(&[args, &["--output", "json"]].concat());
        serde_json::from_str(&outcome.ended(code, &[]).stdout).unwrap_or_else(|e| panic!("{e}: {outcome:#?}"))
    }
}

/// The bucket `b` of a double.
fn double() -> (S3Double, Place) {
    let double = S3Double::start();
    double.create_bucket("b");
    let place = Place::anonymous(double.endpoint());
    (double, place)
}

/// The version of a tree that is nowhere yet.
fn version_of_files<'a>(files: impl IntoIterator<Item = (&'a String, &'a String)>) -> String {
    let lines: String = files.into_iter().map(|(path, content)| format!("{}  {path}\n", Digest::of(content))).collect();
    format!("sha256:{}", Digest::of(lines))
}

/// A folder with these files.
fn folder_of(files: &[(&str, &str)]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (path, content) in files {
        let path = folder.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, content).unwrap();
    }
    folder
}
