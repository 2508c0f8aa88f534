//! The README says what the code does. `UPDATE_README=1 tests/run --test it docs` writes the tables anew.

use std::fmt::Write as _;
use std::path::Path;
use std::process::Command;

use dagsync::fleet::report::prometheus::METRICS as FLEET_METRICS;
use dagsync::gitsync;
use dagsync::metrics::{METRICS, MetricInfo};

fn check(block: &str, table: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md");
    let readme = std::fs::read_to_string(&path).unwrap();
    let (start, end) = (format!("<!-- {block}: checked by a test -->\n"), format!("<!-- /{block} -->"));
    let (before, rest) = readme.split_once(&start).unwrap();
    let (found, after) = rest.split_once(&end).unwrap();
    if std::env::var_os("UPDATE_README").is_some() {
        std::fs::write(path, format!("{before}{start}{table}{end}{after}")).unwrap();
    } else {
        assert_eq!(found, table, "README.md is not up to date: UPDATE_README=1 writes it anew");
    }
}

#[test]
fn the_readme_lists_every_setting_and_every_metric() {
    let config = Command::new(env!("CARGO_BIN_EXE_dagsync")).args(["config", "--markdown"]).output().unwrap();
    check("settings", &String::from_utf8(config.stdout).unwrap());
    let mut table =
        String::from("| metric | type | unit | labels | stability | meaning |\n|---|---|---|---|---|---|\n");
    for m in METRICS {
        let labels: Vec<String> = m.labels.iter().map(|label| format!("`{label}`")).collect();
        let MetricInfo { name, kind, unit, stability, help, .. } = m;
        let (labels, stability) = (labels.join(" "), stability.as_str());
        writeln!(table, "| `{name}` | {kind} | {unit} | {labels} | {stability} | {help} |").unwrap();
    }
    check("metrics", &table);
    let mut table = String::from("| metric of the fleet | meaning |\n|---|---|\n");
    for (name, meaning) in FLEET_METRICS {
        writeln!(table, "| `{name}` | {meaning} |").unwrap();
    }
    check("fleet metrics", &table);
}

#[test]
fn the_readme_lists_every_option_of_git_sync() {
    check("git-sync", &gitsync::markdown());
}

/// The text of every source file below `folder` that is no test.
fn sources(folder: &Path) -> String {
    let mut text = String::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap();
        if path.is_dir() && name != "tests" && name != "testkit" {
            text.push_str(&sources(&path));
        } else if name.ends_with(".rs") && !name.ends_with("tests.rs") {
            let code = std::fs::read_to_string(&path).unwrap();
            text.push_str(code.split("#[cfg(test)]").next().unwrap());
        }
    }
    text
}

#[test]
fn every_message_that_the_readme_quotes_is_in_the_code() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let code = sources(&root.join("src")) + &sources(&root.join("strategies"));
    let readme = std::fs::read_to_string(root.join("README.md")).unwrap();
    let (_, rest) = readme.split_once("| message contains |").unwrap();
    let (table, _) = rest.split_once("\n\n").unwrap();
    let rows: Vec<_> = table.lines().filter_map(|line| line.strip_prefix("| `")?.split_once("` |")).collect();
    assert!(rows.len() >= 6, "{rows:?}");
    for part in rows.iter().flat_map(|(message, _)| message.split('…')).map(str::trim) {
        assert!(code.contains(part), "README.md quotes {part:?}, which no message says");
    }
}
