//! dagsync keeps the DAG folder of every Airflow pod on one and the same version, and proves it.

use std::process::ExitCode;

use dagsync_core::Registry;

pub mod config;
pub mod daemon;
pub mod engine;
pub mod http;
pub mod metrics;
pub mod settings;
pub mod status;
pub mod store;

/// The strategies that this build has.
pub fn strategies() -> Registry {
    Registry::new()
}

/// The command line, with the strategies of `registry`.
pub fn main(registry: Registry) -> ExitCode {
    drop(registry);
    ExitCode::SUCCESS
}
