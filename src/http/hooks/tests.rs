use axum::Router;
use axum::body::{Bytes, to_bytes};
use axum::extract::Request;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use dagsync_core::Digest;
use futures::{StreamExt, stream};
use ring::hmac;
use tower::ServiceExt;

use super::*;
use crate::http::router;
use crate::http::tests::Server;

const SECRET: &str = "It's a Secret to Everybody";
const PUSH: &str = r#"{"ref":"refs/heads/main"}"#;

/// Endpoints that know one secret, and what was sent to them.
struct Forge {
    server: Server,
    router: Router,
    file: PathBuf,
}

impl Forge {
    fn new(secrets: &str) -> Self {
        let mut server = Server::new();
        let file = server.home.path().join("secret");
        std::fs::write(&file, secrets).unwrap();
        let hooks = &mut server.endpoints.hooks;
        hooks.github_secret_file = Some(file.clone());
        hooks.gitlab_token_file = Some(file.clone());
        hooks.generic_secret_file = Some(file.clone());
        let router = router(server.endpoints.clone());
        Self { server, router, file }
    }

    async fn send(&self, sender: &str, headers: &[(&str, &str)], body: impl Into<Body>) -> (u16, String) {
        let mut request = Request::post(format!("/v1/hooks/{sender}"));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let response = self.router.clone().oneshot(request.body(body.into()).unwrap()).await.unwrap();
        let status = response.status().as_u16();
        (status, String::from_utf8(to_bytes(response.into_body(), 4096).await.unwrap().to_vec()).unwrap())
    }

    async fn github(&self, event: &str, id: &str, signature: &str, body: &'static str) -> u16 {
        let headers = [("x-github-event", event), ("x-github-delivery", id), ("x-hub-signature-256", signature)];
        self.send("github", &headers, body).await.0
    }

    /// Whether the loop was woken since this was asked last.
    fn woke(&self) -> bool {
        self.server.endpoints.wake.is_called()
    }

    fn counted(&self, sender: &str, result: &str) -> String {
        let text = self.server.endpoints.metrics.encode(&self.server.endpoints.board.read());
        let series = format!("dagsync_push_events_total{{sender=\"{sender}\",result=\"{result}\"}} ");
        text.lines().find_map(|line| line.strip_prefix(&series)).unwrap().to_owned()
    }
}

fn mac(key: &[u8], data: &str) -> Vec<u8> {
    hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), data.as_bytes()).as_ref().to_vec()
}

fn hub(secret: &str, body: &str) -> String {
    format!("sha256={}", Digest::from(<[u8; 32]>::try_from(mac(secret.as_bytes(), body)).unwrap()))
}

