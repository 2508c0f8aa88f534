//! `dagsync drift`: one check of the fleet, or one after the other.

use std::io::Write as _;
use std::path::Path;
use std::time::{Duration, SystemTime};

use dagsync_core::{Error, ErrorKind, Interrupt, Registry, Result, blocking, fs};

use super::answer::{Answer, Exit, Style, warn};
use super::args::{DriftArgs, Global, Output, Stream};
use crate::config::{self, Inputs, Loaded, Scheme};
use crate::fleet::ask::Manners;
use crate::fleet::post::Posts;
use crate::fleet::report::table::Paint;
use crate::fleet::report::{Essence, Finding, Report, json, prometheus, summary, table};
use crate::fleet::{Check, Reference};

/// Time between two looks at pods that may not know of a new head yet.
const LOOK: Duration = Duration::from_secs(2);

pub(super) async fn run(registry: &Registry, global: &Global, args: DriftArgs, interrupt: Interrupt) -> Result<Answer> {
    if args.schema {
        return Ok(Answer::text(Exit::Fine, json::DOCUMENT));
    }
    let loaded = config::load(registry, &Inputs::from_process(global.config.clone(), args.flags()))?;
    loaded.warnings.iter().for_each(warn);
    let mut drift = Drift::new(loaded, &args, global.style(Stream::Out))?;
    if args.watch {
        return drift.watch(&interrupt).await;
    }
    let found = drift.settled(&interrupt).await;
    let mut failed = match &found {
        // Nobody but who typed it is told of a mistake, or that it was stopped.
        Err(error) if matches!(error.kind(), ErrorKind::Config | ErrorKind::Cancelled) => Vec::new(),
        found => drift.publish(found, true).await.1,
    };
    let answer = found.map(|report| drift.answer(&report));
    // What was found is shown all the same, and counts for more.
    match (answer, failed.pop()) {
        (Ok(answer), Some(last)) if answer.exit == Exit::Fine => {
            failed.iter().for_each(warn);
            answer.print();
            Err(last)
        }
        (answer, last) => {
            failed.iter().chain(&last).for_each(warn);
            answer
        }
    }
}

/// Whether pods are asked by plain HTTP and none of them is written down.
fn cannot_show_token(fleet: &config::Fleet) -> bool {
    fleet.is_known() && fleet.scheme == Scheme::Http && fleet.peers.is_empty()
}

struct Drift {
    check: Check,
    posts: Posts,
    config: config::Drift,
    output: Output,
    watches: bool,
    style: Style,
    /// When the fleet was checked last with success.
    checked: Option<SystemTime>,
}

/// What was told last of the fleet.
#[derive(PartialEq)]
enum Told {
    /// How the fleet stands.
    Found(Essence),
    /// That it cannot be checked.
    Blind,
}

impl Drift {
    fn new(loaded: Loaded, args: &DriftArgs, style: Style) -> Result<Self> {
        let config = loaded.config.drift.clone();
        if args.remediate && loaded.config.client.token_file.is_none() {
            return Err(Error::new(ErrorKind::Config, "read settings", "--remediate needs a token to ask pods with")
                .with_hint("name its file in client.token_file; it is what the pods have in http.token_file"));
        }
        if args.remediate && cannot_show_token(&loaded.config.fleet) {
            let what = "--remediate cannot help pods that are found by DNS or Kubernetes and want the token";
            warn(format!("{what}: client.token_file is not sent to them by plain HTTP; set fleet.scheme to https"));
        }
        let manners = Manners::of(&loaded.config);
        let posts = Posts::new(&loaded.config)?;
        let reference: Reference = config.reference.parse()?;
        let check = Check::new(loaded, reference, manners, args.remediate)?;
        Ok(Self { check, posts, config, output: args.output, watches: args.watch, style, checked: None })
    }

    /// One check. Pods that may not have heard of a new head yet are given the grace period to do so.
    async fn settled(&mut self, interrupt: &Interrupt) -> Result<Report> {
        loop {
            let report = interrupt.guard("check fleet", self.check.run(interrupt)).await?;
            if !self.check.is_early(&report) {
                return Ok(report);
            }
            interrupt.guard("check fleet", pause(LOOK.min(self.config.grace))).await?;
        }
    }

