//! The S3 strategy and its publisher against a server in this process that speaks S3, and that can fail on purpose.
#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "tests stop at the first surprise")]

mod bucket;
mod conformance;
mod faults;
mod history;
mod prefix;
mod publish;
mod published;
