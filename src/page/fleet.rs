//! The whole fleet: who is on which version, and what differs.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, SystemTime};

use dagsync_core::{Change, Version, printable};
use maud::{Markup, html};
use tokio::sync::{Notify, watch};

use super::{ago, changes, version};

/// Versions that get a column; the others share one.
const COLUMNS: usize = 8;
/// Pods that are listed, those first that are not where most are.
const PODS: usize = 500;
/// Files that are listed of one version.
const FILES: usize = 100;
/// The longest that the first look waits.
const PATIENCE: Duration = Duration::from_secs(3);

/// What was found when the fleet was asked last.
#[derive(Debug, Clone)]
pub struct Fleet {
    /// When.
    pub at: SystemTime,
    /// Everybody, whether they answered or not.
    pub pods: Vec<FleetPod>,
    /// Why somebody may be missing here.
    pub problem: Option<String>,
    /// The files of each version that differ from those of the version that most pods are on, as far as somebody could
    /// be asked.
    pub differ: BTreeMap<Version, Vec<Change>>,
}

/// One pod.
#[derive(Debug, Clone)]
pub struct FleetPod {
    /// Its name.
    pub name: String,
    /// Its Airflow component; empty when that is not known.
    pub component: String,
    /// What it has published; `None` when it has nothing or did not answer.
    pub version: Option<Version>,
    /// Its state, or why it did not answer.
    pub state: String,
    /// Since when.
    pub since: Option<SystemTime>,
    /// It stands well, or is on the way there.
    pub is_well: bool,
}

/// Where whoever asks the fleet writes what was found, for the page, and hears that somebody looks. Cheap to clone.
#[derive(Debug, Clone)]
pub struct FleetBoard {
    shown: Arc<watch::Sender<Option<Arc<Fleet>>>>,
    looks: Arc<Notify>,
    is_kept: Arc<AtomicBool>,
}

impl Default for FleetBoard {
    fn default() -> Self {
        Self { shown: Arc::new(watch::Sender::new(None)), looks: Arc::default(), is_kept: Arc::default() }
    }
}

impl FleetBoard {
    /// Shows this from now on.
    pub fn show(&self, fleet: Fleet) {
        self.shown.send_replace(Some(Arc::new(fleet)));
    }

    /// Waits until somebody looks; from the first call on the board counts as kept.
    pub async fn looked_at(&self) {
        self.is_kept.store(true, Relaxed);
        self.looks.notified().await;
    }

    /// What was found last, for who looks: it is found anew meanwhile. The first time it is waited for, but not for long.
    /// Nothing where nobody keeps the board.
    pub async fn look(&self) -> Option<Arc<Fleet>> {
        if !self.is_kept.load(Relaxed) {
            return None;
        }
        self.looks.notify_one();
        let mut shown = self.shown.subscribe();
        let _ = tokio::time::timeout(PATIENCE, shown.wait_for(Option::is_some)).await;
        shown.borrow().clone()
    }
}

/// Versions, the one that most pods are on first.
fn ranked(fleet: &Fleet) -> Vec<(Version, usize)> {
    let mut counts = BTreeMap::new();
    for version in fleet.pods.iter().filter_map(|pod| pod.version) {
        *counts.entry(version).or_insert(0) += 1;
    }
    let mut ranked: Vec<_> = counts.into_iter().collect();
    ranked.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    ranked
}

pub(super) fn section(fleet: &Fleet, now: SystemTime) -> Markup {
    let ranked = ranked(fleet);
    let silent = fleet.pods.iter().filter(|pod| pod.version.is_none()).count();
    let unwell = fleet.pods.iter().filter(|pod| !pod.is_well && pod.version.is_some()).count();
    let verdict = match (ranked.len(), silent) {
        (0, 0) => ("odd", "nobody is known".to_owned()),
        (1, 0) if unwell > 0 => ("bad", format!("all on one version, but {unwell} not as it should be")),
        (1, 0) => ("good", "all on one version".to_owned()),
        (0 | 1, _) => ("odd", format!("{silent} without a version")),
        (versions, 0) => ("bad", format!("{versions} versions")),
        (versions, _) => ("bad", format!("{versions} versions, {silent} without one")),
    };
    html! {
        section.fleet {
            h2 { "Fleet" }
            p { (fleet.pods.len()) " pods, " strong class=(verdict.0) { (verdict.1) } ", asked " (ago(fleet.at, now)) }
            @if let Some(problem) = &fleet.problem { p.warning { (printable(problem)) } }
            (matrix(fleet, &ranked, silent))
            @for (other, _) in ranked.iter().skip(1) { (difference(fleet, other)) }
            (pods(fleet, ranked.first().map(|(version, _)| *version), now))
        }
    }
}

