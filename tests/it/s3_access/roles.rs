//! Roles: IRSA, EKS Pod Identity, one that is assumed, an instance's.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use dagsync_testkit::s3::{Action, Rule, S3Double};
use tempfile::TempDir;

use super::{double, keyed, moment, pod_of, port, signer, signers, version};
use crate::harness::{Pod, Reply, S3Server, Web, eventually, request};

const ROLE: &str = "arn:aws:iam::123456789012:role/dags";

/// moto's STS, and what it was asked. Its credentials are good for so many seconds.
fn sts(seconds: u64) -> Web {
    let moto = port(&S3Server::moto().endpoint);
    Web::answering(move |asked| {
        let header = |name: &str| format!("{name}: {}\r\n", asked.header(name).unwrap_or_default());
        let headers = ["Authorization", "Content-Type", "X-Amz-Date", "X-Amz-Security-Token"].map(header).concat();
        let (status, body) = request(moto, &asked.method, &asked.path, &headers, &asked.body).unwrap();
        let until = body.split_once("<Expiration>").and_then(|(_, rest)| Some(rest.split_once('<')?.0.to_owned()));
        (status, body.replace(&until.unwrap_or_default(), &moment(seconds)))
    })
}

/// The values of a field in what STS was asked, each once.
fn fields(sts: &Web, name: &str) -> Vec<String> {
    let field =
        |body: &str| Some(body.split('&').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='))?.to_owned());
    let mut values: Vec<String> = sts.asked().iter().filter_map(|asked| field(&asked.body)).collect();
    values.dedup();
    values
}

/// A file that a kubelet rewrites.
struct Token(TempDir);

impl Token {
    fn new(content: &str) -> Self {
        let token = Self(tempfile::tempdir().unwrap());
        token.write(content);
        token
    }

    fn write(&self, content: &str) {
        let new = self.0.path().join("new");
        std::fs::write(&new, content).unwrap();
        std::fs::rename(new, self.path()).unwrap();
    }

    fn path(&self) -> PathBuf {
        self.0.path().join("token")
    }
}

fn text(path: impl AsRef<Path>) -> String {
    path.as_ref().to_str().unwrap().to_owned()
}

/// A pod as EKS makes it of a service account with a role.
fn irsa(s3: &S3Double, sts: &Web, token: &Token) -> Pod {
    pod_of(s3)
        .env("AWS_ROLE_ARN", ROLE)
        .env("AWS_WEB_IDENTITY_TOKEN_FILE", text(token.path()))
        .env("AWS_ENDPOINT_URL_STS", sts.url(""))
}

#[test]
fn irsa_takes_the_token_that_is_in_the_file_now() {
    let (s3, sts, token) = (double("1"), sts(2), Token::new("first.web.token"));
    let mut pod = irsa(&s3, &sts, &token);
    pod.start_on(&version("1"));
    token.write("second.web.token");
    s3.put("b", "dags/a.py", "2");
    pod.is_on(&version("2"));
    eventually("the new token is used", || {
        (fields(&sts, "WebIdentityToken") == ["first.web.token", "second.web.token"]).then_some(())
    });
    assert_eq!(fields(&sts, "RoleArn"), [ROLE.replace(':', "%3A").replace('/', "%2F")]);
    assert!(sts.asked().iter().all(|asked| asked.header("authorization").is_none()), "nobody has keys yet");
    let last = s3.requests().pop().unwrap();
    assert!(signer(last.header("authorization")).starts_with("ASIA"), "{last:?}");
    assert!(last.header("x-amz-security-token").is_some(), "{last:?}");
}

#[test]
fn irsa_asks_again_when_the_server_refuses_what_it_has() {
    let (s3, sts, token) = (double("1"), sts(3600), Token::new("a.web.token"));
    let mut pod = irsa(&s3, &sts, &token);
    pod.start_on(&version("1"));
    let [first] = &signers(&s3.requests())[..] else { panic!("credentials are kept: {:?}", s3.requests()) };
    assert_eq!(sts.asked().len(), 1);
    s3.inject(Rule::any(Action::status(400, "ExpiredToken")));
    s3.put("b", "dags/a.py", "2");
    pod.is_on(&version("2"));
    assert_eq!(sts.asked().len(), 2);
    let now = signers(&s3.requests());
    assert!(now.len() == 2 && now[0] == *first, "{now:?}");
}

#[test]
fn a_sts_that_is_away_or_refuses_is_named_as_the_one_who_does() {
    let (s3, token) = (double("1"), Token::new("a.web.token"));
    let code = |status: u16, code: &'static str| {
        let error = format!("<Error><Code>{code}</Code><Message>Not for you</Message></Error>");
        Web::answering(move |_| (status, format!("<ErrorResponse>{error}<RequestId>1</RequestId></ErrorResponse>")))
    };
    let refuses = irsa(&s3, &code(403, "AccessDenied"), &token).once();
    refuses.ended(2, &["cannot get credentials", "AccessDenied", "Not for you", "check the role and whom it trusts"]);
    let busy = code(503, "ServiceUnavailable");
    for (url, words) in [(busy.url(""), "ServiceUnavailable"), ("http://127.0.0.1:1".to_owned(), "dispatch failure")] {
        let mut pod = irsa(&s3, &busy, &token).env("AWS_ENDPOINT_URL_STS", url).set("s3.attempts", "1");
        pod.start();
        let status = pod.wait("it says so", |s| !s["last_error"].is_null());
        assert_eq!(status["last_error"]["kind"], "unreachable", "it may pass: {status}");
        let message = status["last_error"]["message"].as_str().unwrap();
        assert!(message.contains("cannot get credentials: ") && message.contains(words), "{status}");
    }
    let nowhere = irsa(&s3, &sts(60), &token).env("AWS_WEB_IDENTITY_TOKEN_FILE", "/nonexistent/token").once();
    nowhere.ended(2, &["/nonexistent/token, which AWS_WEB_IDENTITY_TOKEN_FILE names, cannot be read"]);
    assert!(s3.requests().is_empty());
}

