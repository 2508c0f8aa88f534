//! The examples that the help of each command ends with.

/// By command.
pub(super) const ALL: &[(&str, &str)] = &[
    (
        crate::gitsync::NAME,
        "\
Examples:
  dagsync git-sync --repo=https://github.com/team/dags.git --root=/git --link=repo
  GITSYNC_REPO=https://github.com/team/dags.git GITSYNC_ROOT=/git dagsync
  dagsync git-sync --help
  dagsync git-sync --man

Its own exit status is 1 where options do not fit together or too many syncs failed.",
    ),
    (
        "status",
        "\
Examples:
  dagsync status                          the daemon on this host
  dagsync status http://10.0.0.7:8466     the daemon of another pod
  dagsync status /dags                    a store, without a daemon",
    ),
    (
        "hash",
        "\
Examples:
  dagsync hash /dags/current
  dagsync hash ./dags --exclude tests --output json
  dagsync hash ./dags --manifest > dags.sha256
  cd ./dags && sha256sum -c --quiet ../dags.sha256",
    ),
    (
        "diff",
        "\
Examples:
  dagsync diff ./dags /dags                                     a folder and a store
  dagsync diff http://10.0.0.7:8466 http://10.0.0.8:8466        two pods
  dagsync diff dags.sha256 http://10.0.0.7:8466 --output json   a manifest and a pod",
    ),
    (
        "verify",
        "\
Examples:
  dagsync verify /dags
  dagsync verify /dags/current --expect sha256:6b51…
  dagsync verify ./dags --manifest dags.sha256
  dagsync verify /opt/airflow/dags --expect-from http://scheduler:8466
  dagsync verify /opt/airflow/dags --key seal.pub --expect-image ghcr.io/acme/airflow:prod --on-drift warn",
    ),
    #[cfg(feature = "image")]
    (
        "seal",
        "\
Examples:
  dagsync seal dags --revision \"$(git rev-parse HEAD)\"
  docker build --label \"io.dagsync.version=$(dagsync seal dags)\" .
  dagsync seal dags --sign-key seal.key --output json",
    ),
    #[cfg(feature = "s3")]
    (
        "publish",
        "\
Examples:
  dagsync publish ./dags s3://bucket/dags --revision \"$(git rev-parse HEAD)\"
  dagsync publish ./dags s3://bucket/dags --dry-run --output json
  dagsync publish --list s3://bucket/dags
  dagsync publish --version sha256:6b51… s3://bucket/dags      a rollback
  dagsync publish --prune --keep 20 --keep-age 30d s3://bucket/dags",
    ),
    (
        "drift",
        "\
Examples:
  dagsync drift --peer http://10.0.0.7:8466 --peer http://10.0.0.8:8466
  dagsync drift --config /etc/dagsync.yaml --reference head --output json
  dagsync drift --config /etc/dagsync.yaml --watch --webhook-file /secrets/slack-url
  dagsync drift --config /etc/dagsync.yaml --remediate --prometheus-file /textfile/dagsync.prom",
    ),
    (
        "config",
        "\
Examples:
  dagsync config
  dagsync config --config /etc/dagsync.yaml --set keep.age=2h --output json",
    ),
    (
        "completions",
        "\
Examples:
  dagsync completions bash > /etc/bash_completion.d/dagsync",
    ),
];
