//! A real nginx with TLS from a private CA: before git's own http backend, with basic authentication, or before a server
//! that speaks plain HTTP.

use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

use super::net;
use super::process::{Process, eventually, run, shell};
use super::repo::Repo;

/// Who is let in.
pub(crate) const USER: &str = "ada";
/// The password; tests look for it where it must not be.
pub(crate) const PASSWORD: &str = "correct-horse-7731";

/// A running nginx.
#[derive(Debug)]
pub(crate) struct Nginx {
    pub(crate) port: u16,
    folder: TempDir,
    _processes: Vec<Process>,
}

impl Nginx {
    /// Serves `repo` with a certificate that is good.
    pub(crate) fn serve(repo: &Repo) -> Self {
        Self::with_certificate(repo, 30, None)
    }

    /// Serves `repo` to whom these directives of a location let in.
    pub(crate) fn guarded(repo: &Repo, guard: &str) -> Self {
        Self::with_certificate(repo, 30, Some(guard))
    }

    /// Serves `repo` with a certificate that ended yesterday.
    pub(crate) fn expired(repo: &Repo) -> Self {
        Self::with_certificate(repo, -1, None)
    }

    /// TLS before a server at this port.
    pub(crate) fn before(server: u16) -> Self {
        let folder = tempfile::tempdir().unwrap();
        certificates(folder.path(), 30);
        let location = format!("proxy_pass http://127.0.0.1:{server}; proxy_set_header Host $http_host;");
        Self::start(folder, &location, Vec::new())
    }

    fn with_certificate(repo: &Repo, days: i32, guard: Option<&str>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let at = folder.path();
        certificates(at, days);
        std::fs::write(at.join("users"), format!("{USER}:{{PLAIN}}{PASSWORD}\n")).unwrap();
        std::fs::write(at.join("password"), format!("{PASSWORD}\n")).unwrap();
        let password = format!("auth_basic dags; auth_basic_user_file {}/users;", at.display());
        let guard = guard.unwrap_or(&password).replace("{at}", &at.display().to_string());
        let socket = at.join("fcgi");
        let mut backend = Command::new("/usr/sbin/fcgiwrap");
        backend.args(["-f", "-c", "4", "-s"]).arg(format!("unix:{}", socket.display()));
        let backend = Process::start(&mut backend, &at.join("fcgi.log"));
        eventually("fcgiwrap listens", || socket.exists().then_some(()));
        let location = format!("{guard}\n{}", git_backend(at, repo.bare().parent().unwrap()));
        Self::start(folder, &location, vec![backend])
    }

    fn start(folder: TempDir, location: &str, mut processes: Vec<Process>) -> Self {
        let (at, port) = (folder.path(), net::free_port());
        std::fs::write(at.join("nginx.conf"), configuration(at, port, location)).unwrap();
        let mut nginx = Command::new("/usr/sbin/nginx");
        nginx.arg("-p").arg(at).arg("-c").arg(at.join("nginx.conf")).arg("-e").arg(at.join("error.log"));
        processes.push(Process::start(&mut nginx, &at.join("nginx.log")));
        eventually("nginx listens", || net::listens(port));
        Self { port, folder, _processes: processes }
    }

    /// The repository's URL here, or at a gate in front.
    pub(crate) fn url(&self, port: u16) -> String {
        format!("https://127.0.0.1:{port}/dags.git")
    }

    /// The CA that signed the certificate.
    pub(crate) fn ca(&self) -> PathBuf {
        self.folder.path().join("ca.pem")
    }

    /// Lets nobody in any more but who knows this password.
    pub(crate) fn change_password(&self, password: &str) {
        self.let_in(USER, password);
    }

    /// Lets nobody in any more but this user with this password.
    pub(crate) fn let_in(&self, user: &str, password: &str) {
        std::fs::write(self.folder.path().join("users"), format!("{user}:{{PLAIN}}{password}\n")).unwrap();
    }

    /// A file that holds the password.
    pub(crate) fn password_file(&self) -> PathBuf {
        self.folder.path().join("password")
    }
}

/// A private CA, `ca.pem`, and what it signed for this host, `server.pem` with `server.key`.
pub(super) fn certificates(folder: &Path, days: i32) {
    let key = "-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes";
    let script = format!(
        "openssl req -x509 {key} -keyout ca.key -out ca.pem -days 30 -subj '/CN=a private CA' 2>&1
         openssl req {key} -keyout server.key -out server.csr -subj /CN=localhost \
             -addext subjectAltName=DNS:localhost,IP:127.0.0.1 2>&1
         openssl x509 -req -in server.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days {days} \
             -copy_extensions copy -out server.pem 2>&1"
    );
    shell(folder, &script);
}

fn git_backend(folder: &Path, repositories: &Path) -> String {
    let (at, repositories) = (folder.display(), repositories.display());
    let backend = PathBuf::from(run(Command::new("git").arg("--exec-path"))).join("git-http-backend");
    let backend = backend.display();
    format!(
        "fastcgi_pass unix:{at}/fcgi;
         fastcgi_param SCRIPT_FILENAME {backend};
         fastcgi_param GIT_PROJECT_ROOT {repositories};
         fastcgi_param GIT_HTTP_EXPORT_ALL 1;
         fastcgi_param PATH_INFO $uri;
         fastcgi_param QUERY_STRING $query_string;
         fastcgi_param REQUEST_METHOD $request_method;
         fastcgi_param CONTENT_TYPE $content_type;
         fastcgi_param CONTENT_LENGTH $content_length;
         fastcgi_param HTTP_CONTENT_ENCODING $http_content_encoding;
         fastcgi_param HTTP_GIT_PROTOCOL $http_git_protocol;
         fastcgi_param REMOTE_USER $remote_user;
         fastcgi_param REMOTE_ADDR $remote_addr;"
    )
}

fn configuration(folder: &Path, port: u16, location: &str) -> String {
    let at = folder.display();
    // As root, the workers must be root too: the repositories are the test's own.
    let user = if run(Command::new("id").arg("-u")) == "0" { "user root;" } else { "" };
    format!(
        "daemon off; pid {at}/pid; worker_processes 1; {user}
         events {{ worker_connections 256; }}
         http {{
           access_log off; client_max_body_size 0;
           client_body_temp_path {at}/body; proxy_temp_path {at}/proxy; fastcgi_temp_path {at}/fast;
           uwsgi_temp_path {at}/uwsgi; scgi_temp_path {at}/scgi;
           server {{
             listen 127.0.0.1:{port} ssl;
             ssl_certificate {at}/server.pem; ssl_certificate_key {at}/server.key;
             location / {{ {location} }}
           }}
         }}\n"
    )
}
