//! The image strategy over real folders, and against registries that answer as they like.
#![allow(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    reason = "tests set their own scene with other means than the code"
)]

mod conformance;
mod credentials;
mod double;
mod load;
mod platforms;
mod registry;
mod scene;
mod verdicts;
