//! What lies below the prefix: every object that is wanted, and a fingerprint of them all.
//!
//! S3 is consistent key by key only: a listing of several pages may show a state that never was. Whoever takes files
//! from one lists again afterwards and compares.

use std::collections::HashSet;

use aws_sdk_s3::operation::list_objects_v2::ListObjectsV2Output;
use aws_sdk_s3::types::{ChecksumAlgorithm, ChecksumType, EncodingType};
use dagsync_core::{Digest, Error, ErrorKind, Filter, Limits, Result, TreePath};
use futures::{StreamExt as _, TryStreamExt as _, stream};
use percent_encoding::percent_decode_str;

use crate::errors;
use crate::record::is_part;
use crate::requests::{Requests, payer};

/// Objects that are looked at for each that is allowed: what the filter leaves out must not be endless.
const LISTED_PER_FILE: u64 = 20;
/// Pages that are asked for at once.
const PAGES_AT_ONCE: usize = 4;
/// More than this, and what is known of the pages is of no use.
const PAGES_OF_A_STRETCH: usize = 20;
/// What Hadoop puts where a folder should be.
const HADOOP_FOLDER: &str = "_$folder$";

/// One object that becomes a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Object {
    pub(crate) path: TreePath,
    /// Opaque: it is compared with itself and nothing else (multipart, SSE-KMS and SSE-C make it no MD5).
    pub(crate) etag: Box<str>,
    pub(crate) size: u64,
    /// Of a listing of versions.
    pub(crate) version: Option<Box<str>>,
    /// The SHA-256 of the whole object is stored with it.
    pub(crate) has_sha256: bool,
}

/// Every object that is wanted, sorted by path.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Listing {
    pub(crate) objects: Vec<Object>,
    /// A part of the published layout that lies there, whether it is wanted or not.
    pub(crate) part: Option<String>,
    /// How much lies there, wanted or not, folder markers included.
    pub(crate) listed: u64,
}

/// An entry as the server has it.
pub(crate) struct Entry<'a> {
    pub(crate) key: Vec<u8>,
    pub(crate) etag: &'a str,
    pub(crate) size: i64,
    pub(crate) version: Option<&'a str>,
    pub(crate) has_sha256: bool,
    pub(crate) storage_class: &'a str,
}

/// Where the pages of a listing ended, so that the next one can ask for all of them at once. Each costs one request, as
/// one after another, unless objects have come since.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Pages(Vec<String>);

impl Listing {
    /// Lists what is there now, in the pages of the listing before; and its own pages.
    pub(crate) async fn now(
        requests: &Requests,
        filter: &Filter,
        limits: &Limits,
        before: &Pages,
    ) -> Result<(Self, Pages)> {
        let mut collector = Collector::new(requests, filter, limits);
        let mut seen = Seen::default();
        let mut stretches = stream::iter(before.stretches())
            .map(
                |(after, end)| async move { stretch(requests, after.as_deref(), &end).await.map(|found| (found, end)) },
            )
            .buffered(PAGES_AT_ONCE);
        while let Some((found, end)) = stretches.try_next().await? {
            found.iter().try_for_each(|page| seen.page(page, Some(&end), &mut collector))?;
        }
        drop(stretches);
        // How much is behind the last known page nobody knows: one after another, so that the limits can hold.
        let (mut token, after) = (None, before.0.last().map(String::as_str));
        loop {
            let page = page(requests, &requests.location().prefix, after, token.as_deref()).await?;
            seen.page(&page, None, &mut collector)?;
            token = next(&page, token.as_deref(), requests)?;
            if token.is_none() {
                return Ok((collector.finish()?, seen.pages()));
            }
        }
    }

    /// The name of this state: it changes whenever a file comes, goes or is written anew.
    pub(crate) fn fingerprint(&self) -> Digest {
        let mut text = Vec::with_capacity(self.objects.len() * 100);
        for Object { path, etag, size, version, .. } in &self.objects {
            let version = version.as_deref().unwrap_or_default();
            text.extend_from_slice(
                format!("{path}\n{}:{etag}\n{size}\n{}:{version}\n", etag.len(), version.len()).as_bytes(),
            );
        }
        Digest::of(text)
    }
}

impl Pages {
    /// What to list: behind which key, and up to which one.
    fn stretches(&self) -> Vec<(Option<String>, String)> {
        let starts = std::iter::once(None).chain(self.0.iter().cloned().map(Some));
        starts.zip(self.0.iter().cloned()).collect()
    }
}

