//! The name of an image, as Docker and Kubernetes read it.

use std::fmt;
use std::str::FromStr;

use dagsync_core::{Digest, Error, ErrorKind, Result};

/// What a name without a registry means.
const DOCKER_HUB: &str = "docker.io";
const DOCKER_HUB_HOST: &str = "registry-1.docker.io";

/// `[registry/]repository[:tag][@digest]`; a digest wins over a tag.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reference {
    registry: String,
    repository: String,
    tag: String,
    digest: Option<String>,
}

impl Reference {
    /// The registry's name, by which credentials are found.
    pub fn registry(&self) -> &str {
        &self.registry
    }

    /// Where the registry is.
    pub(super) fn host(&self) -> &str {
        if self.registry == DOCKER_HUB { DOCKER_HUB_HOST } else { &self.registry }
    }

    /// The repository in the registry.
    pub fn repository(&self) -> &str {
        &self.repository
    }

    pub(super) fn is_digest(&self) -> bool {
        self.digest.is_some()
    }

    /// The digest, or else the tag.
    pub fn identifier(&self) -> &str {
        self.digest.as_deref().unwrap_or(&self.tag)
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.registry, self.repository)?;
        match &self.digest {
            Some(digest) => write!(f, "@{digest}"),
            None => write!(f, ":{}", self.tag),
        }
    }
}

impl FromStr for Reference {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let bad = |why: &str| {
            Error::new(ErrorKind::Config, "read image", format!("{text:?} is no name of an image: {why}"))
                .with_hint("write it as registry/repository:tag or registry/repository@sha256:…")
        };
        let (name, digest) = match text.split_once('@') {
            Some((name, digest)) => (name, Some(digest)),
            None => (text, None),
        };
        if digest.is_some_and(|d| d.strip_prefix("sha256:").is_none_or(|hex| hex.parse::<Digest>().is_err())) {
            return Err(bad("its digest is not sha256: and 64 hex digits"));
        }
        let (path, tag) = match name.rsplit_once(':') {
            Some((path, tag)) if !tag.contains('/') => (path, tag),
            _ => (name, "latest"),
        };
        let is_host = |first: &str| first.contains(['.', ':']) || first == "localhost";
        let (registry, name) = match path.split_once('/') {
            Some((first, rest)) if is_host(first) => (first, rest),
            _ => (DOCKER_HUB, path),
        };
        let registry = if registry == "index.docker.io" { DOCKER_HUB } else { registry };
        let is_official = registry == DOCKER_HUB && !name.contains('/');
        let repository = if is_official { format!("library/{name}") } else { name.to_owned() };
        if !repository.split('/').all(is_part) {
            return Err(bad(
                "a repository has small letters and digits between its slashes, and single -_. between them",
            ));
        }
        if !is_tag(tag) {
            return Err(bad("a tag has up to 128 letters, digits and _.- and begins with neither . nor -"));
        }
        if !registry.bytes().all(|b| b.is_ascii_alphanumeric() || b".:-[]".contains(&b)) {
            return Err(bad("its registry is no host and port"));
        }
        Ok(Self { registry: registry.to_owned(), repository, tag: tag.to_owned(), digest: digest.map(str::to_owned) })
    }
}

/// Letters and digits, with `.`, `_`, `__` or any number of `-` between them (OCI distribution spec, "Pulling manifests").
fn is_part(part: &str) -> bool {
    let is_word = |b: char| b.is_ascii_lowercase() || b.is_ascii_digit();
    let is_separator = |between: &str| matches!(between, "" | "." | "_" | "__") || between.bytes().all(|b| b == b'-');
    part.starts_with(is_word) && part.ends_with(is_word) && part.split(is_word).all(is_separator)
}

/// The tags of the same chapter; none is a path of its own, such as `..`.
fn is_tag(tag: &str) -> bool {
    let is_word = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
    tag.len() <= 128
        && tag.bytes().next().is_some_and(is_word)
        && tag.bytes().all(|b| is_word(b) || b == b'.' || b == b'-')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_as_docker_reads_them() {
        let hex = Digest::of("x").to_string();
        for (text, shown, host) in [
            ("airflow", "docker.io/library/airflow:latest".to_owned(), "registry-1.docker.io"),
            ("h.io/a__b/c.d-e---f_g", "h.io/a__b/c.d-e---f_g:latest".to_owned(), "h.io"),
            ("apache/airflow:3.0.2", "docker.io/apache/airflow:3.0.2".to_owned(), "registry-1.docker.io"),
            ("localhost:5000/a/b", "localhost:5000/a/b:latest".to_owned(), "localhost:5000"),
            ("localhost/a:x", "localhost/a:x".to_owned(), "localhost"),
            (
                &format!("1.dkr.ecr.eu-west-1.amazonaws.com/dags:v1@sha256:{hex}"),
                format!("1.dkr.ecr.eu-west-1.amazonaws.com/dags@sha256:{hex}"),
                "1.dkr.ecr.eu-west-1.amazonaws.com",
            ),
        ] {
            let reference: Reference = text.parse().unwrap();
            assert_eq!((reference.to_string(), reference.host()), (shown, host), "{text}");
        }
    }

    #[test]
    fn what_is_no_name_says_why() {
        for (text, why) in [
            ("", "repository"),
            ("UPPER/case", "repository"),
            ("a/../b", "repository"),
            ("a:", "tag"),
            ("a:b?c", "tag"),
            ("h.io/a..b", "repository"),
            ("h.io/-a", "repository"),
            ("h.io/a_", "repository"),
            ("h.io/a___b", "repository"),
            ("a@sha256:12", "digest"),
            ("a@md5:12", "digest"),
            ("user@host.com/x", "digest"),
            ("h.o/st?/x", "repository"),
        ] {
            let error = text.parse::<Reference>().unwrap_err();
            assert!(error.to_string().contains(why), "{text}: {error}");
        }
    }

    #[test]
    fn docker_io_before_a_name_means_what_no_registry_means() {
        for (text, shown) in [
            ("docker.io/airflow", "docker.io/library/airflow:latest"),
            ("index.docker.io/airflow:3", "docker.io/library/airflow:3"),
            ("docker.io/apache/airflow", "docker.io/apache/airflow:latest"),
            ("ghcr.io/airflow", "ghcr.io/airflow:latest"),
        ] {
            assert_eq!(text.parse::<Reference>().unwrap().to_string(), shown, "{text}");
        }
    }

    #[test]
    fn a_tag_is_no_path() {
        for text in ["a:..", "a:.", "h.io/a:.x", "a:-x"] {
            let error = text.parse::<Reference>().unwrap_err();
            assert!(error.to_string().contains("begins with neither . nor -"), "{text}: {error}");
        }
        for text in ["a:_", "a:1..2", "a:V1.-_"] {
            assert!(text.parse::<Reference>().is_ok(), "{text}");
        }
    }
}
