//! What a daemon says of itself, as far as it counts for a comparison. What is unknown, missing or malformed is passed
//! over, so that daemons of other releases can be compared; everything kept is bounded.

use std::hash::{Hash, Hasher};
use std::time::SystemTime;

use dagsync_core::{Change, ChangeKind, TreePath, Version};
use serde_json::Value as Json;

/// Characters of one text that are kept.
const TEXT: usize = 600;
/// Files and past versions that are kept.
const LISTED: usize = 100;

/// The status of one daemon.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Answer {
    /// The process's own name, which no other has; empty where it does not say.
    pub id: String,
    /// The pod's name, namespace, node and component.
    pub pod: String,
    /// See `pod`.
    pub namespace: String,
    /// See `pod`.
    pub node: String,
    /// See `pod`.
    pub component: String,
    /// The strategy's name.
    pub strategy: String,
    /// The source, without secrets.
    pub source: String,
    /// The hash of its globs.
    pub filter_hash: String,
    /// How it stands, by the name of [`crate::status::SyncState`].
    pub state: String,
    /// Since when.
    pub since: Option<SystemTime>,
    /// The published version.
    pub version: Option<Version>,
    /// The source's name for it.
    pub revision: Option<String>,
    /// Who says where it should be: a name of [`crate::config::TargetMode`].
    pub target_mode: String,
    /// Where it should be.
    pub target_version: Option<Version>,
    /// What the source calls that.
    pub target_revision: Option<String>,
    /// Why it does not know where that is.
    pub target_error: Option<String>,
    /// Since when it is not there.
    pub behind_since: Option<SystemTime>,
    /// The last error, until a sync succeeds.
    pub last_error: Option<String>,
    /// How the published version differs from its manifest.
    pub tampered: Vec<Change>,
    /// The versions that it was on, the newest first.
    pub timeline: Vec<Stay>,
}

/// By what tells answers of different pods and moments apart; equal ones are equal in all.
impl Hash for Answer {
    fn hash<H: Hasher>(&self, state: &mut H) {
        (&self.id, &self.pod, &self.state, self.version, self.since, &self.timeline).hash(state);
    }
}

/// A version that a pod came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Stay {
    /// When.
    pub from: SystemTime,
    /// The version.
    pub version: Version,
}

impl Answer {
    /// Whether that is how a daemon answers, of whatever release: everything else that speaks JSON is none.
    pub fn is_status(json: &Json) -> bool {
        let is_version = |json: &Json| json.is_null() || version(json).is_some();
        text(&json["state"]).is_some() && json.get("version").is_some_and(is_version)
    }

    /// Reads the JSON of `/v1/status`.
    pub fn read(json: &Json) -> Self {
        let (word, target) = (|key: &str| text(&json[key]).unwrap_or_default(), &json["target"]);
        let (version, since) = (version(&json["version"]), time(&json["since"]));
        Self {
            id: word("id"),
            pod: word("pod"),
            namespace: word("namespace"),
            node: word("node"),
            component: word("component"),
            strategy: word("strategy"),
            source: word("source"),
            filter_hash: word("filter_hash"),
            state: word("state"),
            since,
            version,
            revision: text(&json["revision"]),
            target_mode: text(&target["mode"]).unwrap_or_default(),
            target_version: self::version(&target["version"]),
            target_revision: text(&target["revision"]),
            target_error: text(&target["error"]),
            behind_since: time(&json["behind_since"]),
            last_error: text(&json["last_error"]["message"]),
            tampered: list(&json["tampered"]).filter_map(change).collect(),
            timeline: timeline(json, version, time(&json["published_at"]).or(since)),
        }
    }
}

