//! Who git-sync is to the server, and who the server is to git-sync.

use std::sync::{Arc, Mutex};

use super::*;
use crate::harness::{Nginx, PASSWORD, USER, Web};

/// A repository behind nginx.
struct Https {
    repo: Repo,
    nginx: Nginx,
}

impl Https {
    fn new() -> Self {
        let repo = Repo::with(&[("a.py", "one\n")]);
        let nginx = Nginx::serve(&repo);
        Self { repo, nginx }
    }

    fn for_cookie(cookie: &str) -> Self {
        let repo = Repo::with(&[("a.py", "one\n")]);
        let nginx = Nginx::guarded(&repo, &format!("if ($http_cookie !~ \"{cookie}\") {{ return 401; }}"));
        Self { repo, nginx }
    }

    fn head(&self) -> String {
        self.repo.git(&["rev-parse", "HEAD"])
    }

    /// A git-sync that trusts the server and has no credentials.
    fn git_sync(&self) -> GitSync {
        let ca = format!("http.sslCAInfo:{}", self.nginx.ca().display());
        GitSync::of(&self.nginx.url(self.nginx.port)).and(format!("--git-config-add={ca}"))
    }
}

/// A secret that must not show up where others look.
#[track_caller]
fn hides(git_sync: &GitSync, outcome: &Outcome) {
    let said = format!("{}{}", outcome.stdout, outcome.stderr);
    assert!(!said.contains(PASSWORD), "{said}");
    let found = shell(&git_sync.root(), &format!("grep -rl {PASSWORD} . || true"));
    assert_eq!(found, "", "the password lies in the root");
}

#[test]
fn username() {
    let https = Https::new();
    let git_sync = https.git_sync().flag("username", USER).env("GITSYNC_PASSWORD", PASSWORD);
    hides(&git_sync, git_sync.once().ended(0, &[]));
    assert_eq!(git_sync.commit(), Some(https.head()));
    https.git_sync().flag("username", USER).once().ended(1, &["--username", "--password-file"]);
    https.git_sync().once().ended(1, &["credentials"]);
    let in_the_url = https.nginx.url(https.nginx.port).replace("https://", &format!("https://{USER}:{PASSWORD}@"));
    let git_sync = https.git_sync().without("repo").env("GITSYNC_REPO", in_the_url);
    hides(&git_sync, git_sync.once().ended(0, &[]));
}

#[test]
fn password() {
    let https = Https::new();
    for variable in ["GITSYNC_PASSWORD", "GIT_SYNC_PASSWORD"] {
        https.git_sync().flag("username", USER).env(variable, PASSWORD).brings(&https.head());
    }
    let wrong = https.git_sync().flag("username", USER).env("GITSYNC_PASSWORD", "wrong-9931").once();
    wrong.ended(1, &["refused user and password"]);
    assert!(!wrong.stderr.contains("wrong-9931"));
    // The flag is old, and what it says must not stay in the process's title.
    let mut flagged = https.git_sync().flag("username", USER).flag("password", PASSWORD).started();
    flagged.is_on(&https.head());
    let title = shell(&flagged.root(), "(cat /proc/[0-9]*/cmdline 2>/dev/null || true) | tr '\\0' ' '");
    assert!(!title.contains(PASSWORD), "{title}");
    assert_eq!(flagged.stop().code(), Some(0));
}

#[test]
fn password_file() {
    let https = Https::new();
    let file = https.nginx.password_file();
    let git_sync =
        https.git_sync().flag("username", USER).flag("password-file", &file).flag("max-failures", "-1").started();
    git_sync.is_on(&https.head());
    https.nginx.change_password("another-1212");
    git_sync.says("refused user and password");
    std::fs::write(&file, "another-1212\n").unwrap();
    https.repo.write("a.py", "two\n");
    git_sync.is_on(&https.repo.commit("second"));
    https.git_sync().flag("password-file", &file).once().ended(1, &["--password-file", "--username"]);
    let both = https.git_sync().flag("username", USER).flag("password-file", &file).env("GITSYNC_PASSWORD", PASSWORD);
    both.once().ended(1, &["GITSYNC_PASSWORD", "--password-file"]);
}

