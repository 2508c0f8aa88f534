//! A client of a few lines, which hides nothing: it gives back the bytes that came and how the connection ended.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use crate::s3::S3Double;

/// What came back.
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) head: String,
    pub(super) body: Vec<u8>,
}

impl Answer {
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        let fields = self.head.lines().filter_map(|line| line.split_once(": "));
        fields.filter(|(have, _)| *have == name).map(|(_, value)| value).next()
    }

    pub(super) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    /// The texts of every element of this name.
    pub(super) fn all(&self, element: &str) -> Vec<&str> {
        let parts = self.text().split(&format!("<{element}>")[..]).skip(1).collect::<Vec<_>>();
        parts.into_iter().map(|part| part.split_once(&format!("</{element}>")[..]).unwrap().0).collect()
    }

    pub(super) fn one(&self, element: &str) -> &str {
        let all = self.all(element);
        assert_eq!(all.len(), 1, "{element} in {}", self.text());
        all[0]
    }
}

pub(super) fn connect(s3: &S3Double) -> TcpStream {
    let stream = TcpStream::connect(s3.endpoint().strip_prefix("http://").unwrap()).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    stream
}

/// Sends a request, for example `GET /b/k`, and reads until the server closes. The error is that of the connection.
pub(super) fn exchange(mut stream: &TcpStream, line: &str, fields: &[(&str, &str)], body: &[u8]) -> io::Result<Answer> {
    let fields: String = fields.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
    let length = body.len();
    let head = format!("{line} HTTP/1.1\r\nhost: s3\r\nconnection: close\r\ncontent-length: {length}\r\n{fields}\r\n");
    stream.write_all(&[head.as_bytes(), body].concat())?;
    let mut bytes = Vec::new();
    match stream.read_to_end(&mut bytes) {
        // What came before the client lost patience counts.
        Err(error) if error.kind() != io::ErrorKind::WouldBlock => return Err(error),
        _ => {}
    }
    let end = bytes.windows(4).position(|four| four == b"\r\n\r\n").ok_or(io::ErrorKind::UnexpectedEof)?;
    let head = String::from_utf8(bytes[..end].to_vec()).unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    Ok(Answer { status, head, body: bytes[end + 4..].to_vec() })
}

pub(super) fn send(s3: &S3Double, line: &str, fields: &[(&str, &str)], body: &[u8]) -> Answer {
    exchange(&connect(s3), line, fields, body).unwrap()
}

pub(super) fn ask(s3: &S3Double, line: &str) -> Answer {
    send(s3, line, &[], b"")
}

/// A server with the bucket `b` that holds these keys, each with its own name as content.
pub(super) fn server(keys: &[&str]) -> S3Double {
    let s3 = S3Double::start();
    s3.create_bucket("b");
    for key in keys {
        s3.put("b", key, key);
    }
    s3
}
