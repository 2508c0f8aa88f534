//! What the SDK's errors mean, and what to do about them.

use std::error::Error as StdError;

use aws_sdk_s3::config::http::HttpResponse;
use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};
use aws_smithy_http::endpoint::ResolveEndpointError;
use dagsync_core::{Error, ErrorKind};

use crate::credentials;

const NO_S3: &str = "check s3.endpoint: something else may answer there, such as a proxy";

/// A request that failed.
pub(crate) struct Failure {
    pub(crate) error: Error,
    /// Where the server says that the bucket is.
    pub(crate) region: Option<String>,
    /// Whether credentials that are read anew may do better.
    pub(crate) stale: bool,
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self { error, region: None, stale: false }
    }
}

// What S3, STS and SQS call it.
const UNKNOWN: &[&str] = &["InvalidAccessKeyId", "InvalidClientTokenId", "UnrecognizedClientException"];
const WRONG: &[&str] = &["SignatureDoesNotMatch", "InvalidSignatureException"];
const EXPIRED: &[&str] = &["ExpiredToken", "ExpiredTokenException", "InvalidToken", "TokenRefreshRequired"];

const CHECK_KEYS: &str =
    "check AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or the profile; they are read again at the next attempt";

/// How the permission for an operation is called in a policy.
fn permission(operation: &'static str) -> &'static str {
    match operation {
        "list" => "s3:ListBucket on the bucket",
        "list versions" => "s3:ListBucketVersions on the bucket",
        "put" => "s3:PutObject on what is below the prefix",
        "delete" => "s3:DeleteObject on what is below the prefix",
        "receive" => "sqs:ReceiveMessage and sqs:DeleteMessage on the queue",
        _ => "s3:GetObject on what is below the prefix",
    }
}

/// Explains a failed request for `what`.
pub(crate) fn explain<E>(operation: &'static str, what: &str, error: SdkError<E, HttpResponse>) -> Failure
where
    E: ProvideErrorMetadata + StdError + Send + Sync + 'static,
{
    let new = |kind, message: &str| Error::new(kind, operation, format!("{what}: {message}"));
    match &error {
        SdkError::DispatchFailure(failure) => {
            let cause = failure.as_connector_error().map(|e| chain(e)).unwrap_or_default();
            match credentials::missing(&error) {
                Some(missing) => Failure { error: credentials::explain(new, missing), region: None, stale: true },
                None if is_setting(&error, &cause) => unsendable(new, &cause).into(),
                None => no_answer(new, failure.is_timeout(), &cause).into(),
            }
        }
        SdkError::TimeoutError(_) => new(ErrorKind::Timeout, "no answer in time")
            .with_hint("check that the server is reachable from the pod, or raise s3.read_timeout")
            .into(),
        SdkError::ResponseError(response) => {
            let status = response.raw().status().as_u16();
            let message = format!("the answer ({status}) is none of S3: {}", chain(&error));
            new(ErrorKind::Unreachable, &message).with_hint(NO_S3).into()
        }
        SdkError::ServiceError(service) => {
            let answer = Answer {
                status: service.raw().status().as_u16(),
                code: service.err().code().unwrap_or_default(),
                message: service.err().message().unwrap_or_default(),
                region: service.raw().headers().get("x-amz-bucket-region"),
            };
            let region = answer.moved().map(str::to_owned);
            Failure { error: answer.explain(operation, new), region, stale: answer.is_stale() }
        }
        _ => unsendable(new, &chain(&error)).into(),
    }
}

/// An error that the server answered with.
struct Answer<'a> {
    status: u16,
    code: &'a str,
    message: &'a str,
    region: Option<&'a str>,
}

impl Answer<'_> {
    /// Where the bucket is, if that is elsewhere.
    fn moved(&self) -> Option<&str> {
        let is_elsewhere = matches!(self.status, 301 | 307) || self.code == "AuthorizationHeaderMalformed";
        self.region.filter(|_| is_elsewhere || self.status == 400 && self.code.is_empty())
    }

    /// Whether it is about the credentials themselves, and not about what they allow.
    fn is_stale(&self) -> bool {
        UNKNOWN.contains(&self.code) || WRONG.contains(&self.code) || EXPIRED.contains(&self.code)
    }

    fn explain(&self, operation: &'static str, new: impl Fn(ErrorKind, &str) -> Error) -> Error {
        use ErrorKind::{Changed, Config, NotFound, Refused, Unauthorized, Unreachable};
        if let Some(region) = self.moved() {
            return new(Config, &format!("the bucket is in the region {region}"))
                .with_hint(format!("set s3.region to {region}"));
        }
        let hinted = |kind, message: &str, hint: &str| new(kind, message).with_hint(hint);
        match (self.code, self.status) {
            ("NoSuchBucket", _) => hinted(NotFound, "there is no such bucket", "check source and s3.endpoint"),
            (code, _) if code.ends_with("NonExistentQueue") || code == "QueueDoesNotExist" => {
                hinted(NotFound, "there is no such queue", "check s3.queue_url")
            }
            (code, _) if UNKNOWN.contains(&code) => {
                hinted(Unauthorized, "the server does not know the access key", CHECK_KEYS)
            }
            (code, _) if WRONG.contains(&code) => {
                hinted(Unauthorized, "the secret key does not belong to the access key", CHECK_KEYS)
            }
            (code, _) if EXPIRED.contains(&code) => hinted(
                Unauthorized,
                "the security token has expired or is not valid",
                "credentials that rotate are read again at the next attempt",
            ),
            ("RequestTimeTooSkewed", _) => {
                hinted(Unauthorized, "this host's clock differs too much from the server's", "set the clock")
            }
            ("InvalidObjectState", _) => hinted(
                Refused,
                "the object is archived (Glacier) and cannot be read",
                "restore it, or leave it out with an exclude glob",
            ),
            ("NoSuchKey" | "NoSuchVersion" | "NotFound", _) | (_, 404) => new(NotFound, "it is not there"),
            (_, 412) => new(Changed, "it has changed"),
            (_, 409) => new(Changed, "somebody else writes to it at the same moment"),
            (code, 401 | 403) if code.starts_with("KMS") => {
                hinted(Unauthorized, &self.said(), "allow kms:Decrypt on the key for this role")
            }
            _ if self.is_about_encryption() => hinted(
                Unauthorized,
                &self.said(),
                "check s3.sse_c_key_file: the object is encrypted with a key (SSE-C)",
            ),
            (_, 407) => hinted(
                Unreachable,
                "a proxy wants to know who asks (407)",
                "write http_proxy as http://user:password@host:port",
            ),
            (code, 401 | 403) => {
                // S3 says why, unless the answer has no body; others do not.
                let or = if code.is_empty() && operation != "head" {
                    "; or did a proxy answer? check http_proxy"
                } else {
                    ""
                };
                let hint = format!("allow {} for this role{or}", permission(operation));
                new(Unauthorized, &self.said()).with_hint(hint)
            }
            ("NotImplemented", _) | (_, 405 | 501) => {
                hinted(Config, "the server does not support this request", "check the settings in the section s3")
            }
            ("RequestTimeout" | "SlowDown" | "Throttling" | "ThrottlingException", _) | (_, 429 | 500..=599) => {
                new(Unreachable, &self.said())
            }
            (_, 304) => new(Changed, "it has not changed"),
            (_, 200..=299) => hinted(Unreachable, &format!("the answer ({}) is none of S3", self.status), NO_S3),
            _ => new(Unreachable, &self.said()).permanent(),
        }
    }

    /// There is no code for it that is only for it.
    fn is_about_encryption(&self) -> bool {
        let said = self.message.to_ascii_lowercase();
        matches!(self.code, "InvalidRequest" | "InvalidArgument" | "AccessDenied" | "NoSuchKey")
            && ["server side encryption", "encryption parameters", "hash of the key", "customer-key", "sse-c"]
                .iter()
                .any(|words| said.contains(words))
    }

    fn said(&self) -> String {
        match (self.code, self.message) {
            ("", _) => format!("the server answers {}", self.status),
            (code, "") => format!("the server answers {} {code}", self.status),
            (code, message) => format!("the server answers {} {code}: {}", self.status, first_line(message)),
        }
    }
}

