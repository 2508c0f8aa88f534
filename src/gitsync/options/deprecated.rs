//! What older versions called it. Where such an option is given, it wins over the newer one.

use super::{Kind, Opt};

pub(super) const OPTIONS: &[Opt] = &[
    Opt::new("branch", Kind::Text, "Deprecated: --ref.").env(&["GIT_SYNC_BRANCH"]).sets("git.ref"),
    Opt::new("rev", Kind::Text, "Deprecated: --ref.").env(&["GIT_SYNC_REV"]).sets("git.ref"),
    Opt::new("change-permissions", Kind::Integer, "Deprecated: --group-write; anything but 0 is refused.")
        .env(&["GIT_SYNC_PERMISSIONS"]),
    Opt::new("dest", Kind::Text, "Deprecated: --link.").env(&["GIT_SYNC_DEST"]).sets("link"),
    Opt::new("max-sync-failures", Kind::Integer, "Deprecated: --max-failures, unless 0.")
        .env(&["GIT_SYNC_MAX_SYNC_FAILURES"])
        .sets("max_failures"),
    Opt::new("password", Kind::Text, "Deprecated: --password-file or GITSYNC_PASSWORD.")
        .sets("git.password")
        .note("moved out of sight of other processes")
        .secret(),
    Opt::new("ssh", Kind::Bool, "Deprecated.").without_effect("whether ssh is used is seen from the URL"),
    Opt::new("sync-hook-command", Kind::Text, "Deprecated: --exechook-command.")
        .env(&["GIT_SYNC_HOOK_COMMAND"])
        .sets("exechook.command"),
    Opt::new("timeout", Kind::Integer, "Deprecated: --sync-timeout, in seconds, unless 0.")
        .env(&["GIT_SYNC_TIMEOUT"])
        .sets("timeout"),
    Opt::new("v", Kind::Integer, "Deprecated: -v or --verbose.").sets("log.level"),
    Opt::new("wait", Kind::Float, "Deprecated: --period, in seconds, unless 0.").env(&["GIT_SYNC_WAIT"]).sets("period"),
];
