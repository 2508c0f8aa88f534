//! The little XML that S3 answers with.

use std::fmt::Write as _;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

const NAMESPACE: &str = "http://s3.amazonaws.com/doc/2006-03-01/";

/// What AWS leaves alone in a key with `encoding-type=url`; as Java's `URLEncoder`, but for the slash.
const KEY: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'*').remove(b'/').remove(b' ');

/// A key as a listing with `encoding-type=url` shows it: a space is `+`, a plus is `%2B`.
pub(super) fn encoded(key: &str) -> String {
    utf8_percent_encode(key, KEY).to_string().replace(' ', "+")
}

/// A document, written from the top.
#[derive(Debug)]
pub(super) struct Xml(String);

impl Xml {
    pub(super) fn new() -> Self {
        Self("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n".to_owned())
    }

    /// A document with its outermost element, in the name space of S3.
    pub(super) fn document(name: &str) -> Self {
        let mut xml = Self::new();
        xml.write(format_args!("<{name} xmlns=\"{NAMESPACE}\">"));
        xml
    }

    pub(super) fn open(&mut self, name: &str) {
        self.write(format_args!("<{name}>"));
    }

    pub(super) fn close(&mut self, name: &str) {
        self.write(format_args!("</{name}>"));
    }

    /// An element with text.
    pub(super) fn text(&mut self, name: &str, text: &str) {
        self.open(name);
        text.chars().for_each(|c| self.char(c));
        self.close(name);
    }

    /// An element with text, if there is any.
    pub(super) fn optional(&mut self, name: &str, text: Option<&str>) {
        if let Some(text) = text {
            self.text(name, text);
        }
    }

    pub(super) fn finish(self) -> String {
        self.0
    }

    /// Control characters become references that XML 1.0 forbids, as AWS sends them: a client that wants such keys has
    /// to ask for `encoding-type=url`.
    fn char(&mut self, c: char) {
        match c {
            '&' => self.0.push_str("&amp;"),
            '<' => self.0.push_str("&lt;"),
            '>' => self.0.push_str("&gt;"),
            '"' => self.0.push_str("&quot;"),
            c if c < ' ' => self.write(format_args!("&#x{:x};", u32::from(c))),
            c => self.0.push(c),
        }
    }

    fn write(&mut self, text: std::fmt::Arguments<'_>) {
        self.0.write_fmt(text).expect("a string takes any text");
    }
}