#[test]
fn a_role_is_assumed_with_the_keys_that_were_found() {
    let (s3, sts) = (double("1"), sts(3600));
    let pod = || keyed(pod_of(&s3), "AKIABASE", "x").env("AWS_ENDPOINT_URL_STS", sts.url(""));
    let role = |pod: Pod| pod.set("s3.role_arn", ROLE).set("s3.external_id", "for-the-team");
    role(pod()).once().ended(0, &[&version("1")]);
    assert_eq!(fields(&sts, "Action"), ["AssumeRole"]);
    assert_eq!(fields(&sts, "ExternalId"), ["for-the-team"]);
    assert_eq!(fields(&sts, "RoleSessionName"), ["dagsync"]);
    assert_eq!(signer(sts.asked()[0].header("authorization")), "AKIABASE");
    let [as_role] = &signers(&s3.requests())[..] else { panic!("{:?}", s3.requests()) };
    assert!(as_role.starts_with("ASIA"), "{as_role}");
    role(pod()).set("s3.role_session_name", "nightly").once().ended(0, &[]);
    assert_eq!(fields(&sts, "RoleSessionName"), ["dagsync", "nightly"]);
    let profile = tempfile::tempdir().unwrap();
    let config = profile.path().join("config");
    std::fs::write(&config, format!("[profile dags]\nrole_arn = {ROLE}\ncredential_source = Environment\n")).unwrap();
    s3.clear_requests();
    pod().env("AWS_CONFIG_FILE", text(config)).set("s3.profile", "dags").once().ended(0, &[&version("1")]);
    assert!(signers(&s3.requests()).iter().all(|key| key.starts_with("ASIA")), "{:?}", s3.requests());
}

