# The daily commands. Without just, each line is a command for the shell.

# What CI does.
ci:
    .ci/run

# Every test, or some: `just test --test it tamper`.
test *args:
    tests/run {{args}}

# The two checks that CI makes before the tests.
lint:
    cargo fmt --all --check
    cargo clippy --workspace --all-targets --locked -- -D warnings

# Two pods on this host, with a repository to play with.
demo *args:
    deploy/demo {{args}}

# Micro-benchmarks.
bench *args:
    cargo bench --bench hash {{args}}

# Side by side with git, sha256sum and find.
compare *args:
    benches/compare {{args}}

# Side by side with aws, s5cmd and rclone, on Ceph's S3.
compare-s3 *args:
    benches/compare-s3 {{args}}

# Side by side with find, cp, rsync and rclone, on a folder.
compare-volume *args:
    benches/compare-volume {{args}}