/// The history, and in front of it what is current where the history does not know it: a restart forgets it.
fn timeline(json: &Json, version: Option<Version>, published_at: Option<SystemTime>) -> Vec<Stay> {
    let stay = |flip: &Json| Some(Stay { from: time(&flip["at"])?, version: self::version(&flip["version"])? });
    let mut stays: Vec<_> = list(&json["history"]).filter_map(stay).collect();
    stays.sort_by_key(|stay| std::cmp::Reverse(stay.from));
    if let (Some(version), Some(from)) = (version, published_at)
        && stays.first().is_none_or(|newest| newest.version != version)
    {
        let from = stays.first().map_or(from, |newest| from.max(newest.from));
        stays.insert(0, Stay { from, version });
    }
    stays
}

fn list(json: &Json) -> impl Iterator<Item = &Json> {
    json.as_array().map(Vec::as_slice).unwrap_or_default().iter().take(LISTED)
}

fn text(json: &Json) -> Option<String> {
    let text = json.as_str().filter(|text| !text.is_empty())?;
    Some(clipped(text))
}

/// The first characters of `text`.
pub(super) fn clipped(text: &str) -> String {
    match text.char_indices().nth(TEXT) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

fn version(json: &Json) -> Option<Version> {
    json.as_str()?.parse().ok()
}

fn time(json: &Json) -> Option<SystemTime> {
    humantime::parse_rfc3339_weak(json.as_str()?).ok()
}

fn change(json: &Json) -> Option<Change> {
    let kinds = [ChangeKind::Added, ChangeKind::Removed, ChangeKind::Modified];
    let change = kinds.into_iter().find(|kind| json["change"] == kind.as_str())?;
    Some(Change { path: TreePath::new(json["path"].as_str()?).ok()?, change })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn whatever_a_daemon_answers_is_read_as_far_as_it_makes_sense() {
        for odd in
            [json!({}), json!([]), json!(1), json!({"version": 7, "target": "x", "tampered": {"a": 1}, "since": ""})]
        {
            assert_eq!(Answer::read(&odd), Answer::default(), "{odd}");
        }
        let long = "ü".repeat(5_000);
        let answer = Answer::read(&json!({"pod": long, "future": {"field": []}, "tampered": [
            {"path": "a.py", "change": "modified"}, {"path": "../b", "change": "added"}, {"path": "c", "change": "odd"}]}));
        assert_eq!(answer.pod.chars().count(), TEXT + 1);
        assert_eq!(answer.tampered.len(), 1);
        let many = vec![json!({"path": "a.py", "change": "added"}); 5_000];
        assert_eq!(Answer::read(&json!({"tampered": many})).tampered.len(), LISTED);
    }

    #[test]
    fn what_is_no_status_is_not_taken_for_one() {
        let hash = format!("sha256:{}", "a".repeat(64));
        for odd in [
            json!({}),
            json!([]),
            json!({"status": "ok", "version": "1.2.3"}),
            json!({"state": "running", "version": "1.2.3"}),
            json!({"state": "", "version": null}),
            json!({"state": "converged"}),
        ] {
            assert!(!Answer::is_status(&odd), "{odd}");
        }
        for good in [json!({"state": "starting", "version": null}), json!({"state": "future", "version": hash})] {
            assert!(Answer::is_status(&good), "{good}");
        }
    }

    #[test]
    fn a_restart_does_not_hide_what_is_current() {
        let (a, b) = (format!("sha256:{}", "a".repeat(64)), format!("sha256:{}", "b".repeat(64)));
        let at = |minute: u64| format!("2026-11-24T08:{minute:02}:00Z");
        let read = |json: Json| Answer::read(&json).timeline;
        let history = json!([{"version": a, "at": at(5)}, {"version": b, "at": at(1)}]);
        assert_eq!(read(json!({"version": a, "published_at": at(5), "history": history})).len(), 2);
        let stays = read(json!({"version": b, "published_at": at(9), "history": history}));
        assert_eq!((stays.len(), stays[0].version.to_string()), (3, b.clone()));
        assert_eq!(read(json!({"version": b, "since": at(9)})).len(), 1);
    }
}
