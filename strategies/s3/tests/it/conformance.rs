//! The contract of every strategy, in both layouts.

use std::sync::Arc;

use dagsync_core::{Strategy, async_trait};
use dagsync_testkit::s3::{Action, Rule};
use dagsync_testkit::{Capabilities, Edit, Files, Item, Source, conformance};

use crate::bucket::Bucket;

/// Neither links nor modes can be in a bucket.
const CAN: Capabilities = Capabilities { symlinks: false, executable: false, empty: true, refused_names: true };

struct Prefix(Bucket);

#[async_trait]
impl Source for Prefix {
    fn capabilities(&self) -> Capabilities {
        CAN
    }

    async fn apply(&mut self, edits: &[Edit]) {
        for edit in edits {
            match edit {
                Edit::Put(path, Item::File { content, .. }) => self.0.put(path, content),
                Edit::Put(..) => unreachable!("a bucket holds no links"),
                Edit::Delete(path) => self.0.delete(path),
            }
        }
    }

    async fn remove(&mut self) {
        self.0.server.inject(Rule::any(Action::status(404, "NoSuchBucket")).forever());
    }

    fn strategy(&self) -> Arc<dyn Strategy> {
        self.0.strategy(&[("attempts", "2")])
    }
}

struct Published {
    bucket: Bucket,
    files: Files,
}

#[async_trait]
impl Source for Published {
    /// What may not be published is refused when it is.
    fn capabilities(&self) -> Capabilities {
        Capabilities { refused_names: false, ..CAN }
    }

    async fn apply(&mut self, edits: &[Edit]) {
        edits.iter().for_each(|edit| edit.apply(&mut self.files));
        self.bucket.publish(&self.files).await.unwrap();
    }

    async fn remove(&mut self) {
        self.bucket.server.inject(Rule::any(Action::status(404, "NoSuchKey")).forever());
    }

    fn strategy(&self) -> Arc<dyn Strategy> {
        self.bucket.strategy(&[("layout", "published")])
    }
}

/// Without any object there is no prefix; a folder marker makes it one that is empty.
fn with_folder() -> Bucket {
    let bucket = Bucket::new();
    bucket.put("", "");
    bucket
}

#[tokio::test]
async fn the_layout_prefix_keeps_the_contract() {
    conformance::all(async || Prefix(with_folder())).await;
}

#[tokio::test]
async fn the_layout_prefix_keeps_the_contract_with_opaque_etags_and_small_pages() {
    conformance::all(async || {
        let bucket = with_folder();
        bucket.server.opaque_etags(true);
        bucket.server.page_size(3);
        Prefix(bucket)
    })
    .await;
}

#[tokio::test]
async fn the_layout_published_keeps_the_contract() {
    conformance::all(async || {
        let mut source = Published { bucket: Bucket::new(), files: Files::new() };
        source.apply(&[]).await;
        source
    })
    .await;
}
