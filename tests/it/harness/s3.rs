//! Real S3 servers, moto and Ceph's radosgw, and buckets in them.
//!
//! The scripts in tests/servers start the servers and speak to them. They end when their standard input closes, which it
//! does however this process ends; nothing else would end those that a static holds.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Mutex, OnceLock};
use std::thread::JoinHandle;
use std::time::Duration;

use base64::prelude::{BASE64_STANDARD, Engine};
use serde::Deserialize;
use serde_json::{Value, json};

use super::process::PATIENCE;

/// A server that all tests of this process share: each takes a bucket of its own.
#[derive(Debug)]
pub(crate) struct Server {
    pub(crate) endpoint: String,
    pub(crate) access_key: String,
    pub(crate) secret_key: String,
    clients: Mutex<Vec<Script>>,
    _script: Mutex<Script>,
}

impl Server {
    /// moto: S3, STS, SQS and more; it checks neither signatures nor checksums.
    pub(crate) fn moto() -> &'static Self {
        static SERVER: OnceLock<Server> = OnceLock::new();
        SERVER.get_or_init(|| Self::start("moto"))
    }

    /// Ceph's radosgw, with real authentication.
    pub(crate) fn rgw() -> &'static Self {
        static SERVER: OnceLock<Server> = OnceLock::new();
        SERVER.get_or_init(|| Self::start("rgw"))
    }

    fn start(name: &'static str) -> Self {
        let mut script = Script::start(name, &mut command(name));
        let line = script.line();
        let word = |key: &str| {
            let found = line.split(' ').find_map(|word| word.strip_prefix(key)?.strip_prefix('='));
            found.unwrap_or_else(|| panic!("no {key} in what {name} printed: {line}")).to_owned()
        };
        let (endpoint, access_key, secret_key) = (word("endpoint"), word("access_key"), word("secret_key"));
        Self { endpoint, access_key, secret_key, clients: Mutex::default(), _script: Mutex::new(script) }
    }

    /// A new, empty bucket.
    pub(crate) fn bucket(&'static self) -> Bucket {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        let name = format!("dags-{}", NEXT.fetch_add(1, Relaxed));
        self.call("s3", "create_bucket", &json!({ "Bucket": name }));
        Bucket { name, server: self }
    }

    /// Any call of boto3, as `call("sqs", "create_queue", &json!({"QueueName": "q"}))`, that must succeed.
    #[track_caller]
    pub(crate) fn call(&self, service: &str, name: &str, with: &Value) -> Value {
        self.try_call(service, name, with).unwrap_or_else(|e| panic!("{service} {name} {with}: {e:?}"))
    }

    /// The same where a refusal is of interest.
    pub(crate) fn try_call(&self, service: &str, name: &str, with: &Value) -> Result<Value, Refusal> {
        self.ask(&json!({ "do": "call", "service": service, "name": name, "with": with }))
    }

    fn ask(&self, command: &Value) -> Result<Value, Refusal> {
        let idle = self.clients.lock().unwrap().pop();
        let mut client = idle.unwrap_or_else(|| self.client());
        client.say(command);
        let answer: Answer = serde_json::from_str(&client.line()).unwrap();
        self.clients.lock().unwrap().push(client);
        match answer {
            Answer::Ok(value) => Ok(value),
            Answer::Error(refusal) => Err(refusal),
        }
    }

    fn client(&self) -> Script {
        let mut command = command("s3client.py");
        command
            .env("AWS_ENDPOINT_URL", &self.endpoint)
            .env("AWS_ACCESS_KEY_ID", &self.access_key)
            .env("AWS_SECRET_ACCESS_KEY", &self.secret_key)
            .env("AWS_DEFAULT_REGION", "us-east-1");
        Script::start("s3client.py", &mut command)
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum Answer {
    Ok(Value),
    Error(Refusal),
}

/// Why the server did not do it.
#[derive(Debug, Deserialize)]
pub(crate) struct Refusal {
    pub(crate) code: String,
    pub(crate) status: u16,
    #[expect(dead_code, reason = "a panic prints it")]
    message: Option<String>,
}

/// A bucket; it goes with its server.
#[derive(Debug)]
pub(crate) struct Bucket {
    pub(crate) name: String,
    pub(crate) server: &'static Server,
}

/// What a listing says of an object.
#[derive(Debug, PartialEq, Deserialize)]
pub(crate) struct Listed {
    pub(crate) size: u64,
    pub(crate) etag: String,
}

/// What a put answers.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Stored {
    #[serde(rename = "ETag")]
    pub(crate) etag: String,
    pub(crate) version_id: Option<String>,
}

