//! Reading, writing and deleting one object.

use std::ops::Range;

use super::call::Call;
use super::chunked::Payload;
use super::reply::{Answer, Refusal, Reply};
use super::rule::Op;
use super::store::{Bucket, Checksum, Object, PutOptions, Version, quoted, sha256};
use super::{Modes, State};

/// Header fields that are kept with an object, besides `x-amz-meta-…`.
const KEPT: &[&str] = &["cache-control", "content-disposition", "content-language", "content-type", "expires"];

impl State {
    /// `GetObject` and `HeadObject`. The body of the latter is left out where it is sent.
    pub(super) fn read(&self, call: &Call) -> Answer {
        let bucket = self.bucket(&call.bucket)?;
        let (version, object) = find(bucket, call)?;
        reading_conditions(call, object)?;
        if object.is_archived() && call.op == Op::Get {
            let message = "The operation is not valid for the object's storage class";
            return Err(Refusal::new(403, "InvalidObjectState", message));
        }
        let range = range(call, object.content.len())?;
        let mut reply = Reply::new(if range.is_some() { 206 } else { 200 })
            .with("etag", quoted(&object.etag))
            .with("last-modified", httpdate::fmt_http_date(version.modified))
            .with("accept-ranges", "bytes");
        reply.headers.extend(object.headers.iter().cloned());
        if bucket.versioned {
            reply = reply.with("x-amz-version-id", &version.id);
        }
        if object.storage_class != "STANDARD" {
            reply = reply.with("x-amz-storage-class", &object.storage_class);
        }
        match range {
            Some(range) => {
                let shown = format!("bytes {}-{}/{}", range.start, range.end - 1, object.content.len());
                Ok(reply.with("content-range", shown).body(object.content.slice(range)))
            }
            None => Ok(with_checksum(reply, object, call).body(object.content.clone())),
        }
    }

    /// `PutObject`.
    pub(super) fn write(&mut self, call: &Call) -> Answer {
        let Self { buckets, modes, .. } = self;
        let bucket = buckets.get_mut(&call.bucket).ok_or_else(Refusal::no_such_bucket)?;
        let payload = Payload::of(call)?;
        let checksum = checksum(&payload)?;
        if !modes.ignore_conditions {
            writing_conditions(call, bucket.object(&call.key), modes)?;
        }
        let storage_class = call.header("x-amz-storage-class").map(str::to_owned);
        let options = PutOptions { storage_class, headers: kept(call), ..PutOptions::default() };
        let mut object = Object::new(payload.content, options, modes.opaque_etags);
        object.checksum = checksum;
        let mut reply = Reply::new(200).with("etag", quoted(&object.etag));
        if let Some(checksum) = &object.checksum {
            reply = reply.with(checksum.header(), &checksum.value).with("x-amz-checksum-type", checksum.kind());
        }
        let id = bucket.push(&call.key, Some(object));
        Ok(if bucket.versioned { reply.with("x-amz-version-id", id) } else { reply })
    }

    /// `DeleteObject`, which succeeds whether or not there is something to delete.
    pub(super) fn erase(&mut self, call: &Call) -> Answer {
        let bucket = self.buckets.get_mut(&call.bucket).ok_or_else(Refusal::no_such_bucket)?;
        let reply = Reply::new(204);
        let (id, is_marker) = match call.parameter("versionId") {
            Some(id) => match bucket.remove(&call.key, id) {
                Some(removed) => (removed.id, removed.object.is_none()),
                None => return Ok(reply),
            },
            None => match bucket.delete(&call.key) {
                Some(id) => (id, true),
                None => return Ok(reply),
            },
        };
        let reply = reply.with("x-amz-version-id", id);
        Ok(if is_marker { reply.with("x-amz-delete-marker", "true") } else { reply })
    }
}

fn find<'a>(bucket: &'a Bucket, call: &Call) -> Result<(&'a Version, &'a Object), Refusal> {
    let version = match call.parameter("versionId") {
        Some(id) => {
            let missing = || Refusal::new(404, "NoSuchVersion", "The specified version does not exist.");
            bucket.version(&call.key, id).ok_or_else(missing)?
        }
        None => bucket.current(&call.key).ok_or_else(Refusal::no_such_key)?,
    };
    let marker = || match call.parameter("versionId") {
        Some(_) => Refusal::new(405, "MethodNotAllowed", "The specified method is not allowed against this resource."),
        None => Refusal::no_such_key(),
    };
    let object = version.object.as_ref().ok_or_else(|| marker().with("x-amz-delete-marker", "true"))?;
    Ok((version, object))
}

