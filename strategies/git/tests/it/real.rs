//! The real servers that the scenarios of the whole daemon use, and a stand-in for endpoints that are not git's.
#![allow(dead_code, unused_imports, reason = "each set of scenarios uses a part of them")]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::sync::{Arc, Mutex};

#[path = "../../../../tests/it/harness/gate.rs"]
mod gate;
#[path = "../../../../tests/it/harness/net.rs"]
mod net;
#[path = "../../../../tests/it/harness/nginx.rs"]
mod nginx;
#[path = "../../../../tests/it/harness/process.rs"]
mod process;
#[path = "../../../../tests/it/harness/proxy.rs"]
mod proxy;
#[path = "../../../../tests/it/harness/repo.rs"]
mod repo;
#[path = "../../../../tests/it/harness/sshd.rs"]
mod sshd;
#[path = "../../../../tests/it/harness/tree.rs"]
mod tree;

pub(crate) use nginx::{Nginx, PASSWORD, USER};
pub(crate) use process::shell;
pub(crate) use proxy::Proxy;
pub(crate) use repo::Repo;
pub(crate) use sshd::Sshd;

/// A request: its first line and its headers, as they were sent.
pub(crate) type Request = Vec<String>;

/// An endpoint that gives each request what `answer` returns: status line and body.
#[derive(Clone)]
pub(crate) struct Endpoint {
    pub(crate) port: u16,
    asked: Arc<Mutex<Vec<Request>>>,
}

impl Endpoint {
    pub(crate) fn start(answer: impl Fn(&Request) -> (String, String) + Send + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let endpoint = Self { port, asked: Arc::default() };
        let asked = endpoint.asked.clone();
        // The thread ends with the test's process.
        std::thread::spawn(move || {
            for mut guest in listener.incoming().flatten() {
                let lines = BufReader::new(guest.try_clone().unwrap()).lines().map_while(Result::ok);
                let request: Request = lines.take_while(|line| !line.is_empty()).collect();
                let (status, body) = answer(&request);
                asked.lock().unwrap().push(request);
                let length = body.len();
                let head = format!("HTTP/1.1 {status}\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n");
                let _ = guest.write_all((head + &body).as_bytes());
            }
        });
        endpoint
    }

    pub(crate) fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// Every request so far.
    pub(crate) fn asked(&self) -> Vec<Request> {
        self.asked.lock().unwrap().clone()
    }
}

/// The value of a header.
pub(crate) fn header<'a>(request: &'a Request, name: &str) -> &'a str {
    let fields = request.iter().skip(1).filter_map(|line| line.split_once(": "));
    fields.into_iter().find(|(field, _)| field.eq_ignore_ascii_case(name)).map_or("", |(_, value)| value)
}

/// `lib` as the folder `lib` of `main`, below `url`.
pub(crate) fn add_submodule(main: &Repo, lib: &Repo, url: &str) {
    let commit = lib.git(&["rev-parse", "HEAD"]);
    main.write(".gitmodules", &format!("[submodule \"lib\"]\n\tpath = lib\n\turl = {url}\n"));
    main.git(&["add", ".gitmodules"]);
    main.git(&["update-index", "--add", "--cacheinfo", &format!("160000,{commit},lib")]);
    main.git(&["commit", "--quiet", "-m", "submodule"]);
    main.push();
}
