//! Where this pod should be: at the source's newest, at a pin, or where a leader is.

mod leaders;

use std::sync::Arc;

use dagsync_core::{Error, ErrorKind, Interrupt, Result, Revision, Version};
use tokio_util::sync::CancellationToken;

use crate::config::{Config, TargetMode};
use crate::engine::Wake;
use crate::status::{self, StatusBoard};

use leaders::Leaders;

/// What a sync is to bring.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Aim {
    /// Whatever the source offers.
    Newest,
    /// This and nothing else.
    Exactly(Goal),
}

/// One certain state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Goal {
    /// Its version; `None` for a pin that names a revision alone, which is believed.
    pub version: Option<Version>,
    /// What this pod's strategy may call it.
    pub revision: Option<Revision>,
    /// Who says so.
    pub by: String,
}

/// Who says where this pod should be.
#[derive(Debug, Clone)]
pub enum Target {
    /// The source.
    Head,
    /// The user; other daemons may know what the source calls it.
    Pin(Goal, Option<Arc<Leaders>>),
    /// Other daemons.
    Leader(Arc<Leaders>),
}

impl Target {
    /// The target that is configured for a pod whose strategy is called `strategy` and whose globs have this hash.
    ///
    /// # Errors
    /// [`ErrorKind::Config`] when the settings contradict each other.
    pub fn new(config: &Config, strategy: &str, filter_hash: &str) -> Result<Self> {
        let wrong = |message: &str| Error::new(ErrorKind::Config, "read settings", message);
        let Config { pin_version: version, pin_revision: revision, target, .. } = config;
        if version.is_some() || revision.is_some() {
            if target.mode == TargetMode::Leader {
                tracing::info!("pinned: the leader is not asked");
            }
            let by = if version.is_some() { "pin_version" } else { "pin_revision" };
            let goal = Goal { version: *version, revision: revision.clone(), by: by.to_owned() };
            let leaders = match target.leader.is_empty() {
                true => None,
                false => Some(Arc::new(Leaders::new(config, strategy, filter_hash)?)),
            };
            return Ok(Self::Pin(goal, leaders));
        }
        match target.mode {
            TargetMode::Head => {
                if !target.leader.is_empty() {
                    tracing::warn!("target.leader is set, but target.mode is head: nobody is followed");
                }
                Ok(Self::Head)
            }
            TargetMode::Pin => Err(wrong("target.mode is pin, but nothing is pinned")
                .with_hint("set pin_version, or pin_revision, or both")),
            TargetMode::Leader if target.leader.is_empty() => {
                Err(wrong("target.mode is leader, but target.leader names none")
                    .with_hint("set it to the URL of a daemon, such as http://airflow-scheduler:8466"))
            }
            TargetMode::Leader => Ok(Self::Leader(Arc::new(Leaders::new(config, strategy, filter_hash)?))),
        }
    }

    /// Who says it.
    pub const fn mode(&self) -> TargetMode {
        match self {
            Self::Head => TargetMode::Head,
            Self::Pin(..) => TargetMode::Pin,
            Self::Leader(_) => TargetMode::Leader,
        }
    }

    /// Listens to the leaders until `token` is cancelled, and wakes the loop whenever one of them moves.
    pub fn watch(&self, board: &StatusBoard, wake: &Wake, token: &CancellationToken) {
        let Self::Leader(leaders) = self else { return };
        let (target, board, wake) = (self.clone(), board.clone(), wake.clone());
        let heard = move |is_news| {
            if let Self::Leader(leaders) = &target {
                target.show(&leaders.decide(), &board);
            }
            if is_news {
                wake.wake();
            }
        };
        leaders.watch(Arc::new(heard), token);
    }

    /// What the next sync is to bring.
    ///
    /// # Errors
    /// The leaders do not answer, contradict each other, or cannot be compared with.
    pub async fn aim(&self, interrupt: &Interrupt) -> Result<Aim> {
        match self {
            Self::Head => Ok(Aim::Newest),
            Self::Pin(goal, _) => Ok(Aim::Exactly(goal.clone())),
            Self::Leader(leaders) => leaders.aim(interrupt).await,
        }
    }

    /// What the source of this pod's strategy calls the version of a pin, if a leader remembers.
    pub async fn name_of(&self, goal: &Goal, interrupt: &Interrupt) -> Option<Revision> {
        match (self, goal.version, &goal.revision) {
            (_, _, Some(revision)) => Some(revision.clone()),
            (Self::Pin(_, Some(leaders)), Some(version), None) => leaders.name_of(&version, interrupt).await,
            _ => None,
        }
    }

    /// Whether it is time to give up, as `target.fallback` says.
    pub fn gives_up(&self) -> bool {
        matches!(self, Self::Leader(leaders) if leaders.gives_up())
    }

    /// Writes into the status what came of asking. What is known stays as long as nobody says otherwise.
    pub fn show(&self, aim: &Result<Aim>, board: &StatusBoard) {
        let shown = self.shown(aim);
        board.update(|status| {
            let known = std::mem::replace(&mut status.target, shown);
            if !matches!(aim, Ok(Aim::Exactly(_))) {
                (status.target.version, status.target.revision) = (known.version, known.revision);
            }
        });
    }

    fn shown(&self, aim: &Result<Aim>) -> status::Target {
        let mut shown = status::Target::new(self.mode());
        match aim {
            Ok(Aim::Newest) => {}
            Ok(Aim::Exactly(goal)) => {
                shown.version = goal.version;
                shown.revision.clone_from(&goal.revision);
            }
            Err(error) => shown.error = Some(error.to_string()),
        }
        if let Self::Leader(leaders) = self {
            shown.leaders = leaders.shown();
            shown.leader_up = Some(leaders.is_heard());
            shown.via = leaders.via();
        }
        shown
    }
}
