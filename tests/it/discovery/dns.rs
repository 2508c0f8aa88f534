//! The addresses behind names, of a real dnsmasq.

use std::fmt::Write as _;
use std::net::{TcpListener, UdpSocket};
use std::process::Command;

use super::{fails, found, found_by, line, myself};
use crate::harness::{Dnsmasq, eventually, free_port, shell};

const NAME: &str = "dagsync.airflow.svc.cluster.local";

fn urls(settings: &[(&str, &str)]) -> Vec<String> {
    let urls = found(settings).unwrap().into_iter().map(|peer| peer.url.unwrap());
    urls.map(|url| url.trim_start_matches("http://").to_owned()).collect()
}

#[test]
fn pods_come_and_go() {
    let server = Dnsmasq::serving(&format!("10.0.0.1 {NAME}\n10.0.0.2 {NAME}\n"), &[]);
    let address = server.address();
    let settings = [("fleet.dns", NAME), ("fleet.dns_server", &address)];
    assert_eq!(urls(&settings), ["10.0.0.1:8466", "10.0.0.2:8466"]);

    server.now_serves(&format!("10.0.0.2 {NAME}\nfd00::3 {NAME}\n"));
    eventually("the second generation is there", || {
        (urls(&settings) == ["10.0.0.2:8466", "[fd00::3]:8466"]).then_some(())
    });

    server.now_serves("");
    let error = eventually("nobody is there", || found(&settings).err());
    let words = ["not-found ask DNS: there is no such name, or it has no A or AAAA record", NAME, "server 127.0.0.1"];
    fails::<()>(&Err(error), &[&words[..], &["publishNotReadyAddresses"]].concat());

    server.now_serves(&format!("10.0.0.9 {NAME}\n"));
    eventually("one is back", || found(&settings).ok().filter(|peers| peers.len() == 1));
}

#[test]
fn two_hundred_pods_come_by_tcp() {
    let hosts = (0..200).fold(String::new(), |mut hosts, n| {
        writeln!(hosts, "10.0.1.{n} {NAME}").unwrap();
        hosts
    });
    let server = Dnsmasq::serving(&hosts, &[]);
    let peers = found(&[("fleet.dns", NAME), ("fleet.dns_server", &server.address()), ("fleet.port", "9000")]).unwrap();
    assert_eq!(peers.len(), 200);
    assert!(peers.iter().any(|peer| peer.url.as_deref() == Some("http://10.0.1.199:9000")));
}

#[test]
fn srv_records_know_names_and_ports() {
    let (named, dashed) = (format!("airflow-worker-0.{NAME}"), format!("10-0-0-8.{NAME}"));
    let hosts = format!("10.0.0.7 {named}\n10.0.0.8 {dashed}\n");
    let service = format!("_http._tcp.{NAME}");
    let gone = format!("airflow-worker-1.{NAME}");
    let services = [(&named, 8470), (&dashed, 8471), (&gone, 8470)];
    let server = Dnsmasq::serving(&hosts, &services.map(|(target, port)| format!("{service},{target},{port}")));
    let address = server.address();
    let settings = [("fleet.dns", service.as_str()), ("fleet.dns_server", &address)];
    let lines: Vec<String> = found(&settings).unwrap().iter().map(line).collect();
    assert_eq!(
        lines,
        [
            "10.0.0.8 http://10.0.0.8:8471 running",
            "airflow-worker-0 http://10.0.0.7:8470 running",
            &format!("airflow-worker-1 http://{gone}:8470 running"),
        ],
        "the first has no name of its own, the last no address"
    );
    let settings = [&settings[..], &[("fleet.scheme", "https")]].concat();
    let lines: Vec<String> = found(&settings).unwrap().iter().map(line).collect();
    assert_eq!(lines[1], format!("airflow-worker-0 https://{named}:8470 running"), "a certificate is of a name");
}

