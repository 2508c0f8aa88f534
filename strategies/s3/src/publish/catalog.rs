//! What is published: listing versions, and removing what is no longer of use.

use std::collections::{HashMap, HashSet};
use std::time::{Duration, SystemTime};

use dagsync_core::{Error, ErrorKind, Result, Version};
use futures::{StreamExt as _, TryStreamExt as _, stream};

use super::{Pointer, Publisher};
use crate::listing::{self, Decoder};
use crate::published;
use crate::record::{BLOBS, Hex, PACKS, POINTER, PROBES, Record, VERSIONS, is_part};
use crate::requests::Requests;

/// Objects of a published prefix at the most.
const MAX_OBJECTS: usize = 1_000_000;

/// A version that was published.
#[derive(Debug, Clone, serde::Serialize)]
pub struct Release {
    /// What it is made of.
    #[serde(flatten)]
    pub record: Record,
    /// Whether the pointer points to it.
    pub is_current: bool,
}

/// What stays when old versions are removed.
#[derive(Debug, Clone, Copy)]
pub struct Keep {
    /// The newest so many, the current one included.
    pub versions: usize,
    /// All that were written within this time; also what no version names, for it may be of one that is being published.
    pub age: Duration,
}

/// What was removed, or would be.
#[derive(Debug, Clone, Default, serde::Serialize)]
pub struct Swept {
    /// Versions.
    pub versions: Vec<Version>,
    /// Objects, records and manifests included.
    pub objects: u64,
    /// Their bytes.
    pub bytes: u64,
}

/// An object as it was listed.
#[derive(Debug, Clone, Copy)]
struct Found {
    size: u64,
    modified: SystemTime,
}

type Objects = HashMap<String, Found>;

impl Publisher {
    /// All versions, the newest first.
    pub async fn list(&self) -> Result<Vec<Release>> {
        let current = Pointer::read(&self.requests).await?.version();
        let objects = objects(&self.requests, VERSIONS).await?;
        self.releases(&objects, current).await
    }

    async fn releases(&self, objects: &Objects, current: Option<Version>) -> Result<Vec<Release>> {
        let read = |version: Version| async move {
            match published::record(&self.requests, &version).await {
                Ok(record) => Ok(Some(Release { is_current: current == Some(version), record })),
                // Removed since it was listed.
                Err(e) if matches!(e.kind(), ErrorKind::Changed | ErrorKind::NotFound) => Ok(None),
                Err(e) => Err(e),
            }
        };
        let versions: Vec<_> = objects.keys().filter_map(|name| version_of(name)).collect();
        let concurrency = self.requests.bucket.settings.concurrency;
        let found: Vec<_> = stream::iter(versions).map(read).buffer_unordered(concurrency).try_collect().await?;
        let mut releases: Vec<Release> = found.into_iter().flatten().collect();
        let written =
            |release: &Release| objects.get(&Record::key_of(&release.record.version)).map(|found| found.modified);
        releases.sort_by_key(|release| std::cmp::Reverse((written(release), release.record.version)));
        Ok(releases)
    }

    /// Removes old versions and what no version names.
    pub async fn prune(&self, keep: Keep, dry_run: bool) -> Result<Swept> {
        let pointer = Pointer::read(&self.requests).await?.record.ok_or_else(|| {
            let message =
                format!("{}: nothing is published there, so nothing says what is of use", self.requests.location());
            Error::new(ErrorKind::NotFound, "prune", message).with_hint("check the prefix; publish a version first")
        })?;
        let current = pointer.version;
        let objects = objects(&self.requests, "").await?;
        let releases = self.releases(&objects, Some(current)).await?;
        let (mut kept, old) = self.divide(releases, &objects, keep);
        // Whether its own record is there or not: the pointer has all that it says.
        kept.push(pointer);
        let doomed = doomed(&objects, &kept, keep.age);
        let bytes = doomed.iter().map(|name| objects[*name].size).sum();
        let swept = Swept { versions: old, objects: doomed.len() as u64, bytes };
        if dry_run {
            return Ok(swept);
        }
        self.check_still(current, &objects).await?;
        self.progress.start("remove", doomed.len() as u64);
        // Records first: a version that is named must be whole.
        let (records, others): (Vec<_>, Vec<_>) = doomed.into_iter().partition(|name| name.starts_with(VERSIONS));
        for names in [records, others] {
            let remove = |name: String| async move {
                self.requests.delete(&self.requests.location().key(&name)).await?;
                self.progress.add(1, 0);
                Ok::<_, Error>(())
            };
            let concurrency = self.requests.bucket.settings.concurrency;
            stream::iter(names.into_iter().cloned().collect::<Vec<_>>())
                .map(remove)
                .buffer_unordered(concurrency)
                .try_collect::<()>()
                .await?;
        }
        Ok(swept)
    }

