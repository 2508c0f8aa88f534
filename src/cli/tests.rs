use std::path::Path;
use std::sync::Arc;

use clap::CommandFactory;
use dagsync_core::{
    Factory, Kind, Revision, Setting, Spec, Staging, Strategy, SyncContext, Tree, TreePath, async_trait,
};
use serde_json::Value as Json;
use tempfile::TempDir;

use super::*;
use crate::store::Store;

/// A folder as the source, file by file.
#[derive(Debug)]
struct Copy(String);

impl std::fmt::Display for Copy {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

#[async_trait]
impl Strategy for Copy {
    async fn resolve(&self, _: &SyncContext) -> Result<Revision> {
        Ok(Revision::new("r1"))
    }

    async fn materialize(&self, _: &SyncContext, _: &Revision, staging: &Staging) -> Result<Tree> {
        for file in ["a.py", "b.py"] {
            let bytes = dagsync_core::fs::read(&Path::new(&self.0).join(file), 1 << 20)?.unwrap_or_default();
            staging.write_bytes(&TreePath::new(file)?, false, &bytes)?;
        }
        Ok(Tree::Staged)
    }
}

fn registry() -> Registry {
    const SETTINGS: &[Setting] = &[
        Setting::new("git.ref", Kind::Text, "HEAD", "What to follow."),
        Setting::new("git.subpath", Kind::Text, "", "What to bring."),
    ];
    let build = |spec: &Spec<'_>| -> Result<Arc<dyn Strategy>> { Ok(Arc::new(Copy(spec.source.to_owned()))) };
    Registry::new().with(Factory { name: "git", about: "A test.", settings: SETTINGS, infers: |_| true, build })
}

fn argv(line: &str) -> Vec<OsString> {
    std::iter::once("dagsync").chain(line.split_whitespace()).map(OsString::from).collect()
}

fn ask(line: &str) -> Result<Answer> {
    run(&registry(), parse(&registry(), argv(line)).unwrap())
}

fn ask_json(line: &str) -> (Exit, Json) {
    let answer = ask(&format!("{line} --output json")).unwrap();
    (answer.exit, serde_json::from_str(&answer.text).unwrap())
}

/// Two folders of two files that differ in one, and room for a store.
struct World(TempDir);

impl World {
    fn new() -> Self {
        let world = Self(tempfile::tempdir().unwrap());
        for (folder, b) in [("one", "2\n"), ("two", "3\n")] {
            dagsync_core::fs::create_folders(&world.0.path().join(folder)).unwrap();
            world.write(&format!("{folder}/a.py"), "1\n");
            world.write(&format!("{folder}/b.py"), b);
        }
        world
    }

    fn write(&self, name: &str, text: &str) {
        dagsync_core::fs::write_atomic(&self.0.path().join(name), text.as_bytes()).unwrap();
    }

    fn path(&self, name: &str) -> String {
        self.0.path().join(name).display().to_string()
    }

