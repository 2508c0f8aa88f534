//! Scenarios with real servers and real processes; `harness` is what they are told with.

#![allow(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    reason = "tests look at the store with other means than its own, and end at the first surprise"
)]

mod access;
mod confined;
mod crash;
mod daemon;
mod deploy;
mod discovery;
mod disk;
mod docs;
mod drift;
mod first;
mod fleet;
mod gitsync;
mod harness;
mod hooks;
mod image;
mod leftovers;
mod options;
mod page;
mod proxy;
mod push;
mod s3;
mod s3_access;
mod s3_servers;
mod secrets;
mod shared_store;
mod source;
mod store_volumes;
mod tamper;
mod trust;
mod update;
mod versions;
mod volume;
mod worktrees;
