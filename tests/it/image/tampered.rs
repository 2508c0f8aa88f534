//! `dagsync verify` finds every way in which a sealed tree can be touched, and names the files.

use serde_json::{Value, json};

use super::baked::Baked;
use crate::harness::Outcome;

/// Ways to touch files, and which files `verify` has to name, and how.
const HANDS: &[(&str, &[(&str, &str)])] = &[
    ("echo 'a = 1; import os' > a.py", &[("a.py", "modified")]),
    ("touch -r a.py ../t; echo 'a = 2' > a.py; touch -r ../t a.py", &[("a.py", "modified")]),
    ("echo 'import os' > team/added.py", &[("team/added.py", "added")]),
    ("mkdir new; echo 1 > new/x.py; rm team/b.py", &[("new/x.py", "added"), ("team/b.py", "missing")]),
    ("rm team/b.py", &[("team/b.py", "missing")]),
    ("rm -r team", &[("team/b.py", "missing"), ("team/c.txt", "missing")]),
    ("mv a.py renamed.py", &[("a.py", "missing"), ("renamed.py", "added")]),
    // Links: to other content in the tree, out of it, and to nothing.
    ("ln -sf team/c.txt a.py", &[("a.py", "modified")]),
    ("ln -sf /etc/passwd a.py", &[("a.py", "modified")]),
    ("echo 'b = 2' > ../evil.py; ln -sf ../../evil.py team/b.py", &[("team/b.py", "modified")]),
    ("ln -sf nowhere a.py", &[("a.py", "modified")]),
    ("ln -s /etc/passwd added.py", &[("added.py", "added")]),
    ("cp a.py ../same.py; ln -sf ../same.py a.py", &[("a.py", "modified")]),
    (
        "cp -r team ../evil; rm -r team; ln -s ../evil team",
        &[("team", "added"), ("team/b.py", "missing"), ("team/c.txt", "missing")],
    ),
    ("mv team other; ln -s other team", &[("other/b.py", "added"), ("other/c.txt", "added")]),
    // A link to a folder that is in the tree already.
    ("ln -s team again", &[("again/b.py", "added"), ("again/c.txt", "added")]),
];

/// What changes nothing.
const HARMLESS: &[&str] = &[
    "chmod -R a+rwx .; chmod 4700 a.py",
    "touch a.py team",
    "cp a.py ../t; rm a.py; mv ../t a.py",
    "mkdir -p empty/folder",
    // The same content under the same name, by whichever way.
    "mkdir __pycache__; cp a.py __pycache__/x; ln -sf __pycache__/x a.py; rm -r __pycache__/x; rm a.py; echo 'a = 1' > a.py",
    "python3 -m compileall -q . && find . -name '*.pyc' | grep -q .",
    "python3 -m compileall -q -b . && [ -e a.pyc ]",
    "echo 1 > .nfs0000000001a2b3c4; echo 1 > team/.nfs00000001",
    "mkdir -p .git; echo 1 > .git/index",
];

#[track_caller]
fn parsed(outcome: &Outcome) -> Value {
    serde_json::from_str(&outcome.stdout).unwrap_or_else(|e| panic!("{e}: {outcome:#?}"))
}

/// Status 1 and the names, in text and in JSON; with `--on-drift warn` the same is said, and status 0.
#[track_caller]
fn is_found(baked: &Baked, args: &[&str], names: &[(&str, &str)], hand: &str) {
    let found = baked.verify(args);
    assert_eq!(found.code, Some(1), "{hand}: {found:#?}");
    let lines: Vec<String> = names.iter().map(|(path, fate)| format!("{fate:8}  {path}")).collect();
    let said: Vec<&str> = found.stdout.lines().collect();
    assert_eq!(said[..said.len() - 2], lines, "{hand}: {found:#?}");
    assert!(said[said.len() - 1].ends_with("mismatch in 1 file") || names.len() > 1, "{hand}: {found:#?}");
    let machine = baked.verify(&[args, &["--output", "json"]].concat());
    assert_eq!(machine.code, Some(1), "{hand}");
    let machine = parsed(&machine);
    let changes: Vec<Value> = names.iter().map(|(path, fate)| json!({"path": path, "change": fate})).collect();
    assert_eq!((&machine["ok"], &machine["changes"]), (&json!(false), &json!(changes)), "{hand}");
    let warned = baked.verify(&[args, &["--on-drift", "warn"]].concat());
    assert_eq!((warned.code, &warned.stdout), (Some(0), &found.stdout), "{hand}");
    let warned = baked.verify(&[args, &["--on-drift", "warn", "--output", "json"]].concat());
    assert_eq!((warned.code, parsed(&warned)), (Some(0), machine), "{hand}");
}