    fn with_store() -> Self {
        let world = Self::new();
        let answer = ask(&format!("once --source {} --root {}", world.path("one"), world.path("store"))).unwrap();
        assert_eq!(answer, Answer::text(Exit::Fine, format!("{VERSION}\n")));
        world
    }
}

/// By hand: `printf '%s  %s\n' $(printf '1\n' | sha256sum | cut -c-64) a.py $(printf '2\n' | sha256sum | cut -c-64) b.py
/// | sha256sum`.
const VERSION: &str = "sha256:87a84d403bc348a61f4ce5e349b4865f9d0edb3ae48972dc4a8ec5b52e420f25";
const MANIFEST: &str = "\
4355a46b19d348dc2f57c046f8ef63d4538ebb936000f3c9ee954a27460dd865  a.py
53c234e5e8472b6ac51c1ae1cab3fe06fad053beb8ebfd8977b010655bfdd3c3  b.py
";

#[test]
fn the_arguments_are_consistent_and_every_command_has_help() {
    args::command(&registry()).debug_assert();
    let names: Vec<_> = Args::command().get_subcommands().map(|c| c.get_name().to_owned()).collect();
    let publish = cfg!(feature = "s3").then_some("publish");
    let seal = cfg!(feature = "image").then_some("seal");
    let before = ["run", "once", "git-sync", "status", "hash", "diff", "verify"];
    let all: Vec<_> = before.into_iter().chain(seal).chain(publish).chain(["drift", "config", "completions"]).collect();
    assert_eq!(names, all);
    for name in names {
        for flag in ["-h", "--help"] {
            let help = parse(&registry(), argv(&format!("{name} {flag}"))).unwrap_err();
            let text = help.to_string();
            assert!(!help.use_stderr() && text.contains("Examples:") && text.contains("Exit status:"), "{text}");
        }
    }
    let help = parse(&registry(), argv("--help")).unwrap_err().to_string();
    assert!(help.contains("Strategies compiled in:\n  git      A test."), "{help}");
}

#[test]
fn wrong_arguments_are_usage_errors() {
    for line in ["", "bogus", "hash", "diff a", "hash a --output xml", "verify a --expect v1", "once --set x"] {
        let error = parse(&registry(), argv(line)).unwrap_err();
        assert!(error.use_stderr(), "{line}");
    }
    assert_eq!(main(&registry(), argv("bogus")), Exit::Usage);
    assert_eq!(main(&registry(), argv("--version")), Exit::Fine);
    assert_eq!(Exit::from(&Error::new(ErrorKind::Config, "test", "x")), Exit::Usage);
    assert_eq!(Exit::from(&Error::new(ErrorKind::Io, "test", "x")), Exit::Failed);
}

#[test]
fn every_flag_sets_its_setting() {
    let line = "config --source s --strategy git --root /r --link l --period 1m --timeout 2m --http-bind 127.0.0.1:1 \
                --max-failures -1 --ref main --subpath dags --include *.py --exclude a,{b,c} --exclude d --allow-empty \
                --set keep.pinned= --set keep.versions=9 --log-level debug --log-format json";
    let (_, json) = ask_json(line);
    for (name, value, origin) in [
        ("source", "\"s\"", "--source"),
        ("root", "\"/r\"", "--root"),
        ("link", "\"l\"", "--link"),
        ("period", "\"1m\"", "--period"),
        ("timeout", "\"2m\"", "--timeout"),
        ("http.bind", "\"127.0.0.1:1\"", "--http-bind"),
        ("max_failures", "-1", "--max-failures"),
        ("git.ref", "\"main\"", "--ref"),
        ("git.subpath", "\"dags\"", "--subpath"),
        ("include", "[\"*.py\"]", "--include"),
        ("exclude", "[\"a,{b,c}\",\"d\"]", "--exclude"),
        ("allow_empty", "true", "--allow-empty"),
        ("keep.versions", "9", "--set keep.versions"),
        ("keep.pinned", "[]", "--set keep.pinned"),
        ("log.level", "\"debug\"", "--log-level"),
        ("log.format", "\"json\"", "--log-format"),
    ] {
        let found = json["settings"].as_array().unwrap().iter().find(|s| s["name"] == name).unwrap();
        assert_eq!(
            (found["value"].to_string(), &found["origin"]),
            (value.to_owned(), &format!("flag {origin}").into())
        );
    }
    assert_eq!(json["strategy"], "git");
}

#[test]
fn config_is_a_table_and_completions_are_scripts() {
    let text = ask("config --period 42s").unwrap().text;
    let line = text.lines().find(|l| l.starts_with("period ")).unwrap();
    assert_eq!(line.split_whitespace().collect::<Vec<_>>(), ["period", "flag", "--period", "42s"]);
    assert!(ask("config --markdown").unwrap().text.starts_with("| setting | type |"));
    assert!(ask("completions bash").unwrap().text.contains("dagsync"));
    let error = ask("config --set git.reff=x").unwrap_err();
    assert!(error.to_string().contains("did you mean git.ref?"), "{error}");
}

#[test]
fn hash_prints_the_version_or_the_manifest() {
    let world = World::new();
    let one = world.path("one");
    assert_eq!(ask(&format!("hash {one}")).unwrap(), Answer::text(Exit::Fine, format!("{VERSION}\n")));
    assert_eq!(ask(&format!("hash {one} --manifest")).unwrap().text, MANIFEST);
    let (_, json) = ask_json(&format!("hash {one} --exclude b.py --manifest"));
    assert_eq!((&json["files"], &json["bytes"], &json["manifest"][0]["path"]), (&1.into(), &2.into(), &"a.py".into()));
    assert_eq!(ask(&format!("hash {}", world.path("three"))).unwrap_err().kind(), ErrorKind::Io);
}

#[test]
fn an_index_saves_reading() {
    let world = World::new();
    std::thread::sleep(std::time::Duration::from_millis(50));
    let line = format!("hash {} --index {}", world.path("one"), world.path("index"));
    assert_eq!(ask_json(&line).1["files_read"], 2);
    assert_eq!(ask_json(&line).1["files_read"], 0);
    world.write("one/b.py", "4\n");
    assert_eq!(ask_json(&line).1["files_read"], 1);
}

#[test]
fn diff_names_what_differs() {
    let world = World::with_store();
    world.write("two/c.py", "");
    world.write("one.sha256", MANIFEST);
    let sides = ["one", "one.sha256", "store"].map(|name| world.path(name));
    for side in &sides {
        let (exit, json) = ask_json(&format!("diff {side} {}", world.path("two")));
        assert_eq!((exit, &json["equal"], &json["a"]["version"]), (Exit::Mismatch, &false.into(), &VERSION.into()));
        let changes: Vec<_> = json["changes"].as_array().unwrap().iter().map(ToString::to_string).collect();
        assert_eq!(changes, [r#"{"change":"modified","path":"b.py"}"#, r#"{"change":"added","path":"c.py"}"#]);
        let equal = ask(&format!("diff {side} {}", sides[0])).unwrap();
        assert_eq!(equal, Answer::text(Exit::Fine, format!("{VERSION}  equal, 2 files\n")));
    }
    let answer = ask(&format!("diff {} {}", world.path("two"), sides[0])).unwrap();
    assert!(answer.text.starts_with("modified  b.py\nremoved   c.py\n"), "{}", answer.text);
    assert!(answer.text.ends_with("\n2 files differ\n"), "{}", answer.text);
    let one = ask(&format!("diff {} {} --exclude c.py", world.path("two"), sides[0])).unwrap().text;
    assert!(one.ends_with("\n1 file differs\n"), "{one}");
}

#[test]
fn diff_asks_a_daemon() {
    crate::install_crypto();
    let world = World::new();
    let (sender, receiver) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let status = || async { format!("{{\"version\":\"{VERSION}\"}}") };
        let path = format!("/v1/versions/{}/manifest", VERSION.trim_start_matches("sha256:"));
        let router = axum::Router::new()
            .route("/v1/status", axum::routing::get(status))
            .route(&path, axum::routing::get(|| async { MANIFEST }));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
            sender.send(listener.local_addr().unwrap()).unwrap();
            axum::serve(listener, router).await
        })
    });
    let url = format!("http://{}", receiver.recv().unwrap());
    assert_eq!(ask(&format!("diff {url} {}", world.path("one"))).unwrap().exit, Exit::Fine);
    assert_eq!(ask(&format!("diff {} {url}", world.path("two"))).unwrap().exit, Exit::Mismatch);
    assert_eq!(ask(&format!("status {url}")).unwrap().text, format!("version  {VERSION}\n"));
}

