//! Listings, page by page, each read from the bucket as it is when the page is asked for.

use std::time::SystemTime;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::call::Call;
use super::reply::{Answer, Refusal, Reply};
use super::store::{Bucket, Listed, Object, Version, quoted};
use super::xml::{Xml, encoded};
use super::{Modes, State};

/// What every kind of listing is asked for.
struct Asked<'a> {
    call: &'a Call,
    prefix: &'a str,
    delimiter: &'a str,
    max: usize,
    is_encoded: bool,
}

/// One line of a listing.
enum Entry<'a> {
    Object(&'a str, &'a Version, &'a Object),
    Prefix(&'a str),
}

impl Entry<'_> {
    fn name(&self) -> &str {
        match self {
            Self::Object(name, ..) | Self::Prefix(name) => name,
        }
    }
}

impl State {
    pub(super) fn bucket(&self, name: &str) -> Result<&Bucket, Refusal> {
        self.buckets.get(name).ok_or_else(Refusal::no_such_bucket)
    }

    /// `ListObjectsV2`, and `ListObjects`, which differs in how it names the place to go on from.
    pub(super) fn list(&self, call: &Call) -> Answer {
        let asked = Asked::of(call, &self.modes)?;
        let is_second = call.parameter("list-type") == Some("2");
        let token = call.parameter("continuation-token").filter(|_| is_second).map(place).transpose()?;
        let marker = call.parameter(if is_second { "start-after" } else { "marker" }).unwrap_or_default();
        let (entries, next) = asked.page(self.bucket(&call.bucket)?, token.as_deref().unwrap_or(marker));
        let mut xml = asked.head("ListBucketResult", next.is_some());
        if is_second {
            xml.text("KeyCount", &entries.len().to_string());
            xml.optional("ContinuationToken", call.parameter("continuation-token"));
            xml.optional("StartAfter", call.parameter("start-after").map(|key| asked.name(key)).as_deref());
            xml.optional("NextContinuationToken", next.map(|name| STANDARD.encode(name)).as_deref());
        } else {
            xml.text("Marker", &asked.name(marker));
            xml.optional("NextMarker", next.map(|name| asked.name(&name)).as_deref());
        }
        entries.iter().for_each(|entry| asked.entry(&mut xml, entry));
        xml.close("ListBucketResult");
        Ok(Reply::xml(200, xml))
    }

    pub(super) fn list_versions(&self, call: &Call) -> Answer {
        let asked = Asked::of(call, &self.modes)?;
        let id = call.parameter("version-id-marker").filter(|id| !id.is_empty());
        let marker = (call.parameter("key-marker").unwrap_or_default(), id);
        let mut versions = self.bucket(&call.bucket)?.history(asked.prefix, marker);
        let page: Vec<Listed<'_>> = versions.by_ref().take(asked.max).collect();
        let next = page.last().filter(|_| versions.next().is_some());
        let mut xml = asked.head("ListVersionsResult", next.is_some());
        xml.text("KeyMarker", &asked.name(marker.0));
        xml.text("VersionIdMarker", id.unwrap_or_default());
        if let Some(next) = next {
            xml.text("NextKeyMarker", &asked.name(next.key));
            xml.text("NextVersionIdMarker", &next.version.id);
        }
        page.iter().for_each(|listed| asked.version(&mut xml, listed));
        xml.close("ListVersionsResult");
        Ok(Reply::xml(200, xml))
    }
}

/// Where a continuation token goes on: after this key or common prefix.
fn place(token: &str) -> Result<String, Refusal> {
    let place = STANDARD.decode(token).ok().and_then(|name| String::from_utf8(name).ok());
    place.ok_or_else(|| Refusal::argument("The continuation token provided is incorrect"))
}

