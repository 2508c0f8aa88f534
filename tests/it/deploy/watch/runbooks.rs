//! Whoever is woken finds what to do, and every command in it works as it is written.

use std::collections::BTreeSet;

use super::{alerts, folder, read, rules, text};
use crate::harness::{Outcome, dagsync};

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
    for rule in rules() {
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

#[test]
fn the_command_line_takes_every_command_of_a_runbook() {
    let mut seen = 0;
    for name in alerts() {
        for command in commands(&read(&format!("runbooks/{name}.md"))) {
            // Help is printed only when everything before it was understood.
            let outcome = Outcome::of(dagsync().args(&command).arg("--help"));
            assert_eq!(outcome.code, Some(0), "{name}: dagsync {}: {outcome:?}", command.join(" "));
            let unknown: Vec<String> = command.iter().cloned().chain(["--no-such-flag".to_owned()]).collect();
            assert_ne!(Outcome::of(dagsync().args(&unknown)).code, Some(0), "nothing would be refused");
            seen += 1;
        }
    }
    assert!(seen >= 11, "runbooks hold {seen} commands");
}
