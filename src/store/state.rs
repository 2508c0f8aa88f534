//! What the store remembers besides the trees: revisions and times. Everything in it can be lost.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use dagsync_core::{Revision, fs};
use humantime_serde::Serde;
use serde::{Deserialize, Serialize};

use super::FolderName;

const FORMAT: u32 = 1;
const STATE_MAX: u64 = 16 << 20;

/// The contents of `state.json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct State {
    /// The layout of this file.
    pub format: u32,
    /// The folder that the link points to.
    pub current: Option<FolderName>,
    /// The source's newest revision whose content is that of `current`.
    pub revision: Option<Revision>,
    /// The strategy that brought it.
    pub strategy: String,
    /// The source, without secrets.
    pub source: String,
    /// The filter under which it was brought.
    pub filter_hash: String,
    /// Every folder of a published tree.
    pub folders: BTreeMap<FolderName, FolderState>,
    /// Where the link is, relative to the root if it lies in it.
    #[serde(default)]
    pub link: PathBuf,
    /// Trees that git-sync left, by their commits, and since when they may go.
    #[serde(default)]
    pub git_sync: BTreeMap<String, Serde<SystemTime>>,
}

/// What is known of one folder.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FolderState {
    /// The revision that it was first published for.
    pub revision: Option<Revision>,
    /// When it became current.
    #[serde(with = "humantime_serde")]
    pub published_at: SystemTime,
    /// When another became current instead.
    #[serde(with = "humantime_serde", default)]
    pub retired_at: Option<SystemTime>,
}

impl FolderState {
    /// What can be known of a folder that is not current.
    pub(super) const fn retired(now: SystemTime) -> Self {
        Self { revision: None, published_at: now, retired_at: Some(now) }
    }
}

impl State {
    /// The state as it was saved; `None` when it is missing, damaged or of another format.
    pub fn load(path: &Path) -> Option<Self> {
        let bytes = fs::read(path, STATE_MAX).ok().flatten()?;
        let state = serde_json::from_slice::<Self>(&bytes);
        if let Err(error) = &state {
            tracing::warn!(state = %path.display(), %error, "rebuilding a damaged state file");
        }
        state.ok().filter(|state| state.format == FORMAT)
    }

    /// What can be known without the file.
    pub(super) fn rebuilt(folders: Vec<FolderName>, current: Option<FolderName>, now: SystemTime) -> Self {
        let mut state = Self {
            format: FORMAT,
            current: None,
            revision: None,
            strategy: String::new(),
            source: String::new(),
            filter_hash: String::new(),
            folders: folders.into_iter().map(|name| (name, FolderState::retired(now))).collect(),
            link: PathBuf::new(),
            git_sync: BTreeMap::new(),
        };
        state.adopt(current, now);
        state
    }

    /// Makes `current` what the link says, which is the truth.
    pub(super) fn adopt(&mut self, current: Option<FolderName>, now: SystemTime) {
        if current != self.current {
            self.revision = current.as_ref().and_then(FolderName::revision);
            self.make_current(current, now);
        } else if let Some(folder) = current.and_then(|name| self.folders.get_mut(&name)) {
            folder.retired_at = None;
        }
    }

    /// Moves the record of what is current; the one before counts as retired from `now`.
    pub(super) fn make_current(&mut self, name: Option<FolderName>, now: SystemTime) {
        for folder in self.folders.values_mut() {
            folder.retired_at.get_or_insert(now);
        }
        if let Some(name) = &name {
            let fresh = FolderState { revision: None, published_at: now, retired_at: None };
            self.folders.entry(name.clone()).or_insert(fresh).retired_at = None;
        }
        self.current = name;
    }

    pub(super) fn to_json(&self) -> Vec<u8> {
        let mut json = serde_json::to_vec_pretty(self).expect("the state has only text keys");
        json.push(b'\n');
        json
    }
}
