//! Every path of the router, with every token, in every mode.

use dagsync::http::{Guard, Route, routes};

use super::{NEXT, TOKEN, guarded, path, says_no_secret, write};
use crate::harness::{Pod, eventually, http};

const WRONG: &str = "wrong-staple-1138";

fn ask(pod: &Pod, route: &Route, version: &str, authorization: &str) -> u16 {
    let filling = if route.guard == Guard::Event { "github" } else { version };
    let headers = if authorization.is_empty() { String::new() } else { format!("Authorization: {authorization}\r\n") };
    let path = path(route, filling);
    eventually("it answers", || http(pod.port(), route.method.as_str(), &path, &headers)).0
}

/// What a route answers to one who has a token, or has none.
fn wanted(route: &Route, auth: &str, has_token: bool) -> u16 {
    match route.guard {
        Guard::Open => 200,
        Guard::Read if auth == "all" && !has_token => 401,
        Guard::Read => 200,
        Guard::Command if !has_token => 401,
        Guard::Command => 202,
        // No secret is set for events; a token of ours does not help.
        Guard::Event => 403,
    }
}

fn in_mode(auth: &str) {
    let (repo, folder, mut pod) = guarded(auth);
    pod.start();
    super::is_published(&pod, &repo);
    eventually("it is ready", || pod.get("/readyz").filter(|(status, _)| *status == 200));
    let version = repo.version().replace("sha256:", "");
    let file = folder.path().join("token");
    let check = |tokens: &[(String, bool)]| {
        for route in routes(64, false) {
            for (authorization, is_good) in tokens {
                let said = ask(&pod, &route, &version, authorization);
                assert_eq!(said, wanted(&route, auth, *is_good), "{auth}: {route:?} with {authorization:?}");
            }
        }
    };
    let bearer = |token: &str| format!("Bearer {token}");
    let never = [String::new(), "Bearer".to_owned(), "Bearer ".to_owned(), bearer(WRONG), format!("Basic {TOKEN}")];
    let near = [bearer(&TOKEN[..TOKEN.len() - 1]), bearer(&format!("{TOKEN}x")), bearer(&TOKEN.to_uppercase())];
    let bad = never.into_iter().chain(near).map(|token| (token, false));
    check(&bad.chain([(bearer(TOKEN), true), (bearer(NEXT), false)]).collect::<Vec<_>>());
    write(&file, &format!("{TOKEN}\n\n {NEXT}\n"));
    check(&[(bearer(TOKEN), true), (bearer(NEXT), true), (bearer(&format!("{TOKEN} {NEXT}")), false)]);
    write(&file, NEXT);
    check(&[(bearer(TOKEN), false), (bearer(NEXT), true), (String::new(), false)]);
    let unknown = pod.get("/v1/nothing").unwrap().0;
    assert_eq!(unknown, if auth == "all" { 401 } else { 404 });
    says_no_secret(&pod, &[TOKEN, NEXT, WRONG]);
    pod.stop();
}

#[test]
fn by_default_commands_need_a_token() {
    in_mode("commands");
}

#[test]
fn with_auth_all_everything_but_probes_needs_a_token() {
    in_mode("all");
}

#[test]
fn a_password_is_as_good_as_a_token_for_looking_and_not_for_commands() {
    let (repo, _folder, mut pod) = guarded("all");
    pod.start();
    super::is_published(&pod, &repo);
    // Of `anybody:` and the token.
    let encoded = crate::harness::shell(pod.root(), &format!("printf anybody:{TOKEN} | base64"));
    let basic = format!("Authorization: Basic {encoded}\r\n");
    let ask = |method, path| http(pod.port(), method, path, &basic).unwrap().0;
    assert_eq!((ask("GET", "/v1/status"), ask("GET", "/metrics"), ask("POST", "/v1/sync")), (200, 200, 401));
    assert!(super::raw(pod.port(), b"GET /v1/status HTTP/1.0\r\n\r\n").contains("www-authenticate: Basic"));
    says_no_secret(&pod, &[TOKEN, &encoded]);
}

#[test]
fn a_token_file_that_is_gone_or_empty_lets_nobody_in() {
    let (repo, folder, mut pod) = guarded("all");
    pod.start();
    super::is_published(&pod, &repo);
    let file = folder.path().join("token");
    for (content, says) in [(Some("\n \n"), "is empty"), (None, "does not exist")] {
        match content {
            Some(content) => write(&file, content),
            None => std::fs::remove_file(&file).unwrap(),
        }
        for token in [TOKEN, ""] {
            let header = format!("Authorization: Bearer {token}\r\n");
            let (status, body) = http(pod.port(), "GET", "/v1/status", &header).unwrap();
            let is_refused = if token.is_empty() { status == 401 } else { status == 500 && body.contains(says) };
            assert!(is_refused, "{status} {body}");
        }
    }
    eventually("probes go on", || pod.get("/readyz").filter(|(status, _)| *status == 200));
    assert_eq!(pod.get("/livez").unwrap().0, 200);
}

#[test]
fn settings_that_belong_together_are_asked_for_together() {
    let (_repo, folder, _) = guarded("all");
    let file = folder.path().join("token");
    for (setting, value, says) in [
        ("http.auth", "all", "http.auth: \"all\" from environment DAGSYNC_HTTP__AUTH: needs http.token_file"),
        ("http.tls.cert_file", "/x", "needs http.tls.key_file"),
        ("http.tls.key_file", "/x", "needs http.tls.cert_file"),
        ("http.tls.client_ca_file", "/x", "needs http.tls.cert_file and http.tls.key_file"),
    ] {
        let pod = Pod::new("file:///nowhere").set(setting, value);
        crate::harness::Outcome::of(&mut pod.command("run")).ended(64, &[says]);
    }
    let pod = Pod::new("file:///nowhere").set("http.tls.cert_file", &file).set("http.tls.key_file", &file);
    let outcome = crate::harness::Outcome::of(&mut pod.command("run"));
    outcome.ended(64, &["http.tls.cert_file holds no certificate in PEM", file.to_str().unwrap()]);
    assert!(!format!("{outcome:?}").contains(TOKEN));
}