#[test]
fn every_file_that_was_touched_is_named() {
    for (hand, names) in HANDS {
        let baked = Baked::sealed();
        baked.verify(&[]).ended(0, &["verified, 3 files"]);
        baked.tamper(hand);
        is_found(&baked, &[], names, hand);
    }
}

#[test]
fn a_signature_changes_nothing_of_that() {
    for (hand, names) in HANDS {
        let baked = Baked::signed("seal");
        let (_, key) = baked.keys("seal");
        baked.verify(&["--key", &key]).ended(0, &["verified, 3 files"]);
        baked.tamper(hand);
        is_found(&baked, &["--key", &key], names, hand);
    }
}

#[test]
fn modes_times_bytecode_and_what_nfs_leaves_are_no_part_of_a_tree() {
    for harmless in HARMLESS {
        let baked = Baked::signed("seal");
        let (_, key) = baked.keys("seal");
        baked.tamper(harmless);
        for args in [&[][..], &["--key", &key]] {
            let found = baked.verify(args);
            assert_eq!(found.code, Some(0), "{harmless}: {found:#?}");
        }
    }
}

/// What was there when it was sealed, though it counts for nothing, is no news; another target of it is.
#[test]
fn a_link_that_was_sealed_is_known() {
    let baked = Baked::unsealed();
    baked.tamper("ln -s nowhere host");
    baked.seal(&[]);
    baked.verify(&[]).ended(0, &["host -> nowhere"]);
    baked.tamper("ln -s /etc/hostname other");
    is_found(&baked, &[], &[("other", "added")], "another link");
    baked.tamper("rm other; ln -sfn /etc host");
    is_found(&baked, &[], &[("host", "modified")], "another target");
}

/// A link to the same content is the same tree to a reader.
#[test]
fn a_link_to_the_same_content_is_the_same_tree() {
    let baked = Baked::unsealed();
    baked.tamper("cp a.py same.py");
    baked.seal(&[]);
    baked.tamper("ln -sf same.py a.py");
    baked.verify(&[]).ended(0, &["verified, 4 files"]);
}

/// What is wrong with a seal is no list of files: status 1, and what it is.
#[track_caller]
fn is_broken(baked: &Baked, args: &[&str], why: &str, hand: &str) {
    let found = baked.verify(args);
    assert!(found.code == Some(1) && found.stderr.contains(why), "{hand}: {found:#?}");
    let machine = baked.verify(&[args, &["--output", "json"]].concat());
    let answer = parsed(&machine);
    assert!(machine.code == Some(1) && answer["ok"] == false, "{hand}: {machine:#?}");
    assert!(answer["error"].as_str().unwrap().contains(why), "{hand}: {machine:#?}");
    let warned = baked.verify(&[args, &["--on-drift", "warn"]].concat());
    assert!(warned.code == Some(0) && warned.stderr.contains(why), "{hand}: {warned:#?}");
}

/// Edits of a seal that it does not stand; whoever made them.
const SEALS: &[(&str, &str)] = &[
    ("sed -i 's/\"files\": 3/\"files\": 4/' .dagsync/seal.json", "counts other files"),
    ("echo >> .dagsync/seal.json", "was edited"),
    ("echo '{}' > .dagsync/seal.json", "is not a seal"),
    ("echo '<html>' > .dagsync/seal.json", "is not a seal"),
    (": > .dagsync/seal.json", "is not a seal"),
    ("rm .dagsync/seal.json; mkdir .dagsync/seal.json", "is no file"),
    ("sed -i '/a.py/d' .dagsync/manifest", "is not the manifest of the sealed version"),
    ("echo >> .dagsync/manifest", "is not the manifest of the sealed version"),
    ("rm .dagsync/manifest", "manifest is missing"),
    ("rm .dagsync/manifest; mkdir .dagsync/manifest", "is no file"),
    ("sed -i 's/\"format\": 1/\"format\": 2/' .dagsync/seal.json", "is of format 2"),
    (
        "sed -i 's/\"exclude\": \\[\\]/\"exclude\": [\\n    \"a[\"\\n  ]/' .dagsync/seal.json",
        "a glob that cannot be read",
    ),
    ("head -c 2M /dev/zero > .dagsync/seal.json", "is larger than"),
    ("ln -sf seal.json .dagsync/seal.json", "is no file"),
    ("ln -sf /dev/zero .dagsync/manifest", "is no file"),
    ("rm .dagsync/seal.json", "seal.json is missing"),
    ("mv .dagsync ../seal; ln -s ../seal .dagsync", ".dagsync is no folder"),
    (
        "echo x > .dagsync/manifest; hash=$(sha256sum < .dagsync/manifest | cut -c -64); sed -i \"s/sha256:[0-9a-f]*/sha256:$hash/\" .dagsync/seal.json",
        "is no manifest",
    ),
    (
        "hash=$(echo x | sha256sum | cut -c -64); sed -i \"s/sha256:[0-9a-f]*/sha256:$hash/\" .dagsync/seal.json",
        "is not the manifest of the sealed version",
    ),
];

