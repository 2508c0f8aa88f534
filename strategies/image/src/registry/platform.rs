//! For which platform an image is, and for which it should be.

use std::fmt;

use dagsync_core::{Error, ErrorKind, Result};
use serde::Deserialize;

use super::OPERATION;
use super::answer::Descriptor;

const HINT: &str = "push it for this platform, or set platform to one that it is for";

/// As an index, or the configuration of an image, names it.
#[derive(Debug, Deserialize)]
pub(super) struct Platform {
    #[serde(default)]
    os: String,
    #[serde(default)]
    architecture: String,
    #[serde(default)]
    variant: String,
}

/// The platform that is meant.
pub(super) struct Target {
    name: String,
    /// Nobody named another.
    is_own: bool,
}

impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { os, architecture, variant } = self;
        let name =
            if variant.is_empty() { format!("{os}/{architecture}") } else { format!("{os}/{architecture}/{variant}") };
        f.write_str(&crate::http::shortened(&name))
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, {}", self.name, if self.is_own { "which this host is" } else { "which was asked for" })
    }
}

impl Target {
    /// This host's unless another is named.
    pub(super) fn new(named: &str) -> Self {
        if !named.is_empty() {
            return Self { name: named.to_owned(), is_own: false };
        }
        let architecture = match std::env::consts::ARCH {
            "x86_64" => "amd64",
            "aarch64" => "arm64",
            "x86" => "386",
            "powerpc64" => "ppc64le",
            other => other,
        };
        Self { name: format!("linux/{architecture}"), is_own: true }
    }

    /// The manifest of this platform, or the only one that names none, which its own configuration must tell then.
    pub(super) fn choose<'a>(&self, index: &'a [Descriptor]) -> Result<&'a Descriptor> {
        let named = index.iter().find(|m| m.platform.as_ref().is_some_and(|platform| self.is_for(platform)));
        let mut nameless = index.iter().filter(|m| m.platform.is_none());
        let only = nameless.next().filter(|_| nameless.next().is_none());
        named.or(only).ok_or_else(|| {
            let names = index.iter().filter_map(|m| m.platform.as_ref()).map(ToString::to_string);
            let names: Vec<String> = names.filter(|name| name != "unknown/unknown").take(20).collect();
            self.absent(if names.is_empty() { "no platform that it names".to_owned() } else { names.join(", ") })
        })
    }

    /// An image that no index names must be of this platform itself. One that says nothing is not compared.
    pub(super) fn check(&self, own: &Platform) -> Result<()> {
        let is_unknown = own.os.is_empty() || own.architecture.is_empty();
        if is_unknown || self.is_for(own) { Ok(()) } else { Err(self.absent(own.to_string())) }
    }

    /// `linux/arm64` means any variant of it.
    fn is_for(&self, platform: &Platform) -> bool {
        let (name, wanted) = (canonical(platform), canonical(&self.name));
        name == wanted || name.strip_prefix(&wanted).is_some_and(|rest| rest.starts_with('/'))
    }

    fn absent(&self, known: String) -> Error {
        Error::new(ErrorKind::NotFound, OPERATION, format!("the image has nothing for {self}"))
            .with_context("it is for", known)
            .with_hint(HINT)
    }
}

/// Without what containerd leaves away: the variants that every machine of an architecture has.
fn canonical(name: impl fmt::Display) -> String {
    let name = name.to_string().to_ascii_lowercase();
    let name = name.replace("/x86_64", "/amd64").replace("/aarch64", "/arm64");
    match name.as_str() {
        "linux/amd64/v1" => "linux/amd64".to_owned(),
        "linux/arm64/v8" => "linux/arm64".to_owned(),
        _ => name,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn index(text: &str) -> Vec<Descriptor> {
        serde_json::from_str(text).unwrap()
    }

    #[test]
    fn a_platform_is_found_with_or_without_its_variant() {
        let index = index(
            r#"[{"digest": "d0", "platform": {"os": "unknown", "architecture": "unknown"}},
                {"digest": "d1", "platform": {"os": "linux", "architecture": "amd64"}},
                {"digest": "d2", "platform": {"os": "linux", "architecture": "arm64", "variant": "v8"}},
                {"digest": "d3", "platform": {"os": "linux", "architecture": "arm", "variant": "v7"}}]"#,
        );
        let chosen =
            |platform: &str| Target::new(platform).choose(&index).map(|m| m.platform.as_ref().unwrap().to_string());
        assert_eq!(chosen("linux/amd64").unwrap(), "linux/amd64");
        for same in ["linux/arm64", "linux/arm64/v8", "linux/aarch64"] {
            assert_eq!(chosen(same).unwrap(), "linux/arm64/v8");
        }
        assert_eq!(chosen("linux/arm").unwrap(), "linux/arm/v7");
        assert!(chosen("linux/arm/v6").is_err() && chosen("linux/ar").is_err());
        let error = chosen("linux/s390x").unwrap_err().to_string();
        for word in ["nothing for linux/s390x, which was asked for", "it is for linux/amd64, linux/arm64/v8"] {
            assert!(error.contains(word), "{error}");
        }
    }

    #[test]
    fn the_only_one_without_a_platform_is_looked_at() {
        let target = Target::new("linux/amd64");
        assert!(target.choose(&index(r#"[{"digest": "d0"}]"#)).is_ok());
        let error = target.choose(&index(r#"[{"digest": "d0"}, {"digest": "d1"}]"#)).unwrap_err();
        assert!(error.to_string().contains("no platform that it names"), "{error}");
        assert!(target.choose(&[]).is_err());
    }
}
