//! Which files differ: one manifest for each version, asked of a pod that is on it, and no more than two in memory.

use std::time::Duration;

use dagsync_core::{Manifest, Version};
use tokio::time::{Instant, timeout, timeout_at};

use super::report::{Difference, Report};
use crate::client::Client;
use crate::config::ClientSettings;

/// Versions that are compared; where there are more, who looks at their files is lost anyway.
const COMPARED: usize = 20;
/// Pods that are asked for the manifest of one version.
const TRIES: usize = 3;
/// Files of one version that are listed.
const LISTED: usize = 100;
/// The longest that all of it may take.
const BUDGET: Duration = Duration::from_secs(60);
const SLOW: &str = "the pods were too slow with their manifests";

/// Notes for each version how its files differ from the reference's. `known` is the reference's manifest where it need not
/// be asked for.
pub async fn compare(report: &mut Report, known: Option<&Manifest>, client: &ClientSettings, patience: Duration) {
    let Some(reference) = report.standard.candidates.first().map(|candidate| candidate.version) else { return };
    if !report.groups.iter().any(|group| group.version != reference) {
        return;
    }
    let deadline = Instant::now() + BUDGET;
    let fetched = match known {
        Some(_) => Ok(None),
        None => timeout_at(deadline, manifest(report, reference, client, patience))
            .await
            .map_or_else(|_| Err(SLOW.to_owned()), |found| found.map(Some)),
    };
    let base = fetched.as_ref().map(|fetched| known.or(fetched.as_ref()));
    let others: Vec<_> = report.groups.iter().map(|group| group.version).filter(|v| *v != reference).collect();
    for (n, version) in others.into_iter().enumerate() {
        let differs = match &base {
            _ if n >= COMPARED => Err(format!("not compared: only {COMPARED} versions are")),
            Err(why) => Err(format!("not compared: {why}")),
            Ok(base) => match timeout_at(deadline, manifest(report, version, client, patience)).await {
                Ok(Ok(other)) => Ok(difference(base.unwrap_or(&Manifest::default()), &other)),
                Ok(Err(why)) => Err(format!("not compared: {why}")),
                Err(_) => Err(format!("not compared: {SLOW}")),
            },
        };
        report.groups.iter_mut().filter(|g| g.version == version).for_each(|g| g.differs = Some(differs.clone()));
    }
}

fn difference(base: &Manifest, other: &Manifest) -> Difference {
    let mut files = base.diff(other);
    let count = files.len();
    files.truncate(LISTED);
    files.shrink_to_fit();
    Difference { count, files }
}

async fn manifest(
    report: &Report,
    version: Version,
    client: &ClientSettings,
    patience: Duration,
) -> Result<Manifest, String> {
    let holders = report.pods.iter().filter(|pod| pod.version == Some(version));
    let mut why = format!("no pod has the manifest of {}", version.short());
    for url in holders.filter_map(|pod| pod.address.as_deref()).take(TRIES) {
        let asked = async { Client::of_many(url, client)?.manifest(&version).await };
        match timeout(patience, asked).await {
            Ok(Ok(manifest)) => return Ok(manifest),
            Ok(Err(error)) => why = error.to_string(),
            Err(_) => why = format!("no manifest within {}", humantime::format_duration(patience)),
        }
    }
    Err(super::answer::clipped(&why))
}
