//! `dagsync status`: what a daemon or a store is on.

use dagsync_core::{Error, ErrorKind, Registry, Result, printable};
use serde_json::{Value as Json, json};

use super::answer::{Answer, Exit, Style, columns};
use super::args::{Output, StatusArgs};
use super::tree::{is_url, nothing};
use crate::client::Client;
use crate::config::{self, Http, Inputs};
use crate::store::Store;

/// What people look for first; the rest follows as it comes.
const ORDER: &[&str] = &[
    "state",
    "since",
    "holder",
    "version",
    "revision",
    "strategy",
    "source",
    "target",
    "files",
    "last_success",
    "last_error",
    "gate",
    "tampered",
    "warnings",
    "pod",
    "namespace",
    "node",
    "component",
];

pub(super) async fn run(registry: &Registry, inputs: &Inputs, args: &StatusArgs, style: Style) -> Result<Answer> {
    let status = match &args.target {
        Some(url) if is_url(url) => Client::new(url, &config::client(registry, inputs.file.clone())?)?.status().await?,
        Some(root) => store(&Store::find(root, args.link.as_deref()), root)?,
        None => here(registry, inputs).await?,
    };
    let exit = if is_well(&status) { Exit::Fine } else { Exit::Mismatch };
    Ok(match args.output {
        Output::Json => Answer::json(exit, &status),
        Output::Text => Answer::text(exit, table(&status, style)),
    })
}

/// A daemon that has not published anything yet is well as long as nothing failed.
fn is_well(status: &Json) -> bool {
    match status["state"].as_str() {
        Some("stale" | "tampered" | "unsealed") => false,
        Some("starting") => status["last_error"].is_null(),
        _ => true,
    }
}

/// What the daemon on this host says, at its configured address; without one, its store.
async fn here(registry: &Registry, inputs: &Inputs) -> Result<Json> {
    let config = config::load(registry, inputs)?.config;
    let Http { bind, tls, token_file, .. } = config.http;
    let Some(bind) = bind.map(|bind| bind.to_ask()) else {
        let root = config.root.display().to_string();
        return store(&Store::find(&root, Some(&config.link)), &root);
    };
    let mut settings = config.client;
    settings.token_file = settings.token_file.or(token_file);
    let client = match &tls.cert_file {
        Some(certificate) => Client::of_this_pod(&format!("https://{bind}"), certificate, &settings)?,
        None => Client::new(&format!("http://{bind}"), &settings)?,
    };
    client.status().await
}

/// The link is the truth; what the state file adds may be missing.
fn store(store: &Store, root: &str) -> Result<Json> {
    let absent = || if store.exists() { nothing(root) } else { no_store(root) };
    let folder = store.current()?.ok_or_else(absent)?;
    let mut status = json!({"root": root, "version": folder.version(), "folder": folder});
    if let Some(manifest) = store.manifest(&folder.version())? {
        status["files"] = manifest.len().into();
    }
    let Some(state) = store.state().filter(|state| state.current.as_ref() == Some(&folder)) else { return Ok(status) };
    status["revision"] = json!(state.revision);
    status["strategy"] = state.strategy.clone().into();
    status["source"] = state.source.clone().into();
    status["filter_hash"] = state.filter_hash.clone().into();
    if let Some(known) = state.folders.get(&folder) {
        status["published_at"] = humantime::format_rfc3339_millis(known.published_at).to_string().into();
    }
    Ok(status)
}

fn no_store(root: &str) -> Error {
    Error::new(ErrorKind::NotFound, "read status", format!("there is no store at {root}"))
        .with_hint("give the folder of --root, or a daemon's URL such as http://10.0.0.7:8466")
}

fn table(status: &Json, style: Style) -> String {
    let Some(status) = status.as_object() else { return String::new() };
    let place = |key: &str| ORDER.iter().position(|k| *k == key).unwrap_or(ORDER.len());
    let mut keys: Vec<&String> = status.keys().collect();
    keys.sort_by_key(|key| place(key));
    let mut rows = Vec::new();
    for key in keys {
        for (i, line) in lines(&status[key]).into_iter().enumerate() {
            let name = if i == 0 { printable(key) } else { String::new() };
            rows.push([name, if key == "state" { colored(&line, style) } else { line }]);
        }
    }
    columns(&rows)
}

fn colored(state: &str, style: Style) -> String {
    match state {
        "converged" | "standby" => style.green(state),
        "tampered" => style.red(state),
        _ => style.yellow(state),
    }
}

/// A value as lines that cannot steer a terminal, whoever sent it; nothing for what is empty.
fn lines(value: &Json) -> Vec<String> {
    match value {
        Json::Null => Vec::new(),
        Json::String(text) if text.is_empty() => Vec::new(),
        Json::String(text) => vec![printable(text)],
        Json::Array(items) => items.iter().map(|item| lines(item).join(", ")).collect(),
        Json::Object(map) => {
            let part = |(key, value): (&String, &Json)| {
                let text = lines(value).join(", ");
                (!text.is_empty()).then(|| format!("{}: {text}", printable(key)))
            };
            let parts: Vec<_> = map.iter().filter_map(part).collect();
            if parts.is_empty() { Vec::new() } else { vec![parts.join(", ")] }
        }
        other => vec![other.to_string()],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_is_shown_as_far_as_it_is_known() {
        let status = json!({
            "zebra": 1, "version": "sha256:ab", "state": "stale", "node": "", "target": {"revision": null},
            "last_error": {"kind": "unreachable", "message": "no \u{1b}[31mroute"}, "warnings": ["one", "two"],
        });
        let expected = "\
state       stale
version     sha256:ab
last_error  kind: unreachable, message: no \\u{1b}[31mroute
warnings    one
            two
zebra       1
";
        assert_eq!(table(&status, Style(false)), expected);
        assert!(table(&status, Style(true)).contains("\x1b[33mstale\x1b[0m"));
    }

    #[test]
    fn a_daemon_that_fails_before_its_first_version_is_not_well() {
        let error = json!({"kind": "not found", "message": "no such branch"});
        for (state, error, well) in [
            ("starting", Json::Null, true),
            ("starting", error.clone(), false),
            ("converged", Json::Null, true),
            ("stale", error.clone(), false),
            ("tampered", Json::Null, false),
            ("unsealed", Json::Null, false),
        ] {
            assert_eq!(is_well(&json!({"state": state, "last_error": error})), well, "{state} {error}");
        }
        assert!(is_well(&json!({"root": "/dags"})), "a store has no state");
    }
}
