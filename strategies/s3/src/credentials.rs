//! The credentials of a profile that is named, and why there are none of any kind.

use std::error::Error as StdError;
use std::iter::successors;
use std::sync::Arc;

use aws_config::meta::ProviderChainError;
use aws_config::profile::ProfileFileCredentialsProvider;
use aws_config::provider_config::ProviderConfig;
use aws_config::{BehaviorVersion, SdkConfig};
use aws_credential_types::credential_fn::provide_credentials_fn;
use aws_credential_types::provider::error::CredentialsError;
use aws_credential_types::provider::{ProvideCredentials, SharedCredentialsProvider};
use dagsync_core::{Error, ErrorKind, fs};

use crate::errors::chain;

const CONTAINER_TOKEN: &str = "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE";
const WEB_TOKEN: &str = "AWS_WEB_IDENTITY_TOKEN_FILE";
const MAX_TOKEN: u64 = 64 << 10;

/// What stands in the text of an error that may pass by itself.
const PASSING: &[&str] = &[
    "dispatch failure",
    "timeout",
    "timed out",
    "StatusCode(5",
    "StatusCode(429",
    "Throttl",
    "ServiceUnavailable",
    "InternalFailure",
    "IDPCommunicationError",
];

/// Those of one profile and of nothing else, as with `--profile` of `aws`. Left to itself, the SDK looks into the
/// environment first, and elsewhere when there is no such profile.
pub(crate) fn of_profile(name: &str, config: &SdkConfig) -> SharedCredentialsProvider {
    let mut with = ProviderConfig::default()
        .with_region(config.region().cloned())
        .with_behavior_version(Some(BehaviorVersion::latest()));
    if let Some(http) = config.http_client() {
        with = with.with_http_client(http);
    }
    let profile = Arc::new(ProfileFileCredentialsProvider::builder().configure(&with).profile_name(name).build());
    let name = name.to_owned();
    SharedCredentialsProvider::new(provide_credentials_fn(move || {
        let (profile, name) = (profile.clone(), name.clone());
        async move {
            profile.provide_credentials().await.map_err(|error| match error {
                CredentialsError::CredentialsNotLoaded(_) => CredentialsError::invalid_configuration(format!(
                    "s3.profile: neither AWS_CONFIG_FILE nor AWS_SHARED_CREDENTIALS_FILE has credentials of a profile {name}"
                )),
                error => error,
            })
        }
    }))
}

/// The failure to get credentials that an error comes from: of a role to assume, that to get the ones before.
pub(crate) fn missing<'a>(error: &'a (dyn StdError + 'static)) -> Option<&'a CredentialsError> {
    successors(Some(error), |error| (*error).source()).filter_map(|error| error.downcast_ref()).last()
}

/// Says it to people.
pub(crate) fn explain(new: impl Fn(ErrorKind, &str) -> Error, error: &CredentialsError) -> Error {
    let cause = error.source().map(chain).unwrap_or_else(|| error.to_string());
    match error {
        CredentialsError::CredentialsNotLoaded(_) => new(
            ErrorKind::Unauthorized,
            &format!("there are no credentials: {}", tried(error).unwrap_or(cause)),
        )
        .with_hint(
            "give the pod a role (IRSA or EKS Pod Identity), set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, name \
                 a profile in s3.profile, or set s3.anonymous for a public bucket",
        ),
        _ => {
            let is_late = matches!(error, CredentialsError::ProviderTimedOut(_));
            let passes = is_late || PASSING.iter().any(|word| cause.contains(word));
            let kind = if passes { ErrorKind::Unreachable } else { ErrorKind::Unauthorized };
            let hint = match error {
                CredentialsError::InvalidConfiguration(_) => "check the variables AWS_* and the files that they name",
                _ => {
                    "check the role and whom it trusts, and that the pod reaches who gives the credentials (STS, EKS Pod \
                     Identity or the instance's metadata), also in spite of http_proxy, https_proxy and no_proxy"
                }
            };
            let hint = token_problem().unwrap_or_else(|| hint.to_owned());
            new(kind, &format!("cannot get credentials: {cause}")).with_hint(hint)
        }
    }
}

/// Where the SDK looked, and why nothing was there.
fn tried(error: &CredentialsError) -> Option<String> {
    let all: &ProviderChainError<CredentialsError> = error.source()?.downcast_ref()?;
    let one = |name: &str, error: &CredentialsError| {
        let why = error.source().map_or_else(|| error.to_string(), chain);
        format!("{name} ({why})")
    };
    Some(all.attempts().iter().map(|attempt| one(attempt.name(), attempt.error())).collect::<Vec<_>>().join(", "))
}

/// What is wrong with the file of a token: the SDK does not say which it is, and sends a line break along.
fn token_problem() -> Option<String> {
    let file = |name| std::env::var(name).ok().map(|file| (name, file));
    let (name, file) = file(CONTAINER_TOKEN).or_else(|| file(WEB_TOKEN))?;
    match fs::read(file.as_ref(), MAX_TOKEN) {
        Ok(Some(token)) if name == CONTAINER_TOKEN && token.ends_with(b"\n") => {
            Some(format!("the token in {file} ends in a line break, which the SDK sends as it is: remove it"))
        }
        Ok(Some(_)) => None,
        _ => Some(format!("{file}, which {name} names, cannot be read: check that the token is mounted (fsGroup)")),
    }
}
