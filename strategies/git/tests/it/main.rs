//! The git strategy against real repositories.
#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "tests stop at the first surprise")]

mod cache;
mod config;
mod conformance;
mod content;
mod harness;
mod login;
mod real;
mod refs;
mod servers;
mod sparse;
mod submodules;
mod verify;
