use std::path::Path;

use super::*;

/// A shell script at `folder/name`. Another process writes it: one that this process has open while another test
/// starts a command cannot be run.
pub(crate) fn script(folder: &Path, name: &str, body: &str) -> PathBuf {
    let path = folder.join(name);
    let write = "printf '#!/bin/sh\\n%s\\n' \"$1\" > \"$0\" && chmod 755 \"$0\"";
    let status = std::process::Command::new("sh").args(["-c", write]).arg(&path).arg(body).status().unwrap();
    assert!(status.success());
    path
}

struct Home(tempfile::TempDir);

impl Home {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn command(&self, body: &str) -> Command {
        let program = script(self.0.path(), "command", body);
        let folder = self.0.path().to_owned();
        let (environment, input, timeout) = (Vec::new(), None, Duration::from_secs(60));
        Command { operation: "exechook", program, folder, environment, input, timeout }
    }

    /// Waits for a file that the command writes; its first word as a number.
    async fn pid(&self, name: &str) -> u32 {
        loop {
            if let Ok(text) = std::fs::read_to_string(self.0.path().join(name))
                && let Ok(pid) = text.trim().parse()
            {
                return pid;
            }
            tokio::time::sleep(STEP).await;
        }
    }
}

fn is_running(pid: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with('Z'))
}

async fn run(command: Command) -> Result<Ended> {
    command.run(&CancellationToken::new()).await
}

#[tokio::test]
async fn a_command_is_told_where_it_is_and_both_streams_are_kept_in_order() {
    let home = Home::new();
    let mut command = home.command("pwd; echo $GREETING >&2; cat; printf '\\033[31mred'; exit 3");
    std::fs::write(home.0.path().join("input"), "read\n").unwrap();
    command.environment = vec![("GREETING", "hello".into())];
    command.input = Some(File::open(home.0.path().join("input")).unwrap());
    let ended = run(command).await.unwrap();
    let folder = home.0.path().canonicalize().unwrap();
    assert_eq!(ended.output, format!("{}\nhello\nread\n\\u{{1b}}[31mred", folder.display()));
    assert_eq!((ended.how.to_string().as_str(), ended.is_success()), ("exit status: 3", false));
    assert!(ended.last_words().ends_with(" | hello | read | \\u{1b}[31mred"), "{}", ended.last_words());
}

#[tokio::test]
async fn a_command_that_cannot_be_started_says_why() {
    let home = Home::new();
    let mut missing = home.command("");
    missing.program = home.0.path().join("no-such-command");
    let no_mode = home.command("");
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o644);
    std::fs::set_permissions(&no_mode.program, mode).unwrap();
    for (command, words) in [(missing, "No such file"), (no_mode, "Permission denied")] {
        let program = command.program.display().to_string();
        let error = run(command).await.unwrap_err().to_string();
        assert!([words, &program, "executable"].iter().all(|word| error.contains(word)), "{error}");
    }
}

#[tokio::test]
async fn a_hundred_megabytes_of_output_are_cut_to_both_ends() {
    let home = Home::new();
    let ended = run(home.command("echo first; yes | head -c 100000000; echo last")).await.unwrap();
    assert!(ended.is_success() && ended.output.len() < 3 * KEPT, "{}", ended.output.len());
    assert!(ended.output.starts_with("first\ny\n") && ended.output.ends_with("y\nlast"));
    let left_out = 100_000_000 + "first\nlast\n".len() - 2 * KEPT;
    assert!(ended.output.contains(&format!("[{left_out} bytes left out]")), "{}", ended.output);
    assert!(ended.last_words().len() <= 3 * IN_ERROR);
}

#[tokio::test]
async fn after_the_timeout_the_whole_group_is_killed_also_where_it_minds_nothing() {
    let home = Home::new();
    let mut command = home.command("trap '' TERM; sh -c 'trap \"\" TERM; echo $$ > child; while :; do sleep 1; done' & echo on; while :; do sleep 1; done");
    command.timeout = Duration::from_secs(2);
    let ended = run(command).await.unwrap();
    assert!(matches!(ended.how, How::TimedOut(_)) && !ended.is_success());
    assert_eq!((ended.how.to_string().as_str(), ended.output.as_str()), ("killed after 2s", "on"));
    assert!(!is_running(home.pid("child").await));
}

#[tokio::test]
async fn a_command_may_end_in_order_when_its_time_is_over() {
    let home = Home::new();
    let mut command = home.command("trap 'echo bye; exit 0' TERM; echo on; while :; do sleep 0.1; done");
    command.timeout = Duration::from_secs(2);
    let ended = run(command).await.unwrap();
    // The shell may tell of its own child in between.
    assert!(ended.output.starts_with("on\n") && ended.output.ends_with("bye") && !ended.is_success(), "{ended:?}");
}

#[tokio::test]
async fn what_a_command_leaves_behind_is_ended_and_reaped() {
    // As if this were the first process of a container: orphans become its children.
    rustix::process::set_child_subreaper(Some(rustix::process::getpid())).unwrap();
    let home = Home::new();
    let ended = run(home.command("sleep 1000 & echo $! > left; echo done")).await.unwrap();
    assert!(ended.is_success() && ended.output == "done", "{ended:?}");
    let left = home.pid("left").await;
    assert!(!Path::new(&format!("/proc/{left}")).exists(), "not even as a zombie");
}

#[tokio::test]
async fn cancelling_ends_it_and_dropping_too() {
    let home = Home::new();
    let token = CancellationToken::new();
    let running = home.command("echo $$ > running; exec sleep 1000").run(&token);
    let cancel = async {
        home.pid("running").await;
        token.cancel();
    };
    let (ended, ()) = tokio::join!(running, cancel);
    assert_eq!(ended.unwrap_err().kind(), ErrorKind::Cancelled);
    assert!(!is_running(home.pid("running").await));

    let home = Home::new();
    tokio::select! {
        _ = run(home.command("sleep 1000 & echo $! > running; wait")) => panic!("it ended"),
        _ = home.pid("running") => {}
    }
    let pid = home.pid("running").await;
    while is_running(pid) {
        tokio::time::sleep(STEP).await;
    }
}

#[test]
fn secrets_are_told_from_other_variables() {
    for name in [
        "DAGSYNC_GIT__PASSWORD",
        "GITSYNC_PASSWORD",
        "GIT_SYNC_PASSWORD",
        "GITSYNC_CREDENTIAL",
        "GITSYNC_GITHUB_APP_PRIVATE_KEY",
        "DAGSYNC_WEBHOOK__URL",
        "GITSYNC_WEBHOOK_URL",
    ] {
        assert!(is_secret(name, "x"), "{name}");
    }
    assert!(is_secret("DAGSYNC_SOURCE", "https://me:pa55@host/x.git"));
    for name in ["PATH", "AWS_SECRET_ACCESS_KEY", "GITSYNC_PASSWORD_FILE", "DAGSYNC_GIT__TOKEN_FILE", "GITSYNC_REPO"] {
        assert!(!is_secret(name, "https://host/x.git"), "{name}");
    }
}