/// The pages of a listing, as they come.
struct Seen {
    ends: Vec<String>,
    is_sorted: bool,
    largest: usize,
    objects: usize,
}

impl Default for Seen {
    fn default() -> Self {
        Self { ends: Vec::new(), is_sorted: true, largest: 1, objects: 0 }
    }
}

impl Seen {
    /// Takes the objects of a page, up to `end`.
    fn page(&mut self, page: &ListObjectsV2Output, end: Option<&str>, collector: &mut Collector<'_>) -> Result<()> {
        let decoder = Decoder::of(page.encoding_type());
        let objects = page.contents();
        self.is_sorted &= objects.is_sorted_by_key(|object| decoder.decode(object.key().unwrap_or_default()));
        self.largest = self.largest.max(objects.len());
        self.objects += objects.len();
        for object in objects {
            let key = decoder.decode(object.key().unwrap_or_default());
            if end.is_none_or(|end| key.as_slice() <= end.as_bytes()) {
                collector.add(&Entry::of(object, key))?;
            }
        }
        let last = last_key(page).map(|last| end.map(str::to_owned).filter(|end| *end < last).unwrap_or(last));
        self.ends.extend(last);
        Ok(())
    }

    /// Where to divide the next listing. A server that does not sort cannot be asked for a stretch; and many pages that are
    /// far from full are worse than a few that are.
    fn pages(mut self) -> Pages {
        let fewest = self.objects.div_ceil(self.largest);
        let is_fine = self.is_sorted && self.ends.is_sorted() && self.ends.len() <= 2 * fewest + 2;
        // The last page has no end yet.
        self.ends.pop();
        self.ends.dedup();
        if is_fine { Pages(self.ends) } else { Pages::default() }
    }
}

impl<'a> Entry<'a> {
    fn of(object: &'a aws_sdk_s3::types::Object, key: Vec<u8>) -> Self {
        let is_whole = object.checksum_type() == Some(&ChecksumType::FullObject);
        Self {
            key,
            etag: object.e_tag().unwrap_or_default(),
            size: object.size().unwrap_or_default(),
            version: None,
            has_sha256: is_whole && object.checksum_algorithm().contains(&ChecksumAlgorithm::Sha256),
            storage_class: object.storage_class().map_or("", |class| class.as_str()),
        }
    }
}

/// The pages that hold the keys behind `after` up to `end`; the last may hold later ones too.
async fn stretch(requests: &Requests, after: Option<&str>, end: &str) -> Result<Vec<ListObjectsV2Output>> {
    let mut pages = Vec::new();
    let mut token = None;
    while pages.len() < PAGES_OF_A_STRETCH {
        let page = page(requests, &requests.location().prefix, after, token.as_deref()).await?;
        let is_last = last_key(&page).is_none_or(|last| last.as_str() >= end);
        token = next(&page, token.as_deref(), requests)?;
        pages.push(page);
        if is_last || token.is_none() {
            return Ok(pages);
        }
    }
    let message = format!("{}: many objects came since it was listed last", requests.location());
    Err(Error::new(ErrorKind::Changed, "list", message))
}

/// The token of the next page; a server that repeats one would keep us listing for ever.
pub(crate) fn next(page: &ListObjectsV2Output, before: Option<&str>, requests: &Requests) -> Result<Option<String>> {
    if page.is_truncated() != Some(true) {
        return Ok(None);
    }
    match page.next_continuation_token() {
        Some(token) if Some(token) != before => Ok(Some(token.to_owned())),
        _ => {
            let message = format!("{}: the server does not say how the listing goes on", requests.location());
            Err(Error::new(ErrorKind::Unreachable, "list", message))
        }
    }
}

fn last_key(page: &ListObjectsV2Output) -> Option<String> {
    let decoder = Decoder::of(page.encoding_type());
    String::from_utf8(decoder.decode(page.contents().last()?.key()?)).ok()
}

/// One page of what lies below `prefix`.
pub(crate) async fn page(
    requests: &Requests,
    prefix: &str,
    after: Option<&str>,
    token: Option<&str>,
) -> Result<ListObjectsV2Output> {
    let (location, settings) = (&requests.bucket.location, &requests.bucket.settings);
    let ask = |client: aws_sdk_s3::Client| async move {
        let request = client
            .list_objects_v2()
            .bucket(&location.bucket)
            .prefix(prefix)
            // Keys may hold what XML cannot.
            .encoding_type(EncodingType::Url)
            .set_start_after(after.filter(|_| token.is_none()).map(str::to_owned))
            .set_continuation_token(token.map(str::to_owned))
            .set_expected_bucket_owner(settings.expected_bucket_owner.clone())
            .set_request_payer(payer(settings));
        request.send().await.map_err(|e| errors::explain("list", &location.to_string(), e))
    };
    requests.attempt("list", ask).await
}

