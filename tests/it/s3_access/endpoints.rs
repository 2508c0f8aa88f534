//! Where the server is, what is on the way to it, and what every request tells it.

use std::collections::BTreeSet;
use std::path::Path;

use dagsync_testkit::s3::{Action, Op, Rule, S3Double, Seen};
use serde_json::json;

use super::{double, keyed, pod, pod_in, pod_of, port, version};
use crate::harness::{Bucket, Nginx, Outcome, Pod, Proxy, S3Server, dagsync, shell};

/// radosgw, which checks that what was signed is what came.
fn bucket(server: &'static S3Server) -> Bucket {
    let bucket = server.bucket();
    bucket.put("dags/a.py", "1");
    bucket
}

fn pod_at(bucket: &Bucket, endpoint: &str) -> Pod {
    let server = bucket.server;
    keyed(pod(&bucket.url("dags"), endpoint), &server.access_key, &server.secret_key).set("s3.attempts", "1")
}

#[test]
fn a_private_ca_is_trusted_once_it_is_named() {
    let bucket = bucket(S3Server::rgw());
    let nginx = Nginx::before(port(&bucket.server.endpoint));
    let pod = || pod_at(&bucket, &format!("https://127.0.0.1:{}", nginx.port)).set("max_failures", "0");
    pod().set("s3.ca_file", nginx.ca()).once().ended(0, &[&version("1")]);
    pod().once().ended(2, &["the server's certificate is not trusted", "name the authority", "s3.ca_file"]);
    let other = Nginx::before(1);
    pod().set("s3.ca_file", other.ca()).once().ended(2, &["certificate is not trusted", "s3.ca_file"]);
    pod().set("s3.ca_file", "/nonexistent/ca.pem").once().ended(64, &["/nonexistent/ca.pem: it is not there"]);
    let key = nginx.ca().with_file_name("ca.key");
    pod().set("s3.ca_file", key).once().ended(64, &["it holds no certificate", "PEM"]);
}

#[test]
fn https_goes_through_the_proxy_of_the_environment_and_around_it() {
    let bucket = bucket(S3Server::rgw());
    let (nginx, proxy) = (Nginx::before(port(&bucket.server.endpoint)), Proxy::start());
    let pod = || {
        pod_at(&bucket, &format!("https://127.0.0.1:{}", nginx.port))
            .set("s3.ca_file", nginx.ca())
            .set("max_failures", "0")
    };
    pod().env("https_proxy", proxy.url()).once().ended(0, &[&version("1")]);
    let asked = proxy.asked();
    assert!(!asked.is_empty() && asked.iter().all(|to| *to == format!("127.0.0.1:{}", nginx.port)), "{asked:?}");
    pod().env("https_proxy", proxy.url()).env("no_proxy", "127.0.0.1").once().ended(0, &[&version("1")]);
    assert_eq!(proxy.asked(), asked, "no_proxy");
    for refused in ["403 Forbidden", "407 Proxy Authentication Required"] {
        let proxy = Proxy::answering(refused);
        let outcome = pod().env("https_proxy", proxy.url()).once();
        outcome.ended(2, &["the proxy does not let it through", "https_proxy", "no_proxy"]);
        assert!(!proxy.asked().is_empty());
    }
    let gone = pod().env("https_proxy", "http://ada:hunter-2000@127.0.0.1:1").once();
    gone.ended(2, &["the proxy does not let it through", "https_proxy"]);
    assert!(!gone.stderr.contains("hunter-2000"), "{gone:?}");
}

#[test]
fn plain_http_goes_through_a_proxy_too() {
    let s3 = double("1");
    let proxy = Proxy::start();
    let pod = || keyed(pod_of(&s3), "AKIA1", "x").set("max_failures", "0").set("s3.attempts", "1");
    pod().env("http_proxy", proxy.url()).once().ended(0, &[&version("1")]);
    let asked = proxy.asked();
    assert!(!asked.is_empty() && asked.iter().all(|to| *to == s3.endpoint()["http://".len()..]), "{asked:?}");
    pod().env("http_proxy", proxy.url()).env("no_proxy", "127.0.0.1").once().ended(0, &[]);
    assert_eq!(proxy.asked(), asked, "no_proxy");
    for (refused, words) in [
        ("403 Forbidden", "http_proxy"),
        ("407 Proxy Authentication Required", "write http_proxy as http://user:password@host:port"),
    ] {
        let proxy = Proxy::answering(refused);
        pod().env("http_proxy", proxy.url()).once().ended(2, &["proxy", words]);
    }
}

