//! One check of the fleet from the settings to the report: who, where they should be, how they stand, what differs.

use std::time::SystemTime;

use dagsync_core::{Error, ErrorKind, Filter, Interrupt, Manifest, Progress, Result, blocking};
use tempfile::TempDir;

use super::ask::{Manners, ask};
use super::compare::compare;
use super::discover::discover;
use super::flaps::Flaps;
use super::judge::judge;
use super::reference::{Basis, Head, Heads, Reference};
use super::remedy::Remedies;
use super::report::{Report, State};
use crate::config::{Config, Fleet, Loaded, Target, TargetMode};
use crate::daemon;
use crate::engine::Wake;
use crate::store::Store;

/// How the fleet is checked; remembers what one check can use of the one before.
#[derive(Debug)]
pub struct Check {
    config: Config,
    leaders: Vec<String>,
    reference: Reference,
    manners: Manners,
    source: Option<Source>,
    flaps: Flaps,
    /// None where nobody is asked to sync.
    remedies: Option<Remedies>,
}

/// The source, brought into a folder of this process's own.
#[derive(Debug)]
struct Source {
    loaded: Loaded,
    config: Config,
    head: Option<(Head, Manifest)>,
    heads: Heads,
    _folder: TempDir,
}

impl Check {
    /// A check with these settings.
    ///
    /// # Errors
    /// [`ErrorKind::Config`] when the reference is a leader and there is none, or the head and there is no source.
    pub fn new(loaded: Loaded, reference: Reference, manners: Manners, remediates: bool) -> Result<Self> {
        let config = loaded.config.clone();
        let leaders = config.target.leaders();
        let reference = match reference {
            Reference::Auto if leaders.is_empty() => Reference::Majority,
            Reference::Auto => Reference::Leader,
            Reference::Leader if leaders.is_empty() => {
                return Err(Error::new(
                    ErrorKind::Config,
                    "read settings",
                    "the reference is the leader, and there is none",
                )
                .with_hint("set target.leader, or drift.reference to majority"));
            }
            reference => reference,
        };
        let source = if reference == Reference::Head { Some(Source::new(loaded)?) } else { None };
        let leaders = if reference == Reference::Leader { leaders } else { Vec::new() };
        let remedies = remediates.then(Remedies::default);
        Ok(Self { config, leaders, reference, manners, source, flaps: Flaps::default(), remedies })
    }

    /// A check that asks nobody but the fleet: where its leaders are, or else most of its pods.
    pub fn by_answers(config: Config, manners: Manners) -> Self {
        let leaders = config.target.leaders();
        let reference = if leaders.is_empty() { Reference::Majority } else { Reference::Leader };
        Self { config, leaders, reference, manners, source: None, flaps: Flaps::default(), remedies: None }
    }

    /// Checks.
    ///
    /// # Errors
    /// Nobody knows who belongs to the fleet, or what the head is.
    pub async fn run(&mut self, interrupt: &Interrupt) -> Result<Report> {
        let peers = discover(&self.config.fleet).await?;
        if peers.is_empty() && self.leaders.is_empty() {
            return Err(nobody(&self.config.fleet));
        }
        let basis = match (&mut self.source, self.reference) {
            (Some(source), _) => Basis::Head(source.head(interrupt).await?),
            (None, Reference::Version(version)) => Basis::Version(version),
            (None, Reference::Leader) => Basis::Leader,
            (None, _) => Basis::Majority,
        };
        let asked = ask(peers, &self.leaders, &self.manners).await?;
        let mut report = judge(&asked, &basis, self.config.drift.grace, SystemTime::now());
        drop(asked);
        self.flaps.note(&mut report);
        let known = self.source.as_ref().and_then(|source| source.head.as_ref()).map(|(_, manifest)| manifest);
        compare(&mut report, known, &self.manners.client, self.manners.timeout).await;
        if let Some(remedies) = &mut self.remedies {
            remedies.ask(&mut report, &self.manners).await;
        }
        Ok(report)
    }

