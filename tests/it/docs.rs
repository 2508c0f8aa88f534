//! The README says what the code does. `UPDATE_README=1 tests/run --test it docs` writes the tables anew.

use std::fmt::Write as _;
use std::path::Path;
use std::process::Command;

use dagsync::metrics::METRICS;

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
    let mut table = String::from("| metric | type | labels | meaning |\n|---|---|---|---|\n");
    for m in METRICS {
        let labels: Vec<String> = m.labels.iter().map(|label| format!("`{label}`")).collect();
        writeln!(table, "| `{}` | {} | {} | {} |", m.name, m.kind, labels.join(" "), m.help).unwrap();
    }
    check("metrics", &table);
}
