//! Every setting of the engine in one table; each strategy adds its own through its factory.

use dagsync_core::{Kind, Setting};

/// The settings that do not belong to a strategy.
pub const SETTINGS: &[Setting] = &[
    Setting::new(
        "source",
        Kind::Text,
        "",
        "Where DAGs come from: `https://…git`, `ssh://…`, `git@host:path`, `file://…`.",
    ),
    Setting::new("strategy", Kind::Text, "", "The strategy; empty: implied by `source`."),
    Setting::new("root", Kind::Path, "/dags", "The store's folder."),
    Setting::new("link", Kind::Text, "current", "The link in the store that Airflow's `dags_folder` points to."),
    Setting::new("period", Kind::Duration, "10s", "Time between two syncs."),
    Setting::new("jitter", Kind::Float, "0.1", "Part of the period by which each sync is moved at random, 0 to 1."),
    Setting::new("timeout", Kind::Duration, "120s", "The longest that one sync may take."),
    Setting::new(
        "max_failures",
        Kind::Integer,
        "-1",
        "Exit after so many failures in a row; negative: never; 0 and 1: at the first.",
    ),
    Setting::new("allow_empty", Kind::Bool, "false", "Publish an empty tree over one that is not."),
    Setting::new("include", Kind::List, "", "Globs of files that belong to the tree; empty: all."),
    Setting::new("exclude", Kind::List, "", "Globs of files and folders that do not belong to the tree."),
    Setting::new(
        "symlinks",
        Kind::Choice(&["skip", "refuse"]),
        "skip",
        "Symbolic links that leave the root, dangle or loop: leave out and warn, or refuse the tree.",
    ),
    Setting::new(
        "backoff.initial",
        Kind::Duration,
        "1s",
        "Wait after the first failure; doubled after each further one.",
    ),
    Setting::new("backoff.max", Kind::Duration, "60s", "The longest wait after a failure."),
    Setting::new("limits.files", Kind::Integer, "100000", "The most files of a tree."),
    Setting::new("limits.bytes", Kind::Size, "4GiB", "The most bytes of a tree."),
    Setting::new("limits.file_bytes", Kind::Size, "1GiB", "The most bytes of one file."),
    Setting::new("limits.path_bytes", Kind::Integer, "1024", "The most bytes of one path."),
    Setting::new("limits.depth", Kind::Integer, "64", "The most parts of one path."),
    Setting::new("keep.versions", Kind::Integer, "3", "The newest versions that stay, the current one included."),
    Setting::new(
        "keep.age",
        Kind::Duration,
        "1h",
        "Versions that were current within this time stay, for tasks that still import from them.",
    ),
    Setting::new("keep.pinned", Kind::List, "", "Versions that are never removed."),
    Setting::new(
        "scrub.interval",
        Kind::Duration,
        "60s",
        "Time between two checks of what was published; `0s`: never.",
    ),
    Setting::new(
        "scrub.full_every",
        Kind::Integer,
        "60",
        "Every so many checks every file is read, whatever its stat says; 0: never.",
    ),
    Setting::new("http.bind", Kind::Text, "0.0.0.0:8466", "Where the HTTP listener listens; empty: nowhere."),
    Setting::new(
        "http.token_file",
        Kind::Path,
        "",
        "The file with the bearer token for `POST /v1/sync`; empty: that path is refused.",
    ),
    Setting::new(
        "log.level",
        Kind::Text,
        "info",
        "`error`, `warn`, `info`, `debug` or `trace`, also per module: `info,dagsync_strategy_git=debug`.",
    ),
    Setting::new(
        "log.format",
        Kind::Choice(&["auto", "text", "json"]),
        "auto",
        "`auto`: text on a terminal, JSON elsewhere.",
    ),
    Setting::new("pod.name", Kind::Text, "", "The pod's name in reports; empty: the host's name."),
    Setting::new("pod.namespace", Kind::Text, "", "The pod's namespace in reports."),
    Setting::new("pod.node", Kind::Text, "", "The pod's node in reports."),
    Setting::new("pod.component", Kind::Text, "", "The Airflow component in reports, for example `scheduler`."),
];