#[test]
fn a_seal_that_was_edited_is_said_to_be() {
    for (hand, why) in SEALS {
        let baked = Baked::sealed();
        baked.tamper(hand);
        is_broken(&baked, &[], why, hand);
    }
}

#[test]
fn a_signed_seal_that_was_edited_is_found_by_its_signature() {
    let edits =
        |hand: &str| hand.contains("seal.json") && !["mkdir", "2M", "ln ", "rm "].iter().any(|how| hand.contains(how));
    for (hand, _) in SEALS.iter().filter(|(hand, _)| edits(hand)) {
        let baked = Baked::signed("seal");
        baked.tamper(hand);
        is_broken(&baked, &["--key", &baked.keys("seal").1], "the signature is not of this seal and key", hand);
    }
}

/// Who may write both can lie consistently: without a signature nothing can tell, with one it is told.
#[test]
fn sealing_anew_is_found_only_where_a_key_is_given() {
    let baked = Baked::signed("seal");
    let (_, key) = baked.keys("seal");
    let signature = std::fs::read(baked.dags().join(".dagsync/seal.sig")).unwrap();
    baked.tamper("echo 'import os' > a.py");
    baked.seal(&[]);
    baked.verify(&[]).ended(0, &["verified"]);
    is_broken(&baked, &["--key", &key], "is not signed", "sealed without a key");
    std::fs::write(baked.dags().join(".dagsync/seal.sig"), signature).unwrap();
    is_broken(&baked, &["--key", &key], "the signature is not of this seal and key", "the old signature");
    let (other, other_public) = baked.keys("other");
    baked.seal(&["--sign-key", &other]);
    baked.verify(&["--key", &other_public]).ended(0, &["verified"]);
    is_broken(&baked, &["--key", &key], "the signature is not of this seal and key", "another key's");
}

#[test]
fn a_seal_of_another_tree_no_seal_and_no_signature() {
    let (baked, other) = (Baked::signed("seal"), Baked::unsealed());
    let (private, key) = baked.keys("seal");
    other.tamper("echo 'a = 3' > a.py");
    let wanted = other.seal(&["--sign-key", &private]);
    baked.tamper(&format!("rm -r .dagsync; cp -r {}/.dagsync .", other.dags().display()));
    // A seal that somebody has, as of last week's image, is one with a good signature.
    for args in [&[][..], &["--key", &key]] {
        is_found(&baked, args, &[("a.py", "modified")], "another tree's seal");
        baked.verify(args).ended(1, &[&wanted, &baked.version()]);
    }
    baked.tamper("rm .dagsync/seal.sig");
    is_broken(&baked, &["--key", &key], "is not signed", "no signature");
    baked.tamper("echo rubbish > .dagsync/seal.sig");
    is_broken(&baked, &["--key", &key], "the signature is not of this seal and key", "rubbish for a signature");
    baked.tamper("rm -r .dagsync");
    is_broken(&baked, &["--key", &key], "has no seal", "no seal");
    // Without a key, a folder that was never sealed looks the same.
    baked.verify(&[]).ended(1, &["has no seal, so there is nothing to compare it with", "dagsync seal"]);
    baked.verify(&["--on-drift", "warn"]).ended(0, &["has no seal, so there is nothing to compare it with"]);
    // What is expected besides does not need one.
    baked.verify(&["--expect", &baked.version()]).ended(0, &["verified"]);
    baked.verify(&["--expect", &wanted]).ended(1, &["mismatch"]);
}

#[test]
fn keys_that_are_none_say_so() {
    let baked = Baked::signed("seal");
    let (private, public) = baked.keys("seal");
    baked.verify(&["--key", &private]).ended(64, &["is no public ed25519 key", "openssl pkey"]);
    baked.verify(&["--key", "/absent"]).ended(64, &["/absent is not there"]);
    let sealed = Outcome::of(crate::harness::dagsync().arg("seal").arg(baked.dags()).args(["--sign-key", &public]));
    sealed.ended(64, &["is no private ed25519 key", "openssl genpkey"]);
    baked.verify(&["--key", &public]).ended(0, &["verified"]);
    let secret = std::fs::read_to_string(&private).unwrap();
    let secret = secret.lines().nth(1).unwrap();
    assert!(!format!("{:?}", baked.verify(&["--key", &private])).contains(secret));
}