/// Turns entries into objects.
pub(crate) struct Collector<'a> {
    requests: &'a Requests,
    filter: &'a Filter,
    limits: &'a Limits,
    objects: Vec<Object>,
    part: Option<String>,
    listed: u64,
    bytes: u64,
}

impl<'a> Collector<'a> {
    pub(crate) fn new(requests: &'a Requests, filter: &'a Filter, limits: &'a Limits) -> Self {
        Self { requests, filter, limits, objects: Vec::new(), part: None, listed: 0, bytes: 0 }
    }

    pub(crate) fn add(&mut self, entry: &Entry<'_>) -> Result<()> {
        self.count()?;
        let Some(path) = entry.key.strip_prefix(self.requests.location().prefix.as_bytes()) else { return Ok(()) };
        if path.is_empty() || path.ends_with(b"/") || path.ends_with(HADOOP_FOLDER.as_bytes()) {
            return Ok(());
        }
        if self.part.is_none() {
            self.part = std::str::from_utf8(path).ok().filter(|name| is_part(name)).map(str::to_owned);
        }
        match self.object(path, entry)? {
            Some(object) => self.admit(object),
            None => Ok(()),
        }
    }

    /// Counts what the server lists, whether it is wanted or not.
    pub(crate) fn count(&mut self) -> Result<()> {
        self.requests.interrupt.check("list")?;
        self.listed += 1;
        if self.listed > self.limits.files.saturating_mul(LISTED_PER_FILE) {
            let message = format!("{} holds more than {LISTED_PER_FILE} times limits.files objects", self.location());
            return Err(Error::new(ErrorKind::LimitExceeded, "list", message)
                .with_hint("name a prefix that holds DAGs only, or raise limits.files"));
        }
        Ok(())
    }

    fn object(&self, path: &[u8], entry: &Entry<'_>) -> Result<Option<Object>> {
        if !self.filter.keeps(&String::from_utf8_lossy(path)) {
            return Ok(None);
        }
        let path = TreePath::new(path).map_err(|e| e.with_context("source", self.location()))?;
        if matches!(entry.storage_class, "GLACIER" | "DEEP_ARCHIVE") {
            let message = format!("{} is archived ({})", self.location().show(path.as_str()), entry.storage_class);
            return Err(Error::new(ErrorKind::Refused, "list", message)
                .with_hint("restore it to another class, or leave it out with an exclude glob"));
        }
        if entry.etag.is_empty() || entry.etag.contains(['\t', '\n']) {
            let message = format!("{} has no ETag", self.location().show(path.as_str()));
            return Err(Error::new(ErrorKind::Refused, "list", message));
        }
        let size = u64::try_from(entry.size).unwrap_or_default();
        let version = entry.version.map(Box::from);
        Ok(Some(Object { path, etag: entry.etag.into(), size, version, has_sha256: entry.has_sha256 }))
    }

    /// Limits hold before anything is downloaded.
    fn admit(&mut self, object: Object) -> Result<()> {
        self.bytes = self.bytes.saturating_add(object.size);
        self.limits.check_path(&object.path)?;
        self.limits.check_file(&object.path, object.size)?;
        self.objects.push(object);
        self.limits.check_total(self.objects.len() as u64, self.bytes)
    }

    /// # Errors
    /// [`ErrorKind::Refused`] when a file is also a folder.
    pub(crate) fn finish(mut self) -> Result<Listing> {
        self.objects.sort_unstable_by(|a, b| a.path.cmp(&b.path));
        self.objects.dedup_by(|a, b| a.path == b.path);
        let files: HashSet<&str> = self.objects.iter().map(|object| object.path.as_str()).collect();
        for object in &self.objects {
            let path = object.path.as_str();
            let mut folders = path.match_indices('/').map(|(at, _)| &path[..at]);
            if let Some(both) = folders.find(|folder| files.contains(folder)) {
                let message = format!("{} is both a file and a folder", self.location().show(both));
                return Err(Error::new(ErrorKind::Refused, "list", message)
                    .with_hint("remove one of them, or leave it out with an exclude glob"));
            }
        }
        Ok(Listing { objects: self.objects, part: self.part, listed: self.listed })
    }

