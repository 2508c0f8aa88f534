//! The settings of the section `s3`: the table and the typed form.

use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use bytesize::ByteSize;
use dagsync_core::{Error, ErrorKind, Kind, Result, Setting, Spec, Version};
use serde::{Deserialize, Deserializer};

/// The settings, for defaults, environment and documentation.
pub(crate) const TABLE: &[Setting] = &[
    Setting::new(
        "s3.layout",
        Kind::Choice(&["auto", "prefix", "published"]),
        "auto",
        "`prefix`: the objects below the prefix are the DAGs; `published`: `dagsync publish` wrote them; `auto`: published where its pointer is.",
    ),
    Setting::new("s3.region", Kind::Text, "", "The bucket's region; empty: as the AWS SDK finds it."),
    Setting::new(
        "s3.endpoint",
        Kind::Text,
        "",
        "The URL of an S3 server other than Amazon's; also `AWS_ENDPOINT_URL_S3`.",
    ),
    Setting::new(
        "s3.addressing",
        Kind::Choice(&["auto", "path", "virtual"]),
        "auto",
        "Where the bucket stands in a URL; `auto`: in the path with `s3.endpoint`, else in the host's name.",
    ),
    Setting::new(
        "s3.profile",
        Kind::Text,
        "",
        "A profile of the AWS configuration, whose credentials alone count; empty: as the AWS SDK finds them.",
    ),
    Setting::new("s3.anonymous", Kind::Bool, "false", "Sign no request, for public buckets."),
    Setting::new("s3.role_arn", Kind::Text, "", "A role to assume with the credentials that were found."),
    Setting::new("s3.role_session_name", Kind::Text, "dagsync", "The name of that session, as CloudTrail shows it."),
    Setting::new("s3.external_id", Kind::Text, "", "The external id that the role's trust policy asks for."),
    Setting::new("s3.fips", Kind::Bool, "false", "Use the FIPS endpoints of AWS."),
    Setting::new("s3.dual_stack", Kind::Bool, "false", "Use the endpoints of AWS that also speak IPv6."),
    Setting::new("s3.requester_pays", Kind::Bool, "false", "Agree to pay for requests to somebody else's bucket."),
    Setting::new(
        "s3.expected_bucket_owner",
        Kind::Text,
        "",
        "The account that must own the bucket; requests fail if another one does.",
    ),
    Setting::new(
        "s3.sse_c_key_file",
        Kind::Path,
        "",
        "The file with the 32 bytes of the key that objects are encrypted with (SSE-C), raw or in base64; read at every use.",
    ),
    Setting::new(
        "s3.ca_file",
        Kind::Path,
        "",
        "A PEM bundle of certificate authorities to trust besides the system's.",
    ),
    Setting::new(
        "s3.checksums",
        Kind::Choice(&["auto", "supported", "required"]),
        "auto",
        "When the SDK adds and checks checksums: wherever it can, or only where it must; `auto`: the latter with `s3.endpoint`.",
    ),
    Setting::new("s3.connect_timeout", Kind::Duration, "5s", "The longest that a connection may take."),
    Setting::new("s3.read_timeout", Kind::Duration, "20s", "The longest that the server may be silent."),
    Setting::new(
        "s3.attempts",
        Kind::Integer,
        "4",
        "How often one request is made at the most when the server is busy or the connection breaks.",
    ),
    Setting::new("s3.concurrency", Kind::Integer, "32", "Requests at the same time."),
    Setting::new("s3.bandwidth", Kind::Size, "0B", "Bytes a second to download at the most; 0: no limit."),
    Setting::new(
        "s3.at",
        Kind::Text,
        "",
        "A moment such as `2026-11-24T08:00:00Z`: bring what the bucket held then; needs bucket versioning.",
    ),
    Setting::new("s3.version", Kind::Text, "", "A published version to stay on, whatever the pointer says."),
    Setting::new(
        "s3.queue_url",
        Kind::Text,
        "",
        "An SQS queue of S3 events, direct, from SNS or EventBridge: wakes the loop, is never believed. A message wakes one pod: give each its own queue.",
    ),
    Setting::new(
        "s3.conditional_writes",
        Kind::Choice(&["required", "off"]),
        "required",
        "`off` lets `dagsync publish` write to a server that ignores conditions: of two publishers at once one is lost.",
    ),
    Setting::new(
        "s3.pack_below",
        Kind::Size,
        "256KiB",
        "`dagsync publish` puts files smaller than this together into packs; 0: none.",
    ),
];

