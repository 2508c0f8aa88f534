//! TLS of the listener: a certificate that is swapped counts at once, and one that is broken does not.

use std::path::Path;

use super::{guarded, is_published, raw};
use crate::harness::{Authority, Pod, Secret, eventually, free_port, http, s_client, shell, showing};

/// With the certificate in `secret`.
fn with(pod: Pod, secret: &Secret) -> Pod {
    pod.set("http.tls.cert_file", secret.certificate()).set("http.tls.key_file", secret.key())
}

/// What a client that trusts `ca` gets; nothing when it does not trust the daemon.
fn get(port: u16, ca: &Path, options: &[&str], path: &str) -> Option<String> {
    let trust = ["-CAfile", ca.to_str().unwrap(), "-verify_return_error"];
    let said = s_client(port, &[&trust[..], options].concat(), path);
    said.contains("HTTP/1.1 200").then_some(said)
}

/// When the certificate expires, in seconds since 1970, by openssl.
fn expiry(secret: &Secret) -> f64 {
    let file = secret.certificate();
    let script = format!("date +%s -d \"$(openssl x509 -noout -enddate -in {} | cut -d = -f 2)\"", file.display());
    shell(file.parent().unwrap(), &script).trim().parse().unwrap()
}

fn told_expiry(metrics: &str) -> f64 {
    let name = "dagsync_http_certificate_expiry_timestamp_seconds{} ";
    metrics.lines().find_map(|line| line.strip_prefix(name)).unwrap().parse().unwrap()
}

#[test]
fn a_swapped_certificate_counts_without_a_restart_and_a_broken_one_does_not() {
    let (first, second) = (Authority::new(), Authority::new());
    let secret = first.secret("one.example");
    let (repo, _folder, pod) = guarded("commands");
    let mut pod = with(pod, &secret);
    pod.start();
    is_published(&pod, &repo);
    let port = pod.port();
    let livez = |ca: &Authority, options: &[&str]| get(port, &ca.file(), options, "/livez");
    let said = eventually("TLS answers", || livez(&first, &["-alpn", "h2,http/1.1"]));
    assert!(said.contains("CN=one.example") || said.contains("CN = one.example"), "{said}");
    assert!(said.contains("ALPN protocol: http/1.1"), "{said}");
    assert!(livez(&second, &[]).is_none(), "another authority is not trusted");
    assert!(livez(&first, &["-tls1_2"]).is_some() && livez(&first, &["-tls1_1"]).is_none());
    let process = pod.id();
    second.renew(&secret, "two.example");
    eventually("the new one counts", || livez(&second, &[]));
    assert!(livez(&first, &[]).is_none());
    // A key of another certificate; half of a certificate; nothing.
    let other = first.secret("other");
    let old = secret.certificate().display().to_string();
    for broken in [
        format!("cp {old} tls.crt; cp {} tls.key", other.key().display()),
        format!("head -c 100 {old} > tls.crt; cp {} tls.key", other.key().display()),
        ": > tls.crt; : > tls.key".to_owned(),
        "true".to_owned(),
    ] {
        let failed = |pod: &Pod| pod.log().matches("the certificate before stays").count();
        let before = failed(&pod);
        secret.swap(&broken);
        eventually("it is told of", || {
            assert!(livez(&second, &[]).is_some(), "the old one stays with {broken:?}");
            (failed(&pod) > before).then_some(())
        });
        assert_eq!(failed(&pod), before + 1, "it is told of once");
    }
    let metrics = get(port, &second.file(), &[], "/metrics").unwrap();
    let count = |result: &str| format!("dagsync_http_certificate_reloads_total{{result=\"{result}\"}}");
    assert!(metrics.contains(&(count("success") + " 1")) && metrics.contains(&(count("error") + " 4")), "{metrics}");
    first.renew(&secret, "three.example");
    eventually("it is mended", || livez(&first, &[]));
    let metrics = get(port, &first.file(), &[], "/metrics").unwrap();
    assert_eq!(told_expiry(&metrics), expiry(&secret), "{metrics}");
    a_chain_with_one_that_expires_sooner(&first, &secret, port);
    assert_eq!(pod.id(), process);
    let key = std::fs::read_to_string(secret.key()).unwrap();
    super::says_no_secret(&pod, &[key.lines().nth(1).unwrap(), super::TOKEN]);
}