#[test]
fn credential() {
    let https = Https::new();
    let host = format!("https://127.0.0.1:{}", https.nginx.port);
    let by_file = serde_json::json!({ "url": host, "username": USER, "password-file": https.nginx.password_file() });
    https.git_sync().flag("credential", by_file.to_string()).brings(&https.head());
    let elsewhere = serde_json::json!({ "url": "https://example.com", "username": "x", "password": "y" });
    let list = serde_json::json!([elsewhere, { "url": host, "username": USER, "password": PASSWORD }]).to_string();
    let git_sync = https.git_sync().env("GITSYNC_CREDENTIAL", &list);
    hides(&git_sync, git_sync.once().ended(0, &[]));
    assert_eq!(git_sync.commit(), Some(https.head()));
    https.git_sync().flag("credential", elsewhere.to_string()).once().ended(1, &["credentials"]);
    https.git_sync().flag("credential", "{\"url\": \"https://x\"}").once().ended(1, &["--credential"]);
    // By the host alone, as git-sync's git does it: the path need not be the repository's, and the first one wins.
    let entry = |path: &str, user: &str, password: &str| serde_json::json!({ "url": format!("{host}{path}"), "username": user, "password": password });
    let of_another = entry("/other/repository.git", USER, PASSWORD);
    https.git_sync().flag("credential", of_another.to_string()).brings(&https.head());
    let by_path = https.git_sync().flag("credential", of_another.to_string());
    by_path
        .and("--git-config-add=credential.useHttpPath:true")
        .once()
        .ended(1, &["credentials and none are configured"]);
    let list = |entries: [&serde_json::Value; 2]| serde_json::json!(entries).to_string();
    let stranger = entry("/dags.git", "stranger", "x");
    https.git_sync().flag("credential", list([&of_another, &stranger])).brings(&https.head());
    https.git_sync().flag("credential", list([&stranger, &of_another])).once().ended(1, &["check the entry"]);
    let old = entry("", USER, "old");
    https.git_sync().flag("credential", list([&old, &of_another])).brings(&https.head());
    let user_first = https.git_sync().flag("username", USER).env("GITSYNC_PASSWORD", PASSWORD);
    user_first.flag("credential", stranger.to_string()).brings(&https.head());
    for wrong in ["{\"uri\": \"https://x\"}", "words"] {
        https.git_sync().flag("credential", wrong).once().ended(2, &["--credential"]);
    }
}

#[test]
fn ssh_key_file() {
    let setting = Setting::new();
    let stranger = setting.git_sync().flag("ssh-key-file", setting.sshd.strange_key());
    stranger.once().ended(1, &["refused the key", "deploy keys"]);
    let second = stranger.and(format!("--ssh-key-file={}", setting.sshd.key().display()));
    second.brings(&setting.head());
    let both = format!("{}:{}", setting.sshd.strange_key().display(), setting.sshd.key().display());
    setting.git_sync().without("ssh-key-file").env("GITSYNC_SSH_KEY_FILE", &both).brings(&setting.head());
    setting.git_sync().without("ssh-key-file").env("GIT_SSH_KEY_FILE", &both).brings(&setting.head());
}

/// Two private repositories, each with a deploy key of its own, one the submodule of the other.
#[test]
fn a_submodule_with_another_key() {
    let setting = Setting::new();
    let library = Repo::with(&[("lib.py", "l\n")]);
    let (url, local) = (setting.sshd.url(&library, setting.sshd.port), library.bare().display().to_string());
    setting.repo.git(&["-c", "protocol.file.allow=always", "submodule", "--quiet", "add", &local, "library"]);
    setting.repo.git(&["config", "-f", ".gitmodules", "submodule.library.url", &url]);
    let head = setting.repo.commit("a submodule");
    setting.sshd.give_deploy_keys(&setting.repo, &library);
    setting.git_sync().once().ended(1, &["may not read the repository", "submodule library"]);
    let both = setting.git_sync().and(format!("--ssh-key-file={}", setting.sshd.strange_key().display()));
    both.brings(&head);
    assert_eq!(both.read("library/lib.py").as_deref(), Some("l\n"));
}

