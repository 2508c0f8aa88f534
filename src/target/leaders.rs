//! The daemons that this one follows. Each is asked with a long poll, so that this pod moves right after them.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};

use dagsync_core::{Error, ErrorKind, Interrupt, Result, Revision, Version, blocking, printable};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::{Aim, Goal};
use crate::client::{Client, Lead};
use crate::config::{ClientSettings, Config, Fallback, redact_url};
use crate::engine::Backoff;
use crate::status;

/// The longest that a question stays open.
const WAIT: Duration = Duration::from_secs(30);
/// The longest between two questions that were not answered.
const RETRY: Duration = Duration::from_secs(5);
/// The least between two questions that were answered at once.
const PAUSE: Duration = Duration::from_secs(1);
/// How long the first sync waits for the others after one has answered.
const LAGGARDS: Duration = Duration::from_secs(5);

/// Told what was heard, and whether it is news.
pub(super) type Heard = dyn Fn(bool) + Send + Sync;

/// Some daemons, what they said last, and what to do when they say nothing.
#[derive(Debug)]
pub struct Leaders {
    urls: Vec<String>,
    client: ClientSettings,
    fallback: Fallback,
    after: Duration,
    strategy: String,
    filter_hash: String,
    started: Instant,
    slots: watch::Sender<Vec<Slot>>,
    /// What was said of a fallback last, so that it is logged once.
    noted: AtomicBool,
}

/// What is known of one leader.
#[derive(Debug, Clone, Default)]
struct Slot {
    /// What it said last, and when.
    said: Option<(Lead, Instant)>,
    /// Why it did not answer last.
    error: Option<String>,
    /// It was asked.
    asked: bool,
}

/// What follows from what the leaders say.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Word {
    /// All agree.
    Agreed(Lead),
    /// They contradict each other; who says what.
    Split(Vec<(String, Version)>),
    /// Nobody answers; why.
    Silence(Vec<String>),
}

impl Leaders {
    pub(super) fn new(config: &Config, strategy: &str, filter_hash: &str) -> Result<Self> {
        let urls = config.target.leaders();
        for url in &urls {
            Client::new(url, &ClientSettings::default()).map_err(|e| e.with_context("setting", "target.leader"))?;
        }
        Ok(Self {
            client: config.client.clone(),
            fallback: config.target.fallback,
            after: config.target.fallback_after,
            strategy: strategy.to_owned(),
            filter_hash: filter_hash.to_owned(),
            started: Instant::now(),
            slots: watch::Sender::new(vec![Slot::default(); urls.len()]),
            noted: AtomicBool::new(false),
            urls,
        })
    }

    /// Listens to each until `token` is cancelled, and says what it hears, with whether that is news.
    pub(super) fn watch(self: &Arc<Self>, heard: Arc<Heard>, token: &CancellationToken) {
        for index in 0..self.urls.len() {
            let (leaders, heard, token) = (self.clone(), heard.clone(), token.clone());
            tokio::spawn(async move {
                tokio::select! {
                    () = leaders.listen(index, &*heard) => {}
                    () = token.cancelled() => {}
                }
            });
        }
    }

    async fn listen(&self, index: usize, heard: &Heard) {
        let backoff = Backoff { initial: PAUSE, max: RETRY, jitter: 0.2 };
        let (mut failures, mut hasty, mut overdue, mut client) = (0, 0, false, None);
        let mut last: Option<Lead> = None;
        loop {
            let start = Instant::now();
            let asked = self.ask(index, &mut client, last.as_ref().map(|lead| &lead.version)).await;
            let is_other = asked.as_ref().is_ok_and(|lead| last.as_ref() != Some(lead));
            let is_news = is_other || (failures == 0) != asked.is_ok();
            // One that answers at once again and again does not know how to wait, or is two with one name.
            hasty = if asked.is_ok() && start.elapsed() < PAUSE { hasty + 1 } else { 0 };
            let were_silent = failures > 0;
            if let Err(error) = &asked {
                // Certificates may have been renewed since.
                client = None;
                failures += 1;
                if failures == 1 {
                    tracing::warn!(%error, "a leader does not answer");
                }
            } else {
                if were_silent {
                    tracing::info!(leader = redact_url(&self.urls[index]), "the leader answers again");
                }
                failures = 0;
            }
            last = asked.as_ref().ok().cloned().or(last);
            self.note(index, asked);
            let was_overdue = std::mem::replace(&mut overdue, self.is_overdue());
            heard(is_news || was_overdue != overdue);
            match (failures, hasty) {
                (0, 0 | 1) => {}
                (0, hasty) => {
                    let patience = Backoff { max: WAIT, ..backoff };
                    tokio::time::sleep(patience.after(hasty - 1, fastrand::f64())).await;
                }
                (failures, _) => tokio::time::sleep(backoff.after(failures, fastrand::f64())).await,
            }
        }
    }

