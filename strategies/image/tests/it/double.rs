//! A registry that answers what it is told to.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use dagsync_core::Digest;
use dagsync_strategy_image::LABEL;
use dagsync_strategy_image::registry::{Access, Image as Found, Memory, Reference, label};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// Where it speaks plain HTTP.
pub(crate) fn plain() -> Access {
    Access { plain_http: true, ..Access::default() }
}

pub(crate) fn digest(content: &str) -> String {
    format!("sha256:{}", Digest::of(content))
}

/// What is answered to a path: status line, headers and body; `None` hangs.
pub(crate) type Answers = HashMap<String, Option<(String, Vec<u8>)>>;

pub(crate) struct Registry {
    pub(crate) port: u16,
    pub(crate) answers: Arc<Mutex<Answers>>,
    pub(crate) asked: Arc<Mutex<Vec<String>>>,
    /// What came with the questions.
    pub(crate) bodies: Arc<Mutex<Vec<String>>>,
}

impl Registry {
    pub(crate) async fn start() -> Self {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (answers, asked) = (Arc::<Mutex<Answers>>::default(), Arc::<Mutex<Vec<String>>>::default());
        let bodies = Arc::<Mutex<Vec<String>>>::default();
        let (known, log, came) = (answers.clone(), asked.clone(), bodies.clone());
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, known.clone(), log.clone(), came.clone()));
            }
        });
        Self { port, answers, asked, bodies }
    }

    pub(crate) fn answer(&self, path: &str, status: &str, headers: &str, body: impl AsRef<[u8]>) {
        let head = format!("HTTP/1.1 {status}\r\n{headers}");
        self.answers.lock().unwrap().insert(path.to_owned(), Some((head, body.as_ref().to_vec())));
    }

    pub(crate) fn hang(&self, path: &str) {
        self.answers.lock().unwrap().insert(path.to_owned(), None);
    }

    /// Serves an image of one platform under the tag `v1`, with this label.
    pub(crate) fn image(&self, value: &str) {
        let manifest = self.image_with(&json!({"config": {"Labels": {LABEL: value, "other": "x"}}}));
        self.manifest("v1", &manifest);
    }

    /// Serves this configuration, and returns its manifest.
    pub(crate) fn image_with(&self, config: &Value) -> Value {
        let config = config.to_string();
        let digest = digest(&config);
        self.answer(&format!("/v2/team/dags/blobs/{digest}"), "200 OK", "", &config);
        json!({"schemaVersion": 2, "config": {"digest": digest, "size": config.len()}, "layers": []})
    }

    /// Serves a manifest or an index by this tag and by its digest, which it returns.
    pub(crate) fn manifest(&self, tag: &str, manifest: &Value) -> String {
        let (digest, body) = (digest(&manifest.to_string()), manifest.to_string());
        for name in [tag, &digest] {
            let header = format!("Docker-Content-Digest: {digest}\r\n");
            self.answer(&format!("/v2/team/dags/manifests/{name}"), "200 OK", &header, &body);
        }
        digest
    }

    /// The method and the path of everything that was asked, since the last time.
    pub(crate) fn asked(&self) -> Vec<String> {
        let asked = std::mem::take(&mut *self.asked.lock().unwrap());
        asked.iter().map(|request| request.split(' ').take(2).collect::<Vec<_>>().join(" ")).collect()
    }

    pub(crate) fn by_digest(&self, digest: &str) -> Reference {
        format!("127.0.0.1:{}/team/dags@{digest}", self.port).parse().unwrap()
    }

    pub(crate) fn reference(&self) -> Reference {
        format!("127.0.0.1:{}/team/dags:v1", self.port).parse().unwrap()
    }

    pub(crate) async fn ask(&self) -> dagsync_core::Result<Found> {
        label(&self.reference(), LABEL, &plain(), &Memory::default()).await
    }
}

type Log = Arc<Mutex<Vec<String>>>;

async fn serve(mut stream: TcpStream, answers: Arc<Mutex<Answers>>, asked: Log, bodies: Log) {
    let mut request = Vec::new();
    while !request.ends_with(b"\r\n\r\n") {
        let mut byte = [0; 1];
        if stream.read(&mut byte).await.unwrap_or(0) == 0 {
            return;
        }
        request.push(byte[0]);
        if request == [0x16] {
            // A TLS hello.
            return;
        }
    }
    let request = String::from_utf8(request).unwrap();
    let path = request.split(' ').nth(1).unwrap().to_owned();
    let is_authorized = request.to_lowercase().contains("authorization: bearer t0ken");
    asked.lock().unwrap().push(request.clone());
    let length = request.to_lowercase().lines().find_map(|line| line.strip_prefix("content-length: ")?.parse().ok());
    let mut body = vec![0; length.unwrap_or(0)];
    stream.read_exact(&mut body).await.unwrap();
    bodies.lock().unwrap().push(String::from_utf8(body).unwrap());
    let known = answers.lock().unwrap().get(&path).cloned();
    let (head, body) = match known {
        Some(Some((head, _))) if head.contains("401") && is_authorized => {
            let open = answers.lock().unwrap().get(&format!("{path}#open")).cloned();
            open.flatten().unwrap()
        }
        Some(Some(answer)) => answer,
        Some(None) => return tokio::time::sleep(Duration::from_secs(3600)).await,
        None => ("HTTP/1.1 404 Not Found\r\n".to_owned(), Vec::new()),
    };
    if head.contains("endless") {
        let _ = stream.write_all(format!("{head}\r\n").as_bytes()).await;
        while stream.write_all(&[b' '; 65536]).await.is_ok() {}
        return;
    }
    let head = format!("{head}Content-Length: {}\r\nConnection: close\r\n\r\n", body.len());
    let body = if request.starts_with("HEAD ") { Vec::new() } else { body };
    let _ = stream.write_all(&[head.as_bytes(), &body].concat()).await;
}