/// Whether a field that lists ETags, or has a star, names this one. S3 takes them with and without quotes.
fn names(field: &str, etag: &str) -> bool {
    field.split(',').map(str::trim).any(|one| one == "*" || one.trim_start_matches("W/").trim_matches('"') == etag)
}

fn reading_conditions(call: &Call, object: &Object) -> Result<(), Refusal> {
    if call.header("if-match").is_some_and(|field| !names(field, &object.etag)) {
        return Err(Refusal::precondition());
    }
    if call.header("if-none-match").is_some_and(|field| names(field, &object.etag)) {
        return Err(Refusal::new(304, "NotModified", "Not Modified").with("etag", quoted(&object.etag)));
    }
    Ok(())
}

fn writing_conditions(call: &Call, current: Option<&Object>, modes: &Modes) -> Result<(), Refusal> {
    match call.header("if-none-match") {
        Some("*") if current.is_some() => return Err(Refusal::precondition()),
        Some("*") | None => {}
        // AWS knows no other value here.
        Some(_) => return Err(Refusal::not_implemented()),
    }
    let Some(field) = call.header("if-match") else { return Ok(()) };
    let current = current.ok_or_else(Refusal::no_such_key)?;
    let is_misunderstood = modes.unquoted_etags_only && field.contains('"');
    if is_misunderstood || !names(field, &current.etag) { Err(Refusal::precondition()) } else { Ok(()) }
}

/// The part of an object that is asked for. What is no range of bytes, or more than one, is ignored, as HTTP wants.
fn range(call: &Call, length: usize) -> Result<Option<Range<usize>>, Refusal> {
    let field = call.header("range").and_then(|field| field.strip_prefix("bytes=")?.split_once('-'));
    let Some((first, last)) = field else { return Ok(None) };
    let range = match (first.parse::<usize>(), last.parse::<usize>()) {
        (Ok(first), Ok(last)) if first <= last => first..last.saturating_add(1).min(length),
        (Ok(first), Err(_)) if last.is_empty() => first..length,
        (Err(_), Ok(count)) if first.is_empty() => length.saturating_sub(count)..length,
        _ => return Ok(None),
    };
    if range.start < range.end {
        return Ok(Some(range));
    }
    let refusal = Refusal::new(416, "InvalidRange", "The requested range is not satisfiable");
    Err(refusal.with("content-range", format!("bytes */{length}")))
}

fn with_checksum(reply: Reply, object: &Object, call: &Call) -> Reply {
    let is_wanted = call.header("x-amz-checksum-mode").is_some_and(|mode| mode.eq_ignore_ascii_case("enabled"));
    match object.checksum.as_ref().filter(|_| is_wanted) {
        Some(checksum) => reply.with(checksum.header(), &checksum.value).with("x-amz-checksum-type", checksum.kind()),
        None => reply,
    }
}

/// The checksum that came with an upload. Only SHA-256 is verified; others are kept as they came.
fn checksum(payload: &Payload) -> Result<Option<Checksum>, Refusal> {
    let Some((algorithm, value)) = payload.fields.iter().find_map(|(name, value)| Some((algorithm(name)?, value)))
    else {
        return Ok(None);
    };
    if algorithm == "sha256" && *value != sha256(&payload.content) {
        return Err(Refusal::new(400, "BadDigest", "The SHA256 you specified did not match the calculated checksum."));
    }
    Ok(Some(Checksum { algorithm: algorithm.to_owned(), value: value.clone() }))
}

/// The algorithm, if the header field of this name carries a checksum.
fn algorithm(field: &str) -> Option<&str> {
    field.strip_prefix("x-amz-checksum-").filter(|rest| !matches!(*rest, "algorithm" | "mode" | "type"))
}

fn kept(call: &Call) -> Vec<(String, String)> {
    let is_kept = |name: &str| KEPT.contains(&name) || name.starts_with("x-amz-meta-");
    let fields = call.headers.iter().filter(|(name, _)| is_kept(name.as_str()));
    fields.filter_map(|(name, value)| Some((name.to_string(), value.to_str().ok()?.to_owned()))).collect()
}