#[test]
fn ssh_known_hosts() {
    let setting = Setting::new();
    let wrong = setting.sshd.wrong_hosts(setting.sshd.port);
    setting.git_sync().flag("ssh-known-hosts", "false").flag("ssh-known-hosts-file", wrong).brings(&setting.head());
}

#[test]
fn ssh_known_hosts_file() {
    let setting = Setting::new();
    let wrong = setting.sshd.wrong_hosts(setting.sshd.port);
    setting.git_sync().flag("ssh-known-hosts-file", wrong).once().ended(1, &["host key"]);
    let right = setting.sshd.known_hosts(setting.sshd.port);
    let line = std::fs::read_to_string(&right).unwrap();
    let signed = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(signed.path(), format!("@cert-authority {line}")).unwrap();
    let words = ["is not known", "not supported @cert-authority"];
    setting.git_sync().flag("ssh-known-hosts-file", signed.path()).once().ended(1, &words);
    setting.git_sync().without("ssh-known-hosts-file").env("GIT_SSH_KNOWN_HOSTS_FILE", right).brings(&setting.head());
}

#[test]
fn cookie_file() {
    let https = Https::for_cookie("session=open-sesame");
    let git_sync = https.git_sync().and("--cookie-file");
    let jar = "127.0.0.1\tFALSE\t/\tTRUE\t0\tsession\topen-sesame\n";
    // A file system of its own below /etc, as a container has.
    let script = "mount -t tmpfs none /etc; mkdir /etc/git-secret; printf %s \"$1\" >/etc/git-secret/cookie_file; shift; exec \"$@\"";
    let command = git_sync.command();
    let mut unshare = Command::new("unshare");
    unshare.args(["-m", "bash", "-ec", script, "-", jar]).arg(command.get_program()).args(command.get_args());
    unshare.env_clear().env("PATH", std::env::var_os("PATH").unwrap()).env("HOME", "/tmp");
    Outcome::of(unshare.arg("--one-time")).ended(0, &[]);
    assert_eq!(git_sync.commit(), Some(https.head()));
    https.git_sync().once().ended(1, &[]);
    https.git_sync().and("--cookie-file").once().ended(1, &["/etc/git-secret/cookie_file"]);
}

#[test]
fn askpass_url() {
    let https = Https::new();
    let password = Arc::new(Mutex::new(PASSWORD.to_owned()));
    let known = password.clone();
    let web = Web::answering(move |_| (200, format!("username={USER}\npassword={}\n", known.lock().unwrap())));
    let git_sync = https.git_sync().flag("askpass-url", web.url("/askpass")).flag("max-failures", "-1").started();
    git_sync.is_on(&https.head());
    https.nginx.change_password("another-1212");
    *password.lock().unwrap() = "another-1212".to_owned();
    https.repo.write("a.py", "two\n");
    git_sync.is_on(&https.repo.commit("second"));
    eventually("calls are counted", || {
        git_sync.metric("git_sync_askpass_calls{status=\"success\"}").filter(|&n| n > 1.0)
    });
    assert!(!git_sync.log().contains("another-1212"));
    let refusing = Web::answering(|_| (500, format!("password={PASSWORD}")));
    let outcome = https.git_sync().flag("askpass-url", refusing.url("/")).once();
    outcome.ended(1, &["500"]);
    assert!(!outcome.stderr.contains(PASSWORD));
}

