//! What is synced, where to, and how often.

use super::{Kind, Opt};

pub(super) const OPTIONS: &[Opt] = &[
    Opt::new("help", Kind::Bool, "Lists the flags and ends; also `-?`.").short('h'),
    Opt::new("man", Kind::Bool, "Prints the manual page and ends.").note("the page of this table"),
    Opt::new("version", Kind::Bool, "Prints the version and ends.").note("dagsync's version"),
    Opt::new("verbose", Kind::Integer, "How much is logged; each step says more.")
        .short('v')
        .env(&["GITSYNC_VERBOSE"])
        .or("0")
        .sets("log.level")
        .note("1 to 5 is `debug`, 6 and more `trace`; 0 leaves `log.level` as it is"),
    Opt::new("repo", Kind::Text, "The repository to sync; required.")
        .env(&["GITSYNC_REPO", "GIT_SYNC_REPO"])
        .sets("source"),
    Opt::new("ref", Kind::Text, "The branch, tag or commit to follow.")
        .env(&["GITSYNC_REF"])
        .or("HEAD")
        .sets("git.ref")
        .note("also for a full commit id the published tree goes on being checked and repaired"),
    Opt::new("depth", Kind::Integer, "How many commits of history to fetch; 0: all.")
        .env(&["GITSYNC_DEPTH", "GIT_SYNC_DEPTH"])
        .or("1")
        .sets("git.depth"),
    Opt::new("filter", Kind::Text, "The filter of a partial clone.")
        .env(&["GITSYNC_FILTER"])
        .without_effect("there are no partial clones; only the newest commit is fetched, whose files are all needed"),
    Opt::new("submodules", Kind::Text, "Which submodules to bring: `recursive`, `shallow` or `off`.")
        .env(&["GITSYNC_SUBMODULES", "GIT_SYNC_SUBMODULES"])
        .or("recursive")
        .sets("git.submodules"),
    Opt::new("sparse-checkout-file", Kind::Text, "A file that says which parts to bring, as git's sparse-checkout.")
        .env(&["GITSYNC_SPARSE_CHECKOUT_FILE", "GIT_SYNC_SPARSE_CHECKOUT_FILE"])
        .sets("git.sparse_checkout_file"),
    Opt::new("root", Kind::Text, "The folder to work in; required.")
        .env(&["GITSYNC_ROOT", "GIT_SYNC_ROOT"])
        .sets("root"),
    Opt::new(
        "link",
        Kind::Text,
        "The link to the current tree, absolute or below the root; the repository's last part.",
    )
    .env(&["GITSYNC_LINK", "GIT_SYNC_LINK"])
    .sets("link"),
    Opt::new("error-file", Kind::Text, "A file that holds the last error while syncs fail.")
        .env(&["GITSYNC_ERROR_FILE", "GIT_SYNC_ERROR_FILE"])
        .sets("error_file")
        .note("where it may be, as --touch-file"),
    Opt::new("init-period", Kind::Duration, "Time between two attempts until the first success, 10 ms or more.")
        .env(&["GITSYNC_INIT_PERIOD"])
        .sets("init_period")
        .note("unset: as after any failure, from `period` on with backoff"),
    Opt::new("period", Kind::Duration, "Time between two syncs, 10 ms or more.")
        .env(&["GITSYNC_PERIOD", "GIT_SYNC_PERIOD"])
        .or("10s")
        .sets("period")
        .note("at least 100 ms; with jitter; doubled after each failure, up to a minute (`backoff.max`)"),
    Opt::new("sync-timeout", Kind::Duration, "The longest that one sync may take, 10 ms or more.")
        .env(&["GITSYNC_SYNC_TIMEOUT", "GIT_SYNC_SYNC_TIMEOUT"])
        .or("120s")
        .sets("timeout"),
    Opt::new("one-time", Kind::Bool, "Ends after the first sync.")
        .env(&["GITSYNC_ONE_TIME", "GIT_SYNC_ONE_TIME"])
        .note("SIGTERM before it is an exit status of 1"),
    Opt::new("sync-on-signal", Kind::Text, "The signal that asks for a sync, by name or number.")
        .env(&["GITSYNC_SYNC_ON_SIGNAL", "GIT_SYNC_SYNC_ON_SIGNAL"])
        .sets("sync_on_signal")
        .note("unset: SIGHUP; signals that end or stop a process are refused"),
    Opt::new("max-failures", Kind::Integer, "Ends after so many failures in a row; negative: never.")
        .env(&["GITSYNC_MAX_FAILURES", "GIT_SYNC_MAX_FAILURES"])
        .or("0")
        .sets("max_failures"),
    Opt::new("init-max-failures", Kind::Integer, "The same until the first success; unset: as --max-failures.")
        .env(&["GITSYNC_INIT_MAX_FAILURES"])
        .sets("init_max_failures"),
    Opt::new("touch-file", Kind::Text, "A file that is touched after a sync that changed something.")
        .env(&["GITSYNC_TOUCH_FILE", "GIT_SYNC_TOUCH_FILE"])
        .sets("touch_file")
        .note("not at a path with `..`, nor inside the link or another folder of the root that holds trees"),
    Opt::new("add-user", Kind::Bool, "Adds the user to /etc/passwd.")
        .env(&["GITSYNC_ADD_USER", "GIT_SYNC_ADD_USER"])
        .or("false")
        .note("not needed; where the file cannot be written, a warning"),
    Opt::new("group-write", Kind::Bool, "Lets the group write to what is published.")
        .env(&["GITSYNC_GROUP_WRITE", "GIT_SYNC_GROUP_WRITE"])
        .or("false")
        .sets("group_write"),
    Opt::new("stale-worktree-timeout", Kind::Duration, "How long a tree stays that is no longer current.")
        .env(&["GITSYNC_STALE_WORKTREE_TIMEOUT"])
        .sets("keep.age")
        .note("unset: `keep.age` and `keep.versions` have their own defaults, for tasks that import late"),
    Opt::new("git", Kind::Text, "The git command.")
        .env(&["GITSYNC_GIT", "GIT_SYNC_GIT"])
        .or("git")
        .without_effect("no git command is run"),
    Opt::new("git-config", Kind::Text, "More git configuration: `section.name:value,\"section.sub.name\":\"value\"`.")
        .env(&["GITSYNC_GIT_CONFIG", "GIT_SYNC_GIT_CONFIG"])
        .sets("git.config")
        .note("the keys that matter for fetching; others are named in a warning"),
    Opt::new("git-config-add", Kind::List, "One more entry of git configuration, `section.name:value`.")
        .sets("git.config")
        .note("as --git-config")
        .after_4_7(),
    Opt::new("git-gc", Kind::Text, "When to collect garbage: `auto`, `always`, `aggressive` or `off`.")
        .env(&["GITSYNC_GIT_GC", "GIT_SYNC_GIT_GC"])
        .or("always")
        .without_effect("the cache holds one commit and is kept small without it"),
    Opt::new("http-bind", Kind::Text, "Where the HTTP listener listens, as `:1234`.")
        .env(&["GITSYNC_HTTP_BIND", "GIT_SYNC_HTTP_BIND"])
        .sets("http.bind"),
    Opt::new("http-metrics", Kind::Bool, "Serves metrics at `/metrics`.")
        .env(&["GITSYNC_HTTP_METRICS", "GIT_SYNC_HTTP_METRICS"])
        .or("false")
        .note("always with --http-bind; dagsync's own names beside git-sync's"),
    Opt::new("http-pprof", Kind::Bool, "Serves Go's profiles.")
        .env(&["GITSYNC_HTTP_PPROF", "GIT_SYNC_HTTP_PPROF"])
        .or("false")
        .without_effect("there is no Go runtime to profile"),
];
