use std::time::{Duration, UNIX_EPOCH};

use super::client::{ask, server};
use crate::s3::{Action, Op, PutOptions, Rule, S3Double, sha256};

/// Every key of a listing, page by page, and how many pages it took.
fn pages(s3: &S3Double, query: &str) -> (Vec<String>, usize) {
    let (mut keys, mut count, mut token) = (Vec::new(), 0, String::new());
    loop {
        let page = ask(s3, &format!("GET /b?list-type=2&{query}{token}"));
        assert_eq!(page.status, 200);
        assert_eq!(page.one("KeyCount"), page.all("Key").len().to_string());
        keys.extend(page.all("Key").into_iter().map(str::to_owned));
        count += 1;
        if page.one("IsTruncated") == "false" {
            assert!(page.all("NextContinuationToken").is_empty());
            return (keys, count);
        }
        let next = page.one("NextContinuationToken");
        token = format!("&continuation-token={}", next.replace('+', "%2B").replace('/', "%2F").replace('=', "%3D"));
    }
}

#[test]
fn a_listing_has_pages_in_byte_order() {
    let s3 = server(&["a/1", "a/2", "a/3", "a/Z", "a/é", "b/1"]);
    let all = ["a/1", "a/2", "a/3", "a/Z", "a/é", "b/1"];
    assert_eq!(pages(&s3, "").0, all);
    assert_eq!(pages(&s3, "max-keys=2"), (all.map(str::to_owned).to_vec(), 3));
    s3.page_size(1);
    assert_eq!(pages(&s3, "prefix=a/"), (all[..5].iter().map(|s| (*s).to_string()).collect(), 5));
    assert_eq!(pages(&s3, "prefix=c").0, [""; 0]);
    s3.page_size(2);
    assert_eq!(pages(&s3, "prefix=a/&start-after=a/2").0, ["a/3", "a/Z", "a/é"]);
    assert_eq!(ask(&s3, "GET /b?list-type=2&max-keys=0").one("IsTruncated"), "false");
    assert_eq!(ask(&s3, "GET /b?list-type=2&continuation-token=%21").one("Code"), "InvalidArgument");
    assert_eq!(ask(&s3, "GET /nowhere?list-type=2").one("Code"), "NoSuchBucket");
}

#[test]
fn each_page_is_read_when_it_is_asked_for() {
    let s3 = server(&["a", "b", "c", "d"]);
    s3.page_size(2);
    let change = Action::run(|s3| {
        s3.delete("b", "c");
        s3.put("b", "a0", "behind the place where the listing is");
        s3.put("b", "e", "before it");
    });
    s3.inject(Rule::on(Op::List, change).skip(1));
    assert_eq!(pages(&s3, "").0, ["a", "b", "d", "e"]);
}

#[test]
fn keys_are_encoded_when_asked_for() {
    let s3 = server(&["d/a b+c~&<é>.py", "d/\u{1}"]);
    let page = ask(&s3, "GET /b?list-type=2&encoding-type=url&prefix=d%2F&start-after=d/%20");
    assert_eq!(page.one("EncodingType"), "url");
    assert_eq!(page.one("Prefix"), "d/");
    assert_eq!(page.one("StartAfter"), "d/+");
    assert_eq!(page.all("Key"), ["d/a+b%2Bc%7E%26%3C%C3%A9%3E.py"]);
    let page = ask(&s3, "GET /b?list-type=2&prefix=d/");
    assert_eq!(page.all("Key"), ["d/&#x1;", "d/a b+c~&amp;&lt;é&gt;.py"]);
    assert!(page.all("EncodingType").is_empty());
}

