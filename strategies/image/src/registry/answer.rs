//! What a registry answers: manifests, indexes, configurations.

use std::collections::BTreeMap;

use dagsync_core::{Digest, Error, ErrorKind, Result};
use serde::Deserialize;

use super::platform::Platform;
use super::{OPERATION, corrupt};

/// A kind of content in a registry.
pub(super) struct Part {
    /// What it is called in URLs.
    pub(super) path: &'static str,
    what: &'static str,
    pub(super) accept: &'static str,
    pub(super) max: usize,
}

/// Manifests and indexes of OCI and of Docker. The spec lets a registry refuse larger ones.
pub(super) const MANIFEST: Part = Part {
    path: "manifests",
    what: "manifest",
    accept: "application/vnd.oci.image.index.v1+json, \
        application/vnd.oci.image.manifest.v1+json, \
        application/vnd.docker.distribution.manifest.list.v2+json, \
        application/vnd.docker.distribution.manifest.v2+json",
    max: 4 << 20,
};

/// Configurations, which are some kilobytes.
pub(super) const CONFIG: Part = Part { path: "blobs", what: "configuration", accept: "*/*", max: 8 << 20 };

/// A manifest, or an index of several.
#[derive(Debug, Deserialize)]
pub(super) struct Manifest {
    pub(super) config: Option<Descriptor>,
    manifests: Option<Vec<Descriptor>>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Descriptor {
    digest: String,
    size: Option<u64>,
    pub(super) platform: Option<Platform>,
}

#[derive(Debug, Deserialize)]
pub(super) struct ImageConfig {
    pub(super) config: Option<Settings>,
    #[serde(flatten)]
    pub(super) platform: Platform,
}

#[derive(Debug, Default, Deserialize)]
pub(super) struct Settings {
    #[serde(rename = "Labels")]
    pub(super) labels: Option<BTreeMap<String, String>>,
}

impl Manifest {
    /// The manifests that it leads to, when it is an index. What could be read as either is refused, as containerd does.
    pub(super) fn index(&self) -> Result<Option<&[Descriptor]>> {
        match (&self.manifests, &self.config) {
            (Some(manifests), Some(_)) if !manifests.is_empty() => {
                Err(corrupt("its manifest is an index at the same time"))
            }
            (Some(manifests), None) => Ok(Some(manifests)),
            _ => Ok(None),
        }
    }
}

impl Descriptor {
    /// The digest. Other algorithms could not be compared, and what is no digest would be another path.
    pub(super) fn sha256(&self) -> Result<&str> {
        let is_sha256 = self.digest.strip_prefix("sha256:").is_some_and(|hex| hex.parse::<Digest>().is_ok());
        if is_sha256 {
            return Ok(&self.digest);
        }
        Err(Error::new(ErrorKind::Refused, OPERATION, "the image has an unsupported digest")
            .with_context("digest", crate::http::shortened(&self.digest))
            .with_hint("push it with digests of sha256, as docker and buildah do"))
    }

    /// Whether this is the content that is meant.
    pub(super) fn check(&self, part: &Part, content: &[u8]) -> Result<()> {
        let what = part.what;
        if self.digest != format!("sha256:{}", Digest::of(content)) {
            return Err(corrupt(&format!("the {what} is not the one that its digest names")));
        }
        if self.size.is_some_and(|size| size != content.len() as u64) {
            return Err(corrupt(&format!("the {what} is not as long as the image says")));
        }
        Ok(())
    }
}
