//! What `deploy` holds, rendered and judged by the tools that it is for, and run.

mod airflow;
mod fleet;

use std::path::Path;
use std::process::Command;

/// A script of `tests/deploy`, with the tools that `tests/run` brings and the binary under test in `BIN`.
fn script(name: &str) -> Command {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut command = Command::new("python3");
    command.arg(root.join("tests/deploy").join(name)).env("PYTHONPATH", root.join("target/testdata/python"));
    command.env("PYTHONDONTWRITEBYTECODE", "1").env("BIN", env!("CARGO_BIN_EXE_dagsync"));
    command
}
