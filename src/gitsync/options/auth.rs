//! What the servers are shown, and what they must show.

use super::{Kind, Opt};

pub(super) const OPTIONS: &[Opt] = &[
    Opt::new("username", Kind::Text, "The user for https.")
        .env(&["GITSYNC_USERNAME", "GIT_SYNC_USERNAME"])
        .sets("git.username"),
    Opt::new("GITSYNC_PASSWORD", Kind::Text, "The password or access token for https.")
        .env(&["GITSYNC_PASSWORD", "GIT_SYNC_PASSWORD"])
        .sets("git.password")
        .secret(),
    Opt::new("password-file", Kind::Text, "The file with the password or access token; read at every use.")
        .env(&["GITSYNC_PASSWORD_FILE", "GIT_SYNC_PASSWORD_FILE"])
        .sets("git.password_file"),
    Opt::new("credential", Kind::Credentials, "Credentials by URL: `url`, `username`, `password` or `password-file`.")
        .env(&["GITSYNC_CREDENTIAL"])
        .sets("git.credentials")
        .note("JSON that cannot be read is an error also in the variable; a password in the flag is moved out of sight; with `credential.useHttpPath` in --git-config a path may also lead to the repository")
        .secret(),
    Opt::new("ssh-key-file", Kind::List, "The private keys for ssh.")
        .env(&["GITSYNC_SSH_KEY_FILE", "GIT_SYNC_SSH_KEY_FILE", "GIT_SSH_KEY_FILE"])
        .or("/etc/git-secret/ssh")
        .sets("git.ssh_key_file"),
    Opt::new("ssh-known-hosts", Kind::Bool, "Whether ssh servers must prove who they are.")
        .env(&["GITSYNC_SSH_KNOWN_HOSTS", "GIT_SYNC_KNOWN_HOSTS", "GIT_KNOWN_HOSTS"])
        .or("true")
        .sets("git.host_key_check"),
    Opt::new("ssh-known-hosts-file", Kind::Text, "The host keys that ssh trusts.")
        .env(&["GITSYNC_SSH_KNOWN_HOSTS_FILE", "GIT_SYNC_SSH_KNOWN_HOSTS_FILE", "GIT_SSH_KNOWN_HOSTS_FILE"])
        .or("/etc/git-secret/known_hosts")
        .sets("git.known_hosts_file")
        .note("lines with `@cert-authority` do not count"),
    Opt::new("cookie-file", Kind::Bool, "Sends the cookies of /etc/git-secret/cookie_file.")
        .env(&["GITSYNC_COOKIE_FILE", "GIT_SYNC_COOKIE_FILE", "GIT_COOKIE_FILE"])
        .or("false")
        .sets("git.cookie_file"),
    Opt::new("askpass-url", Kind::Text, "A URL that answers with `username=` and `password=`.")
        .env(&["GITSYNC_ASKPASS_URL", "GIT_SYNC_ASKPASS_URL", "GIT_ASKPASS_URL"])
        .sets("git.askpass_url")
        .note("asked when the server wants a password, not at every sync; beside --username or a --credential for the host, when that is refused"),
    Opt::new("github-base-url", Kind::Text, "Where GitHub's API is.")
        .env(&["GITSYNC_GITHUB_BASE_URL"])
        .or("https://api.github.com/")
        .sets("git.github_app.base_url")
        .note("plain http only to this host itself, because what is sent there opens the repository"),
    Opt::new("GITSYNC_GITHUB_APP_PRIVATE_KEY", Kind::Text, "The private key of the GitHub App.")
        .env(&["GITSYNC_GITHUB_APP_PRIVATE_KEY"])
        .sets("git.github_app.private_key")
        .secret(),
    Opt::new("github-app-private-key-file", Kind::Text, "The file with that key.")
        .env(&["GITSYNC_GITHUB_APP_PRIVATE_KEY_FILE"])
        .sets("git.github_app.private_key_file"),
    Opt::new("github-app-client-id", Kind::Text, "The client id of the GitHub App.")
        .env(&["GITSYNC_GITHUB_APP_CLIENT_ID"])
        .sets("git.github_app.client_id"),
    Opt::new("github-app-application-id", Kind::Integer, "Its application id, in place of the client id.")
        .env(&["GITSYNC_GITHUB_APP_APPLICATION_ID"])
        .sets("git.github_app.application_id"),
    Opt::new("github-app-installation-id", Kind::Integer, "The id of its installation.")
        .env(&["GITSYNC_GITHUB_APP_INSTALLATION_ID"])
        .sets("git.github_app.installation_id"),
];