    async fn ask(&self, index: usize, client: &mut Option<Client>, after: Option<&Version>) -> Result<Lead> {
        let client = match client {
            Some(client) => client,
            None => client.insert(self.client(index).await?),
        };
        client.lead(after, WAIT).await
    }

    async fn client(&self, index: usize) -> Result<Client> {
        let (url, settings) = (self.urls[index].clone(), self.client.clone());
        blocking(&Interrupt::never(), "read certificates", move |_| Client::new(&url, &settings)).await
    }

    fn note(&self, index: usize, asked: Result<Lead>) {
        self.slots.send_modify(|slots| {
            let slot = &mut slots[index];
            slot.asked = true;
            match asked {
                Ok(lead) => (slot.said, slot.error) = (Some((lead, Instant::now())), None),
                Err(error) => {
                    if let (Some((_, at)), None) = (&mut slot.said, &slot.error) {
                        // Until now its connection was open.
                        *at = Instant::now();
                    }
                    slot.error = Some(error.to_string());
                }
            }
        });
    }

    pub(super) async fn aim(&self, interrupt: &Interrupt) -> Result<Aim> {
        interrupt.guard("ask leader", self.first_answers()).await?;
        self.decide()
    }

    /// What follows from what was heard.
    pub(super) fn decide(&self) -> Result<Aim> {
        let word = self.word();
        let follows_the_source =
            matches!(word, Word::Silence(_)) && self.fallback == Fallback::Head && self.is_overdue();
        match (self.noted.swap(follows_the_source, Relaxed), follows_the_source) {
            (false, true) => tracing::warn!("no leader has answered for long: following the source"),
            (true, false) => tracing::info!("a leader answers again: following it"),
            _ => {}
        }
        match word {
            _ if follows_the_source => Ok(Aim::Newest),
            Word::Agreed(lead) if lead.via.iter().any(|id| id == status::id()) => {
                Err(Error::new(ErrorKind::Config, "ask leader", "the leader is this very pod, or follows it")
                    .with_context("leader", self.names().join(", "))
                    .with_hint("one pod has to lead: give it target.mode head"))
            }
            Word::Agreed(lead) if lead.filter_hash != self.filter_hash => Err(Error::new(
                ErrorKind::Config,
                "ask leader",
                "the leader reads its tree under other globs, so its version cannot be this pod's",
            )
            .with_context("leader", self.names().join(", "))
            .with_hint("give both the same include and exclude")),
            Word::Agreed(lead) => {
                let revision = lead.revision.filter(|_| lead.strategy == self.strategy);
                Ok(Aim::Exactly(Goal { version: Some(lead.version), revision, by: self.names().join(", ") }))
            }
            Word::Split(said) => {
                let said: Vec<_> = said.iter().map(|(who, version)| format!("{who} is on {version}")).collect();
                Err(Error::new(ErrorKind::Mismatch, "ask leaders", format!("they disagree: {}", said.join(", ")))
                    .retryable()
                    .with_hint("what is published stays until they agree; see `dagsync drift`"))
            }
            Word::Silence(why) => {
                Err(Error::new(ErrorKind::Unreachable, "ask leader", format!("no answer: {}", why.join("; ")))
                    .retryable()
                    .with_hint("what is published stays; `target.fallback` says what to do when this lasts"))
            }
        }
    }

