//! What libgit2's errors mean: for the network by class, code and text, for the cache by whether a rebuild can help.

use dagsync_core::{Error, ErrorKind, Interrupt, fs};
use git2::{ErrorClass, ErrorCode};

use crate::Source;
use crate::auth::Answers;
use crate::hosts::{MAX_KNOWN_HOSTS_BYTES, known_hosts};
use crate::location::Location;
use crate::proxy::Proxy;
use crate::settings::Settings;

/// A failed connection or transfer. `answers` knows more than libgit2 says.
pub(crate) fn network(
    operation: &'static str,
    e: &git2::Error,
    answers: &mut Answers<'_>,
    location: &Location,
    source: &Source,
    interrupt: &Interrupt,
) -> Error {
    if let Err(stopped) = interrupt.check(operation) {
        return stopped.with_context("url", location);
    }
    if let Some(failure) = answers.failure.take() {
        return failure;
    }
    let proxy = Proxy::of(location, source.proxy(location), |name| std::env::var(name).ok());
    if let Some(explained) = proxy.and_then(|proxy| proxy.explain(operation, e, location)) {
        return explained;
    }
    if e.code() == ErrorCode::Certificate || e.message().contains("certificate") {
        return match &answers.host_key {
            Some((kind, fingerprint)) => host_key(location, &source.settings, kind, fingerprint),
            None => certificate(e, location),
        };
    }
    // The cache is on this side of the connection.
    if matches!(e.class(), ErrorClass::Odb | ErrorClass::Zlib | ErrorClass::Indexer | ErrorClass::Object)
        || matches!(e.class(), ErrorClass::Reference | ErrorClass::Filesystem | ErrorClass::Config)
    {
        return cache(operation, e).with_context("url", location);
    }
    let (kind, hint) = meaning(e);
    let error = Error::new(kind, operation, e.message().trim()).with_context("url", location);
    match &answers.key {
        Some(key) => error.with_context("git.ssh_key_file", key.display()).with_hint(hint),
        None => error.with_hint(hint),
    }
}

fn meaning(e: &git2::Error) -> (ErrorKind, &'static str) {
    let text = e.message().to_lowercase();
    let says = |parts: &[&str]| parts.iter().any(|part| text.contains(part));
    if e.code() == ErrorCode::Timeout || says(&["timed out", "timeout"]) {
        return (
            ErrorKind::Timeout,
            "the server did not answer; check that it is up and that a NetworkPolicy lets the pod reach it",
        );
    }
    if says(&[
        "unable to parse key",
        "extract public key",
        "unable to open private key",
        "unable to initialize private key",
    ]) {
        return (
            ErrorKind::Unauthorized,
            "git.ssh_key_file must be a private key (OpenSSH or PEM); with a passphrase set git.ssh_key_passphrase_file",
        );
    }
    if e.code() == ErrorCode::Auth
        || says(&["status code: 401", "status code: 403", "access denied", "permission denied"])
    {
        return (ErrorKind::Unauthorized, "check that the credentials may read this repository");
    }
    if says(&["status code: 404", "status code: 410", "does not appear to be a git repository", "repository not found"])
        || says(&["could not be found", "does not exist", "could not find repository", "no such file or directory"])
    {
        return (
            ErrorKind::NotFound,
            "check the URL; servers also say so when the credentials may not read the repository",
        );
    }
    if says(&["cannot redirect"]) {
        return (
            ErrorKind::Refused,
            "write the URL that the server redirects to; cookies and headers do not follow it",
        );
    }
    if says(&["doesn't support shallow"]) {
        return (ErrorKind::Config, "set git.depth to 0 to fetch all history");
    }
    if says(&["object format", "oid type", "object id type", "sha256"]) {
        return (ErrorKind::Config, "repositories with SHA-256 ids are not supported");
    }
    (ErrorKind::Unreachable, "check the URL, the server and the pod's network")
}

fn certificate(e: &git2::Error, location: &Location) -> Error {
    Error::new(ErrorKind::Untrusted, "connect", format!("the certificate of {} is not trusted", location.host()))
        .with_context("url", location)
        .with_context("reason", e.message().trim())
        .with_hint(
            "if a private authority issued it, name its bundle in git.ca_file; if it expired, the server must renew it",
        )
}

