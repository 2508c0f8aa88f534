//! Requests about buckets that clients make beside their work.

use super::State;
use super::call::Call;
use super::reply::{Answer, Refusal, Reply};
use super::xml::Xml;

impl State {
    pub(super) fn other(&mut self, call: &Call) -> Answer {
        match (call.method.as_str(), call.key.is_empty()) {
            ("GET", true) if call.bucket.is_empty() => Ok(self.list_buckets()),
            ("HEAD", true) => self.bucket(&call.bucket).map(|_| Reply::new(200)),
            ("PUT", true) if call.query.is_empty() => {
                self.buckets.entry(call.bucket.clone()).or_default();
                Ok(Reply::new(200).with("location", format!("/{}", call.bucket)))
            }
            // An empty location is that of us-east-1.
            ("GET", true) if call.parameters.contains_key("location") => {
                self.bucket(&call.bucket).map(|_| document("LocationConstraint", |_| ()))
            }
            ("GET", true) if call.parameters.contains_key("versioning") => {
                let status = self.bucket(&call.bucket)?.versioned.then_some("Enabled");
                Ok(document("VersioningConfiguration", |xml| xml.optional("Status", status)))
            }
            _ => Err(Refusal::not_implemented()),
        }
    }

    fn list_buckets(&self) -> Reply {
        document("ListAllMyBucketsResult", |xml| {
            xml.open("Buckets");
            for name in self.buckets.keys() {
                xml.open("Bucket");
                xml.text("Name", name);
                xml.text("CreationDate", "2026-01-01T00:00:00.000Z");
                xml.close("Bucket");
            }
            xml.close("Buckets");
        })
    }
}

fn document(element: &str, write: impl FnOnce(&mut Xml)) -> Reply {
    let mut xml = Xml::document(element);
    write(&mut xml);
    xml.close(element);
    Reply::xml(200, xml)
}
