//! dagsync keeps the DAG folder of every Airflow pod on one and the same version, and proves it.

use std::process::ExitCode;

use dagsync_core::Registry;

pub mod client;
pub mod config;
pub mod daemon;
pub mod engine;
pub mod http;
pub mod logging;
pub mod metrics;
pub mod settings;
pub mod status;
pub mod store;

/// The strategies that this build has.
pub fn strategies() -> Registry {
    let registry = Registry::new();
    #[cfg(feature = "git")]
    let registry = registry.with(dagsync_strategy_git::FACTORY);
    registry
}

/// The command line, with the strategies of `registry`.
pub fn main(registry: Registry) -> ExitCode {
    install_crypto();
    drop(registry);
    ExitCode::SUCCESS
}

/// TLS by `ring`, once a process; a second call changes nothing.
fn install_crypto() {
    let _ = rustls::crypto::ring::default_provider().install_default();
}
