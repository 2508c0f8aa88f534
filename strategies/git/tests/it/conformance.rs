//! The contract of every strategy, with a git repository as the source.

use std::path::PathBuf;
use std::sync::Arc;

use dagsync_core::{Strategy, async_trait};
use dagsync_testkit::{Edit, Item, Source, conformance};

use crate::harness::{Origin, block_on, strategy};

struct Repository(Origin);

impl Repository {
    async fn new() -> Self {
        let origin = Origin::new();
        origin.commit();
        Self(origin)
    }

    /// git knows no empty folders.
    fn delete(&self, path: &str) {
        let path = self.0.path().join(path);
        std::fs::remove_file(&path).unwrap();
        for folder in path.ancestors().skip(1).take_while(|folder| *folder != self.0.path()) {
            let _ = std::fs::remove_dir(folder);
        }
    }

    fn put(&self, path: &str, item: &Item) {
        let target = self.0.path().join(path);
        match item {
            Item::Link(to) => {
                let _ = std::fs::remove_file(&target);
                std::fs::create_dir_all(target.parent().unwrap()).unwrap();
                std::os::unix::fs::symlink(to, &target).unwrap();
            }
            Item::File { content, executable } => {
                let _ = std::fs::remove_file(&target);
                self.0.write(path, content);
                let mode = if *executable { 0o755 } else { 0o644 };
                std::fs::set_permissions(&target, std::os::unix::fs::PermissionsExt::from_mode(mode)).unwrap();
            }
        }
    }
}

#[async_trait]
impl Source for Repository {
    async fn apply(&mut self, edits: &[Edit]) {
        for edit in edits {
            match edit {
                Edit::Put(path, item) => self.put(path, item),
                Edit::Delete(path) => self.delete(path),
            }
        }
        self.0.commit();
    }

    async fn remove(&mut self) {
        std::fs::remove_dir_all(self.0.path().join(".git")).unwrap();
    }

    fn strategy(&self) -> Arc<dyn Strategy> {
        strategy(&self.0.url(), &[]).unwrap()
    }

    fn local(&self) -> Option<PathBuf> {
        Some(self.0.path().to_owned())
    }
}

#[test]
fn the_contract_holds() {
    block_on(conformance::all(Repository::new));
}
