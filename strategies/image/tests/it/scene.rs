//! A folder of an image, sealed as `dagsync seal` does it.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use dagsync_core::{Expectation, Kind, Result, Spec, Strategy, Tree};
use dagsync_strategy_image::{FACTORY, Sealed, Signer};
use dagsync_testkit::Harness;
use serde_json::Value;
use tempfile::TempDir;

pub(crate) struct Image {
    home: TempDir,
}

impl Image {
    pub(crate) fn new() -> Self {
        let image = Self { home: tempfile::tempdir().unwrap() };
        std::fs::create_dir(image.path()).unwrap();
        image
    }

    pub(crate) fn with(files: &[(&str, &str)]) -> Self {
        let image = Self::new();
        files.iter().for_each(|(path, content)| image.write(path, content));
        image.seal(None);
        image
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.home.path().join("dags")
    }

    pub(crate) fn write(&self, path: &str, content: &str) {
        let path = self.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, content).unwrap();
    }

    pub(crate) fn seal(&self, signer: Option<&Signer>) -> Sealed {
        let tree = Harness::new().read(&self.path(), None).unwrap();
        let sealed = Sealed::new(&tree, &[], &[], None).unwrap();
        sealed.write(&self.path(), signer).unwrap();
        sealed
    }

    pub(crate) fn strategy(&self, changes: &[(&str, &str)]) -> Arc<dyn Strategy> {
        strategy(&self.path(), changes).unwrap()
    }
}

pub(crate) fn strategy(path: &Path, changes: &[(&str, &str)]) -> Result<Arc<dyn Strategy>> {
    for (name, _) in changes {
        assert!(FACTORY.settings.iter().any(|s| s.name == format!("image.{name}")), "no setting image.{name}");
    }
    let value = |setting: &dagsync_core::Setting| {
        let name = setting.name.strip_prefix("image.").unwrap();
        let text = changes.iter().find(|(n, _)| *n == name).map_or(setting.default, |(_, value)| *value);
        let value = if setting.kind == Kind::Bool { text.parse::<bool>().unwrap().into() } else { Value::from(text) };
        (name.to_owned(), value)
    };
    let settings: Value = FACTORY.settings.iter().map(value).collect();
    (FACTORY.build)(&Spec { source: &format!("image:{}", path.display()), settings: &settings })
}

/// What the strategy says of the tree, and how many files it read for that.
pub(crate) async fn look(strategy: &dyn Strategy) -> (Expectation, dagsync_core::HashedTree) {
    match Harness::new().sync(strategy).await.unwrap().tree {
        Tree::InPlace(found) => (found.expectation, found.tree),
        other => panic!("an image is never copied: {other:?}"),
    }
}
