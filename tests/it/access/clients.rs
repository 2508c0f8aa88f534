//! dagsync's own commands and followers, where a token, an authority and a certificate are asked for.

use std::path::Path;
use std::process::Command;

use super::{NEXT, TOKEN, guarded, is_published, write};
use crate::harness::{Authority, Outcome, Pod, Repo, Secret, dagsync, eventually};

/// A daemon that wants everything, and what a client needs.
struct Fort {
    repo: Repo,
    folder: tempfile::TempDir,
    pod: Pod,
    server: Authority,
    clients: Authority,
    client: Secret,
    _secret: Secret,
}

impl Fort {
    fn new() -> Self {
        let (server, clients) = (Authority::new(), Authority::new());
        let (secret, client) = (server.secret("dagsync"), clients.secret("client"));
        let (repo, folder, pod) = guarded("all");
        let mut pod = pod
            .set("http.tls.cert_file", secret.certificate())
            .set("http.tls.key_file", secret.key())
            .set("http.tls.client_ca_file", clients.file())
            .set("client.cert_file", client.certificate())
            .set("client.key_file", client.key());
        pod.start();
        is_published(&pod, &repo);
        Self { repo, folder, pod, server, clients, client, _secret: secret }
    }

    fn url(&self) -> String {
        format!("https://localhost:{}", self.pod.port())
    }

    fn token(&self) -> std::path::PathBuf {
        self.folder.path().join("token")
    }

    /// A command with everything that it needs to ask.
    fn client(&self) -> Command {
        let mut command = dagsync();
        command
            .env("DAGSYNC_CLIENT__TOKEN_FILE", self.token())
            .env("DAGSYNC_CLIENT__CA_FILE", self.server.file())
            .env("DAGSYNC_CLIENT__CERT_FILE", self.client.certificate())
            .env("DAGSYNC_CLIENT__KEY_FILE", self.client.key());
        command
    }

    #[track_caller]
    fn status(&self, change: impl Fn(&mut Command) -> &mut Command, code: i32, says: &[&str]) {
        let mut command = self.client();
        change(&mut command).args(["status", &self.url()]);
        let outcome = Outcome::of(&mut command);
        outcome.ended(code, says);
        assert!(!format!("{outcome:?}").contains(TOKEN));
    }
}

#[test]
fn commands_get_in_with_the_clients_settings() {
    let fort = Fort::new();
    let version = fort.repo.version();
    eventually("it answers", || {
        (Outcome::of(fort.client().args(["status", &fort.url()])).code == Some(0)).then_some(())
    });
    fort.status(|c| c, 0, &["converged", &version]);
    let root = fort.pod.root().to_str().unwrap();
    Outcome::of(fort.client().args(["diff", &fort.url(), root])).ended(0, &["equal"]);
    Outcome::of(fort.client().args(["diff", &fort.url(), &fort.url()])).ended(0, &["equal"]);
    Outcome::of(fort.client().args(["verify", root, "--expect-from", &fort.url()])).ended(0, &["verified"]);
    // The pod's own daemon, by its settings alone.
    Outcome::of(&mut here(&fort.pod)).ended(0, &["converged", &version]);
    // Settings may stand in a file as well.
    let file = fort.folder.path().join("client.toml");
    let quoted = |path: &Path| format!("{:?}", path.display().to_string());
    let toml = format!(
        "[client]\ntoken_file = {}\nca_file = {}\ncert_file = {}\nkey_file = {}\n",
        quoted(&fort.token()),
        quoted(&fort.server.file()),
        quoted(&fort.client.certificate()),
        quoted(&fort.client.key()),
    );
    std::fs::write(&file, toml).unwrap();
    let url = fort.url();
    Outcome::of(dagsync().args(["status", &url, "--config"]).arg(&file)).ended(0, &["converged"]);
    Outcome::of(dagsync().args(["diff", &url, root, "--config"]).arg(&file)).ended(0, &["equal"]);
}

/// `dagsync status` in the pod.
fn here(pod: &Pod) -> Command {
    let with_settings = pod.command("status");
    let mut command = dagsync();
    for (name, value) in with_settings.get_envs() {
        if name.to_str().is_some_and(|name| name.starts_with("DAGSYNC_")) {
            command.env(name, value.unwrap());
        }
    }
    command.arg("status");
    command
}

