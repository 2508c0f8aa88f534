//! Random operations on a store, beside a model that says what readers must find.

use std::collections::BTreeMap;

use proptest::collection::{btree_map, vec};
use proptest::prelude::*;

use super::tests::Story;
use super::*;

type Content = BTreeMap<String, u8>;

#[derive(Debug, Clone)]
enum Operation {
    /// Publish a tree; `fresh` as after tampering.
    Publish(Content, bool),
    /// Stage a tree and die before it is published.
    DieWhileStaging(Content),
    /// Start again, perhaps without what can be rebuilt, perhaps in the other layout.
    Restart { state: bool, indexes: bool, other_layout: bool },
    /// The next tree is of another commit, whatever is in it.
    Commit,
    /// Remove what the policy does not keep.
    Prune(usize),
    /// Write into a published file, as somebody with the rights would.
    Tamper,
    /// Remove the link.
    Unlink,
    /// Time passes.
    Wait(u64),
}

fn content() -> impl Strategy<Value = Content> {
    btree_map("(a|b|d/c|d/e/f)\\.py", 0u8..3, 1..4)
}

fn operation() -> impl Strategy<Value = Operation> {
    prop_oneof![
        4 => (content(), any::<bool>()).prop_map(|(tree, fresh)| Operation::Publish(tree, fresh)),
        1 => content().prop_map(Operation::DieWhileStaging),
        1 => any::<[bool; 3]>()
            .prop_map(|[state, indexes, other_layout]| Operation::Restart { state, indexes, other_layout }),
        1 => Just(Operation::Commit),
        2 => (1usize..4).prop_map(Operation::Prune),
        1 => Just(Operation::Tamper),
        1 => Just(Operation::Unlink),
        1 => (1u64..200).prop_map(Operation::Wait),
    ]
}

/// What readers must find.
#[derive(Default)]
struct Model {
    current: Option<Content>,
    tampered: bool,
}

fn step(mut story: Story, model: &mut Model, operation: Operation) -> Story {
    match operation {
        Operation::Publish(tree, fresh) => {
            let texts: Vec<(String, String)> = tree.iter().map(|(path, n)| (path.clone(), n.to_string())).collect();
            let files: Vec<(&str, &str)> = texts.iter().map(|(path, text)| (path.as_str(), text.as_str())).collect();
            story.try_publish(&files, fresh || model.tampered, false).unwrap();
            *model = Model { current: Some(tree), tampered: false };
        }
        Operation::DieWhileStaging(tree) => {
            let files: Vec<(&str, &str)> = tree.keys().map(|path| (path.as_str(), "never published")).collect();
            std::mem::forget(story.stage(&files));
            story = story.reopen();
        }
        Operation::Restart { state, indexes, other_layout } => {
            if !state {
                let _ = std::fs::remove_file(story.store.state_path());
            }
            if !indexes {
                std::fs::remove_dir_all(story.store.private("indexes")).unwrap();
            }
            story = story.reopen_as(|store| {
                if other_layout {
                    store.layout = other(store.layout);
                }
            });
        }
        Operation::Commit => story.commit += 1,
        Operation::Prune(versions) => drop(story.prune(versions, 50, &[])),
        Operation::Tamper => {
            if let Some(path) = model.current.as_ref().and_then(|tree| tree.keys().next()) {
                story.tamper(path, "by hand");
                model.tampered = true;
            }
        }
        Operation::Unlink => {
            let _ = std::fs::remove_file(story.store.link_path());
            *model = Model::default();
        }
        Operation::Wait(seconds) => story.now += std::time::Duration::from_secs(seconds),
    }
    story
}

fn other(layout: Layout) -> Layout {
    if layout == Layout::Versions { Layout::Worktrees } else { Layout::Versions }
}

fn check(story: &Story, model: &Model) {
    let current = story.store.current().unwrap();
    assert_eq!(current.is_some(), model.current.is_some());
    if let Some(tree) = &model.current {
        for mode in [ScrubMode::Stat, ScrubMode::Full] {
            assert_eq!(!story.scrub(mode).changes.is_empty(), model.tampered, "{mode:?}");
        }
        let untouched = tree.iter().skip(usize::from(model.tampered));
        untouched.for_each(|(path, n)| assert_eq!(story.read(path), n.to_string()));
    }
    let records = story.store.records().unwrap();
    assert!(records.iter().all(|name| story.store.has_folder(name)), "no record outlives its folder");
    for name in story.store.folders().unwrap() {
        assert!(story.store.manifest(&name.version()).unwrap().is_some(), "every folder has its manifest");
    }
    let manifests = Folder::open(story.store.private("manifests")).unwrap().names().unwrap();
    assert!(manifests.len() <= story.store.folders().unwrap().len(), "no manifest outlives its folders");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn readers_find_what_was_published_last_whatever_happens(
        worktrees in any::<bool>(), operations in vec(operation(), 1..14),
    ) {
        let mut story = if worktrees { Story::in_worktrees() } else { Story::new() };
        let mut model = Model::default();
        for operation in operations {
            story = step(story, &mut model, operation);
            check(&story, &model);
        }
    }
}