#[test]
fn folders_are_shown_as_common_prefixes() {
    let s3 = server(&["a/1", "a/2", "b", "c/1", "c/d/2"]);
    let page = ask(&s3, "GET /b?list-type=2&delimiter=/");
    assert_eq!((page.all("Key"), page.one("KeyCount")), (vec!["b"], "3"));
    assert_eq!(page.all("CommonPrefixes"), ["<Prefix>a/</Prefix>", "<Prefix>c/</Prefix>"]);
    let page = ask(&s3, "GET /b?list-type=2&delimiter=/&prefix=c/");
    assert_eq!((page.all("Key"), page.all("CommonPrefixes")), (vec!["c/1"], vec!["<Prefix>c/d/</Prefix>"]));
    let page = ask(&s3, "GET /b?list-type=2&delimiter=/&max-keys=1");
    let token = page.one("NextContinuationToken").replace('=', "%3D");
    let page = ask(&s3, &format!("GET /b?list-type=2&delimiter=/&max-keys=1&continuation-token={token}"));
    assert_eq!((page.all("Key"), page.all("CommonPrefixes").len()), (vec!["b"], 0));
}

#[test]
fn the_older_listing_goes_on_from_a_key() {
    let s3 = server(&["a", "b", "c"]);
    let page = ask(&s3, "GET /b?max-keys=2&encoding-type=url");
    assert_eq!((page.all("Key"), page.one("NextMarker")), (vec!["a", "b"], "b"));
    assert_eq!(ask(&s3, "GET /b?marker=b").all("Key"), ["c"]);
}

#[test]
fn an_entry_says_what_is_known_of_the_object() {
    let s3 = server(&[]);
    s3.put("b", "plain", "hello");
    let options = PutOptions {
        storage_class: Some("GLACIER".to_owned()),
        etag: Some("00112233445566778899aabbccddeeff-2".to_owned()),
        sha256: Some(format!("{}-2", sha256("parts"))),
        ..PutOptions::default()
    };
    assert_eq!(s3.put_with("b", "special", "hi", options), "\"00112233445566778899aabbccddeeff-2\"");
    s3.set_modified("b", "plain", UNIX_EPOCH + Duration::from_millis(1_700_000_000_999));
    let page = ask(&s3, "GET /b?list-type=2");
    let etags = ["&quot;5d41402abc4b2a76b9719d911017c592&quot;", "&quot;00112233445566778899aabbccddeeff-2&quot;"];
    assert_eq!(page.all("ETag"), etags);
    assert_eq!(page.all("LastModified")[0], "2023-11-14T22:13:20.000Z");
    assert_eq!(page.all("Size"), ["5", "2"]);
    assert_eq!(page.all("StorageClass"), ["STANDARD", "GLACIER"]);
    assert_eq!((page.one("ChecksumAlgorithm"), page.one("ChecksumType")), ("SHA256", "COMPOSITE"));
}

#[test]
fn versions_are_listed_newest_first_over_pages() {
    let s3 = server(&["before"]);
    s3.versioned("b", true);
    for (key, content) in [("a", "1"), ("a", "2"), ("before", "3"), ("c", "4")] {
        s3.put("b", key, content);
    }
    s3.delete("b", "a");
    let page = ask(&s3, "GET /b?versions");
    assert_eq!(page.all("Key"), ["a", "a", "a", "before", "before", "c"]);
    assert_eq!(page.all("IsLatest"), ["true", "false", "false", "true", "false", "true"]);
    assert_eq!((page.all("DeleteMarker").len(), page.all("Version").len()), (1, 5));
    assert_eq!(page.all("VersionId")[4], "null");
    let whole: Vec<String> = page.all("VersionId").into_iter().map(str::to_owned).collect();
    let (mut ids, mut marker) = (Vec::new(), String::new());
    s3.page_size(2);
    loop {
        let page = ask(&s3, &format!("GET /b?versions{marker}"));
        ids.extend(page.all("VersionId").into_iter().map(str::to_owned));
        if page.one("IsTruncated") == "false" {
            break;
        }
        let (key, id) = (page.one("NextKeyMarker"), page.one("NextVersionIdMarker"));
        marker = format!("&key-marker={key}&version-id-marker={id}");
    }
    assert_eq!(ids, whole);
    assert_eq!(ask(&s3, "GET /b?versions&key-marker=a&max-keys=9").all("Key"), ["before", "before"]);
    assert_eq!(ask(&s3, "GET /b?list-type=2").all("Key"), ["before", "c"]);
    assert_eq!(s3.keys("b"), ["before", "c"]);
}
