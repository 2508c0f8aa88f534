//! Keys, passwords, tokens and cookies, against servers that demand them.

use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use dagsync_core::{ErrorKind, Outcome};
use openssl::hash::MessageDigest;
use openssl::pkey::{PKey, Public};
use openssl::rsa::Rsa;
use openssl::sign::Verifier;
use serde_json::Value;

use crate::harness::Target;
use crate::real::{Endpoint, Nginx, PASSWORD, Repo, Request, Sshd, USER, add_submodule, header};

fn text(path: impl AsRef<Path>) -> String {
    path.as_ref().to_str().unwrap().to_owned()
}

/// Over https with these settings.
fn over_https(nginx: &Nginx, changes: &[(&str, &str)]) -> Target {
    let ca = text(nginx.ca());
    Target::new(&nginx.url(nginx.port), &[&[("ca_file", ca.as_str())], changes].concat())
}

fn counted(target: &Target, operation: &str) -> [u64; 2] {
    let counts = target.tally.read();
    let of = |outcome| counts.iter().filter(|((o, r), _)| *o == operation && *r == outcome).map(|(_, n)| n).sum();
    [of(Outcome::Success), of(Outcome::Error)]
}

#[test]
fn two_private_repositories_with_different_keys_one_as_submodule_of_the_other() {
    let (main, lib) = (Repo::with(&[("a.py", "a")]), Repo::with(&[("b.py", "b")]));
    let sshd = Sshd::start();
    add_submodule(&main, &lib, &sshd.url(&lib, sshd.port));
    sshd.give_deploy_keys(&main, &lib);
    let (own, other) = (text(sshd.key()), text(sshd.strange_key()));
    let known = text(sshd.known_hosts(sshd.port));
    let url = sshd.url(&main, sshd.port);
    for keys in [format!("{own},{other}"), format!("/nonexistent,{other},{own}")] {
        let mut target = Target::new(&url, &[("ssh_key_file", &keys), ("known_hosts_file", &known)]);
        for _ in 0..2 {
            target.sync().unwrap();
            assert_eq!(target.files()["lib/b.py"], "b", "{keys}");
        }
    }
    let mut target = Target::new(&url, &[("ssh_key_file", &own), ("known_hosts_file", &known)]);
    let error = target.sync().unwrap_err().to_string();
    assert!(error.contains("submodule lib") && error.contains(&own), "{error}");
}

#[test]
fn keys_that_are_refused_or_not_there_are_all_named() {
    let (repo, sshd) = (Repo::with(&[("a.py", "a")]), Sshd::start());
    let (strange, known) = (text(sshd.strange_key()), text(sshd.known_hosts(sshd.port)));
    let other = Sshd::start();
    let refused = format!("{strange},{}", text(other.key()));
    for (keys, says) in
        [(refused.as_str(), "refused the keys"), ("/nonexistent/a,/nonexistent/b", "none of the files is there")]
    {
        let target = Target::new(&sshd.url(&repo, sshd.port), &[("ssh_key_file", keys), ("known_hosts_file", &known)]);
        let error = target.resolve().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unauthorized);
        let error = error.to_string();
        assert!(error.contains(says) && keys.split(',').all(|key| error.contains(key)), "{error}");
    }
}