/// How the DAGs lie in the bucket.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Layout {
    Auto,
    Prefix,
    Published,
}

/// Where the bucket stands in a URL.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Addressing {
    Auto,
    Path,
    Virtual,
}

/// When the SDK adds and checks checksums of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Checksums {
    Auto,
    Supported,
    Required,
}

/// Whether a server must honour conditions to be published to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum ConditionalWrites {
    Required,
    Off,
}

/// The section `s3`.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Settings {
    pub(crate) layout: Layout,
    #[serde(deserialize_with = "text")]
    pub(crate) region: Option<String>,
    #[serde(deserialize_with = "text")]
    pub(crate) endpoint: Option<String>,
    pub(crate) addressing: Addressing,
    #[serde(deserialize_with = "text")]
    pub(crate) profile: Option<String>,
    pub(crate) anonymous: bool,
    #[serde(deserialize_with = "text")]
    pub(crate) role_arn: Option<String>,
    pub(crate) role_session_name: String,
    #[serde(deserialize_with = "text")]
    pub(crate) external_id: Option<String>,
    pub(crate) fips: bool,
    pub(crate) dual_stack: bool,
    pub(crate) requester_pays: bool,
    #[serde(deserialize_with = "text")]
    pub(crate) expected_bucket_owner: Option<String>,
    #[serde(deserialize_with = "path")]
    pub(crate) sse_c_key_file: Option<PathBuf>,
    #[serde(deserialize_with = "path")]
    pub(crate) ca_file: Option<PathBuf>,
    pub(crate) checksums: Checksums,
    #[serde(with = "humantime_serde")]
    pub(crate) connect_timeout: Duration,
    #[serde(with = "humantime_serde")]
    pub(crate) read_timeout: Duration,
    pub(crate) attempts: u32,
    pub(crate) concurrency: usize,
    pub(crate) bandwidth: ByteSize,
    #[serde(deserialize_with = "moment")]
    pub(crate) at: Option<SystemTime>,
    #[serde(deserialize_with = "version")]
    pub(crate) version: Option<Version>,
    #[serde(deserialize_with = "text")]
    pub(crate) queue_url: Option<String>,
    pub(crate) conditional_writes: ConditionalWrites,
    pub(crate) pack_below: ByteSize,
}

impl Settings {
    /// The settings of a source, completed by the SDK's environment.
    pub(crate) fn of(spec: &Spec<'_>) -> Result<Self> {
        let mut settings: Self = spec.settings()?;
        settings.endpoint = settings.endpoint.or_else(|| endpoint(|name| std::env::var(name).ok()));
        settings.check()?;
        Ok(settings)
    }

    /// Finds what contradicts itself.
    pub(crate) fn check(&self) -> Result<()> {
        let wrong = |message: &str| Err(Error::new(ErrorKind::Config, "read settings", message));
        if !(1..=1000).contains(&self.concurrency) {
            return wrong("s3.concurrency must be from 1 to 1000");
        }
        if !(1..=20).contains(&self.attempts) {
            return wrong("s3.attempts must be from 1 to 20");
        }
        if self.connect_timeout.is_zero() || self.read_timeout.is_zero() {
            return wrong("s3.connect_timeout and s3.read_timeout must be more than 0s");
        }
        if self.anonymous && (self.role_arn.is_some() || self.profile.is_some()) {
            return wrong("s3.anonymous and s3.role_arn or s3.profile contradict each other");
        }
        if self.external_id.is_some() && self.role_arn.is_none() {
            return wrong("s3.external_id needs s3.role_arn");
        }
        if self.version.is_some() && (self.at.is_some() || self.layout == Layout::Prefix) {
            return wrong("s3.version is of the published layout, and goes with neither s3.at nor s3.layout = prefix");
        }
        if self.pack_below > ByteSize::mib(8) {
            return wrong("s3.pack_below must be 8MiB or less");
        }
        let is_url = |url: &String| url.starts_with("https://") || url.starts_with("http://");
        for (name, url) in [("s3.endpoint", &self.endpoint), ("s3.queue_url", &self.queue_url)] {
            if url.as_ref().is_some_and(|url| !is_url(url) || url.contains('@')) {
                return wrong(&format!("{name} must be a URL of http or https without a user"));
            }
        }
        if self.endpoint.is_some() && (self.fips || self.dual_stack) {
            return wrong("s3.fips and s3.dual_stack are about Amazon's endpoints, and go not with s3.endpoint");
        }
        Ok(())
    }

