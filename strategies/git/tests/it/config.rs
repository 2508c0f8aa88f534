//! `git.config` and `git.tls_check`, against servers that make them necessary.

use dagsync_core::ErrorKind;

use crate::harness::{Origin, Target, files};
use crate::real::{Nginx, PASSWORD, Proxy, Repo, USER, add_submodule};

fn over_https(nginx: &Nginx, changes: &[(&str, &str)]) -> Target {
    at_url(&nginx.url(nginx.port), nginx, changes)
}

fn at_url(url: &str, nginx: &Nginx, changes: &[(&str, &str)]) -> Target {
    let password = nginx.password_file();
    let login = [("username", USER), ("password_file", password.to_str().unwrap())];
    Target::new(url, &[&login[..], changes].concat())
}

#[test]
fn a_certificate_of_nobody_is_taken_only_when_that_is_asked_for() {
    let repo = Repo::with(&[("a.py", "a")]);
    let nginx = Nginx::serve(&repo);
    let elsewhere = "http.https://elsewhere.sslVerify=false";
    for strict in [&[][..], &[("config", elsewhere)]] {
        assert_eq!(over_https(&nginx, strict).resolve().unwrap_err().kind(), ErrorKind::Untrusted);
    }
    let here = format!("http.https://127.0.0.1:{}.sslVerify=false", nginx.port);
    for lax in [("tls_check", "off"), ("config", "http.sslVerify=false"), ("config", &here)] {
        over_https(&nginx, &[lax]).sync().unwrap();
    }
    assert_eq!(over_https(&nginx, &[]).resolve().unwrap_err().kind(), ErrorKind::Untrusted, "it is not remembered");
}

#[test]
fn an_authority_and_a_header_may_come_from_gits_configuration() {
    let repo = Repo::with(&[("a.py", "a")]);
    let nginx = Nginx::guarded(&repo, "if ($http_x_pass != 7731) { return 403; }");
    let ca = format!("http.sslCAInfo={}", nginx.ca().display());
    let error = over_https(&nginx, &[("config", &ca)]).resolve().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unauthorized, "{error}");
    let config = format!("{ca},http.extraHeader=X-Pass: 7731,gc.auto=0");
    let mut target = over_https(&nginx, &[("config", &config)]);
    target.sync().unwrap();
    assert_eq!(target.files(), files(&[("a.py", "a")]));
}

#[test]
fn a_proxy_may_come_from_gits_configuration() {
    let repo = Repo::with(&[("a.py", "a")]);
    let nginx = Nginx::serve(&repo);
    let ca = nginx.ca();
    let ca = ("ca_file", ca.to_str().unwrap());
    let url = format!("https://localhost:{}/dags.git", nginx.port);
    let through = |proxy: &str| at_url(&url, &nginx, &[ca, ("config", &format!("http.proxy={proxy}"))]).sync();
    let proxy = Proxy::start();
    through(&proxy.url()).unwrap();
    assert!(!proxy.asked().is_empty());
    through("").unwrap();
    for status in ["407 Proxy Authentication Required\r\nProxy-Authenticate: Basic realm=\"p\"", "403 Forbidden"] {
        let error = through(&Proxy::answering(status).url()).unwrap_err().to_string();
        assert!(error.contains("http.proxy") && error.contains("proxy 127.0.0.1:"), "{error}");
    }
    let error = through(&format!("http://{USER}:{PASSWORD}@127.0.0.1:1")).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unreachable);
    let error = error.to_string();
    assert!(error.contains("http.proxy") && !error.contains(PASSWORD), "{error}");
}

#[test]
fn urls_are_rewritten_those_of_submodules_too() {
    let (main, lib) = (Repo::with(&[("a.py", "a")]), Repo::with(&[("b.py", "b")]));
    add_submodule(&main, &lib, "git@lib.invalid:team/dags.git");
    let rewrite =
        |from: &str, repo: &Repo| format!("url.file://{}/.insteadOf={from}", repo.bare().parent().unwrap().display());
    let config = [rewrite("https://main.invalid/", &main), rewrite("git@lib.invalid:team/", &lib)].join(",");
    let mut target = Target::new("https://main.invalid/dags.git", &[("config", &config)]);
    target.sync().unwrap();
    assert_eq!(target.files()["lib/b.py"], "b");
}

#[test]
fn a_repository_of_another_user_is_read() {
    let origin = Origin::new();
    origin.write("a.py", "a").commit();
    let owned = std::os::unix::fs::chown(origin.path(), Some(12_345), Some(12_345));
    let mut target = Target::new(&origin.url(), &[]);
    target.sync().unwrap();
    // Only root can give folders away; without it the repository is simply one's own.
    if owned.is_ok() {
        crate::real::shell(&target.cache(), "chown -R 12345:12345 .");
        origin.write("a.py", "a2");
        crate::real::shell(
            origin.path(),
            "git -c safe.directory='*' -c user.name=t -c user.email=t@x commit -qam second",
        );
        target.sync().unwrap();
        assert_eq!(target.files(), files(&[("a.py", "a2")]));
    }
}
