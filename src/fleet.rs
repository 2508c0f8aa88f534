//! The fleet: all pods that run dagsync, found, asked and compared.

pub mod answer;
pub mod ask;
pub mod check;
pub mod compare;
pub mod discover;
#[cfg(test)]
mod fixture;
pub mod flaps;
pub mod judge;
pub mod post;
pub mod reference;
pub mod remedy;
pub mod report;
pub mod watch;

pub use check::Check;
pub use discover::{Peer, Phase};
pub use reference::{Basis, Head, Reference};
