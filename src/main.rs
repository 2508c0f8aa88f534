//! The `dagsync` command.

fn main() -> std::process::ExitCode {
    dagsync::main(dagsync::strategies())
}
