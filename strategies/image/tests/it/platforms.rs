//! Images for several platforms, for one, and what leads to them.

use dagsync_core::ErrorKind;
use dagsync_strategy_image::LABEL;
use dagsync_strategy_image::registry::{Access, Memory, label};
use serde_json::{Value, json};

use crate::double::{Registry, digest, plain};

fn config(value: &str, os: &str, architecture: &str) -> Value {
    json!({"os": os, "architecture": architecture, "config": {"Labels": {LABEL: value}}})
}

fn on(platform: &str) -> Access {
    Access { platform: platform.to_owned(), ..plain() }
}

/// What is said of the tag `v1` to who means this platform.
async fn said(registry: &Registry, platform: &str) -> Result<String, String> {
    let found = label(&registry.reference(), LABEL, &on(platform), &Memory::default()).await;
    found.map(|image| image.label.unwrap()).map_err(|error| error.to_string())
}

/// Whatever cannot be compared is believed by nobody, and what is no digest is not even a path to ask for.
#[tokio::test]
async fn a_pinned_index_leads_to_nothing_that_has_no_sha256() {
    let registry = Registry::start().await;
    let evil = registry.image_with(&config("evil", "linux", "amd64"));
    registry.manifest("evil", &evil);
    let sha512 = format!("sha512:{}", "a".repeat(128));
    let upper = digest(&evil.to_string()).to_uppercase().replace("SHA", "sha");
    for odd in ["evil", "../manifests/evil", &sha512, "sha256:1", &upper, "", &"x".repeat(5000)] {
        registry.answer(&format!("/v2/team/dags/manifests/{odd}"), "200 OK", "", evil.to_string());
        let child = json!({"digest": odd, "platform": {"os": "linux", "architecture": "amd64"}});
        let index = registry.manifest("v1", &json!({"manifests": [child]}));
        registry.asked();
        let pinned = registry.by_digest(&index);
        let error = label(&pinned, LABEL, &on("linux/amd64"), &Memory::default()).await.unwrap_err();
        assert!(error.kind() == ErrorKind::Refused && error.to_string().contains("unsupported digest"), "{error}");
        assert!(error.to_string().len() < 600, "{error}");
        assert_eq!(registry.asked().len(), 1, "{odd}: the child was asked for");
    }
    registry.manifest("v1", &json!({"config": {"digest": sha512}}));
    assert!(said(&registry, "").await.unwrap_err().contains("unsupported digest"));
}

#[tokio::test]
async fn content_of_another_size_than_its_descriptor_says() {
    let registry = Registry::start().await;
    let mut manifest = registry.image_with(&config("good", "linux", "amd64"));
    manifest["config"]["size"] = json!(1);
    registry.manifest("v1", &manifest);
    assert!(said(&registry, "linux/amd64").await.unwrap_err().contains("the configuration is not as long"));
}

#[tokio::test]
async fn an_index_in_an_index_is_followed_and_one_more_is_not() {
    let registry = Registry::start().await;
    let image = registry.manifest("image", &registry.image_with(&config("good", "linux", "arm64")));
    let platform = json!({"os": "linux", "architecture": "arm64"});
    let mut index = registry.manifest("v1", &json!({"manifests": [{"digest": image, "platform": platform}]}));
    assert_eq!(said(&registry, "linux/arm64").await.unwrap(), "good");
    index = registry.manifest("v1", &json!({"manifests": [{"digest": index}]}));
    assert_eq!(said(&registry, "linux/arm64").await.unwrap(), "good");
    assert!(said(&registry, "linux/amd64").await.unwrap_err().contains("it is for linux/arm64"));
    registry.manifest("v1", &json!({"manifests": [{"digest": index}]}));
    assert!(said(&registry, "linux/arm64").await.unwrap_err().contains("indexes within indexes"));
}

#[tokio::test]
async fn a_child_without_a_platform_is_believed_what_its_configuration_says() {
    let registry = Registry::start().await;
    let image = registry.manifest("image", &registry.image_with(&config("good", "linux", "arm64")));
    registry.manifest("v1", &json!({"manifests": [{"digest": image}]}));
    assert_eq!(said(&registry, "linux/arm64").await.unwrap(), "good");
    assert!(said(&registry, "linux/amd64").await.unwrap_err().contains("it is for linux/arm64"));
}

#[tokio::test]
async fn an_image_for_one_platform_is_not_believed_on_another() {
    let registry = Registry::start().await;
    let own = if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" };
    registry.manifest("v1", &registry.image_with(&config("good", "linux", own)));
    assert_eq!(said(&registry, "").await.unwrap(), "good");
    let error = said(&registry, "linux/s390x").await.unwrap_err();
    for word in ["nothing for linux/s390x, which was asked for", &format!("it is for linux/{own}"), "set platform"] {
        assert!(error.contains(word), "{error}");
    }
    registry.manifest("v1", &registry.image_with(&config("good", "linux", "s390x")));
    assert_eq!(said(&registry, "linux/s390x").await.unwrap(), "good");
    let error = said(&registry, "").await.unwrap_err();
    assert!(error.contains(&format!("nothing for linux/{own}, which this host is")), "{error}");
    // Whoever builds images by hand may leave it out.
    registry.manifest("v1", &registry.image_with(&json!({"config": {"Labels": {LABEL: "good"}}})));
    assert_eq!(said(&registry, "linux/s390x").await.unwrap(), "good");
}

#[tokio::test]
async fn a_list_of_manifests_that_is_null_is_none_and_one_beside_a_configuration_is_refused() {
    let registry = Registry::start().await;
    let mut manifest = registry.image_with(&config("good", "linux", "amd64"));
    manifest["manifests"] = json!(null);
    registry.manifest("v1", &manifest);
    assert_eq!(said(&registry, "linux/amd64").await.unwrap(), "good");
    manifest["manifests"] = json!([{"digest": "x"}]);
    registry.manifest("v1", &manifest);
    assert!(said(&registry, "linux/amd64").await.unwrap_err().contains("an index at the same time"));
    registry.manifest("v1", &json!({"manifests": []}));
    assert!(said(&registry, "linux/amd64").await.unwrap_err().contains("no platform that it names"));
}
