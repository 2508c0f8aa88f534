//! As the first process of a container, where orphans become its children.

use std::path::Path;
use std::process::Command;

use crate::harness::{Pod, Process, Repo, eventually, shell};

/// What `/proc/<pid>/stat` says of each process: its id, state and parent.
fn processes() -> Vec<(u32, String, u32)> {
    let folders = std::fs::read_dir("/proc").unwrap().flatten();
    let stats = folders.filter_map(|folder| std::fs::read_to_string(folder.path().join("stat")).ok());
    let read = |stat: String| {
        let (id, rest) = (stat.split(' ').next()?.parse().ok()?, stat.rsplit_once(") ")?.1);
        let mut words = rest.split(' ');
        Some((id, words.next()?.to_owned(), words.next()?.parse().ok()?))
    };
    stats.filter_map(read).collect()
}

fn children(parent: u32) -> Vec<(u32, String)> {
    processes().into_iter().filter(|(.., of)| *of == parent).map(|(id, state, _)| (id, state)).collect()
}

fn script(folder: &Path, name: &str, body: &str) -> std::path::PathBuf {
    std::fs::write(folder.join("body"), format!("#!/bin/sh\n{body}\n")).unwrap();
    shell(folder, &format!("cp body {name}; chmod 755 {name}"));
    folder.join(name)
}

#[test]
fn what_a_hook_leaves_in_another_session_is_reaped_and_the_hooks_own_status_is_not_lost() {
    let repo = Repo::with(&[("a.py", "0")]);
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path().display();
    // Some end before the hook, some after it.
    let leave = "for wait in 0 0 0.05 0.3; do setsid sh -c \"sleep $wait\" >/dev/null 2>&1 & done";
    let gate = script(folder.path(), "gate", &format!("{leave}; sleep 0.1; exit 0"));
    let hook = script(folder.path(), "hook", &format!("{leave}; echo left >>{at}/ran; sleep 0.1; exit 7"));
    let pod = Pod::new(&repo.file_url())
        .set("gate.command", &gate)
        .set("exechook.command", &hook)
        .set("exechook.backoff", "100ms");
    let dagsync = pod.command("run");
    let mut unshare = Command::new("unshare");
    unshare.args(["--pid", "--fork", "--kill-child"]).arg(dagsync.get_program()).args(dagsync.get_args()).env_clear();
    unshare.envs(dagsync.get_envs().filter_map(|(name, value)| Some((name, value?))));
    let process = Process::start(&mut unshare, &folder.path().join("log"));
    let first = eventually("the first process is there", || children(process.id()).first().map(|(id, _)| *id));

    for content in ["1", "2", "3"] {
        repo.write("a.py", content);
        repo.commit(content);
        eventually("it is published", || {
            let found = std::fs::read_to_string(pod.link().join("a.py")).ok()?;
            (found == content).then_some(())
        });
    }
    eventually("the hook ran often", || {
        let ran = std::fs::read_to_string(folder.path().join("ran")).ok()?;
        (ran.lines().count() >= 10).then_some(())
    });
    let log = process.log();
    assert!(log.contains("exit status: 7") && !log.contains("No child process"), "{log}");
    assert!(pod.status().unwrap()["gate"]["exit_status"] == "exit status: 0", "{log}");
    std::fs::write(&hook, "#!/bin/sh\nexit 0\n").unwrap();
    eventually("nothing that has ended is left", || {
        (children(first).iter().all(|(_, state)| state != "Z")).then_some(())
    });
    eventually("and nothing at all", || children(first).is_empty().then_some(()));
}
