//! Keys in the environment and in profiles: wrong, missing, rotated and expired ones.

use std::path::PathBuf;

use dagsync_testkit::s3::{Action, Op, Rule};
use serde_json::Value;
use tempfile::TempDir;

use super::{double, keyed, pod_in, pod_of, signers, version};
use crate::harness::{Bucket, Pod, S3Server};

fn bucket() -> Bucket {
    let bucket = S3Server::rgw().bucket();
    bucket.put("dags/a.py", "1");
    bucket
}

/// The files that `aws configure` writes.
struct Profiles(TempDir);

impl Profiles {
    fn new(config: &str, credentials: &str) -> Self {
        let profiles = Self(tempfile::tempdir().unwrap());
        std::fs::write(profiles.file("config"), config).unwrap();
        profiles.write(credentials);
        profiles
    }

    /// In one step, as a mounted Secret changes.
    fn write(&self, credentials: &str) {
        std::fs::write(self.file("new"), credentials).unwrap();
        std::fs::rename(self.file("new"), self.file("credentials")).unwrap();
    }

    fn file(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn of(&self, pod: Pod) -> Pod {
        let path = |name| self.file(name).to_str().unwrap().to_owned();
        pod.env("AWS_CONFIG_FILE", path("config")).env("AWS_SHARED_CREDENTIALS_FILE", path("credentials"))
    }
}

fn profile(name: &str, id: &str, secret: &str) -> String {
    format!("[{name}]\naws_access_key_id = {id}\naws_secret_access_key = {secret}\n")
}

#[test]
fn keys_in_the_environment_are_used_and_wrong_ones_are_named_without_the_secret() {
    let (bucket, server) = (bucket(), S3Server::rgw());
    let (id, secret) = (server.access_key.as_str(), server.secret_key.as_str());
    let pod = keyed(pod_in(&bucket), id, secret);
    pod.once().ended(0, &[&version("1")]);
    let wrong = "wrong-secret-of-nobody-at-all-5521";
    let hint = "check AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or the profile";
    for (id, secret, words) in [
        (id, wrong, "the secret key does not belong to the access key"),
        ("NOBODY", secret, "the server does not know the access key"),
    ] {
        let outcome = keyed(pod_in(&bucket), id, secret).once();
        outcome.ended(2, &[&bucket.name, words, hint]);
        assert!(!format!("{outcome:?}").contains(secret), "{outcome:?}");
    }
}

#[test]
fn without_any_credentials_it_says_where_they_could_come_from() {
    let outcome = pod_in(&bucket()).once();
    let ways = ["IRSA", "EKS Pod Identity", "AWS_ACCESS_KEY_ID", "s3.profile", "s3.anonymous"];
    outcome.ended(2, &["there are no credentials: Environment (", "WebIdentityToken ("]).ended(2, &ways);
    let half = pod_in(&bucket()).env("AWS_ACCESS_KEY_ID", "ONLY-HALF").once();
    half.ended(2, &["there are no credentials", "AWS_SECRET_ACCESS_KEY"]);
}

#[test]
fn a_profile_is_used_and_one_that_is_named_goes_before_the_environment() {
    let (bucket, server) = (bucket(), S3Server::rgw());
    let good = profile("team", &server.access_key, &server.secret_key);
    let profiles = Profiles::new("", &format!("{}{good}", profile("default", "NOBODY", "x")));
    let pod = || profiles.of(pod_in(&bucket));
    pod().once().ended(2, &["the server does not know the access key", "the profile"]);
    pod().env("AWS_PROFILE", "team").once().ended(0, &[&version("1")]);
    keyed(pod(), "NOBODY", "y").set("s3.profile", "team").once().ended(0, &[&version("1")]);
    for lonely in [pod(), keyed(pod(), &server.access_key, &server.secret_key), pod_in(&bucket)] {
        let outcome = lonely.set("s3.profile", "teem").once();
        outcome.ended(2, &["s3.profile", "of a profile teem", "AWS_SHARED_CREDENTIALS_FILE"]);
    }
}

#[test]
fn the_region_of_a_profile_is_signed_for() {
    let s3 = double("1");
    let profiles = Profiles::new("[profile team]\nregion = eu-north-1\n", &profile("team", "AKIA1", "x"));
    let pod = || profiles.of(pod_of(&s3)).set("s3.profile", "team");
    let region = |pod: Pod| {
        s3.clear_requests();
        pod.once().ended(0, &[]);
        let seen = s3.requests().pop().unwrap();
        let scope = seen.header("authorization").unwrap().split('/').nth(2).unwrap().to_owned();
        (signers(&[seen]), scope)
    };
    let of = |region: &str| (vec!["AKIA1".to_owned()], region.to_owned());
    assert_eq!(region(pod()), of("eu-north-1"));
    assert_eq!(region(pod().env("AWS_REGION", "eu-west-3")), of("eu-west-3"));
    assert_eq!(region(pod().env("AWS_REGION", "eu-west-3").set("s3.region", "us-west-2")), of("us-west-2"));
    assert_eq!(region(keyed(pod_of(&s3), "AKIA1", "x")), of("us-east-1"));
}

fn fails_with(words: &'static str) -> impl Fn(&Value) -> bool {
    move |s| s["last_error"]["message"].as_str().is_some_and(|message| message.contains(words))
}

#[test]
fn keys_that_are_rotated_in_a_file_are_read_again_once_the_old_ones_are_refused() {
    let s3 = double("1");
    s3.require_token(Some("AKIA1"));
    let profiles = Profiles::new("", &profile("default", "AKIA1", "x"));
    let mut pod = profiles.of(pod_of(&s3));
    pod.start_on(&version("1"));
    s3.require_token(Some("AKIA2"));
    s3.put("b", "dags/a.py", "2");
    let status = pod.wait("the old keys are refused", fails_with("does not know the access key"));
    assert_eq!((&status["version"], pod.get("/readyz").unwrap().0), (&version("1").into(), 200), "{status}");
    profiles.write(&profile("default", "AKIA2", "y"));
    pod.is_on(&version("2"));
    assert_eq!(signers(&s3.requests()), ["AKIA1", "AKIA2"]);
}

#[test]
fn a_token_that_expires_leaves_the_version_until_there_is_another() {
    let s3 = double("1");
    let session = |token: &str| format!("{}aws_session_token = {token}\n", profile("default", "ASIA1", "x"));
    let profiles = Profiles::new("", &session("first-token"));
    let mut pod = profiles.of(pod_of(&s3));
    pod.start_on(&version("1"));
    s3.put("b", "dags/a.py", "2");
    s3.inject(Rule::any(Action::status(400, "ExpiredToken")).forever());
    let status = pod.wait("it says so", fails_with("the security token has expired"));
    assert_eq!((&status["version"], &status["last_error"]["kind"]), (&version("1").into(), &"unauthorized".into()));
    assert_eq!(pod.get("/readyz").unwrap().0, 200);
    profiles.write(&session("second-token"));
    s3.clear_faults();
    pod.is_on(&version("2"));
    let last = s3.requests().pop().unwrap();
    assert_eq!(last.header("x-amz-security-token"), Some("second-token"));
}

#[test]
fn a_token_that_expires_between_two_requests_of_a_sync_costs_one_more() {
    let s3 = double("1");
    s3.inject(Rule::on(Op::Get, Action::status(400, "ExpiredToken")).key("a.py"));
    keyed(pod_of(&s3), "ASIA1", "x").once().ended(0, &[&version("1")]);
    let got = |seen: &&dagsync_testkit::s3::Seen| seen.op == Op::Get && seen.key == "dags/a.py";
    let statuses: Vec<_> = s3.requests().iter().filter(got).map(|seen| seen.status).collect();
    assert_eq!(statuses, [Some(400), Some(200)]);
}

#[test]
fn a_pointer_that_may_not_be_read_is_not_taken_for_a_missing_one() {
    let s3 = double("1");
    let hash = "0".repeat(64);
    s3.put("b", &format!("dags/manifests/{hash}"), "");
    let pod = || keyed(pod_of(&s3), "AKIA1", "x");
    pod().once().ended(2, &["has no pointer"]);
    s3.inject(Rule::on(Op::Get, Action::status(403, "AccessDenied")).forever());
    pod().once().ended(2, &["dags/dagsync.json", "AccessDenied", "allow s3:GetObject"]);
}

#[test]
fn a_settings_error_is_no_matter_of_credentials() {
    let pod = |source: &str| keyed(super::pod(source, ""), "AKIA1", "x").set("s3.region", "not a region");
    pod("s3://team-bucket/dags").once().ended(64, &["the request cannot be made", "not a valid DNS name", "s3.region"]);
    let outcome = pod("s3://b/dags").once();
    outcome.ended(64, &["the request cannot be made", "not a region.amazonaws.com", "s3.region"]);
    assert!(!outcome.stderr.contains("SdkBody"), "{outcome:?}");
    let of_the_sdk = keyed(super::pod("s3://b/dags", ""), "AKIA1", "x").env("AWS_ENDPOINT_URL", "http://127.0.0.1:1");
    of_the_sdk.set("s3.fips", "true").once().ended(64, &["s3.fips", "s3.endpoint"]);
}
