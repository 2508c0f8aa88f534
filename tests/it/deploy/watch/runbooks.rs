//! Whoever is woken finds what to do, and every command in it works as it is written.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use super::{alerts, folder, read, rules, text};
use crate::harness::{Authority, Outcome, Process, Repo, dagsync, eventually, free_port};

const HEADINGS: [&str; 5] =
    ["What it means", "What people notice", "How to find the cause", "What to do", "When to leave it"];

#[test]
fn every_alert_has_its_runbook() {
    let files = std::fs::read_dir(folder().join("runbooks")).unwrap();
    let names: BTreeSet<String> =
        files.map(|file| file.unwrap().file_name().into_string().unwrap().replace(".md", "")).collect();
    assert_eq!(names, alerts());
    for name in &names {
        let page = read(&format!("runbooks/{name}.md"));
        assert!(page.starts_with(&format!("# {name}\n")), "{name}");
        let headings: Vec<_> = page.lines().filter_map(|line| line.strip_prefix("## ")).collect();
        assert_eq!(headings, HEADINGS, "{name}");
    }
    for rule in rules().iter().filter(|rule| rule["record"].is_null()) {
        let (name, notes) = (text(&rule["alert"]), &rule["annotations"]);
        let url = text(&notes["runbook_url"]);
        let page = url.strip_prefix("https://github.com/dagsync/dagsync/blob/main/deploy/watch/");
        assert_eq!(page, Some(format!("runbooks/{name}.md").as_str()));
        assert!(!text(&notes["summary"]).is_empty() && text(&notes["description"]).ends_with('.'), "{name}");
        assert!(["warning", "critical"].contains(&text(&rule["labels"]["severity"])), "{name}");
    }
}

/// The dagsync commands in the code blocks of a page, without what comes before and after them.
fn commands(page: &str) -> Vec<Vec<String>> {
    let code = page.split("```").skip(1).step_by(2);
    let lines = code.flat_map(str::lines).map(|line| line.split(" #").next().unwrap_or_default());
    let called = lines.filter_map(|line| {
        let (_, command) = line.split_once("-- dagsync ").or_else(|| line.split_once("$ dagsync "))?;
        Some(command.split(['|', '>', '`']).next()?.split_whitespace().map(str::to_owned).collect())
    });
    called.collect()
}

/// A daemon as it is in a container of deploy/airflow: `DAGSYNC_CONFIG` names its settings, and every question wants the token.
struct Guarded {
    root: PathBuf,
    config: PathBuf,
    port: u16,
    _process: Process,
}

impl Guarded {
    fn start(folder: &Path, name: &str, source: &str, tls: &str) -> Self {
        let at = |what: &str| folder.join(format!("{name}-{what}"));
        let (root, config, port, token) = (at("store"), at("git.yaml"), free_port(), folder.join("token"));
        let (shown, token) = (root.display(), token.display());
        let settings = format!(
            "source: {source}\nroot: {shown}\nhttp: {{bind: '127.0.0.1:{port}', auth: all, token_file: {token}{tls}}}\n\
             client: {{token_file: {token}}}\n"
        );
        std::fs::write(&config, settings).unwrap();
        let process = Process::start(dagsync().arg("run").env("DAGSYNC_CONFIG", &config), &at("log"));
        Self { root, config, port, _process: process }
    }

    fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// A command in its container.
    fn exec(&self, command: &[String]) -> Outcome {
        Outcome::of(dagsync().args(command).env("DAGSYNC_CONFIG", &self.config))
    }

    /// Waits until it has its DAGs.
    fn is_there(&self) {
        let status = || self.exec(&["status".to_owned()]);
        eventually("it is there", || status().stdout.contains("converged").then_some(()));
    }
}

#[test]
fn every_command_of_a_runbook_works_where_each_question_wants_the_token() {
    let (folder, repo, authority) = (tempfile::tempdir().unwrap(), Repo::with(&[("etl.py", "1")]), Authority::new());
    std::fs::write(folder.path().join("token"), "0123456789abcdef0123\n").unwrap();
    let secret = authority.secret("dagsync");
    let tls = format!(", tls: {{cert_file: {}, key_file: {}}}", secret.certificate().display(), secret.key().display());
    let start = |name, tls| Guarded::start(folder.path(), name, &repo.file_url(), tls);
    let (own, other, encrypted) = (start("own", ""), start("other", ""), start("encrypted", &tls));
    [&own, &other, &encrypted].into_iter().for_each(Guarded::is_there);
    Outcome::of(dagsync().args(["status", &own.url()])).ended(2, &["401"]);
    Outcome::of(dagsync().arg("seal").arg(repo.work())).ended(0, &[]);
    let here = |word: String| match word.as_str() {
        "http://127.0.0.1:8466" => own.url(),
        "http://10.0.3.17:8466" | "http://10.0.3.18:8466" | "http://dagsync-leader:8466" => other.url(),
        "/dags" => own.root.to_str().unwrap().to_owned(),
        "/opt/airflow/dags" => repo.work().to_str().unwrap().to_owned(),
        _ => word,
    };
    let mut seen = 0;
    for name in alerts() {
        for command in commands(&read(&format!("runbooks/{name}.md"))) {
            let command: Vec<_> = command.into_iter().map(here).collect();
            let mut pods = vec![&own];
            // Its own daemon is found whatever it wants.
            pods.extend((command == ["status"]).then_some(&encrypted));
            for pod in pods {
                let outcome = pod.exec(&command);
                assert_eq!(outcome.code, Some(0), "{name}: dagsync {}: {outcome:?}", command.join(" "));
                seen += 1;
            }
        }
    }
    assert!(seen >= 20, "runbooks hold {seen} commands");
}

#[test]
fn a_check_by_hand_works_twice_in_an_hour() {
    for name in alerts() {
        let page = read(&format!("runbooks/{name}.md"));
        let made = page.matches("create job").count();
        let named = "$ job=drift-$(date +%s)\n$ kubectl -n airflow create job --from=cronjob/dagsync-drift $job\n\
                     $ until kubectl -n airflow logs -f job/$job; do sleep 1; done\n";
        assert_eq!(page.matches(named).count(), made, "{name}: a Job's name is taken for an hour");
    }
}
