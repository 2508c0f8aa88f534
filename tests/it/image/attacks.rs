//! What somebody tries who can write to the DAGs of an image and knows how they are verified.

use serde_json::{Value, json};

use super::baked::Baked;
use super::faults::{Double, reply};
use crate::harness::{Outcome, dagsync, shell};

/// Makes the folder look like a store whose current version is the good tree.
fn plant_a_store(baked: &Baked) -> String {
    let version = baked.version();
    let hex = version.trim_start_matches("sha256:");
    baked.tamper(&format!(
        "cp -a . ../good; rm -rf ../good/.dagsync; mkdir -p versions .dagsync/manifests; cp -a ../good versions/{hex}
         cp .dagsync/manifest .dagsync/manifests/{hex}; ln -s versions/{hex} current; echo 'import os' > a.py"
    ));
    version
}

#[test]
fn a_planted_store_is_no_way_past_a_seal() {
    let baked = Baked::signed("seal");
    let (_, key) = baked.keys("seal");
    let version = plant_a_store(&baked);
    for args in [&["--key", &key][..], &[], &["--expect", &version], &["--key", &key, "--expect", &version]] {
        baked.verify(args).ended(1, &["modified  a.py", "added     .dagsync/manifests"]);
    }
    baked.tamper("rm .dagsync/seal.json .dagsync/seal.sig .dagsync/manifest");
    baked.verify(&["--key", &key]).ended(1, &["has no seal"]);
    // Without any of these it is a store, which says what it does not verify.
    baked.verify(&["--expect", &version]).ended(0, &["is a store", "such as a.py"]);
}

#[test]
fn an_unsigned_seal_does_not_say_what_is_left_out() {
    let baked = Baked::sealed();
    let version = baked.version();
    // As dagsync would write it: sealed with the glob that hides what is added then.
    let sealed = Outcome::of(dagsync().arg("seal").arg(baked.dags()).args(["--exclude", "evil.py"]));
    sealed.ended(0, &[&version]);
    baked.tamper("echo 1 > evil.py");
    baked.verify(&["--expect", &version]).ended(
        1,
        &[
            "added     evil.py",
            "sealed with --exclude \"evil.py\", and it is read with no globs",
            "give --exclude \"evil.py\"",
        ],
    );
    baked.verify(&["--expect", &version, "--exclude", "evil.py"]).ended(0, &["verified, 3 files"]);
    baked.verify(&[]).ended(0, &["verified"]);
    baked.verify(&["--exclude", "other"]).ended(1, &["it is read with --exclude \"other\""]);
    let mut pod = baked.pod();
    pod.start();
    let status = pod.wait("it is tampered", |s| s["state"] == "tampered");
    assert!(status["last_error"]["message"].as_str().unwrap().contains("somebody edited the seal"), "{status}");
}

#[test]
fn a_link_out_of_the_tree_needs_a_signed_seal_where_a_version_is_expected() {
    let baked = Baked::unsealed();
    let (private, key) = baked.keys("seal");
    let version = baked.version();
    baked.tamper("ln -s /nowhere/at/all dangling");
    baked.seal(&[]);
    baked.verify(&["--expect", &version]).ended(0, &["verified, 3 files", "warning: symbolic link dangling"]);
    for (link, target) in [("evil.py", "/nowhere/at/all"), ("common", "/etc"), ("mod", "../beside")] {
        baked.tamper(&format!("echo 1 > ../beside; ln -s {target} {link}"));
        // Not by hand: `find -L` follows what leads out of the tree.
        Outcome::of(dagsync().arg("seal").arg(baked.dags()).args(["--sign-key", &private])).ended(0, &[&version]);
        let named = format!("added     {link}");
        baked.verify(&["--expect", &version]).ended(1, &[&named, "only a signed seal can vouch for that"]);
        baked.verify(&["--expect", &version, "--key", &key]).ended(0, &["verified, 3 files"]);
        baked.verify(&[]).ended(0, &["verified, 3 files"]);
        let pod = baked.pod().set("image.expect", &version);
        pod.once().ended(1, &[&format!("{link} is added")]);
        pod.set("image.key_file", &key).once().ended(0, &[]);
        baked.tamper(&format!("ln -sfn /tmp/evil {link}"));
        baked.verify(&["--key", &key]).ended(1, &[&format!("modified  {link}")]);
        baked.tamper(&format!("rm {link}"));
    }
}

#[test]
fn code_where_no_version_looks_is_named_and_never_sealed() {
    for path in [".dagsync/evil.py", "__pycache__/evil.py", "lost+found/evil.py", ".nfs_evil.py", "evil.pyc"] {
        let baked = Baked::signed("seal");
        let (_, key) = baked.keys("seal");
        let version = baked.version();
        baked.tamper(&format!("mkdir -p $(dirname {path}); echo 1 > {path}"));
        for args in [&["--key", &key][..], &[], &["--expect", &version]] {
            baked.verify(args).ended(1, &[&format!("added     {path}"), "Airflow may load it"]);
        }
        let mut pod = baked.pod();
        pod.start();
        let status = pod.wait("it is tampered", |s| s["state"] == "tampered");
        assert_eq!(status["tampered"], json!([{"path": path, "change": "added"}]));
        let sealed = Outcome::of(dagsync().arg("seal").arg(baked.dags()));
        sealed.ended(2, &[path, "remove it from the image"]);
    }
}