#[test]
fn verify_reads_what_is_there() {
    let world = World::new();
    world.write("one.sha256", MANIFEST);
    let (one, two, manifest) = (world.path("one"), world.path("two"), world.path("one.sha256"));
    for expectation in [format!("--manifest {manifest}"), format!("--expect {VERSION}")] {
        assert_eq!(ask(&format!("verify {one} {expectation}")).unwrap().exit, Exit::Fine);
        let (exit, json) = ask_json(&format!("verify {two} {expectation}"));
        assert_eq!((exit, &json["ok"], &json["expected"]), (Exit::Mismatch, &false.into(), &VERSION.into()));
    }
    dagsync_core::fs::remove_file(&world.0.path().join("two/a.py")).unwrap();
    world.write("two/c.py", "");
    let answer = ask(&format!("verify {two} --manifest {manifest}")).unwrap();
    assert!(answer.text.starts_with("missing   a.py\nmodified  b.py\nadded     c.py\n"), "{}", answer.text);
    assert_eq!(ask(&format!("verify {one}")).unwrap().exit, Exit::Mismatch, "nobody says what it should be");
}

#[test]
fn a_store_is_shown_and_verified_by_its_own_manifest() {
    let world = World::with_store();
    let store = world.path("store");
    let (exit, json) = ask_json(&format!("status {store}"));
    assert_eq!((exit, &json["version"], &json["revision"]), (Exit::Fine, &VERSION.into(), &"r1".into()));
    assert_eq!((&json["files"], &json["strategy"]), (&2.into(), &"git".into()));
    dagsync_core::fs::remove_file(&world.0.path().join("store/.dagsync/state.json")).unwrap();
    assert_eq!(ask_json(&format!("status {store}")).1["version"], VERSION);

    for expectation in ["", &format!("--expect {VERSION}")] {
        assert_eq!(ask(&format!("verify {store} {expectation}")).unwrap().exit, Exit::Fine);
    }
    let folder = dagsync_core::fs::Folder::open(world.0.path().join("store/current")).unwrap();
    folder.chmod(0o755).unwrap();
    world.write("store/current/b.py", "tampered");
    for expectation in ["", &format!("--expect {VERSION}")] {
        let answer = ask(&format!("verify {store} {expectation}")).unwrap();
        assert_eq!(answer.exit, Exit::Mismatch);
        assert!(answer.text.starts_with("modified  b.py\n"), "{}", answer.text);
    }
}

