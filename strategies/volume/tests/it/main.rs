//! The volume strategy over real folders: its contract, what it refuses to bring, and what it makes of trouble.
#![allow(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "tests set their own scene with other means than the code"
)]

mod conformance;
mod folder;
mod scene;
mod store;
