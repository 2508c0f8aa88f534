//! `dagsync verify` when a pod starts: who does not answer yet is asked again, who answers wrongly is not.

use std::net::TcpListener;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::{Duration, Instant};

use serde_json::json;

use super::baked::Baked;
use super::faults::*;
use super::faulty::{CERTIFICATE, ended, fails, openssl_server, verify};
use crate::harness::{free_port, shell};

/// Does `fault` the first `times`, and `then` what it should.
fn at_first(times: usize, fault: Script, then: Script) -> Script {
    let asked = AtomicUsize::new(0);
    Arc::new(move |question, guest| match asked.fetch_add(1, Relaxed) {
        count if count < times => fault(question, guest),
        _ => then(question, guest),
    })
}

#[track_caller]
fn succeeds(command: &mut Command, what: &str) {
    let (code, said) = ended(command);
    assert!(code == Some(0) && said.contains("verified"), "{what}: {said}");
    assert!(said.contains("asking again in"), "{what} is not told: {said}");
}

#[test]
fn a_second_without_an_answer_fails_no_init_container() {
    let baked = Baked::sealed();
    let (good, version) = (registry(&baked.version()), baked.version());
    for (what, fault) in [("hangs up", Arc::new(|_: &_, _: &mut _| {}) as Script), ("503", reply(503, "", ""))] {
        let double = Double::doing(at_first(2, fault.clone(), good.clone()));
        succeeds(&mut verify(&baked, &["--expect-image", &double.image(), "--plain-http"]), what);
        let status = reply(200, "", json!({"version": version}).to_string());
        let double = Double::doing(at_first(2, fault, status));
        succeeds(&mut verify(&baked, &["--expect-from", &double.url()]), what);
    }
    let starting = reply(200, "", r#"{"version": null}"#);
    let double = Double::doing(at_first(1, starting, reply(200, "", json!({"version": version}).to_string())));
    succeeds(&mut verify(&baked, &["--expect-from", &double.url()]), "a daemon that starts");
}

#[test]
fn a_registry_that_listens_only_soon() {
    let baked = Baked::sealed();
    let (port, good) = (free_port(), registry(&baked.version()));
    let late = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_secs(1));
        Double::at(TcpListener::bind(("127.0.0.1", port)).unwrap(), good)
    });
    let image = format!("127.0.0.1:{port}/team/dags:v1");
    succeeds(&mut verify(&baked, &["--expect-image", &image, "--plain-http"]), "refused");
    late.join().unwrap();
}

#[test]
fn what_stays_wrong_is_asked_once_and_what_may_pass_not_for_ever() {
    let baked = Baked::sealed();
    for (status, words) in [(403, "denies access"), (404, "no such image"), (200, "cannot be read")] {
        let double = Double::doing(reply(status, "", ""));
        fails(&mut verify(&baked, &["--expect-image", &double.image(), "--plain-http"]), "wrong", &[words]);
        assert_eq!(double.asked().len(), 1, "{status}");
    }
    let start = Instant::now();
    let double = Double::doing(reply(500, "", ""));
    fails(&mut verify(&baked, &["--expect-image", &double.image(), "--plain-http"]), "500", &["500"]);
    assert!(double.asked().len() > 3 && start.elapsed() < Duration::from_secs(25), "{:?}", start.elapsed());
}

#[test]
fn what_stands_behind_the_question_mark_of_a_url_is_not_told() {
    let (baked, double) = (Baked::sealed(), Double::doing(reply(404, "", "")));
    let url = format!("{}/pods?token=t0p-s3cret#t0p-s3cret", double.url());
    let (code, said) = ended(&mut verify(&baked, &["--expect-from", &url]));
    assert!(code == Some(2) && said.contains("/pods?***") && !said.contains("t0p-s3cret"), "{said}");
    assert!(double.asked()[0].path().ends_with("/pods/v1/status?token=t0p-s3cret"), "but it is asked with");
    let mut pod = baked.pod().set("image.expect_from", &url);
    pod.start();
    let status = pod.wait("it warns", |s| s["warnings"].as_array().is_some_and(|w| !w.is_empty()));
    let said = format!("{status}{}", pod.log());
    assert!(said.contains("?***") && !said.contains("t0p-s3cret"), "{said}");
}

#[test]
fn a_port_where_nobody_listens_is_no_question_of_plain_http() {
    let (port, baked) = (free_port(), Baked::sealed());
    let outcome = baked.verify(&["--expect-image", &format!("127.0.0.1:{port}/team/dags:v1")]);
    outcome.ended(2, &["refused", "check its name and port, that it runs"]);
    assert!(!outcome.stderr.contains("plain HTTP"), "{outcome:?}");
}

#[test]
fn a_certificate_says_what_is_wrong_with_it() {
    let (baked, folder) = (Baked::sealed(), tempfile::tempdir().unwrap());
    shell(folder.path(), CERTIFICATE);
    let ca = folder.path().join("ca").display().to_string();
    let ask = |port: u16, host: &str, words: &[&str]| {
        let image = format!("{host}:{port}/team/dags:v1");
        fails(&mut verify(&baked, &["--expect-image", &image, "--ca-file", &ca]), host, words);
    };
    let port = free_port();
    let server = openssl_server(folder.path(), port);
    ask(port, "localhost", &["is for another name", "ask it by a name that its certificate holds"]);
    drop(server);
    let expired = "openssl x509 -req -in request -CA ca -CAkey ca.key -days -1 -extfile names -out cert 2>/dev/null";
    shell(folder.path(), expired);
    let port = free_port();
    let _server = openssl_server(folder.path(), port);
    ask(port, "127.0.0.1", &["its certificate has expired", "renew it, or check this host's clock"]);
    let image = format!("127.0.0.1:{port}/team/dags:v1");
    let mut bare = verify(&baked, &["--expect-image", &image]);
    bare.env("SSL_CERT_FILE", "/nonexistent").env("SSL_CERT_DIR", "/nonexistent");
    fails(&mut bare, "no authorities", &["TLS cannot be set up", "in ca_file, or install the system's", &image]);
}
