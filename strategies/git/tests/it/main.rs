//! The git strategy against real repositories.
#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "tests stop at the first surprise")]

mod cache;
mod conformance;
mod content;
mod harness;
mod refs;
mod servers;
mod submodules;
mod verify;