#[test]
fn one_bad_name_hides_no_other_change() {
    let baked = Baked::sealed();
    baked.tamper("echo 2 > a.py; echo 1 > 'ev\\il.py'");
    baked.verify(&[]).ended(1, &["modified  a.py", "ev\\\\il.py holds a control character or a backslash"]);
    baked.pod().once().ended(1, &["a.py is modified", "ev\\\\il.py holds"]);
}

#[test]
fn a_bomb_of_links_ends_and_is_tampered() {
    let baked = Baked::sealed();
    baked.tamper("for i in $(seq 0 21); do mkdir d$i; ln -s ../d$((i+1)) d$i/x; ln -s ../d$((i+1)) d$i/y; done; mkdir d22; touch d22/f");
    baked.verify(&[]).ended(1, &["cannot be read as a whole", "behind symbolic links"]);
    baked.pod().once().ended(1, &["cannot be read as a whole", "limits.files"]);
}

/// The state, the error and the list change together, and nothing looks like a success in between.
#[test]
fn a_folder_or_a_seal_that_goes_away_is_tampered() {
    for hand in ["rm -r ../dags", "rm -r .dagsync", "rm -r .dagsync; echo 1 > evil.py"] {
        let baked = Baked::sealed();
        let mut pod = baked.pod();
        pod.start();
        let before = pod.wait("it is converged", |s| s["state"] == "converged");
        baked.tamper(hand);
        let status = pod.wait("it is no longer", |s| s["state"] != "converged");
        assert_eq!(status["state"], "tampered", "{hand}");
        assert!(status["last_error"]["message"].as_str().unwrap().contains("not there any longer"), "{hand}: {status}");
        let success = |status: &Value| status["last_success"].as_str().map(str::to_owned);
        assert!(success(&status) >= success(&before));
        let moved = success(&status);
        std::thread::sleep(std::time::Duration::from_millis(600));
        let status = pod.status().unwrap();
        assert_eq!((&status["state"], success(&status)), (&json!("tampered"), moved), "{hand}");
    }
}

#[test]
fn an_unsealed_image_is_compared_and_an_intact_one_is_ready() {
    let (baked, other) = (Baked::sealed(), format!("sha256:{}", "0".repeat(64)));
    baked.verify(&["--expect", &other]).ended(1, &["mismatch, intact, but another version than expected"]);
    let mut pod = baked.pod().set("image.expect", &other);
    pod.start();
    let status = pod.wait("it is stale", |s| s["state"] == "stale");
    assert!(!status["last_error"].is_null() && status["last_success"].is_null(), "{status}");
    assert_eq!(pod.get("/readyz").unwrap().0, 200, "what is there was verified");
    let unsealed = Baked::unsealed();
    let mut pod = unsealed.pod().set("image.expect", &other);
    pod.start();
    let status = pod.wait("it is stale", |s| s["state"] == "stale");
    assert!(status["last_error"]["message"].as_str().unwrap().contains("has no seal and holds another"), "{status}");
    assert_eq!(pod.get("/readyz").unwrap().0, 503);
}

#[test]
fn a_leader_that_is_not_well_is_no_measure() {
    let baked = Baked::sealed();
    for (state, code) in [("tampered", 2), ("unsealed", 2), ("starting", 2), ("converged", 0), ("stale", 0)] {
        let status = json!({"state": state, "version": baked.version()});
        let leader = Double::doing(reply(200, "", status.to_string()));
        baked.verify(&["--expect-from", &leader.url()]).ended(code, &[if code == 0 { "verified" } else { state }]);
    }
}

#[test]
fn keys_and_manifests_that_are_given_count() {
    let baked = Baked::signed("seal");
    let (_, key) = baked.keys("seal");
    let manifest = baked.dags().join(".dagsync/manifest");
    let manifest = manifest.to_str().unwrap();
    baked.verify(&["--manifest", manifest, "--key", &key]).ended(64, &["cannot be used with"]);
    let bin = dagsync().get_program().to_str().unwrap().to_owned();
    let pipe = format!("bash -c '{bin} verify {} --key <(sleep 0.3; cat {key})'", baked.dags().display());
    assert!(shell(baked.beside(), &pipe).contains("verified"));
}

#[test]
fn what_would_not_be_verified_is_not_sealed() {
    let baked = Baked::signed("seal");
    let seal = |args: &[&str]| Outcome::of(dagsync().arg("seal").args(args));
    let dags = baked.dags().display().to_string();
    seal(&[&dags, "--revision", "a\nb"]).ended(64, &["--revision holds a control character"]);
    seal(&[&dags]).ended(0, &["the seal was signed before and is not any longer"]);
    baked.tamper(
        "mkdir ../empty; mkdir -p ../store/.dagsync/manifests ../store/versions/x; cp a.py ../store/versions/x",
    );
    let beside = |name: &str| baked.beside().join(name).display().to_string();
    seal(&[&beside("empty")]).ended(2, &["there is no file to seal"]);
    seal(&[&beside("store")]).ended(2, &["belongs to a store"]);
    seal(&[&beside("store/versions/x")]).ended(2, &["belongs to a store"]);
}

#[test]
fn settings_that_would_make_verifying_pointless_are_refused() {
    let baked = Baked::sealed();
    baked.pod().set("scrub.interval", "0s").once().ended(64, &["scrub.interval", "never be verified again"]);
    baked
        .pod()
        .at(&baked.dags().join("root"))
        .once()
        .ended(64, &["root", "must not lie in the folder that is verified"]);
    assert!(!baked.dags().join("root").exists());
}