/// Nobody may need it: it says nothing about the listener's own.
fn a_chain_with_one_that_expires_sooner(authority: &Authority, secret: &Secret, port: u16) {
    let until = expiry(secret);
    let old = secret.certificate().display().to_string();
    let root = "openssl req -x509 -newkey rsa:2048 -nodes -keyout root.key -out root.crt -days 1 -subj /CN=root 2>&1";
    secret.swap(&format!("cp {} tls.key; {root}; cat {old} root.crt > tls.crt", secret.key().display()));
    let metrics = eventually("it counts", || {
        let metrics = get(port, &authority.file(), &[], "/metrics")?;
        metrics.contains("reloads_total{result=\"success\"} 3").then_some(metrics)
    });
    assert_eq!(told_expiry(&metrics), until, "{metrics}");
}

#[test]
fn a_client_certificate_is_required_where_an_authority_is_set() {
    let (server, clients, strangers) = (Authority::new(), Authority::new(), Authority::new());
    let (secret, known, stranger) =
        (server.secret("dagsync"), clients.secret("follower"), strangers.secret("stranger"));
    let (repo, _folder, pod) = guarded("commands");
    let probes = free_port();
    let mut pod = with(pod, &secret)
        .set("http.tls.client_ca_file", clients.file())
        .set("http.probe_bind", format!("127.0.0.1:{probes}"));
    pod.start();
    is_published(&pod, &repo);
    let status = |options: &[&str]| get(pod.port(), &server.file(), options, "/v1/status");
    let shown = showing;
    let (good, bad) = ((known.certificate(), known.key()), (stranger.certificate(), stranger.key()));
    eventually("a known client is let in", || status(&shown(&good.0, &good.1)));
    for version in ["-tls1_2", "-tls1_3"] {
        assert!(status(&[&shown(&good.0, &good.1)[..], &[version]].concat()).is_some(), "{version}");
        assert!(status(&[&shown(&bad.0, &bad.1)[..], &[version]].concat()).is_none(), "{version}");
        assert!(status(&[version]).is_none(), "{version}: without a certificate");
    }
    let probe = |path| http(probes, "GET", path, "").unwrap().0;
    assert_eq!((probe("/livez"), probe("/readyz"), probe("/v1/status"), probe("/metrics")), (200, 200, 404, 404));
    assert_eq!(
        http(probes, "POST", "/v1/sync", &format!("Authorization: Bearer {}\r\n", super::TOKEN)).unwrap().0,
        404
    );
    let metrics = get(pod.port(), &server.file(), &shown(&good.0, &good.1), "/metrics").unwrap();
    let refused = metrics.lines().find(|line| line.contains("refused_total{reason=\"handshake\"}")).unwrap();
    assert!(!refused.ends_with(" 0"), "{refused}");
}

#[test]
fn plain_http_to_tls_and_tls_to_plain_http_end_at_once() {
    let authority = Authority::new();
    let secret = authority.secret("dagsync");
    let (repo, _folder, pod) = guarded("commands");
    let mut pod = with(pod, &secret);
    pod.start();
    is_published(&pod, &repo);
    eventually("TLS answers", || get(pod.port(), &authority.file(), &[], "/livez"));
    let started = std::time::Instant::now();
    for request in
        [&b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n"[..], b"\x00\x00\x00\x00\x00\x00\x00\x00", b"SSH-2.0-x\r\n"]
    {
        let said = raw(pod.port(), request);
        assert!(!said.contains("HTTP/1.1"), "{said}");
    }
    assert!(started.elapsed() < std::time::Duration::from_secs(20));
    let (_repo, _folder, mut plain) = guarded("commands");
    plain.start();
    eventually("it answers", || plain.get("/livez"));
    assert!(!s_client(plain.port(), &[], "/livez").contains("HTTP/1.1 200"));
}
