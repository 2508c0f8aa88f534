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
        let (registry, repository) = match path.split_once('/') {
            Some((first, rest)) if is_host(first) => (first, rest.to_owned()),
            Some(_) => (DOCKER_HUB, path.to_owned()),
            None => (DOCKER_HUB, format!("library/{path}")),
        };
        let registry = if registry == "index.docker.io" { DOCKER_HUB } else { registry };
        if !repository.split('/').all(is_part) {
            return Err(bad("a repository has small letters, digits and -_. between its slashes"));
        }
        if tag.is_empty() || tag.len() > 128 || !tag.bytes().all(|b| b.is_ascii_alphanumeric() || b"_.-".contains(&b)) {
            return Err(bad("a tag has up to 128 letters, digits and _.-"));
        }
        if !registry.bytes().all(|b| b.is_ascii_alphanumeric() || b".:-[]".contains(&b)) {
            return Err(bad("its registry is no host and port"));
        }
        Ok(Self { registry: registry.to_owned(), repository, tag: tag.to_owned(), digest: digest.map(str::to_owned) })
    }
}

fn is_part(part: &str) -> bool {
    !part.is_empty()
        && part != "."
        && part != ".."
        && part.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"-_.".contains(&b))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_as_docker_reads_them() {
        let hex = Digest::of("x").to_string();
        for (text, shown, host) in [
            ("airflow", "docker.io/library/airflow:latest".to_owned(), "registry-1.docker.io"),
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
            ("a@sha256:12", "digest"),
            ("a@md5:12", "digest"),
            ("user@host.com/x", "digest"),
            ("h.o/st?/x", "repository"),
        ] {
            let error = text.parse::<Reference>().unwrap_err();
            assert!(error.to_string().contains(why), "{text}: {error}");
        }
    }
}
