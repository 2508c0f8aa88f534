//! `dagsync verify` against registries and daemons that are down, slow, lost or lie: status 2 and who did what, in a
//! bounded time.

use std::path::Path;
use std::process::Command;

use dagsync_core::Digest;
use serde_json::json;

use super::baked::Baked;
use super::faults::*;
use crate::harness::{Process, dagsync, eventually, free_port, shell};

pub(super) const PASSWORD: &str = "password-of-the-registry-7731";
pub(super) const TOKEN: &str = "token-of-the-registry-5528";
/// All that a command can say.
pub(super) const LOUD: &str = "trace,hyper=trace,reqwest=trace,rustls=trace,h2=trace";

/// How a command ended that must end by itself, and all that it said.
#[track_caller]
pub(super) fn ended(command: &mut Command) -> (Option<i32>, String) {
    let folder = tempfile::tempdir().unwrap();
    let mut process = Process::start(command, &folder.path().join("log"));
    (process.wait().code(), process.log())
}

/// A Docker configuration with the password for `host`.
pub(super) fn docker_config(folder: &Path, host: &str) -> String {
    let file = folder.join("config.json");
    let config = json!({"auths": {host: {"username": "ada", "password": PASSWORD}}});
    std::fs::write(&file, config.to_string()).unwrap();
    file.to_str().unwrap().to_owned()
}

pub(super) fn verify(baked: &Baked, args: &[&str]) -> Command {
    let mut command = dagsync();
    command.arg("--log-level").arg(LOUD).arg("verify").arg(baked.dags()).args(args);
    command
}

/// Status 2, the name of what was asked, what is wrong with it, and nothing secret.
#[track_caller]
pub(super) fn fails(command: &mut Command, what: &str, words: &[&str]) {
    let (code, said) = ended(command);
    assert_eq!(code, Some(2), "{what}: {said}");
    let error = said.lines().find(|line| line.starts_with("error: "));
    let error = error.unwrap_or_else(|| panic!("{what}: {said}"));
    for word in words {
        assert!(error.contains(word), "{what} does not say {word:?}: {said}");
    }
    assert!(error.contains("; "), "{what} does not say what to do: {error}");
    has_no_secret(&said, what);
}

#[track_caller]
pub(super) fn has_no_secret(said: &str, what: &str) {
    let encoded = shell(Path::new("/"), &format!("printf ada:{PASSWORD} | base64 -w0"));
    for secret in [PASSWORD, TOKEN, &encoded] {
        assert!(!said.contains(secret), "{what} tells {secret}: {said}");
    }
}

/// Each of `faults` at once: some of them take as long as dagsync has patience.
fn each(faults: Vec<(&'static str, Script, &'static str)>, ask: impl Fn(&Double, &str, &str) + Sync) {
    std::thread::scope(|scope| {
        for (what, script, said) in faults {
            let ask = &ask;
            scope.spawn(move || {
                let double = Double::doing(script);
                ask(&double, what, said);
                assert!((1..20).contains(&double.asked().len()), "{what}: asked {} times", double.asked().len());
            });
        }
    });
}

/// A registry whose image is `version`, which asks for a token.
fn private(port_of_tokens: u16, version: &str) -> Script {
    let realm = format!("Bearer realm=\"http://127.0.0.1:{port_of_tokens}/token\",service=\"reg\"");
    guarded(realm, TOKEN, registry(version))
}

#[test]
fn a_registry_that_is_well_is_compared_with() {
    let baked = Baked::sealed();
    let double = Double::doing(registry(&baked.version()));
    let args = ["--expect-image", &double.image(), "--plain-http"];
    baked.verify(&args).ended(0, &["verified, 3 files"]);
    double.turn(registry(&format!("sha256:{}", "0".repeat(64))));
    baked.verify(&args).ended(1, &["mismatch", &"0".repeat(64)]);
    baked.verify(&[&args[..], &["--on-drift", "warn"]].concat()).ended(0, &["mismatch"]);
    double.turn(reply(500, "", ""));
    // Nobody said what it should be: that is no drift, and where drift is only said, it keeps no pod from starting.
    baked.verify(&args).ended(2, &["it does not serve the image"]);
    let warned = [&args[..], &["--on-drift", "warn"]].concat();
    baked.verify(&warned).ended(0, &["not compared, 3 files", "it does not serve the image"]);
    let machine = baked.verify(&[&warned[..], &["--output", "json"]].concat());
    let machine: serde_json::Value = serde_json::from_str(&machine.ended(0, &[]).stdout).unwrap();
    assert_eq!((&machine["ok"], machine["files"].as_u64()), (&serde_json::Value::Null, Some(3)));
    // What was touched is said by itself.
    baked.tamper("echo 'a = 2' > a.py");
    baked.verify(&args).ended(1, &["modified  a.py"]);
}

