//! The SDK's clients: who one is (the SDK's whole chain, a role), where the server is, and how long it may take.
//!
//! Retry is switched off here: it happens in [`Requests`](crate::requests::Requests) alone, where it is counted.

use std::time::Duration;

use aws_config::environment::EnvironmentVariableRegionProvider;
use aws_config::meta::region::RegionProviderChain;
use aws_config::profile::ProfileFileRegionProvider;
use aws_config::retry::RetryConfig;
use aws_config::sts::AssumeRoleProvider;
use aws_config::timeout::TimeoutConfig;
use aws_config::{BehaviorVersion, ConfigLoader, Region, SdkConfig};
use aws_sdk_s3::config::{
    RequestChecksumCalculation, ResponseChecksumValidation, SharedHttpClient, StalledStreamProtectionConfig,
};
use aws_smithy_http_client::proxy::ProxyConfig;
use aws_smithy_http_client::tls::rustls_provider::CryptoMode;
use aws_smithy_http_client::tls::{Provider, TlsContext, TrustStore};
use aws_smithy_http_client::{Builder, Connector};
use dagsync_core::{Error, ErrorKind, Result, fs};

use crate::credentials;
use crate::settings::Settings;

/// Signed for where neither a setting nor the SDK knows better; an S3 server of one's own takes any.
const DEFAULT_REGION: &str = "us-east-1";
const MAX_CA_BYTES: u64 = 4 << 20;
/// Idle connections are closed before the server does it, which S3 does after some 20 seconds.
const IDLE: Duration = Duration::from_secs(15);

/// What the clients of both services are made of.
pub(crate) async fn sdk_config(settings: &Settings, region: Option<String>) -> Result<SdkConfig> {
    let http = http_client(settings)?;
    let timeouts =
        TimeoutConfig::builder().connect_timeout(settings.connect_timeout).read_timeout(settings.read_timeout).build();
    let mut loader = aws_config::defaults(BehaviorVersion::latest())
        .http_client(http)
        .timeout_config(timeouts)
        .retry_config(RetryConfig::disabled())
        // A body has the same limit as an answer, see `requests`.
        .stalled_stream_protection(StalledStreamProtectionConfig::disabled());
    if let Some(profile) = &settings.profile {
        loader = loader.profile_name(profile);
    }
    if settings.fips {
        loader = loader.use_fips(true);
    }
    if settings.dual_stack {
        loader = loader.use_dual_stack(true);
    }
    loader = regional(loader, settings, region);
    if settings.anonymous {
        loader = loader.no_credentials();
    }
    let config = loader.load().await;
    if let Some(endpoint) = config.endpoint_url().filter(|_| settings.endpoint.is_none()) {
        // What depends on whose server it is, such as checksums and conditions, is decided by the setting.
        return Err(Error::new(
            ErrorKind::Config,
            "read AWS configuration",
            format!("a profile has endpoint_url {endpoint}"),
        )
        .with_hint("set s3.endpoint to it"));
    }
    let config = match config.region() {
        Some(_) => config,
        None => config.into_builder().region(Region::new(DEFAULT_REGION)).build(),
    };
    let config = match &settings.profile {
        Some(profile) => {
            let of_profile = credentials::of_profile(profile, &config);
            config.into_builder().credentials_provider(of_profile).build()
        }
        None => config,
    };
    assume_role(config, settings).await
}

/// A server of one's own has no region to look for, which would ask the instance's metadata service.
fn regional(loader: ConfigLoader, settings: &Settings, known: Option<String>) -> ConfigLoader {
    if let Some(region) = known.or_else(|| settings.region.clone()) {
        return loader.region(Region::new(region));
    }
    if settings.endpoint.is_none() {
        return loader;
    }
    let mut profile = ProfileFileRegionProvider::builder();
    if let Some(name) = &settings.profile {
        profile = profile.profile_name(name);
    }
    let variables = RegionProviderChain::first_try(EnvironmentVariableRegionProvider::new());
    loader.region(variables.or_else(profile.build()).or_else(Region::new(DEFAULT_REGION)))
}

async fn assume_role(config: SdkConfig, settings: &Settings) -> Result<SdkConfig> {
    let Some(role) = &settings.role_arn else { return Ok(config) };
    let mut provider = AssumeRoleProvider::builder(role).session_name(&settings.role_session_name).configure(&config);
    if let Some(id) = &settings.external_id {
        provider = provider.external_id(id);
    }
    let provider = provider.build().await;
    Ok(config.into_builder().credentials_provider(aws_sdk_s3::config::SharedCredentialsProvider::new(provider)).build())
}

