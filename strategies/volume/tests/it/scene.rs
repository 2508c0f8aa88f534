//! A volume to sync from.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use dagsync_core::{Kind, Result, Spec, Strategy};
use dagsync_strategy_volume::FACTORY;
use dagsync_testkit::{Edit, Files, Item, oracle};
use serde_json::Value;
use tempfile::TempDir;

/// A folder that stands for a mounted volume; the DAGs lie in one of its folders.
pub(crate) struct Volume {
    home: TempDir,
}

impl Volume {
    pub(crate) fn new() -> Self {
        let home = tempfile::tempdir().unwrap();
        // Without any name in it, a folder is taken for a volume that is not mounted.
        std::fs::create_dir_all(home.path().join("dags/lost+found")).unwrap();
        Self { home }
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.home.path().join("dags")
    }

    pub(crate) fn at(&self, name: &str) -> PathBuf {
        self.path().join(name)
    }

    /// Replaces what is at `path` as a person would: in place where a file is there already.
    pub(crate) fn write(&self, path: &str, content: impl AsRef<[u8]>) {
        let path = self.at(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, content).unwrap();
    }

    pub(crate) fn strategy(&self, changes: &[(&str, &str)]) -> Arc<dyn Strategy> {
        strategy(&self.path(), changes).unwrap()
    }
}

/// The strategy with its defaults, completed by `changes`; it takes the shortest look.
pub(crate) fn strategy(source: &Path, changes: &[(&str, &str)]) -> Result<Arc<dyn Strategy>> {
    let own = [("settle", "0s")];
    for (name, _) in changes {
        assert!(FACTORY.settings.iter().any(|s| s.name == format!("volume.{name}")), "no setting volume.{name}");
    }
    let value = |setting: &dagsync_core::Setting| {
        let name = setting.name.strip_prefix("volume.").unwrap();
        let changed = changes.iter().chain(&own).find(|(n, _)| *n == name).map(|(_, value)| *value);
        let text = changed.unwrap_or(setting.default);
        let value = match setting.kind {
            Kind::Bool => text.parse::<bool>().unwrap().into(),
            Kind::List => text.split(',').map(str::trim).filter(|part| !part.is_empty()).collect(),
            _ => Value::from(text),
        };
        (name.to_owned(), value)
    };
    let settings: Value = FACTORY.settings.iter().map(value).collect();
    (FACTORY.build)(&Spec { source: source.to_str().unwrap(), settings: &settings })
}

/// Makes `edits` below `root`, each file replaced as a whole.
pub(crate) fn apply(root: &Path, edits: &[Edit]) {
    for edit in edits {
        match edit {
            Edit::Put(path, item) => {
                let _ = std::fs::remove_file(root.join(path));
                let files: Files = [(path.clone(), item.clone())].into();
                oracle::lay_out(&files, root).unwrap();
            }
            Edit::Delete(path) => {
                std::fs::remove_file(root.join(path)).unwrap();
                // Folders come and go with what is in them, but the volume itself stays.
                let parents = Path::new(path).ancestors().skip(1).take_while(|p| !p.as_os_str().is_empty());
                for folder in parents {
                    let _ = std::fs::remove_dir(root.join(folder));
                }
            }
        }
    }
}

pub(crate) fn plain(content: &str) -> Item {
    Item::File { content: content.into(), executable: false }
}
