//! The command line: arguments are parsed into plain structs, then a second step runs what they ask for.

mod answer;
mod args;
mod diff;
mod drift;
mod examples;
mod hash;
mod progress;
#[cfg(feature = "s3")]
mod publish;
#[cfg(feature = "image")]
mod seal;
mod settings;
mod status;
mod sync;
mod tree;
mod verify;

use std::ffi::OsString;
use std::future::Future;
use std::io::Write;
use std::time::Duration;

use clap::FromArgMatches;
use dagsync_core::{Error, ErrorKind, Interrupt, Registry, Result};
use tokio_util::sync::CancellationToken;

use crate::config::{Inputs, LogFormat};
use crate::logging::{self, Logging};
use answer::{Answer, Exit};
use args::{Args, Command, Global, Stream};

/// Parses `argv`, runs it and prints the answer or the error.
pub(crate) fn main(registry: &Registry, argv: impl IntoIterator<Item = OsString>) -> Exit {
    let args = match parse(registry, argv) {
        Ok(args) => args,
        Err(error) => {
            // Help and version are no errors for clap's exit status; a closed pipe is none for ours.
            let _ = error.print();
            return if error.use_stderr() { Exit::Usage } else { Exit::Fine };
        }
    };
    match run(registry, args) {
        Ok(answer) => answer.print(),
        Err(error) => {
            let line = error.to_string().replace('\n', " ");
            let _ = writeln!(std::io::stderr(), "error: {line}");
            Exit::from(&error)
        }
    }
}

fn parse(registry: &Registry, argv: impl IntoIterator<Item = OsString>) -> Result<Args, clap::Error> {
    let matches = args::command(registry).try_get_matches_from(argv)?;
    Args::from_arg_matches(&matches)
}

fn run(registry: &Registry, args: Args) -> Result<Answer> {
    let Args { global, command } = args;
    if !matches!(command, Command::Run(_) | Command::Once(_)) {
        start_logging(&global)?;
    }
    let style = global.style(Stream::Out);
    block_on(async {
        match command {
            Command::Run(args) => sync::run(registry, &global, &args).await,
            Command::Once(args) => sync::once(registry, &global, &args).await,
            Command::GitSync { .. } => Err(Error::new(ErrorKind::Config, "start", "git-sync has no flags of dagsync")
                .with_hint("write git-sync right behind dagsync")),
            Command::Status(args) => {
                let inputs = Inputs::from_process(global.config, Vec::new());
                status::run(registry, &inputs, &args, style).await
            }
            Command::Hash(args) => interruptible(|interrupt| hash::run(args, interrupt)).await,
            Command::Diff(args) => {
                interruptible(|interrupt| diff::run(registry, global.config, args, interrupt, style)).await
            }
            Command::Verify(args) => {
                interruptible(|interrupt| verify::run(registry, global.config, *args, interrupt, style)).await
            }
            #[cfg(feature = "image")]
            Command::Seal(args) => interruptible(|interrupt| seal::run(args, interrupt)).await,
            #[cfg(feature = "s3")]
            Command::Publish(args) => interruptible(|interrupt| publish::run(registry, &global, args, interrupt)).await,
            Command::Drift(args) => interruptible(|interrupt| drift::run(registry, &global, *args, interrupt)).await,
            Command::Config(args) => settings::run(registry, global, &args),
            Command::Completions { shell } => Ok(settings::completions(args::command(registry), shell)),
        }
    })
}

/// Runs `work` on the one thread of the runtime.
pub(crate) fn block_on<T>(work: impl Future<Output = Result<T>>) -> Result<T> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(|e| {
        Error::new(ErrorKind::Unexpected, "start", "the asynchronous runtime does not start").with_source(e)
    })?;
    let ended = runtime.block_on(work);
    // A thread that waits for a silent server minds nothing: it ends with the process.
    runtime.shutdown_timeout(Duration::from_secs(1));
    ended
}

/// The commands that only look at things say what is odd, as text.
fn start_logging(global: &Global) -> Result<()> {
    logging::start(&Logging {
        level: global.log_level.clone().unwrap_or_else(|| "warn".to_owned()),
        format: global.log_format.unwrap_or(LogFormat::Text),
        color: global.style(Stream::Err).is_on(),
    })
}

/// Runs `work` until it ends; Ctrl-C and SIGTERM tell it to end soon.
async fn interruptible<F: Future<Output = Result<Answer>>>(work: impl FnOnce(Interrupt) -> F) -> Result<Answer> {
    let token = CancellationToken::new();
    let work = work(Interrupt::new(token.clone(), None));
    tokio::pin!(work);
    tokio::select! {
        answer = &mut work => answer,
        () = asked_to_stop() => {
            token.cancel();
            work.await
        }
    }
}

/// Ctrl-C, or SIGTERM, which the first process of a container has to ask for.
async fn asked_to_stop() {
    match tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate()) {
        Ok(mut terminate) => tokio::select! {
            _ = tokio::signal::ctrl_c() => {}
            _ = terminate.recv() => {}
        },
        Err(_) => drop(tokio::signal::ctrl_c().await),
    }
}

#[cfg(test)]
mod tests;
