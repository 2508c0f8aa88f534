//! One tree has one version, however it came into a bucket and whichever server keeps it.

use std::process::Command;

use dagsync_core::Digest;
use serde_json::json;

use super::Place;
use crate::harness::{
    Bucket, Outcome, Repo, S3Server, contents, dagsync, example_dags, generate, request, version_by_hand, version_of,
};

/// Names that clients, servers and listings in XML and URLs are known to stumble over.
const STRANGE: &[&str] = &[
    "späße/日本語.py",
    "NFC/é.py",
    "NFD/e\u{301}.py",
    "😀.py",
    "with space/and  two.py",
    " leading and trailing ",
    "plus+and%2Bpercent%.py",
    "a&b<c>d\"e'f.py",
    "hash#query?equal=semi;colon:at@.py",
    "[braces]{and}~tilde^caret`tick|pipe$dollar!,.py",
    "....py",
    "-dash.py",
    "deep/1/2/3/4/5/6/7/8/9/10/file",
];

#[test]
fn one_tree_has_one_version_in_both_layouts_on_both_servers_in_git_and_by_hand() {
    let folder = tempfile::tempdir().unwrap();
    let dags = folder.path();
    assert!(Command::new("cp").arg("-R").arg(example_dags().join(".")).arg(dags).status().unwrap().success());
    for (n, name) in STRANGE.iter().enumerate() {
        let path = dags.join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        // Every third is empty.
        std::fs::write(path, name.repeat(n % 3)).unwrap();
    }
    std::os::unix::fs::symlink("späße/日本語.py", dags.join("link.py")).unwrap();
    let by_hand = version_by_hand(dags);
    assert_eq!(Outcome::of(dagsync().arg("hash").arg(dags)).ended(0, &[]).stdout, by_hand);
    let repo = Repo::new();
    repo.copy(dags);
    repo.commit("the same tree");
    let mut pods = vec![crate::harness::Pod::new(&repo.file_url())];

    for server in [S3Server::moto(), S3Server::rgw()] {
        let bucket = server.bucket();
        let (files, published) = (Place::of(&bucket, "files"), Place::of(&bucket, "späße published/dags"));
        bucket.upload_dir("files/", dags);
        // Beside the prefix, and not below it.
        bucket.put("files.py", "other");
        bucket.put("files2/other.py", "other");
        assert_eq!(published.publish_dir(dags), by_hand);
        for (place, layout) in [(&files, "prefix"), (&files, "auto"), (&published, "published"), (&published, "auto")] {
            pods.push(place.pod().set("s3.layout", layout));
        }
    }
    for pod in pods {
        assert_eq!(pod.once().ended(0, &[]).stdout, by_hand);
        assert_eq!(version_by_hand(&pod.current().unwrap()), by_hand);
        Outcome::of(dagsync().args(["verify", "--expect", &by_hand]).arg(pod.root())).ended(0, &["verified"]);
    }
}

#[test]
fn ten_thousand_objects_are_ten_pages_and_one_version() {
    let folder = tempfile::tempdir().unwrap();
    generate(folder.path(), 10_000, 1);
    let version = version_of(folder.path()).unwrap();
    let bucket = S3Server::rgw().bucket();
    upload_unsigned(&bucket, "dags/", folder.path());
    let pod = Place::of(&bucket, "dags").pod();
    assert_eq!(pod.once().ended(0, &[]).stdout, version);
    Outcome::of(dagsync().arg("verify").arg(pod.root())).ended(0, &["verified", "10000 files"]);
    // On page three and on the last one.
    bucket.put("dags/team_1/dag_1240.py", "changed = True\n");
    bucket.delete("dags/team_6/dag_9995.py");
    std::fs::write(folder.path().join("team_1/dag_1240.py"), "changed = True\n").unwrap();
    std::fs::remove_file(folder.path().join("team_6/dag_9995.py")).unwrap();
    assert_eq!(pod.once().ended(0, &[]).stdout, version_of(folder.path()).unwrap());
}

/// By many clients at once that sign nothing: signing in Python takes longer than all the rest.
fn upload_unsigned(bucket: &Bucket, prefix: &str, folder: &std::path::Path) {
    let everybody = json!({ "Bucket": bucket.name, "ACL": "public-read-write" });
    bucket.server.call("s3", "put_bucket_acl", &everybody);
    let port = bucket.server.endpoint.rsplit_once(':').unwrap().1.parse().unwrap();
    let files: Vec<_> = contents(folder).unwrap().into_iter().collect();
    std::thread::scope(|scope| {
        for share in files.chunks(files.len().div_ceil(8)) {
            scope.spawn(move || {
                for (path, content) in share {
                    let path = format!("/{}/{prefix}{path}", bucket.name);
                    let body = std::str::from_utf8(content).unwrap();
                    let answer = request(port, "PUT", &path, "x-amz-acl: public-read\r\n", body);
                    assert_eq!(answer.as_ref().map(|(status, _)| *status), Some(200), "{path}: {answer:?}");
                }
            });
        }
    });
}

/// Of 200 MB no more is ever in memory than a few pieces.
#[test]
fn an_object_of_many_parts_is_brought_whole_and_piece_by_piece() {
    let bucket = S3Server::rgw().bucket();
    let size = 200 << 20;
    let content = bucket.multipart("dags/model.bin", size, 16 << 20);
    bucket.put("dags/a.py", "a");
    assert!(bucket.list()["dags/model.bin"].etag.ends_with("-13\""), "its ETag is the hash of nothing");
    let version = format!("sha256:{}", Digest::of(format!("{}  a.py\n{content}  model.bin\n", Digest::of("a"))));
    let pod = Place::of(&bucket, "dags").pod();
    assert_eq!(in_little_memory(&pod.command("once")), version);
    let folder = pod.current().unwrap();
    assert_eq!(folder.join("model.bin").metadata().unwrap().len(), size);
    // So does the publisher, and who reads what it published.
    let published = Place::of(&bucket, "published");
    assert_eq!(in_little_memory(&published.command(&[folder.to_str().unwrap()])), version);
    assert_eq!(in_little_memory(&published.pod().command("once")), version);
}

/// Runs a command that must succeed and never hold 100 MB; what it printed.
fn in_little_memory(command: &Command) -> String {
    let script = "import resource, subprocess, sys
code = subprocess.call(sys.argv[1:])
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
sys.exit(code)";
    let mut measured = Command::new("python3");
    measured.args(["-c", script]).arg(command.get_program()).args(command.get_args()).env_clear();
    measured.envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
    let outcome = Outcome::of(&mut measured);
    let (printed, peak) = outcome.ended(0, &[]).stdout.rsplit_once('\n').unwrap();
    let kib: u64 = peak.parse().unwrap();
    assert!(kib < 100 * 1000, "{command:?} held {kib} KiB");
    printed.to_owned()
}