    /// Which versions stay, and which go.
    fn divide(&self, releases: Vec<Release>, objects: &Objects, keep: Keep) -> (Vec<Record>, Vec<Version>) {
        let (mut kept, mut old) = (Vec::new(), Vec::new());
        for release in releases {
            let name = Record::key_of(&release.record.version);
            let room = kept.len() + usize::from(!release.is_current && !kept.iter().any(|(_, current)| *current))
                < keep.versions;
            let is_young = objects.get(&name).is_none_or(|found| found.is_younger(keep.age));
            match release.is_current || room || is_young {
                true => kept.push((release.record, release.is_current)),
                false => old.push(release.record.version),
            }
        }
        (kept.into_iter().map(|(record, _)| record).collect(), old)
    }

    /// Somebody who publishes meanwhile may build on what is about to go.
    async fn check_still(&self, current: Version, before: &Objects) -> Result<()> {
        let pointer = Pointer::read(&self.requests).await?.version();
        let now = objects(&self.requests, VERSIONS).await?;
        let is_same =
            |(name, found): (&String, &Found)| before.get(name).is_some_and(|old| old.modified == found.modified);
        if pointer == Some(current) && now.iter().all(is_same) {
            return Ok(());
        }
        let message = format!("{}: somebody published while it was looked through", self.requests.location());
        Err(Error::new(ErrorKind::Changed, "prune", message).with_hint("nothing was removed; prune again"))
    }
}

impl Found {
    fn is_younger(&self, age: Duration) -> bool {
        // A clock that is behind the server's makes everything young.
        !age.is_zero() && SystemTime::now().duration_since(self.modified).map_or(true, |passed| passed <= age)
    }
}

/// What is of no kept version and is not young. What has a name of nobody's stays.
fn doomed<'a>(objects: &'a Objects, kept: &[Record], age: Duration) -> Vec<&'a String> {
    let mut used: HashSet<String> = HashSet::from([POINTER.to_owned()]);
    for record in kept {
        used.insert(Record::key_of(&record.version));
        used.insert(Record::manifest_key(&record.version));
        used.extend(record.packs.iter().map(|pack| format!("{PACKS}{}", pack.id.0)));
        used.extend(record.blobs.iter().map(|Hex(digest)| format!("{BLOBS}{digest}")));
    }
    let goes = |name: &&String| is_ours(name) && !used.contains(*name) && !objects[*name].is_younger(age);
    let mut doomed: Vec<_> = objects.keys().filter(goes).collect();
    doomed.sort_unstable();
    doomed
}

/// Whether a publisher wrote it: what merely lies in a folder of that name is somebody else's.
fn is_ours(name: &str) -> bool {
    name == POINTER || name.starts_with(PROBES) || is_part(name)
}

fn version_of(name: &str) -> Option<Version> {
    name.strip_prefix(VERSIONS)?.strip_suffix(".json")?.parse().ok()
}

/// An object below the prefix that no publisher wrote, for people.
pub(super) async fn foreign(requests: &Requests) -> Result<Option<String>> {
    let is_foreign = |name: &&String| !is_ours(name) && !name.is_empty() && !name.ends_with('/');
    Ok(objects(requests, "").await?.keys().find(is_foreign).map(|name| requests.location().show(name)))
}

/// Every object whose name below the prefix starts with `start`.
async fn objects(requests: &Requests, start: &str) -> Result<Objects> {
    let location = requests.location();
    let prefix = location.key(start);
    let mut objects = Objects::new();
    let mut token: Option<String> = None;
    loop {
        let page = listing::page(requests, &prefix, None, token.as_deref()).await?;
        let decoder = Decoder::of(page.encoding_type());
        for object in page.contents() {
            let key = decoder.decode(object.key().unwrap_or_default());
            let key = String::from_utf8_lossy(&key).into_owned();
            let Some(name) = key.strip_prefix(&location.prefix) else { continue };
            let modified = object.last_modified().and_then(|time| SystemTime::try_from(*time).ok());
            let size = object.size().and_then(|size| size.try_into().ok()).unwrap_or_default();
            objects.insert(name.to_owned(), Found { size, modified: modified.unwrap_or(SystemTime::now()) });
        }
        if objects.len() > MAX_OBJECTS {
            let message = format!("{location} holds more than {MAX_OBJECTS} objects");
            return Err(Error::new(ErrorKind::LimitExceeded, "list", message));
        }
        token = listing::next(&page, token.as_deref(), requests)?;
        if token.is_none() {
            return Ok(objects);
        }
    }
}
