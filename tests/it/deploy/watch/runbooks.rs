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

    fn url(&self, scheme: &str) -> String {
        format!("{scheme}://127.0.0.1:{}", self.port)
    }

    /// A command in its container.
    fn exec(&self, command: &[String]) -> Outcome {
        Outcome::of(dagsync().args(command).env("DAGSYNC_CONFIG", &self.config))
    }

    /// Waits until it has its DAGs, which it tells nobody without its settings.
    fn is_there(&self, scheme: &str) {
        let status = ["status".to_owned(), self.url(scheme)];
        eventually("it is there", || self.exec(&status).stdout.contains("converged").then_some(()));
        Outcome::of(dagsync().args(&status)).ended(2, &[]);
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
    [(&own, "http"), (&other, "http"), (&encrypted, "https")].iter().for_each(|(pod, scheme)| pod.is_there(scheme));
    Outcome::of(dagsync().arg("seal").arg(repo.work())).ended(0, &[]);
    let here = |word: String| match word.as_str() {
        "http://127.0.0.1:8466" => own.url("http"),
        "http://10.0.3.17:8466" | "http://10.0.3.18:8466" | "http://dagsync-leader:8466" => other.url("http"),
        "https://127.0.0.1:8466" => encrypted.url("https"),
        "/dags" => own.root.to_str().unwrap().to_owned(),
        "/opt/airflow/dags" => repo.work().to_str().unwrap().to_owned(),
        _ => word,
    };
    let mut seen = 0;
    for name in alerts() {
        for command in commands(&read(&format!("runbooks/{name}.md"))) {
            let pod = if command.iter().any(|word| word.starts_with("https:")) { &encrypted } else { &own };
            let command: Vec<_> = command.into_iter().map(here).collect();
            assert_eq!(pod.exec(&command).code, Some(0), "{name}: {}: {:?}", command.join(" "), pod.exec(&command));
            seen += 1;
        }
    }
    assert!(seen >= 14, "runbooks hold {seen} commands");
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
