//! The body of an upload, which the SDKs wrap in chunks of their own (`aws-chunked`) to send checksums after it.

use hyper::body::Bytes;

use super::call::Call;
use super::reply::Refusal;

/// The content of an upload, and the header fields and trailers that came with it, with names in lower case.
pub(super) struct Payload {
    pub(super) content: Bytes,
    pub(super) fields: Vec<(String, String)>,
}

impl Payload {
    pub(super) fn of(call: &Call) -> Result<Self, Refusal> {
        let field = |name| call.header(name).unwrap_or_default();
        let fields = call.headers.iter().filter_map(|(name, value)| Some((name.to_string(), value.to_str().ok()?)));
        let mut fields: Vec<_> = fields.map(|(name, value)| (name, value.to_owned())).collect();
        let is_wrapped = field("content-encoding").contains("aws-chunked");
        if !is_wrapped && !field("x-amz-content-sha256").starts_with("STREAMING-") {
            return Ok(Self { content: call.body.clone(), fields });
        }
        let incomplete = || Refusal::new(400, "IncompleteBody", "The request body terminated unexpectedly");
        let Self { content, fields: trailers } = unwrapped(&call.body).ok_or_else(incomplete)?;
        let length = field("x-amz-decoded-content-length").parse::<usize>();
        if length.is_ok_and(|length| length != content.len()) {
            return Err(incomplete());
        }
        fields.extend(trailers);
        Ok(Self { content, fields })
    }
}

/// `SIZE[;chunk-signature=…] CRLF bytes CRLF`, again and again, until a size of 0; then trailers.
fn unwrapped(mut rest: &[u8]) -> Option<Payload> {
    let mut content = Vec::new();
    loop {
        let size = line(&mut rest)?;
        let size = usize::from_str_radix(size.split(';').next()?.trim(), 16).ok()?;
        if size == 0 {
            return Some(Payload { content: content.into(), fields: trailers(rest) });
        }
        let (chunk, after) = rest.split_at_checked(size)?;
        content.extend_from_slice(chunk);
        rest = after.strip_prefix(b"\r\n")?;
    }
}

/// Takes one line off.
fn line<'a>(rest: &mut &'a [u8]) -> Option<&'a str> {
    let end = rest.windows(2).position(|two| two == b"\r\n")?;
    let line = std::str::from_utf8(&rest[..end]).ok()?;
    *rest = &rest[end + 2..];
    Some(line)
}

fn trailers(rest: &[u8]) -> Vec<(String, String)> {
    let text = String::from_utf8_lossy(rest);
    let fields = text.lines().filter_map(|line| line.split_once(':'));
    fields.map(|(name, value)| (name.trim().to_lowercase(), value.trim().to_owned())).collect()
}
