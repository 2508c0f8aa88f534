//! Scenarios with real servers and real processes; `harness` is what they are told with.

#![allow(clippy::disallowed_methods, reason = "tests look at the store with other means than the store's own")]

mod crash;
mod daemon;
mod disk;
mod docs;
mod harness;
mod leftovers;
mod secrets;
mod source;
mod tamper;
mod trust;
mod update;
mod versions;