#[test]
fn two_names_and_a_list_lead_to_each_pod_once() {
    let hosts = format!("10.0.0.1 {NAME}\n10.0.0.2 {NAME}\n10.0.0.2 w.cluster.local\n10.0.0.3 w.cluster.local\n");
    let server = Dnsmasq::serving(&hosts, &[]);
    let names = format!("{NAME},w.cluster.local");
    let peers = "http://10.0.0.1:8466/,http://10.0.0.4:8466";
    let settings = [("fleet.dns", names.as_str()), ("fleet.dns_server", &server.address()), ("fleet.peers", peers)];
    let mut urls = urls(&settings);
    urls.sort();
    assert_eq!(urls, ["10.0.0.1:8466/", "10.0.0.2:8466", "10.0.0.3:8466", "10.0.0.4:8466"]);
}

#[test]
fn a_server_that_does_not_answer_is_no_name_that_does_not_exist() {
    let nobody = format!("127.0.0.1:{}", free_port());
    let error = found(&[("fleet.dns", NAME), ("fleet.dns_server", &nobody)]);
    fails(&error, &["ask DNS: the DNS server gives no answer", NAME, "check that the DNS server runs"]);

    // It takes questions, and says nothing.
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let address = socket.local_addr().unwrap();
    let _tcp = TcpListener::bind(address).unwrap();
    let error = found(&[("fleet.dns", NAME), ("fleet.dns_server", &address.to_string())]);
    fails(&error, &["timeout ask DNS: ", NAME, "check that the DNS server runs", "NetworkPolicy"]);
}

#[test]
fn a_server_that_is_not_responsible_says_so() {
    let server = Dnsmasq::serving("", &[]);
    let error = found(&[("fleet.dns", "dags.example.com"), ("fleet.dns_server", &server.address())]);
    fails(&error, &["unreachable ask DNS: the DNS server gives no answer", "Refused"]);
}

#[test]
fn settings_that_cannot_be_meant() {
    fails(&found(&[("fleet.dns_server", "kube-dns")]), &["fleet.dns_server", "kube-dns", "must be an IP address"]);
    fails(&found(&[("fleet.port", "0")]), &["fleet.port", "from 1 to 65535"]);
    fails(&found(&[("fleet.scheme", "ftp")]), &["fleet.scheme"]);
    let error = found(&[("fleet.dns", "a..b"), ("fleet.dns_server", "127.0.0.1")]);
    fails(&error, &["config ask DNS: fleet.dns has what is no DNS name", "a..b"]);
}

/// A network namespace with nothing but loopback and dnsmasq on port 53, and the `/etc/resolv.conf` of a pod.
#[test]
fn names_are_short_as_in_a_pod() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    std::fs::write(at("hosts"), format!("10.0.0.1 {NAME}\n")).unwrap();
    // The node's own domain comes last there; nobody here is responsible for it.
    let search = "airflow.svc.cluster.local svc.cluster.local cluster.local corp.example";
    let resolv = format!("search {search}\nnameserver 127.0.0.1\noptions ndots:5\n");
    std::fs::write(at("resolv.conf"), resolv).unwrap();
    let dnsmasq = format!("{:?}", Dnsmasq::command(&at("hosts"), 53)).replace("--keep-in-foreground", "--quiet-dhcp");
    std::fs::write(at("start"), format!("{dnsmasq} 2>/dev/null\nexec \"$@\"\n")).unwrap();
    shell(folder.path(), "chmod 755 .");
    let found = |name: &str| {
        let mut pod = Command::new("bwrap");
        pod.args(["--die-with-parent", "--unshare-net", "--unshare-pid", "--dev-bind", "/", "/", "--ro-bind"]);
        pod.arg(at("resolv.conf")).arg("/etc/resolv.conf").arg("bash").arg(at("start"));
        myself(&mut pod);
        found_by(pod, &[("fleet.dns", name)])
    };
    for name in ["dagsync", "dagsync.airflow", "dagsync.airflow.svc", NAME, &format!("{NAME}.")] {
        assert_eq!(found(name).unwrap(), ["10.0.0.1 http://10.0.0.1:8466 running"], "{name}");
    }
    // Whether a name is in a domain that fails nobody can say; a dot at its end leaves domains out.
    fails(&found("gone.airflow.svc.cluster.local"), &["no answer", "Refused", "cluster.local.corp.example"]);
    fails(&found("gone.airflow.svc.cluster.local."), &["not-found", "there is no such name"]);
}