fn standard(key: &[u8], id: &str, timestamp: u64, body: &str) -> String {
    format!("v1,{}", STANDARD.encode(mac(key, &format!("{id}.{timestamp}.{body}"))))
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

fn holds(sender: Sender, headers: &[(&'static str, &str)], secret: &str, now: u64, body: &[u8]) -> bool {
    let headers: HeaderMap =
        headers.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect();
    let mut proof = Proof::claimed(sender, &headers, &[secret.as_bytes().to_vec()], now);
    body.chunks(3).for_each(|part| proof.update(part));
    proof.holds()
}

#[test]
fn the_example_of_githubs_documentation_holds() {
    let signature = "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17";
    let check = |name, value, body| holds(Sender::GitHub, &[(name, value)], SECRET, 0, body);
    assert!(check("x-hub-signature-256", signature, b"Hello, World!"));
    assert!(!check("x-hub-signature-256", signature, b"Hello, World."));
    assert!(!check("x-hub-signature-256", &signature[..70], b"Hello, World!"));
    assert!(!check("x-hub-signature", signature, b"Hello, World!"), "GitHub signs with SHA-1 there");
}

#[test]
fn the_example_of_standard_webhooks_holds_for_five_minutes() {
    let secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
    let check = |secret, signatures, now| {
        let headers = [
            ("webhook-id", "msg_p5jXN8AQM9LWM0D4loKWxJek"),
            ("webhook-timestamp", "1614265330"),
            ("webhook-signature", signatures),
        ];
        [Sender::Generic, Sender::GitLab].map(|s| holds(s, &headers, secret, now, br#"{"test": 2432232314}"#))
    };
    let signature = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=";
    for now in [1_614_265_330, 1_614_265_330 - 300, 1_614_265_330 + 300] {
        assert_eq!(check(secret, signature, now), [true; 2], "{now}");
    }
    assert_eq!(
        check(secret.trim_start_matches("whsec_"), signature, 1_614_265_330),
        [true; 2],
        "the mark may be left out"
    );
    let several = format!("v1a,aGVsbG8= v1,{} {signature}", STANDARD.encode([0; 32]));
    assert_eq!(check(secret, &several, 1_614_265_330), [true; 2]);
    for now in [1_614_265_330 - 301, 1_614_265_330 + 301, 0] {
        assert_eq!(check(secret, signature, now), [false; 2], "{now}");
    }
    assert_eq!(check("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSx", signature, 1_614_265_330), [false; 2]);
    assert_eq!(check(secret, "g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=", 1_614_265_330), [false; 2], "no scheme");
}

#[test]
fn a_mark_without_a_key_is_no_secret() {
    let signature = standard(b"", "1", 7, "x");
    let headers = [("webhook-id", "1"), ("webhook-timestamp", "7"), ("webhook-signature", &*signature)];
    assert!(!holds(Sender::Generic, &headers, "whsec_", 7, b"x"));
}

#[tokio::test]
async fn a_push_of_github_wakes_the_loop_once_and_other_events_do_not() {
    let forge = Forge::new(SECRET);
    let signature = hub(SECRET, PUSH);
    assert_eq!(forge.github("ping", "0", &signature, PUSH).await, 200);
    assert_eq!(forge.github("issues", "0", &signature, PUSH).await, 202);
    assert!(!forge.woke());
    assert_eq!(forge.github("push", "1", &signature, PUSH).await, 202);
    assert!(forge.woke());
    assert_eq!(forge.github("push", "1", &signature, PUSH).await, 200, "the same delivery again");
    assert_eq!(
        forge.github("push", "2", &signature, PUSH).await,
        200,
        "its id is not signed, so another proves nothing"
    );
    assert!(!forge.woke());
    assert_eq!(forge.github("push", "3", &hub(SECRET, "payload=%7B%7D"), "payload=%7B%7D").await, 202);
    assert!(forge.woke(), "a form is signed like any body");
    let counts = ["accepted", "ignored", "replayed", "refused"].map(|result| forge.counted("github", result));
    assert_eq!(counts, ["2", "2", "2", "0"]);
}

#[tokio::test]
async fn a_wrong_signature_is_refused_and_wakes_nobody() {
    let forge = Forge::new(SECRET);
    for signature in [&hub("guess", PUSH), &hub(SECRET, "{}"), "sha256=", "", SECRET] {
        assert_eq!(forge.github("push", "1", signature, PUSH).await, 401, "{signature}");
    }
    for sender in ["github", "gitlab", "generic"] {
        let (status, body) = forge.send(sender, &[("x-gitlab-event", "Push Hook")], PUSH).await;
        assert!(status == 401 && body.contains("http.hooks.") && !body.contains(SECRET), "{status} {body}");
    }
    assert!(!forge.woke());
    assert_eq!(forge.counted("github", "refused"), "6");
    assert_eq!(forge.github("push", "1", &hub(SECRET, PUSH), PUSH).await, 202, "a refused delivery is not remembered");
}

#[tokio::test]
async fn the_secret_rotates_and_two_are_good_meanwhile() {
    let forge = Forge::new("old\n");
    assert_eq!(forge.github("push", "1", &hub("new", PUSH), PUSH).await, 401);
    std::fs::write(&forge.file, "old\r\n\nnew\n").unwrap();
    assert_eq!(forge.github("push", "2", &hub("new", PUSH), PUSH).await, 202);
    assert_eq!(forge.github("push", "3", &hub("old", PUSH), PUSH).await, 202);
    std::fs::write(&forge.file, "new").unwrap();
    assert_eq!(forge.github("push", "4", &hub("old", "4"), "4").await, 401);
    for (content, says) in [("", "is empty"), (" \n", "is empty"), ("1\n2\n3", "more than 2 lines")] {
        std::fs::write(&forge.file, content).unwrap();
        let (status, body) = forge.send("github", &[("x-hub-signature-256", &hub("", PUSH))], PUSH).await;
        assert!(status == 500 && body.contains(says), "{status} {body}");
    }
    std::fs::remove_file(&forge.file).unwrap();
    assert_eq!(forge.github("push", "5", &hub("new", PUSH), PUSH).await, 500);
}

#[tokio::test]
async fn without_its_setting_a_path_is_refused() {
    let server = Server::new();
    for sender in ["github", "gitlab", "generic"] {
        let request = Request::post(format!("/v1/hooks/{sender}")).body(Body::empty()).unwrap();
        let (status, body) = server.send(request).await;
        assert_eq!(status, StatusCode::FORBIDDEN);
        assert!(body.contains(Sender::named(sender).unwrap().setting()) && body.contains("is not set"), "{body}");
    }
    let request = Request::post("/v1/hooks/sourcehut").body(Body::empty()).unwrap();
    assert_eq!(server.send(request).await.0, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn gitlab_proves_itself_by_token_or_by_signature() {
    let key = [7; 32];
    let forge = Forge::new(&format!("the-token\nwhsec_{}", STANDARD.encode(key)));
    let token =
        |event: &'static str, id| [("x-gitlab-token", "the-token"), ("x-gitlab-event", event), ("idempotency-key", id)];
    for event in ["Push Hook", "Tag Push Hook"] {
        assert_eq!(forge.send("gitlab", &token(event, event), PUSH).await.0, 202);
        assert!(forge.woke(), "{event}");
        assert_eq!(forge.send("gitlab", &token(event, event), PUSH).await.0, 200, "seen");
    }
    for event in ["Merge Request Hook", "System Hook"] {
        assert_eq!(forge.send("gitlab", &token(event, "9"), PUSH).await.0, 202);
        assert!(!forge.woke(), "{event}");
    }
    let system = r#"{"event_name": "push", "project_id": 1}"#;
    assert_eq!(forge.send("gitlab", &token("System Hook", "10"), system).await.0, 202);
    assert!(forge.woke());

    let time = now();
    let (timestamp, signature) = (time.to_string(), standard(&key, "id-1", time, PUSH));
    let signed = [
        ("webhook-id", "id-1"),
        ("webhook-timestamp", &*timestamp),
        ("webhook-signature", &*signature),
        ("x-gitlab-event", "Push Hook"),
    ];
    assert_eq!(forge.send("gitlab", &signed, PUSH).await.0, 202);
    assert!(forge.woke());
    assert_eq!(forge.send("gitlab", &signed, PUSH).await.0, 200);
    assert_eq!(forge.send("gitlab", &signed, "{}").await.0, 401);
}

#[tokio::test]
async fn any_other_sender_may_sign_or_show_the_secret() {
    let forge = Forge::new("s3cret");
    let time = now();
    let (timestamp, signature) = (time.to_string(), standard(b"s3cret", "1", time, PUSH));
    let hex = hub("s3cret", PUSH);
    let plain = hex.trim_start_matches("sha256=");
    let ways: [&[(&str, &str)]; 5] = [
        &[("webhook-id", "1"), ("webhook-timestamp", &timestamp), ("webhook-signature", &signature)],
        &[("authorization", "Bearer s3cret")],
        &[("x-hub-signature", &hex), ("x-event-key", "repo:push")],
        &[("x-gitea-signature", plain), ("x-gitea-delivery", "1-1")],
        &[("x-forgejo-signature", plain), ("x-hub-signature-256", "sha256=00")],
    ];
    for headers in ways {
        assert_eq!(forge.send("generic", headers, PUSH).await.0, 202, "{headers:?}");
        assert!(forge.woke(), "{headers:?}");
    }
    for (name, value) in
        [("authorization", "Bearer s3cre"), ("x-gitlab-token", "s3cret"), ("x-hub-signature", "s3cret")]
    {
        assert_eq!(forge.send("generic", &[(name, value)], PUSH).await.0, 401, "{name}");
    }
}

#[tokio::test]
async fn the_oldest_deliveries_are_forgotten() {
    let forge = Forge::new("s3cret");
    let send = |id: usize| {
        let id = id.to_string();
        let forge = &forge;
        async move { forge.send("generic", &[("authorization", "Bearer s3cret"), ("webhook-id", &id)], "").await.0 }
    };
    for id in 0..=SEEN {
        assert_eq!(send(id).await, 202);
    }
    assert_eq!((send(1).await, send(0).await), (200, 202));
}

#[tokio::test(start_paused = true)]
async fn a_body_is_bounded_in_size_and_time_and_few_are_read_at_once() {
    let forge = Forge::new("s3cret");
    let headers = [("authorization", "Bearer s3cret")];
    let part = Bytes::from(vec![0; 1 << 20]);
    let parts = |n| Body::from_stream(stream::repeat(part.clone()).take(n).map(Ok::<_, std::io::Error>));
    assert_eq!(forge.send("generic", &headers, parts(25)).await.0, 202);
    assert_eq!(forge.send("generic", &headers, parts(26)).await.0, 413);
    let silent = || Body::from_stream(stream::pending::<Result<Bytes, std::io::Error>>());
    let slow = (0..AT_ONCE + 1).map(|_| forge.send("generic", &headers, silent()));
    let answers = futures::future::join_all(slow).await;
    assert_eq!(answers[0].0, 503, "the slowest has made room");
    assert!(answers[1..].iter().all(|(status, _)| *status == 408), "{answers:?}");
    assert_eq!(forge.send("generic", &headers, PUSH).await.0, 202, "their places are free again");
    let broken = Body::from_stream(stream::once(async { Err::<Bytes, _>(std::io::Error::other("reset")) }));
    assert_eq!(forge.send("generic", &headers, broken).await.0, 400);
}

#[tokio::test(start_paused = true)]
async fn slow_events_do_not_keep_honest_ones_out() {
    let forge = Forge::new(SECRET);
    let claim = hub("wrong", PUSH);
    let silent = || Body::from_stream(stream::pending::<Result<Bytes, std::io::Error>>());
    let slow = (0..10 * AT_ONCE).map(|_| {
        let claim = [("x-github-event", "push"), ("x-hub-signature-256", claim.as_str())];
        let forge = &forge;
        async move { forge.send("github", &claim, silent()).await }
    });
    let honest = async {
        tokio::task::yield_now().await;
        let signature = hub(SECRET, PUSH);
        forge.send("github", &[("x-github-event", "push"), ("x-hub-signature-256", &signature)], PUSH).await.0
    };
    let (_, honest) = tokio::join!(futures::future::join_all(slow), honest);
    assert_eq!(honest, 202);
}