fn host_key(location: &Location, settings: &Settings, kind: &str, fingerprint: &str) -> Error {
    let file = known_hosts(settings);
    let shown = file.as_deref().map_or("none".into(), |f| f.display().to_string());
    let content = file.and_then(|f| fs::read(&f, MAX_KNOWN_HOSTS_BYTES).ok().flatten());
    let host = location.host();
    let error = |message: String| {
        Error::new(ErrorKind::Untrusted, "connect", message)
            .with_context("offered key", format!("{kind} {fingerprint}"))
            .with_context("git.known_hosts_file", &shown)
    };
    let Some(content) = content else {
        return error(format!("no host keys are known, so {host} cannot be verified"))
            .with_hint(format!("mount the output of `{}` and name it in git.known_hosts_file", location.keyscan()));
    };
    let content = String::from_utf8_lossy(&content);
    if lists_host(&content, host, location.port()) {
        return error(format!(
            "{host} shows another host key than the one that is known: it was renewed, or somebody answers in its place"
        ))
        .with_hint("compare the fingerprint with the one its operator publishes before you update that file");
    }
    let error = error(format!("the host key of {host} is not known"));
    let error = match content.lines().any(|line| line.trim_start().starts_with("@cert-authority")) {
        true => error.with_context("not supported", "@cert-authority"),
        false => error,
    };
    error.with_hint(format!(
        "if the fingerprint is the one its operator publishes, add the output of `{}` to that file",
        location.keyscan()
    ))
}

/// Whether a line of `known_hosts` may be about `host` at `port`; hashed names cannot be told apart without their key.
/// As in OpenSSH, a name without a port stands for every port.
fn lists_host(known_hosts: &str, host: &str, port: Option<u16>) -> bool {
    let names = known_hosts.lines().filter_map(|line| line.split_whitespace().next()).filter(|n| !n.starts_with('#'));
    let is_host = |name: &str| {
        let (bare, at) = match name.strip_prefix('[').and_then(|n| n.split_once("]:")) {
            Some((bare, at)) => (bare, at.parse().ok()),
            None => (name, port),
        };
        bare.eq_ignore_ascii_case(host) && at.unwrap_or(22) == port.unwrap_or(22)
    };
    names.flat_map(|names| names.split(',')).any(is_host)
}

/// A failed use of the cache: damage, which a rebuild mends, or a disk that is full or not ours.
pub(crate) fn cache(operation: &'static str, e: &git2::Error) -> Error {
    let text = e.message();
    let disk = ["No space left", "Disk quota", "Permission denied", "Read-only file system", "Too many open files"];
    if disk.iter().any(|trouble| text.contains(trouble)) {
        return Error::new(ErrorKind::Io, operation, text).with_hint("check the volume that holds the store");
    }
    Error::new(ErrorKind::Corrupt, operation, format!("the cached repository cannot be read: {text}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_is_found_in_every_plain_form() {
        let file = "# comment host\n[git.local]:2222,10.0.0.1 ssh-ed25519 AAAA\nGitHub.com ssh-rsa AAAA\n|1|x|y ssh-rsa AAAA\n";
        assert!(lists_host(file, "git.local", Some(2222)) && lists_host(file, "github.com", None));
        assert!(lists_host(file, "10.0.0.1", None) && lists_host(file, "10.0.0.1", Some(2222)));
        assert!(!lists_host(file, "host", None) && !lists_host(file, "comment", None));
        assert!(!lists_host(file, "git.local", Some(22)) && !lists_host(file, "git.local", None));
    }

    #[test]
    fn texts_of_servers_become_kinds() {
        let kind = |class, text: &str| meaning(&git2::Error::new(ErrorCode::GenericError, class, text)).0;
        assert_eq!(kind(ErrorClass::Http, "unexpected http status code: 404"), ErrorKind::NotFound);
        assert_eq!(kind(ErrorClass::Http, "unexpected http status code: 403"), ErrorKind::Unauthorized);
        assert_eq!(kind(ErrorClass::Http, "unexpected http status code: 503"), ErrorKind::Unreachable);
        assert_eq!(kind(ErrorClass::Ssh, "ERROR: Repository not found."), ErrorKind::NotFound);
        assert_eq!(kind(ErrorClass::Net, "could not read from socket: timed out"), ErrorKind::Timeout);
        assert_eq!(kind(ErrorClass::Os, "failed to connect to h: Connection refused"), ErrorKind::Unreachable);
    }

    #[test]
    fn a_full_disk_is_no_damage() {
        let kind = |text: &str| cache("read", &git2::Error::from_str(text)).kind();
        assert_eq!(kind("failed to write pack: No space left on device"), ErrorKind::Io);
        assert_eq!(kind("object not found - no match for id"), ErrorKind::Corrupt);
    }
}