/// The client for the bucket.
pub(crate) fn s3(config: &SdkConfig, settings: &Settings) -> aws_sdk_s3::Client {
    let (calculation, validation) = match settings.checksums_where_supported() {
        true => (RequestChecksumCalculation::WhenSupported, ResponseChecksumValidation::WhenSupported),
        false => (RequestChecksumCalculation::WhenRequired, ResponseChecksumValidation::WhenRequired),
    };
    let mut builder = aws_sdk_s3::config::Builder::from(config)
        .force_path_style(settings.path_style())
        .request_checksum_calculation(calculation)
        .response_checksum_validation(validation);
    if let Some(endpoint) = &settings.endpoint {
        builder = builder.endpoint_url(endpoint);
    }
    aws_sdk_s3::Client::from_conf(builder.build())
}

/// TLS by ring; proxies come from the environment.
fn http_client(settings: &Settings) -> Result<SharedHttpClient> {
    let mut trust = TrustStore::default();
    if let Some(file) = &settings.ca_file {
        let unreadable = |why: &str| {
            Error::new(ErrorKind::Config, "read s3.ca_file", format!("{}: {why}", file.display()))
                .with_hint("it must hold certificates in PEM form")
        };
        let pem = fs::read(file, MAX_CA_BYTES)?.ok_or_else(|| unreadable("it is not there"))?;
        let is_pem = pem.windows(27).any(|part| part == b"-----BEGIN CERTIFICATE-----");
        trust.add_pem_certificate(is_pem.then_some(pem).ok_or_else(|| unreadable("it holds no certificate"))?);
    }
    let context = TlsContext::builder()
        .with_trust_store(trust)
        .build()
        .map_err(|e| Error::new(ErrorKind::Config, "start HTTP client", "TLS cannot be set up").with_source(e))?;
    let http = Builder::new().pool_idle_timeout(IDLE).build_with_connector_fn(move |settings, _| {
        let mut connector = Connector::builder()
            .pool_idle_timeout(IDLE)
            .proxy_config(ProxyConfig::from_env())
            .tls_provider(Provider::Rustls(CryptoMode::Ring))
            .tls_context(context.clone());
        connector.set_connector_settings(settings.cloned());
        connector.build()
    });
    Ok(http)
}

#[cfg(test)]
mod tests {
    use aws_sdk_s3::config::{Credentials, SharedCredentialsProvider};
    use aws_sdk_s3::presigning::PresigningConfig;

    use super::*;
    use crate::fixture::settings;

    /// Where a request for `s3://team-bucket/a.py` goes.
    async fn address(changes: &[(&str, &str)]) -> String {
        let settings = settings(changes);
        let config = sdk_config(&settings, None).await.unwrap();
        let keys = SharedCredentialsProvider::new(Credentials::new("AKIA1", "x", None, None, "test"));
        let config = config.into_builder().credentials_provider(keys).build();
        let request = s3(&config, &settings).get_object().bucket("team-bucket").key("a.py");
        let signed = request.presigned(PresigningConfig::expires_in(Duration::from_secs(60)).unwrap()).await.unwrap();
        signed.uri().split('?').next().unwrap().to_owned()
    }

    #[tokio::test]
    async fn settings_choose_the_endpoint() {
        let region = ("region", "us-west-2");
        for (changes, url) in [
            (&[region][..], "https://team-bucket.s3.us-west-2.amazonaws.com/a.py"),
            (&[region, ("addressing", "path")], "https://s3.us-west-2.amazonaws.com/team-bucket/a.py"),
            (&[region, ("fips", "true")], "https://team-bucket.s3-fips.us-west-2.amazonaws.com/a.py"),
            (&[region, ("dual_stack", "true")], "https://team-bucket.s3.dualstack.us-west-2.amazonaws.com/a.py"),
            (
                &[region, ("fips", "true"), ("dual_stack", "true")],
                "https://team-bucket.s3-fips.dualstack.us-west-2.amazonaws.com/a.py",
            ),
            (&[("region", "cn-north-1")], "https://team-bucket.s3.cn-north-1.amazonaws.com.cn/a.py"),
            (&[("endpoint", "http://minio:9000")], "http://minio:9000/team-bucket/a.py"),
            (
                &[("endpoint", "https://s3.example.org"), ("addressing", "virtual")],
                "https://team-bucket.s3.example.org/a.py",
            ),
        ] {
            assert_eq!(address(changes).await, url, "{changes:?}");
        }
    }
}