/// Messages of servers are foreign text of any length.
fn first_line(text: &str) -> String {
    dagsync_core::printable(text.lines().next().unwrap_or_default().chars().take(300).collect::<String>())
}

/// No answer came: because of the connection, the server's certificate or the proxy.
fn no_answer(new: impl Fn(ErrorKind, &str) -> Error, timed_out: bool, cause: &str) -> Error {
    let has = |words: &[&str]| words.iter().any(|word| cause.contains(word));
    if has(&["invalid peer certificate", "certificate"]) {
        return new(ErrorKind::Untrusted, &format!("the server's certificate is not trusted: {cause}"))
            .with_hint("name the authority that signed it in s3.ca_file");
    }
    if has(&["tunnel", "proxy"]) {
        return new(ErrorKind::Unreachable, &format!("the proxy does not let it through: {cause}"))
            .with_hint("check https_proxy and no_proxy in the environment");
    }
    if timed_out {
        return new(ErrorKind::Timeout, &format!("no answer in time: {cause}")).with_hint(
            "check that the server is reachable from the pod, or raise s3.connect_timeout or s3.read_timeout",
        );
    }
    new(ErrorKind::Unreachable, &format!("no answer: {cause}"))
        .with_hint("check s3.endpoint, s3.region and that the server is reachable from the pod")
}

