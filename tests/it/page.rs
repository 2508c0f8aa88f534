//! The status page in a real browser.

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use dagsync::config::Pod as Identity;
use dagsync::fleet::answer::Answer;
use dagsync::fleet::ask::{Asked, Said};
use dagsync::fleet::judge::judge;
use dagsync::fleet::report::{Difference, Report};
use dagsync::fleet::{Basis, Peer};
use dagsync::page::{Fleet, Look, POLICY, render};
use dagsync::status::{Flip, StatusBoard, SyncState};
use dagsync_core::{Change, ChangeKind, Digest, Filter, Revision, TreePath, Version};

use crate::harness::{Browser, Pod, Reply, Repo, Web, eventually, raw_get, shell};

const EVIL: &str = "<img src=x onerror=alert(1)>\"'.py";

fn picture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("target/page").join(name)
}

/// Nothing was run, nothing was refused, and nothing came from elsewhere.
#[track_caller]
fn is_quiet(browser: &Browser, origin: &str) {
    assert_eq!(browser.console(), Vec::<String>::new());
    let requests = browser.requests();
    let is_own = |url: &String| url.starts_with(origin) || url.starts_with("data:");
    assert!(!requests.is_empty() && requests.iter().all(is_own), "{requests:?}");
    let elements = "return document.querySelectorAll('script, img, iframe, object, form').length";
    assert_eq!(browser.run(elements), 0);
    let is_narrow = "return document.documentElement.scrollWidth <= window.innerWidth";
    assert_eq!(browser.run(is_narrow), true, "nothing is wider than the window");
}

#[test]
fn a_daemon_shows_itself_and_runs_nothing_of_what_others_wrote() {
    let repo = Repo::with(&[("dags/<script>alert(1)</script>.py", "1")]);
    shell(&repo.work(), &format!("ln -s nowhere {}", shell_quoted(EVIL)));
    repo.commit("second");
    let folder = tempfile::tempdir().unwrap();
    let quoted = folder.path().join("a\"b'c.git");
    shell(folder.path(), &format!("cp -R {} {}", repo.bare().display(), shell_quoted(quoted.to_str().unwrap())));
    std::fs::write(folder.path().join("gate"), "#!/bin/sh\ncut -f 2 \"$DAGSYNC_CHANGES\"; exit 1\n").unwrap();
    shell(folder.path(), "cp gate gate.sh && chmod 755 gate.sh");
    let mut pod = Pod::new(&format!("file://{}", quoted.display()))
        .set("gate.command", folder.path().join("gate.sh"))
        .set("gate.on_failure", "warn")
        .set("pod.name", "scheduler-<b>0</b>");
    pod.start_on(&repo.version());
    let origin = format!("http://127.0.0.1:{}", pod.port());
    for (path, name, width, scheme) in
        [("/", "pod-light.png", 1100, "light"), ("/ui", "pod-phone-dark.png", 390, "dark")]
    {
        let browser = Browser::open(width, 844, scheme);
        let document = browser.load(&format!("{origin}{path}"));
        browser.picture(&picture(name));
        let text = browser.run("return document.body.innerText");
        let text = text.as_str().unwrap();
        for says in
            [&repo.version(), "converged", "in sync", "a%22b'c.git", "scheduler-<b>0</b>", EVIL, "<script>alert(1)"]
        {
            assert!(text.contains(says), "{says} in {text}");
        }
        assert!(!document.contains("<script") && !document.contains("<img"), "{document}");
        is_quiet(&browser, &origin);
    }
    let head = raw_get(pod.port(), "/").to_lowercase();
    for header in ["content-security-policy: default-src 'none'", "x-frame-options: deny", "nosniff", "no-referrer"] {
        assert!(head.contains(header), "{header} in {head}");
    }
}

fn shell_quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "'\\''"))
}

#[test]
fn in_the_place_of_git_sync_the_page_is_beside_its_probe() {
    let repo = Repo::with(&[("a.py", "1")]);
    let mut pod = Pod::new(&repo.file_url()).set("http.git_sync", "true");
    pod.start_on(&repo.version());
    assert_eq!(eventually("the probe answers", || pod.get("/")), (200, String::new()));
    assert!(pod.get("/ui").unwrap().1.contains(&repo.version()));
}

fn version(of: &str) -> Version {
    Version::from(Digest::of(of))
}

