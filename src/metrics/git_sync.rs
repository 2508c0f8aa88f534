//! git-sync's own metrics, for dashboards and alerts that were made for it.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use dagsync_core::Outcome;

use super::info;

/// What a turn of the loop did, in git-sync's words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Turn {
    /// Something new was published, or it was the first success.
    Success,
    /// It failed.
    Error,
    /// There was nothing to do.
    Noop,
}

const STATUS: [&str; 3] = ["success", "error", "noop"];
const OUTCOMES: [Outcome; 2] = [Outcome::Success, Outcome::Error];
/// Operations of the tally that are hooks, and how git-sync calls them.
const HOOKS: &[(&str, &str)] = &[("exechook", "exechook"), ("webhook", "webhook"), ("gate", "pre-publish-exechook")];

/// How many turns there were and how long they took, by status.
#[derive(Debug, Clone, Default)]
pub(super) struct Turns(Arc<Mutex<[(u64, Duration); 3]>>);

impl Turns {
    pub(super) fn count(&self, turn: Turn, took: Duration) {
        let (count, sum) = &mut self.0.lock().unwrap_or_else(PoisonError::into_inner)[turn as usize];
        *count += 1;
        *sum = sum.saturating_add(took);
    }

    /// Appends the metrics in OpenMetrics text format. There a counter's series must end in `_total`; two of git-sync's
    /// do not, so they are of an unknown type.
    pub(super) fn encode(&self, text: &mut String, tally: &BTreeMap<(&'static str, Outcome), u64>) {
        let turns = *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let by_status = || STATUS.into_iter().zip(turns);
        let of = |operation: &'static str, outcome| tally.get(&(operation, outcome)).copied().unwrap_or_default();
        head(text, "git_sync_duration_seconds", "summary");
        for (status, (count, sum)) in by_status() {
            let _ = writeln!(text, "git_sync_duration_seconds_sum{{status=\"{status}\"}} {:?}", sum.as_secs_f64());
            let _ = writeln!(text, "git_sync_duration_seconds_count{{status=\"{status}\"}} {count}");
        }
        head(text, "git_sync_count_total", "counter");
        for (status, (count, _)) in by_status() {
            let _ = writeln!(text, "git_sync_count_total{{status=\"{status}\"}} {count}");
        }
        head(text, "git_fetch_count_total", "counter");
        let _ = writeln!(
            text,
            "git_fetch_count_total {}",
            OUTCOMES.map(|outcome| of("fetch", outcome)).iter().sum::<u64>()
        );
        for (name, operation) in
            [("git_sync_askpass_calls", "askpass"), ("git_sync_refresh_github_app_token_count", "github_app_token")]
        {
            head(text, name, "unknown");
            for outcome in OUTCOMES {
                let _ = writeln!(text, "{name}{{status=\"{}\"}} {}", outcome.as_str(), of(operation, outcome));
            }
        }
        head(text, "git_sync_hook_run_count_total", "counter");
        for (operation, name) in HOOKS {
            for outcome in OUTCOMES {
                let (status, count) = (outcome.as_str(), of(operation, outcome));
                let labels = format!("name=\"{name}\",status=\"{status}\"");
                let _ = writeln!(text, "git_sync_hook_run_count_total{{{labels}}} {count}");
            }
        }
    }
}

fn head(text: &mut String, name: &str, kind: &str) {
    let family = name.strip_suffix("_total").unwrap_or(name);
    let _ = writeln!(text, "# HELP {family} {}.\n# TYPE {family} {kind}", info(name).help);
}