#[test]
fn a_baked_image_shows_its_certificate_to_whom_it_asks() {
    let fort = Fort::new();
    Outcome::of(dagsync().arg("seal").arg(fort.repo.work())).ended(0, &[]);
    let source = format!("image:{}", fort.repo.work().display());
    let mut pod = Pod::new(&source)
        .set("image.expect_from", fort.url())
        .set("image.ca_file", fort.server.file())
        .set("image.token_file", fort.token())
        .set("image.client_cert_file", fort.client.certificate())
        .set("image.client_key_file", fort.client.key())
        .set("scrub.interval", "200ms");
    pod.start();
    pod.wait("its version was asked for", |s| {
        s["state"] == "converged"
            && s["version"] == fort.repo.version().as_str()
            && s["warnings"] == serde_json::json!([])
    });
    pod.stop();
    pod.change("image.client_key_file", "");
    pod.once().ended(64, &["image.client_cert_file and image.client_key_file are of use only together"]);
}

#[test]
fn who_is_refused_is_told_which_setting_to_mend() {
    let fort = Fort::new();
    eventually("it answers", || {
        (Outcome::of(fort.client().args(["status", &fort.url()])).code == Some(0)).then_some(())
    });
    fort.status(
        |c| c.env_remove("DAGSYNC_CLIENT__TOKEN_FILE"),
        2,
        &["401", "client.token_file", "DAGSYNC_CLIENT__TOKEN_FILE"],
    );
    let wrong = fort.folder.path().join("wrong");
    std::fs::write(&wrong, "wrong-one").unwrap();
    fort.status(|c| c.env("DAGSYNC_CLIENT__TOKEN_FILE", &wrong), 2, &["401", "client.token_file", "http.token_file"]);
    std::fs::write(&wrong, "\n").unwrap();
    fort.status(|c| c.env("DAGSYNC_CLIENT__TOKEN_FILE", &wrong), 64, &["client.token_file is empty"]);
    fort.status(|c| c.env("DAGSYNC_CLIENT__TOKEN_FILE", "/nonexistent"), 64, &["client.token_file does not exist"]);
    fort.status(|c| c.env("DAGSYNC_CLIENT__CA_FILE", fort.clients.file()), 2, &["client.ca_file"]);
    fort.status(|c| c.env_remove("DAGSYNC_CLIENT__CERT_FILE"), 64, &["client.cert_file and client.key_file"]);
    fort.status(
        |c| c.env_remove("DAGSYNC_CLIENT__CERT_FILE").env_remove("DAGSYNC_CLIENT__KEY_FILE"),
        2,
        &["client.cert_file"],
    );
    let plain = fort.url().replace("https", "http");
    Outcome::of(fort.client().args(["status", &plain])).ended(2, &["no complete answer"]);
}

#[test]
fn a_follower_gets_in_and_the_token_rotates_under_it() {
    let mut fort = Fort::new();
    let token = fort.folder.path().join("followers");
    write(&token, TOKEN);
    let mut follower = Pod::new(&fort.repo.file_url())
        .set("target.mode", "leader")
        .set("target.leader", fort.url())
        .set("client.token_file", &token)
        .set("client.ca_file", fort.server.file())
        .set("client.cert_file", fort.client.certificate())
        .set("client.key_file", fort.client.key())
        .set("log.level", "trace");
    follower.start_on(&fort.repo.version());
    write(&fort.token(), &format!("{TOKEN}\n{NEXT}\n"));
    write(&token, NEXT);
    fort.repo.write("dags/a.py", "2");
    fort.repo.commit("second");
    follower.is_on(&fort.repo.version());
    write(&fort.token(), NEXT);
    fort.repo.write("dags/a.py", "3");
    fort.repo.commit("third");
    follower.is_on(&fort.repo.version());
    let key = std::fs::read_to_string(fort.client.key()).unwrap();
    for pod in [&follower, &fort.pod] {
        super::says_no_secret(pod, &[TOKEN, NEXT, key.lines().nth(1).unwrap()]);
    }
    assert_eq!((follower.stop().code(), fort.pod.stop().code()), (Some(0), Some(0)));
}
