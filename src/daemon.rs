//! Puts the parts together: `run` is the loop with its endpoints and signals, `once` is one sync.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use dagsync_core::{Error, ErrorKind, Filter, Interrupt, Progress, Result, Strategy};
use tokio::signal::unix::{self, Signal, SignalKind};
use tokio_util::sync::CancellationToken;

use crate::config::{Config, Http};
use crate::engine::{Engine, Parts, SyncReport, Wake, run_loop, run_once};
use crate::fleet;
use crate::http::{self, Access, Endpoints, Server, Tls};
use crate::metrics::Metrics;
use crate::orphans;
use crate::page::FleetBoard;
use crate::signal;
use crate::status::StatusBoard;
use crate::store::Store;
use crate::target::{Aim, Target};

/// A loop that is silent for this long beyond its longest turn is taken for dead.
const PATIENCE: Duration = Duration::from_secs(60);

/// Connections of those who probe.
const PROBES: usize = 64;

/// How long to wait after the source could not be asked to tell of changes.
const DEAF: Duration = Duration::from_secs(30);

/// How long a daemon runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Until {
    /// SIGTERM or SIGINT stopped it.
    Stopped,
    /// The first sync is done, and every command and call after it was made once.
    FirstSync,
}

/// `dagsync run`: until SIGTERM or SIGINT, which end it cleanly; SIGHUP or `sync_on_signal` asks for a sync now.
///
/// # Errors
/// The address cannot be listened on; `max_failures` syncs in a row failed; or it was stopped before the sync that it was
/// to wait for, or a command or call after that failed.
pub async fn run(config: &Config, name: &str, strategy: Arc<dyn Strategy>, until: Until) -> Result<()> {
    let token = CancellationToken::new();
    let wake = Wake::default();
    watch_signals(&token, &wake, &config.sync_on_signal)?;
    tokio::spawn(watch_source(strategy.clone(), wake.clone(), token.clone()));
    let (engine, board, metrics) = assemble(config, name, strategy, Progress::default(), &wake, &token)?;
    listen(config, board, metrics, &wake, &token).await?;
    let ended = run_loop(engine, config, &wake, &token, until).await;
    token.cancel();
    ended
}

/// The endpoints, and the probes once more where they are to answer without TLS.
async fn listen(
    config: &Config,
    board: StatusBoard,
    metrics: Metrics,
    wake: &Wake,
    token: &CancellationToken,
) -> Result<()> {
    let Http { bind, probe_bind, auth, token_file, tls, git_sync, hooks } = config.http.clone();
    let endpoints = Endpoints {
        board,
        metrics: metrics.clone(),
        store: Store::from(config),
        wake: wake.clone(),
        access: Access { auth, token_file },
        hooks,
        git_sync,
        patience: config.timeout
            + config.period.max(config.init_period).max(config.backoff.max).mul_f64(1.0 + config.jitter)
            + PATIENCE,
        places: http::room(),
        fleet: FleetBoard::default(),
    };
    let access = endpoints.access.clone();
    tokio::spawn(async move { access.inspect().await });
    let interrupt = Interrupt::new(token.clone(), None);
    tokio::spawn(fleet::watch::keep(config.clone(), endpoints.fleet.clone(), interrupt));
    if let Some(bind) = &probe_bind {
        let server = Server { setting: "http.probe_bind", places: PROBES, tls: None, metrics: metrics.clone() };
        let (address, serving) = server.serve(bind, http::probes(endpoints.clone()), token.clone()).await?;
        tracing::info!(%address, "listening for probes");
        tokio::spawn(serving);
    }
    if let Some(bind) = &bind {
        let tls = Tls::new(&tls, metrics.clone()).await?;
        let is_tls = tls.is_some();
        let server = Server { setting: "http.bind", places: endpoints.places, tls, metrics };
        let (address, serving) = server.serve(bind, http::router(endpoints), token.clone()).await?;
        tracing::info!(%address, tls = is_tls, "listening");
        tokio::spawn(serving);
    }
    Ok(())
}

