//! The S3 servers that other tests rely on, asked without dagsync.

use dagsync_core::Digest;
use serde_json::json;

use crate::harness::{S3Server, generate};

#[test]
fn moto_is_an_s3_server() {
    keeps_objects(S3Server::moto());
}

#[test]
fn radosgw_is_an_s3_server() {
    keeps_objects(S3Server::rgw());
}

fn keeps_objects(server: &'static S3Server) {
    let bucket = server.bucket();
    assert_eq!(bucket.url("dags/"), format!("s3://{}/dags/", bucket.name));
    let folder = tempfile::tempdir().unwrap();
    generate(folder.path(), 20, 1);
    assert_eq!(bucket.upload_dir("dags/", folder.path()), 20);
    bucket.put_file("dags/ünï códe.py", &folder.path().join("team_1/dag_1.py"));
    let stored = bucket.put("dags/empty.py", "");
    bucket.delete("dags/team_0/dag_0.py");
    let listing = bucket.list();
    assert_eq!(listing.len(), 21, "{listing:?}");
    assert_eq!(listing["dags/empty.py"].size, 0);
    assert_eq!(listing["dags/empty.py"].etag, stored.etag);
    let there = std::fs::read(folder.path().join("team_1/dag_1.py")).unwrap();
    assert_eq!(bucket.get("dags/ünï códe.py"), there);
    let refusal = server.try_call("s3", "get_object", &json!({ "Bucket": bucket.name, "Key": "gone" })).unwrap_err();
    assert_eq!((refusal.code.as_str(), refusal.status), ("NoSuchKey", 404));
    let hash = bucket.multipart("big", 11 << 20, 5 << 20);
    assert_eq!(Digest::of(bucket.get("big")).to_string(), hash);
    assert!(bucket.list()["big"].etag.ends_with("-3\""));
}

#[test]
fn both_keep_versions() {
    for server in [S3Server::moto(), S3Server::rgw()] {
        let bucket = server.bucket().versioned();
        let first = bucket.put("a.py", "1").version_id.unwrap();
        assert_ne!(bucket.put("a.py", "2").version_id.unwrap(), first);
        let with = json!({ "Bucket": bucket.name, "Key": "a.py", "VersionId": first });
        let answer = server.call("s3", "get_object", &with);
        assert_eq!(answer["Body"]["base64"], "MQ==");
    }
}
