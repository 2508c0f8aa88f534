//! The settings of the section `image`: the table and the typed form.

use std::path::PathBuf;
use std::time::Duration;

use dagsync_core::{Error, ErrorKind, Kind, Result, Setting, Spec, Version};
use serde::{Deserialize, Deserializer};

use crate::expect::{DaemonAccess, Expect};
use crate::registry::Access;

/// The settings, for defaults, environment and documentation.
pub(crate) const TABLE: &[Setting] = &[
    Setting::new(
        "image.key_file",
        Kind::Path,
        "",
        "The public key, as `openssl pkey -pubout` writes it, with which the seal must be signed; empty: any seal is believed.",
    ),
    Setting::new("image.expect", Kind::Text, "", "The version that the image must hold."),
    Setting::new("image.expect_from", Kind::Text, "", "The URL of another daemon, whose version the image must hold."),
    Setting::new(
        "image.expect_image",
        Kind::Text,
        "",
        "The name of an image in a registry, by tag or digest, whose label `io.dagsync.version` the image must hold.",
    ),
    Setting::new(
        "image.expect_interval",
        Kind::Duration,
        "5m",
        "Time between two questions to the registry, up to a fifth longer in each pod; another daemon is asked at every check.",
    ),
    Setting::new(
        "image.docker_config",
        Kind::Path,
        "",
        "The file with the registry's credentials, a Docker `config.json` or the value of a Secret of type `kubernetes.io/dockerconfigjson`.",
    ),
    Setting::new(
        "image.ca_file",
        Kind::Path,
        "",
        "A PEM bundle of certificate authorities to trust besides the system's.",
    ),
    Setting::new(
        "image.token_file",
        Kind::Path,
        "",
        "The file with the bearer token that the daemon of `image.expect_from` is asked with; read at every use.",
    ),
    Setting::new(
        "image.client_cert_file",
        Kind::Path,
        "",
        "The PEM certificate, with its chain, that the daemon of `image.expect_from` is shown.",
    ),
    Setting::new("image.client_key_file", Kind::Path, "", "The PEM key of that certificate."),
    Setting::new("image.plain_http", Kind::Bool, "false", "Speak plain HTTP with the registry."),
    Setting::new(
        "image.platform",
        Kind::Text,
        "",
        "Of an image for several platforms, which, such as `linux/arm64`; empty: this host's.",
    ),
];

/// The section `image`.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Settings {
    #[serde(deserialize_with = "path")]
    pub(crate) key_file: Option<PathBuf>,
    expect: String,
    expect_from: String,
    expect_image: String,
    #[serde(with = "humantime_serde")]
    pub(crate) expect_interval: Duration,
    #[serde(deserialize_with = "path")]
    docker_config: Option<PathBuf>,
    #[serde(deserialize_with = "path")]
    ca_file: Option<PathBuf>,
    #[serde(deserialize_with = "path")]
    token_file: Option<PathBuf>,
    #[serde(deserialize_with = "path")]
    client_cert_file: Option<PathBuf>,
    #[serde(deserialize_with = "path")]
    client_key_file: Option<PathBuf>,
    plain_http: bool,
    platform: String,
}

impl Settings {
    pub(crate) fn of(spec: &Spec<'_>) -> Result<Self> {
        let settings: Self = spec.settings()?;
        Ok(Self { expect_interval: apart(settings.expect_interval, fastrand::f64()), ..settings })
    }

    /// What the image must hold; `None` when nobody says.
    pub(crate) fn expect(&self) -> Result<Option<Expect>> {
        let given = [&self.expect, &self.expect_from, &self.expect_image].map(|text| text.as_str());
        match given {
            ["", "", ""] => Ok(None),
            [version, "", ""] => {
                let version: Version = version.parse().map_err(|e: Error| {
                    Error::new(ErrorKind::Config, "read settings", "image.expect").with_source(e)
                })?;
                Ok(Some(Expect::Version(version)))
            }
            ["", url, ""] => {
                let certificate = self.client_cert_file.clone().zip(self.client_key_file.clone());
                if certificate.is_none() && (self.client_cert_file.is_some() || self.client_key_file.is_some()) {
                    let message = "image.client_cert_file and image.client_key_file are of use only together";
                    return Err(Error::new(ErrorKind::Config, "read settings", message));
                }
                let access = DaemonAccess::new(self.ca_file.clone(), self.token_file.clone(), certificate);
                Expect::daemon(url, access).map(Some)
            }
            ["", "", image] => Ok(Some(Expect::image(image.parse()?, self.access()))),
            _ => Err(Error::new(
                ErrorKind::Config,
                "read settings",
                "image.expect, image.expect_from and image.expect_image contradict each other",
            )
            .with_hint("set one of them")),
        }
    }

    fn access(&self) -> Access {
        Access {
            docker_config: self.docker_config.clone(),
            ca_file: self.ca_file.clone(),
            plain_http: self.plain_http,
            platform: self.platform.clone(),
        }
    }
}

/// Pods that start at the same time would ask at the same time for ever: each waits up to a fifth longer. `random` is in 0..1.
fn apart(interval: Duration, random: f64) -> Duration {
    interval.saturating_add((interval / 5).mul_f64(random))
}

fn path<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<PathBuf>, D::Error> {
    Ok(Some(String::deserialize(deserializer)?).filter(|text| !text.is_empty()).map(PathBuf::from))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pods_do_not_all_ask_at_once() {
        let minutes = |minutes: u64| Duration::from_secs(60 * minutes);
        assert_eq!(apart(minutes(5), 0.0), minutes(5));
        assert_eq!(apart(minutes(5), 1.0), minutes(6));
        assert_eq!(apart(Duration::ZERO, 0.5), Duration::ZERO);
        assert_eq!(apart(Duration::MAX, 0.5), Duration::MAX);
    }
}