    /// Checks until it is stopped, which is how it is meant to end. A check that fails is told as what is found is, and made
    /// again; only a configuration that was wrong from the start ends it.
    async fn watch(&mut self, interrupt: &Interrupt) -> Result<Answer> {
        let (mut told, mut untold) = (None, false);
        loop {
            let found = interrupt.guard("check fleet", self.check.run(interrupt)).await;
            let found = match found {
                Err(error) if error.kind() == ErrorKind::Cancelled => break,
                Err(error) if error.kind() == ErrorKind::Config && told.is_none() => return Err(error),
                found => found,
            };
            match &found {
                Err(error) => warn(error),
                Ok(report) => self.checked = Some(report.at),
            }
            let tells = Some(found.as_ref().map_or(Told::Blind, |report| Told::Found(report.essence())));
            let is_news = told != tells;
            let is_first_and_fine = told.is_none() && found.as_ref().is_ok_and(|r| r.finding() == Finding::Fine);
            let (is_told, failed) = self.publish(&found, untold || is_news && !is_first_and_fine).await;
            failed.iter().for_each(warn);
            // What a webhook did not take is posted again at the next check.
            (told, untold) = (tells, !is_told);
            if let Ok(report) = found.as_ref()
                && (is_news || self.output == Output::Json)
            {
                self.print(report)?;
            }
            if interrupt.guard("wait", pause(self.config.interval)).await.is_err() {
                break;
            }
        }
        Ok(Answer::text(Exit::Fine, ""))
    }

    /// Tells everybody who wants to know: whether the webhook, which hears of news alone, was told, and what went wrong.
    async fn publish(&self, found: &Result<Report>, is_news: bool) -> (bool, Vec<Error>) {
        let is_fine = found.as_ref().is_ok_and(|report| report.finding() == Finding::Fine);
        let mut failed = Vec::new();
        if is_news && (self.watches || !is_fine) {
            failed.extend(self.posts.tell(found).await.err());
        }
        let is_told = failed.is_empty();
        let metrics = match found {
            Ok(report) => prometheus::text(report),
            Err(_) => prometheus::failed(self.checked),
        };
        let markdown = match found {
            Ok(report) => summary::markdown(report),
            Err(error) => summary::failed(error),
        };
        failed.extend(self.posts.push(metrics.clone()).await.err());
        failed.extend(write(self.config.prometheus_file.as_deref(), metrics, fs::write_atomic).await.err());
        // Others may have written there, too; but what is watched would never end.
        let put = if self.watches { fs::write_atomic } else { fs::append };
        failed.extend(write(self.config.summary_file.as_deref(), markdown, put).await.err());
        (is_told, failed)
    }

    fn answer(&self, report: &Report) -> Answer {
        let exit = match report.finding() {
            Finding::Fine => Exit::Fine,
            Finding::Drift => Exit::Mismatch,
            Finding::Incomplete => Exit::Incomplete,
        };
        match self.output {
            Output::Json if self.watches => Answer::text(exit, format!("{}\n", json::of(report))),
            Output::Json => Answer::json(exit, &json::of(report)),
            Output::Text => Answer::text(exit, table::text(report, &self.style)),
        }
    }

    fn print(&self, report: &Report) -> Result<()> {
        let mut answer = self.answer(report);
        if self.output == Output::Text {
            let at = humantime::format_rfc3339_seconds(report.at);
            answer.text = format!("{at}  {}\n", answer.text);
        }
        let mut out = std::io::stdout().lock();
        let written = out.write_all(answer.text.as_bytes()).and_then(|()| out.flush());
        written.map_err(|e| Error::io("write", "standard output", e))
    }
}

async fn pause(time: Duration) -> Result<()> {
    tokio::time::sleep(time).await;
    Ok(())
}

async fn write(file: Option<&Path>, text: String, put: fn(&Path, &[u8]) -> Result<()>) -> Result<()> {
    let Some(file) = file.map(Path::to_owned) else { return Ok(()) };
    blocking(&Interrupt::never(), "write report", move |_| put(&file, text.as_bytes())).await
}

impl Paint for Style {
    fn bad(&self, text: &str) -> String {
        self.red(text)
    }

    fn odd(&self, text: &str) -> String {
        self.yellow(text)
    }

    fn good(&self, text: &str) -> String {
        self.green(text)
    }

    fn strong(&self, text: &str) -> String {
        self.bold(text)
    }
}