/// A fleet of which one worker is behind, one has other files, one does not answer and one has just started.
fn fleet(now: SystemTime) -> Report {
    let pod = |name: &str, of: Option<&str>, state: &str, age: u64| {
        let component = if name.starts_with("worker") { "worker" } else { name };
        let answer = Answer {
            pod: format!("airflow-{name}"),
            component: component.to_owned(),
            state: state.to_owned(),
            version: of.map(version),
            since: Some(now - Duration::from_secs(age)),
            behind_since: (of != Some("a")).then(|| now - Duration::from_secs(age)),
            ..Answer::default()
        };
        Asked { peer: Peer::at("http://10.0.0.7:8466"), leads: false, said: Said::Status(Box::new(answer)) }
    };
    let others = ["scheduler", "triggerer", "dag-processor", "api-server"];
    let well = others.map(str::to_owned).into_iter().chain((0..12).map(|i| format!("worker-{i}")));
    let mut asked: Vec<_> = well.map(|name| pod(&name, Some("a"), "converged", 4_000)).collect();
    asked.push(pod("worker-12", Some("b"), "converged", 4_000));
    asked.push(pod("worker-13", Some("c"), "tampered", 4_000));
    asked.push(pod("worker-14", None, "starting", 20));
    let peer = Peer {
        name: "airflow-worker-15".to_owned(),
        component: Some("worker".to_owned()),
        ..Peer::at("http://10.0.0.8:8466")
    };
    asked.push(Asked { peer, leads: false, said: Said::Nothing("connection refused".to_owned()) });
    let mut report = judge(&asked, &Basis::Version(version("a")), Duration::from_secs(600), now);
    let change = |path: &str, change| Change { path: TreePath::new(path).unwrap(), change };
    for group in &mut report.groups {
        let files =
            vec![change("dags/billing/invoice.py", ChangeKind::Modified), change("dags/new.py", ChangeKind::Removed)];
        group.differs = match group.version {
            of if of == version("b") => Some(Ok(Difference { count: 214, files })),
            of if of == version("c") => Some(Err("not compared: no manifest within 5s".to_owned())),
            _ => None,
        };
    }
    report
}

#[test]
fn a_fleet_is_read_on_a_phone_and_in_the_dark() {
    let now = SystemTime::now();
    let identity = Identity {
        name: "airflow-scheduler-7d9f8b6c5-x2kzq".into(),
        namespace: "airflow".into(),
        node: "ip-10-0-3-17".into(),
        component: "scheduler".into(),
    };
    let source = "https://github.com/team/dags.git main".to_owned();
    let board = StatusBoard::new(&identity, "git", source, Filter::default().hash(), now - Duration::from_secs(90_000));
    board.update(|status| {
        for (age, of) in [(90_000, "z"), (9_000, "y"), (400, "a")] {
            let revision = Some(Revision::new(Digest::of(of).to_string()[..40].to_owned()));
            status.flip(Flip { version: version(of), revision, at: now - Duration::from_secs(age) });
        }
        (status.version, status.revision) = (Some(version("a")), status.history[0].revision.clone());
        (status.files, status.bytes, status.writer) = (412, 3_480_123, true);
        status.published_at = Some(now - Duration::from_secs(400));
        status.succeed(now, SyncState::Converged);
        let error =
            dagsync_core::Error::new(dagsync_core::ErrorKind::Unreachable, "resolve", "github.com does not answer");
        status.fail(&error, 2, now - Duration::from_secs(30));
    });
    let look = Look { fleet: Some(Fleet { at: now, found: Ok(fleet(now)) }.into()), is_asked: true };
    let page = render(&board.read(), Some(&look), now);
    let web = Web::answering(move |_| Reply {
        status: 200,
        headers: format!("Content-Type: text/html; charset=utf-8\r\nContent-Security-Policy: {}\r\n", *POLICY),
        body: page.clone(),
    });
    for (name, width, scheme) in [
        ("fleet-light.png", 1100, "light"),
        ("fleet-dark.png", 1100, "dark"),
        ("fleet-phone-light.png", 390, "light"),
        ("fleet-phone-dark.png", 390, "dark"),
    ] {
        let browser = Browser::open(width, 844, scheme);
        browser.load(&web.url("/"));
        browser.run("document.querySelectorAll('details').forEach(d => d.open = true)");
        browser.picture(&picture(name));
        let text = browser.run("return document.body.innerText");
        let text = text.as_str().unwrap();
        for says in [
            "DRIFT: of 20 pods 1 drifted, 1 tampered, 1 unreachable, 1 converging",
            "Reference (version)",
            "being asked again",
            "214 files differ",
            "and 212 more",
            "not compared: no manifest within 5s",
            "dags/billing/invoice.py",
            "connection refused",
            "in a row",
        ] {
            assert!(text.contains(says), "{says} in {text}");
        }
        let paper = browser.run("return getComputedStyle(document.body).backgroundColor");
        assert_eq!(paper, if scheme == "dark" { "rgb(20, 24, 27)" } else { "rgb(255, 255, 255)" }, "the style counts");
        is_quiet(&browser, &web.url("/"));
    }
}