#[test]
fn what_is_not_published_is_said() {
    let world = World::new();
    for line in [format!("status {}", world.path("one")), format!("diff {} {}", world.path("one"), world.path("no"))] {
        let error = ask(&line).unwrap_err();
        assert_eq!(Exit::from(&error), Exit::Failed, "{error}");
    }
    for folder in [world.path("one"), world.path("no")] {
        let error = ask(&format!("status {folder}")).unwrap_err().to_string();
        assert!(error.contains(&format!("there is no store at {folder}")), "{error}");
    }
    Store::new(world.path("empty"), "current").create().unwrap();
    let error = ask(&format!("status {}", world.path("empty"))).unwrap_err().to_string();
    assert!(error.contains("has no published version yet"), "{error}");
    assert!(ask("once --source /nowhere --strategy svn").unwrap_err().to_string().contains("compiled in: git"));
    assert!(ask("once").unwrap_err().to_string().contains("source is not set"));
}

#[test]
fn a_cancelled_hash_ends_as_interrupted() {
    let world = World::new();
    let token = CancellationToken::new();
    token.cancel();
    let Command::Hash(args) = parse(&registry(), argv(&format!("hash {}", world.path("one")))).unwrap().command else {
        panic!("not hash")
    };
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let error = runtime.block_on(hash::run(args, Interrupt::new(token, None))).unwrap_err();
    assert_eq!(Exit::from(&error), Exit::Interrupted);
}
