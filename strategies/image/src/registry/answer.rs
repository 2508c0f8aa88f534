//! What a registry answers: manifests, indexes, configurations, challenges.

use std::collections::BTreeMap;

use dagsync_core::{Error, ErrorKind, Result};
use serde::Deserialize;

/// Manifests and indexes of OCI and of Docker.
pub(super) const MANIFESTS: &str = "application/vnd.oci.image.index.v1+json, \
    application/vnd.oci.image.manifest.v1+json, \
    application/vnd.docker.distribution.manifest.list.v2+json, \
    application/vnd.docker.distribution.manifest.v2+json";

/// A manifest, or an index of several.
#[derive(Debug, Deserialize)]
pub(super) struct Manifest {
    pub(super) config: Option<Descriptor>,
    #[serde(default)]
    pub(super) manifests: Vec<Descriptor>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Descriptor {
    pub(super) digest: String,
    platform: Option<Platform>,
}

#[derive(Debug, Deserialize)]
struct Platform {
    os: String,
    architecture: String,
    #[serde(default)]
    variant: String,
}

#[derive(Debug, Deserialize)]
pub(super) struct ImageConfig {
    pub(super) config: Option<Settings>,
}

#[derive(Debug, Default, Deserialize)]
pub(super) struct Settings {
    #[serde(rename = "Labels")]
    pub(super) labels: Option<BTreeMap<String, String>>,
}

impl Platform {
    fn name(&self) -> String {
        let Self { os, architecture, variant } = self;
        if variant.is_empty() { format!("{os}/{architecture}") } else { format!("{os}/{architecture}/{variant}") }
    }

    /// `linux/arm64` means any variant of it.
    fn is(&self, wanted: &str) -> bool {
        let name = self.name();
        name == wanted || name.strip_prefix(wanted).is_some_and(|rest| rest.starts_with('/'))
    }
}

impl Manifest {
    /// The manifest of one platform in an index.
    pub(super) fn of_platform(&self, wanted: &str) -> Result<&Descriptor> {
        let found = self.manifests.iter().find(|m| m.platform.as_ref().is_some_and(|p| p.is(wanted)));
        found.ok_or_else(|| {
            let platforms = self.manifests.iter().filter_map(|m| m.platform.as_ref()).map(Platform::name);
            let platforms: Vec<String> = platforms.filter(|name| name != "unknown/unknown").take(20).collect();
            Error::new(ErrorKind::NotFound, "ask registry", format!("the image has nothing for {wanted}"))
                .with_context(
                    "it is for",
                    match platforms.is_empty() {
                        true => "no platform that it names".to_owned(),
                        false => dagsync_core::printable(platforms.join(", ")),
                    },
                )
                .with_hint("push it for this platform, or set platform to one that it is for")
        })
    }
}

/// The platform that is meant: this one unless another is named.
pub(super) fn platform(named: &str) -> String {
    if !named.is_empty() {
        return named.to_owned();
    }
    let architecture = match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    };
    format!("linux/{architecture}")
}

/// The scheme, in small letters, and the parameters of a `WWW-Authenticate` header (RFC 9110, section 11.6.1).
pub(super) fn challenge(header: &str) -> (String, BTreeMap<String, String>) {
    let (scheme, mut rest) = header.trim().split_once(' ').unwrap_or((header.trim(), ""));
    let mut parameters = BTreeMap::new();
    while let Some((name, value)) = rest.split_once('=') {
        let (value, after) = match value.strip_prefix('"') {
            Some(quoted) => quoted.split_once('"').unwrap_or((quoted, "")),
            None => value.split_once(',').unwrap_or((value, "")),
        };
        parameters.insert(name.trim_matches([' ', ',']).to_ascii_lowercase(), value.trim().to_owned());
        rest = after;
    }
    (scheme.to_ascii_lowercase(), parameters)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_challenge_is_read_with_commas_inside_its_quotes() {
        let (scheme, parameters) =
            challenge("Bearer realm=\"https://auth.h/token\",service=\"reg, istry\", scope=\"a,b\" ,error=x");
        assert_eq!(scheme, "bearer");
        let of = |name: &str| parameters.get(name).map(String::as_str);
        assert_eq!(
            (of("realm"), of("service"), of("scope"), of("error")),
            (Some("https://auth.h/token"), Some("reg, istry"), Some("a,b"), Some("x"))
        );
        for odd in ["", "Basic", "Bearer realm", "Bearer realm=\"x", "=,=,="] {
            challenge(odd);
        }
    }

    #[test]
    fn a_platform_is_found_with_or_without_its_variant() {
        let index: Manifest = serde_json::from_str(
            r#"{"manifests": [{"digest": "d0", "platform": {"os": "unknown", "architecture": "unknown"}},
                {"digest": "d1", "platform": {"os": "linux", "architecture": "amd64"}},
                {"digest": "d2", "platform": {"os": "linux", "architecture": "arm64", "variant": "v8"}}]}"#,
        )
        .unwrap();
        let digest = |platform: &str| index.of_platform(platform).map(|found| found.digest.clone());
        assert_eq!(digest("linux/amd64").unwrap(), "d1");
        assert_eq!(digest("linux/arm64").unwrap(), "d2");
        assert_eq!(digest("linux/arm64/v8").unwrap(), "d2");
        let error = digest("linux/s390x").unwrap_err();
        assert!(error.to_string().contains("it is for linux/amd64, linux/arm64/v8"), "{error}");
        assert!(digest("linux/arm").is_err());
    }
}
