//! The fleet: all pods that run dagsync, found, asked and compared.

pub mod discover;

pub use discover::{Peer, Phase};
