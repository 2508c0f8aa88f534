//! `dagsync run` while who says what the image should hold goes wrong: the last verdict stays, and everything else answers.

use serde_json::{Value, json};

use super::baked::Baked;
use super::faults::*;
use super::faulty::{LOUD, PASSWORD, TOKEN, docker_config, has_no_secret};
use crate::harness::{Pod, Process, eventually, free_port};

/// More than any honest answer takes, and far less than an endless one brings in the time that it is given.
const MEMORY_KIB: u64 = 128 << 10;

/// The most memory that the process ever had.
fn peak_kib(process: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

/// How often asking failed so far.
fn failures(pod: &Pod) -> f64 {
    let (_, text) = eventually("metrics answer", || pod.get("/metrics"));
    let line = text.lines().find(|l| l.starts_with("dagsync_operations_total{operation=\"expect\",result=\"error\"}"));
    line.map_or(0.0, |line| line.rsplit(' ').next().unwrap().parse().unwrap())
}

fn expecting(baked: &Baked, double: &Double) -> Pod {
    let pod = baked.pod().set("image.expect_image", double.image()).set("image.plain_http", "true");
    pod.set("image.expect_interval", "0s").set("timeout", "3s")
}

fn is_state(pod: &mut Pod, state: &str) {
    pod.wait(&format!("it is {state}"), |s| s["state"] == state && s["warnings"] == json!([]));
}

/// It goes wrong in this way: a warning, a count, and the verdict as before.
fn keeps(pod: &mut Pod, double: &Double, state: &str, what: &str, fault: Script) -> Value {
    let (asked, before, failed) = (double.asked().len(), pod.status().unwrap(), failures(pod));
    double.turn(fault);
    let warned = |s: &Value| s["warnings"].as_array().is_some_and(|w| w.len() == 1) && double.asked().len() > asked;
    let status = pod.wait(&format!("it warns: {what}"), warned);
    let warning = status["warnings"][0].as_str().unwrap();
    assert!(warning.contains("what was said before counts"), "{what}: {warning}");
    assert_eq!((&status["state"], &status["version"]), (&json!(state), &before["version"]), "{what}");
    assert_eq!(status["ready"], before["ready"], "{what}");
    eventually("the failure is counted", || (failures(pod) > failed).then_some(()));
    assert_eq!(pod.get("/livez").unwrap().0, 200, "{what}");
    status
}

/// All that can go wrong, beside what hangs up: time and again, with the good registry between.
fn all() -> Vec<(&'static str, Script)> {
    let html = || reply(200, "Content-Type: text/html\r\n", "<html>log in</html>");
    let mut faults: Vec<_> = of_any_server().into_iter().map(|(what, fault, _)| (what, fault)).collect();
    faults.extend([
        ("html", html()),
        ("error", reply(500, "", "")),
        ("too many", reply(429, "", "")),
        ("gone", reply(404, "", "")),
        ("who", reply(401, "WWW-Authenticate: Negotiate\r\n", "")),
        ("no label", labelled(&json!({}))),
        ("no version", labelled(&json!({LABEL: "latest"}))),
        ("bomb", bomb()),
    ]);
    faults
}

#[test]
fn the_last_verdict_stays_whatever_a_registry_does() {
    let baked = Baked::sealed();
    let (version, other) = (baked.version(), format!("sha256:{}", "0".repeat(64)));
    let double = Double::doing(registry(&version));
    let mut pod = expecting(&baked, &double);
    pod.start();
    for (what, fault) in all() {
        is_state(&mut pod, "converged");
        keeps(&mut pod, &double, "converged", what, fault);
        double.turn(registry(&version));
    }
    for (what, fault) in [("error", reply(500, "", "")), ("silent", hang()), ("endless", endless_body())] {
        double.turn(registry(&other));
        is_state(&mut pod, "stale");
        let status = keeps(&mut pod, &double, "stale", what, fault);
        assert!(status["last_error"]["message"].as_str().unwrap().contains(&other), "{what}");
    }
    double.turn(registry(&version));
    is_state(&mut pod, "converged");
    for part in ["/manifests/", "/blobs/"] {
        // Of an image that is known already the rest is not asked for.
        let pushed_anew = labelled(&json!({LABEL: version, "pushed": part}));
        keeps(&mut pod, &double, "converged", part, at(part, endless_body(), pushed_anew));
        double.turn(registry(&version));
        is_state(&mut pod, "converged");
    }
    let peak = peak_kib(pod.id());
    assert!(peak < MEMORY_KIB, "it had {peak} KiB");
    // What is touched is found meanwhile.
    keeps(&mut pod, &double, "converged", "silent", hang());
    baked.tamper("echo 'a = 2' > a.py");
    pod.wait("it is tampered", |s| s["state"] == "tampered" && s["tampered"][0]["path"] == "a.py");
    assert!(pod.stop().success());
}

/// From the first moment on: the seal is what counts, and what is not known is said.
#[test]
fn a_registry_that_never_answered() {
    let baked = Baked::sealed();
    for (what, fault) in [("silent", hang()), ("slow", trickle()), ("error", reply(500, "", ""))] {
        let double = Double::doing(fault);
        let mut pod = expecting(&baked, &double);
        pod.once().ended(0, &[&baked.version(), "nothing is compared"]);
        pod.start();
        let warned = |s: &Value| s["state"] == "converged" && s["warnings"].as_array().is_some_and(|w| w.len() == 1);
        let status = pod.wait(&format!("it warns: {what}"), warned);
        assert!(status["warnings"][0].as_str().unwrap().contains("nothing is compared"), "{status}");
        assert!(status["warnings"][0].as_str().unwrap().contains(&double.image()), "{status}");
        assert_eq!(pod.get("/readyz").unwrap().0, 200);
        assert!(failures(&pod) >= 1.0);
    }
    let nobody = format!("127.0.0.1:{}/team/dags:v1", free_port());
    let pod = baked.pod().set("image.expect_image", &nobody).set("image.plain_http", "true");
    pod.once().ended(0, &[&baked.version(), "nothing is compared", &nobody, "refused"]);
}

/// While it is asked and says nothing, the endpoints answer, and SIGTERM ends it.
#[test]
fn a_stop_while_a_registry_is_silent() {
    let baked = Baked::sealed();
    let double = Double::doing(registry(&baked.version()));
    // It would wait for twenty seconds and more.
    let mut pod = expecting(&baked, &double).set("timeout", "600s");
    pod.start();
    is_state(&mut pod, "converged");
    let open = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    let (entered, silence) = (open.clone(), hang());
    double.turn(std::sync::Arc::new(move |asked, guest| {
        entered.store(true, std::sync::atomic::Ordering::Relaxed);
        silence(asked, guest);
        entered.store(false, std::sync::atomic::Ordering::Relaxed);
    }));
    let is_open = || open.load(std::sync::atomic::Ordering::Relaxed).then_some(());
    eventually("it asks", is_open);
    for page in ["/livez", "/readyz", "/v1/status", "/metrics"] {
        assert_eq!(pod.get(page).unwrap().0, 200, "{page}");
    }
    eventually("it still asks", is_open);
    assert_eq!(failures(&pod), 0.0, "it waits for the answer when it is told to end");
    assert!(pod.stop().success());
    assert!(!pod.log().contains("no answer in time"), "it ended without waiting: {}", pod.log());
}

#[test]
fn the_last_verdict_stays_whatever_another_daemon_does() {
    let baked = Baked::sealed();
    let said = |version: &str| reply(200, "", json!({"version": version}).to_string());
    let double = Double::doing(said(&baked.version()));
    let mut pod = baked.pod().set("image.expect_from", double.url()).set("timeout", "3s");
    pod.start();
    let mut faults: Vec<_> = of_any_server().into_iter().map(|(what, fault, _)| (what, fault)).collect();
    faults.extend([
        ("html", reply(200, "", "<html>")),
        ("error", reply(500, "", "")),
        ("starting", reply(200, "", r#"{"version": null}"#)),
        ("odd", said("latest")),
    ]);
    for (what, fault) in faults {
        is_state(&mut pod, "converged");
        keeps(&mut pod, &double, "converged", what, fault);
        double.turn(said(&baked.version()));
    }
    let other = format!("sha256:{}", "0".repeat(64));
    double.turn(said(&other));
    is_state(&mut pod, "stale");
    keeps(&mut pod, &double, "stale", "silent", hang());
    let peak = peak_kib(pod.id());
    assert!(peak < MEMORY_KIB, "it had {peak} KiB");
    assert!(pod.stop().success());
}

/// Of a private registry, in a life with failures.
#[test]
fn nothing_secret_on_any_channel() {
    let (baked, folder) = (Baked::sealed(), tempfile::tempdir().unwrap());
    let tokens = Double::doing(reply(200, "", json!({"token": TOKEN}).to_string()));
    let realm = format!("Bearer realm=\"{}/token\",service=\"reg\"", tokens.url());
    let good = guarded(realm, TOKEN, registry(&baked.version()));
    let double = Double::doing(good.clone());
    let config = docker_config(folder.path(), &format!("127.0.0.1:{}", double.port));
    let mut pod = expecting(&baked, &double).set("image.docker_config", &config).set("log.level", LOUD);
    let mut process = Process::start(&mut pod.command("run"), &folder.path().join("log"));
    let warns = |count: usize| {
        let warned =
            || pod.status().filter(|s| s["state"] == "converged" && s["warnings"].as_array().unwrap().len() == count);
        eventually(&format!("it has {count} warnings: {}", process.log()), warned)
    };
    let mut said = warns(0).to_string();
    for (fault, denied) in [
        (reply(200, "", json!({"token": [TOKEN]}).to_string()), reply(401, "WWW-Authenticate: Bearer\r\n", "")),
        (reply(403, "", format!("{PASSWORD} {TOKEN}")), reply(200, "", format!("{{\"config\": \"{TOKEN}\"}}"))),
    ] {
        tokens.turn(fault);
        said += &warns(1).to_string();
        tokens.turn(reply(200, "", json!({"token": TOKEN}).to_string()));
        said += &warns(0).to_string();
        double.turn(denied);
        said += &warns(1).to_string();
        double.turn(good.clone());
        said += &warns(0).to_string();
    }
    std::fs::write(&config, PASSWORD).unwrap();
    said += &warns(1).to_string();
    for page in ["/v1/status", "/metrics", "/readyz", "/livez", "/"] {
        said += &pod.get(page).unwrap().1;
    }
    for file in ["cmdline", "environ"] {
        said += &std::fs::read_to_string(format!("/proc/{}/{file}", process.id())).unwrap();
    }
    process.kill();
    said += &process.log();
    docker_config(folder.path(), &format!("127.0.0.1:{}", double.port));
    said += &format!("{:?}{:?}", pod.once(), pod.command("config").output());
    pod.change("image.docker_config", "/absent");
    said += &format!("{:?}", pod.once());
    said += &crate::harness::shell(pod.root(), "find . -type f -exec cat {} +");
    for heard in ["dagsync::engine", "reqwest", "/absent is not there", "gave no token|its token cannot be read"] {
        assert!(heard.split('|').any(|heard| said.contains(heard)), "it does not even say {heard}: {said}");
    }
    has_no_secret(&said, "a channel");
    assert!(tokens.asked().iter().any(|asked| asked.authorization().is_some()), "the password was used");
    assert!(double.asked().iter().any(|asked| asked.0.contains(TOKEN)), "and so was the token");
}