#[test]
fn a_submodule_on_another_host_has_credentials_of_its_own_which_rotate() {
    let (main, lib) = (Repo::with(&[("a.py", "a")]), Repo::with(&[("b.py", "b")]));
    let (main_host, lib_host) = (Nginx::serve(&main), Nginx::serve(&lib));
    lib_host.change_password("of-lib");
    add_submodule(&main, &lib, &lib_host.url(lib_host.port));
    let dir = tempfile::tempdir().unwrap();
    let (password, list, ca) = (dir.path().join("password"), dir.path().join("list"), dir.path().join("ca"));
    let read = |file| std::fs::read_to_string(file).unwrap();
    std::fs::write(&ca, read(main_host.ca()) + &read(lib_host.ca())).unwrap();
    let entry =
        |port: u16, rest: &str| format!(r#"{{"url": "https://127.0.0.1:{port}", "username": "{USER}", {rest}}}"#);
    let of_lib = entry(lib_host.port, &format!(r#""password-file": "{}""#, password.display()));
    std::fs::write(&list, format!("[{of_lib}]")).unwrap();
    std::fs::write(&password, "of-lib\n").unwrap();

    let inline = entry(main_host.port, &format!(r#""password": "{PASSWORD}""#));
    let (list_file, ca_file) = (text(&list), text(&ca));
    let mut target = Target::new(
        &main_host.url(main_host.port),
        &[("credentials", inline.as_str()), ("credentials_file", &list_file), ("ca_file", &ca_file)],
    );
    target.sync().unwrap();
    assert_eq!(target.files()["lib/b.py"], "b");

    lib_host.change_password("rotated");
    lib.write("b.py", "b2");
    lib.commit("second");
    add_submodule(&main, &lib, &lib_host.url(lib_host.port));
    let error = target.sync().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unauthorized);
    assert!(!error.to_string().contains("of-lib"), "{error}");
    std::fs::write(&password, "rotated").unwrap();
    target.sync().unwrap();
    assert_eq!(target.files()["lib/b.py"], "b2");
}

#[test]
fn askpass_is_asked_at_each_connection() {
    let repo = Repo::with(&[("a.py", "a")]);
    let nginx = Nginx::serve(&repo);
    let password = Arc::new(Mutex::new(PASSWORD.to_owned()));
    let current = password.clone();
    let askpass =
        Endpoint::start(move |_| ("200 OK".into(), format!("username={USER}\npassword={}\n", current.lock().unwrap())));
    let url = askpass.url() + "/git?x=1";
    let mut target = over_https(&nginx, &[("askpass_url", &url)]);
    target.sync().unwrap();
    nginx.change_password("rotated");
    let error = target.resolve().unwrap_err().to_string();
    assert!(error.contains("git.askpass_url") && !error.contains(PASSWORD), "{error}");
    *password.lock().unwrap() = "rotated".to_owned();
    target.resolve().unwrap();
    assert_eq!(counted(&target, "askpass"), [askpass.asked().len() as u64, 0]);
    assert_eq!(askpass.asked()[0][0], "GET /git?x=1 HTTP/1.1");
}

#[test]
fn an_askpass_that_fails_is_named_without_what_it_said() {
    let repo = Repo::with(&[("a.py", "a")]);
    let nginx = Nginx::serve(&repo);
    let elsewhere = Endpoint::start(|_| ("200 OK".into(), format!("username={USER}\npassword={PASSWORD}\n")));
    let redirect = format!("302 Found\r\nLocation: {}", elsewhere.url());
    for (status, body, says) in [
        ("500 Internal Server Error", "password=s3cret", "500"),
        ("201 Created", "password=s3cret", "201"),
        ("200 OK", "s3cret", "no password"),
        (&redirect, "", "302"),
        ("200 OK", &"password=s3cret\n".repeat(10_000), "larger than"),
    ] {
        let (status, body) = (status.to_owned(), body.to_owned());
        let askpass = Endpoint::start(move |_| (status.clone(), body.clone()));
        let url = askpass.url().replace("http://", "http://ada:s3cret@");
        let target = over_https(&nginx, &[("askpass_url", &url)]);
        let error = target.resolve().unwrap_err().to_string();
        assert!(error.contains(says) && error.contains("git.askpass_url") && !error.contains("s3cret"), "{error}");
        assert_eq!(counted(&target, "askpass"), [0, 1]);
        assert!(header(&askpass.asked()[0], "authorization").starts_with("Basic "), "the URL's user is sent");
    }
    assert!(elsewhere.asked().is_empty());
}

#[test]
fn a_cookie_lets_in_and_its_file_is_read_at_every_use() {
    let repo = Repo::with(&[("a.py", "a")]);
    let nginx = Nginx::guarded(&repo, "if ($cookie_o != git-7731) { return 403; }");
    let file = tempfile::NamedTempFile::new().unwrap();
    let write =
        |value: &str| std::fs::write(file.path(), format!("#HttpOnly_127.0.0.1\tFALSE\t/\tTRUE\t0\to\t{value}\n"));
    write("git-7731").unwrap();
    let path = text(file.path());
    let mut target = over_https(&nginx, &[("cookie_file", &path)]);
    target.sync().unwrap();
    assert_eq!(target.files()["a.py"], "a");
    write("other-9").unwrap();
    let error = target.resolve().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unauthorized);
    assert!(!error.to_string().contains("other-9"), "{error}");
    write("git-7731").unwrap();
    repo.write("a.py", "a2");
    repo.commit("second");
    target.sync().unwrap();
    assert_eq!(target.files()["a.py"], "a2");
}

#[test]
fn a_cookie_does_not_follow_a_redirect_to_another_host() {
    let (thief, file) =
        (Endpoint::start(|_| ("404 Not Found".into(), String::new())), tempfile::NamedTempFile::new().unwrap());
    let location = thief.url();
    let server = Endpoint::start(move |request| {
        let path = request[0].split(' ').nth(1).unwrap();
        (format!("301 Moved\r\nLocation: {}{path}", location.replace("127.0.0.1", "localhost")), String::new())
    });
    std::fs::write(file.path(), "127.0.0.1\tFALSE\t/\tFALSE\t0\to\ts3cret\n").unwrap();
    let path = text(file.path());
    let target = Target::new(&(server.url() + "/dags.git"), &[("cookie_file", &path)]);
    let error = target.resolve().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Refused, "{error}");
    assert!(error.to_string().contains("do not follow it"), "{error}");
    assert_eq!(header(&server.asked()[0], "cookie"), "o=s3cret");
    assert!(thief.asked().is_empty());
}

/// A GitHub that knows one app: it checks the token that the app signed, and gives another token each time.
struct Github {
    endpoint: Endpoint,
    key: tempfile::NamedTempFile,
}

impl Github {
    /// `life` is how long its tokens live; only the newest opens `nginx`.
    fn start(nginx: Arc<Nginx>, life: Duration) -> Self {
        let rsa = Rsa::generate(2048).unwrap();
        let key = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(key.path(), rsa.private_key_to_pem().unwrap()).unwrap();
        let public = PKey::public_key_from_pem(&rsa.public_key_to_pem().unwrap()).unwrap();
        let given = Mutex::new(0);
        let endpoint = Endpoint::start(move |request| {
            if let Err(why) = admits(request, &public) {
                return ("401 Unauthorized".into(), format!(r#"{{"message": "{why}"}}"#));
            }
            let mut given = given.lock().unwrap();
            *given += 1;
            let token = format!("ghs_s3cret{given}");
            nginx.let_in("x-access-token", &token);
            let ends = shown(SystemTime::now() + life);
            ("201 Created".into(), format!(r#"{{"token": "{token}", "expires_at": "{ends}", "permissions": {{}}}}"#))
        });
        Self { endpoint, key }
    }

    fn target(&self, nginx: &Nginx, installation: &str) -> Target {
        let (key, url) = (text(self.key.path()), self.endpoint.url());
        over_https(
            nginx,
            &[
                ("github_app.private_key_file", &key),
                ("github_app.client_id", "Iv1.dags"),
                ("github_app.installation_id", installation),
                ("github_app.base_url", &url),
            ],
        )
    }
}

fn shown(at: SystemTime) -> String {
    let seconds = at.duration_since(UNIX_EPOCH).unwrap().as_secs();
    crate::real::shell(Path::new("/"), &format!("date -u -d @{seconds} +%Y-%m-%dT%H:%M:%SZ"))
}

/// As GitHub does it: the signature, then the claims.
fn admits(request: &Request, public: &PKey<Public>) -> Result<(), &'static str> {
    if request[0] != "POST /app/installations/42/access_tokens HTTP/1.1" {
        return Err("Not Found");
    }
    let token = header(request, "authorization").strip_prefix("Bearer ").ok_or("A JSON web token is missing")?;
    let (signed, signature) = token.rsplit_once('.').ok_or("no signature")?;
    let mut verifier = Verifier::new(MessageDigest::sha256(), public).unwrap();
    if !verifier.verify_oneshot(&decode(signature), signed.as_bytes()).unwrap() {
        return Err("A JSON web token could not be decoded");
    }
    let (head, claims) = signed.split_once('.').ok_or("no claims")?;
    let [head, claims]: [Value; 2] = [head, claims].map(|part| serde_json::from_slice(&decode(part)).unwrap());
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let (begins, ends) = (claims["iat"].as_u64().unwrap(), claims["exp"].as_u64().unwrap());
    match head["alg"] == "RS256" && claims["iss"] == "Iv1.dags" {
        true if begins < now && now < ends && ends - begins <= 600 => Ok(()),
        true => Err("'Expiration time' claim ('exp') is too far in the future"),
        false => Err("'Issuer' claim ('iss') must be an integer or client id"),
    }
}

fn decode(base64url: &str) -> Vec<u8> {
    let padding = "=".repeat((4 - base64url.len() % 4) % 4);
    openssl::base64::decode_block(&(base64url.replace('-', "+").replace('_', "/") + &padding)).unwrap()
}

#[test]
fn the_token_of_a_github_app_is_kept_until_it_nears_its_end() {
    let repo = Repo::with(&[("a.py", "a")]);
    let nginx = Arc::new(Nginx::serve(&repo));
    let github = Github::start(nginx.clone(), Duration::from_secs(3600));
    let mut target = github.target(&nginx, "42");
    target.sync().unwrap();
    target.resolve().unwrap();
    assert_eq!(github.endpoint.asked().len(), 1, "one token for all connections");

    nginx.let_in("x-access-token", "revoked");
    target.resolve().unwrap();
    assert_eq!(github.endpoint.asked().len(), 2, "a token that is refused is renewed at once");

    let github = Github::start(nginx.clone(), Duration::ZERO);
    let target = github.target(&nginx, "42");
    for tokens in 1..=3 {
        target.resolve().unwrap();
        assert_eq!(github.endpoint.asked().len(), tokens, "a token at its end is renewed before it is used");
    }
    assert_eq!(counted(&target, "github_app_token"), [3, 0]);
}

#[test]
fn a_github_app_that_is_refused_says_why_without_a_token() {
    let repo = Repo::with(&[("a.py", "a")]);
    let nginx = Arc::new(Nginx::serve(&repo));
    let (github, other) = (Github::start(nginx.clone(), Duration::ZERO), Github::start(nginx.clone(), Duration::ZERO));
    std::fs::copy(other.key.path(), github.key.path()).unwrap();
    for (installation, says) in [("42", "could not be decoded"), ("7", "Not Found")] {
        let target = github.target(&nginx, installation);
        let error = target.resolve().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unauthorized);
        let error = error.to_string();
        assert!(error.contains(says) && error.contains("401") && error.contains("installation_id"), "{error}");
        assert!(!error.contains("eyJ"), "{error}");
        assert_eq!(counted(&target, "github_app_token"), [0, 1]);
    }
}

#[test]
fn a_fetch_is_counted_once_for_each_new_commit() {
    let repo = Repo::with(&[("a.py", "a")]);
    let nginx = Nginx::serve(&repo);
    let password = text(nginx.password_file());
    let mut target = over_https(&nginx, &[("username", USER), ("password_file", &password)]);
    for fetches in [1, 1, 2] {
        if fetches == 2 {
            repo.commit("second");
        }
        target.sync().unwrap();
        assert_eq!(counted(&target, "fetch"), [fetches, 0]);
    }
}