impl<'a> Asked<'a> {
    fn of(call: &'a Call, modes: &Modes) -> Result<Self, Refusal> {
        let text = |name| call.parameter(name).unwrap_or_default();
        let max = call.parameter("max-keys").map_or(Ok(1000), str::parse::<usize>);
        let max = max.map_err(|_| Refusal::argument("Provided max-keys not an integer or within integer range"))?;
        let is_encoded = call.parameter("encoding-type") == Some("url");
        let (prefix, delimiter) = (text("prefix"), text("delimiter"));
        Ok(Self { call, prefix, delimiter, max: max.min(modes.page_size), is_encoded })
    }

    /// The entries after `after`, and the name of the last if there are more.
    fn page(&self, bucket: &'a Bucket, after: &'a str) -> (Vec<Entry<'a>>, Option<String>) {
        let mut entries: Vec<Entry<'a>> = Vec::new();
        for (key, version) in bucket.live(self.prefix, after) {
            let Some(object) = &version.object else { continue };
            let entry = self.common(key).map_or(Entry::Object(key, version, object), Entry::Prefix);
            // The rest of a common prefix that this page or the one before has.
            let last = entries.last().map_or(after, Entry::name);
            if matches!(entry, Entry::Prefix(name) if name == last) {
                continue;
            }
            if entries.len() == self.max {
                let next = entries.last().map(|entry| entry.name().to_owned());
                return (entries, next);
            }
            entries.push(entry);
        }
        (entries, None)
    }

    /// The common prefix that stands for `key`, if the listing is by folders and the key lies in one.
    fn common(&self, key: &'a str) -> Option<&'a str> {
        let rest = &key[self.prefix.len()..];
        let at = rest.find(self.delimiter).filter(|_| !self.delimiter.is_empty())?;
        Some(&key[..self.prefix.len() + at + self.delimiter.len()])
    }

    fn name(&self, name: &str) -> String {
        if self.is_encoded { encoded(name) } else { name.to_owned() }
    }

    fn head(&self, element: &str, is_truncated: bool) -> Xml {
        let mut xml = Xml::document(element);
        xml.text("Name", &self.call.bucket);
        xml.text("Prefix", &self.name(self.prefix));
        xml.optional("Delimiter", Some(self.name(self.delimiter)).filter(|text| !text.is_empty()).as_deref());
        xml.text("MaxKeys", &self.max.to_string());
        xml.optional("EncodingType", self.is_encoded.then_some("url"));
        xml.text("IsTruncated", if is_truncated { "true" } else { "false" });
        xml
    }

    fn entry(&self, xml: &mut Xml, entry: &Entry<'_>) {
        match entry {
            Entry::Object(key, version, object) => {
                xml.open("Contents");
                xml.text("Key", &self.name(key));
                describe(xml, version.modified, object);
                xml.close("Contents");
            }
            Entry::Prefix(name) => {
                xml.open("CommonPrefixes");
                xml.text("Prefix", &self.name(name));
                xml.close("CommonPrefixes");
            }
        }
    }

    fn version(&self, xml: &mut Xml, listed: &Listed<'_>) {
        let element = if listed.version.object.is_some() { "Version" } else { "DeleteMarker" };
        xml.open(element);
        xml.text("Key", &self.name(listed.key));
        xml.text("VersionId", &listed.version.id);
        xml.text("IsLatest", if listed.is_latest { "true" } else { "false" });
        match &listed.version.object {
            Some(object) => describe(xml, listed.version.modified, object),
            None => xml.text("LastModified", &time(listed.version.modified)),
        }
        xml.close(element);
    }
}

fn describe(xml: &mut Xml, modified: SystemTime, object: &Object) {
    xml.text("LastModified", &time(modified));
    xml.text("ETag", &quoted(&object.etag));
    if let Some(checksum) = &object.checksum {
        xml.text("ChecksumAlgorithm", &checksum.algorithm.to_uppercase());
        xml.text("ChecksumType", checksum.kind());
    }
    xml.text("Size", &object.content.len().to_string());
    xml.text("StorageClass", &object.storage_class);
}

/// A time as listings show it: AWS keeps whole seconds, and writes milliseconds all the same.
fn time(time: SystemTime) -> String {
    humantime::format_rfc3339_seconds(time).to_string().replace('Z', ".000Z")
}
