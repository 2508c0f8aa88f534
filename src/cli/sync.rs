//! `dagsync run` and `dagsync once`: from the arguments to the engine.

use dagsync_core::{Progress, Registry, Result};
use serde_json::json;

use super::answer::{Answer, Exit};
use super::args::{Global, OnceArgs, Output, Stream, SyncArgs};
use super::progress::Bar;
use crate::config::{self, Inputs, Loaded};
use crate::daemon::{self, Until};
use crate::engine::SyncReport;
use crate::logging::{self, Logging};

pub(super) async fn run(registry: &Registry, global: &Global, args: &SyncArgs) -> Result<Answer> {
    let loaded = load(registry, global, args)?;
    daemon::run(&loaded.config, loaded.factory()?.name, loaded.strategy()?, Until::Stopped).await?;
    Ok(Answer::text(Exit::Fine, ""))
}

pub(super) async fn once(registry: &Registry, global: &Global, args: &OnceArgs) -> Result<Answer> {
    let loaded = load(registry, global, &args.sync)?;
    let (strategy, progress) = (loaded.strategy()?, Progress::default());
    let _bar = Bar::of(&progress);
    let report = daemon::once(&loaded.config, loaded.factory()?.name, strategy, progress).await?;
    Ok(match args.output {
        Output::Text => Answer::text(Exit::Fine, format!("{}\n", report.version)),
        Output::Json => Answer::json(Exit::Fine, &describe(&report)),
    })
}

fn load(registry: &Registry, global: &Global, args: &SyncArgs) -> Result<Loaded> {
    let loaded = config::load(registry, &Inputs::from_process(global.config.clone(), args.flags(global)))?;
    let log = &loaded.config.log;
    let color = global.style(Stream::Err).is_on();
    logging::start(&Logging { level: log.level.clone(), format: log.format, color })?;
    for warning in &loaded.warnings {
        tracing::warn!("{warning}");
    }
    Ok(loaded)
}

fn describe(report: &SyncReport) -> serde_json::Value {
    json!({
        "version": report.version,
        "revision": report.revision,
        "published": report.published,
        "files": report.files,
        "counts": report.counts,
        "seconds": report.took.as_secs_f64(),
    })
}
