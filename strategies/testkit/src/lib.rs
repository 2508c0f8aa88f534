//! The conformance suite of the strategy contract, and test doubles for whatever runs strategies.
//!
//! A strategy outside the dagsync repository depends on this crate in its tests: implement [`Source`] for its kind of
//! source and run every clause of the contract with [`conformance::all`].
//!
//! ```
//! # async fn example() {
//! use dagsync_testkit::{MemorySource, conformance};
//! conformance::all(async || MemorySource::new()).await;
//! # }
//! ```
//!
//! With the feature `s3` there is a server in the test's own process that speaks S3: `s3::S3Double`.

pub mod conformance;
pub mod oracle;
#[cfg(feature = "s3")]
pub mod s3;

mod fault;
mod harness;
mod memory;
mod source;

pub use fault::{Call, Fault, FaultStrategy, Faults};
pub use harness::{Harness, Synced};
pub use memory::{MemorySource, MemoryStrategy};
pub use source::{Capabilities, Edit, Files, Item, Source, delete, file, link, script};