#[test]
fn a_registry_that_is_away_slow_or_endless() {
    let baked = Baked::sealed();
    let version = baked.version();
    let mut faults = of_any_server();
    for part in ["/manifests/", "/blobs/"] {
        faults.push((part, at(part, endless_body(), registry(&version)), "is larger than"));
        faults.push((part, at(part, hang(), registry(&version)), "no answer in time"));
        faults.push((part, at(part, bomb(), registry(&version)), "check that this is a registry"));
    }
    each(faults, |double, what, said| {
        let image = double.image();
        fails(&mut verify(&baked, &["--expect-image", &image, "--plain-http"]), what, &[said, &image]);
    });
    let nobody = format!("127.0.0.1:{}/team/dags:v1", free_port());
    let words = ["no complete answer", &nobody, "refused", "check its name and port"];
    fails(&mut verify(&baked, &["--expect-image", &nobody, "--plain-http"]), "down", &words);
    let words = ["no.such.invalid/team/dags", "no complete answer"];
    fails(&mut verify(&baked, &["--expect-image", "no.such.invalid/team/dags", "--plain-http"]), "no name", &words);
}

#[test]
fn a_registry_that_answers_nonsense() {
    let baked = Baked::sealed();
    let good = registry(&baked.version());
    let html = || reply(200, "Content-Type: text/html\r\n", "<html>log in</html>");
    let config = json!({"config": {"Labels": {LABEL: baked.version()}}}).to_string();
    let other = json!({"config": {"digest": format!("sha256:{}", Digest::of("other"))}}).to_string();
    let deep = "[".repeat(1 << 20);
    let faults = vec![
        ("html", html(), "its manifest cannot be read"),
        ("html blob", at("/blobs/", html(), good.clone()), "is not the one that its digest names"),
        ("garbage", reply(200, "", vec![0xff; 5000]), "its manifest cannot be read"),
        ("empty", reply(200, "", ""), "its manifest cannot be read"),
        ("deep", reply(200, "", deep), "its manifest cannot be read"),
        ("odd types", reply(200, "", r#"{"config": 7, "manifests": "x"}"#), "its manifest cannot be read"),
        ("nothing", reply(204, "", ""), "it does not serve the image"),
        ("error", reply(500, "", "<html>"), "it does not serve the image"),
        ("gateway", reply(503, "Retry-After: 99999\r\n", ""), "it does not serve the image"),
        ("too many", reply(429, "Retry-After: 99999\r\n", ""), "it allows no more requests for now"),
        ("gone", reply(404, "", ""), "there is no such image"),
        ("forbidden", reply(403, "", ""), "it denies access without credentials"),
        ("no config", reply(200, "", "{\"schemaVersion\": 2}"), "names no configuration"),
        ("wrong blob", at("/blobs/", reply(200, "", config), reply(200, "", other)), "its digest names"),
        ("odd digest", reply(200, "", r#"{"config": {"digest": "../../etc/passwd"}}"#), "unsupported digest"),
        ("no platform", reply(200, "", r#"{"manifests": [{"digest": "x"}, {"digest": "y"}]}"#), "nothing for linux/"),
        ("no label", labelled(&json!({})), "the image has no label io.dagsync.version"),
        ("no labels", labelled(&json!(null)), "the image has no label io.dagsync.version"),
        ("other label", labelled(&json!({"io.dagsync.versions": baked.version()})), "has no label"),
        ("no version", labelled(&json!({LABEL: "latest"})), "holds no version"),
        ("half a version", labelled(&json!({LABEL: &baked.version()[..40]})), "holds no version"),
    ];
    each(faults, |double, what, said| {
        let image = double.image();
        fails(&mut verify(&baked, &["--expect-image", &image, "--plain-http"]), what, &[said, &image]);
    });
}

#[test]
fn a_registry_that_asks_oddly_who_one_is() {
    let baked = Baked::sealed();
    let asks = |challenge: &str| guarded(challenge.to_owned(), TOKEN, registry("x"));
    let down = format!("Bearer realm=\"http://127.0.0.1:{}/token\"", free_port());
    let faults = vec![
        ("nothing", reply(401, "", ""), "another authentication"),
        ("negotiate", asks("Negotiate"), "another authentication"),
        ("digest", asks("Digest realm=\"x\", nonce=\"y\""), "another authentication"),
        ("no realm", asks("Bearer"), "names no realm"),
        ("half", asks("Bearer realm=\""), "names no realm"),
        ("odd", asks("Bearer realm=,=,\"=\",,,"), "names no realm"),
        ("relative", asks("Bearer realm=\"/token\""), "names no realm"),
        ("basic that it refuses", asks("Basic realm=\"x\""), "the credentials are refused"),
        ("a file", asks("Bearer realm=\"file:///etc/passwd\""), "no complete answer"),
        ("no server", asks("Bearer realm=\"http:///\""), "names no realm"),
        ("down", asks(&down), "no complete answer"),
        ("bytes", reply(401, "WWW-Authenticate: \u{e4}\u{f6}\r\n", ""), "another authentication"),
    ];
    each(faults, |double, what, said| {
        let (folder, image) = (tempfile::tempdir().unwrap(), double.image());
        let config = docker_config(folder.path(), &format!("127.0.0.1:{}", double.port));
        let args = ["--expect-image", &image, "--plain-http", "--docker-config", &config];
        fails(&mut verify(&baked, &args), what, &[said, &image]);
    });
}

#[test]
fn a_token_server_that_is_away_or_answers_nonsense() {
    let baked = Baked::sealed();
    let version = baked.version();
    let mut faults = of_any_server();
    faults.extend([
        ("html", reply(200, "", "<html>"), "its token cannot be read"),
        ("no token", reply(200, "", "{}"), "gave no token"),
        ("odd type", reply(200, "", format!("{{\"token\": [\"{TOKEN}\"]}}")), "its token cannot be read"),
        ("odd token", reply(200, "", format!("{{\"token\": \"{TOKEN}\\r\\nX: y\"}}")), "holds odd characters"),
        ("garbage", reply(200, "", format!("{{\"token\": \"{TOKEN}")), "its token cannot be read"),
        ("error", reply(500, "", TOKEN), "it does not serve"),
        ("refuses", reply(401, "", PASSWORD), "the credentials are refused"),
        ("wrong token", reply(200, "", r#"{"token": "another"}"#), "the credentials are refused"),
    ]);
    each(faults, |tokens, what, said| {
        let (folder, double) = (tempfile::tempdir().unwrap(), Double::doing(private(tokens.port, &version)));
        let config = docker_config(folder.path(), &format!("127.0.0.1:{}", double.port));
        let image = double.image();
        let args = ["--expect-image", &image, "--plain-http", "--docker-config", &config];
        fails(&mut verify(&baked, &args), what, &[said, &image]);
        let basic = tokens.asked().iter().filter_map(|a| a.authorization().map(str::to_owned)).count();
        assert!(basic > 0, "{what}: the password was never given");
        assert!(double.asked().iter().all(|a| !a.0.contains("Basic")), "{what}: the registry got the password");
    });
    let tokens = Double::doing(reply(200, "", json!({"access_token": TOKEN}).to_string()));
    let (folder, double) = (tempfile::tempdir().unwrap(), Double::doing(private(tokens.port, &version)));
    let config = docker_config(folder.path(), &format!("127.0.0.1:{}", double.port));
    let args = ["--expect-image", &double.image(), "--plain-http", "--docker-config", &config];
    let (code, said) = ended(&mut verify(&baked, &args));
    assert!(code == Some(0) && said.contains("verified"), "{said}");
    has_no_secret(&said, "a token that is good");
    for (what, text) in
        [("no JSON", PASSWORD.to_owned()), ("odd auth", format!("{{\"auths\": {{\"x\": \"{PASSWORD}\"}}}}"))]
    {
        std::fs::write(&config, text).unwrap();
        fails(&mut verify(&baked, &args), what, &["is no Docker configuration", &config]);
    }
}

/// Where the password goes that was meant for the registry, when a blob lies elsewhere: nowhere.
#[test]
fn a_redirect_to_another_host_takes_no_secret_along() {
    let baked = Baked::sealed();
    let elsewhere = Double::doing(registry(&baked.version()));
    let there = elsewhere.url();
    let away = redirects(move |asked| format!("{there}{}", asked.path()));
    let open = at("/blobs/", away, registry(&baked.version()));
    let folder = tempfile::tempdir().unwrap();
    let basic = shell(folder.path(), &format!("printf ada:{PASSWORD} | base64 -w0"));
    let double = Double::doing(guarded("Basic realm=\"x\"".to_owned(), basic.leak(), open));
    let config = docker_config(folder.path(), &format!("127.0.0.1:{}", double.port));
    let args = ["--expect-image", &double.image(), "--plain-http", "--docker-config", &config];
    let (code, said) = ended(&mut verify(&baked, &args));
    assert!(code == Some(0) && said.contains("verified"), "{said}");
    has_no_secret(&said, "basic");
    assert!(elsewhere.asked().len() == 1 && elsewhere.asked()[0].authorization().is_none(), "{:?}", elsewhere.asked());
    assert!(double.asked().iter().any(|asked| asked.authorization().is_some()));
}

/// An authority and a certificate of it for this host.
pub(super) const CERTIFICATE: &str = "
    openssl req -x509 -newkey rsa:2048 -nodes -keyout ca.key -out ca -days 2 -subj /CN=authority 2>/dev/null
    openssl req -newkey rsa:2048 -nodes -keyout key -out request -subj /CN=registry 2>/dev/null
    echo subjectAltName=IP:127.0.0.1 > names
    openssl x509 -req -in request -CA ca -CAkey ca.key -CAcreateserial -days 2 -extfile names -out cert 2>/dev/null
    mkdir -p v2/team/dags/manifests";

/// A server with that certificate, which serves the folder.
pub(super) fn openssl_server(folder: &Path, port: u16) -> Process {
    let mut server = Command::new("openssl");
    let address = format!("127.0.0.1:{port}");
    server.args(["s_server", "-quiet", "-HTTP", "-cert", "cert", "-key", "key", "-accept", &address]);
    let server = Process::start(server.current_dir(folder), &folder.join("log"));
    eventually("it listens", || std::net::TcpStream::connect(("127.0.0.1", port)).ok());
    server
}

/// Whoever answers in place of a registry with TLS cannot lead to one without.
#[test]
fn a_redirect_to_plain_http_and_a_certificate_of_nobody() {
    let (baked, folder, port) = (Baked::sealed(), tempfile::tempdir().unwrap(), free_port());
    let plain = Double::doing(registry(&baked.version()));
    let answer = format!("HTTP/1.0 307 x\r\nLocation: {}/v2/team/dags/manifests/v1\r\n\r\n", plain.url());
    shell(folder.path(), CERTIFICATE);
    std::fs::write(folder.path().join("v2/team/dags/manifests/v1"), answer).unwrap();
    let _server = openssl_server(folder.path(), port);
    let (image, ca) = (format!("127.0.0.1:{port}/team/dags:v1"), folder.path().join("ca").display().to_string());
    let words = ["to plain HTTP", &image];
    fails(&mut verify(&baked, &["--expect-image", &image, "--ca-file", &ca]), "redirect", &words);
    assert!(plain.asked().is_empty(), "it was followed");
    fails(&mut verify(&baked, &["--expect-image", &image]), "a certificate of nobody", &["ca_file", &image]);
    let url = format!("https://127.0.0.1:{port}");
    fails(&mut verify(&baked, &["--expect-from", &url]), "a daemon's", &["certificate is not trusted", &url]);
    let no_tls = format!("127.0.0.1:{}/team/dags:v1", plain.port);
    fails(&mut verify(&baked, &["--expect-image", &no_tls]), "no TLS", &["plain HTTP has to be allowed", &no_tls]);
}

#[test]
fn another_daemon_that_is_away_or_answers_nonsense() {
    let baked = Baked::sealed();
    let mut faults = of_any_server();
    faults.extend([
        ("html", reply(200, "", "<html>"), "the answer is no status of dagsync"),
        ("bomb", bomb(), "the answer is"),
        ("other", reply(200, "", "{}"), "it has no version yet"),
        ("starting", reply(200, "", r#"{"version": null}"#), "it has no version yet"),
        ("odd", reply(200, "", r#"{"version": "latest"}"#), "the answer is no status of dagsync"),
        ("gone", reply(404, "", ""), "the answer is 404"),
        ("locked", reply(401, "WWW-Authenticate: Basic\r\n", ""), "the answer is 401"),
        ("error", reply(500, "", ""), "the answer is 500"),
        ("busy", reply(429, "", ""), "the answer is 429"),
    ]);
    each(faults, |double, what, said| {
        fails(&mut verify(&baked, &["--expect-from", &double.url()]), what, &[said, &double.url()]);
        assert!(double.asked()[0].path().starts_with("/v1/status"), "{what}");
    });
    let nobody = format!("http://127.0.0.1:{}", free_port());
    let words = ["no complete answer", &nobody, "refused", "check its name and port"];
    fails(&mut verify(&baked, &["--expect-from", &nobody]), "down", &words);
    let said = json!({"version": baked.version(), "filter_hash": "0".repeat(64)}).to_string();
    let globs = Double::doing(reply(200, "", said));
    baked.verify(&["--expect-from", &globs.url()]).ended(64, &["reads its tree under other globs", &globs.url()]);
    let good = Double::doing(reply(200, "", json!({"version": baked.version()}).to_string()));
    baked.verify(&["--expect-from", &good.url()]).ended(0, &["verified"]);
    for odd in ["http://ada:pw-of-ada@h", "ftp://h", "h:1"] {
        let outcome = baked.verify(&["--expect-from", odd]);
        outcome.ended(64, &["it is no URL of a daemon"]);
        assert!(!outcome.stderr.contains("pw-of-ada"), "{outcome:?}");
    }
}
