//! What a versioned bucket held at a moment in the past.

use aws_sdk_s3::operation::list_object_versions::ListObjectVersionsOutput;
use aws_sdk_s3::primitives::DateTime;
use aws_sdk_s3::types::{ChecksumAlgorithm, ChecksumType, EncodingType};
use dagsync_core::{Error, ErrorKind, Filter, Limits, Result};

use crate::errors;
use crate::listing::{Collector, Decoder, Entry, Listing};
use crate::requests::{Requests, payer};

/// Where a listing of versions goes on.
type Marker = Option<(String, Option<String>)>;

/// Lists what lay below `prefix` at `at`: of each key the newest version that is not younger, unless that is a deletion.
pub(crate) async fn listing(requests: &Requests, at: DateTime, filter: &Filter, limits: &Limits) -> Result<Listing> {
    let mut collector = Collector::new(requests, filter, limits);
    let (mut seen, mut has_versions) = (Seen::default(), false);
    let prefix = &requests.location().prefix;
    let mut marker = None;
    loop {
        let page = page(requests, prefix, &marker).await?;
        for found in states(&page) {
            collector.count()?;
            has_versions |= found.is_version;
            if found.is_newest(at, &mut seen)
                && let Some(entry) = &found.entry
            {
                collector.add(entry)?;
            }
        }
        marker = next(&page, &marker, requests)?;
        if marker.is_none() {
            return if has_versions || seen.0.is_empty() { collector.finish() } else { Err(unversioned(requests)) };
        }
    }
}

/// Without versions a bucket does not know what it held: what was overwritten since would silently be missing.
fn unversioned(requests: &Requests) -> Error {
    let message = format!("{}: the bucket keeps no versions", requests.location());
    Error::new(ErrorKind::Refused, "list versions", message)
        .with_hint("s3.at needs bucket versioning, switched on before that moment")
}

/// The id of the version that `key` had at `at`.
pub(crate) async fn version_of(requests: &Requests, key: &str, at: DateTime) -> Result<Option<String>> {
    let mut marker = None;
    loop {
        let page = page(requests, key, &marker).await?;
        let mut own = states(&page).filter(|found| found.key == key.as_bytes());
        if let Some(found) = own.find(|found| found.moment <= at) {
            return Ok(found.entry.and_then(|entry| entry.version.map(str::to_owned)));
        }
        marker = next(&page, &marker, requests)?;
        if marker.is_none() {
            return Ok(None);
        }
    }
}

/// One version of a key, or the mark of its deletion.
struct State<'a> {
    key: Vec<u8>,
    moment: DateTime,
    is_latest: bool,
    /// It has an id of its own: the bucket keeps versions.
    is_version: bool,
    /// `None`: it was deleted.
    entry: Option<Entry<'a>>,
}

/// The key that has been decided already.
#[derive(Default)]
struct Seen(Vec<u8>);

impl State<'_> {
    fn is_newest(&self, at: DateTime, seen: &mut Seen) -> bool {
        let counts = self.moment <= at && seen.0 != self.key;
        if counts {
            seen.0.clone_from(&self.key);
        }
        counts
    }
}

/// All versions and deletions of a page, by key, the newest first.
fn states(page: &ListObjectVersionsOutput) -> impl Iterator<Item = State<'_>> {
    let decoder = Decoder::of(page.encoding_type());
    let key = move |key: Option<&str>| decoder.decode(key.unwrap_or_default());
    let is_version = |id: Option<&str>| id.is_some_and(|id| !id.is_empty() && id != "null");
    let moment = |time: Option<&DateTime>| time.copied().unwrap_or(DateTime::from_secs(0));
    let deleted = page.delete_markers().iter().map(move |marker| State {
        key: key(marker.key()),
        is_version: is_version(marker.version_id()),
        moment: moment(marker.last_modified()),
        is_latest: marker.is_latest() == Some(true),
        entry: None,
    });
    let written = page.versions().iter().map(move |version| State {
        key: key(version.key()),
        is_version: is_version(version.version_id()),
        moment: moment(version.last_modified()),
        is_latest: version.is_latest() == Some(true),
        entry: Some(Entry {
            key: key(version.key()),
            etag: version.e_tag().unwrap_or_default(),
            size: version.size().unwrap_or_default(),
            version: version.version_id(),
            has_sha256: version.checksum_type() == Some(&ChecksumType::FullObject)
                && version.checksum_algorithm().contains(&ChecksumAlgorithm::Sha256),
            storage_class: version.storage_class().map_or("", |class| class.as_str()),
        }),
    });
    // The server lists both kinds apart. Sorting is stable: of one second, versions keep the server's order, and only of
    // the latest is known whether a deletion came before it or after.
    let mut all: Vec<_> = deleted.chain(written).collect();
    all.sort_by(|a, b| a.key.cmp(&b.key).then(b.moment.cmp(&a.moment)).then(b.is_latest.cmp(&a.is_latest)));
    all.into_iter()
}

async fn page(requests: &Requests, prefix: &str, marker: &Marker) -> Result<ListObjectVersionsOutput> {
    let (location, settings) = (&requests.bucket.location, &requests.bucket.settings);
    let ask = |client: aws_sdk_s3::Client| async move {
        let request = client
            .list_object_versions()
            .bucket(&location.bucket)
            .prefix(prefix)
            .encoding_type(EncodingType::Url)
            .set_key_marker(marker.as_ref().map(|(key, _)| key.clone()))
            .set_version_id_marker(marker.as_ref().and_then(|(_, version)| version.clone()))
            .set_expected_bucket_owner(settings.expected_bucket_owner.clone())
            .set_request_payer(payer(settings));
        request.send().await.map_err(|e| errors::explain("list versions", &location.to_string(), e))
    };
    requests.attempt("list versions", ask).await
}

fn next(page: &ListObjectVersionsOutput, before: &Marker, requests: &Requests) -> Result<Marker> {
    if page.is_truncated() != Some(true) {
        return Ok(None);
    }
    let decoder = Decoder::of(page.encoding_type());
    let key = page.next_key_marker().map(|key| String::from_utf8_lossy(&decoder.decode(key)).into_owned());
    match key.map(|key| (key, page.next_version_id_marker().map(str::to_owned))) {
        marker if marker.is_some() && marker != *before => Ok(marker),
        _ => {
            let message = format!("{}: the server does not say how the listing goes on", requests.location());
            Err(Error::new(ErrorKind::Unreachable, "list versions", message))
        }
    }
}
