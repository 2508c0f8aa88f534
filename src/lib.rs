//! dagsync keeps the DAG folder of every Airflow pod on one and the same version, and proves it.
#![cfg_attr(test, allow(clippy::disallowed_methods, reason = "tests look at files with other means than the code"))]

use std::process::ExitCode;

use dagsync_core::Registry;

mod cli;
pub mod client;
mod command;
pub mod config;
pub mod daemon;
pub mod engine;
pub mod fleet;
pub mod gitsync;
pub mod http;
pub mod logging;
mod memory;
pub mod metrics;
mod orphans;
pub mod outputs;
pub mod page;
mod secret_url;
pub mod settings;
mod signal;
pub mod status;
pub mod store;
pub mod target;

/// The strategies that this build has.
pub fn strategies() -> Registry {
    let registry = Registry::new();
    #[cfg(feature = "git")]
    let registry = registry.with(dagsync_strategy_git::FACTORY);
    #[cfg(feature = "image")]
    let registry = registry.with(dagsync_strategy_image::FACTORY);
    #[cfg(feature = "s3")]
    let registry = registry.with(dagsync_strategy_s3::FACTORY);
    #[cfg(feature = "volume")]
    let registry = registry.with(dagsync_strategy_volume::FACTORY);
    registry
}

/// The command line, dagsync's or git-sync's, with the strategies of `registry`. Prints its own errors.
pub fn main(registry: Registry) -> ExitCode {
    // Airflow reads what is published, often as another user than the one that dagsync runs as.
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o022));
    memory::use_one_arena();
    install_crypto();
    let argv: Vec<_> = std::env::args_os().collect();
    match gitsync::Invocation::of(&argv, std::env::vars_os().collect()) {
        Some(invocation) => gitsync::main(&registry, &invocation),
        None => cli::main(&registry, argv).into(),
    }
}

/// TLS by `ring`, once a process; a second call changes nothing.
fn install_crypto() {
    let _ = rustls::crypto::ring::default_provider().install_default();
}
