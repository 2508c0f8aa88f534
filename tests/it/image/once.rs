//! `dagsync once` as the init container of a pod with baked DAGs: 0 when they are as sealed, 1 when not, 2 when nobody could
//! look.

use super::baked::Baked;
use crate::harness::Pod;

#[test]
fn a_tree_as_it_was_sealed_is_fine() {
    let baked = Baked::signed("seal");
    let pod = baked.pod().set("image.key_file", baked.keys("seal").1);
    assert_eq!(pod.once().ended(0, &[]).stdout, baked.version());
    let version = baked.version();
    baked.pod().set("image.expect", &version).once().ended(0, &[&version]);
    assert!(pod.current().is_none(), "nothing is published");
}

#[test]
fn a_tree_that_is_another_ends_it_with_1() {
    let baked = Baked::signed("seal");
    let (_, key) = baked.keys("seal");
    let pod = |baked: &Baked| baked.pod().set("image.key_file", &key);
    let (version, other) = (baked.version(), Baked::unsealed());
    other.tamper("echo 1 > d.py");
    let stale = pod(&baked).set("image.expect", other.version()).once();
    stale.ended(1, &["the image holds another version than it should", &version, &other.version()]);
    other.pod().once().ended(1, &["the tree has no seal", "dagsync seal"]);
    other.seal(&["--sign-key", &baked.keys("other").0]);
    pod(&other).once().ended(1, &["the signature is not of this seal and key"]);
    baked.tamper("ln -sf /etc/passwd a.py");
    pod(&baked).once().ended(1, &["a.py is modified", "replace the pod"]);
    baked.tamper("rm .dagsync/manifest");
    pod(&baked).once().ended(1, &["manifest is missing"]);
}

#[test]
fn where_nobody_could_look_it_ends_with_2_and_settings_that_are_wrong_with_64() {
    let baked = Baked::sealed();
    let absent = format!("{}/absent", baked.source());
    Pod::new(&absent).once().ended(2, &["absent is not there", "image:/opt/airflow/dags"]);
    Pod::new("image:dags").once().ended(64, &["is not an absolute path"]);
    baked.pod().set("image.expect", "x").once().ended(64, &["image.expect"]);
    baked.pod().set("image.key_file", "/absent").once().ended(64, &["/absent is not there"]);
    let globs = |baked: &Baked| baked.pod().set("exclude", "*.txt");
    globs(&baked).once().ended(1, &["sealed under other globs", "somebody edited the seal"]);
    let signed = Baked::signed("seal");
    globs(&signed).set("image.key_file", signed.keys("seal").1).once().ended(64, &["sealed under other globs"]);
}