const UNFIT: &str = "failed to apply endpoint";

/// Whether the SDK made no request, because the settings give no address to send it to.
fn is_setting(error: &(dyn StdError + 'static), cause: &str) -> bool {
    let is_unknown = |error: &(dyn StdError + 'static)| error.is::<ResolveEndpointError>();
    cause.contains(UNFIT) || std::iter::successors(Some(error), |error| (*error).source()).any(is_unknown)
}

fn unsendable(new: impl Fn(ErrorKind, &str) -> Error, cause: &str) -> Error {
    // The SDK would show the whole request.
    let cause = cause.trim_start_matches("other: ").split(" to request `").next().unwrap_or_default();
    new(ErrorKind::Config, &format!("the request cannot be made: {cause}"))
        .with_hint("check source and the settings in the section s3, above all s3.region and s3.endpoint")
}

/// An error with its causes, each once.
pub(crate) fn chain(error: &(dyn StdError + 'static)) -> String {
    let mut texts: Vec<String> = vec![error.to_string()];
    let mut cause = error.source();
    while let Some(error) = cause {
        let text = error.to_string();
        if texts.last().is_none_or(|last| !last.ends_with(&text)) {
            texts.push(text);
        }
        cause = error.source();
    }
    first_line(&texts.join(": "))
}

/// The kind of a body that did not arrive.
pub(crate) fn broken_body(
    operation: &'static str,
    what: &str,
    error: &aws_sdk_s3::primitives::ByteStreamError,
) -> Error {
    let cause = error.source().map(chain).unwrap_or_default();
    let kind = if cause.contains("checksum") { ErrorKind::Corrupt } else { ErrorKind::Unreachable };
    Error::new(kind, operation, format!("{what}: the body did not arrive whole: {cause}")).retryable()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn explained(code: &str, status: u16) -> Error {
        let answer = Answer { status, code, message: "because", region: None };
        answer.explain("get", |kind, message| Error::new(kind, "get", format!("s3://b/x: {message}")))
    }

    #[test]
    fn every_answer_has_a_kind_and_whether_it_passes() {
        for (code, status, kind, passes) in [
            ("NoSuchBucket", 404, ErrorKind::NotFound, false),
            ("NoSuchKey", 404, ErrorKind::NotFound, false),
            ("AccessDenied", 403, ErrorKind::Unauthorized, false),
            ("", 403, ErrorKind::Unauthorized, false),
            ("ExpiredToken", 400, ErrorKind::Unauthorized, false),
            ("PreconditionFailed", 412, ErrorKind::Changed, true),
            ("ConditionalRequestConflict", 409, ErrorKind::Changed, true),
            ("SlowDown", 503, ErrorKind::Unreachable, true),
            ("InternalError", 500, ErrorKind::Unreachable, true),
            ("TooManyRequests", 429, ErrorKind::Unreachable, true),
            ("InvalidObjectState", 403, ErrorKind::Refused, false),
            ("InvalidArgument", 400, ErrorKind::Unreachable, false),
        ] {
            let error = explained(code, status);
            assert_eq!((error.kind(), error.is_retryable()), (kind, passes), "{error}");
        }
        assert!(explained("AccessDenied", 403).to_string().contains("s3:GetObject"));
    }

    #[test]
    fn a_bucket_elsewhere_says_where() {
        let answer = Answer { status: 301, code: "PermanentRedirect", message: "", region: Some("eu-west-1") };
        let error = answer.explain("list", |kind, message| Error::new(kind, "list", message));
        assert!(error.to_string().ends_with("set s3.region to eu-west-1"), "{error}");
        let answer = Answer { status: 403, region: Some("eu-west-1"), ..answer };
        assert_eq!(answer.moved(), None, "a refusal names the region too");
    }
}