/// Both are accepted, as by git-sync; its git takes the password of --username first.
#[test]
fn askpass_url_beside_username() {
    let https = Https::new();
    let web = Web::answering(|_| (200, format!("username={USER}\npassword={PASSWORD}\n")));
    let both = |password: &str| {
        let git_sync = https.git_sync().flag("username", USER).env("GITSYNC_PASSWORD", password);
        git_sync.flag("askpass-url", web.url("/"))
    };
    both(PASSWORD).brings(&https.head());
    assert!(web.asked().is_empty());
    both("outdated").brings(&https.head());
    assert_eq!(web.asked().len(), 1);
    let listed =
        serde_json::json!({ "url": https.nginx.url(https.nginx.port), "username": "x", "password": "outdated" });
    let beside_a_credential = https.git_sync().flag("askpass-url", web.url("/"));
    beside_a_credential.flag("credential", listed.to_string()).brings(&https.head());
    let wrong = Web::answering(|_| (200, "username=x\npassword=y\n".to_owned()));
    both("outdated").flag("askpass-url", wrong.url("/")).once().ended(1, &["check what --askpass-url answers"]);
}

/// A stand-in of GitHub's endpoint that gives a new token each time, which nginx takes from then on.
struct GitHub {
    web: Web,
    https: Arc<Https>,
    key: PathBuf,
    _folder: TempDir,
}

