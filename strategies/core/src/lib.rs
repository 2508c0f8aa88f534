//! The contract of dagsync: what a version is, what a strategy owes, and the staging folder it fills.
//!
//! A strategy is a crate that depends on this one and on nothing else of dagsync. Start at [`Strategy`].
#![cfg_attr(test, allow(clippy::disallowed_methods, reason = "tests look at files with other means than the code"))]

pub mod copy;
pub mod fs;
pub mod index;
pub mod links;
pub mod secret;
pub mod tree;
pub mod walk;
pub mod workers;

mod error;
mod filter;
#[cfg(test)]
mod fixture;
mod interrupt;
mod limits;
mod manifest;
mod open_folders;
mod path;
mod progress;
mod registry;
mod revision;
mod setting;
mod sorted;
mod staging;
mod strategy;
mod tally;
mod volume;
mod warning;
mod wording;

pub use async_trait::async_trait;
pub use error::{Error, ErrorKind, Result};
pub use filter::{BUILTIN, Filter};
pub use interrupt::Interrupt;
pub use limits::Limits;
pub use manifest::{Change, ChangeKind, Digest, Entry, Manifest, Version};
pub use open_folders::OpenFolders;
pub use path::{TreePath, printable};
pub use progress::{Progress, Reading as ProgressReading};
pub use registry::{Factory, Registry, Spec};
pub use revision::Revision;
pub use setting::{Kind, Setting};
pub use staging::{Snapshot, StagedFile, StagedTree, Staging, StagingCounts, StagingRules};
pub use strategy::{Expectation, InPlace, SealState, Strategy, SyncContext, Tree, blocking};
pub use tally::{Outcome, Tally};
pub use tree::{HashedTree, SymlinkPolicy, hash_tree};
pub use warning::Warning;
pub use wording::{call_settings, worded};
