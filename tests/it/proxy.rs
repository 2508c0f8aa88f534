//! A proxy between the pod and its git server, named by the environment as for curl.

use crate::harness::{Nginx, Outcome, Pod, Proxy, Repo, version_of};

#[test]
fn git_over_https_goes_through_the_proxy_of_the_environment() {
    let repo = Repo::with(&[("a.py", "1")]);
    let (nginx, proxy) = (Nginx::serve(&repo), Proxy::start());
    let pod = Pod::over_https(&nginx, nginx.port);
    Outcome::of(pod.command("once").env("https_proxy", proxy.url())).ended(0, &[]);
    let asked = proxy.asked();
    assert!(!asked.is_empty() && asked.iter().all(|to| *to == format!("127.0.0.1:{}", nginx.port)), "{asked:?}");
    assert_eq!(version_of(&pod.current().unwrap()).unwrap(), repo.version());
}

#[test]
fn no_proxy_names_hosts_that_are_reached_directly() {
    let repo = Repo::with(&[("a.py", "1")]);
    let (nginx, proxy) = (Nginx::serve(&repo), Proxy::start());
    let pod = Pod::over_https(&nginx, nginx.port);
    Outcome::of(pod.command("once").env("https_proxy", proxy.url()).env("no_proxy", "127.0.0.1")).ended(0, &[]);
    assert!(proxy.asked().is_empty(), "{:?}", proxy.asked());
}

#[test]
fn all_proxy_stands_in_where_there_is_no_other() {
    let repo = Repo::with(&[("a.py", "1")]);
    let (nginx, proxy) = (Nginx::serve(&repo), Proxy::start());
    let pod = Pod::over_https(&nginx, nginx.port).set("max_failures", "0");
    let with = |env: &[(&str, &str)]| Outcome::of(pod.command("once").envs(env.iter().copied()));
    let refuses = Proxy::answering("403 Forbidden");
    with(&[("all_proxy", &refuses.url()), ("https_proxy", &proxy.url())]).ended(0, &[]);
    with(&[("all_proxy", &refuses.url()), ("no_proxy", "127.0.0.1")]).ended(0, &[]);
    assert!(refuses.asked().is_empty(), "{:?}", refuses.asked());
    let before = proxy.asked().len();
    with(&[("ALL_PROXY", &proxy.url())]).ended(0, &[]);
    assert!(proxy.asked().len() > before);
    with(&[("all_proxy", &refuses.url())]).ended(2, &["403", "check the proxy that all_proxy names"]);
    with(&[("all_proxy", "socks5://127.0.0.1:1")])
        .ended(64, &["write all_proxy as http://host:port; there is no SOCKS"]);
}

#[test]
fn a_proxy_that_refuses_is_named_as_the_one_who_did() {
    let repo = Repo::with(&[("a.py", "1")]);
    let nginx = Nginx::serve(&repo);
    for status in ["403 Forbidden", "502 Bad Gateway"] {
        let proxy = Proxy::answering(status);
        let pod = Pod::over_https(&nginx, nginx.port).set("max_failures", "0");
        Outcome::of(pod.command("once").env("https_proxy", proxy.url())).ended(
            2,
            &["proxy", &status[..3], "check the proxy that https_proxy names, or list 127.0.0.1 in no_proxy"],
        );
        assert!(pod.current().is_none() && !proxy.asked().is_empty());
    }
}

#[test]
fn a_proxy_that_wants_a_password_or_is_not_there_is_named_with_what_to_change() {
    let repo = Repo::with(&[("a.py", "1")]);
    let nginx = Nginx::serve(&repo);
    let url = format!("https://localhost:{}/dags.git", nginx.port);
    let pod = Pod::over_https(&nginx, nginx.port).set("source", url).set("max_failures", "0");
    let through = |proxy: &str| Outcome::of(pod.command("once").env("https_proxy", proxy));
    let proxy = Proxy::answering("407 Proxy Authentication Required\r\nProxy-Authenticate: Basic realm=\"p\"");
    through(&proxy.url()).ended(2, &["proxy", "write https_proxy as http://user:password@host:port"]);
    through("http://127.0.0.1:1").ended(2, &["proxy 127.0.0.1:1", "check the proxy that https_proxy names"]);
    assert!(pod.current().is_none());
}