impl Bucket {
    /// Keeps old versions from now on.
    #[must_use]
    pub(crate) fn versioned(self) -> Self {
        let with = json!({ "Bucket": self.name, "VersioningConfiguration": { "Status": "Enabled" } });
        self.server.call("s3", "put_bucket_versioning", &with);
        self
    }

    /// A source for dagsync.
    pub(crate) fn url(&self, prefix: &str) -> String {
        format!("s3://{}/{prefix}", self.name)
    }

    #[track_caller]
    pub(crate) fn put(&self, key: &str, content: impl AsRef<[u8]>) -> Stored {
        let body = json!({ "base64": BASE64_STANDARD.encode(content) });
        let with = json!({ "Bucket": self.name, "Key": key, "Body": body });
        serde_json::from_value(self.server.call("s3", "put_object", &with)).unwrap()
    }

    #[track_caller]
    pub(crate) fn get(&self, key: &str) -> Vec<u8> {
        let answer = self.server.call("s3", "get_object", &json!({ "Bucket": self.name, "Key": key }));
        BASE64_STANDARD.decode(answer["Body"]["base64"].as_str().unwrap()).unwrap()
    }

    #[track_caller]
    pub(crate) fn delete(&self, key: &str) {
        self.server.call("s3", "delete_object", &json!({ "Bucket": self.name, "Key": key }));
    }

    /// Every object.
    #[track_caller]
    pub(crate) fn list(&self) -> BTreeMap<String, Listed> {
        serde_json::from_value(self.ask("list", json!({ "prefix": "" }))).unwrap()
    }

    #[track_caller]
    pub(crate) fn put_file(&self, key: &str, file: &Path) {
        self.ask("put_file", json!({ "key": key, "file": file }));
    }

    /// Every file below `folder`, at `prefix` and its path there; how many.
    #[track_caller]
    pub(crate) fn upload_dir(&self, prefix: &str, folder: &Path) -> u64 {
        self.ask("upload_dir", json!({ "prefix": prefix, "folder": folder })).as_u64().unwrap()
    }

    /// An object of random content, uploaded in parts of `part` bytes (5 MiB at least); its SHA-256.
    #[track_caller]
    pub(crate) fn multipart(&self, key: &str, size: u64, part: u64) -> String {
        let made = self.ask("multipart", json!({ "key": key, "size": size, "part": part, "seed": size }));
        made["sha256"].as_str().unwrap().to_owned()
    }

    #[track_caller]
    fn ask(&self, what: &str, mut command: Value) -> Value {
        command["do"] = what.into();
        command["bucket"] = self.name.as_str().into();
        self.server.ask(&command).unwrap_or_else(|e| panic!("{command}: {e:?}"))
    }
}

/// A script of tests/servers that prints lines.
#[derive(Debug)]
struct Script {
    name: &'static str,
    child: Child,
    lines: Receiver<String>,
    errors: Option<JoinHandle<String>>,
}

fn command(script: &str) -> Command {
    let mut command = Command::new("python3");
    command.arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/servers").join(script));
    command.env_clear().env("PATH", std::env::var_os("PATH").unwrap()).env("HOME", "/nonexistent");
    command
}

impl Script {
    fn start(name: &'static str, command: &mut Command) -> Self {
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0);
        let mut child = command.spawn().unwrap_or_else(|e| panic!("cannot start {command:?}: {e}"));
        let (output, problems) = (child.stdout.take().unwrap(), child.stderr.take().unwrap());
        let (sender, lines) = channel();
        std::thread::spawn(move || {
            BufReader::new(output).lines().map_while(Result::ok).try_for_each(|line| sender.send(line))
        });
        let errors = std::thread::spawn(move || std::io::read_to_string(problems).unwrap_or_default());
        Self { name, child, lines, errors: Some(errors) }
    }

    fn say(&mut self, command: &Value) {
        writeln!(self.child.stdin.as_mut().unwrap(), "{command}").unwrap();
    }

    /// The next line that it prints.
    fn line(&mut self) -> String {
        self.lines.recv_timeout(PATIENCE).unwrap_or_else(|_| {
            let (name, errors) = (self.name, self.end());
            panic!("tests/servers/{name} does not answer; tests/run installs what it needs; it said:\n{errors}")
        })
    }

    /// Gives it time to clean up; what it said on standard error.
    fn end(&mut self) -> String {
        drop(self.child.stdin.take());
        for _ in 0..500 {
            if self.child.try_wait().unwrap().is_some() {
                break;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
        self.errors.take().map(|errors| errors.join().unwrap()).unwrap_or_default()
    }
}

impl Drop for Script {
    fn drop(&mut self) {
        self.end();
    }
}
