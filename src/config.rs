//! Configuration: layers, origins and the typed result.

mod model;

pub use model::*;
