//! Commits and tags taken apart as git signs them: what was signed, and the signature.
//!
//! libgit2 has this for commits, but it also finds what looks like a signature in the message, and stops at a NUL byte.

use std::time::{Duration, SystemTime};

use git2::Oid;

const COMMIT_SIGNATURE: &[u8] = b"gpgsig ";
/// The signature of the same commit in a repository with SHA-256 ids; git leaves it out of what it signs.
const OTHER_SIGNATURE: &[u8] = b"gpgsig-sha256 ";
/// How signatures begin; a tag's stands at the end of its message.
const BEGIN: [&[u8]; 3] =
    [b"-----BEGIN SSH SIGNATURE-----", b"-----BEGIN PGP SIGNATURE-----", b"-----BEGIN PGP MESSAGE-----"];

/// An object as it was signed.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Signed {
    pub(super) payload: Vec<u8>,
    pub(super) signature: Option<Vec<u8>>,
    /// When its maker says that it was made; part of what is signed.
    pub(super) time: Option<SystemTime>,
}

/// Takes a commit apart.
pub(super) fn commit(object: &[u8]) -> Result<Signed, &'static str> {
    enum In {
        Payload,
        Signature,
        Nothing,
    }
    let (mut payload, mut signature) = (Vec::with_capacity(object.len()), None::<Vec<u8>>);
    let (header, message) = object.split_at(header_end(object));
    let mut at = In::Payload;
    for line in header.split_inclusive(|&byte| byte == b'\n') {
        let line = match (line.strip_prefix(b" "), line.strip_prefix(COMMIT_SIGNATURE)) {
            (Some(more), _) if matches!(at, In::Signature) => more,
            (Some(_), _) => line,
            (None, Some(_)) if signature.is_some() => return Err("it has two signatures"),
            (None, Some(first)) => {
                at = In::Signature;
                first
            }
            (None, None) => {
                at = if line.starts_with(OTHER_SIGNATURE) { In::Nothing } else { In::Payload };
                line
            }
        };
        match at {
            In::Payload => payload.extend(line),
            In::Signature => signature.get_or_insert_default().extend(line),
            In::Nothing => {}
        }
    }
    payload.extend(message);
    Ok(Signed { payload, signature, time: time(header, b"committer ") })
}

/// Takes an annotated tag apart.
#[allow(clippy::unnecessary_wraps, reason = "it takes the place of `commit`")]
pub(super) fn tag(object: &[u8]) -> Result<Signed, &'static str> {
    let mut offset = 0;
    let mut split = None;
    for line in object.split_inclusive(|&byte| byte == b'\n') {
        if BEGIN.iter().any(|begin| line.starts_with(begin)) {
            split = Some(offset);
        }
        offset += line.len();
    }
    let (payload, signature) = object.split_at(split.unwrap_or(object.len()));
    let time = time(&object[..header_end(object)], b"tagger ");
    Ok(Signed { payload: payload.to_vec(), signature: split.map(|_| signature.to_vec()), time })
}

/// What a tag points to.
pub(super) fn target(tag: &[u8]) -> Option<Oid> {
    let line = tag.split(|&byte| byte == b'\n').next()?.strip_prefix(b"object ")?;
    Oid::from_str(std::str::from_utf8(line).ok()?).ok()
}

/// Where the message begins, with the empty line before it.
fn header_end(object: &[u8]) -> usize {
    object.windows(2).position(|pair| pair == b"\n\n").map_or(object.len(), |at| at + 1)
}

/// The seconds in `committer A <a@example.com> 1700000000 +0100`.
fn time(header: &[u8], name: &[u8]) -> Option<SystemTime> {
    let line = header.split(|&byte| byte == b'\n').find_map(|line| line.strip_prefix(name))?;
    let seconds = std::str::from_utf8(line.rsplit(|&byte| byte == b' ').nth(1)?).ok()?;
    SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(seconds.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: &str = "tree 1\nauthor A <a@b> 5 +0000\ncommitter A <a@b> 7 +0100\n";

    fn parts(object: &str) -> (String, Option<String>) {
        let signed = commit(object.as_bytes()).unwrap();
        assert_eq!(signed.time, Some(SystemTime::UNIX_EPOCH + Duration::from_secs(7)));
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        (text(signed.payload), signed.signature.map(text))
    }

    #[test]
    fn a_commit_is_signed_without_its_signature() {
        let object = format!("{HEAD}gpgsig B\n 1\n \n E\nencoding x\n\nmessage\n gpgsig no\n");
        let payload = format!("{HEAD}encoding x\n\nmessage\n gpgsig no\n");
        assert_eq!(parts(&object), (payload.clone(), Some("B\n1\n\nE\n".into())));
        let both = format!("{HEAD}gpgsig-sha256 X\n Y\ngpgsig B\n 1\n \n E\nencoding x\n\nmessage\n gpgsig no\n");
        assert_eq!(parts(&both), (payload, Some("B\n1\n\nE\n".into())));
        let merged = format!("{HEAD}mergetag object 2\n type commit\ngpgsig B\n\nm");
        assert_eq!(parts(&merged), (format!("{HEAD}mergetag object 2\n type commit\n\nm"), Some("B\n".into())));
    }

    #[test]
    fn what_looks_like_a_signature_in_a_message_is_none() {
        let object = format!("{HEAD}\nmessage\ngpgsig B\n E\n\0 and more\n");
        assert_eq!(parts(&object), (object.clone(), None));
        assert_eq!(parts(HEAD), (HEAD.into(), None));
    }

    #[test]
    fn two_signatures_are_refused() {
        assert!(commit(format!("{HEAD}gpgsig A\n B\ngpgsig C\n\nm").as_bytes()).is_err());
    }

    #[test]
    fn a_tag_is_signed_up_to_its_last_signature() {
        let head = "object 1111111111111111111111111111111111111111\ntype commit\ntag v1\ntagger A <a@b> 9 +0000\n\n";
        let payload = format!("{head}-----BEGIN PGP SIGNATURE-----\nold\n");
        let signature = "-----BEGIN SSH SIGNATURE-----\nx\n";
        let signed = tag(format!("{payload}{signature}").as_bytes()).unwrap();
        assert_eq!(signed.payload, payload.as_bytes());
        assert_eq!(signed.signature.as_deref(), Some(signature.as_bytes()));
        assert_eq!(signed.time, Some(SystemTime::UNIX_EPOCH + Duration::from_secs(9)));
        assert_eq!(tag(head.as_bytes()).unwrap().signature, None);
        assert_eq!(target(head.as_bytes()), Some(Oid::from_str(&"1".repeat(40)).unwrap()));
    }
}
