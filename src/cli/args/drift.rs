//! The arguments of `dagsync drift`.

use super::{Output, flag, parse_set};
use crate::config::Flag;

#[derive(Debug, clap::Args)]
pub(crate) struct DriftArgs {
    /// The URL of a daemon; may be repeated (fleet.peers)
    #[arg(long, value_name = "URL")]
    peer: Vec<String>,
    /// leader, majority, head or a version (drift.reference)
    #[arg(long, value_name = "WHAT")]
    reference: Option<String>,
    /// The URL of a daemon that the others follow; may be repeated (target.leader)
    #[arg(long, value_name = "URL")]
    leader: Vec<String>,
    /// Where DAGs come from, for --reference head
    #[arg(long, value_name = "URL")]
    source: Option<String>,
    /// For how long a pod may be elsewhere (drift.grace)
    #[arg(long, value_name = "DURATION")]
    grace: Option<String>,
    /// The longest that one daemon is waited for (drift.timeout)
    #[arg(long, value_name = "DURATION")]
    timeout: Option<String>,
    /// Daemons that are asked at once (drift.concurrency)
    #[arg(long, value_name = "N")]
    concurrency: Option<String>,
    /// Check again at every drift.interval, and say what changed
    #[arg(long)]
    pub(crate) watch: bool,
    /// Ask pods that have drifted to sync now; needs client.token_file
    #[arg(long)]
    pub(crate) remediate: bool,
    /// Post findings to this URL, as Slack takes them (drift.webhook_url)
    #[arg(long, value_name = "URL")]
    webhook: Option<String>,
    /// The file with that URL (drift.webhook_url_file)
    #[arg(long, value_name = "FILE")]
    webhook_file: Option<String>,
    /// Push metrics to the Pushgateway at this URL (drift.pushgateway)
    #[arg(long, value_name = "URL")]
    pushgateway: Option<String>,
    /// Write metrics to this file, for node_exporter (drift.prometheus_file)
    #[arg(long, value_name = "FILE")]
    prometheus_file: Option<String>,
    /// Write Markdown to this file, such as \"$GITHUB_STEP_SUMMARY\" (drift.summary_file)
    #[arg(long, value_name = "FILE")]
    summary: Option<String>,
    /// Any other setting; may be repeated
    #[arg(long = "set", value_name = "NAME=VALUE", value_parser = parse_set)]
    set: Vec<(String, String)>,
    /// How the answer looks; with --watch and JSON, one line for each check
    #[arg(long, value_enum, default_value = "text")]
    pub(crate) output: Output,
    /// Print the JSON Schema of --output json and do nothing else
    #[arg(long)]
    pub(crate) schema: bool,
}

impl DriftArgs {
    /// The flags that stand for settings.
    pub(crate) fn flags(&self) -> Vec<Flag> {
        let mut flags: Vec<_> = self.set.iter().map(|(name, value)| flag("--set", name, value.as_str())).collect();
        for (name, setting, value) in [
            ("--reference", "drift.reference", &self.reference),
            ("--source", "source", &self.source),
            ("--grace", "drift.grace", &self.grace),
            ("--timeout", "drift.timeout", &self.timeout),
            ("--concurrency", "drift.concurrency", &self.concurrency),
            ("--webhook", "drift.webhook_url", &self.webhook),
            ("--webhook-file", "drift.webhook_url_file", &self.webhook_file),
            ("--pushgateway", "drift.pushgateway", &self.pushgateway),
            ("--prometheus-file", "drift.prometheus_file", &self.prometheus_file),
            ("--summary", "drift.summary_file", &self.summary),
        ] {
            flags.extend(value.as_ref().map(|value| flag(name, setting, value.as_str())));
        }
        let lists = [("--peer", "fleet.peers", &self.peer), ("--leader", "target.leader", &self.leader)];
        let lists = lists.into_iter().filter(|(_, _, urls)| !urls.is_empty());
        flags.extend(lists.map(|(name, setting, urls)| flag(name, setting, urls.clone())));
        flags
    }
}