impl GitHub {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        shell(
            folder.path(),
            "openssl genrsa -out key.pem 2048 2>&1; openssl rsa -in key.pem -pubout -out public.pem 2>&1",
        );
        let https = Arc::new(Https::new());
        let (key, public) = (folder.path().join("key.pem"), folder.path().join("public.pem"));
        let (server, given) = (https.clone(), Mutex::new(0));
        let web = Web::answering(move |asked| {
            let jwt = asked.header("Authorization").and_then(|value| value.strip_prefix("Bearer ")).unwrap_or_default();
            if asked.path != "/app/installations/77/access_tokens" || !is_signed(jwt, &public) {
                return (401, "{\"message\": \"no\"}".to_owned());
            }
            let mut given = given.lock().unwrap();
            *given += 1;
            let token = format!("ghs_{given}");
            // What the token is used as: any user.
            server.nginx.let_in("x-access-token", &token);
            let ends = shell(Path::new("/"), "date -u -d '+1 hour' +%Y-%m-%dT%H:%M:%SZ");
            (201, serde_json::json!({ "token": token, "expires_at": ends }).to_string())
        });
        Self { web, https, key, _folder: folder }
    }

    /// With everything but who the app is.
    fn git_sync(&self) -> GitSync {
        let git_sync = self.https.git_sync().flag("github-base-url", self.web.url("/"));
        git_sync.flag("github-app-private-key-file", &self.key).flag("github-app-installation-id", "77")
    }

    /// Who asked for tokens.
    fn issuers(&self) -> Vec<serde_json::Value> {
        let script = r#"claims=$(cut -d. -f2 <<<"$1" | tr _- /+)
            while [ $((${#claims} % 4)) != 0 ]; do claims=$claims=; done; base64 -d <<<"$claims""#;
        let issuer = |jwt: &str| -> serde_json::Value {
            let claims = Outcome::of(Command::new("bash").args(["-euc", script, "-", jwt]));
            serde_json::from_str::<serde_json::Value>(&claims.stdout).unwrap()["iss"].take()
        };
        self.web.asked().iter().filter_map(|asked| asked.header("Authorization")).map(issuer).collect()
    }
}

/// Checked by openssl, with the public half.
fn is_signed(jwt: &str, public: &Path) -> bool {
    let script = "IFS=. read -r head claims signature <<<\"$1\"
        decode() { local text=${1//-/+}; text=${text//_//}; while [ $((${#text} % 4)) != 0 ]; do text=$text=; done; base64 -d <<<\"$text\"; }
        printf %s \"$head.$claims\" >\"$3/signed\"; decode \"$signature\" >\"$3/signature\"
        openssl dgst -sha256 -verify \"$2\" -signature \"$3/signature\" \"$3/signed\"";
    let folder = tempfile::tempdir().unwrap();
    let mut bash = Command::new("bash");
    bash.args(["-euc", script, "-", jwt]).arg(public).arg(folder.path());
    bash.output().unwrap().status.success()
}

#[test]
fn github_app_client_id() {
    let github = GitHub::new();
    let git_sync = github.git_sync().flag("github-app-client-id", "Iv1.abc").started();
    git_sync.is_on(&github.https.head());
    let count = "git_sync_refresh_github_app_token_count{status=\"success\"}";
    eventually("tokens are counted", || git_sync.metric(count).filter(|&n| n == 1.0));
    assert!(!git_sync.log().contains("ghs_1"));
    assert_eq!(github.issuers(), ["Iv1.abc"]);
}

#[test]
fn github_app_application_id() {
    let github = GitHub::new();
    github.git_sync().flag("github-app-application-id", "42").brings(&github.https.head());
    assert_eq!(github.issuers(), ["42"]);
    let both = github.git_sync().flag("github-app-application-id", "42").flag("github-app-client-id", "Iv1.abc");
    both.once().ended(1, &["--github-app-application-id", "--github-app-client-id"]);
}

#[test]
fn github_app_installation_id() {
    let github = GitHub::new();
    let app = github.git_sync().flag("github-app-client-id", "Iv1.abc");
    app.flag("github-app-installation-id", "78").once().ended(1, &["401"]);
    let none = github.git_sync().flag("github-app-client-id", "Iv1.abc").without("github-app-installation-id");
    none.once().ended(1, &["--github-app-installation-id"]);
}

#[test]
fn github_app_private_key_file() {
    let github = GitHub::new();
    let app = github.git_sync().flag("github-app-client-id", "Iv1.abc");
    app.flag("github-app-private-key-file", "/nonexistent").once().ended(1, &["/nonexistent"]);
    let other = tempfile::tempdir().unwrap();
    shell(other.path(), "openssl genrsa -out key.pem 2048 2>&1");
    let app = github.git_sync().flag("github-app-client-id", "Iv1.abc");
    app.flag("github-app-private-key-file", other.path().join("key.pem")).once().ended(1, &["401"]);
}

#[test]
fn github_app_private_key() {
    let github = GitHub::new();
    let key = std::fs::read_to_string(&github.key).unwrap();
    let app = github.git_sync().flag("github-app-client-id", "Iv1.abc").without("github-app-private-key-file");
    app.env("GITSYNC_GITHUB_APP_PRIVATE_KEY", &key).brings(&github.https.head());
    let both = github.git_sync().flag("github-app-client-id", "Iv1.abc").env("GITSYNC_GITHUB_APP_PRIVATE_KEY", &key);
    both.once().ended(1, &["GITSYNC_GITHUB_APP_PRIVATE_KEY", "--github-app-private-key-file"]);
}

#[test]
fn github_base_url() {
    let github = GitHub::new();
    let app = github.git_sync().flag("github-app-client-id", "Iv1.abc");
    app.flag("github-base-url", "http://127.0.0.1:1/").once().ended(1, &["127.0.0.1:1"]);
    let app = github.git_sync().flag("github-app-client-id", "Iv1.abc").flag("github-base-url", "http://ghe.corp/");
    app.once().ended(1, &["--github-base-url must be a URL of https"]);
}

#[test]
fn git_config() {
    let https = Https::new();
    let credentials = |git_sync: GitSync| git_sync.flag("username", USER).env("GITSYNC_PASSWORD", PASSWORD);
    let ca = https.nginx.ca();
    let config = format!("http.sslCAInfo:{},\"user.name\":\"a, \\\"b\\\"\"", ca.display());
    let url = https.nginx.url(https.nginx.port);
    credentials(GitSync::of(&url)).flag("git-config", &config).brings(&https.head());
    credentials(GitSync::of(&url)).env("GITSYNC_GIT_CONFIG", "http.sslVerify:false").brings(&https.head());
    credentials(GitSync::of(&url)).once().ended(1, &["certificate"]);
    credentials(GitSync::of(&url)).flag("git-config", "http.sslVerify").once().ended(1, &["--git-config"]);
}

#[test]
fn git_config_add() {
    let https = Https::new();
    let elsewhere =
        format!("--git-config-add=\"url.https://127.0.0.1:{}/.insteadOf\":https://git.example/", https.nginx.port);
    let git_sync = https.git_sync().flag("repo", "https://git.example/dags.git").and(elsewhere);
    git_sync.flag("username", USER).env("GITSYNC_PASSWORD", PASSWORD).brings(&https.head());
}