/// `dagsync once`: one sync, tried again after errors that may pass, within `config.timeout`.
///
/// # Errors
/// Why the source's tree is not published. An older version stays published if there was one.
pub async fn once(config: &Config, name: &str, strategy: Arc<dyn Strategy>, progress: Progress) -> Result<SyncReport> {
    let token = CancellationToken::new();
    let wake = Wake::default();
    watch_signals(&token, &wake, &config.sync_on_signal)?;
    bring(config, name, strategy, progress, &wake, &token).await
}

/// The same for a caller who listens to signals himself.
///
/// # Errors
/// As [`once`].
pub async fn bring(
    config: &Config,
    name: &str,
    strategy: Arc<dyn Strategy>,
    progress: Progress,
    wake: &Wake,
    token: &CancellationToken,
) -> Result<SyncReport> {
    // Who is waited for must not use up the time that the source needs.
    let mut config = config.clone();
    config.target.fallback_after = config.target.fallback_after.min(config.timeout / 2);
    let (engine, ..) = assemble(&config, name, strategy, progress, wake, token)?;
    run_once(engine, &config, wake, token).await
}

fn assemble(
    config: &Config,
    name: &str,
    strategy: Arc<dyn Strategy>,
    progress: Progress,
    wake: &Wake,
    token: &CancellationToken,
) -> Result<(Engine, StatusBoard, Metrics)> {
    if config.group_write {
        rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o002));
    }
    let filter = Arc::new(Filter::new(&config.include, &config.exclude)?);
    let board = StatusBoard::new(&config.pod, name, strategy.to_string(), filter.hash(), SystemTime::now());
    let metrics = Metrics::new(config.http.git_sync);
    tracing::info!(
        strategy = name, source = %strategy, root = %config.root.display(), filter = %filter.hash(),
        "dagsync {}", env!("CARGO_PKG_VERSION")
    );
    let target = Target::new(config, name, &filter.hash().to_string())?;
    target.show(&Ok(Aim::Newest), &board);
    target.watch(&board, wake, token);
    let parts =
        Parts { name: name.to_owned(), strategy, board: board.clone(), target, metrics: metrics.clone(), progress };
    Ok((Engine::new(config, parts, filter), board, metrics))
}

/// Wakes the loop whenever the source says that it may have changed.
async fn watch_source(strategy: Arc<dyn Strategy>, wake: Wake, token: CancellationToken) {
    let interrupt = Interrupt::new(token, None);
    loop {
        let heard = strategy.changed(&interrupt).await;
        match heard {
            Ok(()) => wake.expect_news(),
            Err(error) if error.kind() == ErrorKind::Cancelled => return,
            Err(error) => {
                tracing::warn!(%error, "cannot hear of changes; polling goes on");
                tokio::time::sleep(DEAF).await;
            }
        }
    }
}

fn watch_signals(token: &CancellationToken, wake: &Wake, sync_on: &str) -> Result<()> {
    orphans::reap_if_first()?;
    for kind in [SignalKind::terminate(), SignalKind::interrupt()] {
        let token = token.clone();
        tokio::spawn(on_each(hear(kind)?, move || token.cancel()));
    }
    let kind = signal::parse(sync_on)
        .map_err(|why| Error::new(ErrorKind::Config, "start", format!("sync_on_signal {sync_on:?} {why}")))?;
    if let Some(kind) = kind {
        let wake = wake.clone();
        tokio::spawn(on_each(hear(kind)?, move || wake.wake()));
    }
    Ok(())
}

fn hear(kind: SignalKind) -> Result<Signal> {
    unix::signal(kind).map_err(|e| Error::new(ErrorKind::Unexpected, "start", "cannot handle signals").with_source(e))
}

async fn on_each(mut signal: Signal, react: impl Fn()) {
    while signal.recv().await.is_some() {
        react();
    }
}