    /// Whether the bucket's name stands in the path of a URL.
    pub(crate) fn path_style(&self) -> bool {
        match self.addressing {
            Addressing::Auto => self.endpoint.is_some(),
            Addressing::Path => true,
            Addressing::Virtual => false,
        }
    }

    /// Whether the SDK adds and checks checksums wherever it can.
    pub(crate) fn checksums_where_supported(&self) -> bool {
        match self.checksums {
            Checksums::Auto => self.endpoint.is_none(),
            Checksums::Supported => true,
            Checksums::Required => false,
        }
    }
}

/// The server that the SDK's variables name: one of S3's own goes before one of all services.
fn endpoint(variable: impl Fn(&str) -> Option<String>) -> Option<String> {
    let is_ignored = variable("AWS_IGNORE_CONFIGURED_ENDPOINT_URLS").is_some_and(|on| on.eq_ignore_ascii_case("true"));
    let set = |name| variable(name).filter(|url| !url.is_empty());
    set("AWS_ENDPOINT_URL_S3").or_else(|| set("AWS_ENDPOINT_URL")).filter(|_| !is_ignored)
}

fn text<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    Ok(Some(String::deserialize(deserializer)?).filter(|text| !text.is_empty()))
}

fn path<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<PathBuf>, D::Error> {
    text(deserializer).map(|text| text.map(PathBuf::from))
}

fn moment<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<SystemTime>, D::Error> {
    let parse = |text: String| {
        humantime::parse_rfc3339_weak(&text).map_err(|e| {
            serde::de::Error::custom(format!("s3.at {text:?} is no time such as 2026-11-24T08:00:00Z: {e}"))
        })
    };
    text(deserializer)?.map(parse).transpose()
}

fn version<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Version>, D::Error> {
    let parse = |text: String| text.parse().map_err(|e: Error| serde::de::Error::custom(format!("s3.version: {e}")));
    text(deserializer)?.map(parse).transpose()
}

#[cfg(test)]
mod tests {
    use super::endpoint;
    use crate::fixture::settings;

    fn refused(changes: &[(&str, &str)]) -> String {
        settings(changes).check().unwrap_err().to_string()
    }

    #[test]
    fn the_defaults_fit_together() {
        let defaults = settings(&[]);
        defaults.check().unwrap();
        assert!(!defaults.path_style() && defaults.checksums_where_supported());
        let elsewhere = settings(&[("endpoint", "http://127.0.0.1:9000")]);
        assert!(elsewhere.path_style() && !elsewhere.checksums_where_supported());
    }

    #[test]
    fn the_sdks_variables_name_a_server_too() {
        let found = |set: &[(&str, &str)]| {
            endpoint(|name| set.iter().find(|(n, _)| *n == name).map(|(_, value)| (*value).to_owned()))
        };
        let (of_s3, of_all) = (("AWS_ENDPOINT_URL_S3", "http://s3"), ("AWS_ENDPOINT_URL", "http://all"));
        assert_eq!(found(&[of_s3, of_all]).as_deref(), Some("http://s3"));
        assert_eq!(found(&[("AWS_ENDPOINT_URL_S3", ""), of_all]).as_deref(), Some("http://all"));
        assert_eq!(found(&[of_s3, of_all, ("AWS_IGNORE_CONFIGURED_ENDPOINT_URLS", "true")]), None);
    }

    #[test]
    fn what_contradicts_itself_is_refused_by_name() {
        for (changes, name) in [
            (&[("concurrency", "0")][..], "s3.concurrency"),
            (&[("attempts", "21")], "s3.attempts"),
            (&[("read_timeout", "0s")], "s3.read_timeout"),
            (&[("anonymous", "true"), ("role_arn", "arn:aws:iam::1:role/x")], "s3.anonymous"),
            (&[("external_id", "x")], "s3.external_id needs s3.role_arn"),
            (&[("endpoint", "minio:9000")], "s3.endpoint must be a URL"),
            (&[("endpoint", "http://ada:pw@minio")], "without a user"),
            (&[("endpoint", "http://minio"), ("fips", "true")], "s3.fips"),
            (&[("pack_below", "9MiB")], "s3.pack_below"),
        ] {
            assert!(refused(changes).contains(name), "{}", refused(changes));
        }
    }
}
