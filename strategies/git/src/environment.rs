//! What git and ssh would read besides the settings, and this strategy does not: said once at the start, so that nobody
//! waits for an effect.

use std::path::Path;

use dagsync_core::{fs, worded};

use crate::settings::{ServerCheck, Settings};

const MAX_CONFIG: u64 = 1 << 20;
const NO_COMMAND: &str = "no ssh command is run: set git.ssh_key_file and git.known_hosts_file, and write user, host and \
                          port into the URL; where ssh needs a proxy or a jump host, use https";
const NO_CLIENT_CERTIFICATE: &str =
    "client certificates are not supported: log in with git.token_file or git.password_file";
/// Variables, and what to do in their place.
const VARIABLES: [(&str, &str); 9] = [
    ("GIT_SSH_COMMAND", NO_COMMAND),
    ("GIT_SSH", NO_COMMAND),
    ("GIT_PROXY_COMMAND", "no proxy command is run: set https_proxy, or http.proxy in git.config"),
    ("GIT_SSL_CAINFO", "set git.ca_file"),
    ("GIT_SSL_CAPATH", "name a bundle of them in git.ca_file"),
    ("GIT_SSL_NO_VERIFY", "set git.tls_check to off"),
    ("GIT_SSL_CERT", NO_CLIENT_CERTIFICATE),
    ("GIT_SSL_KEY", NO_CLIENT_CERTIFICATE),
    ("GIT_CONFIG_COUNT", "write what it adds into git.config"),
];

/// One sentence for each thing that is there and has no effect.
pub(crate) fn unread(settings: &Settings, variable: impl Fn(&str) -> Option<String>) -> Vec<String> {
    let has_effect = |name: &str| match name {
        "GIT_SSL_CAINFO" => settings.ca_file.is_some(),
        "GIT_SSL_NO_VERIFY" => settings.tls_check == ServerCheck::Off,
        _ => false,
    };
    let is_set = |name: &str| variable(name).is_some_and(|value| !value.is_empty() || name == "GIT_SSL_NO_VERIFY");
    let unread = VARIABLES.iter().filter(|(name, _)| is_set(name) && !has_effect(name));
    let unread = unread.map(|(name, instead)| format!("{name} is not read; {}", worded(instead)));
    unread.chain(variable("HOME").and_then(|home| unread_config(&Path::new(&home).join(".ssh/config")))).collect()
}

/// The same of ssh's own configuration.
fn unread_config(file: &Path) -> Option<String> {
    let (shown, instead) = (file.display(), worded(NO_COMMAND));
    let Ok(content) = fs::read(file, MAX_CONFIG) else {
        // Whatever it is, it is there.
        return Some(format!("{shown} is not read; {instead}"));
    };
    let content = content?;
    let content = String::from_utf8_lossy(&content);
    let keywords = keywords(&content);
    (!keywords.is_empty()).then(|| format!("{shown} is not read (it sets {}); {instead}", keywords.join(", ")))
}

/// What a configuration of ssh sets, as it is written, each once.
fn keywords(config: &str) -> Vec<&str> {
    let words = config.lines().filter_map(|line| line.trim_start().split([' ', '\t', '=']).next());
    let mut found: Vec<&str> = Vec::new();
    for word in words.filter(|word| !word.is_empty() && word.bytes().all(|b| b.is_ascii_alphanumeric())) {
        let is_scope = ["Host", "Match"].iter().any(|scope| word.eq_ignore_ascii_case(scope));
        if !is_scope && !found.iter().any(|known| known.eq_ignore_ascii_case(word)) {
            found.push(word);
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::tests::settings;

    fn unread_of(changes: &[(&str, &str)], env: &[(&str, &str)]) -> Vec<String> {
        let value = |name: &str| env.iter().find(|(n, _)| *n == name).map(|(_, v)| (*v).to_owned());
        unread(&settings(changes), value)
    }

    #[test]
    fn what_is_set_and_not_read_is_named_with_what_to_do() {
        let said = unread_of(&[], &[("GIT_SSH_COMMAND", "ssh -p 1"), ("GIT_SSL_NO_VERIFY", ""), ("GIT_SSH", "")]);
        assert!(said[0].starts_with("GIT_SSH_COMMAND is not read") && said[0].contains("git.ssh_key_file"), "{said:?}");
        assert!(said[1].contains("set git.tls_check to off") && said.len() == 2, "{said:?}");
        let settings = [("ca_file", "/ca.pem"), ("tls_check", "off")];
        assert!(unread_of(&settings, &[("GIT_SSL_CAINFO", "/ca.pem"), ("GIT_SSL_NO_VERIFY", "1")]).is_empty());
    }

    #[test]
    fn the_configuration_of_ssh_is_named_with_what_it_sets() {
        let home = tempfile::tempdir().unwrap();
        let at_home = || unread_of(&[], &[("HOME", home.path().to_str().unwrap())]);
        assert!(at_home().is_empty());
        std::fs::create_dir(home.path().join(".ssh")).unwrap();
        let config =
            "# Port 1\nHost github.com\n  HostName=ssh.github.com\n\tport 443\n  Port 22\n  ProxyCommand nc %h\n";
        let write = |text: &str| fs::write_atomic(&home.path().join(".ssh/config"), text.as_bytes()).unwrap();
        write(config);
        let said = at_home();
        assert!(said[0].contains(".ssh/config is not read (it sets HostName, port, ProxyCommand)"), "{said:?}");
        write("# nothing\n");
        assert!(at_home().is_empty());
    }
}
