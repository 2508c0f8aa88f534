//! Who belongs to the fleet, asked of a real DNS server and of a server that lists pods as the Kubernetes API does.

pub(crate) mod api;
mod dns;
mod kubernetes;

use std::ffi::OsString;
use std::process::Command;

use dagsync::config::{Inputs, load};
use dagsync::fleet::discover::discover;
use dagsync::fleet::{Peer, Phase};

/// The environment of a daemon with these settings.
fn environment(settings: &[(&str, &str)]) -> Vec<(OsString, OsString)> {
    let name = |setting: &str| format!("DAGSYNC_{}", setting.replace('.', "__").to_uppercase());
    settings.iter().map(|(setting, value)| (name(setting).into(), (*value).into())).collect()
}

/// The fleet as these settings find it.
fn found_in(env: Vec<(OsString, OsString)>) -> Result<Vec<Peer>, String> {
    let loaded = load(&dagsync::strategies(), &Inputs { env, ..Inputs::default() }).map_err(|e| e.to_string())?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    runtime.block_on(discover(&loaded.config.fleet)).map_err(|e| format!("{} {e}", e.kind()))
}

fn found(settings: &[(&str, &str)]) -> Result<Vec<Peer>, String> {
    found_in(environment(settings))
}

/// A line for a peer, to compare it.
fn line(peer: &Peer) -> String {
    let phase = match peer.phase {
        Phase::Running => "running",
        Phase::Starting => "starting",
        Phase::Terminating => "terminating",
        Phase::Missing => "missing",
    };
    format!("{} {} {phase}", peer.name, peer.url.as_deref().unwrap_or("-"))
}

/// The error holds all of `words`.
#[track_caller]
fn fails<T: std::fmt::Debug>(found: &Result<T, String>, words: &[&str]) {
    let error = found.as_ref().unwrap_err();
    for word in words {
        assert!(error.contains(word), "{word:?} is not in: {error}");
    }
}

/// The fleet as another process finds it, in the environment of `command`: that of a pod, or of a person at a terminal.
fn found_by(mut command: Command, settings: &[(&str, &str)]) -> Result<Vec<String>, String> {
    command.envs(environment(settings));
    let out = command.output().unwrap();
    let (text, error) = (String::from_utf8_lossy(&out.stdout), String::from_utf8_lossy(&out.stderr));
    let marked = |mark: &str| -> Vec<String> {
        // The first line stands behind what the test's runner prints.
        text.lines().filter_map(|line| Some(line.split_once(mark)?.1.to_owned())).collect()
    };
    if let [error] = marked("ERROR: ").as_slice() {
        return Err(error.clone());
    }
    assert!(out.status.success() && text.contains("DONE"), "{text}{error}");
    Ok(marked("PEER: "))
}

/// What is run in that other process.
fn myself(command: &mut Command) {
    command.arg(std::env::current_exe().unwrap());
    command.args(["--exact", "discovery::prints_the_fleet", "--ignored", "--nocapture"]);
}

#[test]
#[ignore = "other tests run it, each in an environment of its own"]
#[allow(clippy::print_stdout, reason = "they read it")]
fn prints_the_fleet() {
    let env = std::env::vars_os().filter(|(name, _)| name.to_str().is_some_and(|name| name.starts_with("DAGSYNC_")));
    match found_in(env.collect()) {
        Ok(peers) => peers.iter().for_each(|peer| println!("PEER: {}", line(peer))),
        Err(error) => println!("ERROR: {error}"),
    }
    println!("DONE");
}