#[test]
fn the_bucket_stands_in_the_host_or_in_the_path() {
    let bucket = bucket(S3Server::moto());
    let proxy = Proxy::to(port(&bucket.server.endpoint));
    let pod = |endpoint: &str| pod_at(&bucket, endpoint).env("http_proxy", proxy.url());
    let virtual_host = format!("{}.s3.test", bucket.name);
    let hosts = |pod: Pod| {
        let before = proxy.asked().len();
        pod.once().ended(0, &[&version("1")]);
        proxy.asked().split_off(before).into_iter().collect::<BTreeSet<_>>()
    };
    // moto takes the first of several labels for a bucket.
    let only = |host: &str| BTreeSet::from([host.to_owned()]);
    assert_eq!(hosts(pod("http://s3.test").set("s3.addressing", "virtual")), only(&virtual_host));
    assert_eq!(hosts(pod("http://s3").set("s3.addressing", "path")), only("s3"));
    assert_eq!(hosts(pod("http://s3")), only("s3"));
    for variable in ["AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL"] {
        let named = pod("").env(variable, "http://s3").env("AWS_REGION", "us-east-1");
        assert_eq!(hosts(named), only("s3"), "{variable} names a server of one's own as s3.endpoint does");
    }
}

/// `dagsync publish` of one file to the double.
fn publish(s3: &S3Double, settings: &[(&str, &str)]) -> Outcome {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("a.py"), "1").unwrap();
    let mut command = dagsync();
    command.arg("publish").arg(folder.path()).arg("s3://b/published");
    command.env("AWS_EC2_METADATA_DISABLED", "true").env("DAGSYNC_S3__ENDPOINT", s3.endpoint());
    command.env("AWS_ACCESS_KEY_ID", "AKIA1").env("AWS_SECRET_ACCESS_KEY", "x");
    for (name, value) in settings {
        command.env(format!("DAGSYNC_S3__{}", name.to_uppercase()), value);
    }
    Outcome::of(&mut command)
}

/// Every request of reading both layouts and of publishing one.
fn requests(settings: &[(&str, &str)]) -> Vec<Seen> {
    let s3 = &double("1");
    for source in ["s3://b/dags", "s3://b/published"] {
        if source.ends_with("published") {
            publish(s3, settings).ended(0, &[]);
        }
        let pod = keyed(pod(source, &s3.endpoint()), "AKIA1", "x");
        let pod = settings.iter().fold(pod, |pod, (name, value)| pod.set(&format!("s3.{name}"), value));
        pod.once().ended(0, &[&version("1")]);
    }
    let seen = s3.requests();
    for op in [Op::List, Op::Get, Op::Put, Op::Delete] {
        assert!(seen.iter().any(|seen| seen.op == op), "{op:?}: {seen:?}");
    }
    seen
}

#[test]
fn every_request_says_who_pays_and_who_must_own_the_bucket() {
    let headers = ["x-amz-request-payer", "x-amz-expected-bucket-owner"];
    let said = |settings: &[(&str, &str)]| {
        let seen = requests(settings);
        seen.iter().map(|seen| headers.map(|name| seen.header(name).map(str::to_owned))).collect::<BTreeSet<_>>()
    };
    assert_eq!(said(&[]), BTreeSet::from([[None, None]]));
    let settings = [("requester_pays", "true"), ("expected_bucket_owner", "123456789012")];
    let both = ["requester", "123456789012"].map(|text| Some(text.to_owned()));
    assert_eq!(said(&settings), BTreeSet::from([both]));
}

fn checksum_modes(seen: &[Seen]) -> BTreeSet<Option<String>> {
    let gets = seen.iter().filter(|seen| seen.op == Op::Get);
    gets.map(|seen| seen.header("x-amz-checksum-mode").map(str::to_owned)).collect()
}

#[test]
fn checksums_are_added_and_asked_for_where_the_server_is_known_to_bear_it() {
    let enabled = Some("ENABLED".to_owned());
    for (mode, modes) in [
        ("auto", BTreeSet::from([None])),
        ("required", BTreeSet::from([None])),
        ("supported", BTreeSet::from([enabled])),
    ] {
        let seen = requests(&[("checksums", mode)]);
        assert_eq!(checksum_modes(&seen), modes, "{mode}");
        for put in seen.iter().filter(|seen| seen.op == Op::Put) {
            assert_eq!((put.header("x-amz-trailer"), put.header("content-encoding")), (None, None), "{mode}: {put:?}");
            assert!(put.header("x-amz-checksum-sha256").is_some(), "{mode}: {put:?}");
        }
    }
}

