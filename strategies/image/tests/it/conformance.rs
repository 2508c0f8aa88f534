//! The contract of every strategy.

use std::path::PathBuf;
use std::sync::Arc;

use dagsync_core::{Strategy, async_trait};
use dagsync_testkit::{Capabilities, Edit, Files, Source, conformance, oracle};

use crate::scene::Image;

/// An image that is built anew for each state.
struct Built(Image, Files);

#[async_trait]
impl Source for Built {
    /// What may not be published is refused when it is sealed, and modes do not count.
    fn capabilities(&self) -> Capabilities {
        Capabilities { refused_names: false, executable: false, ..Capabilities::ALL }
    }

    async fn apply(&mut self, edits: &[Edit]) {
        edits.iter().for_each(|edit| edit.apply(&mut self.1));
        std::fs::remove_dir_all(self.0.path()).unwrap();
        std::fs::create_dir(self.0.path()).unwrap();
        oracle::lay_out(&self.1, &self.0.path()).unwrap();
        self.0.seal(None);
    }

    async fn remove(&mut self) {
        std::fs::remove_dir_all(self.0.path()).unwrap();
    }

    fn strategy(&self) -> Arc<dyn Strategy> {
        self.0.strategy(&[])
    }

    fn local(&self) -> Option<PathBuf> {
        Some(self.0.path())
    }
}

/// What an image answers with a verdict, where other sources have an error: it was built as it should be, so whatever keeps it
/// from being read was done to it since.
const OTHERWISE: &[&str] = &[
    // Other globs than the seal's, so that no two pods compare what cannot be compared.
    "what_the_filter_leaves_out_is_not_brought",
    // Gone after it was there. One that never was there is not found.
    "a_missing_source_is_not_found_or_unreachable",
    // Larger than it may be, though what was sealed has no more files than that.
    "a_tree_beyond_a_limit_is_refused",
];

#[tokio::test]
async fn a_sealed_image_keeps_the_contract() {
    let failures = conformance::check(async || {
        let mut built = Built(Image::new(), Files::new());
        built.apply(&[]).await;
        built
    })
    .await;
    let failures: Vec<_> = failures.into_iter().filter(|f| !OTHERWISE.contains(&f.clause)).collect();
    assert_eq!(failures, []);
}