    /// Whether it is too early to tell: pods are not on a head that is new to this process and maybe to them. That ends a
    /// grace period after the first look, however often the head moves.
    pub fn is_early(&self, report: &Report) -> bool {
        let Some(begun) = self.source.as_ref().and_then(|source| source.heads.begun()) else { return false };
        let is_new = report.at.duration_since(begun).is_ok_and(|age| age < report.grace);
        let is_waited_for = |state| report.count(state) > 0;
        is_new && is_waited_for(State::Converging) && !report.pods.iter().any(|pod| pod.state.is_drift())
    }
}

impl Source {
    fn new(loaded: Loaded) -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("dagsync-drift-").tempdir();
        let folder = folder.map_err(|e| Error::io("create folder", std::env::temp_dir(), e))?;
        let config = alone(&loaded.config, folder.path());
        loaded.factory()?;
        Ok(Self { loaded, config, head: None, heads: Heads::default(), _folder: folder })
    }

    /// The newest that the source has.
    async fn head(&mut self, interrupt: &Interrupt) -> Result<Head> {
        let name = self.loaded.factory()?.name;
        let (strategy, progress) = (self.loaded.strategy()?, Progress::default());
        let report = daemon::bring(&self.config, name, strategy, progress, &Wake::default(), interrupt.token()).await?;
        self.heads.note(report.version, SystemTime::now());
        if let Some((head, _)) = self.head.as_mut().filter(|(head, _)| head.version == report.version) {
            head.revision = report.revision.to_string();
            return Ok(head.clone());
        }
        let (store, version) = (Store::from(&self.config), report.version);
        let read = move |_: &Interrupt| store.manifest(&version);
        let manifest = blocking(&Interrupt::never(), "read manifest", read).await?.ok_or_else(|| {
            Error::new(ErrorKind::Unexpected, "read manifest", format!("there is none of the head {version}"))
        })?;
        let filter_hash = Filter::new(&self.config.include, &self.config.exclude)?.hash().to_string();
        let head = Head { version, revision: report.revision.to_string(), filter_hash, heads: self.heads.clone() };
        self.head = Some((head.clone(), manifest));
        Ok(head)
    }
}

/// Nobody belongs to the fleet: because nobody is said to, or because all have gone, which passes.
fn nobody(fleet: &Fleet) -> Error {
    const OPERATION: &str = "find fleet";
    match fleet.is_known() {
        false => Error::new(ErrorKind::Config, OPERATION, "the fleet has no pods")
            .with_hint("name them in fleet.peers or with --peer, or set fleet.dns or fleet.kubernetes.selector"),
        true => Error::new(ErrorKind::NotFound, OPERATION, "nobody was found who runs, starts or ends")
            .retryable()
            .with_hint("all pods that match have ended; check where they are looked for"),
    }
}

/// The settings with which a source is brought and nothing else is done.
fn alone(config: &Config, root: &std::path::Path) -> Config {
    let mut config = config.clone();
    config.root = root.to_owned();
    config.target = Target { mode: TargetMode::Head, ..config.target };
    (config.pin_version, config.pin_revision) = (None, None);
    (config.touch_file, config.error_file) = (None, None);
    config.gate.command = None;
    config.exechook.command = None;
    (config.webhook.url, config.webhook.url_file) = Default::default();
    (config.keep.versions, config.keep.pinned) = (1, Vec::new());
    config.http.bind = None;
    config
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::KubernetesFleet;

    #[test]
    fn a_fleet_whose_pods_have_all_ended_is_no_wrong_configuration() {
        let error = nobody(&Fleet::default());
        assert_eq!((error.kind(), error.is_retryable()), (ErrorKind::Config, false));
        let kubernetes = KubernetesFleet { selector: "tier=airflow".into(), ..KubernetesFleet::default() };
        let dns = Fleet { dns: vec!["dagsync.airflow.".into()], ..Fleet::default() };
        for fleet in [Fleet { kubernetes, ..Fleet::default() }, dns] {
            let error = nobody(&fleet);
            assert_eq!((error.kind(), error.is_retryable()), (ErrorKind::NotFound, true));
        }
    }
}