/// Components down, versions across, and how many pods of the one are on the other.
fn matrix(fleet: &Fleet, ranked: &[(Version, usize)], silent: usize) -> Markup {
    let shown = &ranked[..ranked.len().min(COLUMNS)];
    let mut rows: BTreeMap<&str, Vec<&FleetPod>> = BTreeMap::new();
    for pod in &fleet.pods {
        rows.entry(&pod.component).or_default().push(pod);
    }
    let on = |pods: &[&FleetPod], wanted: Option<Version>| pods.iter().filter(|pod| pod.version == wanted).count();
    let others = |pods: &[&FleetPod]| {
        pods.iter().filter(|pod| pod.version.is_some_and(|v| shown.iter().all(|(known, _)| *known != v))).count()
    };
    html! {
        div.wide { table.matrix {
            thead { tr {
                th { "Component" }
                @for (column, count) in shown { th { (version(column)) span.age { " × " (count) } } }
                @if ranked.len() > shown.len() { th { (ranked.len() - shown.len()) " others" } }
                @if silent > 0 { th { "none" span.age { " × " (silent) } } }
            } }
            tbody {
                @for (component, pods) in &rows {
                    tr {
                        th { @if component.is_empty() { "not known" } @else { (printable(component)) } }
                        @for (index, (column, _)) in shown.iter().enumerate() {
                            (cell(on(pods, Some(*column)), if index == 0 { "good" } else { "bad" }))
                        }
                        @if ranked.len() > shown.len() { (cell(others(pods), "bad")) }
                        @if silent > 0 { (cell(on(pods, None), "odd")) }
                    }
                }
            }
        } }
    }
}

fn cell(count: usize, tone: &str) -> Markup {
    html! { @if count == 0 { td {} } @else { td class=(tone) { (count) } } }
}

fn difference(fleet: &Fleet, other: &Version) -> Markup {
    let Some(found) = fleet.differ.get(other) else { return html! {} };
    let differ = if found.len() == 1 { " file differs" } else { " files differ" };
    html! {
        details {
            summary { (version(other)) ": " (found.len()) (differ) }
            (changes(&found[..found.len().min(FILES)]))
            @if found.len() > FILES { p { "and " (found.len() - FILES) " more" } }
        }
    }
}

fn pods(fleet: &Fleet, common: Option<Version>, now: SystemTime) -> Markup {
    let mut pods: Vec<&FleetPod> = fleet.pods.iter().collect();
    pods.sort_by(|a, b| {
        (a.version == common, &a.component, &a.name).cmp(&(b.version == common, &b.component, &b.name))
    });
    html! {
        details open[pods.len() <= 20] {
            summary { "Pods" }
            div.wide { table.pods {
                thead { tr { th { "Pod" } th { "Component" } th { "Version" } th { "State" } } }
                tbody {
                    @for pod in pods.iter().take(PODS) {
                        tr class=[(pod.version != common).then_some("apart")] {
                            td { (printable(&pod.name)) }
                            td { (printable(&pod.component)) }
                            td { @if let Some(known) = &pod.version { (version(known)) } @else { "none" } }
                            td { (printable(&pod.state)) @if let Some(since) = pod.since { " " span.age { "since " (ago(since, now)) } } }
                        }
                    }
                }
            } }
            @if pods.len() > PODS { p { "and " (pods.len() - PODS) " more" } }
        }
    }
}