    /// What the source calls a version, as one of them remembers.
    pub(super) async fn name_of(&self, version: &Version, interrupt: &Interrupt) -> Option<Revision> {
        for index in 0..self.urls.len() {
            let ask = async { self.client(index).await?.known(version).await };
            let asked = interrupt.guard("ask for revision", async { Ok(tokio::time::timeout(LAGGARDS, ask).await) });
            match asked.await {
                Ok(Ok(Ok(lead))) if lead.strategy == self.strategy => return lead.revision,
                Ok(Ok(Err(error))) => tracing::debug!(%error, "a leader does not know the pinned version"),
                _ => {}
            }
        }
        None
    }

    /// Waits until every leader was asked once; after one has answered, not for long.
    async fn first_answers(&self) -> Result<()> {
        let mut slots = self.slots.subscribe();
        let _ = slots.wait_for(|slots| slots.iter().any(|slot| slot.said.is_some()) || all_asked(slots)).await;
        let _ = tokio::time::timeout(LAGGARDS, slots.wait_for(|slots| all_asked(slots))).await;
        Ok(())
    }

    fn word(&self) -> Word {
        word(&self.slots.borrow(), &self.names(), self.after)
    }

    /// Who is listened to, without secrets.
    pub(super) fn names(&self) -> Vec<String> {
        self.urls.iter().map(|url| redact_url(url)).collect()
    }

    /// What the status says of each.
    pub(super) fn shown(&self) -> Vec<status::Leader> {
        let shown = |(slot, url): (&Slot, String)| status::Leader {
            url,
            version: slot.said.as_ref().map(|(lead, _)| lead.version),
            error: slot.error.clone(),
        };
        self.slots.borrow().iter().zip(self.names()).map(shown).collect()
    }

    /// Those whose word counts, and whom they follow.
    pub(super) fn via(&self) -> Vec<String> {
        if let Word::Agreed(lead) = self.word() { lead.via } else { Vec::new() }
    }

    pub(super) fn is_heard(&self) -> bool {
        self.slots.borrow().iter().any(|slot| slot.said.is_some() && slot.error.is_none())
    }

    pub(super) fn gives_up(&self) -> bool {
        self.fallback == Fallback::Fail && self.is_overdue() && matches!(self.word(), Word::Silence(_))
    }

    /// Whether nothing was heard for so long that the fallback counts.
    fn is_overdue(&self) -> bool {
        let slots = self.slots.borrow();
        let heard = slots.iter().filter_map(|slot| slot.said.as_ref().map(|(_, at)| *at)).max();
        heard.unwrap_or(self.started).elapsed() >= self.after
    }
}

fn all_asked(slots: &[Slot]) -> bool {
    slots.iter().all(|slot| slot.asked)
}

/// Those who answer count; while none does, what they said within `after`.
fn word(slots: &[Slot], names: &[String], after: Duration) -> Word {
    let said = |is_counted: &dyn Fn(&Slot, Instant) -> bool| -> Vec<(String, Lead)> {
        let with = slots.iter().zip(names).filter_map(|(slot, name)| Some((slot, name, slot.said.as_ref()?)));
        with.filter(|(slot, _, (_, at))| is_counted(slot, *at))
            .map(|(_, name, (lead, _))| (name.clone(), lead.clone()))
            .collect()
    };
    let mut counted = said(&|slot, _| slot.error.is_none());
    if counted.is_empty() {
        counted = said(&|_, at| at.elapsed() < after);
    }
    let versions: BTreeSet<_> = counted.iter().map(|(_, lead)| lead.version).collect();
    match versions.len() {
        0 => {
            let why = slots.iter().zip(names).map(|(slot, name)| match &slot.error {
                Some(error) => error.clone(),
                None => format!("{} has not answered yet", printable(name)),
            });
            Word::Silence(why.collect())
        }
        1 => Word::Agreed(counted.swap_remove(0).1),
        _ => Word::Split(counted.into_iter().map(|(name, lead)| (name, lead.version)).collect()),
    }
}
