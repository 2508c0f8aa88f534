//! A bucket to sync from and to publish to.

use std::path::Path;
use std::sync::Arc;

use dagsync_core::{Interrupt, Kind, Limits, Progress, Result, Spec, Strategy, Version};
use dagsync_strategy_s3::{FACTORY, Local, Outcome, Publisher};
use dagsync_testkit::s3::S3Double;
use dagsync_testkit::{Files, Harness, oracle};
use serde_json::Value;

pub(crate) const NAME: &str = "bucket";
pub(crate) const SOURCE: &str = "s3://bucket/team/dags";
pub(crate) const PREFIX: &str = "team/dags/";

/// A double with one bucket.
pub(crate) struct Bucket {
    pub(crate) server: S3Double,
}

impl Bucket {
    pub(crate) fn new() -> Self {
        let server = S3Double::start();
        server.create_bucket(NAME);
        Self { server }
    }

    pub(crate) fn put(&self, path: &str, content: impl AsRef<[u8]>) {
        self.server.put(NAME, &format!("{PREFIX}{path}"), content);
    }

    pub(crate) fn delete(&self, path: &str) {
        self.server.delete(NAME, &format!("{PREFIX}{path}"));
    }

    /// The section `s3` with its defaults, completed by `changes`.
    pub(crate) fn settings(&self, changes: &[(&str, &str)]) -> Value {
        let own = [("endpoint", self.server.endpoint()), ("anonymous", "true".to_owned())];
        let value = |setting: &dagsync_core::Setting| {
            let name = setting.name.strip_prefix("s3.").unwrap();
            let changed = changes.iter().find(|(n, _)| *n == name).map(|(_, value)| *value);
            let text = changed.or_else(|| own.iter().find(|(n, _)| *n == name).map(|(_, value)| value.as_str()));
            let text = text.unwrap_or(setting.default);
            let value = match setting.kind {
                Kind::Integer => text.parse::<u64>().unwrap().into(),
                Kind::Bool => text.parse::<bool>().unwrap().into(),
                _ => Value::from(text),
            };
            (name.to_owned(), value)
        };
        for (name, _) in changes {
            assert!(FACTORY.settings.iter().any(|s| s.name == format!("s3.{name}")), "no setting s3.{name}");
        }
        FACTORY.settings.iter().map(value).collect()
    }

    pub(crate) fn strategy(&self, changes: &[(&str, &str)]) -> Arc<dyn Strategy> {
        (FACTORY.build)(&Spec { source: SOURCE, settings: &self.settings(changes) }).unwrap()
    }

    pub(crate) fn publisher(&self, changes: &[(&str, &str)]) -> Publisher {
        let settings = self.settings(changes);
        let spec = Spec { source: SOURCE, settings: &settings };
        Publisher::new(&spec, Limits::default(), Interrupt::never(), Progress::default()).unwrap().allow_empty(true)
    }

    /// Publishes `files` as one version.
    pub(crate) async fn publish(&self, files: &Files) -> Result<Outcome> {
        let folder = tempfile::tempdir().unwrap();
        oracle::lay_out(files, folder.path()).unwrap();
        self.publisher(&[]).publish(local(folder.path()), false).await
    }
}

/// The folder as the command line reads it.
pub(crate) fn local(folder: &Path) -> Local {
    let tree = Harness::new().read(folder, None).unwrap();
    Local { folder: folder.to_owned(), tree, revision: None }
}

/// The version of `files`, by coreutils.
pub(crate) fn version(files: &Files) -> Version {
    dagsync_core::Digest::of(oracle::expected(files).unwrap()).into()
}

/// `[("a", "1"), …]` as files.
pub(crate) fn files(items: &[(&str, &str)]) -> Files {
    let mut files = Files::new();
    for (path, content) in items {
        dagsync_testkit::file(*path, content).apply(&mut files);
    }
    files
}
