//! A proxy from the environment: used, and named when it refuses.

use crate::harness::{Nginx, Outcome, Pod, Proxy, Repo};

const ASKS: &str = "407 Proxy Authentication Required\r\nProxy-Authenticate: Basic realm=\"corp\"";
/// `ada:s3cret`, as basic authentication writes it.
const ADA: &str = "Basic YWRhOnMzY3JldA==";

/// A sync with one variable of the environment, and perhaps `no_proxy`.
fn once(pod: &Pod, variables: &[(&str, &str)]) -> Outcome {
    Outcome::of(pod.command("once").envs(variables.iter().copied()))
}

#[test]
fn https_goes_through_the_proxy_of_the_environment() {
    let repo = Repo::with(&[("a.py", "1")]);
    let nginx = Nginx::serve(&repo);
    for (name, user, authorization) in
        [("https_proxy", "", ""), ("HTTPS_PROXY", "", ""), ("https_proxy", "ada:s3cret@", ADA)]
    {
        let proxy = Proxy::start(authorization, ASKS);
        let url = format!("http://{user}127.0.0.1:{}", proxy.port);
        let pod = Pod::over_https(&nginx, nginx.port);
        once(&pod, &[(name, &url)]).ended(0, &[]);
        assert!(proxy.passed() > 0, "{name} {user}");
    }
    let proxy = Proxy::start("", ASKS);
    let url = format!("http://127.0.0.1:{}", proxy.port);
    for (name, excepted) in [("https_proxy", "127.0.0.1"), ("http_proxy", ""), ("all_proxy", "")] {
        let pod = Pod::over_https(&nginx, nginx.port);
        once(&pod, &[(name, &url), ("no_proxy", excepted)]).ended(0, &[]);
        assert_eq!(proxy.passed(), 0, "{name}");
    }
}

#[test]
fn a_proxy_that_refuses_is_named_by_its_variable() {
    let pod = Pod::new("https://git.invalid/dags.git").set("timeout", "2s");
    let [asks, forbids] = [ASKS, "403 Forbidden"].map(|refusal| Proxy::start(ADA, refusal).port);
    for (port, user, words) in [
        (asks, "", ["authentication required", "user:password@host:port"]),
        (asks, "ada:wr0ng@", ["authentication required", "user:password@host:port"]),
        (forbids, "ada:wr0ng@", ["status: 403", "list git.invalid in no_proxy"]),
        (1, "ada:wr0ng@", ["Connection refused", "list git.invalid in no_proxy"]),
    ] {
        let said = once(&pod, &[("https_proxy", &format!("http://{user}127.0.0.1:{port}"))]);
        said.ended(2, &words).ended(2, &["https_proxy", &format!("127.0.0.1:{port}")]);
        assert!(!format!("{said:?}").contains("wr0ng"), "{said:#?}");
    }
}
