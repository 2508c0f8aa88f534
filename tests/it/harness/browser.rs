//! A real browser without a screen, by the WebDriver protocol.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::Command;

use base64::Engine as _;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::net::{free_port, listens};
use super::process::{Process, eventually};

/// One window.
#[derive(Debug)]
pub(crate) struct Browser {
    port: u16,
    session: String,
    _driver: Process,
    _folder: TempDir,
}

impl Browser {
    /// A window of this size; a narrow one is a phone's.
    pub(crate) fn open(width: u32, height: u32, scheme: &str) -> Self {
        let (folder, port) = (tempfile::tempdir().unwrap(), free_port());
        let mut driver = Command::new("chromedriver");
        driver.arg(format!("--port={port}")).env("HOME", folder.path()).env("TMPDIR", folder.path());
        let driver = Process::start(&mut driver, &folder.path().join("log"));
        eventually("chromedriver listens", || listens(port));
        let args = ["headless=new", "no-sandbox", "disable-gpu", "disable-dev-shm-usage", "hide-scrollbars"];
        let screen =
            json!({"deviceMetrics": {"width": width, "height": height, "pixelRatio": 2, "touch": width < 500}});
        let options = json!({"args": args, "mobileEmulation": screen});
        let logs = json!({"browser": "ALL", "performance": "ALL"});
        let wanted = json!({"capabilities": {"alwaysMatch": {
            "browserName": "chrome", "goog:chromeOptions": options, "goog:loggingPrefs": logs,
        }}});
        let mut browser = Self { port, session: String::new(), _driver: driver, _folder: folder };
        browser.session = browser.send("POST", "/session", &wanted)["sessionId"].as_str().unwrap().to_owned();
        let features = json!([{"name": "prefers-color-scheme", "value": scheme}]);
        browser.command(
            "goog/cdp/execute",
            &json!({"cmd": "Emulation.setEmulatedMedia", "params": {"features": features}}),
        );
        browser
    }

    /// Loads a page; the document as it is then.
    pub(crate) fn load(&self, url: &str) -> String {
        self.command("url", &json!({"url": url}));
        self.run("return document.documentElement.outerHTML").as_str().unwrap().to_owned()
    }

    /// What a script returns.
    pub(crate) fn run(&self, script: &str) -> Value {
        self.command("execute/sync", &json!({"script": script, "args": []}))
    }

    /// What the console says since it was asked last.
    pub(crate) fn console(&self) -> Vec<String> {
        let entries = self.command("se/log", &json!({"type": "browser"}));
        entries.as_array().unwrap().iter().map(ToString::to_string).collect()
    }

    /// The URLs of all requests since it was asked last.
    pub(crate) fn requests(&self) -> Vec<String> {
        let entries = self.command("se/log", &json!({"type": "performance"}));
        let url = |entry: &Value| {
            let message: Value = serde_json::from_str(entry["message"].as_str()?).ok()?;
            let message = &message["message"];
            let is_request = message["method"] == "Network.requestWillBeSent";
            is_request.then(|| message["params"]["request"]["url"].as_str().unwrap_or_default().to_owned())
        };
        entries.as_array().unwrap().iter().filter_map(url).collect()
    }

    /// A picture of the whole page.
    pub(crate) fn picture(&self, file: &Path) -> PathBuf {
        let whole = json!({"cmd": "Page.captureScreenshot", "params": {"captureBeyondViewport": true}});
        let picture = self.command("goog/cdp/execute", &whole);
        let png = base64::engine::general_purpose::STANDARD.decode(picture["data"].as_str().unwrap()).unwrap();
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        std::fs::write(file, png).unwrap();
        file.to_owned()
    }

    fn command(&self, name: &str, body: &Value) -> Value {
        self.send("POST", &format!("/session/{}/{name}", self.session), body)
    }

    #[track_caller]
    fn send(&self, method: &str, path: &str, body: &Value) -> Value {
        let answer = self.ask(method, path, &body.to_string()).expect("chromedriver answers");
        assert!(answer["value"]["error"].is_null(), "{path}: {answer}");
        answer["value"].clone()
    }

    /// It speaks HTTP/1.1 alone and does not close its connections in time.
    fn ask(&self, method: &str, path: &str, body: &str) -> Option<Value> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).ok()?;
        let length = body.len();
        let head = "Host: localhost\r\nContent-Type: application/json\r\n";
        stream
            .write_all(format!("{method} {path} HTTP/1.1\r\n{head}Content-Length: {length}\r\n\r\n{body}").as_bytes())
            .ok()?;
        let mut reader = BufReader::new(stream);
        let mut length = 0;
        loop {
            let mut line = String::new();
            reader.read_line(&mut line).ok()?;
            match line.trim().to_ascii_lowercase().split_once(':') {
                Some(("content-length", value)) => length = value.trim().parse().ok()?,
                None if line.trim().is_empty() => break,
                _ => {}
            }
        }
        let mut body = vec![0; length];
        reader.read_exact(&mut body).ok()?;
        serde_json::from_slice(&body).ok()
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        let _ = self.ask("DELETE", &format!("/session/{}", self.session), "");
    }
}