    fn location(&self) -> &crate::location::Location {
        self.requests.location()
    }
}

/// Undoes `encoding-type=url`, in which a space is `+` or `%20`, and `+` itself is `%2B`; where the server did it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Decoder(bool);

impl Decoder {
    /// As the answer says.
    pub(crate) fn of(encoding: Option<&EncodingType>) -> Self {
        Self(encoding == Some(&EncodingType::Url))
    }

    pub(crate) fn decode(self, key: &str) -> Vec<u8> {
        if self.0 { decode(key) } else { key.as_bytes().to_vec() }
    }
}

/// Undoes that encoding.
pub(crate) fn decode(key: &str) -> Vec<u8> {
    if key.contains('+') {
        return percent_decode_str(&key.replace('+', " ")).collect();
    }
    percent_decode_str(key).collect()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use dagsync_core::{Interrupt, Tally};

    use super::*;
    use crate::fixture::settings;
    use crate::location::Location;
    use crate::requests::Bucket;

    fn listed(keys: &[&str], filter: &Filter, limits: &Limits) -> Result<Listing> {
        let bucket = Bucket::new(Location::parse("s3://b/k1").unwrap(), settings(&[]));
        let requests = Requests::with(Arc::new(bucket), Interrupt::never(), Tally::default());
        let mut collector = Collector::new(&requests, filter, limits);
        for key in keys {
            let entry = Entry {
                key: decode(key),
                etag: "\"e\"",
                size: 3,
                version: None,
                has_sha256: false,
                storage_class: "STANDARD",
            };
            collector.add(&entry)?;
        }
        collector.finish()
    }

    fn paths(keys: &[&str]) -> Vec<String> {
        let listing = listed(keys, &Filter::default(), &Limits::default()).unwrap();
        listing.objects.into_iter().map(|object| object.path.to_string()).collect()
    }

    #[test]
    fn keys_become_paths_below_the_prefix() {
        let keys =
            ["k1/", "k1/a/", "k1/a/b.py", "k1/a+b%2Bc%25.py", "k1/%E6%97%A5.py", "k10/x.py", "k1/__pycache__/x.py"];
        assert_eq!(paths(&keys), ["a b+c%.py", "a/b.py", "日.py"]);
        assert_eq!(paths(&["k1/logs_$folder$", "k1/z.py"]), ["z.py"]);
    }

    #[test]
    fn keys_that_cannot_be_files_are_named() {
        for (keys, word) in [
            (&["k1/../x.py"][..], ".."),
            (&["k1//x.py"], "empty part"),
            (&["k1/a%0Ab.py"], "control character"),
            (&["k1/a%5Cb.py"], "backslash"),
            (&["k1/%FF.py"], "UTF-8"),
            (&["k1/a", "k1/a-b", "k1/a/b"], "s3://b/k1/a is both a file and a folder"),
        ] {
            let error = listed(keys, &Filter::default(), &Limits::default()).unwrap_err();
            assert!(error.kind() == ErrorKind::Refused && error.to_string().contains(word), "{error}");
        }
        let filter = Filter::new(&[], &["*.py".to_owned()]).unwrap();
        assert!(
            listed(&["k1/a%0Ab.py"], &filter, &Limits::default()).is_ok(),
            "what is left out may be called anything"
        );
    }

    #[test]
    fn limits_hold_before_anything_is_downloaded() {
        let standard = Limits::default();
        for limits in
            [Limits { files: 1, ..standard }, Limits { bytes: 5, ..standard }, Limits { file_bytes: 2, ..standard }]
        {
            let error = listed(&["k1/a", "k1/b"], &Filter::default(), &limits).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::LimitExceeded);
        }
        let filter = Filter::new(&[], &["*".to_owned()]).unwrap();
        let many = ["k1/a"; 21];
        let error = listed(&many, &filter, &Limits { files: 1, ..standard }).unwrap_err();
        assert!(error.to_string().contains("20 times limits.files"), "{error}");
    }

    #[test]
    fn the_fingerprint_tells_states_apart() {
        let state = |etag: &str, size| {
            let path = TreePath::new("a").unwrap();
            let object = Object { path, etag: etag.into(), size, version: None, has_sha256: false };
            Listing { objects: vec![object], part: None, listed: 1 }.fingerprint()
        };
        assert_eq!(state("x", 1), state("x", 1));
        assert_ne!(state("x", 1), state("y", 1));
        assert_ne!(state("x", 1), state("x", 2));
        assert_ne!(state("x", 1), Listing::default().fingerprint());
    }
}
