//! The contract of every strategy, for a plain folder and for a store, copied and in place.

use std::path::PathBuf;
use std::sync::Arc;

use dagsync_core::{Strategy, async_trait};
use dagsync_testkit::{Capabilities, Edit, Files, Source, conformance};

use crate::scene::{Volume, apply};
use crate::store::Store;

struct Folder(Volume, &'static str);

#[async_trait]
impl Source for Folder {
    async fn apply(&mut self, edits: &[Edit]) {
        apply(&self.0.path(), edits);
    }

    async fn remove(&mut self) {
        std::fs::remove_dir_all(self.0.path()).unwrap();
    }

    fn strategy(&self) -> Arc<dyn Strategy> {
        self.0.strategy(&[("mode", self.1)])
    }

    fn local(&self) -> Option<PathBuf> {
        Some(self.0.path())
    }
}

struct Kept(Store, Files, &'static str);

#[async_trait]
impl Source for Kept {
    /// What may not be published is refused by the dagsync that writes the store.
    fn capabilities(&self) -> Capabilities {
        Capabilities { refused_names: false, symlinks: false, ..Capabilities::ALL }
    }

    async fn apply(&mut self, edits: &[Edit]) {
        edits.iter().for_each(|edit| edit.apply(&mut self.1));
        self.0.publish(&self.1);
    }

    async fn remove(&mut self) {
        std::fs::remove_dir_all(self.0.path()).unwrap();
    }

    fn strategy(&self) -> Arc<dyn Strategy> {
        self.0.strategy(&[("mode", self.2)])
    }

    fn local(&self) -> Option<PathBuf> {
        Some(self.0.path())
    }
}

#[tokio::test]
async fn a_folder_that_is_copied_keeps_the_contract() {
    conformance::all(async || Folder(Volume::new(), "copy")).await;
}

#[tokio::test]
async fn a_folder_in_its_place_keeps_the_contract() {
    conformance::all(async || Folder(Volume::new(), "in-place")).await;
}

#[tokio::test]
async fn a_store_that_is_copied_keeps_the_contract() {
    conformance::all(async || Kept(Store::new(), Files::new(), "copy")).await;
}

#[tokio::test]
async fn a_store_in_its_place_keeps_the_contract() {
    conformance::all(async || Kept(Store::new(), Files::new(), "in-place")).await;
}
