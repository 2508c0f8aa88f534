//! A registry is asked as little as possible, and left alone when it says so.

use std::time::{Duration, Instant};

use dagsync_core::Interrupt;
use dagsync_strategy_image::registry::{Memory, label};
use dagsync_strategy_image::{Expect, LABEL};
use serde_json::json;

use crate::double::{Registry, plain};

const BY_TAG: &str = "/v2/team/dags/manifests/v1";

fn expect(registry: &Registry) -> Expect {
    Expect::image(registry.reference(), plain())
}

fn version(digit: &str) -> String {
    format!("sha256:{}", digit.repeat(64))
}

/// A `HEAD` is no pull, of which public registries allow only some.
#[tokio::test]
async fn a_tag_that_stays_is_asked_for_its_digest_alone() {
    let registry = Registry::start().await;
    registry.image(&version("1"));
    let expect = expect(&registry);
    let ask = async || expect.ask(&Interrupt::never()).await.unwrap().version.to_string();
    assert_eq!(ask().await, version("1"));
    assert_eq!(registry.asked().len(), 2);
    assert_eq!(ask().await, version("1"));
    assert_eq!(registry.asked(), [format!("HEAD {BY_TAG}")]);
    registry.image(&version("2"));
    assert_eq!(ask().await, version("2"), "the tag moved");
    assert_eq!(registry.asked()[..2], [format!("HEAD {BY_TAG}"), format!("GET {BY_TAG}")]);
    registry.image(&version("1"));
    assert_eq!(ask().await, version("1"), "and back");
}

#[tokio::test]
async fn a_registry_that_tells_no_digest_serves_its_manifest_and_no_more() {
    let registry = Registry::start().await;
    registry.image(&version("1"));
    let expect = expect(&registry);
    expect.ask(&Interrupt::never()).await.unwrap();
    registry.asked();
    let body = registry.answers.lock().unwrap()[BY_TAG].clone().unwrap().1;
    registry.answer(BY_TAG, "200 OK", "", body);
    expect.ask(&Interrupt::never()).await.unwrap();
    assert_eq!(registry.asked(), [format!("HEAD {BY_TAG}"), format!("GET {BY_TAG}")]);
}

#[tokio::test]
async fn a_digest_is_asked_for_once() {
    let registry = Registry::start().await;
    let manifest = registry.image_with(&json!({"config": {"Labels": {LABEL: version("1")}}}));
    let pinned = registry.by_digest(&registry.manifest("v1", &manifest));
    let memory = Memory::default();
    let first = label(&pinned, LABEL, &plain(), &memory).await.unwrap();
    registry.asked();
    assert_eq!(label(&pinned, LABEL, &plain(), &memory).await.unwrap(), first);
    assert!(registry.asked().is_empty());
}

#[tokio::test]
async fn a_registry_that_wants_to_be_left_alone_is() {
    for status in ["429 Too Many Requests", "503 Service Unavailable"] {
        let registry = Registry::start().await;
        registry.answer(BY_TAG, status, "Retry-After: 1000000\r\n", "");
        let expect = expect(&registry);
        let start = Instant::now();
        assert!(expect.ask_again(&Interrupt::never()).await.unwrap_err().to_string().contains(&status[..3]));
        assert!(start.elapsed() < Duration::from_secs(5), "it does not wait for what is too long");
        registry.image(&version("1"));
        let error = expect.ask(&Interrupt::never()).await.unwrap_err().to_string();
        assert!(error.contains("it wants to be asked again in 3600 seconds") && error.contains("team/dags"), "{error}");
        assert_eq!(registry.asked().len(), 1);
    }
    let registry = Registry::start().await;
    registry.answer(BY_TAG, "429 Too Many Requests", "Retry-After: 1\r\n", "");
    let expect = expect(&registry);
    expect.ask(&Interrupt::never()).await.unwrap_err();
    registry.image(&version("1"));
    expect.ask(&Interrupt::never()).await.unwrap_err();
    assert_eq!(expect.ask_again(&Interrupt::never()).await.unwrap().version.to_string(), version("1"));
}

#[tokio::test]
async fn who_asks_once_asks_again_what_may_pass() {
    let registry = Registry::start().await;
    registry.answer(BY_TAG, "500 Oops", "", "");
    let expect = expect(&registry);
    let mends = async {
        tokio::time::sleep(Duration::from_millis(200)).await;
        registry.image(&version("1"));
    };
    let interrupt = Interrupt::never();
    let (said, ()) = tokio::join!(expect.ask_again(&interrupt), mends);
    assert_eq!(said.unwrap().version.to_string(), version("1"));
    for (status, headers) in [("404 Not Found", ""), ("403 Forbidden", ""), ("410 Gone", ""), ("200 OK", "")] {
        registry.answer(BY_TAG, status, headers, "");
        registry.asked();
        Expect::image(registry.reference(), plain()).ask_again(&Interrupt::never()).await.unwrap_err();
        assert_eq!(registry.asked().len(), 1, "{status} stays");
    }
}

#[tokio::test]
async fn a_label_of_any_length_is_told_in_short() {
    let registry = Registry::start().await;
    registry.image(&"long\u{1b}".repeat(1000));
    let error = expect(&registry).ask(&Interrupt::never()).await.unwrap_err().to_string();
    assert!(error.contains("holds no version") && error.contains("it holds \"long"), "{error}");
    assert!(error.len() < 600 && !error.contains('\u{1b}'), "{error}");
}
