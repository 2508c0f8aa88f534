use super::client::{ask, send, server};
use crate::s3::{Op, PutOptions, sha256};

#[test]
fn an_object_is_read_whole_or_in_part() {
    let s3 = server(&["0123456789"]);
    let whole = ask(&s3, "GET /b/0123456789?x-id=GetObject");
    assert_eq!((whole.status, whole.text(), whole.header("content-length")), (200, "0123456789", Some("10")));
    for (range, status, text, shown) in [
        ("bytes=2-4", 206, "234", Some("bytes 2-4/10")),
        ("bytes=7-", 206, "789", Some("bytes 7-9/10")),
        ("bytes=8-99", 206, "89", Some("bytes 8-9/10")),
        ("bytes=-3", 206, "789", Some("bytes 7-9/10")),
        ("bytes=4-2", 200, "0123456789", None),
        ("lines=1-2", 200, "0123456789", None),
    ] {
        let part = send(&s3, "GET /b/0123456789", &[("range", range)], b"");
        assert_eq!((part.status, part.text(), part.header("content-range")), (status, text, shown), "{range}");
        assert_eq!(part.header("content-length"), Some(&*text.len().to_string()));
    }
    let beyond = send(&s3, "GET /b/0123456789", &[("range", "bytes=10-")], b"");
    assert_eq!((beyond.status, beyond.one("Code")), (416, "InvalidRange"));
    assert_eq!(s3.requests()[1].range.as_deref(), Some("bytes=2-4"));
}

#[test]
fn a_head_has_the_fields_and_no_body() {
    let s3 = server(&["key"]);
    let (get, head) = (ask(&s3, "GET /b/key"), ask(&s3, "HEAD /b/key"));
    for field in ["content-length", "etag", "last-modified"] {
        assert!(head.header(field).is_some() && head.header(field) == get.header(field), "{field}");
    }
    assert!(head.body.is_empty());
    assert_eq!(ask(&s3, "HEAD /b/none").status, 404);
}

#[test]
fn conditions_decide_about_reading() {
    let s3 = server(&["key"]);
    let etag = ask(&s3, "HEAD /b/key").header("etag").unwrap().to_owned();
    let status = |name, value: &str| send(&s3, "GET /b/key", &[(name, value)], b"").status;
    assert_eq!((status("if-match", &etag), status("if-match", "\"other\"")), (200, 412));
    assert_eq!((status("if-none-match", &etag), status("if-none-match", "\"other\"")), (304, 200));
    assert_eq!(status("if-none-match", etag.trim_matches('"')), 304);
    let unchanged = send(&s3, "GET /b/key", &[("if-none-match", &etag)], b"");
    assert_eq!((unchanged.header("etag"), unchanged.header("content-length")), (Some(etag.as_str()), None));
    assert!(unchanged.body.is_empty());
    let seen = s3.requests().pop().unwrap();
    assert_eq!((seen.op, seen.status, seen.if_none_match.as_deref()), (Op::Get, Some(304), Some(etag.as_str())));
}

#[test]
fn what_is_not_there_is_named() {
    let s3 = server(&["key"]);
    let missing = ask(&s3, "GET /b/a%20b");
    assert_eq!((missing.status, missing.one("Code"), missing.one("Key")), (404, "NoSuchKey", "a b"));
    assert_eq!(ask(&s3, "GET /c/key").one("Code"), "NoSuchBucket");
    assert_eq!(ask(&s3, "GET /b/key?tagging").one("Code"), "NotImplemented");
    assert_eq!(ask(&s3, "POST /b?delete").status, 501);
    assert_eq!((ask(&s3, "HEAD /b").status, ask(&s3, "HEAD /c").status), (200, 404));
}

#[test]
fn archived_objects_cannot_be_read() {
    let s3 = server(&[]);
    let options = PutOptions { storage_class: Some("GLACIER".to_owned()), ..PutOptions::default() };
    s3.put_with("b", "old", "ice", options);
    let answer = ask(&s3, "GET /b/old");
    assert_eq!((answer.status, answer.one("Code")), (403, "InvalidObjectState"));
    let head = ask(&s3, "HEAD /b/old");
    assert_eq!((head.status, head.header("x-amz-storage-class")), (200, Some("GLACIER")));
}

#[test]
fn a_checksum_is_shown_when_asked_for() {
    let s3 = server(&["without"]);
    let options = PutOptions { sha256: Some(sha256("text")), ..PutOptions::default() };
    s3.put_with("b", "with", "text", options);
    let sum = |line: &str, fields: &[_]| {
        let answer = send(&s3, line, fields, b"");
        answer.header("x-amz-checksum-sha256").map(str::to_owned)
    };
    let mode = ("x-amz-checksum-mode", "ENABLED");
    assert_eq!(sum("GET /b/with", &[mode]).as_deref(), Some("mC2ePrmW9VnmM/TRlN7zdh2Qn1o7ZH0ahR/q1nwyydE="));
    assert_eq!(sum("GET /b/with", &[]), None);
    assert_eq!(sum("GET /b/with", &[mode, ("range", "bytes=1-")]), None);
    assert_eq!(sum("GET /b/without", &[mode]), None);
}

#[test]
fn versions_are_read_and_deleted_by_id() {
    let s3 = server(&[]);
    s3.versioned("b", true);
    let id = |content: &[u8]| send(&s3, "PUT /b/k", &[], content).header("x-amz-version-id").unwrap().to_owned();
    let (old, new) = (id(b"old"), id(b"new"));
    assert_eq!(ask(&s3, &format!("GET /b/k?versionId={old}")).text(), "old");
    assert_eq!(ask(&s3, "GET /b/k").header("x-amz-version-id"), Some(new.as_str()));
    let deleted = ask(&s3, "DELETE /b/k");
    assert_eq!((deleted.status, deleted.header("x-amz-delete-marker")), (204, Some("true")));
    let marker = deleted.header("x-amz-version-id").unwrap();
    assert_eq!(ask(&s3, "GET /b/k").one("Code"), "NoSuchKey");
    assert_eq!(ask(&s3, &format!("GET /b/k?versionId={marker}")).status, 405);
    assert_eq!(ask(&s3, "GET /b/k?versionId=none").one("Code"), "NoSuchVersion");
    assert_eq!(ask(&s3, &format!("DELETE /b/k?versionId={marker}")).status, 204);
    assert_eq!(ask(&s3, "GET /b/k").text(), "new");
    ask(&s3, &format!("DELETE /b/k?versionId={new}"));
    assert_eq!(s3.get("b", "k").as_deref(), Some(&b"old"[..]));
}

#[test]
fn other_access_keys_are_refused() {
    let s3 = server(&["key"]);
    s3.require_token(Some("AKIDEXAMPLE"));
    let with = |key: &str| {
        let field = format!("AWS4-HMAC-SHA256 Credential={key}/20260101/us-east-1/s3/aws4_request, Signature=0");
        send(&s3, "GET /b/key", &[("authorization", &field)], b"").status
    };
    assert_eq!((with("AKIDEXAMPLE"), with("AKID")), (200, 403));
    assert_eq!(ask(&s3, "GET /b/key").one("Code"), "InvalidAccessKeyId");
    assert_eq!(s3.requests().iter().map(|seen| seen.authorized).collect::<Vec<_>>(), [true, true, false]);
    s3.require_token(None);
    assert_eq!(ask(&s3, "GET /b/key").status, 200);
}
