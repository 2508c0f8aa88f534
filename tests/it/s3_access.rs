//! Who a pod is to an S3 server, how it gets there, and how it hears that something changed.

mod endpoints;
mod events;
mod keys;
mod roles;
mod secrecy;

use dagsync_core::Digest;
use dagsync_testkit::s3::{S3Double, Seen};

use crate::harness::{Bucket, Pod};

/// A server that notes what it is asked, with one bucket.
fn double(content: &str) -> S3Double {
    let s3 = S3Double::start();
    s3.create_bucket("b");
    s3.put("b", "dags/a.py", content);
    s3
}

/// A pod that reads from a server and knows nobody to ask for credentials.
fn pod(source: &str, endpoint: &str) -> Pod {
    Pod::new(source)
        .set("s3.endpoint", endpoint)
        .set("log.level", "debug")
        .set("max_failures", "-1")
        .env("AWS_EC2_METADATA_DISABLED", "true")
}

fn pod_of(s3: &S3Double) -> Pod {
    pod("s3://b/dags", &s3.endpoint())
}

fn pod_in(bucket: &Bucket) -> Pod {
    pod(&bucket.url("dags"), &bucket.server.endpoint)
}

/// With these keys in its environment.
fn keyed(pod: Pod, id: &str, secret: &str) -> Pod {
    pod.env("AWS_ACCESS_KEY_ID", id).env("AWS_SECRET_ACCESS_KEY", secret)
}

/// The version of a tree that holds `a.py` alone.
fn version(content: &str) -> String {
    format!("sha256:{}", Digest::of(format!("{}  a.py\n", Digest::of(content))))
}

/// The port in `http://127.0.0.1:port`.
fn port(endpoint: &str) -> u16 {
    endpoint.rsplit_once(':').unwrap().1.parse().unwrap()
}

/// The access key that signed a request.
fn signer(authorization: Option<&str>) -> String {
    let of_key = authorization.and_then(|text| text.split_once("Credential=")?.1.split_once('/'));
    of_key.map(|(key, _)| key.to_owned()).unwrap_or_default()
}

/// The access keys of requests, each once, in the order in which they came.
fn signers(requests: &[Seen]) -> Vec<String> {
    let mut signers: Vec<String> = requests.iter().map(|seen| signer(seen.header("authorization"))).collect();
    signers.dedup();
    signers
}

/// Seconds from now, as AWS writes a time.
fn moment(seconds: u64) -> String {
    let at = std::time::SystemTime::now() + std::time::Duration::from_secs(seconds);
    humantime::format_rfc3339_seconds(at).to_string()
}
