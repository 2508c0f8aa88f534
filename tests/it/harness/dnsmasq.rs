//! A real dnsmasq that serves the names of a cluster.

use std::net::UdpSocket;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use rustix::process::Signal;
use tempfile::TempDir;

use super::net;
use super::process::{Process, eventually, run};

/// A running server for everything below `cluster.local`.
#[derive(Debug)]
pub(crate) struct Dnsmasq {
    port: u16,
    folder: TempDir,
    process: Process,
}

impl Dnsmasq {
    /// Serves hosts, as in `/etc/hosts`, and SRV records as `--srv-host` takes them.
    pub(crate) fn serving(hosts: &str, services: &[String]) -> Self {
        let (folder, port) = (tempfile::tempdir().unwrap(), net::free_port());
        let file = folder.path().join("hosts");
        std::fs::write(&file, hosts).unwrap();
        let mut command = Self::command(&file, port);
        command.args(services.iter().map(|service| format!("--srv-host={service}")));
        let process = Process::start(&mut command, &folder.path().join("log"));
        let server = Self { port, folder, process };
        eventually("dnsmasq answers", || server.answers());
        server
    }

    /// What starts one with a file of hosts.
    pub(crate) fn command(hosts: &Path, port: u16) -> Command {
        let mut command = Command::new("/usr/sbin/dnsmasq");
        command.args(["--keep-in-foreground", "--conf-file=/dev/null", "--pid-file=", "--no-resolv", "--no-hosts"]);
        command.args([
            "--bind-interfaces",
            "--listen-address=127.0.0.1",
            "--local=/cluster.local/",
            "--log-facility=-",
        ]);
        // The files are the test's own.
        command.arg(format!("--user={}", run(Command::new("id").arg("-un"))));
        command.arg(format!("--addn-hosts={}", hosts.display())).arg(format!("--port={port}"));
        command
    }

    /// As `fleet.dns_server` takes it.
    pub(crate) fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// Pods come and go.
    pub(crate) fn now_serves(&self, hosts: &str) {
        std::fs::write(self.folder.path().join("hosts"), hosts).unwrap();
        self.process.signal(Signal::HUP);
    }

    fn answers(&self) -> Option<()> {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
        socket.connect(("127.0.0.1", self.port)).ok()?;
        // A question for the addresses of `a.cluster.local`.
        socket.send(b"\0\x07\x01\0\0\x01\0\0\0\0\0\0\x01a\x07cluster\x05local\0\0\x01\0\x01").ok()?;
        socket.recv(&mut [0; 512]).ok().map(drop)
    }
}
