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

pub mod conformance;
pub mod oracle;

mod fault;
mod harness;
mod memory;
mod source;

pub use fault::{Call, Fault, FaultStrategy, Faults};
pub use harness::{Harness, Synced};
pub use memory::{MemorySource, MemoryStrategy};
pub use source::{Capabilities, Edit, Files, Item, Source, delete, file, link, script};