const SSE: [&str; 3] = ["algorithm", "key", "key-md5"];

fn sse(seen: &Seen) -> [Option<String>; 3] {
    SSE.map(|name| seen.header(&format!("x-amz-server-side-encryption-customer-{name}")).map(str::to_owned))
}

/// What goes along with a key, by openssl.
fn headers_of(key: &[u8]) -> [Option<String>; 3] {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("key"), key).unwrap();
    let say = |script: &str| Some(shell(folder.path(), script));
    [Some("AES256".to_owned()), say("base64 < key"), say("openssl md5 -binary key | base64")]
}

fn rewrite(file: &Path, content: impl AsRef<[u8]>) {
    let new = file.with_extension("new");
    std::fs::write(&new, content).unwrap();
    std::fs::rename(new, file).unwrap();
}

#[test]
fn a_key_of_the_customer_goes_along_and_is_read_at_every_use() {
    let s3 = double("1");
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("key");
    let (first, second) = (*b"the first of two keys, 32 bytes!", *b"the other one is as long as that");
    rewrite(&file, first);
    let path = file.to_str().unwrap();
    for seen in requests(&[("sse_c_key_file", path)]) {
        let is_about_content = matches!(seen.op, Op::Get | Op::Head | Op::Put);
        assert_eq!(sse(&seen), if is_about_content { headers_of(&first) } else { [None, None, None] }, "{seen:?}");
    }
    s3.clear_requests();
    let mut pod = keyed(pod_of(&s3), "AKIA1", "x").set("s3.sse_c_key_file", &file);
    pod.start_on(&version("1"));
    rewrite(&file, headers_of(&second)[1].as_ref().unwrap());
    s3.put("b", "dags/a.py", "2");
    pod.is_on(&version("2"));
    let get = |seen: &&Seen| seen.op == Op::Get && seen.key == "dags/a.py";
    let used: Vec<_> = s3.requests().iter().filter(get).map(sse).collect();
    assert_eq!(used, [headers_of(&first), headers_of(&second)]);
    rewrite(&file, "much too short");
    s3.put("b", "dags/a.py", "3");
    let status = pod.wait("the key is refused", |s| s["last_error"].to_string().contains("holds no key"));
    assert!(status["last_error"].to_string().contains(path), "{status}");
    assert!(!status.to_string().contains("much too short"));
    std::fs::remove_file(&file).unwrap();
    pod.wait("the key is missed", |s| s["last_error"].to_string().contains("is not there"));
}

#[test]
fn what_is_encrypted_with_a_key_is_read_with_it_and_with_no_other() {
    let (bucket, server) = (S3Server::rgw().bucket(), S3Server::rgw());
    let (key, other) = (*b"a key that the server never keeps", *b"another key of the same length...");
    let (key, other) = (&key[..32], &other[..32]);
    let with = json!({
        "Bucket": bucket.name, "Key": "dags/a.py", "Body": "1", "SSECustomerAlgorithm": "AES256",
        "SSECustomerKey": std::str::from_utf8(key).unwrap(),
    });
    server.call("s3", "put_object", &with);
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("key");
    let pod = || keyed(pod_in(&bucket), &server.access_key, &server.secret_key);
    rewrite(&file, key);
    pod().set("s3.sse_c_key_file", &file).once().ended(0, &[&version("1")]);
    rewrite(&file, other);
    pod().set("s3.sse_c_key_file", &file).once().ended(2, &["dags/a.py", "s3.sse_c_key_file"]);
    pod().once().ended(2, &["dags/a.py", "s3.sse_c_key_file"]);
}

#[test]
fn a_bucket_in_another_region_says_which() {
    let s3 = double("1");
    let mut pod = keyed(pod_of(&s3), "AKIA1", "x");
    pod.start_on(&version("1"));
    s3.put("b", "dags/a.py", "2");
    s3.inject(Rule::any(Action::redirect("ap-south-2")).forever());
    let status = pod.wait("it says where", |s| s["last_error"].to_string().contains("set s3.region to ap-south-2"));
    assert_eq!((&status["version"], pod.get("/readyz").unwrap().0), (&version("1").into(), 200));
    s3.clear_faults();
    pod.is_on(&version("2"));
}