/// What hands out a role's credentials as JSON, to whom shows the token that it wants now.
#[derive(Clone, Default)]
struct Agent(Arc<Mutex<(String, String)>>);

impl Agent {
    fn turn(&self, token: &str, key: &str) {
        *self.0.lock().unwrap() = (token.to_owned(), key.to_owned());
    }

    fn answer(&self, shown: Option<&str>) -> (u16, String) {
        let (token, key) = self.0.lock().unwrap().clone();
        let until = moment(2);
        let secret = "secret-of-the-agent";
        match shown == Some(&token) {
            false => (401, r#"{"code": "Unauthorized", "message": "who are you?"}"#.to_owned()),
            true => {
                let credentials = serde_json::json!({
                    "Code": "Success", "Type": "AWS-HMAC", "LastUpdated": "2026-01-01T00:00:00Z", "AccessKeyId": key,
                    "SecretAccessKey": secret, "Token": format!("token-of-{key}"), "Expiration": until,
                });
                (200, credentials.to_string())
            }
        }
    }
}

#[test]
fn pod_identity_follows_its_token_and_its_credentials() {
    let (s3, token, agent) = (double("1"), Token::new("first"), Agent::default());
    let heard = agent.clone();
    let web = Web::answering(move |asked| heard.answer(asked.header("authorization")));
    let mut pod = pod_of(&s3)
        .env("AWS_CONTAINER_CREDENTIALS_FULL_URI", web.url("/v1/credentials"))
        .env("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", text(token.path()));
    agent.turn("first", "ASIAONE");
    s3.require_token(Some("ASIAONE"));
    pod.start_on(&version("1"));
    agent.turn("second", "ASIATWO");
    token.write("second");
    s3.require_token(Some("ASIATWO"));
    s3.put("b", "dags/a.py", "2");
    pod.is_on(&version("2"));
    assert_eq!(signers(&s3.requests()), ["ASIAONE", "ASIATWO"]);
    assert_eq!(s3.requests().pop().unwrap().header("x-amz-security-token"), Some("token-of-ASIATWO"));
    assert!(web.asked().iter().all(|asked| asked.path == "/v1/credentials"));

    token.write("second\n");
    let status = pod.wait("the line break is named", |s| s["last_error"].to_string().contains("ends in a line break"));
    assert!(status["last_error"].to_string().contains(&text(token.path())), "{status}");
    assert_eq!((&status["version"], pod.get("/readyz").unwrap().0), (&version("2").into(), 200));
    token.write("second");
    s3.put("b", "dags/a.py", "3");
    pod.is_on(&version("3"));
}

#[test]
fn an_instance_gives_its_role_to_who_has_a_session() {
    let (s3, agent) = (double("1"), Agent::default());
    agent.turn("a-session", "ASIAINSTANCE");
    let web = Web::answering(move |asked| {
        let (folder, name) = asked.path.rsplit_once('/').unwrap();
        let (status, body) = match (asked.method.as_str(), folder, name) {
            ("PUT", "/latest/api", "token") => (200, "a-session".to_owned()),
            ("GET", "/latest/meta-data/iam/security-credentials", "") => (200, "dags".to_owned()),
            ("GET", "/latest/meta-data/iam/security-credentials", "dags") => {
                agent.answer(asked.header("x-aws-ec2-metadata-token"))
            }
            _ => (404, String::new()),
        };
        Reply { status, headers: "X-Aws-Ec2-Metadata-Token-Ttl-Seconds: 21600\r\n".to_owned(), body }
    });
    let pod =
        pod_of(&s3).env("AWS_EC2_METADATA_DISABLED", "false").env("AWS_EC2_METADATA_SERVICE_ENDPOINT", web.url(""));
    pod.once().ended(0, &[&version("1")]);
    assert_eq!(signers(&s3.requests()), ["ASIAINSTANCE"]);
    assert_eq!(web.asked()[0].method, "PUT");
}
