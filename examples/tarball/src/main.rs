//! `dagsync` with one strategy more: this is all that a binary with its own strategies needs.

fn main() -> std::process::ExitCode {
    dagsync::main(dagsync::strategies().with(dagsync_tarball::TAR))
}
