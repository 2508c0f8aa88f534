//! Keys, tokens and passwords stay where they are: not in a log at any level, a status, a metric, a command line, the
//! store.

use dagsync_testkit::s3::{Action, Rule, S3Double};
use serde_json::json;

use super::{double, keyed, moment, pod_of, port, version};
use crate::harness::{Pod, Process, Proxy, S3Server, Web, eventually, shell};

const SECRET: &str = "secret-key-of-the-pod-9302";
const SESSION: &str = "session-token-of-the-pod-1177";
const PROXY: &str = "password-of-the-proxy-4410";
const SSE_KEY: &str = "0a-key-that-encrypts-the-objects";

/// Everything that a pod says on every channel in a life with a failure.
fn everything(pod: &mut Pod, s3: &S3Double) -> String {
    // The libraries are named, so that they say all they ever do.
    pod.change("log.level", "trace,aws_=trace,hyper=trace,rustls=trace,h2=trace,reqwest=trace");
    let folder = tempfile::tempdir().unwrap();
    let mut process = Process::start(&mut pod.command("run"), &folder.path().join("log"));
    eventually("it is on the first version", || (pod.status()?["version"] == version("1").as_str()).then_some(()));
    let shown = |path: &str| std::fs::read_to_string(format!("/proc/{}/{path}", process.id())).unwrap();
    let mut said = shown("cmdline") + &shown("comm");
    s3.put("b", "dags/a.py", "2");
    s3.inject(Rule::any(Action::status(403, "AccessDenied")).times(8));
    eventually("it fails", || pod.status().filter(|status| !status["last_error"].is_null()));
    let pages = ["/v1/status", "/metrics", "/readyz", "/livez", "/"];
    pages.iter().for_each(|page| said.push_str(&pod.get(page).unwrap().1));
    s3.clear_faults();
    eventually("it recovers", || (pod.status()?["version"] == version("2").as_str()).then_some(()));
    process.kill();
    s3.put("b", "dags/a.py", "1");
    said.push_str(&process.log());
    said.push_str(&format!("{:?}{:?}", pod.once(), pod.command("config").output()));
    pod.change("max_failures", "0");
    let wrong = pod.command("once").env("AWS_ENDPOINT_URL_STS", "http://127.0.0.1:1").output();
    said.push_str(&format!("{wrong:?}"));
    said + &shell(pod.root(), "find . -path ./versions -prune -o -type f -exec cat {} + | tr -d '\\0'")
}

#[track_caller]
fn has_none(said: &str, secrets: &[&str]) {
    for heard in ["dagsync::engine", "aws_smithy_runtime", "dagsync_syncs_total"] {
        assert!(said.contains(heard), "it does not even say {heard}");
    }
    for secret in secrets.iter().chain(&["X-Amz-Signature", "X-Amz-Credential"]) {
        let at = said.find(secret).map(|at| &said[at.saturating_sub(300)..at]);
        assert!(at.is_none(), "{secret} follows on {at:?}");
    }
}

#[test]
fn keys_of_the_environment_a_key_of_the_customer_and_the_password_of_a_proxy() {
    let (s3, proxy, folder) = (double("1"), Proxy::start(), tempfile::tempdir().unwrap());
    let key = folder.path().join("key");
    std::fs::write(&key, SSE_KEY).unwrap();
    let encoded = shell(folder.path(), "base64 key");
    let through = proxy.url().replace("http://", &format!("http://ada:{PROXY}@"));
    let basic = shell(folder.path(), &format!("printf ada:{PROXY} | base64"));
    let mut pod = keyed(pod_of(&s3), "AKIA1", SECRET)
        .env("AWS_SESSION_TOKEN", SESSION)
        .env("http_proxy", through)
        .set("s3.sse_c_key_file", &key);
    let said = everything(&mut pod, &s3);
    assert!(s3.requests().iter().any(|seen| seen.header("x-amz-security-token") == Some(SESSION)));
    has_none(&said, &[SECRET, SESSION, SSE_KEY, &encoded, PROXY, &basic]);
}

#[test]
fn what_sts_gives_and_is_given() {
    let s3 = double("1");
    let moto = port(&S3Server::moto().endpoint);
    let folder = tempfile::tempdir().unwrap();
    let token = folder.path().join("token");
    std::fs::write(&token, "web.token.of-the-pod").unwrap();
    let web = Web::answering(move |asked| {
        let form = "Content-Type: application/x-www-form-urlencoded\r\n";
        let body = crate::harness::request(moto, "POST", "/", form, &asked.body).unwrap().1;
        let part = |name: &str| {
            let from = body.split_once(&format!("<{name}>")).map(|(_, rest)| rest).unwrap_or_default();
            from.split('<').next().unwrap_or_default().to_owned()
        };
        let body = body.replace(&part("SecretAccessKey"), SECRET).replace(&part("SessionToken"), SESSION);
        (200, body)
    });
    let mut pod = pod_of(&s3)
        .env("AWS_ROLE_ARN", "arn:aws:iam::123456789012:role/dags")
        .env("AWS_WEB_IDENTITY_TOKEN_FILE", token.to_str().unwrap())
        .env("AWS_ENDPOINT_URL_STS", web.url(""));
    let said = everything(&mut pod, &s3);
    assert!(s3.requests().iter().any(|seen| seen.header("x-amz-security-token") == Some(SESSION)));
    has_none(&said, &[SECRET, SESSION, "web.token.of-the-pod"]);
}

#[test]
fn what_pod_identity_gives_and_is_given() {
    let s3 = double("1");
    let folder = tempfile::tempdir().unwrap();
    let token = folder.path().join("token");
    std::fs::write(&token, "agent-token-of-the-pod").unwrap();
    let web = Web::answering(|_| {
        let until = moment(2);
        let keys = json!({ "AccessKeyId": "ASIA1", "SecretAccessKey": SECRET, "Token": SESSION, "Expiration": until });
        (200, keys.to_string())
    });
    let mut pod = pod_of(&s3)
        .env("AWS_CONTAINER_CREDENTIALS_FULL_URI", web.url("/v1/credentials"))
        .env("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", token.to_str().unwrap());
    let said = everything(&mut pod, &s3);
    assert!(s3.requests().iter().any(|seen| seen.header("x-amz-security-token") == Some(SESSION)));
    has_none(&said, &[SECRET, SESSION, "agent-token-of-the-pod"]);
}
