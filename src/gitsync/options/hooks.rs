//! What is told about a new tree, before and after it is published.

use super::{Kind, Opt};

pub(super) const OPTIONS: &[Opt] = &[
    Opt::new("exechook-command", Kind::Text, "A command that is run in the tree after it became current.")
        .env(&["GITSYNC_EXECHOOK_COMMAND", "GIT_SYNC_EXECHOOK_COMMAND"])
        .sets("exechook.command")
        .note("the tree holds no `.git`, so git commands fail in it; GITSYNC_HASH names the commit"),
    Opt::new("exechook-timeout", Kind::Duration, "The longest that the command may take, 1 s or more.")
        .env(&["GITSYNC_EXECHOOK_TIMEOUT", "GIT_SYNC_EXECHOOK_TIMEOUT"])
        .or("30s")
        .sets("exechook.timeout"),
    Opt::new("exechook-backoff", Kind::Duration, "Wait before a failed command is run again, 1 s or more.")
        .env(&["GITSYNC_EXECHOOK_BACKOFF", "GIT_SYNC_EXECHOOK_BACKOFF"])
        .or("3s")
        .sets("exechook.backoff"),
    Opt::new(
        "pre-publish-exechook-command",
        Kind::Text,
        "A command that is run in the tree before it becomes current.",
    )
    .env(&["GITSYNC_PRE_PUBLISH_EXECHOOK_COMMAND"])
    .sets("gate.command")
    .note("it is waited for; `DAGSYNC_GATE__ON_FAILURE=refuse` makes its failure keep the tree before")
    .after_4_7(),
    Opt::new("pre-publish-exechook-timeout", Kind::Duration, "The longest that it may take, 1 s or more.")
        .env(&["GITSYNC_PRE_PUBLISH_EXECHOOK_TIMEOUT"])
        .or("30s")
        .sets("gate.timeout")
        .after_4_7(),
    Opt::new("pre-publish-exechook-backoff", Kind::Duration, "Wait before it is run again, 1 s or more.")
        .env(&["GITSYNC_PRE_PUBLISH_EXECHOOK_BACKOFF"])
        .or("3s")
        .without_effect("it is run once for each tree that is about to be published")
        .after_4_7(),
    Opt::new("webhook-url", Kind::Text, "A URL that is called after a new tree became current.")
        .env(&["GITSYNC_WEBHOOK_URL", "GIT_SYNC_WEBHOOK_URL"])
        .sets("webhook.url"),
    Opt::new("webhook-method", Kind::Text, "The method of that call.")
        .env(&["GITSYNC_WEBHOOK_METHOD", "GIT_SYNC_WEBHOOK_METHOD"])
        .or("POST")
        .sets("webhook.method"),
    Opt::new("webhook-success-status", Kind::Integer, "The status that means success; 0 and -1: any.")
        .env(&["GITSYNC_WEBHOOK_SUCCESS_STATUS", "GIT_SYNC_WEBHOOK_SUCCESS_STATUS"])
        .or("200")
        .sets("webhook.success_status"),
    Opt::new("webhook-timeout", Kind::Duration, "The longest that the call may take, 1 s or more.")
        .env(&["GITSYNC_WEBHOOK_TIMEOUT", "GIT_SYNC_WEBHOOK_TIMEOUT"])
        .or("1s")
        .sets("webhook.timeout"),
    Opt::new("webhook-backoff", Kind::Duration, "Wait before a failed call is made again, 1 s or more.")
        .env(&["GITSYNC_WEBHOOK_BACKOFF", "GIT_SYNC_WEBHOOK_BACKOFF"])
        .or("3s")
        .sets("webhook.backoff"),
];
