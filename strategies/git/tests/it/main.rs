//! The git strategy against real repositories.

mod cache;
mod content;
mod harness;
mod refs;
mod servers;
mod submodules;
