use std::io;
use std::thread;
use std::time::{Duration, Instant};

use super::client::{Answer, ask, connect, exchange, send, server};
use crate::s3::{Action, Op, Rule, S3Double};

/// A GET by somebody with little patience.
fn impatient(s3: &S3Double) -> io::Result<Answer> {
    let stream = connect(s3);
    stream.set_read_timeout(Some(Duration::from_secs(1))).unwrap();
    exchange(&stream, "GET /b/k", &[], b"")
}

fn kind(answer: io::Result<Answer>) -> Option<io::ErrorKind> {
    answer.err().map(|error| error.kind())
}

#[test]
fn a_rule_meets_what_it_names_and_then_ends() {
    let s3 = server(&["k", "other"]);
    s3.inject(Rule::on(Op::Get, Action::status(503, "SlowDown")).key("k").skip(1).times(2));
    let statuses = ["GET /b/k", "GET /b/other", "HEAD /b/k", "GET /b/k", "GET /b/k", "GET /b/k"];
    assert_eq!(statuses.map(|line| ask(&s3, line).status), [200, 200, 200, 503, 503, 200]);
    s3.inject(Rule::any(Action::redirect("eu-central-1")).forever());
    let moved = ask(&s3, "GET /b?list-type=2");
    assert_eq!((moved.status, moved.one("Code")), (301, "PermanentRedirect"));
    assert_eq!(moved.header("x-amz-bucket-region"), Some("eu-central-1"));
    s3.clear_faults();
    assert_eq!(ask(&s3, "GET /b/k").status, 200);
    assert_eq!((s3.count(Op::Get), s3.count(Op::Head), s3.count(Op::List)), (6, 1, 1));
    s3.clear_requests();
    assert!(s3.requests().is_empty());
}

#[test]
fn a_rule_for_a_listing_looks_at_its_prefix() {
    let s3 = server(&["dags/a"]);
    s3.inject(Rule::on(Op::List, Action::status(403, "AccessDenied")).key("dags"));
    assert_eq!(ask(&s3, "GET /b?list-type=2&prefix=logs/").status, 200);
    assert_eq!(ask(&s3, "GET /b?list-type=2&prefix=dags/").one("Code"), "AccessDenied");
}

#[test]
fn a_body_is_cut_after_exactly_so_many_bytes() {
    let s3 = server(&[]);
    // More than any buffer on the way holds.
    let content = vec![7; 9_000_000];
    s3.put("b", "k", &content);
    for bytes in [0, 3, 100_000, 8_000_001] {
        s3.inject(Rule::on(Op::Get, Action::Truncate(bytes)));
        let answer = ask(&s3, "GET /b/k");
        assert_eq!((answer.status, answer.header("content-length")), (200, Some("9000000")));
        assert_eq!(answer.body.len(), bytes);
    }
    assert_eq!(ask(&s3, "GET /b/k").body, content);
}

#[test]
fn a_body_is_longer_than_the_object() {
    let s3 = server(&["k"]);
    s3.inject(Rule::on(Op::Get, Action::Overlong(2)));
    let answer = ask(&s3, "GET /b/k");
    assert_eq!((answer.header("content-length"), answer.header("transfer-encoding")), (None, Some("chunked")));
    assert_eq!(answer.text(), "3\r\nk++\r\n0\r\n\r\n");
}

#[test]
fn a_body_stalls_until_the_client_goes() {
    let s3 = server(&[]);
    s3.put("b", "k", "hello");
    s3.inject(Rule::on(Op::Get, Action::Stall(2)));
    let start = Instant::now();
    let answer = impatient(&s3).unwrap();
    assert!(start.elapsed() >= Duration::from_secs(1), "the connection ended by itself");
    assert_eq!((answer.header("content-length"), answer.text()), (Some("5"), "he"));
    assert_eq!(ask(&s3, "GET /b/k").text(), "hello");
}

#[test]
fn a_connection_is_reset_before_the_answer() {
    let s3 = server(&["k"]);
    s3.inject(Rule::on(Op::Put, Action::Reset));
    assert_eq!(kind(exchange(&connect(&s3), "PUT /b/k", &[], b"new")), Some(io::ErrorKind::ConnectionReset));
    assert_eq!(s3.get("b", "k").unwrap(), b"k");
    assert_eq!(s3.requests()[0].status, None);
}

#[test]
fn an_answer_is_lost() {
    let s3 = server(&[]);
    s3.inject(Rule::on(Op::Put, Action::Lost));
    let first = exchange(&connect(&s3), "PUT /b/k", &[("if-none-match", "*")], b"new");
    assert_eq!(kind(first), Some(io::ErrorKind::ConnectionReset));
    assert_eq!(send(&s3, "PUT /b/k", &[("if-none-match", "*")], b"new").status, 412);
}

#[test]
fn an_answer_comes_late_or_never() {
    let s3 = server(&["k"]);
    s3.inject(Rule::on(Op::Get, Action::Delay(Duration::from_millis(300))));
    let start = Instant::now();
    assert_eq!(ask(&s3, "GET /b/k").status, 200);
    assert!(start.elapsed() >= Duration::from_millis(300));
    s3.inject(Rule::on(Op::Get, Action::Hang));
    assert_eq!(kind(impatient(&s3)), Some(io::ErrorKind::UnexpectedEof));
    assert_eq!(s3.requests()[1].status, None);
}

#[test]
fn an_answer_is_a_page_of_html() {
    let s3 = server(&["k"]);
    s3.inject(Rule::on(Op::Get, Action::Garbage));
    let answer = ask(&s3, "GET /b/k");
    assert_eq!((answer.status, answer.header("content-type")), (200, Some("text/html")));
    assert!(answer.text().contains("<html>"));
}

#[test]
fn a_test_changes_the_bucket_in_between() {
    let s3 = server(&["k"]);
    s3.inject(Rule::on(Op::Get, Action::run(|s3| drop(s3.put("b", "k", "changed")))));
    assert_eq!(ask(&s3, "GET /b/k").text(), "changed");
}

#[test]
fn the_server_ends_with_its_last_handle() {
    let s3 = server(&["k"]);
    let (other, hung) = (s3.clone(), connect(&s3));
    let address = s3.endpoint().strip_prefix("http://").unwrap().to_owned();
    s3.inject(Rule::on(Op::Get, Action::Hang));
    let client = thread::spawn(move || exchange(&hung, "GET /b/k", &[], b""));
    while other.count(Op::Get) == 0 {
        thread::sleep(Duration::from_millis(1));
    }
    drop(s3);
    assert_eq!(ask(&other, "GET /b/k").status, 200);
    drop(other);
    assert!(client.join().unwrap().is_err());
    assert!(std::net::TcpStream::connect(address).is_err());
}
