//! A registry, or another daemon, that is well until it is told to go wrong in one of many ways.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use dagsync_core::Digest;
use serde_json::json;

pub(super) const LABEL: &str = "io.dagsync.version";

/// What is asked: the whole head of the request.
#[derive(Debug, Clone)]
pub(super) struct Asked(pub(super) String);

impl Asked {
    pub(super) fn path(&self) -> &str {
        self.0.split(' ').nth(1).unwrap_or_default()
    }

    pub(super) fn authorization(&self) -> Option<&str> {
        self.0.lines().find_map(|line| line.to_ascii_lowercase().starts_with("authorization: ").then(|| &line[15..]))
    }
}

/// Answers one request; the connection is closed behind it.
pub(super) type Script = Arc<dyn Fn(&Asked, &mut TcpStream) + Send + Sync>;

/// A server on a loopback port; its threads end with the test's process.
pub(super) struct Double {
    pub(super) port: u16,
    script: Arc<Mutex<Script>>,
    asked: Arc<Mutex<Vec<Asked>>>,
}

impl Double {
    pub(super) fn doing(script: Script) -> Self {
        Self::at(TcpListener::bind("127.0.0.1:0").unwrap(), script)
    }

    pub(super) fn at(listener: TcpListener, script: Script) -> Self {
        let port = listener.local_addr().unwrap().port();
        let (script, asked) = (Arc::new(Mutex::new(script)), Arc::<Mutex<Vec<Asked>>>::default());
        let (known, log) = (script.clone(), asked.clone());
        std::thread::spawn(move || {
            for guest in listener.incoming().flatten() {
                let (known, log) = (known.clone(), log.clone());
                std::thread::spawn(move || serve(guest, &known, &log));
            }
        });
        Self { port, script, asked }
    }

    /// From now on it does this.
    pub(super) fn turn(&self, script: Script) {
        *self.script.lock().unwrap() = script;
    }

    pub(super) fn asked(&self) -> Vec<Asked> {
        self.asked.lock().unwrap().clone()
    }

    /// The name of its image.
    pub(super) fn image(&self) -> String {
        format!("127.0.0.1:{}/team/dags:v1", self.port)
    }

    pub(super) fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }
}

fn serve(mut guest: TcpStream, script: &Mutex<Script>, log: &Mutex<Vec<Asked>>) {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        match guest.read(&mut byte) {
            Ok(1) => head.push(byte[0]),
            _ => return,
        }
    }
    let asked = Asked(String::from_utf8_lossy(&head).into_owned());
    log.lock().unwrap().push(asked.clone());
    let script = script.lock().unwrap().clone();
    script(&asked, &mut guest);
}

/// One whole answer.
pub(super) fn reply(status: u16, headers: &str, body: impl Into<Vec<u8>>) -> Script {
    let body = body.into();
    let length = body.len();
    let head = format!("HTTP/1.1 {status} x\r\nContent-Length: {length}\r\n{headers}Connection: close\r\n\r\n");
    Arc::new(move |_, guest| {
        let _ = guest.write_all(&[head.as_bytes(), &body].concat());
    })
}

/// Accepts and never answers, for as long as somebody waits.
pub(super) fn hang() -> Script {
    Arc::new(|_, guest| while matches!(guest.read(&mut [0; 64]), Ok(1..)) {})
}

/// A byte now and then, of a body that never ends.
pub(super) fn trickle() -> Script {
    Arc::new(|_, guest| {
        let _ = guest.write_all(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n");
        while guest.write_all(b" ").is_ok() {
            std::thread::sleep(Duration::from_millis(200));
        }
    })
}

/// As fast as it goes, without end: a body, or headers.
pub(super) fn endless(start: &'static str, what: &'static str) -> Script {
    Arc::new(move |_, guest| {
        let _ = guest.write_all(start.as_bytes());
        let block = what.repeat(65536 / what.len());
        while guest.write_all(block.as_bytes()).is_ok() {}
    })
}

pub(super) fn endless_body() -> Script {
    endless("HTTP/1.1 200 OK\r\n\r\n", " ")
}

pub(super) fn endless_headers() -> Script {
    endless("HTTP/1.1 200 OK\r\n", "X-Header: 0123456789012345678901234567890123456789\r\n")
}

/// To itself again, or each time to another place.
pub(super) fn redirects(to: impl Fn(&Asked) -> String + Send + Sync + 'static) -> Script {
    Arc::new(move |asked, guest| reply(307, &format!("Location: {}\r\n", to(asked)), "")(asked, guest))
}

/// Ends in the middle of what it announced.
pub(super) fn torn() -> Script {
    Arc::new(|_, guest| {
        let _ = guest.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n{\"config\": ");
    })
}

/// Does `fault` where the path has `part`, and `otherwise` elsewhere.
pub(super) fn at(part: &'static str, fault: Script, otherwise: Script) -> Script {
    Arc::new(
        move |asked, guest| if asked.path().contains(part) { fault(asked, guest) } else { otherwise(asked, guest) },
    )
}

/// A registry with one image, whose configuration has these labels.
pub(super) fn labelled(labels: &serde_json::Value) -> Script {
    let config = json!({"architecture": "amd64", "config": {"Labels": labels}}).to_string();
    let manifest = json!({"schemaVersion": 2, "config": {"digest": format!("sha256:{}", Digest::of(&config))}});
    at("/blobs/", reply(200, "", config), reply(200, "", manifest.to_string()))
}

/// A registry with one image of this version.
pub(super) fn registry(version: &str) -> Script {
    labelled(&json!({LABEL: version, "other": "x"}))
}

/// A registry that wants a token of `realm`, which `secret` gets.
pub(super) fn guarded(challenge: String, secret: &'static str, open: Script) -> Script {
    Arc::new(move |asked, guest| match asked.authorization() {
        Some(given) if given.ends_with(secret) => open(asked, guest),
        _ => reply(401, &format!("WWW-Authenticate: {challenge}\r\n"), "")(asked, guest),
    })
}

/// A body that is small on the wire and huge behind it.
pub(super) fn bomb() -> Script {
    let folder = tempfile::tempdir().unwrap();
    crate::harness::shell(folder.path(), "head -c 2G /dev/zero | gzip -1 > bomb");
    let bomb = std::fs::read(folder.path().join("bomb")).unwrap();
    reply(200, "Content-Encoding: gzip\r\nContent-Type: application/json\r\n", bomb[..bomb.len().min(3 << 20)].to_vec())
}

/// What can be wrong with whatever speaks HTTP, and what is said of it.
pub(super) fn of_any_server() -> Vec<(&'static str, Script, &'static str)> {
    vec![
        ("silent", hang(), "no answer in time"),
        ("slow", trickle(), "no answer in time"),
        ("torn", torn(), "no complete answer"),
        ("no HTTP", endless("SSH-2.0-OpenSSH\r\n", "x"), "no complete answer"),
        ("hangs up", Arc::new(|_, _| {}), "no complete answer"),
        ("endless", endless_body(), "is larger than"),
        ("endless headers", endless_headers(), "no complete answer"),
        ("loop", redirects(|asked| asked.path().to_owned()), "it redirects too often"),
        ("many", redirects(|asked| format!("{}x", asked.path())), "it redirects too often"),
    ]
}
