use super::client::{ask, send, server};
use crate::s3::{S3Double, sha256};

fn put(s3: &S3Double, fields: &[(&str, &str)], body: &str) -> u16 {
    send(s3, "PUT /b/k?x-id=PutObject", fields, body.as_bytes()).status
}

#[test]
fn an_object_is_written_and_deleted() {
    let s3 = server(&[]);
    let fields = [("x-amz-meta-mtime", "12.5"), ("content-type", "text/x-python")];
    let answer = send(&s3, "PUT /b/d/%C3%A9%20%2B.py", &fields, b"hello");
    assert_eq!(answer.header("etag"), Some("\"5d41402abc4b2a76b9719d911017c592\""));
    assert_eq!(s3.keys("b"), ["d/é +.py"]);
    let read = ask(&s3, "GET /b/d/%C3%A9%20%2B.py");
    assert_eq!(read.text(), "hello");
    for (name, value) in fields {
        assert_eq!(read.header(name), Some(value));
    }
    assert_eq!(ask(&s3, "DELETE /b/d/%C3%A9%20%2B.py").status, 204);
    assert_eq!(ask(&s3, "DELETE /b/d/%C3%A9%20%2B.py").status, 204);
    assert_eq!(s3.get("b", "d/é +.py"), None);
}

#[test]
fn conditions_decide_about_writing() {
    let s3 = server(&[]);
    assert_eq!(put(&s3, &[("if-match", "\"x\"")], "0"), 404);
    assert_eq!(put(&s3, &[("if-none-match", "*")], "1"), 200);
    let answer = send(&s3, "PUT /b/k", &[("if-none-match", "*")], b"2");
    assert_eq!((answer.status, answer.one("Code")), (412, "PreconditionFailed"));
    let etag = ask(&s3, "HEAD /b/k").header("etag").unwrap().to_owned();
    assert_eq!(put(&s3, &[("if-match", "\"stale\"")], "3"), 412);
    assert_eq!(s3.get("b", "k").unwrap(), b"1");
    assert_eq!(put(&s3, &[("if-match", &etag)], "4"), 200);
    assert_eq!(s3.get("b", "k").unwrap(), b"4");
}

#[test]
fn some_stores_know_no_conditions() {
    let s3 = server(&["k"]);
    s3.ignore_conditions(true);
    assert_eq!(put(&s3, &[("if-none-match", "*")], "new"), 200);
    assert_eq!(put(&s3, &[("if-match", "\"stale\"")], "newer"), 200);
    assert_eq!(s3.get("b", "k").unwrap(), b"newer");
}

#[test]
fn some_stores_know_no_quotes() {
    let s3 = server(&[]);
    s3.unquoted_etags_only(true);
    let quoted = s3.put("b", "k", "1");
    assert_eq!(put(&s3, &[("if-match", &quoted)], "2"), 412);
    assert_eq!(put(&s3, &[("if-match", quoted.trim_matches('"'))], "3"), 200);
}

#[test]
fn opaque_etags_differ_for_equal_content() {
    let s3 = server(&[]);
    s3.opaque_etags(true);
    let etags = [s3.put("b", "k", "same"), s3.put("b", "k", "same")];
    assert_ne!(etags[0], etags[1]);
    assert_eq!(ask(&s3, "HEAD /b/k").header("etag"), Some(etags[1].as_str()));
}

#[test]
fn a_checksum_is_verified_and_kept() {
    let s3 = server(&[]);
    let wrong = send(&s3, "PUT /b/k", &[("x-amz-checksum-sha256", &sha256("other"))], b"text");
    assert_eq!((wrong.status, wrong.one("Code")), (400, "BadDigest"));
    assert_eq!(s3.get("b", "k"), None);
    assert_eq!(put(&s3, &[("x-amz-checksum-sha256", &sha256("text"))], "text"), 200);
    let read = send(&s3, "HEAD /b/k", &[("x-amz-checksum-mode", "ENABLED")], b"");
    assert_eq!(read.header("x-amz-checksum-sha256"), Some(&*sha256("text")));
    assert_eq!(ask(&s3, "GET /b?list-type=2").one("ChecksumType"), "FULL_OBJECT");
}

#[test]
fn chunks_of_the_sdk_are_taken_apart() {
    let s3 = server(&[]);
    let body = |sum: &str| {
        format!("5\r\nhello\r\n7;chunk-signature=ab\r\n\r\nworld\r\n0\r\nx-amz-checksum-sha256:{sum}\r\n\r\n")
    };
    let fields = [
        ("x-amz-content-sha256", "STREAMING-UNSIGNED-PAYLOAD-TRAILER"),
        ("content-encoding", "aws-chunked"),
        ("x-amz-decoded-content-length", "12"),
    ];
    assert_eq!(put(&s3, &fields, &body(&sha256("hello\r\nworld"))), 200);
    assert_eq!(s3.get("b", "k").unwrap(), b"hello\r\nworld");
    assert_eq!(put(&s3, &fields, &body(&sha256("other"))), 400);
    assert_eq!(put(&s3, &fields, "5\r\nhello\r\n"), 400);
    assert_eq!(put(&s3, &fields, "5\r\nhello\r\n0\r\n\r\n"), 400);
}
